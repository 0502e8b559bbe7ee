from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from trtparse.networks.mspn import LAYOUTS, MSPN, MSPNSpec  # noqa: E402

PARAMETERS = {
    ("mspn-50-1", 17): 25_141_708,
    ("mspn-50-2", 17): 56_867_032,
    ("mspn-50-3", 17): 88_592_356,
    ("mspn-50-4", 17): 120_317_680,
    ("mspn-50-2", 16): 56_848_576,
    ("mspn-18-1", 17): 8_558_924,
    ("l-mspn", 17): 4_296_424,
    ("l-mspn", 16): 4_290_064,
}
"""The authors' code's, biases of convolutions counted; "s-MSPN" states 56.85 and 4.31 million."""

GMACS = {"mspn-50-2": (10.73, 11.26), "l-mspn": (0.837, 0.945)}
"""At 256x192: of the heatmaps that are decoded alone, and of all that are supervised."""


def empty(kind: str, joints: int = 17) -> MSPN:
    """A network without memory for its values."""
    with torch.device("meta"):
        return MSPN(kind, MSPNSpec(joints=joints))


@pytest.mark.parametrize(("kind", "joints"), PARAMETERS)
def test_parameters_are_the_published_ones(kind: str, joints: int) -> None:
    network = empty(kind, joints)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[kind, joints]
    assert all(module.bias is not None for module in network.modules() if isinstance(module, torch.nn.Conv2d))


@pytest.mark.parametrize("kind", GMACS)
def test_multiplications_are_the_published_ones_and_fewer_where_one_answer_is_asked_for(kind: str) -> None:
    network = empty(kind).eval()
    for run, expected in zip((network.heatmaps, network.supervised), GMACS[kind], strict=True):
        with FlopCounterMode(display=False) as counter:
            run(torch.zeros(1, 3, 256, 192, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["mspn-50-2", "mspn-18-1", "l-mspn"])
def test_every_unit_of_every_stage_is_supervised_at_a_quarter_of_the_size(kind: str) -> None:
    stages = empty(kind, 5)(torch.zeros(2, 3, 64, 96, device="meta"))
    assert [len(stage) for stage in stages] == [4] * LAYOUTS[kind].stages
    assert all(unit.shape == (2, 5, 16, 24) for stage in stages for unit in stage)


@pytest.fixture(scope="module")
def student() -> MSPN:
    torch.manual_seed(0)
    return MSPN("l-mspn", MSPNSpec(joints=3)).eval()


def test_the_answer_is_the_finest_unit_of_the_last_stage(student: MSPN) -> None:
    image = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(student(image), student.supervised(image)[-1][-1], rtol=0, atol=0)


def test_every_parameter_learns_under_bfloat16_and_channels_last() -> None:
    torch.manual_seed(0)
    network = MSPN("l-mspn", MSPNSpec(joints=3)).to(memory_format=torch.channels_last)
    image = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        stages = network(image)
    sum(unit.float().square().mean() for stage in stages for unit in stage).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_half_pixel_resizes_are_an_option_without_tensors_of_its_own(student: MSPN) -> None:
    other = MSPN("l-mspn", MSPNSpec(joints=3, half_pixel=True)).eval()
    other.load_state_dict(student.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert (other(image) - student(image)).abs().max() > 1e-3
