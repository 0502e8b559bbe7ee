"""The network with fake quantisers against the Q/DQ graphs that are written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import cycle

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.key import CalibrationKey  # noqa: E402
from trtparse.calibration.quantise.cpu import quantise_for_cpu  # noqa: E402
from trtparse.calibration.quantise.placement import place  # noqa: E402
from trtparse.calibration.quantise.qdq import quantise  # noqa: E402
from trtparse.calibration.ranges import RangeCollector, Ranges  # noqa: E402
from trtparse.calibration.training.network import FORMS, FakeQuantNetwork, Form  # noqa: E402
from trtparse.calibration.training.rounding import INT8_ENDS, UINT8_ENDS  # noqa: E402
from trtparse.errors import BuildError, UsageError  # noqa: E402
from trtparse.graphs.index import put_constant  # noqa: E402
from trtparse.tests.calibration.training.steps import assert_every_step_agrees  # noqa: E402

SHARES = (0.83, 0.77, 0.91, 0.87, 0.79)


def ranges_on(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> Ranges:
    """Ranges that clip, each by another share: between two of one scale a resize makes halves, and those are ties."""
    collector = RangeCollector(model, 1)
    for frame in frames:
        collector.update("frame", frame[None])
    reached = collector.limits().items()
    limits = {name: (low * share, high * share) for (name, (low, high)), share in zip(reached, cycle(SHARES))}
    unsigned = {name: 1.1 * high for name, (low, high) in limits.items() if low >= 0}
    return Ranges(limits, ("a",), (), "frames", 0, {}, CalibrationKey("", "", ""), unsigned=unsigned)


Ladder = tuple[onnx.ModelProto, Ranges]


@pytest.fixture
def ladder(new_ladder: Callable[..., onnx.ModelProto], small_frames: NDArray[np.uint8]) -> Ladder:
    model = new_ladder()
    return model, ranges_on(model, small_frames)


def graph_of(model: onnx.ModelProto, ranges: Ranges, form: str) -> onnx.ModelProto:
    if form == "fp32":
        return model
    write = quantise if form == "int8" else quantise_for_cpu
    return write(model, place(model), ranges)


@pytest.mark.parametrize("form", [*FORMS, "fp32"])
def test_every_node_computes_what_the_graphs_does(ladder: Ladder, small_frames: NDArray[np.uint8], form: Form) -> None:
    model, ranges = ladder
    network = FakeQuantNetwork(model, place(model), ranges)

    assert_every_step_agrees(network, graph_of(model, ranges, form), form, small_frames)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_learned_is_what_is_written(ladder: Ladder, small_frames: NDArray[np.uint8], form: Form) -> None:
    model, ranges = ladder
    network = FakeQuantNetwork(model, place(model), ranges, pace=2.0)
    torch.manual_seed(0)
    with torch.no_grad():
        network.logarithms.normal_(std=0.1)
        for value in (*network.weights, *network.biases):
            value.add_(torch.randn_like(value) * 0.05)

    trained = onnx.ModelProto()
    trained.CopyFrom(model)
    for name, value in network.trained().items():
        put_constant(trained.graph, name, value.numpy())
    learned = network.ranges()
    assert all(learned.limits[name] != ranges.limits[name] for name in place(model).activations)
    assert_every_step_agrees(network, graph_of(trained, learned, form), form, small_frames)


def test_the_whole_network_computes_what_its_steps_do_and_a_copy_has_its_own_weights(
    ladder: Ladder, small_frames: NDArray[np.uint8]
) -> None:
    model, ranges = ladder
    network = FakeQuantNetwork(model, place(model), ranges)
    frames = torch.from_numpy(small_frames)
    with torch.no_grad():
        before, exact = network(frames, "int8"), network(frames, "fp32")
        changed = copy.deepcopy(network)
        for value in changed.weights:
            value.mul_(0.5)
        assert not torch.allclose(changed(frames, "int8"), before)
        assert torch.equal(network(frames, "int8"), before)
    assert before.shape == (6, 20, 8, 8)
    assert 0.01 < float((before - exact).std() / exact.std()) < 0.5


@pytest.mark.parametrize("form", FORMS)
def test_everything_that_a_form_has_learns(ladder: Ladder, small_frames: NDArray[np.uint8], form: Form) -> None:
    model, ranges = ladder
    network = FakeQuantNetwork(model, place(model), ranges)

    network(torch.from_numpy(small_frames), form).square().mean().backward()

    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in (*network.weights, *network.biases))
    assert network.logarithms.grad is not None
    learning = int((network.logarithms.grad != 0).any(0).sum())
    placement = place(model)
    # Of ranges that share a scale the widest learns.
    assert learning >= len(placement.activations) - sum(len(group) - 1 for group in placement.shared)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("negative", [True, False])
def test_a_threshold_learns_from_its_end_and_from_the_noise_of_its_scale(
    ladder: Ladder, form: Form, negative: bool
) -> None:
    """The gradient of the three logarithms of a tensor, against finite differences in float64."""
    model, ranges = ladder
    placement = place(model)
    network = FakeQuantNetwork(model, placement, ranges, pace=2.0)
    alone = placement.activations.keys() - {tensor for group in placement.shared for tensor in group}
    name = next(name for name in sorted(alone) if (name not in ranges.unsigned) == negative)
    bounds = np.array((*ranges.limits[name], ranges.unsigned.get(name, 0.0)))
    x = torch.linspace(-1.5, 1.5, 301) * float(np.abs(bounds).max())
    loss = torch.cos(torch.arange(301.0) / 17) + 0.3
    (network.rounded(x, name, form) * loss).sum().backward()

    scale, zero = (float(value.detach()) for value in network.scale(name, form))
    ends = INT8_ENDS if form == "int8" else UINT8_ENDS
    levels = np.round(x.numpy() / np.float32(scale)) + zero
    noise = levels - zero - x.numpy().astype(float) / scale

    def exact(logarithms: NDArray[np.float64]) -> tuple[float, float]:
        low, high, unsigned = bounds * np.exp(2.0 * logarithms)
        if form == "int8":
            return max(-low, high) / INT8_ENDS[1], 0.0
        low, high = min(low, 0.0), high if negative else unsigned
        return (high - low) / UINT8_ENDS[1], -low * UINT8_ENDS[1] / (high - low)

    _, zero_before = exact(np.zeros(3))

    def value(logarithms: NDArray[np.float64]) -> float:
        scale_here, zero_here = exact(logarithms)
        clipped = (np.clip(levels, *ends) - zero - zero_here + zero_before) * scale_here
        within = (levels >= ends[0]) & (levels <= ends[1])
        return float((loss.numpy() * np.where(within, x.numpy() + noise * scale_here, clipped)).sum())

    slopes = np.array([(value(step) - value(-step)) / 2e-5 for step in 1e-5 * np.eye(3)])
    assert network.logarithms.grad is not None
    assert np.abs(slopes).max() > 1
    found = network.logarithms.grad[:, network._row[name]].numpy()
    np.testing.assert_allclose(found, slopes * (301 * ends[1]) ** -0.5, rtol=0.01, atol=1e-3)


def test_a_range_that_has_collapsed_is_refused(ladder: Ladder) -> None:
    model, ranges = ladder
    network = FakeQuantNetwork(model, place(model), ranges)
    with torch.no_grad():
        network.logarithms.fill_(-20.0)

    with pytest.raises(BuildError, match=r"has collapsed.*from"):
        network.ranges()


def test_a_node_that_cannot_be_trained_is_named(new_graph: type, ranges_for: Callable[..., Ranges]) -> None:
    new = new_graph()
    model = new.labels(new.node("Erf", [new.relu(new.conv(new.image(), "stem", (3, 16)))], "odd"), 16)

    with pytest.raises(UsageError, match=r"of node odd, there is no Erf"):
        FakeQuantNetwork(model, place(model), ranges_for(model))
