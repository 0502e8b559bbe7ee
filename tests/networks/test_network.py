"""What holds for every network there is."""

from __future__ import annotations

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.c_dlinknet import CDLinkNetSpec  # noqa: E402
from trtparse.networks.network import NetworkSpec, ParsingNetwork  # noqa: E402
from trtparse.networks.registry import NETWORKS, create_network  # noqa: E402
from trtparse.networks.student import StudentSpec  # noqa: E402

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("lsfa-r18", {}),
    ("lsfa-r18", {"context": "none", "fusion": "none"}),
    ("lsfa-r18", {"context": "none", "fusion": "add", "finest_stride": 8}),
    ("lsfa-r18", {"context": "psp", "fusion": "none"}),
    ("lsfa-r18", {"fusion": "channel_attention", "separable": True}),
    ("lsfa-efficientnet-lite0", {}),
    ("lsfa-efficientnet-lite2", {}),
    ("lsfa-mobilenetv2-175", {}),
    ("c-dlinknet", {"backbone": "resnet34", "smooth_channels": 64}),
    ("c-dlinknet", {"backbone": "resnet34", "smooth_channels": 64, "smooth_level": 4, "aspp": "B"}),
    ("c-dlinknet", {"backbone": "resnet34", "smooth": False, "aspp": "none"}),
]
every_network = pytest.mark.parametrize(("kind", "options"), SMALL)
# Those that have a part of their own; what the others add is the same parts in another order.
_OWN = (0, 3, 4, 5, 7, 8)
every_part = pytest.mark.parametrize(
    ("kind", "options"),
    [each if number in _OWN else pytest.param(*each, marks=pytest.mark.slow) for number, each in enumerate(SMALL)],
)


def test_the_list_above_has_every_kind() -> None:
    assert {kind for kind, _ in SMALL} == set(NETWORKS)


@every_network
def test_any_size_from_64_up_gives_logits_of_that_size(kind: str, options: dict[str, Any]) -> None:
    network = create_network(kind, {**options, "num_classes": 7}).eval()
    with torch.inference_mode():
        for size in ((64, 64), (65, 94)):
            logits = network(torch.zeros(1, 3, *size))
            assert logits.shape == (1, 7, *size)
            assert torch.isfinite(logits).all()


@every_network
@pytest.mark.parametrize("size", [(256, 192), (473, 473), (129, 71)])
def test_so_do_larger_ones(kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert create_network(kind, options).eval()(torch.zeros(2, 3, *size)).shape == (2, 20, *size)


@every_network
def test_a_smaller_input_is_refused_by_its_size(kind: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = create_network(kind, options).eval()
        with pytest.raises(ValueError, match="63x64"):
            network(torch.zeros(1, 3, 63, 64))


@every_network
def test_coarse_logits_are_the_head_s_and_then_the_auxiliary_ones(kind: str, options: dict[str, Any]) -> None:
    network = create_network(kind, options, auxiliary=True).eval()
    image = torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        first, *others = network.forward_coarse(image)
        full = torch.nn.functional.interpolate(first, size=(96, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(full, network(image))
    assert len(others) == len(network.auxiliary_heads or ()) > 0
    assert all(logits.shape[:2] == (1, 20) for logits in others)
    strides = [96 / logits.shape[2] for logits in others]
    assert strides == sorted(strides, reverse=True)
    assert 0 < network.auxiliary_weight < 1


@every_network
def test_auxiliary_heads_are_all_that_training_adds(kind: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        plain = set(create_network(kind, options).state_dict())
        trained = set(create_network(kind, options, auxiliary=True).state_dict())
    assert plain < trained
    assert all(name.startswith("auxiliary_heads.") for name in trained - plain)


@every_part
def test_every_parameter_learns(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = create_network(kind, {**options, "num_classes": 3}, auxiliary=True)
    coarse = network.forward_coarse(torch.randn(2, 3, 64, 64))
    sum((logits * torch.randn_like(logits)).sum() for logits in coarse).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


@every_network
def test_the_first_convolution_is_backbone_conv1_which_is_where_bgr_is_folded_in(
    kind: str, options: dict[str, Any]
) -> None:
    with torch.device("meta"):
        network = create_network(kind, options).eval()
        order: list[torch.nn.Module] = []
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda module, _, __: order.append(module))
        network(torch.zeros(1, 3, 64, 64))
    assert order[0] is network.backbone.conv1
    assert [module for module in order if module.in_channels == 3] == [network.backbone.conv1]


@settings(deadline=None)
@given(
    st.sampled_from([4, 8]),
    st.sampled_from(["none", "psp", "sppm"]),
    st.sampled_from(["none", "add", "spatial_attention", "channel_attention"]),
    st.booleans(),
    st.lists(st.integers(1, 9), max_size=4).map(tuple),
)
def test_a_student_s_options_come_back_from_json(
    stride: int, context: str, fusion: str, separable: bool, bins: tuple[int, ...]
) -> None:
    spec = StudentSpec(20, stride, bins, 64, context, fusion, separable)
    assert StudentSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@settings(deadline=None)
@given(st.sampled_from(["resnet34", "resnet101"]), st.sampled_from(["A", "B", "none"]), st.booleans())
def test_a_c_dlinknet_s_options_come_back_from_json(backbone: str, aspp: str, smooth: bool) -> None:
    spec = CDLinkNetSpec(backbone=backbone, aspp=aspp, smooth=smooth, aspp_rates=(6, 12))
    assert CDLinkNetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("spec", "option", "value", "said"),
    [
        (StudentSpec, "context", "spmm", "Unknown context 'spmm'. Did you mean sppm?"),
        (StudentSpec, "fusion", "spatial-attention", "Did you mean spatial_attention?"),
        (StudentSpec, "fusion", "chanel", "Did you mean channel_attention?"),
        (StudentSpec, "finest_stride", 5, "Did you mean 4?"),
        (StudentSpec, "finest_stride", 32, "Did you mean 8?"),
        (StudentSpec, "separable", 1, "separable must be true or false, not 1"),
        (StudentSpec, "pyramid_bins", [0, 2], "pyramid_bins must hold whole numbers above 0"),
        (StudentSpec, "pyramid_bins", 3, "pyramid_bins must be a list of whole numbers, not 3"),
        (StudentSpec, "pyramid_channels", 0, "pyramid_channels must be at least 1"),
        (StudentSpec, "num_classes", 1, "num_classes must lie between 2 and 255, not 1"),
        (StudentSpec, "num_classes", 20.0, "num_classes must be a whole number, not 20.0"),
        (StudentSpec, "contxt", "psp", "Unknown network option 'contxt'. Did you mean context?"),
        (CDLinkNetSpec, "backbone", "resnet100", "Did you mean resnet101?"),
        (CDLinkNetSpec, "aspp", "nothing", "Unknown aspp 'nothing'. Did you mean none?"),
        (CDLinkNetSpec, "smooth_level", 3, "Did you mean 2?"),
        (CDLinkNetSpec, "smooth", "yes", "smooth must be true or false, not 'yes'"),
    ],
)
def test_an_impossible_option_is_named_with_the_nearest_that_is_allowed(
    spec: type[NetworkSpec], option: str, value: object, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        spec.from_dict({option: value})
    assert said in caught.value.message


def test_the_base_has_no_features_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        ParsingNetwork(NetworkSpec())(torch.zeros(1, 3, 64, 64))
