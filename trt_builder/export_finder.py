"""From a finder to one static ONNX graph: uint8 frames in, boxes out."""

from __future__ import annotations

import copy

import onnx
from torch import Tensor, nn

from ..errors import BuildError
from ..graphs.raw import name_raw
from ..networks.finder import Finder, decode
from ..specs.framing import Framing
from ..tasks.people.task import PEOPLE
from .export import Normalised, check_exported, describe, exported

OUTPUT, ANSWER = "boxes", "answer"
"""What the graph gives, and the raw tensor that it is decoded from."""


class FinderGraph(Normalised):
    """What is exported: normalisation, the network and the decoding, which stays float."""

    network: Finder

    def __init__(self, network: Finder) -> None:
        copied = copy.deepcopy(network).float().eval()
        first = copied.conv1[0]
        assert isinstance(first, nn.Conv2d)
        super().__init__(copied, first)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR to (N, M, 5) float32: left, top, right, bottom in pixels of the frame, and a score."""
        return decode(self.network(self.normalised(frames)), self.network.spec.people)


def export_finder(network: Finder, framing: Framing, *, batch: int | None = 1) -> onnx.ModelProto:
    """Export and simplify.

    Args:
        network: any mode, any device; left as it is.
        framing: how it sees images, each side of its input a multiple of 32.
        batch: frames per call, or None for any number.

    Returns:
        The checked FP32 model: ``frames`` (N, H, W, 3) uint8 BGR to ``boxes`` (N, M, 5) float32, with what it is in its
        metadata.

    Raises:
        BuildError: the exporter or the checker refuses the network.
    """
    model = exported(FinderGraph(network), framing.input_size, batch, [OUTPUT])
    describe(model, PEOPLE, framing, {"network": Finder.kind})
    raw = next((node.output[0] for node in model.graph.node if node.op_type == "Conv" and node.name == ANSWER), None)
    if raw is None:
        raise BuildError("The exported finder's last convolution cannot be told by its name.")
    name_raw(model, raw)
    check_exported(model, framing.input_size, batch)
    return model
