from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from trtparse.calibration.quantise.bias_correction import correct_biases
from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.quantise.weights import Int8Weights
from trtparse.calibration.ranges import RangeCollector, Ranges
from trtparse.data.dataset import Image
from trtparse.engines.base import Frames
from trtparse.errors import DataError
from trtparse.graphs.index import GraphIndex


@pytest.fixture(scope="module")
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto, small_frames: Frames, ranges_for: Callable[..., Ranges]) -> Ranges:
    """Narrow ones: they clip, so that INT8 moves means."""
    collector = RangeCollector(model, threads=1)
    collector.update("all", small_frames)
    return replace(
        ranges_for(model), limits={name: (low / 2, high / 2) for name, (low, high) in collector.limits().items()}
    )


def channel_means(model: onnx.ModelProto, tensor: str, frames: Frames) -> NDArray[np.float64]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options, ["CPUExecutionProvider"])
    values: NDArray[np.float32] = session.run([tensor], {"frames": frames})[0]
    return values.mean(axis=(0, 2, 3), dtype=np.float64)


def alone(placement: Placement, layer: str) -> Placement:
    return restrict(placement, [layer])


class TestMeans:
    @pytest.mark.parametrize("layer", ["stem", "block.conv1", "down.conv1", "depthwise", "mix", "head"])
    @pytest.mark.parametrize("method", ["max", "mse"])
    def test_a_layer_in_int8_gives_on_average_what_it_gives_in_float(
        self, layer: str, method: str, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames
    ) -> None:
        placement = alone(place(model), layer)
        plain = Int8Weights(method)
        corrected = correct_biases(model, placement, ranges, small_frames, weights=plain, threads=1)
        wanted = channel_means(model, layer, small_frames)
        before, after = (
            np.abs(channel_means(quantise(model, placement, ranges, weights=weights), layer, small_frames) - wanted)
            for weights in (plain, corrected)
        )
        assert before.max() > 1e-3
        assert after.max() < 0.02 * before.max()

    def test_learned_integers_are_what_is_corrected(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames
    ) -> None:
        placement = alone(place(model), "head")
        zeros = np.zeros(GraphIndex(model.graph).array("head.weight").shape, np.int8)
        weights = correct_biases(
            model, placement, ranges, small_frames, weights=Int8Weights(integers={"head.weight": zeros}), threads=1
        )
        bias = GraphIndex(model.graph).array("head.bias")
        # With all weights 0 the bias is all there is.
        np.testing.assert_allclose(
            weights.bias_shifts["head"] + bias, channel_means(model, "head", small_frames), rtol=1e-4, atol=1e-5
        )


class TestResult:
    def test_it_keeps_scales_and_integers_and_shifts_every_placed_convolution_but_the_transposed(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames
    ) -> None:
        placement = place(model)
        learned = {"head.weight": np.ones((32, 32, 3, 3), np.int8)}
        weights = correct_biases(model, placement, ranges, small_frames, weights=Int8Weights("mse", learned), threads=1)
        assert weights.method == "mse"
        assert weights.integers == learned
        placed = {name for site in placement.weights for name in site.layers}
        assert set(weights.bias_shifts) == placed - {"up"}
        check(quantise(model, placement, ranges, weights=weights))

    def test_frames_are_taken_once_and_in_a_stream(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames
    ) -> None:
        def once() -> Iterator[Image]:
            yield from small_frames

        told: list[int] = []
        placement = place(model)
        streamed = correct_biases(model, placement, ranges, once(), threads=1, progress=told.append)
        whole = correct_biases(model, placement, ranges, small_frames, threads=1)
        assert told == list(range(1, len(small_frames) + 1))
        for layer, shift in whole.bias_shifts.items():
            np.testing.assert_array_equal(streamed.bias_shifts[layer], shift)

    def test_without_frames_it_is_refused(self, model: onnx.ModelProto, ranges: Ranges) -> None:
        with pytest.raises(DataError, match="none to correct biases on"):
            correct_biases(model, place(model), ranges, [], threads=1)
