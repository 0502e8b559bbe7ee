from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trtparse.networks.resnet import BLOCKS, ResNet  # noqa: E402

PARAMETERS = {18: 11_176_512, 34: 21_284_672, 50: 23_508_032, 101: 42_500_160}
"""torchvision's counts without the 513,000 or 2,049,000 of ``fc``."""
ENTRIES = {18: 120, 34: 216, 50: 318, 101: 624}
"""torchvision's state dict without ``fc.weight`` and ``fc.bias``."""


def empty(depth: int, output_stride: int = 32) -> ResNet:
    """A trunk without memory for its values."""
    with torch.device("meta"):
        return ResNet(depth, output_stride)


@pytest.mark.parametrize("depth", PARAMETERS)
@pytest.mark.parametrize("output_stride", [16, 32])
def test_parameters_and_their_names_are_torchvision_s(depth: int, output_stride: int) -> None:
    network = empty(depth, output_stride)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[depth]
    state = network.state_dict()
    assert len(state) == ENTRIES[depth]
    last = BLOCKS[depth][1][3] - 1
    for name in ("conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", f"layer4.{last}.bn2.num_batches_tracked"):
        assert name in state
    assert state["layer2.0.downsample.0.weight"].shape[2:] == (1, 1)
    assert state["layer2.0.downsample.1.weight"].ndim == 1
    assert ("layer1.0.downsample.0.weight" in state) == ("layer1.0.conv3.weight" in state) == (depth >= 50)


def test_a_bottleneck_s_stride_is_on_its_3x3_convolution_as_torchvision_has_it() -> None:
    block = empty(50).layer2[0]
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([18, 50]), st.sampled_from([16, 32]), st.integers(33, 300), st.integers(33, 300))
def test_a_level_of_stride_s_has_the_input_s_size_over_s_rounded_up(
    depth: int, output_stride: int, height: int, width: int
) -> None:
    network = empty(depth, output_stride)
    levels = network(torch.zeros(1, 3, height, width, device="meta"))
    for level, channels, stride in zip(levels, network.channels, (2, 4, 8, 16, output_stride), strict=True):
        assert level.shape == (1, channels, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("depth", [34, 101])
def test_at_output_stride_16_the_last_layer_alone_is_dilated(depth: int) -> None:
    for name, module in empty(depth, 16).named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            assert module.dilation == ((2, 2) if name.startswith("layer4") else (1, 1))


def test_no_level_is_negative_so_a_sum_of_two_needs_no_relu() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        assert all(float(level.min()) >= 0 for level in ResNet(18).eval()(torch.randn(1, 3, 64, 64)))


@pytest.mark.parametrize(("depth", "output_stride"), [(19, 32), (18, 8)])
def test_another_depth_or_stride_is_refused(depth: int, output_stride: int) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        ResNet(depth, output_stride)
