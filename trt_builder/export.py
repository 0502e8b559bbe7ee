"""From PyTorch to one static ONNX graph: uint8 frames in, answers out: uint8 label maps, or keypoints."""

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
from ..errors import BuildError, UsageError
from ..graphs.answers import KEYPOINTS, LABELS
from ..graphs.opset import OPSET
from ..graphs.raw import find_argmax, name_raw
from ..networks.network import ParsingNetwork
from ..networks.pose import PoseNetwork
from ..networks.pose_decoding.create import create_decoder
from ..networks.preprocessing import MEAN_RGB, STD_RGB
from ..networks.released import FramedNetwork, Released
from ..specs.decoding import Decoding
from ..specs.framing import Framing
from ..specs.label_set import LabelSet
from ..specs.skeleton import Skeleton
from ..tasks.parsing.task import Parsing


class Normalised(nn.Module):
    """Frames as OpenCV reads them to what a network computes with.

    The first convolution's input channels are turned round, so that the BGR frame needs no flip.

    Args:
        network: a copy, which is changed.
        first: its first convolution.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, first: nn.Conv2d) -> None:
        super().__init__()
        self.network = network
        first.weight.data = first.weight.data[:, [2, 1, 0]].contiguous()
        scale = [1 / (255 * deviation) for deviation in reversed(STD_RGB)]
        offset = [-mean / deviation for mean, deviation in zip(reversed(MEAN_RGB), reversed(STD_RGB))]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1))

    def normalised(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR to (N, 3, H, W) float."""
        return frames.float().permute(0, 3, 1, 2) * self.scale + self.offset


class ParsingGraph(Normalised):
    """What is exported of a parsing network: normalisation, the network and argmax.

    Labels pass through float on their way from int64 to uint8, because TensorRT converts only floats to uint8.
    """

    def __init__(self, network: ParsingNetwork, logits: bool = False) -> None:
        copied = copy.deepcopy(network).float().eval()
        copied.auxiliary_heads = None
        super().__init__(copied, copied.backbone.conv1)
        self.with_logits = logits

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 BGR to (N, H, W) uint8 and, where asked for, (N, 20, H, W) float logits."""
        logits = self.network(self.normalised(frames))
        labels = logits.argmax(1).float().to(torch.uint8)
        return (labels, logits) if self.with_logits else labels


class PoseGraph(Normalised):
    """What is exported of a pose network: normalisation, the network and its decoding.

    Args:
        network: left as it is.
        decoding: of its heatmaps.
        input_size: (height, width) of the frames.
    """

    def __init__(self, network: PoseNetwork, decoding: Decoding, input_size: tuple[int, int]) -> None:
        copied = copy.deepcopy(network).float().eval()
        super().__init__(copied, copied.first_convolution)
        self.decoder = create_decoder(decoding, (input_size[0] // decoding.stride, input_size[1] // decoding.stride))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8 BGR to (N, K, 3) float32 keypoints in its pixels, and (N, K, h, w) heatmaps."""
        heatmaps = self.network(self.normalised(frames))
        return self.decoder(heatmaps), heatmaps


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
    return _of_labels(ParsingGraph(network, logits), framing, label_set, batch, logits)


class ReleasedGraph(FramedNetwork):
    """What is exported of a published network: its own normalisation, its layers, its own resize and argmax.

    Args:
        released: left as it is.
        logits: give them as a second output.
    """

    def __init__(self, released: Released, logits: bool) -> None:
        super().__init__(copy.deepcopy(released.network).float().eval(), released.framing)
        self.with_logits = logits

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """(N, H, W, 3) uint8 BGR to (N, H, W) uint8 and, where asked for, (N, C, H, W) float logits."""
        logits = super().forward(frames)
        labels = logits.argmax(1).float().to(torch.uint8)
        return (labels, logits) if self.with_logits else labels


def export_released_onnx(released: Released, *, batch: int | None = 1, logits: bool = False) -> onnx.ModelProto:
    """Export a published network of CE2P's family; arguments, result and errors as of :func:`export_onnx`."""
    return _of_labels(ReleasedGraph(released, logits), released.framing, released.label_set, batch, logits)


def _of_labels(
    graph: nn.Module, framing: Framing, label_set: LabelSet, batch: int | None, logits: bool
) -> onnx.ModelProto:
    """A graph that ends in label maps, described and checked."""
    model = exported(graph, framing.input_size, batch, [LABELS.name, LABELS.raw] if logits else [LABELS.name])
    describe(model, Parsing.name, framing, {"label_set": json.dumps(label_set.to_dict())})
    argmax = find_argmax(model)
    if argmax is None:
        raise BuildError("The exported graph's labels do not come of an ArgMax.")
    name_raw(model, argmax.input[0])
    check_exported(model, framing.input_size, batch)
    return model


def export_pose_onnx(
    network: PoseNetwork,
    framing: Framing,
    skeleton: Skeleton,
    decoding: Decoding,
    *,
    batch: int | None = 1,
    heatmaps: bool = False,
) -> onnx.ModelProto:
    """Export a pose network with the decoding of its heatmaps, and simplify.

    Args:
        network: any mode, any device; left as it is.
        framing: of the crops that it sees, each side a multiple of 32.
        skeleton: what its joints are; in the metadata.
        decoding: of its heatmaps; in the metadata.
        batch: frames per call, or None for any number.
        heatmaps: also output the (N, K, h, w) float heatmaps.

    Returns:
        The checked FP32 model: ``frames`` (N, H, W, 3) uint8 BGR to ``keypoints`` (N, K, 3) float32: x and y in pixels
        of the frame, and a score.

    Raises:
        BuildError: the exporter or the checker refuses the network.
        UsageError: an input that is no multiple of 32.
    """
    if any(side % PoseNetwork.multiple for side in framing.input_size):
        raise UsageError(
            f"An input of {framing} is not for a pose network.",
            f"Height and width must be multiples of {PoseNetwork.multiple}, such as 256x192.",
        )
    graph = PoseGraph(network, decoding, framing.input_size)
    model = exported(graph, framing.input_size, batch, [KEYPOINTS.name, KEYPOINTS.raw])
    if not heatmaps:
        del model.graph.output[1]
    told = {"skeleton": skeleton.to_json(), "decoding": json.dumps(decoding.to_dict())}
    describe(model, "pose", framing, told)
    name_raw(model, KEYPOINTS.raw)
    check_exported(model, framing.input_size, batch)
    return model


def exported(graph: nn.Module, input_size: tuple[int, int], batch: int | None, names: list[str]) -> onnx.ModelProto:
    """Through PyTorch's exporter and onnxslim."""
    # Two frames where the batch is free: the exporter takes a dimension of 1 for a constant.
    frames = torch.zeros((batch or 2, *input_size, 3), dtype=torch.uint8)
    dynamic = None if batch else {"frames": {0: torch.export.Dim("batch")}}
    try:
        with _quiet():
            program = torch.onnx.export(
                graph.to("cpu"),
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
    except (RuntimeError, ValueError) as error:
        raise BuildError(f"The network cannot be exported to ONNX: {error}") from error
    return model


def describe(model: onnx.ModelProto, task: str, framing: Framing, told: dict[str, str]) -> None:
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
    model.graph.name = task
    model.producer_name, model.producer_version = "trtparse", __version__
    properties = {
        "task": task,
        **told,
        "input_size": json.dumps(list(framing.input_size)),
        "preprocessing": json.dumps(framing.preprocessing()),
        "trtparse": __version__,
    }
    onnx.helper.set_model_props(model, properties)


def check_exported(model: onnx.ModelProto, input_size: tuple[int, int], batch: int | None) -> None:
    """See that a graph is valid, takes what was asked for, and computes no shapes where its batch is fixed.

    Raises:
        BuildError: it is not so.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise BuildError(f"The network cannot be exported to ONNX: {error}") from error
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
