"""An older graph raised to the opset that INT8, FP16 and what is put around a graph are written in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, version_converter

from .facts import opset_of
from .index import fresh_graph_copy

OPSET = 20
"""Of what is exported, and what older graphs are raised to."""

LEAST_IR = 10
"""The form of file that goes with ``OPSET``."""

CLOSE = 1e-3
"""Largest difference of two graphs' scores that counts as rounding, as a share of the largest score."""

Arrays = dict[str, NDArray[np.generic]]


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy at ``OPSET``, checked by ONNX's checker and by nothing else.

    Raises:
        Exception: whatever the converter or the checker raises; they have no common base.
    """
    copy = fresh_graph_copy(model)
    # An import that no node uses says nothing, and stops the converter where it is unknown.
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", opset_of(model)))
    raised = version_converter.convert_version(copy, OPSET)
    raised.ir_version = max(raised.ir_version, LEAST_IR)
    del raised.metadata_props[:]
    raised.metadata_props.extend(model.metadata_props)
    for number, node in enumerate(raised.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.checker.check_model(raised, full_check=True)
    return raised


def run(
    model: onnx.ModelProto,
    feeds: Mapping[str, NDArray[np.generic]],
    outputs: list[str] | None = None,
    *,
    as_float: bool = False,
) -> Arrays:
    """What ONNX Runtime makes of some inputs, by the outputs' names.

    Args:
        model: in any precision.
        feeds: by the inputs' names.
        outputs: those that are wanted; None for all.
        as_float: compute Q/DQ as the arithmetic that it stands for.

    Raises:
        Exception: whatever the runtime raises; it has no common base.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if as_float:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = outputs or [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds))))


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
