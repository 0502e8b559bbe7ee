"""A teacher's answers on disk: asked once an image instead of once a step.

A teacher that looks at every image twice, mirrored as well, takes longer than the student's own step does. Its answer
to the whole image as inference sees it is a probability of every class on a grid of a quarter of the input's sides. It
is kept in a byte each; training brings it to wherever the image lies in a sample.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import Image
from ..data.images import read_image, write_png
from ..data.letterbox import Letterbox
from ..errors import DataError
from ..specs.label_set import LabelSet, told_label_set
from ..storage.files import replace_bytes
from ..tasks.parsing.augmentation import Placing

STRIDE = 4
"""Pixels of a sample for one cell of the answers that it is given."""

_HEADER = "answers.json"

_LEAST = 1e-3
"""Probability that a byte of 0 stands for, half of a byte's step being 2e-3."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class KeptAnswers:
    """A folder of answers, one PNG an image: the classes' planes one below the other.

    Args:
        folder: of the files.
        label_set: of the teacher's classes.
        input_size: (height, width) that the teacher saw images at.
        stretch: as of :meth:`~trtparse.data.letterbox.Letterbox.fit`.
    """

    folder: Path
    label_set: LabelSet
    input_size: tuple[int, int]
    stretch: float

    @classmethod
    def open(cls, folder: Path) -> KeptAnswers:
        """What a folder says of itself.

        Raises:
            DataError: there are no answers, or its header is damaged.
        """
        path = folder / _HEADER
        try:
            header = json.loads(path.read_text())
            height, width = header["input_size"]
            labels = told_label_set(header["label_set"], str(path))
            return cls(folder, labels, (int(height), int(width)), float(header["stretch"]))
        except FileNotFoundError:
            raise DataError(f"{folder} holds no answers.", "Make them: trtparse teach.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read: {error}.", "Make the answers anew: trtparse teach.") from error

    def begin(self) -> None:
        """Write what the folder says of itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {
            "input_size": list(self.input_size),
            "stretch": self.stretch,
            "label_set": self.label_set.to_dict(),
        }
        replace_bytes(self.folder / _HEADER, json.dumps(header, indent=1).encode())

    def path(self, name: str) -> Path:
        """Of an image's answers."""
        return self.folder / f"{Path(name).stem}.png"

    def write(self, name: str, image: Image, teacher: Callable[[Tensor], Tensor]) -> None:
        """Ask a teacher, and keep what it says.

        Args:
            name: of the image.
            image: (H, W, 3) uint8, BGR.
            teacher: gives (1, C, h, w) logits for (1, H, W, 3) uint8 frames.
        """
        box = Letterbox.fit((image.shape[0], image.shape[1]), self.input_size, self.stretch)
        chances = teacher(torch.from_numpy(box.apply(image)[None]))[0].float().softmax(0).cpu().numpy()
        planes = np.rint(chances * 255).astype(np.uint8)
        write_png(self.path(name), planes.reshape(-1, planes.shape[-1]))

    def read(self, name: str) -> Bytes:
        """(C, h, w) uint8: probabilities of an image, 255 for 1.

        Raises:
            DataError: there are none, or the file is another one.
        """
        path = self.path(name)
        planes = np.ascontiguousarray(read_image(path)[..., 0])
        classes = len(self.label_set)
        if planes.shape[0] % classes:
            raise DataError(
                f"{path} has {planes.shape[0]} rows, which are not those of {classes} classes.",
                "Make the answers anew: trtparse teach.",
            )
        return planes.reshape(classes, -1, planes.shape[1])

    def placed(
        self, answers: Bytes, image_size: tuple[int, int], placing: Placing, corner: tuple[float, float] = (0.0, 0.0)
    ) -> Bytes:
        """An image's answers where it lies in a sample.

        Args:
            answers: (C, h, w) uint8 of the image.
            image_size: (height, width).
            placing: of the image, or of a larger one that it is part of.
            corner: (x, y) of the image in that.

        Returns:
            (C, H, W) uint8 at a stride of :data:`STRIDE`; 0 for every class beside the image.
        """
        box = Letterbox.fit(image_size, self.input_size, self.stretch)
        rows, columns = answers.shape[1] / self.input_size[0], answers.shape[2] / self.input_size[1]
        # Edges, not pixel centres, are what all these sizes are measured between.
        of_cells = _affine(
            columns * box.width / image_size[1], rows * box.height / image_size[0], columns * box.left, rows * box.top
        )
        of_sample = np.vstack([placing.matrix, [0, 0, 1]])
        of_sample = _affine(1, 1, 0.5, 0.5) @ of_sample @ _affine(1, 1, corner[0] - 0.5, corner[1] - 0.5)
        whole = _affine(1 / STRIDE, 1 / STRIDE, 0, 0) @ of_sample @ np.linalg.inv(of_cells)
        matrix = (_affine(1, 1, -0.5, -0.5) @ whole @ _affine(1, 1, 0.5, 0.5))[:2]
        size = (placing.size[1] // STRIDE, placing.size[0] // STRIDE)
        order = self.label_set.flip_table()[: len(answers)] if placing.mirrored else np.arange(len(answers))
        # OpenCV warps up to four planes at once.
        groups = [np.moveaxis(answers[start : start + 4], 0, -1) for start in range(0, len(answers), 4)]
        warped = [
            cv2.warpAffine(np.ascontiguousarray(group), matrix, size).reshape(size[1], size[0], -1) for group in groups
        ]
        return np.ascontiguousarray(np.concatenate(warped, 2).transpose(2, 0, 1)[order], np.uint8)


def logits_of(answers: Tensor) -> Tensor:
    """Logits that give the kept probabilities.

    Args:
        answers: (N, C, h, w) uint8.

    Returns:
        (N, C, h, w) float32.
    """
    return (answers.float() / 255 + _LEAST).log()


def answered(answers: Tensor) -> Tensor | None:
    """(N, h, w) bool: where the teacher said something; None where no answers were kept.

    Args:
        answers: (N, C, h, w) uint8.
    """
    return (answers > 0).any(1) if answers.numel() else None


def _affine(across: float, down: float, right: float, below: float) -> NDArray[np.float64]:
    return np.array([[across, 0, right], [0, down, below], [0, 0, 1]], np.float64)
