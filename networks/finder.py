"""The person finder: a small fully convolutional network that answers with boxes.

A trunk of plain residual blocks, a pyramid of three levels and one head at an eighth of the size: is a cell the middle
of somebody, and how far are they to the left, up, to the right and down (Zhou et al., "Objects as Points", 2019; Tian
et al., FCOS, ICCV 2019). 3x3 and 1x1 convolutions alone, batch norm and ReLU: what INT8 engines run fastest and round
least. Boxes are decoded in the graph: peaks, the most certain of them, corners in pixels of the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..graphs.answers import BOXES
from ..specs.decoding import LOGITS, Decoding
from ..specs.spec import Spec
from ..storage.json_types import JsonObject
from .layers import initialise
from .network import Network, Options, check_minimum
from .tail import Tail

STRIDE = 8
"""Pixels of a frame for each cell of the answer."""

CHANNELS = 5
"""Of the answer: one logit, and the logarithms of four distances in cells: left, up, right, down."""

MULTIPLE = 32
"""Heights and widths of the input are multiples of it."""

_PRIOR = 0.02
"""What an untrained finder says of each cell, so that the many empty ones do not drown the first steps."""

_FARTHEST = math.log(128.0)
"""Logarithm of the greatest distance in cells: 1,024 pixels."""


@dataclass(frozen=True)
class FinderSpec(Options):
    """The options of a finder.

    Args:
        people: boxes a frame.
        widths: channels at strides 2, 4, 8, 16 and 32.
        neck: channels of the pyramid and the head.
    """

    people: int = 40
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    neck: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_minimum("people", self.people, 1)
        check_minimum("neck", self.neck, 1)
        if len(self.widths) != 5:
            raise UsageError(f"widths must hold five numbers, of strides 2 to 32, not {len(self.widths)}.")


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch norm and, if asked for, ReLU; "same" padding."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = ConvNorm(channels, channels, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(self.conv1(x)))


class Finder(Network):
    """1,336,085 parameters."""

    kind = "finder"
    multiple = MULTIPLE
    called = "a finder"
    spec: FinderSpec
    spec_class = FinderSpec

    def __init__(self, spec: FinderSpec = FinderSpec()) -> None:
        super().__init__()
        self.spec = spec
        w2, w4, w8, w16, w32 = spec.widths
        self.conv1 = ConvNorm(3, w2, 3, 2)
        self.level4 = nn.Sequential(ConvNorm(w2, w4, 3, 2), Block(w4))
        self.level8 = nn.Sequential(ConvNorm(w4, w8, 3, 2), Block(w8))
        self.level16 = nn.Sequential(ConvNorm(w8, w16, 3, 2), Block(w16), Block(w16))
        self.level32 = nn.Sequential(ConvNorm(w16, w32, 3, 2), Block(w32), Block(w32))
        self.side8 = ConvNorm(w8, spec.neck, 1, relu=False)
        self.side16 = ConvNorm(w16, spec.neck, 1, relu=False)
        self.side32 = ConvNorm(w32, spec.neck, 1)
        self.merge16 = ConvNorm(spec.neck, spec.neck, 3)
        self.merge8 = ConvNorm(spec.neck, spec.neck, 3)
        self.head = ConvNorm(spec.neck, spec.neck, 3)
        self.answer = nn.Conv2d(spec.neck, CHANNELS, 1)
        initialise(self)
        nn.init.normal_(self.answer.weight, std=0.01)
        with torch.no_grad():
            assert self.answer.bias is not None
            self.answer.bias.copy_(torch.tensor([math.log(_PRIOR / (1 - _PRIOR)), 0.0, 0.5, 0.0, 0.5]))

    @property
    def first_convolution(self) -> nn.Conv2d:
        first = self.conv1[0]
        assert isinstance(first, nn.Conv2d)
        return first

    def tail(self, input_size: tuple[int, int], decoding: Decoding = LOGITS) -> Tail:
        return BoxTail(self.spec.people, (input_size[0] // STRIDE, input_size[1] // STRIDE))

    def meaning(self, spec: Spec | None, decoding: Decoding, sure: float | None, path: Path) -> JsonObject:
        return {} if sure is None else {"sure": sure}

    def forward(self, image: Tensor) -> Tensor:
        """Logits and distances of every cell.

        Args:
            image: (N, 3, H, W) float, RGB, normalised; H and W multiples of 32.

        Returns:
            (N, 5, H / 8, W / 8) float, as ``CHANNELS`` says.
        """
        height, width = int(image.shape[-2]), int(image.shape[-1])
        if height % MULTIPLE or width % MULTIPLE or not height or not width:
            raise ValueError(f"input {height}x{width} is no multiple of {MULTIPLE}x{MULTIPLE}")
        level8 = self.level8(self.level4(self.conv1(image)))
        level16 = self.level16(level8)
        level32 = self.level32(level16)
        x = self.merge16(F.relu(self.side16(level16) + _doubled(self.side32(level32))))
        x = self.merge8(F.relu(self.side8(level8) + _doubled(x)))
        return self.answer(self.head(x))  # type: ignore[no-any-return]


class BoxTail(Tail):
    """The most certain boxes.

    Args:
        people: boxes a frame; of fewer cells all.
        cells: (height, width) of the cells.
    """

    answers = BOXES

    def __init__(self, people: int, cells: tuple[int, int]) -> None:
        super().__init__((min(people, cells[0] * cells[1]), 5))
        self.people = people

    def forward(self, cells: Tensor) -> Tensor:
        """(N, 5, h, w) float to (N, M, 5) float32; see :func:`decode`."""
        return decode(cells, self.people)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def corners(answer: Tensor) -> Tensor:
    """The box of every cell.

    Args:
        answer: (N, 5, h, w) float, of :class:`Finder`.

    Returns:
        (N, 4, h, w) float32: left, top, right, bottom in pixels of the frame; right and bottom outside.
    """
    rows, columns = int(answer.shape[-2]), int(answer.shape[-1])
    distances = answer[:, 1:].float().clamp(max=_FARTHEST).exp()
    x = torch.arange(columns, device=answer.device, dtype=torch.float32).view(1, 1, 1, columns) + 0.5
    y = torch.arange(rows, device=answer.device, dtype=torch.float32).view(1, 1, rows, 1) + 0.5
    left, up, right, down = (distances[:, side : side + 1] for side in range(4))
    return torch.cat([x - left, y - up, x + right, y + down], 1) * STRIDE


def decode(answer: Tensor, people: int) -> Tensor:
    """The most certain boxes.

    A cell counts that is more certain than its eight neighbours, and as certain as none that comes before it: INT8
    rounds neighbours to the same number.

    Args:
        answer: (N, 5, h, w) float, of :class:`Finder`.
        people: boxes a frame; of fewer cells all.

    Returns:
        (N, M, 5) float32, the best first: left, top, right and bottom in pixels of the frame, and a score from 0 to 1.
        Where there are fewer peaks than M, the rest has a score of 0.
    """
    cells = int(answer.shape[-2]) * int(answer.shape[-1])
    # A slope too small to reorder two numbers that INT8 tells apart breaks ties.
    slope = torch.arange(cells, device=answer.device, dtype=torch.float32) * (-1e-4 / cells)
    heat = answer[:, :1].float() + slope.view(1, 1, int(answer.shape[-2]), int(answer.shape[-1]))
    peaks = (heat >= F.max_pool2d(heat, 3, 1, 1)).to(torch.float32)
    scores, places = (torch.sigmoid(heat) * peaks).flatten(1).topk(min(people, cells), dim=1)
    boxes = corners(answer).flatten(2).transpose(1, 2)
    chosen = boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4))
    return torch.cat([chosen, scores.unsqueeze(2)], 2)
