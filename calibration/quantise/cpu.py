"""The INT8 graph of the CPU runtime: the same calibration, another form.

ONNX Runtime's fast kernels want uint8 activations, int8 weights, an int32 bias, and Q/DQ on outputs as well;
TensorRT's graph runs six times slower there. Its own quantiser writes that form; we hand it our ranges.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from ...errors import BuildError
from ...graphs.index import GraphIndex, fresh_graph_copy
from ..ranges import Ranges
from .placement import Placement, WeightSite
from .weights import Int8Weights, along

OPERATORS = ("Conv", "MaxPool")
"""What gains from INT8 there. Residual additions do not: they cost agreement with PyTorch and gave no speed."""

FOLDED = ("Relu", "Clip")
"""What becomes the lower end of a convolution's uint8 output. Where it stays a node of its own, its input is rounded
over a range twice as wide, and rounded again after it: 97.1 instead of 98.0 points of agreement (measured, the student
on 139 images of CCP)."""

_LARGEST_BIAS = 2.0**30
"""Of an int32 bias, with room for the sum that it is added to."""


def quantise_for_cpu(
    model: onnx.ModelProto, placement: Placement, ranges: Ranges, *, weights: Int8Weights = Int8Weights()
) -> onnx.ModelProto:
    """A copy of an FP32 graph with U8S8 Q/DQ for ONNX Runtime.

    Args:
        model: the graph that ``placement`` and ``ranges`` belong to.
        placement: the convolutions that it quantises are quantised here, too, and the max pools behind them.
        ranges: low and high of every activation before the logits.
        weights: scales per channel, learned rounding and moved biases: the same as in TensorRT's graph.

    Raises:
        BuildError: the runtime's quantiser refuses the graph, or weights that do not fit it.
    """
    limits = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(ranges.unsigned.get(name, high)))
        for name, (low, high) in ranges.limits.items()
    }
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
            nodes_to_quantize=_nodes(model, placement),
            nodes_to_exclude=[],
            op_types_to_quantize=[*OPERATORS, *FOLDED],
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except (ValueError, RuntimeError, KeyError) as error:
        raise BuildError(f"The CPU runtime's quantiser refuses the graph: {error}") from error
    finally:
        root.setLevel(level)
    result: onnx.ModelProto = quantizer.model.model
    _put_weights(result, model, placement, weights)
    result.graph.name = f"{model.graph.name}_int8_cpu"
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(result)
    return result


def _nodes(model: onnx.ModelProto, placement: Placement) -> list[str]:
    """Names of what is quantised: the placed convolutions, what folds into them, and max pools of what they give.

    A convolution gives integers here, and a max pool picks among them: it rounds nothing, and in float it is slower.
    """
    index = GraphIndex(model.graph)
    placed = {name for site in placement.weights for name in site.layers}
    quantised: dict[str, str] = {}
    for node in index.nodes:
        maker = index.producer(node.input[0]) if node.op_type in (*FOLDED, "MaxPool") else None
        made_in_int8 = "" if maker is None else quantised.get(maker.name, "")
        if (
            (node.op_type == "Conv" and node.name in placed)
            or (node.op_type in FOLDED and made_in_int8 == "Conv")
            or (node.op_type == "MaxPool" and made_in_int8)
        ):
            quantised[node.name] = node.op_type
    return list(quantised)


def _put_weights(result: onnx.ModelProto, model: onnx.ModelProto, placement: Placement, weights: Int8Weights) -> None:
    """Replace the quantiser's scales, integers and biases by those of ``weights``."""
    original, index = GraphIndex(model.graph), GraphIndex(result.graph)
    made = {node.name: node for node in index.nodes}
    sources = {node.name: node for node in original.nodes}
    for site in placement.weights:
        # A transposed convolution has no kernel in INT8 there and stayed float.
        layers = [name for name in site.layers if _dequantiser(made[name], 1, index) is not None]
        biases = {name: weights.bias_of(sources[name], original) for name in layers}
        units = {name: float(_scale(made[name], 0, index)) for name in layers}
        scales, integers = _integers(original.array(site.tensor), site, weights, biases, units)
        for name in layers:
            dequantise = _dequantiser(made[name], 1, index)
            assert dequantise is not None
            _set(index, dequantise.input[0], integers)
            _set(index, dequantise.input[1], scales)
            bias = biases[name]
            if bias is not None:
                _put_bias(result.graph, made[name], bias, np.float32(units[name]) * scales, index)


def _integers(
    weight: NDArray[np.generic],
    site: WeightSite,
    weights: Int8Weights,
    biases: dict[str, NDArray[np.float32] | None],
    units: dict[str, float],
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scales and integers of a weight; channels so small that their bias would not fit get a larger scale."""
    scales, integers = weights.scales(weight, site), weights.integers_of(weight, site)
    least = np.zeros(scales.shape, np.float32)
    for name, bias in biases.items():
        if bias is not None:
            least = np.maximum(least, np.abs(bias) / np.float32(units[name] * _LARGEST_BIAS))
    wider = np.maximum(scales, least)
    ratio = along(np.asarray(scales / wider, np.float32), site.axis, weight.ndim)
    return wider, np.where(ratio < 1, np.rint(integers * ratio), integers).astype(np.int8)


def _put_bias(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    bias: NDArray[np.float32],
    scales: NDArray[np.float32],
    index: GraphIndex,
) -> None:
    values = np.rint(bias.astype(np.float64) / scales).astype(np.int32)
    dequantise = _dequantiser(node, 2, index)
    if dequantise is not None and len(index.consumers(node.input[2])) == 1:
        _set(index, dequantise.input[0], values)
        _set(index, dequantise.input[1], scales)
        return
    stem = f"{node.name}.bias_int32"
    graph.initializer.append(numpy_helper.from_array(values, stem))
    graph.initializer.append(numpy_helper.from_array(scales, f"{stem}_scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros_like(values), f"{stem}_zero_point"))
    inputs = [stem, f"{stem}_scale", f"{stem}_zero_point"]
    # Its inputs are constants: it may stand anywhere before its reader.
    graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [f"{stem}_float"], f"{stem}_dq", axis=0))
    del node.input[2:]
    node.input.append(f"{stem}_float")


def _dequantiser(node: onnx.NodeProto, position: int, index: GraphIndex) -> onnx.NodeProto | None:
    """The DequantizeLinear that makes an input."""
    maker = index.producer(node.input[position]) if len(node.input) > position else None
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _scale(node: onnx.NodeProto, position: int, index: GraphIndex) -> NDArray[np.generic]:
    dequantise = _dequantiser(node, position, index)
    assert dequantise is not None
    return index.array(dequantise.input[1])


def _set(index: GraphIndex, name: str, value: NDArray[np.generic]) -> None:
    index.initializers[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
