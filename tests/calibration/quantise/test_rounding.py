from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from trtparse.calibration.quantise import rounding
from trtparse.calibration.quantise.lint import check
from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.calibration.quantise.qdq import activation_scales, quantise
from trtparse.calibration.quantise.rounding import learn_rounding
from trtparse.calibration.quantise.weights import Int8Weights, along, nearest
from trtparse.calibration.ranges import RangeCollector, Ranges
from trtparse.data.dataset import Image
from trtparse.engines.base import Frames
from trtparse.errors import DataError, MachineError
from trtparse.graphs.index import GraphIndex

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto, small_frames: Frames, ranges_for: Callable[..., Ranges]) -> Ranges:
    collector = RangeCollector(model, threads=1)
    collector.update("all", small_frames)
    return replace(ranges_for(model), limits=collector.limits())


@pytest.fixture(scope="module")
def learned(model: onnx.ModelProto, ranges: Ranges, small_frames: Frames) -> Int8Weights:
    return learn_rounding(model, place(model), ranges, lambda: small_frames, steps=120, threads=1)


def output_error(
    weight: NDArray[np.float32], scale: NDArray[np.float32], moments: NDArray[np.float32], integers: NDArray[np.int8]
) -> NDArray[np.float64]:
    """(out channels,): mean squared error of a layer's output."""
    groups = len(moments)
    error = integers * along(scale, 0, weight.ndim).astype(np.float64) - weight
    rows = error.reshape(groups, len(weight) // groups, -1)
    return np.einsum("gok,gkl,gol->go", rows, moments.astype(np.float64), rows).reshape(-1)


def moments_of(model: onnx.ModelProto, placement: Placement, ranges: Ranges, frames: Frames) -> list[rounding._Moments]:
    index = GraphIndex(model.graph)
    layers = list(rounding.placed_convolutions(index, placement))
    return rounding._observe(model, layers, activation_scales(placement, ranges), frames, index, 1)


class TestLearning:
    def test_each_weight_goes_up_or_down_and_no_further(self, model: onnx.ModelProto, learned: Int8Weights) -> None:
        index = GraphIndex(model.graph)
        assert learned.integers
        for site in place(model).weights:
            if site.tensor in learned.integers:
                weight = index.array(site.tensor)
                exact = weight / along(learned.scales(weight, site), 0, weight.ndim)
                assert (np.abs(learned.integers[site.tensor] - exact) <= 1).all(), site.tensor

    def test_every_placed_convolution_but_the_transposed_learns(
        self, model: onnx.ModelProto, learned: Int8Weights
    ) -> None:
        assert set(learned.integers) == {site.tensor for site in place(model).weights} - {"up.weight"}

    def test_outputs_of_each_channel_come_nearer_to_float_s_or_stay(
        self, model: onnx.ModelProto, ranges: Ranges, learned: Int8Weights, small_frames: Frames
    ) -> None:
        index = GraphIndex(model.graph)
        better = 0
        for found in moments_of(model, place(model), ranges, small_frames):
            weight = index.array(found.site.tensor)
            scale = learned.scales(weight, found.site)
            mean = found.mean
            before = output_error(weight, scale, mean, nearest(weight, scale, 0))
            after = output_error(weight, scale, mean, learned.integers[found.site.tensor])
            assert (after <= before * (1 + 1e-3) + 1e-12).all(), found.site.tensor
            better += int(after.sum() < 0.6 * before.sum())
        assert better >= 10

    def test_a_small_layer_finds_what_trying_every_choice_finds(self) -> None:
        rng = np.random.default_rng(2)
        weight = rng.normal(size=(6, 8, 1, 1)).astype(np.float32)
        scale = (np.abs(weight).max(axis=(1, 2, 3)) / 7).astype(np.float32)
        samples = (np.abs(rng.normal(size=(500, 8))) @ rng.normal(size=(8, 8))).astype(np.float32)
        moments = (samples.T @ samples / len(samples))[None]
        found = output_error(weight, scale, moments, rounding._learn(weight, scale, moments, 400, 1))
        plain = output_error(weight, scale, moments, nearest(weight, scale, 0))
        lower = np.floor(weight / along(scale, 0, 4))
        every = np.array(
            [
                output_error(weight, scale, moments, (lower + np.reshape(up, (1, 8, 1, 1))).astype(np.int8))
                for up in product((0, 1), repeat=8)
            ]
        )
        assert found.sum() <= every.min(axis=0).sum() + 0.2 * (plain.sum() - every.min(axis=0).sum())

    def test_moments_are_those_of_the_int8_patches(
        self, new_graph: Callable[..., object], ranges_for: Callable[..., Ranges]
    ) -> None:
        new = new_graph(size=4)  # type: ignore[operator]
        model = new.labels(new.relu(new.conv(new.image(), "first", (3, 16), 1)), 16)
        ranges = ranges_for(model)
        frames = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
        scale = activation_scales(place(model), ranges)["image"]
        values = np.clip(np.rint(frames.reshape(-1, 3).astype(np.float32) / 255 / scale), -128, 127) * scale
        (found,) = moments_of(model, place(model), ranges, frames)
        np.testing.assert_allclose(found.mean[0], values.T @ values / len(values), rtol=1e-4)


class TestCall:
    def test_the_same_seed_gives_the_same_integers(
        self, model: onnx.ModelProto, ranges: Ranges, learned: Int8Weights, small_frames: Frames
    ) -> None:
        again = learn_rounding(model, place(model), ranges, lambda: small_frames, steps=120, threads=1)
        for tensor, integers in learned.integers.items():
            np.testing.assert_array_equal(again.integers[tensor], integers)

    def test_frames_are_seen_once_per_round_and_the_rounds_make_no_difference(
        self,
        model: onnx.ModelProto,
        ranges: Ranges,
        small_frames: Frames,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        placement = restrict(place(model), ["block.conv1", "block.conv2", "mix", "head"])
        calls = 0

        def frames() -> Iterator[Image]:
            nonlocal calls
            calls += 1
            yield from small_frames

        told: list[tuple[int, int]] = []
        whole = learn_rounding(model, placement, ranges, frames, steps=20, threads=1)
        assert calls == 1
        monkeypatch.setattr(rounding, "MOMENT_BYTES", 1)
        layers = learn_rounding(
            model,
            placement,
            ranges,
            frames,
            steps=20,
            threads=1,
            progress=lambda done, total: told.append((done, total)),
        )
        assert calls == 1 + 4
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
        for tensor, integers in whole.integers.items():
            np.testing.assert_array_equal(layers.integers[tensor], integers)

    def test_the_graph_with_learned_integers_passes_the_lint(
        self, model: onnx.ModelProto, ranges: Ranges, learned: Int8Weights
    ) -> None:
        check(quantise(model, place(model), ranges, weights=learned))

    def test_without_frames_it_is_refused(self, model: onnx.ModelProto, ranges: Ranges) -> None:
        with pytest.raises(DataError, match="none to learn rounding on"):
            learn_rounding(model, place(model), ranges, list, steps=1, threads=1)

    def test_without_pytorch_it_says_what_to_install(
        self, model: onnx.ModelProto, ranges: Ranges, small_frames: Frames, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MachineError, match="PyTorch is not installed"):
            learn_rounding(model, place(model), ranges, lambda: small_frames, threads=1)
