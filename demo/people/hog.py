"""People by histograms of oriented gradients: a detector that comes along, needs no download and no runtime.

The method is Dalal and Triggs' (CVPR 2005) in the form that OpenCV 2 to 4 had it as ``HOGDescriptor``: 64x128 windows,
cells of 8x8 pixels, blocks of 2x2 cells, 9 orientations without a sign, L2-Hys. The weights are those of OpenCV's
``getDefaultPeopleDetector`` (Apache-2.0), whose descriptors these are to four digits. OpenCV 5 moved the class
to its contrib package, which pip's opencv-python does not hold
(https://github.com/opencv/opencv-python/issues/1259), so that a program cannot count on it.

Each block is computed once per scale and each window is a sum over its blocks, so that a scale costs two matrix
products. It finds people who stand or walk and are seen from head to foot, and nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from ...data.dataset import Image
from ...tasks.people.boxes import Detections, contained, suppress

Floats = NDArray[np.float32]

_CELL, _BINS = 8, 9
_WINDOW = (128, 64)
_BLOCKS = (15, 7)  # of 2x2 cells in a window, one cell apart
_CLIP = 0.2  # of L2-Hys
_LIGHTNESS = np.sqrt(np.arange(256, dtype=np.float32))
_WRAPPED = np.arange(4 * _BINS, dtype=np.int32) % _BINS  # of twice around, and a bin to either side
_MARGIN = (14 / 128, 13 / 64)  # of a window, around the person: 16 pixels as trained, less what arms and feet need
_PADDING = 16  # pixels around the picture, so that a window's margin may lie outside of it
_SEEN = (_WINDOW[0] - 2 * _PADDING, _WINDOW[1] - 2 * _PADDING)

_LONGEST = 512  # pixels of the frame's longer side while searching; smaller people are not found
_STEP = 1.1  # from scale to scale
_CONTAINED = 0.6
_LEAST = 0.0  # of the margin to the hyperplane, for a candidate
_STEEPNESS = 2.0  # margin 0.7, which few windows without a person reach, is a score of 0.8


class HogDetector:
    """Finds people without a network.

    Its scores are the support vector machine's margins, pressed into 0..1; they rank, and are no probabilities.

    Attributes:
        name: for messages.
        sure: the score from which a detection counts without another one before it.
    """

    name = "HOG"
    sure = 0.7

    def detect(self, frame: Image) -> Detections:
        """People in (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        height, width = frame.shape[:2]
        longest = max(height, width)
        frame = _resized(frame, min(1.0, _LONGEST / longest), cv2.INTER_AREA)
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        scale = 1.0
        while min(np.subtract(frame.shape[:2], np.multiply(_SEEN, scale))) >= 0:
            small = _resized(frame, 1 / scale, cv2.INTER_LINEAR)
            found, margins = _search(cv2.copyMakeBorder(small, *(_PADDING,) * 4, cv2.BORDER_REPLICATE))
            boxes.append((found - _PADDING) * (height / small.shape[0]))
            scores.append(1 / (1 + np.exp(-_STEEPNESS * margins)))
            scale *= _STEP
        limits = np.array([width, height, width, height], np.float64)
        inside = np.clip(np.concatenate(boxes), 0, limits)
        # the windows that it takes a leg or a torso for lie inside of the person's
        return suppress(inside, np.concatenate(scores), contained(inside, inside), _CONTAINED)


def _resized(image: Image, scale: float, interpolation: int) -> Image:
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _search(image: MatLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (N, 4) of people at one scale, and their margins to the hyperplane (N,)."""
    weights, bias = _weights()
    blocks = block_histograms(image)
    rows, columns = blocks.shape[0] - _BLOCKS[0] + 1, blocks.shape[1] - _BLOCKS[1] + 1
    parts = _product(blocks.reshape(-1, blocks.shape[2]), weights).reshape(*blocks.shape[:2], -1)
    margins = np.full((rows, columns), bias, np.float32)
    for place in range(_BLOCKS[0] * _BLOCKS[1]):
        row, column = place % _BLOCKS[0], place // _BLOCKS[0]
        margins += parts[row : row + rows, column : column + columns, place]
    tops, lefts = np.nonzero(margins > _LEAST)
    above, beside = _WINDOW[0] * _MARGIN[0], _WINDOW[1] * _MARGIN[1]
    top, left = tops * float(_CELL), lefts * float(_CELL)
    found = [left + beside, top + above, left + _WINDOW[1] - beside, top + _WINDOW[0] - above]
    return np.stack(found, axis=1), np.asarray(margins[tops, lefts], np.float64)


def block_histograms(image: MatLike) -> Floats:
    """The normalised histograms of all blocks of an image.

    Args:
        image: (H, W, 3) uint8; what is left of a cell at the right and lower edge is not used.

    Returns:
        (H // 8 - 1, W // 8 - 1, 36) float32: 4 cells, column by column, of 9 bins.
    """
    rows, columns = image.shape[0] // _CELL, image.shape[1] // _CELL
    votes = _votes(image)[: rows * _CELL, : columns * _CELL]
    cells = votes.reshape(rows, _CELL, columns, _CELL, _BINS).transpose(0, 2, 4, 1, 3).reshape(-1, _CELL * _CELL)
    shared = _product(cells, _cell_weights()).reshape(rows, columns, _BINS, 4, 4)
    blocks = sum(
        shared[y : rows - 1 + y, x : columns - 1 + x, :, 2 * x + y] for x in range(2) for y in range(2)
    )  # (rows - 1, columns - 1, bins, cells of the block)
    histograms = np.ascontiguousarray(np.swapaxes(blocks, 2, 3)).reshape(rows - 1, columns - 1, 4 * _BINS)
    length = np.sqrt((histograms**2).sum(2, keepdims=True))
    histograms = np.minimum(histograms / (length + 0.1 * 4 * _BINS), _CLIP)
    length = np.sqrt((histograms**2).sum(2, keepdims=True))
    return np.asarray(histograms / (length + 1e-3), np.float32)


def _product(one: Floats, other: Floats) -> Floats:
    """The matrix product, on this thread alone: NumPy's would wake one per core, to spin beside the engine's."""
    product = cv2.gemm(one, other, 1, None, 0)  # type: ignore[call-overload]  # whose stubs know no None
    return np.asarray(product, np.float32)


def _votes(image: MatLike) -> Floats:
    """(H, W, 9) float32: each pixel's gradient, shared out between the two nearest orientations."""
    across, down, strength = _strongest([cv2.LUT(colour, _LIGHTNESS) for colour in cv2.split(image)])
    angle = cv2.phase(across, down).ravel() * np.float32(_BINS / np.pi) + np.float32(_BINS - 0.5)
    low = angle.astype(np.int32)
    magnitude = np.sqrt(strength).ravel()
    upper_part = magnitude * (angle - low)
    pixels = np.arange(low.size, dtype=np.int32) * _BINS
    votes = np.zeros(low.size * _BINS, np.float32)
    votes[pixels + _WRAPPED[low]] = magnitude - upper_part
    votes[pixels + _WRAPPED[low + 1]] = upper_part
    return votes.reshape(*image.shape[:2], _BINS)


def _strongest(colours: Sequence[MatLike]) -> tuple[MatLike, MatLike, MatLike]:
    """The gradient of the colour in which it is strongest, across and down, and its squared length; each (H, W)."""
    gradients = []
    for colour in colours:
        across = cv2.filter2D(colour, -1, np.array([[-1, 0, 1]], np.float32))
        down = cv2.filter2D(colour, -1, np.array([[-1], [0], [1]], np.float32))
        gradients.append((across, down, cv2.add(cv2.multiply(across, across), cv2.multiply(down, down))))
    best_across, best_down, best = gradients[0]
    for across, down, strength in gradients[1:]:
        stronger = cv2.compare(strength, best, cv2.CMP_GT)
        best_across, best_down = cv2.copyTo(across, stronger, best_across), cv2.copyTo(down, stronger, best_down)
        best = cv2.max(best, strength)
    return best_across, best_down, best


@lru_cache(maxsize=1)
def _cell_weights() -> Floats:
    """How far a pixel of each cell of a block counts for each of its four histograms.

    Returns:
        (64, 16) float32: pixel within the cell; cell of the block that it lies in, histogram, both column by column.
    """
    place = np.arange(2 * _CELL)
    near = np.exp(-((place - _CELL) ** 2) / (2 * (_CELL / 2) ** 2))  # a Gaussian of half a cell around the middle
    between = (place + 0.5) / _CELL - 0.5  # -0.44 .. 1.44: between the middles of the first cell and the second
    shares = np.maximum(0, 1 - np.abs(between[:, None] - np.arange(2)[None]))  # (16, 2)
    one = near[:, None] * shares
    both = np.einsum("ya,xb->yxba", one, one)  # pixel's row and column; the histogram's column and row
    parts = both.reshape(2, _CELL, 2, _CELL, 2, 2).transpose(1, 3, 2, 0, 4, 5)
    return np.ascontiguousarray(parts.reshape(_CELL * _CELL, 16), np.float32)


@lru_cache(maxsize=1)
def _weights() -> tuple[Floats, float]:
    """(36, 105) float32, a block's numbers by its place in the window, column by column; and the bias."""
    with resources.files(__package__).joinpath("hog_people.npy").open("rb") as file:
        numbers = np.load(file, allow_pickle=False)
    return np.ascontiguousarray(numbers[:-1].reshape(-1, 4 * _BINS).T), float(numbers[-1])
