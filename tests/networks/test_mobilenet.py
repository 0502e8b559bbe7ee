from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_backbone  # noqa: E402
from trtparse.networks.mobilenet import MobileNetV2, read_movenet  # noqa: E402
from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.networks.student import MobileNetStudent  # noqa: E402


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[MobileNetV2, Path]:
    """A trunk, and the file of a graph with its convolutions as MoveNet has them, one of the pyramid's between."""
    trunk = MobileNetV2()
    nodes, values = [], []

    def add(name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        for kind, array in (("w", weight), ("b", bias)):
            values.append(onnx.numpy_helper.from_array(array, f"{name}.{kind}"))
        nodes.append(onnx.helper.make_node("Conv", ["x", f"{name}.w", f"{name}.b"], [name]))

    for name, module in trunk.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            if name == "blocks.3.expand":
                add("lateral", np.zeros((24, 40, 1, 1), np.float32), np.zeros(24, np.float32))
            add(name, module.weight.detach().numpy(), module.bias.detach().numpy())
    path = tmp_path_factory.mktemp("movenet") / "movenet.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "trunk", [], [], values)), path)
    return trunk, path


def test_the_trunk_s_convolutions_are_found_among_those_of_the_graph(made_up: tuple[MobileNetV2, Path]) -> None:
    trunk, path = made_up
    found = read_movenet(path)
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_weights_for_values_from_minus_1_to_1_answer_alike_to_ours(made_up: tuple[MobileNetV2, Path]) -> None:
    trunk, path = made_up
    network = MobileNetStudent()
    assert load_backbone(network, path) == ""
    frames = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = frames.flip(3).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        wanted = trunk.conv1(theirs)
        # Without padding: what is outside of the picture is another grey to each.
        torch.testing.assert_close(network.backbone.conv1(normalise(frames)), wanted, rtol=1e-4, atol=1e-4)


def test_another_graph_is_refused(made_up: tuple[MobileNetV2, Path], tmp_path: Path) -> None:
    model = onnx.load(made_up[1])
    del model.graph.node[5:]
    onnx.save(model, tmp_path / "short.onnx")
    with pytest.raises(UsageError, match="has no convolution of"):
        read_movenet(tmp_path / "short.onnx")
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(UsageError, match="no ONNX file"):
        read_movenet(tmp_path / "text.onnx")


@pytest.mark.shared
def test_movenet_s_features_are_those_of_its_graph(shared_data: Path) -> None:
    import onnxruntime

    movenet = shared_data.parent / "models" / "movenet_thunder_256.onnx"
    model = onnx.load(movenet)
    ends = ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "block_16_project_BN")
    made = [node.output[0] for node in model.graph.node if node.op_type in ("Transpose", "Add")]
    levels = [next(name for name in made if f"/{end}/" in name) for end in ends]
    for name in levels:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3)).astype(np.int32)
    wanted = session.run(levels, {"input": frames})

    trunk = MobileNetV2().eval()
    trunk.load_state_dict({name: value for name, value in read_movenet(movenet).items() if name != "movenet"})
    scale = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "w_7")
    with torch.no_grad():
        found = trunk(torch.from_numpy((frames * scale - 1).astype(np.float32)).permute(0, 3, 1, 2))
    for theirs, ours in zip(wanted, found, strict=True):
        np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, rtol=0, atol=1e-3)
