"""Every network of the registry in INT8: random weights, small input, the structures that its options bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.quantise.cpu import quantise_for_cpu  # noqa: E402
from trtparse.calibration.quantise.lint import problems_of  # noqa: E402
from trtparse.calibration.quantise.placement import Placement, place, restrict  # noqa: E402
from trtparse.calibration.quantise.qdq import quantise  # noqa: E402
from trtparse.calibration.ranges import RangeCollector, Ranges  # noqa: E402
from trtparse.calibration.training.folding import folded_convolutions  # noqa: E402
from trtparse.calibration.training.network import FakeQuantNetwork  # noqa: E402
from trtparse.graphs.half import to_half  # noqa: E402
from trtparse.graphs.index import CONVOLUTIONS, GraphIndex, fresh_graph_copy  # noqa: E402
from trtparse.networks.checkpoint import Checkpoint  # noqa: E402
from trtparse.networks.network import ParsingNetwork  # noqa: E402
from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.networks.registry import NETWORKS, create_network  # noqa: E402
from trtparse.networks.resnet import BLOCKS  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.tests.calibration.training.steps import assert_every_step_agrees  # noqa: E402
from trtparse.trt_builder.export import export_onnx  # noqa: E402

LIP = label_set("lip")

SIZE = (64, 64)

EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "psp, channel attention, separable": (
        "lsfa-r18",
        {"context": "psp", "fusion": "channel_attention", "separable": True},
    ),
    "no context, no fusion": ("lsfa-r18", {"context": "none", "fusion": "none"}),
    "inverted residuals": ("lsfa-efficientnet-lite0", {"context": "none", "fusion": "none"}),
    "inverted residuals without norms": ("lsfa-mobilenetv2-175", {"context": "none", "fusion": "none"}),
    "atrous pyramid, smooth module": ("c-dlinknet", {"backbone": "resnet34", "smooth_level": 4}),
    "dilated cascade, deconvolution head": (
        "c-dlinknet",
        {"backbone": "resnet34", "aspp": "none", "smooth": False, "d2_skip": False},
    ),
}


@dataclass(frozen=True)
class Example:
    """A network as a graph, where Q/DQ goes, and both quantised forms."""

    network: ParsingNetwork
    fp32: onnx.ModelProto
    placement: Placement
    ranges: Ranges
    int8: onnx.ModelProto
    typed: onnx.ModelProto
    frames: NDArray[np.uint8]

    def named(self) -> dict[str, onnx.NodeProto]:
        return {node.name: node for node in self.fp32.graph.node}


SLOW = ("no context, no fusion",)  # whose parts the others have


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in EXAMPLES],
)
def example(request: pytest.FixtureRequest, ranges_for: Callable[..., Ranges]) -> Example:
    kind, options = EXAMPLES[request.param]
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    with pytest.MonkeyPatch.context() as patch:
        # One block in each layer of a trunk: the structures are the same, and the export takes a third of the time.
        for depth, (block, _) in BLOCKS.items():
            patch.setitem(BLOCKS, depth, (block, (1, 1, 1, 1)))
        network = create_network(kind, options)
    model = export_onnx(Checkpoint(settled(network, frames), Framing(SIZE), LIP))
    collector = RangeCollector(model, 1)
    for frame in frames:
        collector.update("frame", frame[None])
    placement = place(model)
    ranges = ranges_for(model)
    ranges.limits.update(collector.limits())
    int8 = quantise(model, placement, ranges)
    return Example(network, model, placement, ranges, int8, to_half(int8), frames)


def settled(network: ParsingNetwork, frames: NDArray[np.uint8]) -> ParsingNetwork:
    """With batch norms that fit the random weights, as training leaves them: else deep networks vanish."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(normalise(torch.from_numpy(frames)))
    return network.eval()


def output_of(model: onnx.ModelProto, tensor: str, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A tensor's value, with Q/DQ as the arithmetic that it stands for."""
    observed = fresh_graph_copy(model)
    del observed.graph.output[:]
    observed.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"frames": frame[None]})[0] for frame in frames])


def kind(node: onnx.NodeProto) -> str:
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return f"{node.op_type} in groups" if group > 1 else str(node.op_type)


def test_there_is_an_example_of_every_network() -> None:
    # Lite2 has the blocks of Lite0, and more of them.
    assert {kind for kind, _ in EXAMPLES.values()} == set(NETWORKS) - {"lsfa-efficientnet-lite2"}


def test_every_convolution_is_either_quantised_or_explained(example: Example) -> None:
    quantised = {name for site in example.placement.weights for name in site.layers}
    convolutions = {node.name for node in example.fp32.graph.node if node.op_type in CONVOLUTIONS}
    assert quantised
    assert quantised | example.placement.higher_precision.keys() == convolutions
    assert quantised & example.placement.higher_precision.keys() == set()


def test_only_the_logits_and_narrow_attention_stay_float(example: Example) -> None:
    reasons = example.placement.higher_precision
    assert list(reasons.values()).count("it makes the logits") == 1
    assert all("fewer than 16" in why and ".attention." in name for name, why in reasons.items() if "logits" not in why)


def test_transposed_convolutions_are_quantised_along_axis_1_and_depthwise_ones_along_0(example: Example) -> None:
    named = example.named()
    kinds = set()
    for site in example.placement.weights:
        for name in site.layers:
            assert site.axis == (1 if named[name].op_type == "ConvTranspose" else 0)
            kinds.add(named[name].op_type)
    assert kinds == {node.op_type for node in example.fp32.graph.node if node.op_type in CONVOLUTIONS}


def test_an_addition_has_one_quantised_side_if_a_bare_convolution_feeds_it_and_no_max_pool(example: Example) -> None:
    index = GraphIndex(example.fp32.graph)
    sides = [name for sites in example.placement.activations.values() for name, _ in sites]
    additions = [node for node in index.nodes if node.op_type == "Add"]
    assert additions
    of_the_pool: set[str] = set()
    for node in index.nodes:
        if node.op_type == "MaxPool" or (node.op_type in ("Relu", "Add") and of_the_pool.intersection(node.input)):
            of_the_pool.update(node.output)
    for node in additions:
        makers = [index.producer(tensor) for tensor in node.input]
        bare = any(
            maker is not None and maker.op_type == "Conv" and len(index.consumers(maker.output[0])) == 1
            for maker in makers
        )
        assert sides.count(node.name) == (bare and not of_the_pool.intersection(node.input))


def test_both_forms_pass_the_lint_and_the_checker(example: Example) -> None:
    for model in (example.int8, example.typed):
        assert list(problems_of(model)) == []
        onnx.checker.check_model(model, full_check=True)


def test_the_typed_form_computes_nothing_in_fp32(example: Example) -> None:
    floats = {tensor.name for tensor in example.typed.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    read = {name: node.op_type for node in example.typed.graph.node for name in node.input if name in floats}
    assert set(read.values()) <= {"Resize"}


def test_one_layer_of_each_kind_in_int8_computes_nearly_the_same_and_not_exactly(example: Example) -> None:
    """One at a time: what random weights make of a small error many layers later says nothing."""
    named = example.named()
    layers = [named[name] for site in example.placement.weights for name in site.layers]
    middle = layers[len(layers) // 2 :] + layers[: len(layers) // 2]
    for layer in {kind(node): node for node in reversed(middle)}.values():
        alone = quantise(example.fp32, restrict(example.placement, {layer.name}), example.ranges)
        assert sum(node.op_type == "QuantizeLinear" for node in alone.graph.node) == 2
        expected, found = (output_of(model, layer.output[0], example.frames) for model in (example.fp32, alone))
        error = float(np.square(found - expected).mean() / np.square(expected).mean())
        # 25 dB; eight bits on both sides, a bell-shaped range and rounding alone leave 30 to 40.
        assert 0 < error < 0.003, layer.name


def test_the_network_that_trains_computes_what_both_graphs_do(example: Example) -> None:
    """With the network's own weights, its batch norms folded, and the roundings of each form."""
    folded = folded_convolutions(example.network, SIZE)
    training = FakeQuantNetwork(example.fp32, example.placement, example.ranges, folded)

    for_cpu = quantise_for_cpu(example.fp32, example.placement, example.ranges)
    for form, graph in (("int8", example.int8), ("int8-cpu", for_cpu), ("fp32", example.fp32)):
        assert_every_step_agrees(training, graph, form, example.frames[:2])
    assert training.trained().keys() <= example.network.state_dict().keys()
