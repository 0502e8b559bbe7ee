from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.networks.pyramid import PyramidPooling, SimplifiedPyramid  # noqa: E402


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_simplified_pyramid_has_a_quarter_of_the_parameters() -> None:
    assert parameters(SimplifiedPyramid(512, 128, (1, 2, 4))) == 345_088  # 0.345 M
    assert parameters(PyramidPooling(512, 128, (1, 2, 3, 6))) == 1_443_072  # 1.44 M


@pytest.mark.parametrize("kind", [SimplifiedPyramid, PyramidPooling])
@pytest.mark.parametrize("size", [(8, 6), (2, 2), (15, 15), (5, 9)])
def test_a_pyramid_keeps_the_size(kind: type[torch.nn.Module], size: tuple[int, int]) -> None:
    assert kind(8, 4, (1, 2, 3, 6)).eval()(torch.randn(1, 8, *size)).shape == (1, 4, *size)


@pytest.mark.parametrize("kind", [SimplifiedPyramid, PyramidPooling])
def test_every_cell_hears_of_every_other(kind: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    kind(8, 16, (1, 2)).eval()(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(1) > 0).all()


def test_only_the_full_pyramid_sees_its_input_beside_the_contexts() -> None:
    # The mean, all that one bin sees, is the same for both.
    x = torch.zeros(1, 4, 8, 8)
    turned = x.clone()
    x[..., 1, 1] = turned[..., 6, 6] = 1
    simplified, full = SimplifiedPyramid(4, 8, (1,)).eval(), PyramidPooling(4, 8, (1,)).eval()
    torch.testing.assert_close(simplified(x), simplified(turned))
    assert not torch.allclose(full(x), full(turned))
