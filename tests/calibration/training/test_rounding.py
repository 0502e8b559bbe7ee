"""The gradients of a rounding, against finite differences of what it is taken for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.training.rounding import INT8_ENDS, UINT8_ENDS, rounded  # noqa: E402


@pytest.mark.parametrize(("ends", "zero"), [(INT8_ENDS, 0.0), (UINT8_ENDS, 37.0), (UINT8_ENDS, 0.0)])
def test_gradients_are_those_of_learned_step_sizes(ends: tuple[int, int], zero: float) -> None:
    """Within the ends rounding is a constant in units of the scale, beyond them the value is the end."""
    generator = torch.Generator().manual_seed(0)
    values = 1.5 * torch.randn(400, generator=generator, dtype=torch.float64)
    loss = torch.randn(400, generator=generator, dtype=torch.float64)
    scale = 2.2 / (ends[1] - ends[0])
    integers = torch.round(values / scale) + zero
    below, above = integers < ends[0], integers > ends[1]
    noise = torch.round(values / scale) - values / scale

    def surrogate(x: torch.Tensor, scale: float, zero: float) -> torch.Tensor:
        made = torch.where(below, (ends[0] - zero) * scale, x + noise * scale)
        return torch.where(above, (ends[1] - zero) * scale, made)

    def slope(of: Callable[[float], torch.Tensor]) -> float:
        return float((loss * (of(1e-4) - of(-1e-4))).sum() / 2e-4)

    x = values.clone().requires_grad_()
    scale_, zero_ = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (scale, zero))
    made = rounded(x, scale_, zero_, ends)
    (made * loss).sum().backward()

    assert 20 < int(below.sum()) < 250
    assert 20 < int(above.sum()) < 250
    assert torch.allclose(made, surrogate(values, scale, zero))
    share = (400 * ends[1]) ** -0.5
    of_scale = slope(lambda step: surrogate(values, scale + step, zero))
    of_zero = slope(lambda step: surrogate(values, scale, zero + step))
    assert scale_.grad is not None
    assert zero_.grad is not None
    assert float(scale_.grad) == pytest.approx(of_scale * share, rel=1e-6)
    assert float(zero_.grad) == pytest.approx(of_zero * share, rel=1e-6)
    assert torch.equal(x.grad, torch.where(below | above, 0.0, loss))
