"""Parity: does an engine answer as PyTorch did? A bundle carries the frames and PyTorch's answers along.

So a Jetson without PyTorch compares its new engine with PyTorch, and not with another engine that may be wrong
in the same way.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.base import Engine, Frames
from ..errors import BuildError, UsageError
from ..storage.files import replace_bytes
from ..tasks.base import Task
from ..tasks.figure import Closeness

PARITY_NAME = "parity.npz"
PARITY_IMAGES = 16

_FRAMES = "frames"
"""Their name in the file, where every output has its own."""

_REBUILD = "Build the bundle again from its checkpoint: trtparse build CHECKPOINT --output FOLDER"

Stored = Mapping[str, NDArray[Any]]
"""PyTorch's arrays by the outputs' names, in order, each N long."""


class Disagrees(BuildError):
    """What ran answers otherwise than the reference."""


@dataclass(frozen=True)
class Parity:
    """How well an engine agrees with PyTorch.

    Args:
        share: of what the task counts that agrees, over all images, from 0 to 1.
        worst_image: that share on the image where it is lowest.
        images: compared.
        closeness: what the task counts, and how much of it has to agree.
    """

    share: float
    worst_image: float
    images: int
    closeness: Closeness

    def to_dict(self) -> dict[str, float]:
        values = {self.closeness.figure: self.share, "worst_image": self.worst_image, "images": self.images}
        return {name: round(value, 6) for name, value in values.items()}

    def check(self, name: str, reference: str = "PyTorch") -> None:
        """See that what ran is not broken.

        Args:
            name: of the graph: ``fp32``, ``fp16``, ``int8`` or ``int8-cpu``.
            reference: what it was compared with.

        Raises:
            Disagrees: less agreement than the task wants.
        """
        least = self.closeness.least[name]
        # Written so that a NaN is refused as well.
        if not self.share >= least:
            raise Disagrees(
                f"The {name} graph agrees with {reference} on {100 * self.share:.2f} % of the {self.closeness.unit} of "
                f"{self.images} images; {100 * least:.2f} % is the least.",
                "Is the network trained? INT8 needs calibration images like those it will see (--data), and "
                "--calibration auto takes the method that agrees best.",
            )


def save_parity(folder: Path, frames: Frames, expected: Stored) -> Path:
    """Store frames and PyTorch's arrays in a bundle's folder, the first ``PARITY_IMAGES`` of them, losslessly.

    Args:
        folder: of the bundle that is being written.
        frames: (N, H, W, 3) uint8, BGR, letterboxed.
        expected: what PyTorch made of them in FP32.

    Returns:
        The file.

    Raises:
        ValueError: shapes or types that do not belong together.
        TrtparseError: the file cannot be written.
    """
    problem = _problem(frames, expected)
    if problem:
        raise ValueError(problem)
    content = io.BytesIO()
    # Equal arrays give equal bytes: numpy writes no time into the archive.
    arrays = {_FRAMES: frames, **expected}
    np.savez_compressed(content, **{name: array[:PARITY_IMAGES] for name, array in arrays.items()})  # type: ignore[arg-type]
    path = folder / PARITY_NAME
    replace_bytes(path, content.getvalue())
    return path


def load_parity(path: Path) -> tuple[Frames, dict[str, NDArray[Any]]]:
    """Read what :func:`save_parity` wrote.

    Args:
        path: the file, or the bundle's folder.

    Returns:
        (N, H, W, 3) uint8 frames, and an array for each output, by its name.

    Raises:
        UsageError: the file is missing or is not what it should be.
    """
    if path.is_dir():
        path = path / PARITY_NAME
    if not path.is_file():
        raise UsageError(f"There is no {path}: PyTorch's answers are not stored.", _REBUILD)
    try:
        with np.load(path, allow_pickle=False) as stored:
            frames = np.asarray(stored[_FRAMES])
            expected = {name: np.asarray(stored[name]) for name in stored.files if name != _FRAMES}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} does not hold frames and PyTorch's answers: {error}.", _REBUILD) from error
    problem = _problem(frames, expected)
    if problem:
        raise UsageError(f"{path} does not hold frames and PyTorch's answers: {problem}.", _REBUILD)
    return frames, expected


def compare(
    engine: Engine,
    task: Task[Any],
    frames: Frames,
    expected: Stored,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Parity:
    """How much of what an engine gives is what PyTorch gave.

    Args:
        engine: any target; where its batch is fixed, the last call is filled up with its last frame.
        task: says what agrees.
        frames: (N, H, W, 3) uint8, BGR, at the engine's input size.
        expected: of the engine's outputs.
        progress: called with (done, total).

    Raises:
        UsageError: frames that the engine does not take, or other outputs than it has.
        ValueError: frames and arrays that do not belong together.
    """
    problem = _problem(frames, expected)
    if problem:
        raise ValueError(problem)
    names = [spec.name for spec in engine.outputs]
    if set(names) != set(expected):
        raise UsageError(
            f"PyTorch's answers are {', '.join(expected)}, and {engine.name} gives {', '.join(names)}.", _REBUILD
        )
    wanted = tuple(expected[name] for name in names)
    count, step = len(frames), engine.batch or 1
    shares = np.empty(count)
    for start in range(0, count, step):
        stop = min(start + step, count)
        numbers = np.minimum(np.arange(start, start + step), count - 1)
        found = tuple(array[: stop - start] for array in engine.infer(np.ascontiguousarray(frames[numbers])))
        given = tuple(array[start:stop] for array in wanted)
        for name, one, other in zip(names, found, given):
            if (one.shape, one.dtype) != (other.shape, other.dtype):
                raise UsageError(
                    f"{engine.name} gives {name} as {one.shape} {one.dtype}, and PyTorch gave {other.shape} "
                    f"{other.dtype}.",
                    _REBUILD,
                )
        shares[start:stop] = task.agreement(found, given)
        progress(stop, count)
    return Parity(float(shares.mean()), float(shares.min()), count, task.closeness)


def _problem(frames: Frames, expected: Stored) -> str:
    """Why the two do not belong together; empty where they do."""
    arrays = " and ".join(f"{name} {array.shape} {array.dtype}" for name, array in expected.items()) or "nothing else"
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
        return f"frames {frames.shape} {frames.dtype} are not (N, H, W, 3) uint8 (there is {arrays})"
    if not expected or any(array.ndim == 0 or len(array) != len(frames) for array in expected.values()):
        return f"frames {frames.shape} and {arrays} are not of as many images"
    return ""
