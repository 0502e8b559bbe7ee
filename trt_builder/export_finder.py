"""From a finder to one static ONNX graph: uint8 frames in, boxes out."""

from __future__ import annotations

import copy
import json

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import BuildError
from ..graphs.opset import OPSET
from ..graphs.raw import name_raw
from ..networks.finder import Finder, decode
from ..networks.preprocessing import MEAN_RGB, STD_RGB
from ..specs.framing import Framing
from ..tasks.people.task import PEOPLE
from .export import quiet_exporter

OUTPUT, ANSWER = "boxes", "answer"
"""What the graph gives, and the raw tensor that it is decoded from."""


class FinderGraph(nn.Module):
    """What is exported: normalisation, the network and the decoding, which stays float.

    The first convolution's input channels are turned round, so that the BGR frame needs no flip.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: Finder) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).float().eval()
        first = self.network.conv1[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.data = first.weight.data[:, [2, 1, 0]].contiguous()
        scale = [1 / (255 * deviation) for deviation in reversed(STD_RGB)]
        offset = [-mean / deviation for mean, deviation in zip(reversed(MEAN_RGB), reversed(STD_RGB))]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR to (N, M, 5) float32: left, top, right, bottom in pixels of the frame, and a score."""
        images = frames.float().permute(0, 3, 1, 2) * self.scale + self.offset
        return decode(self.network(images), self.network.spec.people)


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
    graph = FinderGraph(network).to("cpu")
    # Two frames where the batch is free: the exporter takes a dimension of 1 for a constant.
    frames = torch.zeros((batch or 2, *framing.input_size, 3), dtype=torch.uint8)
    dynamic = None if batch else {"frames": {0: torch.export.Dim("batch")}}
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                graph,
                (frames,),
                input_names=["frames"],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=dynamic,
                verbose=False,
            )
            assert program is not None
            model: onnx.ModelProto = onnxslim.slim(program.model_proto)
        _describe(model, framing)
        onnx.checker.check_model(model, full_check=True)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise BuildError(f"The finder cannot be exported to ONNX: {error}") from error
    return model


def _describe(model: onnx.ModelProto, framing: Framing) -> None:
    """Replace the exporter's bookkeeping by our own, and name the raw tensor: what the last convolution makes."""
    raw = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        if node.op_type == "Conv":
            node.name = node.input[1].removeprefix("network.").removesuffix(".weight")
            if node.name == ANSWER:
                raw = node.output[0]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.name = PEOPLE
    model.producer_name, model.producer_version = "trtparse", __version__
    properties = {
        "task": PEOPLE,
        "network": Finder.kind,
        "input_size": json.dumps(list(framing.input_size)),
        "preprocessing": json.dumps(framing.preprocessing()),
        "trtparse": __version__,
    }
    onnx.helper.set_model_props(model, properties)
    if not raw:
        raise BuildError("The exported finder's last convolution cannot be told by its name.")
    name_raw(model, raw)
