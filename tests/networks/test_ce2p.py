from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.ce2p import (  # noqa: E402
    CE2P,
    ActivatedNorm,
    AffinityDecoder,
    CDGNet,
    DistributionAttention,
    Edge,
    Family,
    Pyramid,
    read_released,
    recognise,
)
from trtparse.networks.student import Student  # noqa: E402


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


@dataclass
class Published:
    """The networks as their repositories describe them: run by the names of their tensors, without modules.

    A tensor is made up when it is first asked for, so that running the network once also writes its state dict.
    """

    family: Family
    tensors: dict[str, Tensor] = field(default_factory=dict)
    # Drawing 80 million numbers would take seconds; these are repeated, from another place for each tensor.
    numbers: Tensor = field(default_factory=lambda: torch.randn(99_991, generator=torch.Generator().manual_seed(0)))

    def draw(self, name: str, *shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        if name not in self.tensors:
            count = math.prod(shape)
            numbers = self.numbers.roll(777 * len(self.tensors)) * scale + offset
            self.tensors[name] = numbers.repeat(count // len(numbers) + 1)[:count].view(shape)
        return self.tensors[name]

    def conv(self, name: str, x: Tensor, channels: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> Tensor:
        flat = x.ndim == 3
        fan_in = x.shape[1] * kernel ** (1 if flat else 2)
        shape = (channels, x.shape[1], kernel, *([] if flat else [kernel]))
        weight = self.draw(f"{name}.weight", *shape, scale=(2 / fan_in) ** 0.5)
        bias = self.tensors.get(f"{name}.bias")
        function = F.conv1d if flat else F.conv2d
        return function(x, weight, bias, stride, kernel // 2 * dilation, dilation)

    def classifier(self, name: str, x: Tensor, channels: int, kernel: int = 1) -> Tensor:
        self.draw(f"{name}.bias", channels)
        return self.conv(name, x, channels, kernel)

    def norm(self, name: str, x: Tensor) -> Tensor:
        channels = x.shape[1]
        scale = self.draw(f"{name}.weight", channels, scale=0.5)  # half of them negative
        offset = self.draw(f"{name}.bias", channels, scale=0.1)
        mean = self.draw(f"{name}.running_mean", channels, scale=0.1)
        variance = self.draw(f"{name}.running_var", channels, scale=0.1, offset=1.0)
        if self.family == "cdgnet":
            self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)
        else:
            scale = scale.abs() + 1e-5
        view = (1, -1, *[1] * (x.ndim - 2))
        return (x - mean.view(view)) / (variance.view(view) + 1e-5).sqrt() * scale.view(view) + offset.view(view)

    def head(self, name: str, x: Tensor, channels: int, kernel: int = 1, at: int = 0) -> Tensor:
        """A convolution at ``name.at`` and its activated norm behind it."""
        x = self.conv(f"{name}.{at}", x, channels, kernel)
        if self.family == "cdgnet":
            return F.relu(self.norm(f"{name}.{at + 1}.0", x))
        return F.leaky_relu(self.norm(f"{name}.{at + 1}", x), 0.01)

    def bottleneck(self, name: str, x: Tensor, width: int, stride: int, dilation: int, first: bool) -> Tensor:
        y = F.relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, width)))
        y = F.relu(self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y, width, 3, stride, dilation)))
        y = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", y, 4 * width))
        if first:
            down = self.conv(f"{name}.downsample.0", x, 4 * width, 1, stride)
            x = self.norm(f"{name}.downsample.1", down)
        return F.relu(x + y)

    def trunk(self, image: Tensor) -> list[Tensor]:
        x = image
        for index, (width, stride) in enumerate(((64, 2), (64, 1), (128, 1)), 1):
            x = F.relu(self.norm(f"bn{index}", self.conv(f"conv{index}", x, width, 3, stride)))
        x = F.max_pool2d(x, 3, 2, 1)
        levels = []
        for layer, (width, count) in enumerate(((64, 3), (128, 4), (256, 23), (512, 3)), 1):
            for block in range(count):
                stride = 2 if block == 0 and layer in (2, 3) else 1
                x = self.bottleneck(f"layer{layer}.{block}", x, width, stride, 2 if layer == 4 else 1, block == 0)
            levels.append(x)
        return levels

    def pyramid(self, name: str, x: Tensor) -> Tensor:
        parts = []
        for index, bins in enumerate((1, 2, 3, 6)):
            pooled = F.adaptive_avg_pool2d(x, bins)
            parts.append(resize(self.head(f"{name}.stages.{index}", pooled, 512, at=1), x))
        return self.head(f"{name}.bottleneck", torch.cat([*parts, x], 1), 512, 3)

    def edges(self, name: str, levels: list[Tensor]) -> Tensor:
        features = [self.head(f"{name}.conv{index}", level, 256) for index, level in enumerate(levels, 1)]
        answers = [self.classifier(f"{name}.conv4", feature, 2, 3) for feature in features]
        self.classifier(f"{name}.conv5", torch.cat([resize(answer, answers[0]) for answer in answers], 1), 2)
        return torch.cat([resize(feature, features[0]) for feature in features], 1)

    def distribution(self, x: Tensor) -> Tensor:
        name, attention = "hwAttention", torch.zeros(())
        pools = (((118, 1), 3, "gamma"), ((1, 118), 2, "beta"))
        for index, (size, axis, weight) in enumerate(pools, 1):
            pooled = F.adaptive_avg_pool2d(x, size).squeeze(axis)
            pooled = F.relu(
                self.norm(f"{name}.conv_hgt{index}.1", self.conv(f"{name}.conv_hgt{index}.0", pooled, 256, 3))
            )
            self.classifier(f"{name}.conv_hwPred{index}.0", pooled, 20, 3)
            map_ = self.classifier(f"{name}.conv_upDim{index}.0", pooled, 512, 7).sigmoid().unsqueeze(axis)
            attention = attention + self.draw(f"{name}.{weight}", 1, offset=1.0) * resize(map_, x)
        x = self.conv(f"{name}.cmbFea.0", torch.cat([x, x * attention, attention], 1), 512, 3)
        return F.relu(self.norm(f"{name}.cmbFea.1", x))

    def __call__(self, image: Tensor) -> Tensor:
        theirs = self.family == "cdgnet"
        names = ("context_encoding", "edge", "decoder", "fushion")
        context_name, edge_name, decoder_name, fusion_name = (
            names if self.family == "schp" else ("layer5", "edge_layer", "layer6", "layer7")
        )
        kernel = 3 if theirs else 1
        level4, level8, level16, deepest = self.trunk(image)
        context = self.pyramid(context_name, deepest)
        if theirs:
            self.classifier("L", level16, 20)
            context = self.distribution(context)
        context = self.head(f"{decoder_name}.conv1", context, 256)
        x = resize(context, level4)
        x = torch.cat([x, self.head(f"{decoder_name}.conv2", level4, 48, kernel)], 1)
        x = self.head(f"{decoder_name}.conv3", x, 256, kernel)
        x = self.head(f"{decoder_name}.conv3", x, 256, at=2)
        if theirs:
            fine = resize(self.head("sq5", level4, 256), level16)
            guide = torch.cat([resize(image, level16), fine, self.head("sq4", level16, 256)], 1)
            guide = self.head("f9", guide, 256)
            pairs = torch.einsum("nci,ncj->nij", guide.flatten(2), guide.flatten(2)) / 16
            spread = torch.einsum("nci,nij->ncj", resize(x, guide).flatten(2), pairs.softmax(2))
            x = self.head(f"{decoder_name}.addCAM", torch.cat([x, resize(spread.view_as(guide), x)], 1), 256, 3)
        self.classifier(f"{decoder_name}.conv4", x, 20)
        x = torch.cat([x, self.edges(edge_name, [level4, level8, level16])], 1)
        x = self.head(fusion_name, x, 256, kernel)
        return self.classifier(f"{fusion_name}.3", x, 20)


def test_the_parameter_counts_are_the_published_structures() -> None:
    with torch.device("meta"):
        assert parameters(CE2P()) == 66_723_928
        assert parameters(CDGNet()) == 80_936_854
        assert round(parameters(Pyramid(0.01)) / 1e6, 2) == 23.07
        assert parameters(CE2P(num_classes=18)) == 66_723_928 - 2 * 2 * 257


IMAGE = torch.randn(1, 3, 65, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Published:
    """A state dict in a family's names, written by one run on ``IMAGE``."""
    network = Published(request.param)
    with torch.no_grad():
        network(IMAGE)
    return network


@pytest.mark.parametrize("published", ["schp", "ce2p", "cdgnet"], indirect=True)
def test_a_released_state_dict_gives_the_logits_that_its_tensors_mean(published: Published) -> None:
    tensors = dict(published.tensors)
    network = read_released(tensors, "a.pth")
    assert recognise(tensors) == published.family
    assert isinstance(network, CDGNet) == (published.family == "cdgnet")
    assert not network.training
    learned = [value.numel() for name, value in tensors.items() if name.endswith(("weight", "bias", "gamma", "beta"))]
    assert sum(learned) == parameters(network)
    with torch.no_grad():
        expected, found = published(IMAGE), network(IMAGE)
    assert found.shape == (1, 20, 17, 12)  # a quarter of 65 x 48, rounded up
    # Measured in what changes from pixel to pixel; biases alone would pass for a right answer otherwise.
    spread = float(expected.std((2, 3)).mean())
    assert spread > 1e-3
    torch.testing.assert_close(found / spread, expected / spread, atol=1e-3, rtol=0)


def test_an_activated_norm_leaks_what_its_slope_says() -> None:
    x = torch.tensor([-2.0, 3.0]).view(1, 2, 1, 1)
    for slope in (0.01, 0.0):
        norm = ActivatedNorm(2, slope).eval()
        torch.testing.assert_close(norm(x).flatten(), torch.tensor([-2.0 * slope, 3.0]), atol=1e-4, rtol=0)


def test_attention_along_columns_alone_is_the_same_in_every_row() -> None:
    attention = DistributionAttention(20).eval()
    nn.init.zeros_(attention.row_weight)
    seen: list[Tensor] = []
    attention.mix.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -512:]))
    attention(torch.randn(1, 512, 5, 4))
    torch.testing.assert_close(seen[0], seen[0][:, :, :1].expand_as(seen[0]))
    assert seen[0].std(3).max() > 1e-3


def test_pixels_that_all_look_alike_share_the_mean_of_their_features() -> None:
    decoder = AffinityDecoder(20, 3, 0.0).eval()
    seen: list[Tensor] = []
    decoder.refine.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    decoder.propagate(torch.randn(1, 512, 4, 4), torch.randn(1, 256, 8, 8), torch.ones(1, 256, 8, 8))
    feature, spread = seen[0].split(256, 1)
    torch.testing.assert_close(spread, feature.mean((2, 3), keepdim=True).expand_as(spread))


def test_the_edge_branch_gives_features_of_three_levels_at_the_finest_size() -> None:
    edge = Edge(0.01).eval()
    levels = torch.randn(1, 256, 8, 6), torch.randn(1, 512, 4, 3), torch.randn(1, 1024, 2, 2)
    assert edge(*levels).shape == (1, 768, 8, 6)


def test_our_own_checkpoints_are_no_member_of_the_family() -> None:
    with torch.device("meta"):
        names = Student(auxiliary=True).state_dict()
    assert recognise(names) is None
    assert recognise([]) is None
    with pytest.raises(UsageError, match=r"a\.pth is no checkpoint of CE2P's family"):
        read_released(dict(names), "a.pth")


@pytest.mark.parametrize("published", ["cdgnet"], indirect=True)
def test_what_does_not_fit_is_named(published: Published) -> None:
    released = published.tensors
    without = {name: value for name, value in released.items() if name != "layer3.22.bn2.bias"}
    with pytest.raises(UsageError, match=r"cdgnet, but 1 tensors are missing.*layer3\.22\.bn2\.bias"):
        read_released(without, "a.pth")
    other = {**released, "hwAttention.gamma": torch.ones(20), "hwAttention.conv_clsUp.0.0.weight": torch.ones(1)}
    with pytest.raises(UsageError, match=r"1 unknown and 1 of another shape.*conv_clsUp.*is \(20,\), not \(1,\)"):
        read_released(other, "a.pth")
    damaged = {**released, "L.bias": torch.full((20,), float("nan"))}
    with pytest.raises(UsageError, match=r"a\.pth holds values that are not finite, first in deep_logits\.bias"):
        read_released(damaged, "a.pth")
