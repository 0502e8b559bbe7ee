"""The INT8 graph of the CPU runtime: the same ranges, another form.

ONNX Runtime's fast kernels want uint8 activations, int8 weights, an int32 bias, and Q/DQ on outputs as well;
TensorRT's graph runs six times slower there. Its own quantiser writes that form; we hand it our ranges.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from ..errors import BuildError
from .graph import fresh_graph_copy
from .placement import Placement
from .ranges import Ranges

OPERATORS = ("Conv", "MaxPool")
"""What gains from INT8 there. Residual additions do not: they cost agreement with PyTorch and gave no speed."""


def quantise_for_cpu(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
    """A copy of an FP32 graph with U8S8 Q/DQ for ONNX Runtime.

    Args:
        model: the graph that ``placement`` and ``ranges`` belong to.
        placement: the convolutions and pools it quantises are quantised here, too.
        ranges: low and high of every activation before the logits.

    Raises:
        BuildError: the runtime's quantiser refuses the graph.
    """
    limits = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.limits.items()
    }
    placed = {name for sites in placement.activations.values() for name, _ in sites}
    nodes = [node.name for node in model.graph.node if node.op_type in OPERATORS and node.name in placed]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        quantizer = QDQQuantizer(
            fresh_graph_copy(model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=list(OPERATORS),
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except (ValueError, RuntimeError, KeyError) as error:
        raise BuildError(f"The CPU runtime's quantiser refuses the graph: {error}") from error
    finally:
        root.setLevel(level)
    result: onnx.ModelProto = quantizer.model.model
    result.graph.name = f"{model.graph.name}_int8_cpu"
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(result)
    return result
