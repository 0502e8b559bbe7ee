from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import safetensors  # noqa: E402
from safetensors import torch as safetensors_torch  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.c_dlinknet import CDLinkNet, CDLinkNetSpec  # noqa: E402
from trtparse.networks.checkpoint import load_backbone, load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import HEADER, save_checkpoint  # noqa: E402
from trtparse.networks.resnet import ResNet  # noqa: E402
from trtparse.networks.student import Student, StudentSpec  # noqa: E402
from trtparse.networks.weights import DEFAULT_WEIGHTS  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.specs.origin import Origin  # noqa: E402

LIP = label_set("lip")


def test_a_checkpoint_comes_back_with_its_options_and_size(tmp_path: Path) -> None:
    network = Student(StudentSpec(finest_stride=8)).half().float()
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((128, 96), 1.25), LIP)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.network.spec.finest_stride == 8
    assert (loaded.input_size, loaded.stretch) == ((128, 96), 1.25)
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(loaded.network.state_dict()[name], value, rtol=0, atol=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_any_network_comes_back_as_what_it_is(tmp_path: Path) -> None:
    spec = CDLinkNetSpec(backbone="resnet34", smooth_channels=32, aspp_rates=(6, 12))
    network = CDLinkNet(spec, auxiliary=True).eval()
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((128, 96)), LIP, lossless=True)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert (loaded.network.kind, loaded.network.spec, loaded.input_size) == ("c-dlinknet", spec, (128, 96))
    assert loaded.network.auxiliary_heads is None
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(image), network(image), rtol=0, atol=0)


def with_header(path: Path, **changes: object) -> Path:
    """The weights that ship, under a header that differs in one entry or lacks it (None)."""
    with safetensors.safe_open(DEFAULT_WEIGHTS, "pt") as file:
        header = {**json.loads(file.metadata()[HEADER]), **changes}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = {name: value for name, value in header.items() if value is not None}
    safetensors_torch.save_file(tensors, path, {HEADER: json.dumps(header)})
    return path


def test_a_header_from_before_images_were_stretched_keeps_their_shapes(tmp_path: Path) -> None:
    assert load_checkpoint(with_header(tmp_path / "a.safetensors", schema=1, stretch=None)).stretch == 1.0


def test_a_header_with_an_impossible_stretch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"stretch of 0\.5 makes no sense"):
        load_checkpoint(with_header(tmp_path / "a.safetensors", stretch=0.5))


def test_a_header_from_before_the_ablation_s_options_is_the_default_network(tmp_path: Path) -> None:
    old = {"num_classes": 20, "finest_stride": 4, "pyramid_bins": [1, 2, 4], "pyramid_channels": 128}
    assert load_checkpoint(with_header(tmp_path / "a.safetensors", options=old)).network.spec == StudentSpec()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "lsfa-r19"}, "Unknown network 'lsfa-r19'. Did you mean lsfa-r18?"),
        ({"options": {"contxt": "psp"}}, "Unknown network option 'contxt'"),
        ({"options": {"context": "pspp"}}, "Did you mean psp?"),
        ({"network": None}, "damaged: 'network'"),
        ({"options": 3}, "is damaged"),
        ({"input_size": [256]}, "is damaged"),
        ({"input_size": ["a", "b"]}, "is damaged"),
        ({"schema": 99}, "newer version"),
    ],
)
def test_a_header_that_cannot_be_followed_is_refused_with_the_file_s_name(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = with_header(tmp_path / "a.safetensors", **changes)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_foreign_c_dlinknet_is_recognised_by_its_tensor_names(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = CDLinkNet(auxiliary=True).state_dict()
    # Expanded from one value each: the file is small, the tensors are not.
    values = {name: torch.full((), 0.5).expand(value.shape) for name, value in state.items()}
    torch.save({"state_dict": values}, tmp_path / "a.pth")
    network = load_checkpoint(tmp_path / "a.pth").network
    assert network.kind == "c-dlinknet"
    assert (network.backbone.layer3[22].conv3.weight == 0.5).all()
    del values["centre.restore.0.0.weight"]
    torch.save(values, tmp_path / "b.pth")
    with pytest.raises(UsageError, match=r"than c-dlinknet with default options: 1 tensors missing.*missing centre"):
        load_checkpoint(tmp_path / "b.pth")


def test_a_trunk_starts_from_torchvision_s_checkpoint_whose_classifier_is_left_out(tmp_path: Path) -> None:
    trained, network = ResNet(18), Student()
    torch.save(
        {**trained.state_dict(), "fc.weight": torch.ones(10, 512), "fc.bias": torch.ones(10)}, tmp_path / "a.pth"
    )
    load_backbone(network, tmp_path / "a.pth")
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(network.backbone.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(UsageError, match="another network than the trunk of c-dlinknet"):
        load_backbone(CDLinkNet(CDLinkNetSpec(backbone="resnet34")), tmp_path / "a.pth")


def test_lossless_keeps_what_half_precision_would_change(tmp_path: Path) -> None:
    network = Student()
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((256, 192)), LIP, lossless=True)
    first = load_checkpoint(tmp_path / "a.safetensors").network.backbone.conv1.weight
    torch.testing.assert_close(first, network.backbone.conv1.weight, rtol=0, atol=0)


@pytest.mark.parametrize("wrapped", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_a_state_dict_saved_by_torch_is_read_with_or_without_a_wrapper(wrapped: object, tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in Student(auxiliary=True).state_dict().items()}
    torch.save(wrapped(state), tmp_path / "a.pth")  # type: ignore[operator]
    assert load_checkpoint(tmp_path / "a.pth").network.training is False


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Bomb()}, "a.pth")
    with pytest.raises(UsageError, match="without running code"):
        load_checkpoint(Path("a.pth"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_a_text_file_is_no_checkpoint(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("hello, this is no checkpoint\n")
    with pytest.raises(UsageError, match="is a text that begins with 'hello, this is no checkpoint', not a checkpoint"):
        load_checkpoint(tmp_path / name)


def test_a_cut_off_checkpoint_is_refused(tmp_path: Path) -> None:
    content = DEFAULT_WEIGHTS.read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="not a readable safetensors"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_a_checkpoint_of_another_network_is_told_apart_by_its_tensors(tmp_path: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 8, 3).state_dict(), tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"another network.*unknown weight"):
        load_checkpoint(tmp_path / "a.pth")


def test_another_number_of_classes_is_refused_until_somebody_says_what_they_are(tmp_path: Path) -> None:
    path, pascal = tmp_path / "a.pth", label_set("pascal")
    torch.save(Student(StudentSpec(num_classes=7)).state_dict(), path)
    with pytest.raises(UsageError, match=r"a\.pth tells 7 classes apart and does not say which") as caught:
        load_checkpoint(path)
    assert "--labels" in caught.value.hint
    assert load_checkpoint(path, pascal).spec == pascal
    with pytest.raises(UsageError, match=r"a\.pth tells 7 classes apart, and its label set is ATR-18 \(18 classes\)"):
        load_checkpoint(path, label_set("atr"))


def test_a_network_is_not_written_with_a_label_set_that_its_head_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match=r"a\.safetensors tells 7 classes apart, and its label set is LIP-20"):
        save_checkpoint(Student(StudentSpec(num_classes=7)), path, Framing((256, 192)), LIP)
    assert not path.exists()


def test_averaged_weights_beside_the_others_are_taken_and_told(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Student().state_dict().items()}
    raw = {f"module.{name}": torch.full((), 0.5).expand(shape) for name, shape in shapes.items()}
    mean = {name: torch.full((), 0.25).expand(shape) for name, shape in shapes.items()}
    torch.save({"model": raw, "model_ema": mean}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.told == "Took model_ema, the averaged weights; the file also holds model.module"
    assert (loaded.network.head.logits.weight == 0.25).all()


@pytest.mark.parametrize(("mark", "family"), [("context_encoding", "SCHP"), ("edge_layer", "CE2P")])
def test_a_teacher_s_checkpoint_is_sent_to_distil(mark: str, family: str, tmp_path: Path) -> None:
    path = tmp_path / "exp schp.pth"
    torch.save({"state_dict": {f"module.{mark}.weight": torch.ones(1), "module.conv1.weight": torch.ones(1)}}, path)
    with pytest.raises(UsageError, match=f"is a checkpoint of {family}, which is no network that is trained") as caught:
        load_checkpoint(path)
    assert f"trtparse distill --teacher '{path}' --data FOLDER" in caught.value.hint


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = Student()
    with torch.no_grad():
        network.head.logits.weight[0] = float("nan")
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((256, 192)), LIP)
    with pytest.raises(UsageError, match=r"not finite, first in head\.logits\.weight"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_the_weights_that_ship_are_small_and_have_a_model_card() -> None:
    assert DEFAULT_WEIGHTS.stat().st_size <= 27_000_000
    assert load_checkpoint(DEFAULT_WEIGHTS).input_size == (256, 192)
    card = DEFAULT_WEIGHTS.with_name("README.md").read_text()
    for word in ("Clothing Co-Parsing", "synthetic", "mIoU", "Intended use", "Limits"):
        assert word in card


def test_weights_say_what_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    said = Origin("images of mine", "CC BY 4.0")
    save_checkpoint(Student(), path, Framing((64, 64)), label_set("lip"), origin=said)
    assert load_checkpoint(path).origin == said
    older = with_header(tmp_path / "older.safetensors", schema=2, label_set=None, training_data=None, licence=None)
    assert load_checkpoint(older).origin == Origin()
    assert load_checkpoint(older).spec == label_set("lip")


def test_the_weights_that_ship_say_their_label_set_their_data_and_their_licence() -> None:
    shipped = load_checkpoint(DEFAULT_WEIGHTS)
    assert shipped.spec == label_set("lip")
    assert "Clothing Co-Parsing" in shipped.origin.training_data
    assert shipped.origin.licence.startswith("Apache-2.0")


def test_a_header_whose_label_set_the_head_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = with_header(tmp_path / "a.safetensors", label_set=label_set("atr").to_dict())
    with pytest.raises(UsageError, match=r"a\.safetensors tells 20 classes apart, and its label set is ATR-18 \(18"):
        load_checkpoint(path)
