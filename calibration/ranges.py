"""Ranges of activations, collected in a stream: memory does not grow with the number of images."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import BuildError, DataError, UsageError
from ..graphs.observe import Observer, float_activations
from ..storage.json_types import JsonObject, ReadJson
from .key import SCHEMA, CalibrationKey

_STATISTICS = ("ReduceMin", "ReduceMax", "ReduceSum")
"""Smallest and largest value make the range. The sum is there for NaN, which the runtime's minimum and maximum
pass over unless it comes first (measured, ONNX Runtime 1.31: 100 of 101 positions missed)."""

_HALF_MAXIMUM = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest value of each activation that int8 shall hold, from a calibration set.

    Args:
        limits: tensor name to (low, high).
        unsigned: of tensors that are nowhere negative, the high for uint8, whose finer steps leave more room above;
            empty where it is that of ``limits``.
        images: names of the images, sorted.
        skipped: (name, reason) of images that could not be read, sorted.
        dataset: where the images came from.
        seed: of the choice of images.
        classes: class id to the number of chosen images it occurs in; empty without labels.
        key: what the ranges belong to.
        warnings: what a person should know before trusting them.
    """

    limits: dict[str, tuple[float, float]]
    images: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    dataset: str
    seed: int
    classes: dict[int, int]
    key: CalibrationKey
    warnings: tuple[str, ...] = ()
    unsigned: dict[str, float] = field(default_factory=dict)

    def absolute_maximum(self, tensor: str) -> float:
        low, high = self.limits[tensor]
        return max(abs(low), abs(high))

    def to_dict(self) -> JsonObject:
        return {
            "key": asdict(self.key),
            "dataset": self.dataset,
            "seed": self.seed,
            "images": list(self.images),
            "skipped": [list(pair) for pair in self.skipped],
            "classes": {str(key): value for key, value in self.classes.items()},
            "warnings": list(self.warnings),
            "ranges": {name: list(limits) for name, limits in self.limits.items()},
            "unsigned": self.unsigned,
        }

    @classmethod
    def from_dict(cls, read: ReadJson) -> Ranges:
        """What :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        ranges = cls(
            limits={str(name): (float(low), float(high)) for name, (low, high) in read["ranges"].items()},
            images=tuple(str(name) for name in read["images"]),
            skipped=tuple((str(name), str(reason)) for name, reason in read["skipped"]),
            dataset=str(read["dataset"]),
            seed=int(read["seed"]),
            classes={int(label): int(count) for label, count in read["classes"].items()},
            key=CalibrationKey(**{part.name: read["key"][part.name] for part in fields(CalibrationKey)}),
            warnings=tuple(str(warning) for warning in read["warnings"]),
            unsigned={str(name): float(high) for name, high in read["unsigned"].items()},
        )
        for name, (low, high) in ranges.limits.items():
            if not -math.inf < low <= high < math.inf:
                raise ValueError(f"{name} ranges from {low} to {high}")
        for name, high in ranges.unsigned.items():
            if name not in ranges.limits or not 0 <= high < math.inf:
                raise ValueError(f"{name} ranges up to {high} in uint8")
        return ranges


def read_ranges(path: Path) -> Ranges:
    """The ranges of a calibration file; whether they fit is :func:`~trtparse.calibration.key.check_key`'s question.

    Raises:
        UsageError: the file is missing, was written by another version of the program or is damaged.
    """
    again = "Calibrate again: trtparse build --int8 --data FOLDER."
    try:
        read = json.loads(path.read_text("utf-8"))
        schema = read["key"]["schema"]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", again) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no calibration file.", again) from error
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}, and this version of trtparse reads {SCHEMA}.", again)
    try:
        return Ranges.from_dict(read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged: {error}.", again) from error


class RangeCollector:
    """Runs frames through a graph that outputs three numbers per activation, and keeps two.

    Args:
        model: FP32, ``frames`` (N, H, W, 3) uint8 in; its batch does not matter.
        threads: of the CPU runtime; 0 for one per core.
    """

    def __init__(self, model: onnx.ModelProto, threads: int = 0) -> None:
        self.names = float_activations(model)
        self.frames_seen = 0
        self.low = np.full(len(self.names), np.inf)
        self.high = np.full(len(self.names), -np.inf)
        self._observer = Observer(model, self.names, _STATISTICS, threads)

    def go_on_from(self, low: NDArray[np.float64], high: NDArray[np.float64], frames_seen: int) -> None:
        """Take over what another collector of the same graph has seen: its ``low``, ``high`` and ``frames_seen``."""
        self.low[:], self.high[:], self.frames_seen = low, high, frames_seen

    def update(self, name: str, frames: NDArray[np.uint8]) -> None:
        """Widen the ranges.

        Args:
            name: of the image or images.
            frames: (N, H, W, 3) uint8, BGR.

        Raises:
            BuildError: an activation is not finite.
        """
        for frame in frames:
            values = self._observer.numbers(frame)
            finite = np.isfinite(values).all(axis=0)
            if not finite.all():
                worst = self.names[int(np.argmin(finite))]
                raise BuildError(
                    f"Activation {worst} is not finite on {name}.", "The checkpoint is damaged; train again."
                )
            np.minimum(self.low, values[0], out=self.low)
            np.maximum(self.high, values[1], out=self.high)
            self.frames_seen += 1

    def limits(self) -> dict[str, tuple[float, float]]:
        """The ranges so far.

        Raises:
            DataError: nothing was seen: INT8 without data is refused.
        """
        if self.frames_seen == 0:
            raise no_images("there are none")
        return {name: (float(low), float(high)) for name, low, high in zip(self.names, self.low, self.high)}


def no_images(state: str, hint: str = "Give --data a folder in LIP's layout or a folder of images.") -> DataError:
    """The refusal of INT8 without data."""
    return DataError(f"INT8 needs calibration images, and {state}.", hint)


def scale_of(maximum: float, tensor: str) -> float:
    """The scale of a symmetric int8 range, rounded up to what FP16 holds, so that nothing saturates.

    Args:
        maximum: largest absolute value, finite; 0 (a dead channel) gives 1, which quantises zeros exactly.
        tensor: whose range it is, for the error.

    Raises:
        BuildError: ``maximum`` is no range, or too large for an FP16 scale.
    """
    if not math.isfinite(maximum) or maximum < 0:
        raise BuildError(f"{maximum} is no range for {tensor}.", "The checkpoint is damaged; train again.")
    exact = maximum / 127
    if exact == 0:
        return 1.0
    if exact > _HALF_MAXIMUM:
        raise BuildError(
            f"{tensor} reaches {maximum:g}, for which there is no FP16 scale.",
            "Retrain with weight decay, or use --fp32.",
        )
    half = np.float16(exact)
    if float(half) < exact:
        half = np.nextafter(half, np.float16(np.inf))
    return float(half)
