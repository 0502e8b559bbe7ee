"""What an engine of a graph will give, by what the graph says of its outputs."""

from __future__ import annotations

import onnx

from ..graphs.raw import raw_output_of
from .base import OutputSpec


def output_specs(model: onnx.ModelProto) -> tuple[tuple[OutputSpec, ...], OutputSpec | None]:
    """What a graph gives, and the raw tensor where it gives that as well."""
    raw = raw_output_of(model)
    specs = [_spec(output) for output in model.graph.output]
    return tuple(spec for spec in specs if spec.name != raw), next((spec for spec in specs if spec.name == raw), None)


def _spec(output: onnx.ValueInfoProto) -> OutputSpec:
    kind = output.type.tensor_type
    lengths = [length.dim_value if length.HasField("dim_value") else None for length in kind.shape.dim]
    return OutputSpec(output.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, tuple(lengths[1:]))
