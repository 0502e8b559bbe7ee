from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trtparse.distillation.losses import class_relation, downsample_labels  # noqa: E402
from trtparse.distillation.teacher import (  # noqa: E402
    Teacher,
    load_teacher,
    normalise_for,
    to_half_pixel_centres,
)
from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.ce2p import CE2P, CDGNet  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.student import Student, StudentSpec  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402

LIP = label_set("lip")

SWAPPED = [*range(14), 15, 14, 17, 16, 19, 18]
"""LIP's classes after a mirror: left and right arm, leg and shoe change places."""

NAMES = {
    "schp": {"context": "context_encoding", "fusion": "fushion"},
    "ce2p": {"context": "layer5", "edge": "edge_layer", "decoder": "layer6", "fusion": "layer7"},
}


def some_frames(count: int = 1, height: int = 72, width: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def write_released(path: Path, family: str, num_classes: int = 20) -> Path:
    """A state dict as the repositories write it; one number per tensor, repeated, so that the file is small."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in CE2P(num_classes).state_dict().items()}
    numbers = torch.linspace(0.01, 0.02, len(shapes))
    tensors = {}
    for number, (name, shape) in zip(numbers, shapes.items()):
        first, rest = name.removeprefix("backbone.").split(".", 1)
        if not name.endswith("num_batches_tracked"):
            tensors[f"module.{NAMES[family].get(first, first)}.{rest}"] = number.clone().expand(shape)
    torch.save({"epoch": 149, "state_dict": tensors}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ours") / "teacher.safetensors"
    save_checkpoint(Student(), path, Framing((72, 64)), LIP)
    return path


@pytest.fixture(scope="module")
def schp(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return load_teacher(write_released(tmp_path_factory.mktemp("schp") / "lip.pth", "schp"))


def test_each_family_sees_its_own_normalisation() -> None:
    frame = torch.tensor([[[[104, 116, 200]]]], dtype=torch.uint8)  # B, G, R
    blue, green, red = 104 / 255, 116 / 255, 200 / 255
    expected = {
        "trtparse": [(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225],
        "schp": [(blue - 0.406) / 0.225, (green - 0.456) / 0.224, (red - 0.485) / 0.229],
        "ce2p": [(blue - 0.485) / 0.229, (green - 0.456) / 0.224, (red - 0.406) / 0.225],
        "cdgnet": [(blue - 0.485) / 0.229, (green - 0.456) / 0.224, (red - 0.406) / 0.225],
    }
    for family, values in expected.items():
        image = normalise_for(family, frame)  # type: ignore[arg-type]
        assert image.shape == (1, 3, 1, 1)
        torch.testing.assert_close(image.flatten(), torch.tensor(values), atol=1e-6, rtol=0)


def test_a_released_teacher_of_66_million_parameters_gives_logits_at_its_own_grid(schp: Teacher) -> None:
    assert schp.family == "schp"
    assert sum(parameter.numel() for parameter in schp.network.parameters()) == 66_723_928
    seen: list[Tensor] = []
    handle = schp.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = some_frames(2, 49, 64)
    logits = schp(frames)
    handle.remove()
    assert logits.shape == (2, 20, 13, 16)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(seen[0], normalise_for("schp", frames))
    with torch.no_grad():
        on_corners = schp.network(seen[0])
    spread = float(on_corners.std())
    assert spread > 0
    torch.testing.assert_close(logits / spread, to_half_pixel_centres(on_corners, (49, 64)) / spread)
    assert (logits - on_corners).abs().max() > 1e-2 * spread


def test_a_teacher_of_ours_gives_its_head_s_logits(ours: Path) -> None:
    teacher = load_teacher(ours, device=torch.device("cpu"))
    assert (teacher.family, teacher.flip) == ("trtparse", False)
    frames = some_frames(2)
    network = Student().eval()
    network.load_state_dict(teacher.network.state_dict())
    with torch.no_grad():
        expected = network.forward_coarse(normalise_for("trtparse", frames))[0]
    torch.testing.assert_close(teacher(frames), expected)
    assert expected.shape == (2, 20, 18, 16)


def test_a_teacher_is_frozen_and_its_logits_can_stand_in_a_loss() -> None:
    teacher = Teacher(Student(auxiliary=True).train(), "trtparse", LIP)
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    before = [value.clone() for value in teacher.network.state_dict().values()]
    frames = some_frames()
    logits = teacher(frames)
    assert not logits.requires_grad
    student = torch.randn(1, 20, 18, 16, requires_grad=True)
    class_relation(student, logits, torch.ones(1, 18, 16, dtype=torch.bool)).backward()
    assert student.grad is not None
    assert torch.equal(teacher(frames), logits)
    assert all(torch.equal(*pair) for pair in zip(before, teacher.network.state_dict().values()))


def test_flipped_a_mirrored_frame_gives_the_mirrored_answer_with_left_and_right_swapped(ours: Path) -> None:
    frames = some_frames(1, 65, 97)
    teacher = load_teacher(ours, flip=True)
    logits = teacher(frames)
    torch.testing.assert_close(teacher(frames.flip(2)), logits.flip(3)[:, SWAPPED])
    plain = load_teacher(ours)
    assert (plain(frames.flip(2)) - plain(frames).flip(3)[:, SWAPPED]).abs().max() > 1e-2
    mean = (plain(frames) + plain(frames.flip(2)).flip(3)[:, SWAPPED]) / 2
    torch.testing.assert_close(logits, mean)


def test_corner_aligned_cells_move_to_half_pixel_centres() -> None:
    # A ramp whose cells hold the column of the pixel on which they lie, the first on 0 and the last on 472.
    ramp = torch.linspace(0, 472, 119).expand(1, 1, 5, 119)
    moved = to_half_pixel_centres(ramp, (17, 473))
    centres = (torch.arange(119) + 0.5) * 473 / 119 - 0.5
    torch.testing.assert_close(moved, centres.expand(1, 1, 5, 119), atol=1e-3, rtol=0)
    down = torch.linspace(0, 16, 5).view(1, 1, 5, 1).expand(1, 1, 5, 119)
    moved = to_half_pixel_centres(down, (17, 473))
    torch.testing.assert_close(moved[0, 0, :, 0], (torch.arange(5) + 0.5) * 17 / 5 - 0.5, atol=1e-4, rtol=0)
    constant = torch.full((2, 3, 4, 6), 1.5)
    torch.testing.assert_close(to_half_pixel_centres(constant, (16, 24)), constant)


def test_moved_logits_are_what_the_family_s_own_resize_gives_at_those_pixels() -> None:
    logits = torch.randn(1, 2, 16, 12, generator=torch.Generator().manual_seed(0))
    full = F.interpolate(logits, size=(80, 60), mode="bilinear", align_corners=True)  # 5 pixels a cell
    expected = torch.stack([downsample_labels(plane, (16, 12)) for plane in full.unbind(1)], 1)
    torch.testing.assert_close(to_half_pixel_centres(logits, (80, 60)), expected, atol=1e-4, rtol=0)


def test_a_teacher_of_another_label_set_is_refused_with_both_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(Student(StudentSpec(num_classes=7)), path, Framing((72, 64)), label_set("pascal"))
    with pytest.raises(
        UsageError, match=r"other\.safetensors has .*Pascal-7 \(7 .*the student has LIP-20 \(20"
    ) as caught:
        load_teacher(path)
    assert "taught" in caught.value.hint
    # As many classes are not the same classes: CIHP's 10 is the skin of the torso.
    save_checkpoint(Student(), path, Framing((72, 64)), label_set("cihp"))
    with pytest.raises(UsageError, match=r"CIHP-20.*LIP-20.*id 10 is"):
        load_teacher(path)
    assert load_teacher(path, labels=label_set("cihp")).label_set == label_set("cihp")


def test_a_released_teacher_of_18_classes_is_taken_for_atr_s_only_where_somebody_says_so(tmp_path: Path) -> None:
    path = write_released(tmp_path / "atr.pth", "schp", num_classes=18)
    with pytest.raises(UsageError, match=r"atr\.pth tells 18 classes apart.*LIP-20 \(20 classes\)") as caught:
        load_teacher(path)
    assert "--labels" in caught.value.hint
    teacher = load_teacher(path, labels=label_set("atr"), flip=True)
    assert teacher.label_set == label_set("atr")
    assert teacher(some_frames(1, 49, 64)).shape == (1, 18, 13, 16)


def test_ce2p_s_names_are_told_from_schp_s(tmp_path: Path) -> None:
    path = write_released(tmp_path / "ce2p.pth", "ce2p")
    with pytest.raises(UsageError, match=r"ce2p\.pth has the tensor names of ce2p, not of schp") as caught:
        load_teacher(path, family="schp")
    assert "Leave the family out" in caught.value.hint
    teacher = load_teacher(path, family="ce2p")
    assert teacher.family == "ce2p"
    assert isinstance(teacher.network, CE2P)
    assert not isinstance(teacher.network, CDGNet)


def test_a_family_that_is_not_ours_is_refused_for_a_checkpoint_of_ours(ours: Path) -> None:
    assert load_teacher(ours, family="trtparse").family == "trtparse"
    with pytest.raises(UsageError, match="names of trtparse, not of cdgnet"):
        load_teacher(ours, family="cdgnet")
    with pytest.raises(UsageError, match=r"family of teachers 'shcp'.*schp"):
        load_teacher(ours, family="shcp")  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth"):
        load_teacher(Path("nowhere.pth"))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"module.context_encoding.x": _Bomb()}}, "a.pth")
    with pytest.raises(UsageError, match="without running code"):
        load_teacher(Path("a.pth"))
    assert not Path("exploded").exists()
