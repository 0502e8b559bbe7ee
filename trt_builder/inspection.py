"""What an engine really is: its layers by precision, and whether that is what was asked for.

Engines that were asked to be INT8 or FP16 and came out in FP32, without a word, are what this is against.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import onnx
from onnx import TensorProto

from ..errors import BuildError
from ..graphs.index import GraphIndex
from .tensorrt_api import NetworkLayer

_LOWNESS = {"fp32": 0, "fp16": 1, "int8": 2}
UNKNOWN = "unknown"

# In this order: "UInt8" holds "Int8", and "BFloat16" holds "Float".
_WORDS = (
    ("uint8", "uint8"),
    ("int8", "int8"),
    ("fp8", "fp8"),
    ("bf16", "bf16"),
    ("bfloat16", "bf16"),
    ("fp16", "fp16"),
    ("half", "fp16"),
    ("float16", "fp16"),
    ("fp32", "fp32"),
    ("float", "fp32"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("bool", "bool"),
)


@dataclass(frozen=True)
class Inspection:
    """The layers of an engine.

    Args:
        judged_by: ``engine``, its own layers; or ``network``, the layers as the parser read them, where the engine
            cannot be loaded because there is no GPU.
        layers: how many.
        by_precision: how many read each precision.
        reformat_layers: how many only change a tensor's layout or precision; unknown, and 0, for a network.
        convolutions: how many run in each precision.
        higher_precision: names of convolutions in a higher precision than the engine was asked for.
    """

    judged_by: str
    layers: int
    by_precision: dict[str, int]
    reformat_layers: int
    convolutions: dict[str, int]
    higher_precision: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def wanted_convolutions(model: onnx.ModelProto) -> dict[str, str]:
    """Each convolution of a graph, by name, and the precision that the graph gives it."""
    index = GraphIndex(model.graph)
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    wanted = {}
    for node in index.convolutions():
        makers = [index.producer(name) for name in node.input[:2]]
        quantised = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
        wanted[node.name] = "int8" if quantised else "fp16" if half else "fp32"
    return wanted


def inspect_engine(inspector: str, wanted: dict[str, str], asked: str) -> Inspection:
    """Read what TensorRT's inspector says of an engine.

    Args:
        inspector: its JSON, from an engine that was built with detailed verbosity.
        wanted: the graph's convolutions, from :func:`wanted_convolutions`.
        asked: the precision that was asked for.

    Raises:
        BuildError: the JSON holds names alone, so that nothing can be said.
    """
    layers = json.loads(inspector).get("Layers", [])
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise BuildError("TensorRT's inspector tells nothing of the engine's layers, so its precision is unknown.")
    reformats = [layer for layer in layers if _is_reformat(layer)]
    # A convolution's name may also stand at what was fused around it; its own layer speaks first.
    others = sorted(
        (layer for layer in layers if not _is_reformat(layer)), key=lambda layer: not _is_convolution(layer)
    )
    found = dict.fromkeys(wanted, UNKNOWN)
    for layer in others:
        told = f"{layer.get('Name', '')} {layer.get('Metadata', '')}"
        for name in _named_in(told, wanted):
            precision = layer_precision(layer)
            if found[name] == UNKNOWN:
                found[name] = precision
    return _inspection(
        "engine", [layer_precision(layer) for layer in others], found, asked, len(layers), len(reformats)
    )


def inspect_network(layers: Iterable[NetworkLayer], wanted: dict[str, str], asked: str) -> Inspection:
    """The same of a network as the parser read it, for an engine that cannot be loaded here."""
    listed = list(layers)
    found = dict.fromkeys(wanted, UNKNOWN)
    found.update({layer.name: layer.precision for layer in listed if layer.name in wanted})
    known = [layer.precision for layer in listed if layer.precision]
    return _inspection("network", known, found, asked, len(listed), 0)


def check(inspection: Inspection, wanted: dict[str, str], asked: str) -> None:
    """See that an engine is what was asked for.

    Raises:
        BuildError: a convolution runs in a lower precision than asked for, none runs in it, or fewer than half of
            those that the graph types in it do.
    """
    found = inspection.convolutions
    lower = {name: count for name, count in found.items() if _LOWNESS.get(name, 0) > _LOWNESS[asked] and count}
    told = ", ".join(f"{count} in {name}" for name, count in found.items()) or "none"
    seen = "engine's layers" if inspection.judged_by == "engine" else "network that TensorRT read"
    expected = sum(precision == asked for precision in wanted.values())
    if set(found) <= {UNKNOWN}:
        # All are inside layers without a name of ours: then the layers as such are judged.
        expected, delivered = 1, inspection.by_precision.get(asked, 0)
        told = ", ".join(f"{count} layers in {name}" for name, count in inspection.by_precision.items()) or told
    else:
        delivered = found.get(asked, 0)
    if wanted and (lower or delivered == 0 or 2 * delivered < expected):
        raise BuildError(
            f"Asked for {asked}, and the {seen} say otherwise: convolutions {told}; "
            f"the graph types {expected} in {asked}.",
            "Build the bundle's graph again: trtparse build CHECKPOINT"
            if inspection.judged_by == "network"
            else "A lower --optimization-level, more --workspace or another version of TensorRT may help.",
        )


def layer_precision(layer: dict[str, Any]) -> str:
    """What a layer of the inspector's JSON reads, or where it reads nothing, writes."""
    tensors = [*layer.get("Inputs", []), *layer.get("Outputs", [])]
    for tensor in tensors:
        # "Format/Datatype" until 10.x ("Row major linear FP16 format", "Half"); later ones may split the two.
        for key in ("Datatype", "DataType", "Format/Datatype", "Format"):
            precision = _word(str(tensor.get(key, "")))
            if precision != UNKNOWN:
                return precision
    weights = layer.get("Weights")
    return _word(str(weights.get("Type", ""))) if isinstance(weights, dict) else UNKNOWN


def _inspection(
    judged_by: str, precisions: list[str], found: dict[str, str], asked: str, layers: int, reformats: int
) -> Inspection:
    higher = [name for name, precision in found.items() if _LOWNESS.get(precision, 9) < _LOWNESS[asked]]
    return Inspection(
        judged_by,
        layers,
        dict(sorted(Counter(precisions).items())),
        reformats,
        dict(sorted(Counter(found.values()).items())),
        tuple(higher),
    )


def _is_reformat(layer: dict[str, Any]) -> bool:
    return str(layer.get("LayerType", "")).lower() == "reformat" or str(layer.get("Name", "")).startswith(
        "Reformatting CopyNode"
    )


def _is_convolution(layer: dict[str, Any]) -> bool:
    return "conv" in f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()


def _named_in(told: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` occur as whole names: ``layer1.conv1`` is not in ``layer1.conv1.weight + …``."""
    parts = set(re.split(r"\[ONNX Layer: |[\[\]]|\x1e|\x1f| \+ |\|\||[(){},\s]+|\.\.\.", told))
    return [name for name in names if name in parts]


def _word(text: str) -> str:
    lowered = text.lower()
    return next((precision for word, precision in _WORDS if word in lowered), UNKNOWN)
