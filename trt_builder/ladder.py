"""Other forms of an INT8 graph, for where TensorRT makes no INT8 engine of it: each gives up a little more of it.

None of them is silent: a build says which it took and why, and what is left of those before it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from ..engines.bundle import GRAPHS, Bundle
from ..graphs.index import GraphIndex, fresh_graph_copy
from ..graphs.simulated import simulated_graph
from .engine_spec import EngineSpec
from .tensorrt_api import TensorRT

_POOLS = ("Resize", "MaxPool", "AveragePool")

_UNTYPED_SCALE = re.compile(r"could not infer output types.*dequantize", re.IGNORECASE | re.DOTALL)
"""TensorRT 10.16 of JetPack 7.2 on an Orin, where a scale is FP16 (NVIDIA/TensorRT#4832)."""


@dataclass(frozen=True)
class Rung:
    """One form of the graph.

    Args:
        name: what is told of it.
        suffix: of the names of what is left of an engine that was refused.
        change: makes it of the form before it; None for the bundle's FP16 graph.
    """

    name: str
    suffix: str
    change: Callable[[onnx.ModelProto], onnx.ModelProto] | None


AS_IS = Rung("as it is", "", fresh_graph_copy)
SINGLE_SCALES = Rung("with scales in FP32", "-fp32-scales", simulated_graph)
HALF = Rung("in FP16", "", None)


def without_pairs_at_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which resizes and pools read floats.

    Not every pool has an INT8 kernel in every version: an average over an odd window may have none ("could not find any
    implementation").
    """
    result = fresh_graph_copy(model)
    graph = result.graph
    index = GraphIndex(graph)
    for node in graph.node:
        dequantise = _made_by("DequantizeLinear", index, node) if node.op_type in _POOLS else None
        quantise = None if dequantise is None else _made_by("QuantizeLinear", index, dequantise)
        if quantise is not None:
            node.input[0] = quantise.input[0]
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        kept = [node for node in graph.node if node.op_type != kind or used.intersection(node.output)]
        del graph.node[:]
        graph.node.extend(kept)
    used = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return result


FLOAT_POOLS = Rung("without INT8 at resizes and pools", "-float-pools", without_pairs_at_pools)


def rungs_of(spec: EngineSpec, library: TensorRT, bundle: Bundle) -> Iterator[Rung]:
    """The forms to try one after the other, where the graph as it is comes to nothing."""
    if spec.precision != "int8" or spec.target != "tensorrt" or spec.dla_core is not None:
        return
    yield FLOAT_POOLS
    if library.is_typed(spec):
        # Elsewhere all scales are FP32 anyway.
        yield SINGLE_SCALES
    if GRAPHS["fp16"] in bundle.manifest.files:
        yield HALF


def next_rung(left: list[Rung], reason: str) -> Rung | None:
    """Take the next form off ``left``; where the reason is a known one, those that do not help are passed over."""
    if SINGLE_SCALES in left and _UNTYPED_SCALE.search(reason):
        del left[: left.index(SINGLE_SCALES)]
    return left.pop(0) if left else None


def _made_by(kind: str, index: GraphIndex, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that makes another's first input, where it is of a kind."""
    maker = index.producer(node.input[0])
    return maker if maker is not None and maker.op_type == kind else None
