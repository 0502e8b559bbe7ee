"""Parity: does an engine answer as PyTorch did? A bundle carries the frames and PyTorch's answers along.

So a Jetson without PyTorch compares its new engine with PyTorch, and not with another engine that may be wrong
in the same way.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..engines.base import Engine, Frames, LabelMaps
from ..errors import BuildError, UsageError
from ..storage.files import replace_bytes

PARITY_NAME = "parity.npz"
PARITY_IMAGES = 16

MINIMUM_AGREEMENT = {"fp32": 0.9995, "fp16": 0.98, "int8": 0.80, "int8-cpu": 0.80}
"""Share of pixels that must agree with PyTorch; below it a graph is broken, not merely less accurate."""

_REBUILD = "Build the bundle again from its checkpoint: trtparse build CHECKPOINT --output FOLDER"


@dataclass(frozen=True)
class Agreement:
    """How well an engine agrees with PyTorch.

    Args:
        pixel_agreement: share of the pixels of all images with the same label, from 0 to 1.
        worst_image: that share on the image where it is lowest.
        images: compared.
    """

    pixel_agreement: float
    worst_image: float
    images: int

    def to_dict(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in asdict(self).items()}

    def check(self, name: str) -> None:
        """See that what ran is not broken.

        Args:
            name: a key of ``MINIMUM_AGREEMENT``: ``fp32``, ``fp16``, ``int8`` or ``int8-cpu``.

        Raises:
            BuildError: less agreement than that.
        """
        least = MINIMUM_AGREEMENT[name]
        # Written so that a NaN is refused as well.
        if not self.pixel_agreement >= least:
            raise BuildError(
                f"The {name} graph agrees with PyTorch on {100 * self.pixel_agreement:.2f} % of the pixels of "
                f"{self.images} images; {100 * least:.2f} % is the least.",
                "Is the checkpoint trained? INT8 needs calibration images like those it will see (--data).",
            )


def save_parity(folder: Path, frames: Frames, labels: LabelMaps) -> Path:
    """Store frames and PyTorch's answers in a bundle's folder, the first ``PARITY_IMAGES`` of them, losslessly.

    Args:
        folder: of the bundle that is being written.
        frames: (N, H, W, 3) uint8, BGR, letterboxed.
        labels: (N, H, W) uint8, what PyTorch made of them in FP32.

    Returns:
        The file.

    Raises:
        ValueError: shapes or types that do not belong together.
        TrtparseError: the file cannot be written.
    """
    problem = _problem(frames, labels)
    if problem:
        raise ValueError(problem)
    content = io.BytesIO()
    # Equal arrays give equal bytes: numpy writes no time into the archive.
    np.savez_compressed(content, frames=frames[:PARITY_IMAGES], labels=labels[:PARITY_IMAGES])
    path = folder / PARITY_NAME
    replace_bytes(path, content.getvalue())
    return path


def load_parity(path: Path) -> tuple[Frames, LabelMaps]:
    """Read what :func:`save_parity` wrote.

    Args:
        path: the file, or the bundle's folder.

    Returns:
        (N, H, W, 3) uint8 frames and (N, H, W) uint8 labels.

    Raises:
        UsageError: the file is missing or is not what it should be.
    """
    if path.is_dir():
        path = path / PARITY_NAME
    if not path.is_file():
        raise UsageError(f"There is no {path}: PyTorch's answers are not stored.", _REBUILD)
    try:
        with np.load(path, allow_pickle=False) as stored:
            frames, labels = np.asarray(stored["frames"]), np.asarray(stored["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} does not hold frames and PyTorch's answers: {error}.", _REBUILD) from error
    problem = _problem(frames, labels)
    if problem:
        raise UsageError(f"{path} does not hold frames and PyTorch's answers: {problem}.", _REBUILD)
    return frames, labels


def compare(
    engine: Engine, frames: Frames, labels: LabelMaps, progress: Callable[[int, int], None] = lambda _, __: None
) -> Agreement:
    """Share of pixels on which an engine gives the labels that PyTorch gave.

    Args:
        engine: any target; where its batch is fixed, the last call is filled up with its last frame.
        frames: (N, H, W, 3) uint8, BGR, at the engine's input size.
        labels: (N, H, W) uint8.
        progress: called with (done, total).

    Raises:
        UsageError: frames that the engine does not take.
        ValueError: frames and labels that do not belong together.
    """
    problem = _problem(frames, labels)
    if problem:
        raise ValueError(problem)
    count, step = len(frames), engine.batch or 1
    shares = np.empty(count)
    for start in range(0, count, step):
        stop = min(start + step, count)
        numbers = np.minimum(np.arange(start, start + step), count - 1)
        answers = engine.infer(np.ascontiguousarray(frames[numbers]))[: stop - start]
        shares[start:stop] = (answers == labels[start:stop]).mean(axis=(1, 2))
        progress(stop, count)
    return Agreement(float(shares.mean()), float(shares.min()), count)


def _problem(frames: Frames, labels: LabelMaps) -> str:
    """Why the two do not belong together; empty where they do."""
    fits = (
        frames.dtype == labels.dtype == np.uint8
        and frames.ndim == 4
        and frames.shape == (*labels.shape, 3)
        and frames.size > 0
    )
    if fits:
        return ""
    return (
        f"frames {frames.shape} {frames.dtype} and labels {labels.shape} {labels.dtype} are not "
        "(N, H, W, 3) and (N, H, W) uint8"
    )
