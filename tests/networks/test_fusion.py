from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn import functional as F  # noqa: E402

from trtparse.networks.fusion import AddFusion, ChannelAttentionFusion, SpatialAttentionFusion  # noqa: E402

ATTENTION = [SpatialAttentionFusion, ChannelAttentionFusion]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_of_one_takes_the_low_level_path_and_of_zero_the_high_level_one(
    kind: type[AddFusion], separable: bool
) -> None:
    fusion = kind(8, 16, 4, separable).eval()
    low, high = torch.randn(1, 8, 10, 6), torch.randn(1, 16, 5, 3)
    assert fusion.attention is not None
    for bias, wanted in (
        (100.0, fusion.project(low)),
        (-100.0, F.interpolate(high, size=(10, 6), mode="bilinear", align_corners=False)),
    ):
        torch.nn.init.constant_(fusion.attention[-1].bias, bias)
        torch.testing.assert_close(fusion(low, high), fusion.out(wanted))


def test_without_attention_both_features_are_summed() -> None:
    fusion = AddFusion(8, 16, 4).eval()
    low, high = torch.randn(1, 8, 10, 6), torch.randn(1, 16, 10, 6)
    torch.testing.assert_close(fusion(low, high), fusion.out(fusion.project(low) + high))


def seen_by_attention(fusion: AddFusion, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    assert fusion.attention is not None
    fusion.attention.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    fusion(low, high)
    return seen[0]


def test_spatial_attention_sees_mean_and_maximum_of_each_pixel_s_channels() -> None:
    fusion = SpatialAttentionFusion(8, 8, 4).eval()
    low, high = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    projected = fusion.project(low)
    expected = [projected.mean(1), projected.amax(1), high.mean(1), high.amax(1)]
    torch.testing.assert_close(seen_by_attention(fusion, low, high), torch.stack(expected, 1))


def test_channel_attention_sees_mean_and_maximum_of_each_channel_s_pixels() -> None:
    fusion = ChannelAttentionFusion(8, 8, 4).eval()
    low, high = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    projected = fusion.project(low)
    expected = [projected.mean((2, 3)), high.mean((2, 3)), projected.amax((2, 3)), high.amax((2, 3))]
    torch.testing.assert_close(seen_by_attention(fusion, low, high)[..., 0, 0], torch.cat(expected, 1))


def test_separable_convolutions_take_the_place_of_both_3x3_ones() -> None:
    assert parameters(AddFusion(64, 32, 16)) == 9 * (64 * 32 + 32 * 16) + 2 * (32 + 16)
    assert parameters(AddFusion(64, 32, 16, separable=True)) == (
        9 * (64 + 32) + 2 * (64 + 32) + 64 * 32 + 32 * 16 + 2 * (32 + 16)
    )


def test_attention_s_own_cost_is_small() -> None:
    without = parameters(AddFusion(64, 64, 64))
    assert parameters(SpatialAttentionFusion(64, 64, 64)) - without == 96
    assert parameters(ChannelAttentionFusion(64, 64, 64)) - without == 256 * 32 + 64 + 32 * 64 + 128
