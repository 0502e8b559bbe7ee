"""MobileNetV2 at 1.75 times its width: MoveNet Thunder's trunk, which knows people, as a trunk for teachers.

Sandler et al., "MobileNetV2" (CVPR 2018). In MoveNet's released graph the batch norms are folded into the convolutions,
so every convolution here has a bias and no norm: what is fine-tuned is what was released. Its pyramid and heads are
left out; the decoder of the parsing network takes their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .efficientnet import same_padding
from .preprocessing import MEAN_RGB, STD_RGB

STAGES = (
    # (blocks, stride, expansion, channels out)
    (1, 1, 1, 32),
    (2, 2, 6, 40),
    (3, 2, 6, 56),
    (4, 2, 6, 112),
    (3, 1, 6, 168),
    (3, 2, 6, 280),
    (1, 1, 6, 560),
)
_LEVEL_STAGES = (0, 1, 2, 4, 6)
"""The stages whose outputs are the levels at strides 2, 4, 8, 16 and 32."""

_STEM = 56


class MobileNetV2(nn.Module):
    """The trunk: 5,392,584 parameters."""

    channels = tuple(STAGES[stage][3] for stage in _LEVEL_STAGES)
    """Width of each level that ``forward`` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 3, 2)
        blocks: list[nn.Module] = []
        self._levels: list[int] = []
        channels = _STEM
        for stage, (count, stride, expansion, width) in enumerate(STAGES):
            for number in range(count):
                blocks.append(_Block(channels, width, 1 if number else stride, expansion))
                channels = width
            if stage in _LEVEL_STAGES:
                self._levels.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float to the levels at strides 2, 4, 8, 16 and 32."""
        x = F.relu6(self.conv1(same_padding(image, 3)))
        levels = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._levels:
                levels.append(x)
        return tuple(levels)

    @staticmethod
    def adapt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """MoveNet's weights for the normalisation of this package.

        MoveNet sees RGB from -1 to 1; ours see ImageNet's mean and standard deviation. The stem takes in the
        difference: a factor on its weights, and a constant, which its bias absorbs. (At the border it does not quite,
        as zero padding stands for another grey.)

        Args:
            tensors: of :func:`read_movenet`. Ours are returned as they are.
        """
        if _MARK not in tensors:
            return dict(tensors)
        own = {name: value for name, value in tensors.items() if name != _MARK}
        weight = own["conv1.weight"]
        scale = weight.new_tensor([2 * std for std in STD_RGB]).view(1, 3, 1, 1)
        shift = weight.new_tensor([2 * mean - 1 for mean in MEAN_RGB]).view(1, 3, 1, 1)
        own["conv1.bias"] = own["conv1.bias"] + (weight * shift).sum((1, 2, 3))
        own["conv1.weight"] = weight * scale
        return own


class _Block(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution back; the first two with ReLU6."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, wide, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1 if stride == 1 else 0, groups=wide)
        self.project = nn.Conv2d(wide, channels_out, 1)
        self.residual = stride == 1 and channels_in == channels_out
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        if self.stride == 2:
            y = same_padding(y, 3)
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y  # type: ignore[no-any-return]


_MARK = "movenet"
"""Among tensors: they are for MoveNet's normalisation."""


def read_movenet(path: Path) -> dict[str, Tensor]:
    """The trunk's weights from MoveNet Thunder as ONNX, for the values that MoveNet sees.

    Args:
        path: the file; its convolutions are taken in the order of the graph.

    Raises:
        UsageError: the file is no ONNX graph, or its first convolutions are not those of the trunk.
    """
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise UsageError(f"{path} is no ONNX file: {error}.", "Name MoveNet Thunder's.") from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    with torch.device("meta"):
        wanted = MobileNetV2().state_dict()
    # The pyramid reads the levels on the way: its convolutions, of other shapes, lie between those of the trunk.
    nodes = iter(node for node in graph.node if node.op_type == "Conv" and len(node.input) == 3)
    tensors: dict[str, Tensor] = {}
    for name in (name.removesuffix(".weight") for name in wanted if name.endswith(".weight")):
        shape = tuple(wanted[f"{name}.weight"].shape)
        node = next((node for node in nodes if _shape(values, node.input[1]) == shape), None)
        if node is None:
            size = "x".join(map(str, shape))
            raise UsageError(
                f"{path} has no convolution of {size} where MoveNet Thunder's trunk has its {name}.",
                "Name MoveNet Thunder's ONNX file.",
            )
        for kind, source in zip(("weight", "bias"), node.input[1:]):
            tensors[f"{name}.{kind}"] = torch.from_numpy(
                np.array(onnx.numpy_helper.to_array(values[source]), np.float32)
            )
    return {**tensors, _MARK: torch.ones(())}


def _shape(values: Mapping[str, onnx.TensorProto], name: str) -> tuple[int, ...]:
    return tuple(values[name].dims) if name in values else ()
