"""CE2P's family: the teachers whose released checkpoints can be read, run forward alone.

Three published networks share a ResNet-101 with a deep stem, a pyramid, a decoder and an edge branch:

- **CE2P**, Ruan et al., "Devil in the Details: Towards Accurate Single and Multiple Human Parsing" (AAAI 2019),
- **A-CE2P** of SCHP, Li et al., "Self-Correction for Human Parsing" (TPAMI 2020): the same layers, other names,
- **CDGNet**, Liu et al., "CDGNet: Class Distribution Guided Network for Human Parsing" (CVPR 2022).

How a released state dict becomes these networks' (:func:`read_released`):

- a leading ``module.`` goes as the file is read (:mod:`~trtparse.networks.state_dict`);
- names change by ``RENAMED``; what stands at the top (``conv1``, ``layer3.22.bn2``) is the trunk's. Names and
  shapes were checked against the public sources: GoGoDuck912/Self-Correction-Human-Parsing
  ``networks/AugmentCE2P.py``, liutinglt/CE2P ``networks/CE2P.py`` (commit dec670b), tjpulkl/CDGNet
  ``networks/CDGNet.py`` and ``utils/attention.py``. The released files themselves were not at hand. That they
  carry ``module.`` and that SCHP's stands under ``state_dict`` is known from the code that reads them;
- CDGNet's norms lie in a sequence of their own (``layer7.1.0.weight``); that step is dropped;
- CE2P and A-CE2P were trained with InPlaceABN, whose scale is ``|weight| + 1e-5``, in the trunk too, and
  whose activation, in the heads, is LeakyReLU(0.01). CDGNet has plain batch norm and ReLU.

CDGNet's repository holds a second form of its attention (``hwAttention.conv_clsUp``, one weight per class), and
people report checkpoints that fit one form alone. The one built here has two scalar weights; the other is
refused by the names of its tensors.

Every resize is bilinear with ``align_corners=True``. CE2P's decoder left that argument out in the first two weeks of
its code, which in the PyTorch it names (0.4.1) means ``False``; its authors corrected that on 13 March 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .resnet import Bottleneck
from .state_dict import find_mismatch, first_not_finite

_LIP = 20  # classes, where nothing is said

Family = Literal["schp", "ce2p", "cdgnet"]

INPLACE_EPSILON = 1e-5
"""What InPlaceABN adds to the absolute value of its weight."""

DISTRIBUTION_CELLS = 118
"""Rows and columns that CDGNet's attention pools to, whatever the input: 473 // 4."""

RENAMED = {
    "context_encoding": "context",
    "layer5": "context",
    "edge_layer": "edge",
    "edge": "edge",
    "layer6.addCAM": "decoder.refine",
    "layer6": "decoder",
    "decoder": "decoder",
    "fushion": "fusion",
    "layer7": "fusion",
    "hwAttention.conv_hgt1": "distribution.rows",
    "hwAttention.conv_hgt2": "distribution.columns",
    "hwAttention.conv_hwPred1": "distribution.predict_rows",
    "hwAttention.conv_hwPred2": "distribution.predict_columns",
    "hwAttention.conv_upDim1": "distribution.attend_rows",
    "hwAttention.conv_upDim2": "distribution.attend_columns",
    "hwAttention.gamma": "distribution.row_weight",
    "hwAttention.beta": "distribution.column_weight",
    "hwAttention.cmbFea": "distribution.mix",
    "hwAttention": "distribution",
    "sq5": "guide.level4",
    "sq4": "guide.level16",
    "f9": "guide.mix",
    "L": "deep_logits",
}
"""Prefix in a released checkpoint to prefix here; the first that fits."""

FAMILY_MARKS: dict[str, Family] = {"hwAttention": "cdgnet", "context_encoding": "schp", "edge_layer": "ce2p"}
"""First part of a tensor's name that only one family has; CDGNet's stands before CE2P's, whose names it shares."""


class ActivatedNorm(nn.BatchNorm2d):
    """Batch norm and leaky ReLU in one module, as InPlaceABN counts them; a slope of 0 is a ReLU."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__(channels)
        self.slope = slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(input), self.slope)


def _block(channels_in: int, channels_out: int, kernel: int, slope: float) -> nn.Sequential:
    """Convolution without bias, batch norm, leaky ReLU; "same" padding."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        ActivatedNorm(channels_out, slope),
    )


def _resize(x: Tensor, like: Tensor) -> Tensor:
    size = (int(like.shape[-2]), int(like.shape[-1]))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class DeepStemResNet101(nn.Module):
    """ResNet-101 with three 3x3 convolutions as its stem and a last layer of stride 1, dilated by 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(128)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._layer(128, 64, 3, 1)
        self.layer2 = self._layer(256, 128, 4, 2)
        self.layer3 = self._layer(512, 256, 23, 2)
        self.layer4 = self._layer(1024, 512, 3, 1, 2)

    @staticmethod
    def _layer(channels_in: int, channels: int, count: int, stride: int, dilation: int = 1) -> nn.Sequential:
        rest = (Bottleneck(4 * channels, channels, 1, dilation) for _ in range(count - 1))
        return nn.Sequential(Bottleneck(channels_in, channels, stride, dilation), *rest)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) to 256, 512, 1024 and 2048 channels at strides 4, 8, 16 and 16."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        level4 = self.layer1(self.maxpool(x))
        level8 = self.layer2(level4)
        level16 = self.layer3(level8)
        return level4, level8, level16, self.layer4(level16)


class Pyramid(nn.Module):
    """PSPNet's module: contexts of 1, 2, 3 and 6 cells a side beside the feature itself, mixed."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_block(2048, 512, 1, slope)) for bins in (1, 2, 3, 6)
        )
        self.bottleneck = _block(4096, 512, 3, slope)

    def forward(self, x: Tensor) -> Tensor:
        contexts = [_resize(stage(x), x) for stage in self.stages]
        return self.bottleneck(torch.cat((*contexts, x), 1))  # type: ignore[no-any-return]


class Edge(nn.Module):
    """The edge branch's features; its classifiers ``conv4`` and ``conv5`` only serve training, and do not run."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.conv1 = _block(256, 256, 1, slope)
        self.conv2 = _block(512, 256, 1, slope)
        self.conv3 = _block(1024, 256, 1, slope)
        self.conv4 = nn.Conv2d(256, 2, 3, padding=1)
        self.conv5 = nn.Conv2d(6, 2, 1)

    def forward(self, level4: Tensor, level8: Tensor, level16: Tensor) -> Tensor:
        fine = self.conv1(level4)
        return torch.cat((fine, _resize(self.conv2(level8), fine), _resize(self.conv3(level16), fine)), 1)


class Decoder(nn.Module):
    """Context and the finest level, mixed; the classifier ``conv4`` only serves training, and does not run."""

    def __init__(self, num_classes: int, kernel: int, slope: float) -> None:
        super().__init__()
        self.conv1 = _block(512, 256, 1, slope)
        self.conv2 = _block(256, 48, kernel, slope)
        self.conv3 = nn.Sequential(*_block(304, 256, kernel, slope), *_block(256, 256, 1, slope))
        self.conv4 = nn.Conv2d(256, num_classes, 1)

    def forward(self, context: Tensor, level4: Tensor) -> Tensor:
        context = _resize(self.conv1(context), level4)
        return self.conv3(torch.cat((context, self.conv2(level4)), 1))  # type: ignore[no-any-return]


class CE2P(nn.Module):
    """CE2P and A-CE2P: 66,723,928 parameters with 20 classes.

    Args:
        num_classes: output channels.
    """

    slope: ClassVar[float] = 0.01
    kernel: ClassVar[int] = 1
    """Of the convolutions of decoder and fusion."""

    def __init__(self, num_classes: int = _LIP) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = DeepStemResNet101()
        self.context = Pyramid(self.slope)
        self.edge = Edge(self.slope)
        self.decoder = Decoder(num_classes, self.kernel, self.slope)
        self.fusion = nn.Sequential(
            *_block(1024, 256, self.kernel, self.slope), nn.Dropout2d(0.1), nn.Conv2d(256, num_classes, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """The fused logits, which the published evaluations use.

        Args:
            image: (N, 3, H, W) float, as the checkpoint's training normalised it.

        Returns:
            (N, num_classes, h, w) float with h = ceil(H / 4) and w = ceil(W / 4); the centres of the outermost
            cells are those of the image's outermost pixels (``align_corners=True``).
        """
        level4, level8, level16, deepest = self.backbone(image)
        feature = self._decode(image, level4, level16, self.context(deepest))
        return self.fusion(torch.cat((feature, self.edge(level4, level8, level16)), 1))  # type: ignore[no-any-return]

    def _decode(self, image: Tensor, level4: Tensor, level16: Tensor, context: Tensor) -> Tensor:
        return self.decoder(context, level4)  # type: ignore[no-any-return]


class DistributionAttention(nn.Module):
    """CDGNet's attention: where along the rows and the columns each class lies.

    ``predict_rows`` and ``predict_columns`` are supervised in training, and do not run.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.rows, self.columns = self._reduce(), self._reduce()
        self.predict_rows = nn.Sequential(nn.Conv1d(256, num_classes, 3, padding=1))
        self.predict_columns = nn.Sequential(nn.Conv1d(256, num_classes, 3, padding=1))
        self.attend_rows = nn.Sequential(nn.Conv1d(256, 512, 7, padding=3), nn.Sigmoid())
        self.attend_columns = nn.Sequential(nn.Conv1d(256, 512, 7, padding=3), nn.Sigmoid())
        self.row_weight, self.column_weight = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.mix = nn.Sequential(nn.Conv2d(1536, 512, 3, padding=1, bias=False), nn.BatchNorm2d(512), nn.ReLU())

    @staticmethod
    def _reduce() -> nn.Sequential:
        return nn.Sequential(nn.Conv1d(512, 256, 3, padding=1, bias=False), nn.BatchNorm1d(256), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        rows = F.adaptive_avg_pool2d(x, (DISTRIBUTION_CELLS, 1)).squeeze(3)
        columns = F.adaptive_avg_pool2d(x, (1, DISTRIBUTION_CELLS)).squeeze(2)
        by_row = _resize(self.attend_rows(self.rows(rows)).unsqueeze(3), x)
        by_column = _resize(self.attend_columns(self.columns(columns)).unsqueeze(2), x)
        attention = self.column_weight * by_column + self.row_weight * by_row
        return self.mix(torch.cat((x, x * attention, attention), 1))  # type: ignore[no-any-return]


class Guide(nn.Module):
    """What tells CDGNet which pixels are alike: the image, the finest level and the one at stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.level4 = _block(256, 256, 1, 0.0)
        self.level16 = _block(1024, 256, 1, 0.0)
        self.mix = _block(515, 256, 1, 0.0)

    def forward(self, image: Tensor, level4: Tensor, level16: Tensor) -> Tensor:
        parts = (_resize(image, level16), _resize(self.level4(level4), level16), self.level16(level16))
        return self.mix(torch.cat(parts, 1))  # type: ignore[no-any-return]


class AffinityDecoder(Decoder):
    """The decoder, followed by a weighted sum of its feature over pixels that the guide finds alike."""

    def __init__(self, num_classes: int, kernel: int, slope: float) -> None:
        super().__init__(num_classes, kernel, slope)
        self.refine = _block(512, 256, 3, slope)

    def propagate(self, context: Tensor, level4: Tensor, guide: Tensor) -> Tensor:
        x = self(context, level4)
        count, channels, height, width = guide.shape
        flat = guide.flatten(2)
        affinity = (flat.transpose(1, 2) @ flat * channels**-0.5).softmax(-1)
        spread = (_resize(x, guide).flatten(2) @ affinity).view(count, -1, height, width)
        return self.refine(torch.cat((x, _resize(spread, x)), 1))  # type: ignore[no-any-return]


class CDGNet(CE2P):
    """CDGNet: 80,936,854 parameters with 20 classes; ``deep_logits`` only serves training, and does not run."""

    slope = 0.0
    kernel = 3
    decoder: AffinityDecoder

    def __init__(self, num_classes: int = _LIP) -> None:
        super().__init__(num_classes)
        self.decoder = AffinityDecoder(num_classes, self.kernel, self.slope)
        self.distribution = DistributionAttention(num_classes)
        self.guide = Guide()
        self.deep_logits = nn.Conv2d(1024, num_classes, 1)

    def _decode(self, image: Tensor, level4: Tensor, level16: Tensor, context: Tensor) -> Tensor:
        return self.decoder.propagate(self.distribution(context), level4, self.guide(image, level4, level16))


def recognise(names: Iterable[str]) -> Family | None:
    """The family whose released checkpoints have tensors of these names, or None."""
    first = {name.split(".")[0] for name in names}
    return next((family for mark, family in FAMILY_MARKS.items() if mark in first), None)


def read_released(tensors: Mapping[str, Tensor], source: str) -> CE2P:
    """The network of a released state dict, in evaluation mode, on the CPU, float32.

    Args:
        tensors: of one of the family's checkpoints, as :func:`recognise` tells.
        source: where they came from, for messages.

    Raises:
        UsageError: tensors are missing, unknown, of another shape or not finite.
    """
    family = recognise(tensors)
    if family is None:
        raise UsageError(f"{source} is no checkpoint of CE2P's family.", "Name one of SCHP, CE2P or CDGNet.")
    found = {_renamed(name): value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    last = found.get("fusion.3.weight")
    num_classes = _LIP if last is None else int(last.shape[0])
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        network = CDGNet(num_classes) if family == "cdgnet" else CE2P(num_classes)
    wanted = network.state_dict()
    _check(found, {name: value for name, value in wanted.items() if name not in _counters(wanted)}, family, source)
    state = {name: value.float().contiguous() for name, value in found.items()}
    state |= {name: torch.tensor(0) for name in _counters(wanted)}
    if family != "cdgnet":
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                state[f"{name}.weight"] = state[f"{name}.weight"].abs() + INPLACE_EPSILON
    network.load_state_dict(state, assign=True)
    return network.eval()


def _renamed(name: str) -> str:
    # CDGNet: a norm inside a sequence of its own, as in layer7.1.0.weight or layer5.stages.0.2.0.bias.
    name = re.sub(r"(\.\d+)\.0\.(weight|bias|running_mean|running_var)$", r"\1.\2", name)
    for old, new in RENAMED.items():
        if f"{name}.".startswith(f"{old}."):
            return new + name[len(old) :]
    return f"backbone.{name}"


def _counters(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the step counters of batch norms, which InPlaceABN does not have."""
    return [name for name in state if name.endswith("num_batches_tracked")]


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], family: Family, source: str) -> None:
    mismatch = find_mismatch(found, wanted)
    if mismatch is not None:
        raise UsageError(
            f"{source} looks like a checkpoint of {family}, but {mismatch.missing} tensors are missing, "
            f"{mismatch.unknown} unknown and {mismatch.reshaped} of another shape ({mismatch.examples}).",
            "The repository has published more than one form of the network; get the checkpoint of the other one.",
        )
    damaged = first_not_finite({name: found[name] for name in wanted})
    if damaged is not None:
        raise UsageError(f"{source} holds values that are not finite, first in {damaged}.", "Get the file again.")
