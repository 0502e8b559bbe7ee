from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn import functional as F  # noqa: E402

from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.networks.student import (  # noqa: E402
    ResNet18,
    SimplifiedPyramid,
    SpatialAttentionFusion,
    Student,
    StudentSpec,
    fixed_average_pool,
)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_parameter_counts_are_the_published_structure_s() -> None:
    assert parameters(ResNet18()) == 11_176_512
    assert parameters(Student()) == 12_944_192
    assert parameters(Student(StudentSpec(finest_stride=8))) == 12_870_112
    assert round(parameters(SimplifiedPyramid(512, 128, (1, 2, 4))) / 1e6, 3) == 0.345


def test_auxiliary_heads_are_for_training_only() -> None:
    assert parameters(Student(auxiliary=True)) > parameters(Student())
    assert not any("auxiliary" in name for name in Student().state_dict())


@pytest.mark.parametrize("size", [(64, 64), (65, 100), (256, 192), (129, 71), (473, 473)])
def test_any_size_from_64_up_gives_logits_of_that_size(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = Student().eval()(torch.zeros(1, 3, *size))
    assert logits.shape == (1, 20, *size)
    assert torch.isfinite(logits).all()


def test_a_smaller_input_is_refused_by_its_size() -> None:
    with pytest.raises(ValueError, match="63x64"):
        Student().eval()(torch.zeros(1, 3, 63, 64))


def test_attention_of_one_takes_the_low_level_path_and_of_zero_the_high_level_one() -> None:
    fusion = SpatialAttentionFusion(8, 16, 4).eval()
    low, high = torch.randn(1, 8, 10, 6), torch.randn(1, 16, 5, 3)
    last = fusion.attention[-1]
    for bias, wanted in (
        (100.0, fusion.project(low)),
        (-100.0, F.interpolate(high, size=(10, 6), mode="bilinear", align_corners=False)),
    ):
        torch.nn.init.constant_(last.bias, bias)
        torch.testing.assert_close(fusion(low, high), fusion.out(wanted))


def test_the_attention_map_sees_mean_and_maximum_of_both_features_in_that_order() -> None:
    fusion = SpatialAttentionFusion(8, 8, 4).eval()
    seen: list[torch.Tensor] = []
    fusion.attention.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    low, high = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    fusion(low, high)
    projected = fusion.project(low)
    expected = [projected.mean(1), projected.amax(1), high.mean(1), high.amax(1)]
    torch.testing.assert_close(seen[0], torch.stack(expected, 1))


@pytest.mark.parametrize(("size", "bins"), [((8, 8), 4), ((8, 6), 2), ((15, 15), 1), ((12, 12), 4)])
def test_fixed_pooling_is_adaptive_pooling_where_the_bins_divide_the_size(size: tuple[int, int], bins: int) -> None:
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(fixed_average_pool(x, bins), F.adaptive_avg_pool2d(x, bins))


def test_fixed_pooling_covers_every_cell_of_an_odd_size() -> None:
    x = torch.zeros(1, 1, 15, 7)
    x[..., -1, -1] = 1
    assert fixed_average_pool(x, 4)[..., -1, -1] > 0
    assert fixed_average_pool(torch.zeros(1, 1, 2, 2), 4).shape == (1, 1, 2, 2)


def test_normalisation_turns_bgr_frames_into_imagenet_s_rgb() -> None:
    frame = torch.tensor([[[[104, 116, 124]]]], dtype=torch.uint8)  # B, G, R near ImageNet's mean
    image = normalise(frame)
    assert image.shape == (1, 3, 1, 1)
    expected = [(124 / 255 - 0.485) / 0.229, (116 / 255 - 0.456) / 0.224, (104 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(image.flatten(), torch.tensor(expected), atol=1e-5, rtol=0)
