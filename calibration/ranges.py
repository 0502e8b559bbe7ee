"""Ranges of activations, collected in a stream: memory does not grow with the number of images."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ..errors import BuildError, DataError
from .graph import GraphIndex, fresh_graph_copy
from .placement import ends_the_graph

SCHEMA = 1
METHOD = "absolute-maximum"

_STATISTICS = ("ReduceMin", "ReduceMax", "ReduceSum")
"""Smallest and largest value make the range. The sum is there for NaN, which the runtime's minimum and maximum
pass over unless it comes first (measured, ONNX Runtime 1.31: 100 of 101 positions missed)."""

_HALF_MAXIMUM = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class CalibrationKey:
    """What a set of ranges was collected from; ranges serve only a build with the same key.

    Args:
        model: sha256 of the FP32 graph, as its file in the bundle has it.
        images: sha256 over the letterboxed frames' names and bytes, in order.
        preprocessing: as the graph's metadata states it.
        method: how ranges follow from values.
        schema: of the file.
    """

    model: str
    images: str
    preprocessing: str
    method: str = METHOD
    schema: int = SCHEMA


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest value of each activation over a calibration set.

    Args:
        limits: tensor name to (low, high).
        images: names of the images, in the order used.
        skipped: (name, reason) of images that could not be read.
        dataset: where the images came from.
        seed: of the choice of images.
        classes: class id to the number of chosen images it occurs in; empty without labels.
        key: what the ranges belong to.
    """

    limits: dict[str, tuple[float, float]]
    images: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    dataset: str
    seed: int
    classes: dict[int, int]
    key: CalibrationKey

    def absolute_maximum(self, tensor: str) -> float:
        low, high = self.limits[tensor]
        return max(abs(low), abs(high))

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": vars(self.key),
            "dataset": self.dataset,
            "seed": self.seed,
            "images": list(self.images),
            "skipped": [list(pair) for pair in self.skipped],
            "classes": {str(key): value for key, value in self.classes.items()},
            "ranges": {name: list(limits) for name, limits in self.limits.items()},
        }


@dataclass
class RangeCollector:
    """Runs frames through a graph that outputs three numbers per activation, and keeps two.

    Args:
        model: FP32, ``frames`` (N, H, W, 3) uint8 in.
        threads: of the CPU runtime; 0 for one per core.
    """

    model: onnx.ModelProto
    threads: int = 0
    frames_seen: int = 0
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        observed, self._names = _with_extremes(self.model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            observed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._low = np.full(len(self._names), np.inf)
        self._high = np.full(len(self._names), -np.inf)
        self._digest = hashlib.sha256()

    def update(self, name: str, frames: NDArray[np.uint8]) -> None:
        """Widen the ranges.

        Args:
            name: of the image or images.
            frames: (N, H, W, 3) uint8, BGR.

        Raises:
            BuildError: an activation is not finite.
        """
        outputs = [float(value) for value in self._session.run(None, {"frames": frames})]
        values = np.array(outputs).reshape(len(_STATISTICS), len(self._names))
        finite = np.isfinite(values).all(axis=0)
        if not finite.all():
            worst = self._names[int(np.argmin(finite))]
            raise BuildError(f"Activation {worst} is not finite on {name}.", "The checkpoint is damaged; train again.")
        np.minimum(self._low, values[0], out=self._low)
        np.maximum(self._high, values[1], out=self._high)
        self._digest.update(name.encode())
        self._digest.update(frames.tobytes())
        self.frames_seen += len(frames)

    def limits(self) -> dict[str, tuple[float, float]]:
        """The ranges so far.

        Raises:
            DataError: nothing was seen: INT8 without data is refused.
        """
        if self.frames_seen == 0:
            raise DataError(
                "INT8 needs calibration images, and there are none.",
                "Give --data a folder in LIP's layout or a folder of images.",
            )
        return {name: (float(low), float(high)) for name, low, high in zip(self._names, self._low, self._high)}

    def key(self) -> CalibrationKey:
        properties = {prop.key: prop.value for prop in self.model.metadata_props}
        return CalibrationKey(
            model=hashlib.sha256(self.model.SerializeToString(deterministic=True)).hexdigest(),
            images=self._digest.hexdigest(),
            preprocessing=json.dumps(json.loads(properties.get("preprocessing", "{}")), sort_keys=True),
        )


def _with_extremes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with the statistics of each float activation as its only outputs, and the activations' names."""
    observed = fresh_graph_copy(model)
    graph = observed.graph
    index = GraphIndex(graph)
    names = _float_activations(observed, index)
    del graph.output[:]
    for operator in _STATISTICS:
        for position, name in enumerate(names):
            output = f"{operator}_{position}"
            graph.node.append(helper.make_node(operator, [name], [output], output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return observed, names


def _float_activations(model: onnx.ModelProto, index: GraphIndex) -> list[str]:
    """Float tensors that a node computes, up to the logits: past them nothing is quantised."""
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return [
        name
        for node in index.nodes
        for name in node.output
        if name in floats and not index.is_constant(name) and not ends_the_graph(node, index)
    ]


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
