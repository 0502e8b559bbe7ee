"""From images of one person or a few to scenes of many: cells side by side, and smaller pictures laid over them.

A detector has to know people of all sizes, whole and cut, and everything that is none. Photographs of single people
show one size each; a mosaic shows them at any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...tasks.parsing.augmentation import Augmentation
from ...tasks.people.boxes import Boxes, Scores
from .pictures import free_rectangle

Floats = NDArray[np.float64]

SURE, DOUBTFUL = 0.5, 0.3
"""Scores from which somebody is to be found, and from which nothing is asked for where they are."""

_LEAST_SEEN, _HARDLY_SEEN = 0.4, 0.05
"""Parts of a box that a cut or another picture leaves: from the first on it is to be found, below the second it is
nothing, between them nothing is asked for."""

_LEAST_SIDE, _TINY = 9.0, 4.0
"""Pixels: of a height that is to be found, and of one that is nothing."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture as mosaics take it: pixels (H, W, 3) uint8 BGR, with boxes (n, 4) and scores (n,)."""

    image: Image
    boxes: Boxes
    scores: Scores


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A scene.

    Args:
        frame: (H, W, 3) uint8, BGR.
        boxes: (n, 4) float64 pixels: who is to be found.
        doubtful: (m, 4) float64 pixels: where nothing is asked for.
    """

    frame: Image
    boxes: Boxes
    doubtful: Boxes


Draw = Callable[[np.random.Generator], Seen]
"""Chooses a picture."""


def _colours() -> Augmentation:
    return Augmentation(soften=0.1, noise=5.0, erase=0.05, grey=0.06)


@dataclass(frozen=True)
class Mosaics:
    """How scenes are put together.

    Args:
        cells: how often a scene has one cell, two, and so on.
        laid: pictures laid over the cells, at most.
        empty: probability that a cell or a laid picture shows nobody.
        heights: range of a person's height in parts of the scene's, uniform on a log scale.
        zoom: a cell's picture is at most so much larger than what covers the cell.
        whole: probability that a scene of one cell shows a whole picture, letterboxed as inference does it.
        enlarge: most that a picture is enlarged.
        flip, upside_down: probabilities.
        rotation: degrees, uniform in both directions, of every third scene.
        colours: of the rest; its geometry is not used.
    """

    cells: tuple[float, ...] = (0.34, 0.2, 0.16, 0.12, 0.06, 0.05, 0.03, 0.04)
    laid: int = 7
    empty: float = 0.22
    heights: tuple[float, float] = (0.05, 0.95)
    zoom: float = 1.7
    whole: float = 0.35
    enlarge: float = 2.0
    flip: float = 0.5
    upside_down: float = 0.02
    rotation: float = 8.0
    colours: Augmentation = field(default_factory=_colours)

    def __post_init__(self) -> None:
        if not sum(self.cells) > 0 or min(self.cells) < 0:
            raise ValueError(f"cells are how often scenes have so many, each 0 or more, not {list(self.cells)}")
        if not 0 < self.heights[0] <= self.heights[1]:
            raise ValueError(f"heights is a range above 0, not {list(self.heights)}")
        if self.laid < 0 or self.rotation < 0:
            raise ValueError(f"laid and rotation are 0 or more, not {self.laid} and {self.rotation}")
        if self.zoom < 1 or self.enlarge <= 0:
            raise ValueError(f"zoom is 1 or more and enlarge above 0, not {self.zoom} and {self.enlarge}")

    def __call__(self, size: tuple[int, int], people: Draw, scenes: Draw, rng: np.random.Generator) -> Mosaic:
        """A scene of (height, width).

        Args:
            size: of it.
            people: chooses a picture with people.
            scenes: chooses one without.
            rng: all randomness comes from here.
        """
        canvas = _Canvas(size)
        shares = np.asarray(self.cells) / sum(self.cells)
        count = 1 + int(rng.choice(len(shares), p=shares))
        cells = _split(size, count, rng)
        if count == 1 and rng.random() < self.whole:
            self._show_whole(canvas, people, scenes, rng)
        else:
            for cell in cells:
                self._fill(canvas, cell, people, scenes, rng)
        for _ in range(int(rng.integers(0, self.laid + 1) * (rng.random() < 0.8))):
            self._lay(canvas, people, scenes, rng)
        frame, boxes, scores = canvas.frame, canvas.boxes, canvas.scores
        if rng.random() < 1 / 3:
            frame, boxes = _rotated(frame, boxes, float(rng.uniform(-self.rotation, self.rotation)))
        return _mosaic(self.colours.colour(frame, rng), boxes, scores)

    def _draw(self, draw: Draw, rng: np.random.Generator) -> Seen:
        seen = draw(rng)
        if rng.random() < self.flip:
            seen = _mirrored(seen)
        if rng.random() < self.upside_down:
            seen = _turned_over(seen)
        return seen

    def _show_whole(self, canvas: _Canvas, people: Draw, scenes: Draw, rng: np.random.Generator) -> None:
        """As inference sees a photograph: all of it, in the middle, with black beside it."""
        seen = self._draw(scenes if rng.random() < self.empty else people, rng)
        height, width = seen.image.shape[:2]
        scale = min(canvas.size[0] / height, canvas.size[1] / width)
        new = (max(round(height * scale), 1), max(round(width * scale), 1))
        top, left = (canvas.size[0] - new[0]) // 2, (canvas.size[1] - new[1]) // 2
        canvas.put(seen, scale, (left, top), (left, top, left + new[1], top + new[0]))

    def _fill(
        self,
        canvas: _Canvas,
        cell: tuple[int, int, int, int],
        people: Draw,
        scenes: Draw,
        rng: np.random.Generator,
    ) -> None:
        """Cover a cell with one picture."""
        left, top, right, bottom = cell
        wide, high = right - left, bottom - top
        if rng.random() < self.empty:
            seen = self._draw(scenes, rng)
        else:  # of three the one whose shape is nearest to the cell's
            tried = [self._draw(people, rng) for _ in range(3)]
            shapes = [abs(np.log(one.image.shape[1] / one.image.shape[0] * high / wide)) for one in tried]
            seen = tried[int(np.argmin(shapes))]
        height, width = seen.image.shape[:2]
        cover = max(high / height, wide / width)
        scale = cover * float(np.exp(rng.uniform(0, np.log(self.zoom)))) if rng.random() < 0.5 else cover
        spare = np.array([width * scale - wide, height * scale - high])
        start = rng.uniform(0, 1, 2) * spare
        sure = np.flatnonzero(seen.scores >= SURE)
        if len(sure) and rng.random() < 0.8:  # keep somebody's middle inside
            box = seen.boxes[rng.choice(sure)] * scale
            middle = (box[:2] + box[2:]) / 2
            start = middle - rng.uniform(0.15, 0.85, 2) * (wide, high)
        start = np.clip(start, 0, np.maximum(spare, 0))
        canvas.put(seen, scale, (left - start[0], top - start[1]), cell)

    def _lay(self, canvas: _Canvas, people: Draw, scenes: Draw, rng: np.random.Generator) -> None:
        """Put a smaller picture somewhere over what is there."""
        low, high = np.log(np.asarray(self.heights) * canvas.size[0])
        tall = float(np.exp(rng.uniform(low, high - 0.35)))
        if rng.random() < self.empty:
            seen = self._draw(scenes, rng)
            box = np.array([0.0, 0.0, seen.image.shape[1], seen.image.shape[0]])
            part, scale = box, 1.4 * tall / seen.image.shape[0]
        else:
            seen = self._draw(people, rng)
            sure = np.flatnonzero(seen.scores >= SURE)
            if not len(sure):
                return
            box = seen.boxes[rng.choice(sure)]
            scale = min(tall / max(box[3] - box[1], 1.0), self.enlarge)
            sides = np.tile(box[2:] - box[:2], 2)
            around = rng.uniform(0.02, 0.6, 4) * sides * (-1, -1, 1, 1)
            if rng.random() < 0.2:  # cut by the picture's edge
                side = int(rng.integers(0, 4))
                around[side] = -float(rng.uniform(0.05, 0.5)) * sides[side] * (-1 if side < 2 else 1)
            limits = np.tile([seen.image.shape[1], seen.image.shape[0]], 2).astype(np.float64)
            part = np.clip(box + around, 0, limits)
        size = (part[2:] - part[:2]) * scale
        if size.min() < 3:
            return
        first = -0.25 * size
        corner = rng.uniform(first, np.maximum(np.array(canvas.size[::-1]) - 0.75 * size, first))
        left, top = (round(float(value)) for value in corner)
        right, bottom = left + round(float(size[0])), top + round(float(size[1]))
        canvas.put(seen, scale, (left - part[0] * scale, top - part[1] * scale), (left, top, right, bottom))


class _Canvas:
    """A scene in the making: its pixels, and everybody's box with what is left of it."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.frame: Image = np.zeros((*size, 3), np.uint8)
        self.boxes: Boxes = np.zeros((0, 4))
        self.scores: Scores = np.zeros(0)

    def put(self, seen: Seen, scale: float, origin: tuple[float, float], window: tuple[int, int, int, int]) -> None:
        """Paint a picture into a rectangle.

        Args:
            seen: the picture.
            scale: pixels of the scene for one of its.
            origin: (x, y) of its upper left corner in the scene.
            window: left, top, right, bottom of what is painted.
        """
        left, top = max(window[0], 0), max(window[1], 0)
        right, bottom = min(window[2], self.size[1]), min(window[3], self.size[0])
        if right - left < 2 or bottom - top < 2:
            return
        shown = np.array([left, top, right, bottom], np.float64)
        self.boxes, self.scores = _hidden(self.boxes, self.scores, shown)
        self.frame[top:bottom, left:right] = _scaled(seen.image, scale, origin, (left, top, right, bottom))
        boxes = seen.boxes * scale + np.tile(origin, 2)
        inside, scores = _cut(boxes, seen.scores, shown)
        self.boxes = np.concatenate([self.boxes, inside])
        self.scores = np.concatenate([self.scores, scores])


def _scaled(image: Image, scale: float, origin: tuple[float, float], window: tuple[int, int, int, int]) -> Image:
    """The part of a scaled image that a rectangle shows; its edge goes on where it ends."""
    left, top, right, bottom = window
    first = np.floor((np.array([left, top]) - origin) / scale - 1)
    last = np.ceil((np.array([right, bottom]) - origin) / scale + 1)
    limits = np.array([image.shape[1], image.shape[0]])
    x0, y0 = (int(value) for value in np.clip(first, 0, limits - 2))
    x1, y1 = (int(value) for value in np.clip(last, (x0 + 2, y0 + 2), limits))
    piece, across, down = image[y0:y1, x0:x1], 1.0, 1.0
    while scale < 0.6 * across and min(piece.shape[:2]) >= 4:
        # Halves are many times as fast as other averages. An odd row or column at the end is shown by its neighbour.
        half = (piece.shape[1] // 2, piece.shape[0] // 2)
        even = piece[: 2 * half[1], : 2 * half[0]]
        piece = cv2.resize(even, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        across, down = across / 2, down / 2
    # From a pixel of the window to one of the piece, both by their middles.
    matrix = np.array(
        [
            [across / scale, 0, ((left + 0.5 - origin[0]) / scale - x0) * across - 0.5],
            [0, down / scale, ((top + 0.5 - origin[1]) / scale - y0) * down - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (right - left, bottom - top)
    return np.asarray(cv2.warpAffine(piece, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _cut(boxes: Boxes, scores: Scores, window: Floats) -> tuple[Boxes, Scores]:
    """What a rectangle shows of boxes; those that it hardly shows are doubtful, or gone."""
    cut = np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], 1)
    seen = _areas(cut) / np.maximum(_areas(boxes), 1e-9)
    kept = seen >= _HARDLY_SEEN
    doubted = np.where(seen < _LEAST_SEEN, np.minimum(scores, SURE - 0.01), scores)
    return cut[kept], doubted[kept]


def _hidden(boxes: Boxes, scores: Scores, over: Floats) -> tuple[Boxes, Scores]:
    """What is left of boxes when a rectangle covers them.

    A rectangle over a whole side cuts the box; one over a corner or the middle leaves it as it is.
    """
    if not len(boxes):
        return boxes, scores
    covered = np.concatenate([np.maximum(boxes[:, :2], over[:2]), np.minimum(boxes[:, 2:], over[2:])], 1)
    left = 1 - _areas(covered) / np.maximum(_areas(boxes), 1e-9)
    boxes = boxes.copy()
    for axis in (0, 1):
        across = 1 - axis
        whole = (over[across] <= boxes[:, across]) & (over[2 + across] >= boxes[:, 2 + across]) & (left < 1)
        starts = whole & (over[axis] <= boxes[:, axis]) & (over[2 + axis] > boxes[:, axis])
        ends = whole & (over[2 + axis] >= boxes[:, 2 + axis]) & (over[axis] < boxes[:, 2 + axis])
        boxes[starts, axis] = np.minimum(over[2 + axis], boxes[starts, 2 + axis])
        boxes[ends, 2 + axis] = np.maximum(over[axis], boxes[ends, axis])
    doubted = np.where(left < _LEAST_SEEN + 0.1, np.minimum(scores, SURE - 0.01), scores)
    kept = left >= _HARDLY_SEEN
    return boxes[kept], doubted[kept]


def _areas(boxes: Boxes) -> Floats:
    return np.asarray(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))


def _split(size: tuple[int, int], count: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Cut a rectangle into ``count``: the largest again and again, mostly across its longer side."""
    cells = [(0, 0, size[1], size[0])]
    while len(cells) < count:
        cells.sort(key=lambda cell: (cell[2] - cell[0]) * (cell[3] - cell[1]))
        left, top, right, bottom = cells.pop()
        where = float(rng.uniform(0.33, 0.67))
        if (right - left) * float(rng.uniform(0.7, 1.6)) > bottom - top:
            middle = left + round((right - left) * where)
            cells += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = top + round((bottom - top) * where)
            cells += [(left, top, right, middle), (left, middle, right, bottom)]
    return cells


def _mirrored(seen: Seen) -> Seen:
    boxes = seen.boxes.copy()
    boxes[:, [0, 2]] = seen.image.shape[1] - seen.boxes[:, [2, 0]]
    return Seen(seen.image[:, ::-1], boxes, seen.scores)


def _turned_over(seen: Seen) -> Seen:
    boxes = seen.boxes.copy()
    boxes[:, [1, 3]] = seen.image.shape[0] - seen.boxes[:, [3, 1]]
    return Seen(seen.image[::-1], boxes, seen.scores)


def _rotated(frame: Image, boxes: Boxes, degrees: float) -> tuple[Image, Boxes]:
    """A scene turned about its middle; boxes are those around the turned ellipses in them, which people fill better."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, 1.0)
    turned = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2].T ** 2))
    new = np.concatenate([centres - halves, centres + halves], 1)
    return np.asarray(turned, np.uint8), np.clip(new, 0, [width, height, width, height])


def _mosaic(frame: Image, boxes: Boxes, scores: Scores) -> Mosaic:
    heights, widths = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
    there = (heights >= _TINY) & (widths >= 2) & (scores >= DOUBTFUL)
    found = there & (scores >= SURE) & (heights >= _LEAST_SIDE)
    return Mosaic(frame, boxes[found], boxes[there & ~found])


def empty_part(seen: Seen) -> Seen | None:
    """The part of a picture that shows nobody; None where there is none of a useful size."""
    part = free_rectangle(seen.boxes, (seen.image.shape[0], seen.image.shape[1]))
    if part is None:
        return None
    left, top, right, bottom = part
    return Seen(seen.image[top:bottom, left:right], np.zeros((0, 4)), np.zeros(0))
