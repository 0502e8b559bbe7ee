from __future__ import annotations

from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from trtparse.networks.hrnet import (  # noqa: E402
    LAYOUTS,
    ChannelShuffle,
    GroupedUnit,
    HRNet,
    ShuffleUnit1,
    ShuffleUnit2,
)
from trtparse.networks.pose import PoseSpec  # noqa: E402

PARAMETERS = {
    "hrnet-w18": 9_318_215,
    "hrnet-w32": 28_536_113,
    "hrnet-w48": 63_595_745,
    "s-hrnet-s1": 9_514_289,
    "s-hrnet-s2": 7_246_929,
    "s-hrnet-s3": 4_076_625,
    "s-hrnet-s4": 3_985_201,
    "s-hrnet-s5": 1_717_841,
    "s-hrnet-s6": 1_644_881,
}
"""With 17 joints; HRNet's are those of the authors' code."""

GMACS = {"hrnet-w32": 7.645, "s-hrnet-s1": 3.228, "s-hrnet-s5": 1.345}
"""At 256x192; the authors print W32's as 7.1, having divided by 2**30."""


@cache
def empty(kind: str) -> HRNet:
    """A network without memory for its values."""
    with torch.device("meta"):
        return HRNet(kind).eval()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_parameters_are_counted_as_published(kind: str) -> None:
    assert sum(parameter.numel() for parameter in empty(kind).parameters()) == PARAMETERS[kind]


def test_a_joint_less_is_a_row_less_of_the_last_convolution() -> None:
    with torch.device("meta"):
        network = HRNet("hrnet-w32", PoseSpec(joints=16))
    assert sum(parameter.numel() for parameter in network.parameters()) == 28_536_080


@pytest.mark.parametrize("kind", GMACS)
def test_multiplications_are_counted_as_published(kind: str) -> None:
    with FlopCounterMode(display=False) as counter:
        heatmaps = empty(kind)(torch.zeros(1, 3, 256, 192, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(GMACS[kind], abs=5e-4)
    assert heatmaps.shape == (1, 17, 64, 48)


def test_tensors_have_the_names_of_the_authors_code() -> None:
    shapes = {name: tuple(value.shape) for name, value in empty("hrnet-w32").state_dict().items()}
    assert len(shapes) == 1754
    for name, shape in {
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "transition1.0.0.weight": (32, 256, 3, 3),
        "transition1.1.0.0.weight": (64, 256, 3, 3),
        "transition3.3.0.1.running_var": (256,),
        "stage2.0.branches.1.3.bn2.bias": (64,),
        "stage3.3.fuse_layers.2.0.0.0.weight": (32, 32, 3, 3),
        "stage3.3.fuse_layers.2.0.1.0.weight": (128, 32, 3, 3),
        "stage4.2.fuse_layers.0.3.1.weight": (32,),
        "final_layer.bias": (17,),
    }.items():
        assert shapes[name] == shape
    assert not any(name.startswith("stage4.2.fuse_layers.1.") for name in shapes)


def test_a_shuffle_deals_each_group_s_channels_out_to_all() -> None:
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(ChannelShuffle(3)(ChannelShuffle(2)(x)), x)


@pytest.mark.parametrize("unit", [GroupedUnit(16, 4), ShuffleUnit1(16, 4)], ids=["grouped", "shuffle_v1"])
def test_a_channel_of_a_unit_sees_every_group(unit: torch.nn.Module) -> None:
    for parameter in unit.parameters():
        torch.nn.init.ones_(parameter)  # no ReLU cuts a path off
    x = torch.rand(1, 16, 5, 5, requires_grad=True)
    inner = unit.eval()(x)[0, 0] - x[0, 0]
    inner.sum().backward()
    seen = x.grad[0].amax((1, 2)).reshape(4, 4).amax(1)
    assert all(float(group) > 0 for group in seen)


def test_half_of_a_split_unit_s_channels_pass_untouched() -> None:
    x = torch.rand(1, 8, 5, 5)
    with torch.inference_mode():
        assert torch.equal(ShuffleUnit2(8).eval()(x)[:, ::2], x[:, :4])


@pytest.mark.parametrize("kind", ["s-hrnet-s4", "s-hrnet-s6"])
def test_every_parameter_learns_under_bfloat16_and_channels_last(kind: str) -> None:
    torch.manual_seed(0)
    network = HRNet(kind, PoseSpec(joints=3)).to(memory_format=torch.channels_last)
    image = torch.randn(2, 3, 64, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        ((heatmaps,),) = network(image)
    assert heatmaps.shape == (2, 3, 16, 8)
    heatmaps.float().square().mean().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_first_answers_are_near_0_as_most_of_a_heatmap_is() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        assert float(HRNet("s-hrnet-s5").eval()(torch.randn(1, 3, 32, 32)).abs().max()) < 0.1
