"""An older graph raised to the opset that INT8, FP16 and what is put around a graph are written in."""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from .facts import opset_of
from .index import fresh_graph_copy
from .surgery import unique_node_names

OPSET = 20
"""Of what is exported, and what older graphs are raised to."""

LEAST_IR = 10
"""The form of file that goes with ``OPSET``."""


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
    unique_node_names(raised)
    onnx.checker.check_model(raised, full_check=True)
    return raised
