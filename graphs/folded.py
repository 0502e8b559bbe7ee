"""Somebody else's graph without what its converter left in it: constants computed, layouts turned round and back.

TensorFlow's graphs have a Transpose before and behind every convolution, so that no activation stands next to its
convolution and INT8 finds little: of MoveNet's 154 five are left. ONNX Runtime's basic optimisations do that, which
keep to ONNX's own operators.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from .facts import STANDARD_DOMAINS
from .surgery import unique_node_names

_KEPT_APART = ["GeluFusionL1", "LayerNormFusionL1"]
"""What one operator of a newer opset would stand for; older versions of TensorRT know its parts alone."""


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same with fewer nodes.

    Raises:
        Exception: whatever the runtime raises; it has no common base.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="trtparse-") as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=_KEPT_APART
        )
        result = onnx.load(path)
    # The runtime notes every set of operators that it has.
    own = [entry for entry in result.opset_import if entry.domain in STANDARD_DOMAINS]
    del result.opset_import[:]
    result.opset_import.extend(own)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    unique_node_names(result)
    return result
