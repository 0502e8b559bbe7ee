"""From a finder to one static ONNX graph: uint8 frames in, boxes out."""

from __future__ import annotations

import copy

import onnx
from torch import Tensor, nn

from ..errors import UsageError
from ..graphs.answers import BOXES
from ..graphs.raw import name_raw
from ..networks.finder import MULTIPLE, Finder, decode
from ..specs.framing import Framing
from ..tasks.people.task import PEOPLE
from .export import Normalised, check_exported, describe, exported


class FinderGraph(Normalised):
    """What is exported: normalisation, the network and the decoding, which stays float."""

    network: Finder

    def __init__(self, network: Finder) -> None:
        copied = copy.deepcopy(network).float().eval()
        first = copied.conv1[0]
        assert isinstance(first, nn.Conv2d)
        super().__init__(copied, first)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 BGR to (N, M, 5) float32 boxes in its pixels with a score, and (N, 5, h, w) cells."""
        cells = self.network(self.normalised(frames))
        return decode(cells, self.network.spec.people), cells


def export_finder(
    network: Finder, framing: Framing, *, sure: float | None = None, batch: int | None = 1, cells: bool = False
) -> onnx.ModelProto:
    """Export and simplify.

    Args:
        network: any mode, any device; left as it is.
        framing: how it sees images, each side of its input a multiple of 32.
        sure: the score from which a box is somebody, for the metadata; None where nobody chose it.
        batch: frames per call, or None for any number.
        cells: also output what the boxes are decoded from, (N, 5, h, w) float.

    Returns:
        The checked FP32 model: ``frames`` (N, H, W, 3) uint8 BGR to ``boxes`` (N, M, 5) float32: left, top, right and
        bottom in pixels of the frame, and a score; with what it is in its metadata.

    Raises:
        BuildError: the exporter or the checker refuses the network.
        UsageError: an input that is no multiple of 32.
    """
    if any(side % MULTIPLE for side in framing.input_size):
        raise UsageError(
            f"An input of {framing} is not for a finder.",
            f"Height and width must be multiples of {MULTIPLE}, such as 192x320.",
        )
    model = exported(FinderGraph(network), framing.input_size, batch, [BOXES.name, BOXES.raw])
    if not cells:
        del model.graph.output[1]
    describe(model, PEOPLE, framing, {"network": Finder.kind, **({} if sure is None else {"sure": f"{sure:g}"})})
    name_raw(model, BOXES.raw)
    check_exported(model, framing.input_size, batch)
    return model
