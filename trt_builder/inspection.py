"""What an engine really is: its layers by precision, and whether that is what was asked for.

Engines that were asked to be INT8 or FP16 and came out in FP32, without a word, are what this is against.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

import onnx
from onnx import TensorProto

from ..errors import BuildError
from ..graphs.index import GraphIndex
from ..storage.json_types import JsonObject, ReadJson
from .tensorrt_api import NetworkLayer

_HEIGHTS = {"int8": 0, "fp8": 1, "fp16": 2, "bf16": 3, "fp32": 4}
"""What a kernel computes in, the lowest first. Tensors of other types, as frames, labels and masks, tell nothing."""

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

_INT8_KERNEL = re.compile(r"i8i8|imma|(?<!u)int8", re.IGNORECASE)
"""In a kernel's name: ``sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32…``, ``sm72_imma_…``."""

_OPAQUE = ("myelin", "dla")
"""Kinds of layers that are networks of their own: what goes into them says nothing of the precision inside."""


class NotAsAsked(BuildError):
    """An engine is seen to run in another precision than was asked for."""


@dataclass(frozen=True)
class Inspection:
    """The layers of an engine.

    Args:
        judged_by: ``engine``, its own layers; or ``network``, the layers as the parser read them, where the engine
            cannot be loaded because there is no GPU.
        layers: how many.
        by_precision: how many read each precision.
        reformat_layers: how many only change a tensor's layout or precision; unknown, and 0, for a network.
        convolutions: how many run in each precision; ``unknown`` where the engine does not tell.
        higher_precision: names of convolutions in a higher precision than the graph gives them.
        unnamed: how many layers that convolve run in each precision, where no name is one of the graph's.
        problem: why nothing could be read; empty where it could.
    """

    judged_by: str
    layers: int
    by_precision: dict[str, int]
    reformat_layers: int
    convolutions: dict[str, int]
    higher_precision: tuple[str, ...]
    unnamed: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of an engine that passes."""
        told = [self.problem] if self.problem else []
        total, unknown = sum(self.convolutions.values()), self.convolutions.get(UNKNOWN, 0)
        if unknown:
            told.append(
                f"{unknown} of {total} convolutions could not be judged: the engine does not tell their precision."
            )
        if self.higher_precision:
            names = ", ".join(self.higher_precision)
            told.append(
                f"{len(self.higher_precision)} of {total} convolutions run in a higher precision than the graph gives "
                f"them: {names}."
            )
        return tuple(told)


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


def inspect_engine(inspector: str, wanted: dict[str, str]) -> Inspection:
    """Read what TensorRT's inspector says of an engine.

    Versions differ in what they tell. What cannot be read is unknown, which is no fault of the engine.

    Args:
        inspector: its JSON, from an engine that was built with detailed verbosity.
        wanted: the graph's convolutions, from :func:`wanted_convolutions`.
    """
    try:
        told = json.loads(inspector)
    except ValueError as error:
        return _unread(wanted, f"TensorRT's inspector gives no JSON that can be read ({error})")
    listed = (told.get("Layers") or []) if isinstance(told, dict) else []
    layers = [layer for layer in listed if isinstance(layer, dict)] if isinstance(listed, list) else []
    if not layers:
        return _unread(wanted, "TensorRT's inspector tells nothing of the engine's layers")
    reformats = [layer for layer in layers if _is_reformat(layer)]
    # A convolution's name may also stand at what was fused around it; its own layer speaks first.
    others = sorted(
        (layer for layer in layers if not _is_reformat(layer)), key=lambda layer: not _is_convolution(layer)
    )
    found = dict.fromkeys(wanted, UNKNOWN)
    for layer in others:
        if _is_opaque(layer):
            continue
        precision = layer_precision(layer)
        for name in named_in(f"{layer.get('Name', '')} {layer.get('Metadata', '')}", wanted):
            if found[name] == UNKNOWN:
                found[name] = precision
    unnamed = Counter[str]()
    if set(found.values()) <= {UNKNOWN}:
        unnamed.update(layer_precision(layer) for layer in others if _is_convolution(layer) and not _is_opaque(layer))
        unnamed.pop(UNKNOWN, None)
    inspection = _inspection(
        "engine", [layer_precision(layer) for layer in others], found, wanted, len(listed), len(reformats)
    )
    return replace(inspection, unnamed=dict(sorted(unnamed.items())))


def inspect_network(layers: Iterable[NetworkLayer], wanted: dict[str, str]) -> Inspection:
    """The same of a network as the parser read it, for an engine that cannot be loaded here."""
    listed = list(layers)
    found = dict.fromkeys(wanted, UNKNOWN)
    found.update({layer.name: layer.precision for layer in listed if layer.name in wanted})
    known = [layer.precision for layer in listed if layer.precision]
    return _inspection("network", known, found, wanted, len(listed), 0)


def check(inspection: Inspection, wanted: dict[str, str], asked: str) -> None:
    """Refuse an engine that is seen not to be what was asked for.

    Only what is known counts: a layer that tells nothing is neither right nor wrong.

    Raises:
        NotAsAsked: a convolution runs in a lower precision than asked for, or of those that the graph types in it
            more than half are known to run in a higher one.
    """
    found = inspection.convolutions
    lower = any(_HEIGHTS.get(name, 9) < _HEIGHTS[asked] for name in {*found, *inspection.unnamed})
    expected = sum(precision == asked for precision in wanted.values())
    wrong = 2 * len(inspection.higher_precision) > expected
    told = ", ".join(f"{count} in {name}" for name, count in found.items()) or "none"
    if inspection.unnamed:
        # No name is the graph's: then the layers that convolve are judged as such.
        delivered = inspection.unnamed.get(asked, 0)
        # Those that the graph itself keeps higher are among them.
        wrong = sum(inspection.unnamed.values()) - delivered - (len(wanted) - expected) > delivered
        told = ", ".join(f"{count} layers in {name}" for name, count in inspection.unnamed.items())
    seen = "engine's layers" if inspection.judged_by == "engine" else "network that TensorRT read"
    if wanted and (lower or wrong or not expected):
        raise NotAsAsked(
            f"Asked for {asked}, and the {seen} say otherwise: convolutions {told}; "
            f"the graph types {expected} in {asked}.",
            "Build the bundle's graph again: trtparse build CHECKPOINT"
            if inspection.judged_by == "network" or not expected
            else "A lower --optimization-level, more --workspace or another version of TensorRT may help.",
        )


def told_of_layers(inspector: str) -> dict[str, str]:
    """What an engine's inspector tells of each layer, by its name: that, and the graph's nodes that went into it, which
    the names of Myelin's kernels ("__myl_ConvAdd_myl0_3") do not tell."""
    try:
        told = json.loads(inspector)
    except ValueError:
        return {}
    listed = told.get("Layers") if isinstance(told, dict) else None
    layers = [layer for layer in listed if isinstance(layer, dict)] if isinstance(listed, list) else []
    return {str(layer.get("Name")): f"{layer.get('Name')} {layer.get('Metadata') or ''}" for layer in layers}


def layer_precision(layer: ReadJson) -> str:
    """What a layer of the inspector's JSON computes in: the lowest precision that its inputs, its weights or its
    kernel's name tell; where none does, the lowest of its outputs."""
    weights = [value.get("Type") for key, value in layer.items() if key.endswith("Weights") and isinstance(value, dict)]
    told = [*map(_tensor_precision, _tensors(layer, "Inputs")), *(_word(str(kind)) for kind in weights)]
    if _INT8_KERNEL.search(str(layer.get("TacticName") or "")):
        told.append("int8")
    return _lowest(told) or _lowest(map(_tensor_precision, _tensors(layer, "Outputs"))) or UNKNOWN


def _lowest(precisions: Iterable[str]) -> str:
    return min((name for name in precisions if name in _HEIGHTS), key=_HEIGHTS.__getitem__, default="")


def _tensors(layer: ReadJson, side: str) -> list[ReadJson]:
    tensors = layer.get(side)
    return [tensor for tensor in tensors if isinstance(tensor, dict)] if isinstance(tensors, list) else []


def _tensor_precision(tensor: ReadJson) -> str:
    # "Format/Datatype" until 10.x ("Row major linear FP16 format", "Half"); later ones may split the two.
    told = (_word(str(tensor.get(key) or "")) for key in ("Datatype", "DataType", "Format/Datatype", "Format"))
    return next((precision for precision in told if precision != UNKNOWN), UNKNOWN)


def _unread(wanted: dict[str, str], problem: str) -> Inspection:
    found = {UNKNOWN: len(wanted)} if wanted else {}
    return Inspection("engine", 0, {}, 0, found, (), problem=f"{problem}.")


def _inspection(
    judged_by: str, precisions: list[str], found: dict[str, str], wanted: dict[str, str], layers: int, reformats: int
) -> Inspection:
    higher = [
        name for name, precision in found.items() if _HEIGHTS.get(precision, -1) > _HEIGHTS.get(wanted.get(name, ""), 9)
    ]
    return Inspection(
        judged_by,
        layers,
        dict(sorted(Counter(precisions).items())),
        reformats,
        dict(sorted(Counter(found.values()).items())),
        tuple(higher),
    )


def _is_reformat(layer: ReadJson) -> bool:
    return str(layer.get("LayerType", "")).lower() == "reformat" or str(layer.get("Name", "")).startswith(
        "Reformatting CopyNode"
    )


def _is_opaque(layer: ReadJson) -> bool:
    """Whether a layer hides others: ``{ForeignNode[conv1...relu9]}``, of Myelin or of a deep-learning accelerator."""
    kind = str(layer.get("LayerType", "")).lower()
    return "ForeignNode" in str(layer.get("Name", "")) or kind.startswith(_OPAQUE)


def _is_convolution(layer: ReadJson) -> bool:
    return "conv" in f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()


def named_in(told: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` occur as whole names: ``layer1.conv1`` is not in ``layer1.conv1.weight + …``."""
    parts = set(re.split(r"\[ONNX Layer: |[\[\]]|\x1e|\x1f| \+ |\|\||[(){},\s]+|\.\.\.", told))
    return [name for name in names if name in parts]


def _word(text: str) -> str:
    lowered = text.lower()
    return next((precision for word, precision in _WORDS if word in lowered), UNKNOWN)
