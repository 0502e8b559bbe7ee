from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration import tuning  # noqa: E402
from trtparse.calibration.bias_correction import correct_biases  # noqa: E402
from trtparse.calibration.graph import GraphIndex  # noqa: E402
from trtparse.calibration.lint import check  # noqa: E402
from trtparse.calibration.observation import Observer  # noqa: E402
from trtparse.calibration.placement import place, restrict  # noqa: E402
from trtparse.calibration.qdq import quantise  # noqa: E402
from trtparse.calibration.ranges import RangeCollector, Ranges  # noqa: E402
from trtparse.calibration.rounding import learn_rounding  # noqa: E402
from trtparse.calibration.tuning import tune_weights  # noqa: E402
from trtparse.calibration.weights import Int8Weights  # noqa: E402
from trtparse.engines.base import Frames  # noqa: E402
from trtparse.errors import DataError, MachineError  # noqa: E402

STEPS = 100


@pytest.fixture(scope="module")
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto, small_frames: Frames, ranges_for: Callable[..., Ranges]) -> Ranges:
    """Too narrow by half, so that there is much to make up for."""
    collector = RangeCollector(model, threads=1)
    collector.update("all", small_frames)
    limits = {name: (low / 2, high / 2) for name, (low, high) in collector.limits().items()}
    return replace(ranges_for(model), limits=limits)


@pytest.fixture(scope="module")
def tuned(model: onnx.ModelProto, ranges: Ranges, small_frames: Frames) -> Int8Weights:
    return tune_weights(model, place(model), ranges, small_frames, steps=STEPS, threads=1)


def divergence(model: onnx.ModelProto, ranges: Ranges, weights: Int8Weights, frames: Frames) -> float:
    """KL divergence of the classes of the graph that is written from those of FP32, by ONNX Runtime."""
    observers = [
        Observer(graph, ["logits"], (), 1) for graph in (model, quantise(model, place(model), ranges, weights=weights))
    ]
    total = 0.0
    for frame in frames:
        exact, ours = (torch.from_numpy(observer.activations(frame)[0]).log_softmax(1) for observer in observers)
        total += float((exact.exp() * (exact - ours)).sum(1).mean())
    return total / len(frames)


class TestTuning:
    def test_the_graph_that_is_written_answers_more_as_fp32(
        self, model: onnx.ModelProto, ranges: Ranges, tuned: Int8Weights, small_frames: Frames
    ) -> None:
        plain = divergence(model, ranges, Int8Weights(), small_frames)
        assert divergence(model, ranges, tuned, small_frames) < 0.8 * plain

    def test_what_is_tuned_is_the_graph_that_is_written(
        self, model: onnx.ModelProto, ranges: Ranges, tuned: Int8Weights, small_frames: Frames
    ) -> None:
        for weights in (Int8Weights("mse"), tuned):
            network = tuning._Quantised(model, place(model), ranges, weights)
            assert network.divergence(list(small_frames)) == pytest.approx(
                divergence(model, ranges, weights, small_frames), rel=0.02
            )

    def test_every_placed_weight_and_every_bias_learns(self, model: onnx.ModelProto, tuned: Int8Weights) -> None:
        index = GraphIndex(model.graph)
        sites = place(model).weights
        assert set(tuned.integers) == {site.tensor for site in sites}
        with_bias = {name for site in sites for name in site.layers} - {"up"}
        assert set(tuned.bias_shifts) == with_bias
        assert all(np.abs(shift).max() > 0 for shift in tuned.bias_shifts.values())
        changed = [
            site.tensor
            for site in sites
            if not np.array_equal(
                tuned.integers[site.tensor], Int8Weights().integers_of(index.array(site.tensor), site)
            )
        ]
        assert len(changed) > len(sites) / 2

    def test_it_goes_on_from_rounding_and_biases(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames
    ) -> None:
        rounded = learn_rounding(model, place(model), ranges, lambda: small_frames, steps=20, threads=1)
        begun = correct_biases(model, place(model), ranges, small_frames, weights=rounded, threads=1)
        network = tuning._Quantised(model, place(model), ranges, begun)
        same = network.weights()
        for tensor, integers in begun.integers.items():
            np.testing.assert_array_equal(same.integers[tensor], integers)
        for name, shift in begun.bias_shifts.items():
            np.testing.assert_array_equal(same.bias_shifts[name], shift)
        result = tune_weights(model, place(model), ranges, small_frames, weights=begun, steps=STEPS, threads=1)
        assert divergence(model, ranges, result, small_frames) < divergence(model, ranges, begun, small_frames)

    def test_without_a_gain_the_weights_stay_as_they_were(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tuning, "_WEIGHT_RATE", 50.0)
        begun = Int8Weights("mse")
        assert tune_weights(model, place(model), ranges, small_frames, weights=begun, steps=3, threads=1) is begun

    def test_layers_in_float_are_left_alone(self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames) -> None:
        placement = restrict(place(model), ["block.conv1", "head"])
        found = tune_weights(model, placement, ranges, small_frames, steps=5, threads=1)
        assert set(found.integers) <= {"block.conv1.weight", "head.weight"}
        assert set(found.bias_shifts) <= {"block.conv1", "head"}


class TestCall:
    def test_the_same_seed_gives_the_same_weights_and_progress_is_told(
        self, model: onnx.ModelProto, ranges: Ranges, tuned: Int8Weights, small_frames: Frames
    ) -> None:
        told: list[tuple[int, int]] = []
        again = tune_weights(
            model,
            place(model),
            ranges,
            iter(small_frames),
            steps=STEPS,
            threads=1,
            progress=lambda done, total: told.append((done, total)),
        )
        assert told == [(step, STEPS) for step in range(1, STEPS + 1)]
        for tensor, integers in tuned.integers.items():
            np.testing.assert_array_equal(again.integers[tensor], integers)

    def test_the_graph_passes_the_lint(self, model: onnx.ModelProto, ranges: Ranges, tuned: Int8Weights) -> None:
        check(quantise(model, place(model), ranges, weights=tuned))

    def test_without_frames_it_is_refused(self, model: onnx.ModelProto, ranges: Ranges) -> None:
        with pytest.raises(DataError, match="none to tune on"):
            tune_weights(model, place(model), ranges, [], threads=1)

    def test_without_pytorch_it_says_what_to_install(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MachineError, match="PyTorch is not installed"):
            tune_weights(model, place(model), ranges, small_frames, threads=1)
