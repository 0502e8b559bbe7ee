from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_backbone  # noqa: E402
from trtparse.networks.efficientnet import EfficientNetLite, InvertedResidual  # noqa: E402
from trtparse.networks.preprocessing import MEAN_RGB, STD_RGB  # noqa: E402
from trtparse.networks.registry import create_network  # noqa: E402
from trtparse.networks.student import Student  # noqa: E402


def released(trunk: EfficientNetLite) -> dict[str, torch.Tensor]:
    """A trunk's tensors in the names of efficientnet_lite_pytorch, with a classifier."""
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    tensors = {"_fc.weight": torch.zeros(2, 2), "_conv_head.weight": torch.zeros(2), "_bn1.weight": torch.zeros(2)}
    for name, value in trunk.state_dict().items():
        parts = name.split(".")
        if parts[0] == "conv1":
            new = f"_conv_stem.{parts[1]}"
        elif parts[0] == "bn1":
            new = f"_bn0.{parts[1]}"
        else:
            _, number, stage, what, rest = parts
            new = f"_blocks.{number}.{norms[stage] if what == 'bn' else f'_{stage}_conv'}.{rest}"
        tensors[new] = value.clone()
    return tensors


def test_the_trunks_and_the_teacher_have_as_many_parameters_as_they_say() -> None:
    with torch.device("meta"):
        trunks = EfficientNetLite(), EfficientNetLite(1.1, 1.2)
        network = create_network("lsfa-efficientnet-lite0", {})
    assert [sum(p.numel() for p in trunk.parameters()) for trunk in trunks] == [2_958_848, 4_357_952]
    assert sum(p.numel() for p in network.parameters()) == 4_166_656


@pytest.mark.parametrize("factors", [(1.0, 1.0), (1.1, 1.2)])
@pytest.mark.parametrize("size", [(256, 192), (97, 70)])
def test_the_levels_are_at_strides_2_to_32(size: tuple[int, int], factors: tuple[float, float]) -> None:
    trunk = EfficientNetLite(*factors).eval()
    with torch.inference_mode():
        levels = trunk(torch.zeros(1, 3, *size))
    for level, channels, stride in zip(levels, trunk.channels, (2, 4, 8, 16, 32), strict=True):
        assert level.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_a_block_adds_its_input_where_it_keeps_size_and_width() -> None:
    keeping, shrinking = InvertedResidual(8, 8, 3, 1, 6), InvertedResidual(8, 8, 3, 2, 6)
    x = torch.rand(1, 8, 6, 6)
    for block in (keeping, shrinking):
        for parameter in block.project.parameters():
            torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(keeping.eval()(x), x)
    assert shrinking.eval()(x).abs().max() == 0


def test_a_released_checkpoint_answers_as_with_its_own_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = EfficientNetLite().eval()
    for name, value in theirs.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
    torch.save(released(theirs), tmp_path / "lite0.pth")
    network = create_network("lsfa-efficientnet-lite0", {}).eval()
    load_backbone(network, tmp_path / "lite0.pth")
    pixels = torch.rand(1, 3, 64, 64) * 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN_RGB, STD_RGB))
    stems = [
        trunk.bn1(torch.nn.functional.conv2d(image, trunk.conv1.weight, stride=2))
        for trunk, image in ((theirs, (pixels - 127) / 128), (network.backbone, (pixels / 255 - mean) / std))
    ]
    torch.testing.assert_close(stems[1], stems[0], rtol=1e-4, atol=1e-4)
    for name, value in theirs.state_dict().items():
        if not name.startswith(("conv1", "bn1")) and "num_batches" not in name:
            torch.testing.assert_close(network.backbone.state_dict()[name], value, rtol=0, atol=0)


def test_a_trunk_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save(released(EfficientNetLite()), tmp_path / "lite0.pth")
    with pytest.raises(UsageError, match="another network than the trunk of lsfa-r18"):
        load_backbone(Student(), tmp_path / "lite0.pth")
