"""From PyTorch to one static ONNX graph: uint8 frames in, the answers of whatever network out."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator

import onnx
import onnxslim
import torch
from torch import nn

from .. import __version__
from ..errors import BuildError, UsageError
from ..graphs.answers import LABELS
from ..graphs.opset import OPSET
from ..graphs.raw import find_argmax, name_raw
from ..networks.trained import Trained


def export_onnx(trained: Trained, *, batch: int | None = 1, raw: bool = False) -> onnx.ModelProto:
    """Export and simplify.

    Args:
        trained: any mode, any device; left as it is. Its framing has each side of its input, a multiple of what the
            network wants; the graph's metadata tells it to whoever makes the frames.
        batch: frames per call, or None for any number.
        raw: also output the raw tensor that the answers are read from.

    Returns:
        The checked FP32 model: ``frames`` (N, H, W, 3) uint8 BGR to what the network's tail answers with, with what it
        is in its metadata.

    Raises:
        BuildError: the exporter or the checker refuses the network.
        UsageError: an input of a size that the network does not take.
    """
    network, framing = trained.network, trained.framing
    step = network.multiple
    if any(side % step for side in framing.input_size):
        example = "x".join(str(max(side // step, 1) * step) for side in framing.input_size)
        raise UsageError(
            f"An input of {framing} is not for {network.called}.",
            f"Height and width must be multiples of {step}, such as {example}.",
        )
    exported = network.exported(framing.input_size, trained.decoding)
    answers = exported.decoder.answers
    # What labels are read from is found by their ArgMax; of others the exporter keeps the name of outputs alone.
    found = answers is LABELS
    exported.with_raw = raw or not found
    names = [answers.name, answers.raw] if exported.with_raw else [answers.name]
    model = _through_the_exporter(exported, framing.input_size, batch, names)
    if not raw:
        del model.graph.output[1:]
    _describe(model, trained)
    name_raw(model, _read_by_argmax(model) if found else answers.raw)
    _check_exported(model, framing.input_size, batch)
    return model


def _read_by_argmax(model: onnx.ModelProto) -> str:
    argmax = find_argmax(model)
    if argmax is None:
        raise BuildError("The exported graph's labels do not come of an ArgMax.")
    return str(argmax.input[0])


def _through_the_exporter(
    graph: nn.Module, input_size: tuple[int, int], batch: int | None, names: list[str]
) -> onnx.ModelProto:
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


def _describe(model: onnx.ModelProto, trained: Trained) -> None:
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
    model.graph.name = trained.task
    model.producer_name, model.producer_version = "trtparse", __version__
    properties = {
        "task": trained.task,
        **trained.properties,
        "input_size": json.dumps(list(trained.framing.input_size)),
        "preprocessing": json.dumps(trained.framing.preprocessing()),
        "trtparse": __version__,
    }
    onnx.helper.set_model_props(model, properties)


def _check_exported(model: onnx.ModelProto, input_size: tuple[int, int], batch: int | None) -> None:
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
