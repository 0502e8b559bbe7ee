from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trtparse.networks.c_dlinknet import (  # noqa: E402
    AtrousPyramid,
    CDLinkNet,
    CDLinkNetSpec,
    DecoderBlock,
    DilatedCascade,
)


def empty(auxiliary: bool = False, **options: object) -> CDLinkNet:
    """A network without memory for its values."""
    with torch.device("meta"):
        return CDLinkNet(CDLinkNetSpec(**options), auxiliary)  # type: ignore[arg-type]


def parameters(*modules: torch.nn.Module | None) -> int:
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def multiplications(network: CDLinkNet, size: tuple[int, int] = (256, 192)) -> dict[str, float]:
    """Multiply-accumulates of the convolutions in 10^9, by the network's parts."""
    counts: dict[str, float] = {}

    def count(part: str, weight: torch.Tensor, positions: int) -> None:
        counts[part] = counts.get(part, 0) + weight.numel() * positions / 1e9

    for name, module in network.named_modules():
        part = name.split(".")[0]
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, y, part=part: count(part, m.weight, y[0, 0].numel()))
        elif isinstance(module, torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, x, _, part=part: count(part, m.weight, x[0][0, 0].numel()))
    network.eval()(torch.zeros(1, 3, *size, device="meta"))
    return counts


def test_each_part_has_as_many_parameters_as_its_description() -> None:
    network = empty(auxiliary=True)
    decoder = (network.decoder5, network.decoder4, network.decoder3, network.decoder2)
    assert parameters(network.backbone) == 42_500_160
    assert parameters(network.centre) == 11_542_528
    assert parameters(*decoder) == 5_225_856
    assert parameters(network.smooth, network.head) == 2_353_620
    assert parameters(network.auxiliary_heads) == 3_956_816
    assert parameters(empty()) == 61_622_164  # 61.62 M
    assert parameters(empty(aspp="B").centre) == 13_117_952  # 13.118 M


def test_the_blend_at_stride_2_is_half_of_the_arithmetic_and_at_4_a_third() -> None:
    at2, at4 = multiplications(empty()), multiplications(empty(smooth_level=4))
    assert sum(at2.values()) == pytest.approx(28.6, abs=0.05)
    assert at2["backbone"] == pytest.approx(9.72, abs=0.005)
    assert at2["centre"] == pytest.approx(2.17, abs=0.01)
    assert sum(at2[f"decoder{number}"] for number in (2, 3, 4, 5)) == pytest.approx(1.50, abs=0.005)
    assert at2["smooth"] + at2["head"] == pytest.approx(15.25, abs=0.005)
    assert at4["smooth"] + at4["head"] == pytest.approx(5.84, abs=0.005)
    assert "decoder2" not in at4


def test_the_baseline_s_centre_is_d_linknet_s() -> None:
    deep, shallow = empty(aspp="none").centre, empty(aspp="none", backbone="resnet34").centre
    assert [convolution.dilation[0] for convolution in deep.convolutions] == [1, 2, 4, 8, 16]
    assert [convolution.dilation[0] for convolution in shallow.convolutions] == [1, 2, 4, 8]
    assert parameters(deep) == 5 * (9 * 2048 * 2048 + 2048) == 188_753_920


def test_the_cascade_sums_its_input_and_every_output() -> None:
    cascade = DilatedCascade(4, (1, 2))
    x = torch.randn(1, 4, 7, 5)
    first = torch.relu(cascade.convolutions[0](x))
    torch.testing.assert_close(cascade(x), x + first + torch.relu(cascade.convolutions[1](first)))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_without_its_skip_d2_is_as_wide_as_d3(skip: bool, smooth: bool) -> None:
    network = empty(d2_skip=skip, smooth=smooth)
    _, decoded = network.eval().features(torch.zeros(1, 3, 96, 64, device="meta"))
    assert [feature.shape[1] for feature in decoded] == [1024, 512, 256, 64 if skip else 256]
    if smooth:
        assert network.smooth is not None
        assert network.smooth.blend[0].in_channels == 3 * 64 + decoded[-1].shape[1]


@pytest.mark.parametrize(
    ("backbone", "widths"),
    [("resnet34", (256, 128, 64, 64)), ("resnet50", (1024, 512, 256, 64)), ("resnet101", (1024, 512, 256, 64))],
)
def test_every_decoder_output_has_the_shape_of_the_encoder_level_it_is_added_to(
    backbone: str, widths: tuple[int, ...]
) -> None:
    network = empty(backbone=backbone).eval()
    image = torch.zeros(1, 3, 97, 130, device="meta")
    levels = network.backbone(image)
    _, decoded = network.features(image)
    assert [feature.shape for feature in decoded] == [level.shape for level in levels[3::-1]]
    assert tuple(feature.shape[1] for feature in decoded) == widths


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.booleans())
def test_a_decoder_block_reaches_the_odd_size_as_well_as_the_even_one(
    height: int, width: int, tall: bool, wide: bool
) -> None:
    size = (2 * height - tall, 2 * width - wide)
    assert DecoderBlock(8, 4, 2).eval()(torch.zeros(1, 8, height, width), size).shape == (1, 4, *size)


def test_the_smooth_module_joins_the_decoder_s_outputs_the_deepest_first_and_the_last_as_it_is() -> None:
    network = CDLinkNet(CDLinkNetSpec(backbone="resnet34", smooth_channels=8)).eval()
    seen: list[torch.Tensor] = []
    assert network.smooth is not None
    network.smooth.blend.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.inference_mode():
        _, decoded = network.features(torch.randn(1, 3, 64, 64))
        chain = network.smooth.projections[0]
        deepest = chain[2](chain[1](chain[0](decoded[0], (8, 8)), (16, 16)), (32, 32))
    assert seen[0].shape == (1, 256, 32, 32)
    torch.testing.assert_close(seen[0][:, :64], deepest)
    torch.testing.assert_close(seen[0][:, 192:], decoded[-1])


@pytest.mark.parametrize(("with_pointwise", "kernels"), [(False, [3, 3, 3]), (True, [1, 3, 3, 3])])
def test_reading_b_of_the_pyramid_has_one_pointwise_branch_more(with_pointwise: bool, kernels: list[int]) -> None:
    pyramid = AtrousPyramid(32, (12, 24, 36), with_pointwise).eval()
    assert [branch[0].kernel_size[0] for branch in pyramid.branches] == kernels
    assert pyramid(torch.randn(1, 32, 16, 12)).shape == (1, 32, 16, 12)


def test_on_a_16x12_map_rates_24_and_36_touch_the_centre_tap_alone_and_12_the_vertical_ones() -> None:
    centre, vertical = [[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 1, 0], [0, 1, 0]]
    pyramid = AtrousPyramid(16, (12, 24, 36), with_pointwise=False).eval()
    x = torch.randn(1, 8, 16, 12)
    with torch.inference_mode():
        for branch, taps in zip(pyramid.branches, (vertical, centre, centre), strict=True):
            before = branch(x)
            branch[0].weight *= torch.tensor(taps)
            torch.testing.assert_close(branch(x), before)
        before = pyramid.branches[0](x)
        pyramid.branches[0][0].weight *= torch.tensor(centre)
        assert not torch.allclose(pyramid.branches[0](x), before)


def test_intermediate_heads_stand_on_every_decoder_output_in_training_unless_left_out() -> None:
    def strides(network: CDLinkNet) -> list[float]:
        return [256 / logits.shape[2] for logits in network.forward_coarse(torch.zeros(2, 3, 256, 192, device="meta"))]

    shallow = {"backbone": "resnet34"}
    assert strides(empty(True, **shallow)) == [2, 16, 8, 4, 2]
    assert strides(empty(True, **shallow, smooth_level=4)) == [4, 16, 8, 4]
    assert strides(empty(True, **shallow, smooth=False)) == [1, 16, 8, 4, 2]
    assert strides(empty(True, **shallow, intermediate_losses=False)) == [2]
    assert strides(empty(**shallow)) == [2]


def test_an_untrained_network_is_undecided() -> None:
    torch.manual_seed(0)
    network = CDLinkNet(CDLinkNetSpec(backbone="resnet34", smooth_channels=64), auxiliary=True)
    labels = torch.randint(0, 20, (2,))
    for logits in network.forward_coarse(torch.randn(2, 3, 64, 64)):
        pixels = logits.flatten(2).mean(2)
        assert float(torch.nn.functional.cross_entropy(pixels, labels).detach()) < 4  # log 20 is 3.0
