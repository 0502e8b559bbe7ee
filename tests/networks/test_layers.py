from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trtparse.networks.layers import (  # noqa: E402
    conv_bn_relu,
    fixed_average_pool,
    initialise,
    separable_conv_bn_relu,
)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_fixed_pooling_gives_the_bins_asked_for_or_one_per_cell(height: int, width: int, bins: int) -> None:
    pooled = fixed_average_pool(torch.ones(1, 2, height, width), bins)
    assert pooled.shape == (1, 2, min(bins, height), min(bins, width))
    torch.testing.assert_close(pooled, torch.ones_like(pooled))


@pytest.mark.parametrize(("size", "bins"), [((8, 8), 4), ((8, 6), 2), ((15, 15), 1), ((12, 12), 4), ((12, 6), 6)])
def test_fixed_pooling_is_adaptive_pooling_where_the_bins_divide_the_size(size: tuple[int, int], bins: int) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(fixed_average_pool(x, bins), F.adaptive_avg_pool2d(x, bins))


def test_fixed_pooling_covers_every_cell_of_an_odd_size() -> None:
    x = torch.zeros(1, 1, 15, 7)
    x[..., -1, -1] = 1
    assert fixed_average_pool(x, 4)[..., -1, -1] > 0
    assert fixed_average_pool(torch.zeros(1, 1, 2, 2), 4).shape == (1, 1, 2, 2)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 12), (3, 36)])
def test_convolutions_keep_the_size(kernel: int, dilation: int) -> None:
    assert conv_bn_relu(2, 3, kernel, dilation)(torch.randn(2, 2, 9, 7)).shape == (2, 3, 9, 7)


def test_a_separable_convolution_mixes_channels_only_in_its_second_half() -> None:
    layers = separable_conv_bn_relu(4, 6, 3).eval()
    x = torch.randn(1, 4, 8, 8)
    changed = x.clone()
    changed[:, 0] += 1
    depthwise = (layers[0](x) != layers[0](changed)).any((0, 2, 3))
    assert depthwise.tolist() == [True, False, False, False]
    assert layers(x).shape == (1, 6, 8, 8)
    assert sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Conv2d)) == 4 * 9 + 4 * 6


def test_both_kinds_of_convolution_start_with_the_variance_of_their_outputs_fan() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Conv2d(32, 128, 3), nn.ConvTranspose2d(32, 128, 3)])
    initialise(layers)
    for layer in layers:
        assert float(layer.weight.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.03)
        assert not layer.bias.any()
