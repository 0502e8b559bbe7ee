"""From PyTorch to one static ONNX graph: uint8 frames in, uint8 label maps out."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import BuildError
from ..graphs.raw import find_argmax, name_raw
from ..networks.network import ParsingNetwork
from ..networks.preprocessing import MEAN_RGB, STD_RGB
from ..specs.framing import Framing
from ..specs.label_set import LabelSet
from .opset import OPSET


class ParsingGraph(nn.Module):
    """What is exported: normalisation, the network and argmax.

    The first convolution's input channels are turned round, so that the BGR frame needs no flip. Labels pass
    through float on their way from int64 to uint8, because TensorRT converts only floats to uint8.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: ParsingNetwork, logits: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).float().eval()
        self.network.auxiliary_heads = None
        first = self.network.backbone.conv1
        first.weight.data = first.weight.data[:, [2, 1, 0]].contiguous()
        scale = [1 / (255 * deviation) for deviation in reversed(STD_RGB)]
        offset = [-mean / deviation for mean, deviation in zip(reversed(MEAN_RGB), reversed(STD_RGB))]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))
        self.with_logits = logits

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 BGR to (N, H, W) uint8 and, where asked for, (N, 20, H, W) float logits."""
        images = frames.float().permute(0, 3, 1, 2) * self.scale + self.offset
        logits = self.network(images)
        labels = logits.argmax(1).float().to(torch.uint8)
        return (labels, logits) if self.with_logits else labels


def export_onnx(
    network: ParsingNetwork,
    framing: Framing,
    label_set: LabelSet,
    *,
    batch: int | None = 1,
    logits: bool = False,
) -> onnx.ModelProto:
    """Export and simplify.

    Args:
        network: any mode, any device; left as it is.
        framing: how it sees images, each side of its input at least 64; the graph's metadata tells it to whoever makes
            the frames.
        label_set: what its classes mean; in the metadata as well.
        batch: frames per call, or None for any number.
        logits: also output the (N, 20, H, W) float logits.

    Returns:
        The checked FP32 model: ``frames`` (N, H, W, 3) uint8 BGR to ``labels`` (N, H, W) uint8, with what it
        is in its metadata.

    Raises:
        BuildError: the exporter or the checker refuses the network.
    """
    graph = ParsingGraph(network, logits).to("cpu")
    # Two frames where the batch is free: the exporter takes a dimension of 1 for a constant.
    frames = torch.zeros((batch or 2, *framing.input_size, 3), dtype=torch.uint8)
    names = ["labels", "logits"] if logits else ["labels"]
    dynamic = None if batch else {"frames": {0: torch.export.Dim("batch")}}
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                (frames,),
                input_names=["frames"],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=dynamic,
                verbose=False,
            )
            assert program is not None
            model: onnx.ModelProto = onnxslim.slim(program.model_proto)
        _describe(model, framing, label_set)
        onnx.checker.check_model(model, full_check=True)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise BuildError(f"The network cannot be exported to ONNX: {error}") from error
    _check_interface(model, framing.input_size, batch)
    return model


def _describe(model: onnx.ModelProto, framing: Framing, label_set: LabelSet) -> None:
    """Replace the exporter's bookkeeping, which names files of the machine it ran on, by our own."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        if node.op_type in ("Conv", "ConvTranspose"):
            # The layer's name in PyTorch is what reports should show.
            node.name = node.input[1].removeprefix("network.").removesuffix(".weight")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.name = "parsing"
    model.producer_name, model.producer_version = "trtparse", __version__
    properties = {
        "task": "parsing",
        "label_set": json.dumps(label_set.to_dict()),
        "input_size": json.dumps(list(framing.input_size)),
        "preprocessing": json.dumps(framing.preprocessing()),
        "trtparse": __version__,
    }
    onnx.helper.set_model_props(model, properties)
    argmax = find_argmax(model)
    if argmax is None:
        raise BuildError("The exported graph's labels do not come of an ArgMax.")
    name_raw(model, argmax.input[0])


def _check_interface(model: onnx.ModelProto, input_size: tuple[int, int], batch: int | None) -> None:
    frames = model.graph.input[0].type.tensor_type
    shape = [dimension.dim_value for dimension in frames.shape.dim]
    if shape != [batch or 0, *input_size, 3] or frames.elem_type != onnx.TensorProto.UINT8:
        raise BuildError(f"The exported graph takes {shape}, not {[batch or 0, *input_size, 3]} (0: any).")
    if batch and any(node.op_type == "Shape" for node in model.graph.node):
        raise BuildError("The exported graph computes shapes at run time although its batch is fixed.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter about optional packages from the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
