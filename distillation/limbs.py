"""Maps of limbs: what a network that was trained on real people says of a photograph, where it is sure.

A parsing teacher that knows a few hundred fashion photographs takes a shelf for a coat. A network such as BodyPix
knows nothing of clothes, and knows people: where nobody is, where somebody is, and which of their limbs is the left
one. A map of limbs is a label map with what it is sure of, and 255 elsewhere; it is made once an image
(``trtparse teach``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import IGNORE_LABEL, Image, LabelMap
from ..data.images import read_label_map
from ..errors import DataError, UsageError
from ..specs.label_set import LabelSet

Floats = NDArray[np.float32]

LIMBS = LabelSet(
    "Limbs",
    ("Background", "Person", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe", "Right-shoe"),
    (
        *((0, 0, 0), (128, 128, 128), (51, 170, 221), (0, 255, 255), (85, 255, 170), (170, 255, 85), (255, 255, 0)),
        (255, 170, 0),
    ),
    (("Left-arm", "Right-arm"), ("Left-leg", "Right-leg"), ("Left-shoe", "Right-shoe")),
)
"""``Person`` is somebody of whom no more is known. A left arm is one with what it wears: whether a pixel of it is skin
is for a parsing network to say. A label set's classes are limbs by these names, LIP's for one."""

BACKGROUND, PERSON = 0, 1

SURE_OF_PEOPLE, SURE_OF_SIDES = 2.0, 1.0
"""Logits from which BodyPix is believed: that somebody is there or nobody, and that a limb is left or right."""

_KINDS = ("", "", *("arm",) * 10, "", "", *("leg",) * 8, *("shoe",) * 2)
"""Of BodyPix's 24 parts: an upper or lower arm and a hand are of an arm, a foot is what wears a shoe."""

_LEFT_PARTS = frozenset({0, 2, 3, 6, 7, 10, 14, 15, 18, 19, 22})

_CELL = 16
"""BodyPix takes sides of so many pixels times a whole number, and one more."""


def limb_map(
    person: Floats, parts: Floats, people_from: float = SURE_OF_PEOPLE, sides_from: float = SURE_OF_SIDES
) -> LabelMap:
    """What BodyPix is sure of.

    Args:
        person: (h, w) float32 logits: somebody.
        parts: (24, h, w) float32 logits of its parts.
        people_from: less than so far from 0, ``person`` says nothing.
        sides_from: a limb is left or right where the best part of one side is so much above the best of the other.

    Returns:
        (h, w) uint8, ids of :data:`LIMBS` or 255.
    """
    found = np.full(person.shape, IGNORE_LABEL, np.uint8)
    found[person <= -people_from] = BACKGROUND
    there = person >= people_from
    found[there] = PERSON
    best = parts.argmax(0)
    for kind in ("arm", "leg", "shoe"):
        numbers = [number for number, name in enumerate(_KINDS) if name == kind]
        left, right = (
            parts[[number for number in numbers if (number in _LEFT_PARTS) == is_left]].max(0)
            for is_left in (True, False)
        )
        here = there & np.isin(best, numbers)
        found[here & (left - right >= sides_from)] = LIMBS.id_of(f"Left-{kind}")
        found[here & (right - left >= sides_from)] = LIMBS.id_of(f"Right-{kind}")
    return found


class BodyPix:
    """BodyPix 2 in ONNX: float (1, H, W, 3) RGB from -1 to 1 in, ``segments`` and ``part_heatmaps`` out.

    Args:
        path: of the file, with free height and width.
        longest: pixels that an image's longer side is brought to.
        threads: of ONNX Runtime; 0: as it likes.

    Raises:
        UsageError: the file is no such network.
    """

    def __init__(self, path: Path, longest: int = 400, threads: int = 0) -> None:
        import onnxruntime

        if not path.is_file():
            raise UsageError(f"There is no {path}.", "Name BodyPix's ONNX file.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it has a word for every constant that is an input as well
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UsageError(f"{path} is no ONNX file that runs: {error}.", "Name BodyPix's.") from error
        outputs = {output.name for output in self._session.get_outputs()}
        if not {"segments", "part_heatmaps"} <= outputs:
            raise UsageError(
                f"{path} gives {', '.join(sorted(outputs))}; BodyPix gives segments and part_heatmaps.",
                "Name BodyPix's ONNX file.",
            )
        self._input, self._longest = self._session.get_inputs()[0].name, longest

    def __call__(self, image: Image) -> tuple[Floats, Floats]:
        """Logits of an image, its corner cells on the corners of the image.

        Args:
            image: (H, W, 3) uint8, BGR.

        Returns:
            Somebody, (h, w) float32, and the parts, (24, h, w).
        """
        factor = self._longest / max(image.shape[:2])
        height, width = (max(round(side * factor / _CELL), 1) * _CELL + 1 for side in image.shape[:2])
        shrinks = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, (width, height), interpolation=shrinks)
        values = small[None, :, :, ::-1].astype(np.float32) / np.float32(127.5) - 1
        person, parts = self._session.run(["segments", "part_heatmaps"], {self._input: values})
        return person[0].reshape(person.shape[1:3]), np.moveaxis(parts[0], 2, 0)

    def limbs(self, image: Image) -> LabelMap:
        """(H, W) uint8: the map of limbs of an image, (H, W, 3) uint8 BGR."""
        person, parts = self(image)
        size = (image.shape[0], image.shape[1])
        return limb_map(_stretched(person, size), np.stack([_stretched(part, size) for part in parts]))


def _stretched(plane: Floats, size: tuple[int, int]) -> Floats:
    """A grid whose corner cells lie on the corner pixels, brought to (height, width), bilinearly."""
    down, across = ((cells - 1) / max(pixels - 1, 1) for cells, pixels in zip(plane.shape, size))
    matrix = np.array([[across, 0, 0], [0, down, 0]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cells = np.ascontiguousarray(plane)
    stretched = cv2.warpAffine(cells, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(stretched, np.float32)


@dataclass(frozen=True)
class LimbMaps:
    """A folder of maps of limbs, PNG files called as their images.

    Args:
        folder: of the files.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> LimbMaps:
        """A folder that is there.

        Raises:
            DataError: it is not.
        """
        if not folder.is_dir():
            raise DataError(f"There is no folder {folder}.", "Make the maps of limbs: trtparse teach --body.")
        return cls(folder)

    def read(self, name: str, size: tuple[int, int]) -> LabelMap:
        """The map of an image.

        Args:
            name: of the image.
            size: (height, width) of the image.

        Raises:
            DataError: there is none, or it is no map of that image.
        """
        path = self.folder / f"{Path(name).stem}.png"
        labels = read_label_map(path, LIMBS)
        if labels.shape != size:
            raise DataError(
                f"{path} has {labels.shape[1]}x{labels.shape[0]} pixels, and its image has {size[1]}x{size[0]}.",
                "Make it anew of that image: trtparse teach.",
            )
        return labels


def person_box(labels: LabelMap) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of all that is neither background nor unknown; None where nothing is.

    Args:
        labels: (H, W) uint8, a label map or a map of limbs.
    """
    left, top, width, height = cv2.boundingRect(((labels != BACKGROUND) & (labels != IGNORE_LABEL)).view(np.uint8))
    return None if width == 0 else (float(left), float(top), float(width), float(height))
