from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.hints import Hints, captured_levels  # noqa: E402
from trtparse.networks.registry import create_network  # noqa: E402
from trtparse.networks.student import Student  # noqa: E402

WIDTHS = (2, 2, 2, 2)


def levels(seed: int, size: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, size, size, generator=generator) for _ in range(4)]


def plain() -> Hints:
    """Projections that change nothing."""
    hints = Hints(WIDTHS, WIDTHS)
    for projection in hints.projections:
        torch.nn.init.dirac_(projection.weight)
        torch.nn.init.zeros_(projection.bias)
    return hints


def normalised(level: torch.Tensor) -> torch.Tensor:
    return (level - level.mean((0, 2, 3), keepdim=True)) / level.std((0, 2, 3), keepdim=True)


def test_the_teachers_directions_cost_nothing_and_their_opposite_two_a_level() -> None:
    teacher = levels(0)
    same = [3 * normalised(level) for level in teacher]
    assert plain()(same, teacher).item() == pytest.approx(0, abs=1e-3)
    assert plain()([-level for level in same], teacher).item() == pytest.approx(8, abs=1e-3)


def test_a_channel_s_scale_and_offset_in_the_teacher_do_not_matter() -> None:
    student, teacher = levels(1), levels(2)
    scaled = [level * torch.tensor([100.0, 0.5]).view(1, 2, 1, 1) + 7 for level in teacher]
    assert plain()(student, scaled).item() == pytest.approx(plain()(student, teacher).item(), abs=1e-2)


def test_sizes_and_widths_may_differ_and_no_gradient_reaches_the_teacher() -> None:
    hints = Hints((1, 8, 16, 32, 64), (1, 3, 5, 7, 9))
    student = [torch.randn(2, width, 8, 6, requires_grad=True) for width in (1, 8, 16, 32, 64)]
    teacher = [torch.randn(2, width, 4, 3, requires_grad=True) for width in (1, 3, 5, 7, 9)]
    loss = hints(student, teacher)
    loss.backward()
    assert 0 < loss.item() < 8
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in student[1:])
    assert all(level.grad is None for level in teacher)
    assert student[0].grad is None


def test_the_levels_of_a_trunk_s_first_call_are_captured() -> None:
    network = Student().eval()
    with torch.inference_mode():
        with captured_levels(network) as found:
            network(torch.zeros(1, 3, 64, 64))
            network(torch.zeros(1, 3, 96, 64))
        kept = [level.shape for level in found]
        network(torch.zeros(1, 3, 128, 64))
    assert [shape[1] for shape in kept] == list(network.backbone.channels)
    assert kept[0][2:] == (32, 32)
    assert [level.shape for level in found] == kept


def test_every_network_s_trunk_says_its_widths() -> None:
    with torch.device("meta"):
        widths = [create_network(kind, {}).backbone.channels for kind in ("lsfa-r18", "lsfa-efficientnet-lite0")]
    assert widths == [(64, 64, 128, 256, 512), (16, 24, 40, 112, 320)]
