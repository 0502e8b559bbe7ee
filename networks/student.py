"""LSFA-R18: the human-parsing student.

A ResNet-18 with a simplified pyramid (one 3x3 convolution over the *sum* of pooled contexts) and spatial
attention that fuses each backbone level with the level above it. Structure: Lang, Liu, Wang and Hwang,
"Class relationship-based knowledge distillation for efficient human parsing" (Electronics Letters, 2023);
widths, bins and the fusion's layers follow PP-LiteSeg's public description (SPPM and UAFM), continued to
stride 4 because LIP's small parts (gloves, sunglasses, socks) need it.

Options take parts away or put others in their place, for the ablation: down to a plain ResNet-18 with a
fully convolutional head.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .efficientnet import EfficientNetLite
from .fusion import AddFusion, ChannelAttentionFusion, SpatialAttentionFusion
from .layers import SegmentationHead, conv_bn_relu, initialise
from .mobilenet import MobileNetV2
from .network import Backbone, NetworkSpec, ParsingNetwork, check_choice, check_minimum
from .pyramid import PyramidPooling, SimplifiedPyramid
from .resnet import ResNet

CONTEXT_BINS: dict[str, tuple[int, ...]] = {"none": (), "psp": (1, 2, 3, 6), "sppm": (1, 2, 4)}
"""Kind of context to its usual bins."""

FUSIONS: dict[str, type[AddFusion]] = {
    "add": AddFusion,
    "spatial_attention": SpatialAttentionFusion,
    "channel_attention": ChannelAttentionFusion,
}


@dataclass(frozen=True)
class StudentSpec(NetworkSpec):
    """The options of an LSFA-R18.

    Args:
        num_classes: output channels.
        finest_stride: 4 (default) or 8; the level at which fusion ends.
        pyramid_bins: grid sizes of the context's pooled cells; empty for the usual ones of its kind.
        pyramid_channels: width of the context and of the deepest fusion.
        context: of the deepest level: ``sppm``, ``psp``, or ``none``.
        fusion: of the levels: ``spatial_attention`` (LSFA), ``channel_attention``, ``add``; or ``none``: the head
            reads the deepest level, and ``finest_stride`` and ``separable`` have no effect.
        separable: depthwise-separable 3x3 convolutions inside the fusions.
    """

    finest_stride: int = 4
    pyramid_bins: tuple[int, ...] = ()
    pyramid_channels: int = 128
    context: str = "sppm"
    fusion: str = "spatial_attention"
    separable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("finest_stride", self.finest_stride, (4, 8))
        check_choice("context", self.context, tuple(CONTEXT_BINS))
        check_choice("fusion", self.fusion, ("none", *FUSIONS))
        check_minimum("pyramid_channels", self.pyramid_channels, 1)
        if not self.pyramid_bins:
            object.__setattr__(self, "pyramid_bins", CONTEXT_BINS[self.context])


class Student(ParsingNetwork):
    """LSFA-R18: 12,944,192 parameters with ``finest_stride=4``, 12,870,112 with 8.

    Any height and width from 64 up. The auxiliary heads exist only with ``auxiliary=True`` (training) and
    are not counted above.
    """

    kind = "lsfa-r18"
    auxiliary_weight = 0.4  # the CE2P and DIST recipes'
    spec_class = StudentSpec
    spec: StudentSpec

    def __init__(self, spec: StudentSpec = StudentSpec(), auxiliary: bool = False) -> None:
        super().__init__(spec, auxiliary)
        wide = spec.pyramid_channels
        self.backbone = self.make_backbone()
        _, level4, level8, level16, deepest = self.backbone.channels
        self.pyramid = _context(spec, deepest)
        self.fuse32: nn.Module | None = None
        self.fuse16: AddFusion | None = None
        self.fuse8: AddFusion | None = None
        self.fuse4: AddFusion | None = None
        widths: tuple[int, ...]
        if spec.fusion == "none":
            finest = deepest if self.pyramid is None else wide
            # As in PSPNet and FCN, the auxiliary head reads the backbone's last level but one.
            widths = (level16,)
        else:
            fusion = FUSIONS[spec.fusion]
            # Without a context there is nothing to fuse the deepest level with; it is brought to the same width.
            self.fuse32 = (
                conv_bn_relu(deepest, wide, 1) if self.pyramid is None else fusion(deepest, wide, wide, spec.separable)
            )
            self.fuse16 = fusion(level16, wide, 96, spec.separable)
            self.fuse8 = fusion(level8, 96, 64, spec.separable)
            if spec.finest_stride == 4:
                self.fuse4 = fusion(level4, 64, 64, spec.separable)
            finest, widths = 64, (wide, 96, 64)[: 3 if self.fuse4 else 2]
        # A quarter of the input's width, FCN's rule, where that is more than 64.
        self.head = SegmentationHead(finest, max(64, finest // 4), spec.num_classes)
        self.auxiliary_heads = (
            nn.ModuleList(SegmentationHead(width, 64, spec.num_classes) for width in widths) if auxiliary else None
        )
        initialise(self)

    @staticmethod
    def make_backbone() -> Backbone:
        """The trunk, with random weights."""
        return ResNet(18)

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The finest fused feature, and those above it, the deepest first."""
        _, level4, level8, level16, level32 = self.backbone(image)
        context = None if self.pyramid is None else self.pyramid(level32)
        if self.fuse32 is None or self.fuse16 is None or self.fuse8 is None:
            return (level32 if context is None else context), [level16]
        fused32 = self.fuse32(level32) if context is None else self.fuse32(level32, context)
        fused16 = self.fuse16(level16, fused32)
        fused8 = self.fuse8(level8, fused16)
        if self.fuse4 is None:
            return fused8, [fused32, fused16]
        return self.fuse4(level4, fused8), [fused32, fused16, fused8]


class EfficientStudent(Student):
    """The student's context and fusions on an EfficientNet-Lite0: 4,166,656 parameters.

    Started from ImageNet weights it learns from a few hundred photographs what a ResNet-18 from random weights does
    not, which makes it the teacher of the weights that ship. Its depthwise convolutions are hard on INT8.
    """

    kind = "lsfa-efficientnet-lite0"

    @staticmethod
    def make_backbone() -> Backbone:
        return EfficientNetLite()


class EfficientStudent2(EfficientStudent):
    """The same on an EfficientNet-Lite2, wider and deeper: 5,631,040 parameters."""

    kind = "lsfa-efficientnet-lite2"

    @staticmethod
    def make_backbone() -> Backbone:
        return EfficientNetLite(width=1.1, depth=1.2)


class MobileNetStudent(Student):
    """The same on MoveNet Thunder's MobileNetV2: 7,056,584 parameters.

    A teacher: its trunk was trained on COCO's people, in whatever scene and pose.
    """

    kind = "lsfa-mobilenetv2-175"

    @staticmethod
    def make_backbone() -> Backbone:
        return MobileNetV2()


def _context(spec: StudentSpec, channels: int) -> nn.Module | None:
    if spec.context == "none":
        return None
    kind = PyramidPooling if spec.context == "psp" else SimplifiedPyramid
    return kind(channels, spec.pyramid_channels, spec.pyramid_bins)
