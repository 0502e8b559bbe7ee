"""A student in small: what a build does with a network does not depend on how large it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trtparse.networks.checkpoint_file import save_checkpoint
from trtparse.networks.student import Student, StudentSpec
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set


class Trunk(nn.Module):
    """Five convolutions, down to stride 4, in place of a ResNet's eleven million parameters."""

    channels = (8, 8, 16, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        shapes = ((8, 8, 2), (8, 16, 1), (16, 16, 1), (16, 16, 1))
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, stride, 1) for before, after, stride in shapes)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels = [torch.relu(self.conv1(image))]
        for layer in self.layers:
            levels.append(torch.relu(layer(levels[-1])))
        return tuple(levels)


@contextmanager
def tiny_students() -> Iterator[None]:
    """Students are made on that trunk, so that checkpoints of one can be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Student, "make_backbone", staticmethod(Trunk))
        yield


def save_tiny_student(path: Path) -> None:
    """A checkpoint of LIP's classes for stretched images of 64x64, with random weights: 20,440 of them."""
    with tiny_students(), torch.random.fork_rng():
        torch.manual_seed(0)
        network = Student(StudentSpec(pyramid_channels=16, fusion="none")).eval()
    save_checkpoint(network, path, Framing((64, 64), stretch=1.3), label_set("lip"), lossless=True)
