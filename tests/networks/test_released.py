"""Checkpoints that CE2P's family released become networks to build engines of, with their authors' convention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn import functional as F  # noqa: E402

from trtparse.engines.reference import PyTorchEngine  # noqa: E402
from trtparse.errors import UsageError  # noqa: E402
from trtparse.graphs.conventions import Said  # noqa: E402
from trtparse.graphs.front import made_up_frames  # noqa: E402
from trtparse.networks import ce2p  # noqa: E402
from trtparse.networks.ce2p import CE2P, DeepStemResNet101  # noqa: E402
from trtparse.networks.checkpoint_file import read_tensors  # noqa: E402
from trtparse.networks.released import FramedNetwork, Released, is_released, parse_released, save_released  # noqa: E402
from trtparse.networks.resnet import Bottleneck  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.trt_builder.source import read_source, task_of_source  # noqa: E402

SIZE = (65, 65)


@pytest.fixture(scope="module", autouse=True)
def _one_block_a_layer() -> Iterator[None]:
    def layer(channels_in: int, channels: int, count: int, stride: int, dilation: int = 1) -> torch.nn.Sequential:
        return torch.nn.Sequential(Bottleneck(channels_in, channels, stride, dilation))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeepStemResNet101, "_layer", staticmethod(layer))
        yield


@pytest.fixture(scope="module")
def network() -> CE2P:
    """Random, and with classes that all occur."""
    torch.manual_seed(3)
    made = CE2P(18).eval()
    with torch.no_grad():
        scores = made(torch.randn(2, 3, *SIZE))
        made.fusion[3].bias -= scores.mean((0, 2, 3))
        made.fusion[3].weight *= 5 / scores.std()
        made.fusion[3].bias *= 5 / scores.std()
    return made


@pytest.fixture(scope="module")
def checkpoint(network: CE2P, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As SCHP's authors save theirs: their names, a prefix, no counters; InPlaceABN's weights of any sign."""
    back = {"context": "context_encoding", "fusion": "fushion", "edge": "edge", "decoder": "decoder"}
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.rpartition(".")[0] in norms and name.endswith(".weight"):
            value = -(value - ce2p.INPLACE_EPSILON)
        first, _, rest = name.partition(".")
        state[f"module.{rest if first == 'backbone' else f'{back[first]}.{rest}'}"] = value
    path = tmp_path_factory.mktemp("released") / "exp-schp.pth"
    torch.save({"epoch": 150, "state_dict": state}, path)
    return path


def parsed(path: Path, said: Said) -> Released:
    return parse_released(*read_tensors(path), path, said)


def test_the_preset_says_what_the_file_does_not(checkpoint: Path) -> None:
    found = parsed(checkpoint, Said(preset="schp-atr"))
    assert (found.network.kind, found.spec) == ("schp", label_set("atr"))
    assert found.framing == Framing((512, 512), 1.0, "BGR", (0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "logits")
    # Of a label set that a preset has, that one; what is said goes before what it says.
    assert parsed(checkpoint, Said(labels=label_set("atr"))).framing == found.framing
    said = Said(labels=label_set("atr"), input_size=SIZE, returns="labels")
    assert parsed(checkpoint, said).framing.input_size == SIZE


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        (Said(), "a checkpoint of SCHP that tells 18 classes apart and does not say which", "--preset schp-atr|"),
        (Said(preset="schp-lip"), r"tells 18 classes apart, and its label set is LIP-20 \(20 classes\)", "--labels"),
        (Said(preset="ce2p"), "of SCHP, and the preset ce2p is CE2P trained on LIP", "--preset schp-atr|"),
        (Said(labels=label_set("fashn")), "at which size one of FASHN-18", "--input-size HEIGHTxWIDTH"),
    ],
)
def test_nothing_is_guessed(said: Said, told: str, hint: str, checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        parsed(checkpoint, said)
    assert hint in caught.value.hint


def test_any_set_of_as_many_classes_can_be_named(checkpoint: Path) -> None:
    found = parsed(checkpoint, Said(labels=label_set("fashn"), input_size=SIZE))
    assert (found.spec, found.framing.order) == (label_set("fashn"), "BGR")
    assert task_of_source(checkpoint, label_set("fashn")).spec == label_set("fashn")


def test_frames_are_seen_as_the_authors_feed_them(network: CE2P, checkpoint: Path) -> None:
    frames = made_up_frames(2, SIZE)
    pixels = torch.from_numpy(((frames / 255 - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]).transpose(0, 3, 1, 2))
    with torch.no_grad():
        scores = network(pixels.float())
        wanted = F.interpolate(scores, size=SIZE, mode="bilinear", align_corners=True).numpy()
    said = Said(labels=label_set("atr"), input_size=SIZE)
    with PyTorchEngine(parsed(checkpoint, said).network, SIZE) as engine:
        np.testing.assert_allclose(engine.raw(frames), wanted, atol=1e-3)
        assert (engine.infer(frames)[0] == wanted.argmax(1)).mean() > 0.999
    rgb = Framing(SIZE, order="RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    turned = FramedNetwork(network, rgb, "schp")
    with torch.no_grad():
        scores = F.interpolate(network(pixels.float().flip(1)), size=SIZE, mode="bilinear", align_corners=True)
        np.testing.assert_allclose(turned(torch.from_numpy(frames)).numpy(), scores.numpy(), atol=1e-3)


def test_what_a_bundle_keeps_of_it_is_all_of_it(checkpoint: Path, tmp_path: Path) -> None:
    found = parsed(checkpoint, Said(labels=label_set("atr"), input_size=SIZE))
    path = tmp_path / "student.safetensors"
    save_released(found, path)
    header, state = read_tensors(path)
    assert is_released(header, state.tensors, path)
    assert json.loads(header)["network"] == "schp"
    again = parse_released(header, state, path)
    assert (again.framing, again.spec, again.network.kind) == (found.framing, found.spec, "schp")
    frames = made_up_frames(1, SIZE)
    with PyTorchEngine.from_checkpoint(path, SIZE) as one, PyTorchEngine(found.network, SIZE) as other:
        np.testing.assert_array_equal(one.raw(frames), other.raw(frames))


@pytest.mark.slow
def test_the_exported_graph_answers_as_pytorch(checkpoint: Path) -> None:
    said = Said(preset="schp-atr", input_size=SIZE)
    source = read_source(checkpoint, None, None, 1, logits=False, said=said)
    assert (source.reference, source.network) == ("PyTorch", "schp")
    assert [output.name for output in source.model.graph.output] == ["labels", "logits"]
    from trtparse.graphs.computed import run

    frames = made_up_frames(1, SIZE)
    found = run(source.model, {"frames": frames})
    with source.open_reference(1) as reference:
        np.testing.assert_allclose(found["logits"], reference.engine.raw(frames), atol=2e-3)
        assert (found["labels"] == reference.engine.infer(frames)[0]).mean() > 0.999
    assert len(np.unique(found["labels"])) >= 6
    assert "backbone.conv1" in {node.name for node in source.model.graph.node}


def test_ours_are_not_told_how_they_see_images(tmp_path: Path) -> None:
    from trtparse.networks.weights import DEFAULT_WEIGHTS

    with pytest.raises(UsageError, match="one of our networks, which says itself how it sees images"):
        task_of_source(DEFAULT_WEIGHTS, None, Said(preset="schp-lip"))
