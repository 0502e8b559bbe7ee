from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.h_hrnet import (  # noqa: E402
    TUNINGS,
    BranchFusion,
    ChannelAndPlace,
    Correction,
    HHRNet,
    HHRNetSpec,
    PoseRefineMachine,
)
from trtparse.networks.hrnet import HRNet, Layout  # noqa: E402

PARAMETERS = {"h-hrnet-w18": 9_623_202, "h-hrnet-w32": 29_404_348, "h-hrnet-w48": 65_472_972}
"""With 17 joints, everything in."""


def empty(kind: str = "h-hrnet-w18", **options: object) -> HHRNet:
    """A network without memory for its values."""
    with torch.device("meta"):
        return HHRNet(kind, HHRNetSpec.from_dict(options))


@pytest.mark.parametrize("kind", PARAMETERS)
def test_parameters_are_counted(kind: str) -> None:
    assert sum(parameter.numel() for parameter in empty(kind).parameters()) == PARAMETERS[kind]


class Headed(HHRNet):
    """What stands on the trunk, with random features in its place."""

    def make_branches(self, layout: Layout, outputs: int) -> None:
        self.outputs = outputs

    def stages(self, image: torch.Tensor) -> Iterator[list[torch.Tensor]]:
        count, _, height, width = image.shape
        for branches in (2, 3, self.outputs):
            yield [torch.rand(count, 18 << i, height // 4 >> i, width // 4 >> i) for i in range(branches)]


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("multi_level", [True, False])
def test_each_level_is_supervised_with_its_weight(tuning: str, multi_level: bool) -> None:
    spec = HHRNetSpec(tuning=tuning, multi_level=multi_level, fusion=multi_level, joints=5)
    network = Headed("h-hrnet-w18", spec)
    (units,) = network(torch.zeros(2, 3, 32, 64))
    assert all(unit.shape == (2, 5, 8, 16) for unit in units)
    expected = (0.25, 0.25, 1.0) if tuning == "none" else (0.25, 0.25, 0.5, 1.0)
    assert network.unit_weights == (expected if multi_level else (1.0,))
    assert len(units) == len(network.unit_weights)
    sum(unit.square().mean() for unit in units).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_without_its_parts_it_is_hrnet_tensor_for_tensor() -> None:
    with torch.device("meta"):
        plain = HRNet("hrnet-w18").state_dict()
    stripped = empty(fusion=False, tuning="none", multi_level=False).state_dict()
    assert {name: value.shape for name, value in plain.items()} == {name: v.shape for name, v in stripped.items()}


def test_an_unknown_tuning_is_named_with_the_nearest_there_is() -> None:
    with pytest.raises(UsageError, match=r"Unknown tuning 'features'. Did you mean feature"):
        HHRNetSpec(tuning="features")


@pytest.fixture(scope="module")
def network() -> HHRNet:
    torch.manual_seed(0)
    return HHRNet("h-hrnet-w18", HHRNetSpec(joints=3))


def test_every_parameter_learns_under_bfloat16_and_channels_last(network: HHRNet) -> None:
    network.train().to(memory_format=torch.channels_last)
    image = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        (units,) = network(image)
    sum(unit.float().square().mean() for unit in units).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    network.zero_grad()


def test_the_answer_is_the_last_level(network: HHRNet) -> None:
    network.eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), network.supervised(image)[-1][-1], rtol=0, atol=0)


def test_a_correction_is_what_is_added_to_the_coarse_heatmaps() -> None:
    torch.manual_seed(0)
    correction = Correction(6, 2).eval()
    feature, coarse = torch.randn(1, 6, 4, 4), torch.randn(1, 2, 4, 4)
    with torch.inference_mode():
        added = correction(feature, coarse) - coarse
        # It is made from both.
        assert float((correction(feature + 1, coarse) - coarse - added).abs().max()) > 1e-4
        assert float((correction(feature, coarse + 1) - coarse - 1 - added).abs().max()) > 1e-4
        correction.out.weight.zero_()
        correction.out.bias.zero_()
        assert torch.equal(correction(feature, coarse), coarse)


@pytest.mark.parametrize("one_map", [False, True])
def test_tuning_makes_a_value_1_25_to_2_times_as_large(one_map: bool) -> None:
    torch.manual_seed(0)
    machine = PoseRefineMachine(8, one_map).eval()
    x = torch.randn(1, 8, 12, 12)
    with torch.inference_mode():
        mixed, tuned = machine.mix(x), machine(x)
    gain = (tuned / mixed)[mixed > 1e-3]
    assert float(gain.min()) > 1.25 - 1e-5
    assert float(gain.max()) < 2


def test_attention_lets_through_a_share_of_each_value() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 32, 9, 9) + 0.1
    with torch.inference_mode():
        share = ChannelAndPlace(32).eval()(x) / x
    assert 0 < float(share.min()) < float(share.max()) < 1
    # One gate a channel times one a place.
    logs = share.log()[0]
    residue = logs - logs.mean((1, 2), keepdim=True) - logs.mean(0, keepdim=True) + logs.mean()
    assert float(residue.abs().max()) < 1e-4


def test_the_branch_that_a_channel_is_taken_from_is_chosen() -> None:
    torch.manual_seed(0)
    fusion = BranchFusion((4, 8), 4).eval()
    branches = [torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)]
    other = [branches[0], torch.rand(1, 8, 4, 4)]
    with torch.inference_mode():
        assert fusion(branches).shape == (1, 4, 8, 8)
        assert float((fusion(branches) - fusion(other)).abs().max()) > 1e-4
        # Certain of the finest branch, it does not see the other one; its summary only steers the choice.
        fusion.choice[0].bias.fill_(100.0)
        torch.testing.assert_close(fusion(branches), fusion(other))
