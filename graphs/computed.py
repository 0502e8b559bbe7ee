"""What ONNX Runtime computes of a graph, and how that differs from what another one gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .index import fresh_graph_copy

CLOSE = 1e-3
"""Largest difference of two graphs' scores that counts as rounding, as a share of the largest score."""

Arrays = dict[str, NDArray[np.generic]]


def run(
    model: onnx.ModelProto,
    feeds: Mapping[str, NDArray[np.generic]],
    names: Sequence[str] = (),
    *,
    as_float: bool = False,
) -> Arrays:
    """What ONNX Runtime makes of some inputs, by the tensors' names.

    Args:
        model: in any precision.
        feeds: by the inputs' names.
        names: of the tensors that are wanted, outputs or not; none for all outputs.
        as_float: compute Q/DQ as the arithmetic that it stands for.

    Raises:
        Exception: whatever the runtime raises; it has no common base.
    """
    given = [output.name for output in model.graph.output]
    wanted = list(names or given)
    inner = [name for name in wanted if name not in given]
    if inner:
        model = _giving(model, inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if as_float:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(wanted, dict(feeds))))


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that gives some of its tensors as well; one of a type that cannot be inferred is taken for float."""
    copy = fresh_graph_copy(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred}
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in names
    )
    return copy


def difference(before: NDArray[np.generic], after: NDArray[np.generic]) -> str:
    """How two graphs' arrays differ beyond rounding; empty where they do not."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"{before.shape} {before.dtype} became {after.shape} {after.dtype}"
    if not np.issubdtype(before.dtype, np.floating):
        differ = float((before != after).mean())
        return f"{100 * differ:.2f} % of its values" if differ > CLOSE else ""
    one, other = before.astype(np.float64), after.astype(np.float64)
    largest, apart = float(np.abs(one).max(initial=0)), float(np.abs(one - other).max(initial=0))
    # Written so that a NaN is refused as well.
    return "" if apart <= CLOSE * max(largest, 1e-12) else f"by {apart:g}, where the largest value is {largest:g}"
