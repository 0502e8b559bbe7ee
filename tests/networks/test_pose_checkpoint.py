from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.h_hrnet import HHRNet, HHRNetSpec  # noqa: E402
from trtparse.networks.hrnet import HRNet  # noqa: E402
from trtparse.networks.mspn import MSPN, MSPNSpec  # noqa: E402
from trtparse.networks.pose import PoseNetwork, PoseSpec  # noqa: E402
from trtparse.networks.pose_checkpoint import load_pose_checkpoint, load_trunk, recognise_released  # noqa: E402
from trtparse.networks.registry import create_pose_network  # noqa: E402
from trtparse.networks.weights import DEFAULT_WEIGHTS  # noqa: E402
from trtparse.specs.decoding import DARK, HRNET  # noqa: E402
from trtparse.specs.decoding import MSPN as MSPN_DECODING  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.skeleton import Skeleton, load_skeleton  # noqa: E402


def joints(count: int) -> Skeleton:
    """So many joints, without limbs."""
    names = tuple(f"joint {number}" for number in range(count))
    return Skeleton("made up", names, (), (), ((0, 0, 0),) * count, (0.1,) * count)


def released(kind: str, joints: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict as authors save it; its tensors are expanded from one value each, so the file is small."""
    with torch.device("meta"):
        state = create_pose_network(kind, {"joints": joints}).state_dict()
    return {prefix + name: torch.full((), 0.25).expand(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    "network",
    [
        MSPN("l-mspn", MSPNSpec(joints=3, half_pixel=True)),
        HRNet("s-hrnet-s5", PoseSpec(joints=4)),
    ],
    ids=lambda network: network.kind,
)
def test_a_network_comes_back_as_what_it_is(network: PoseNetwork, tmp_path: Path) -> None:
    meant = joints(network.spec.joints)
    save_checkpoint(network.eval(), tmp_path / "a.safetensors", Framing((128, 96)), meant, decoding=DARK, lossless=True)
    loaded = load_pose_checkpoint(tmp_path / "a.safetensors", joints(network.spec.joints))
    assert (loaded.network.kind, loaded.network.spec) == (network.kind, network.spec)
    assert loaded.input_size == (128, 96)
    assert (loaded.spec, loaded.decoding) == (meant, DARK)
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(image), network(image), rtol=0, atol=0)


def test_heads_that_only_serve_training_come_back_so_that_it_can_go_on(tmp_path: Path) -> None:
    network = HHRNet("h-hrnet-w18", HHRNetSpec(joints=2, tuning="feature", fusion=False)).half().float()
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((128, 96)), joints(network.spec.joints))
    loaded = load_pose_checkpoint(tmp_path / "a.safetensors").network
    assert loaded.spec == network.spec
    assert torch.equal(loaded.get_parameter("level_heads.2.weight"), network.level_heads[2].weight)


def test_a_released_hrnet_is_recognised_by_its_tensors(tmp_path: Path) -> None:
    torch.save(released("hrnet-w18", 16, prefix="module."), tmp_path / "pose_hrnet_w18_256x192.pth")
    loaded = load_pose_checkpoint(tmp_path / "pose_hrnet_w18_256x192.pth", load_skeleton("mpii16"))
    assert (loaded.network.kind, loaded.network.spec.joints, loaded.input_size) == ("hrnet-w18", 16, (256, 192))
    assert (loaded.spec.name, loaded.decoding) == ("mpii16", HRNET)
    assert bool((loaded.network.get_parameter("stage4.2.branches.3.3.conv2.weight") == 0.25).all())
    assert not loaded.network.training


def test_a_released_mspn_is_recognised_by_its_tensors(tmp_path: Path) -> None:
    torch.save({"iteration": 96_000, "model": released("mspn-18-1", 17)}, tmp_path / "iter-96000.pth")
    loaded = load_pose_checkpoint(tmp_path / "iter-96000.pth")
    assert (loaded.network.kind, loaded.network.spec.joints) == ("mspn-18-1", 17)
    assert (loaded.spec.name, loaded.decoding) == ("coco17", MSPN_DECODING)
    assert bool((loaded.network.get_parameter("stage0.upsample.up1.res_conv2.conv.bias") == 0.25).all())


def test_a_released_mspn_answers_rgb_with_a_255th_of_what_it_answered_bgr(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MSPN("mspn-18-1", MSPNSpec(joints=3)).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    loaded = load_pose_checkpoint(tmp_path / "a.pth", joints(3)).network.double()
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(255 * loaded(image), network.double()(image.flip(1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["hrnet-w32", "mspn-50-1", "mspn-50-2"])
def test_width_and_stages_are_read_from_the_shapes(kind: str) -> None:
    assert recognise_released(released(kind, 14), Path("a.pth")) == (kind, 14)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"final_layer.weight": (17, 18, 3, 3)},
            r"than hrnet-w18 with 17 joints.*final_layer.weight is \(17, 18, 3, 3\)",
        ),
        ({"transition1.0.0.weight": (40, 256, 3, 3)}, "holds an HRNet of width 40, which is unknown here"),
        ({"transition1.0.0.weight": None}, "is incomplete: it has no weight transition1.0.0.weight"),
        ({"deconv_layers.0.0.weight": (34, 17, 4, 4)}, "0 tensors missing, 1 unknown"),
        ({"stage3.1.branches.0.0.conv1.weight": None}, "1 tensors missing"),
    ],
)
def test_an_hrnet_that_does_not_fit_is_refused_with_the_reason(
    changes: dict[str, tuple[int, ...] | None], said: str, tmp_path: Path
) -> None:
    tensors = released("hrnet-w18", 17)
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.full((), 0.25).expand(shape)
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=said):
        load_pose_checkpoint(tmp_path / "a.pth")


def test_an_mspn_of_another_size_is_refused_with_its_size() -> None:
    tensors = released("mspn-50-1", 17)
    tensors |= {name.replace("stage0", f"stage{i}"): value for i in range(5) for name, value in tensors.items()}
    with pytest.raises(UsageError, match="an MSPN of 5 stages, 2048 channels in its deepest level and 256"):
        recognise_released(tensors, Path("a.pth"))


def test_a_checkpoint_of_other_joints_is_refused_with_both_counts(tmp_path: Path) -> None:
    save_checkpoint(MSPN("l-mspn", MSPNSpec(joints=3)), tmp_path / "a.safetensors", Framing((128, 96)), joints(3))
    with pytest.raises(UsageError, match="answers 3 joints, where the 17 of coco17 are wanted"):
        load_pose_checkpoint(tmp_path / "a.safetensors", load_skeleton("coco17"))


def test_joints_that_nobody_names_are_refused(tmp_path: Path) -> None:
    torch.save(released("mspn-18-1", 5), tmp_path / "a.pth")
    with pytest.raises(UsageError, match="answers 5 joints and does not say which"):
        load_pose_checkpoint(tmp_path / "a.pth")


def test_a_header_whose_skeleton_has_other_joints_than_the_network_is_refused(tmp_path: Path) -> None:
    network = MSPN("l-mspn", MSPNSpec(joints=3))
    with pytest.raises(UsageError, match="would answer 3 joints, and was taught 17 of coco17"):
        save_checkpoint(network, tmp_path / "a.safetensors", Framing((128, 96)), load_skeleton("coco17"))
    save_checkpoint(network, tmp_path / "a.safetensors", Framing((128, 96)), joints(3))
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content.replace(b'joints\\": 3', b'joints\\": 4'))
    with pytest.raises(UsageError, match="answers 4 joints, and its skeleton made up has 3"):
        load_pose_checkpoint(tmp_path / "a.safetensors")


def test_pose_and_parsing_are_told_apart(tmp_path: Path) -> None:
    save_checkpoint(MSPN("l-mspn", MSPNSpec(joints=3)), tmp_path / "a.safetensors", Framing((128, 96)), joints(3))
    with pytest.raises(UsageError, match="holds l-mspn, a pose network"):
        load_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="holds lsfa-r18, a parsing network"):
        load_pose_checkpoint(DEFAULT_WEIGHTS)


def test_what_is_no_pose_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="has the tensor names of no pose network"):
        load_pose_checkpoint(tmp_path / "a.pth")


def test_a_trunk_starts_from_weights_under_another_head(tmp_path: Path) -> None:
    torch.save({**released("hrnet-w18", 16), "classifier.weight": torch.zeros(1000, 2048)}, tmp_path / "a.pth")
    network = HHRNet("h-hrnet-w18", HHRNetSpec(joints=3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_trunk(network, tmp_path / "a.pth")
    after = network.state_dict()
    assert bool((after["stage4.2.fuse_layers.0.3.0.weight"] == 0.25).all())
    for name in ("final_layer.weight", "fusion.out.0.weight", "stage4.2.fuse_layers.3.0.0.0.weight"):
        assert torch.equal(after[name], before[name])


def test_a_trunk_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(released("hrnet-w32", 17), tmp_path / "a.pth")
    with pytest.raises(UsageError, match="another network than the trunk of hrnet-w18: 0 tensors missing, 0 unknown"):
        load_trunk(HRNet("hrnet-w18"), tmp_path / "a.pth")


def test_weights_are_kept_with_a_skeleton_of_as_many_joints_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would answer 3 joints, and was taught 4"):
        save_checkpoint(MSPN("l-mspn", MSPNSpec(joints=3)), tmp_path / "a.safetensors", Framing((128, 96)), joints(4))
    assert not list(tmp_path.iterdir())
