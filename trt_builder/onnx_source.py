"""A bundle from an ONNX file: ours from elsewhere, or a foreign one with the same input and outputs.

Such a bundle has no weights and no answers of PyTorch, so nothing can be calibrated or compared from it; its engines
are built, inspected and run like any other's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.inliner
from onnx import TensorProto

from .. import __version__
from ..calibration.quantise.lint import check as check_int8
from ..engines.bundle import GRAPHS, Bundle, Manifest, finish, writing
from ..errors import BuildError, UsageError
from ..graphs.half import to_half
from ..graphs.index import GraphIndex, fresh_graph_copy, property_of
from ..labels import CLASS_NAMES, NUM_CLASSES
from ..networks.file_kind import refuse_others
from ..storage.files import replace_bytes

_WANTED = "frames (N, H, W, 3) uint8, BGR, in; labels (N, H, W) uint8 out; logits (N, 20, H, W) may follow"
_HALF_FROM = "Normalisation and argmax belong into the graph: see what trtparse build exports."

STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

_KEEPS_IDS = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Slice")
"""What may stand between ArgMax and the labels: it moves ids and makes no new ones."""


def bundle_of_onnx(path: Path, output: Path, precision: str | None = None) -> Bundle:
    """Check an ONNX file and make a bundle of it.

    Args:
        path: the file; weights that lie in other files beside it are taken in.
        output: the bundle's folder; an older bundle there is replaced when the new one is whole.
        precision: to be built from it, None for the file's own. FP16 is made of an FP32 graph; INT8 has to be in the
            file, because it takes calibration.

    Returns:
        The bundle: no weights, no parity; its INT8 graph has no form for the CPU runtime.

    Raises:
        UsageError: not an ONNX file, other inputs and outputs, or INT8 asked of a graph without Q/DQ.
        BuildError: a graph that breaks a rule of INT8, or cannot be typed in FP16.
    """
    model = read_onnx(path)
    batch, input_size = check_interface(model, path)
    own = graph_precision(model)
    if precision == "int8" and own != "int8":
        raise UsageError(
            f"{path} is {own}: it holds no QuantizeLinear, and INT8 without calibration is worth nothing.",
            "Build from the checkpoint, which calibrates: trtparse build CHECKPOINT --int8 --data FOLDER",
        )
    if precision == "fp32" and own != "fp32":
        raise UsageError(f"{path} is {own}, from which FP32 cannot be had back.", f"Give --{own}.")
    if own == "int8":
        check_int8(model)
    graphs = {own: named(own, model)}
    if precision == "fp16" and own == "fp32":
        graphs["fp16"] = named("fp16", to_half(model))
    if precision == "fp16" and own == "int8":
        raise UsageError(f"{path} is int8, from which FP16 alone cannot be had back.", "Give --int8.")
    manifest = Manifest(
        task="parsing",
        network=property_of(model, "network") or "onnx",
        options={"source": path.name, "producer": model.producer_name or "unknown"},
        labels=CLASS_NAMES,
        input_size=input_size,
        batch=batch,
        precisions=tuple(name for name in ("fp32", "fp16", "int8") if name in graphs),
        preprocessing=json.loads(property_of(model, "preprocessing") or '{"where": "in the graph"}'),
        parity={},
        calibration={},
        versions={"trtparse": __version__, "python": sys.version.split()[0], "onnx": onnx.__version__},
    )
    with writing(output) as folder:
        for name, graph in graphs.items():
            replace_bytes(folder / GRAPHS[name], graph.SerializeToString(deterministic=True))
        manifest = finish(folder, manifest)
    return Bundle(output, manifest)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Load and check an ONNX file, and bring it to one form.

    Its nodes all have names afterwards, its own functions are written out, and its inputs are what is fed to it: until
    IR version 4 every initializer had to be an input as well.

    Raises:
        UsageError: there is none, it is not one, or its weights are missing.
    """
    if path.is_file():
        refuse_others(path, "an ONNX graph", allowed=("onnx",))
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {error.filename or path}.", "Give an ONNX file.") from error
    except Exception as error:
        # protobuf's and the checker's exceptions have no common base but Exception.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{path} is not an ONNX graph that can be used: {reason.rstrip('.')}.", "Export it again."
        ) from error
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, 4)
    return model


def check_interface(model: onnx.ModelProto, path: Path) -> tuple[int | None, tuple[int, int]]:
    """See that a graph has our input and outputs.

    Returns:
        Frames per call, None for any number; and (height, width).

    Raises:
        UsageError: it has others; says which, and what is wanted. Or it has other classes than LIP's, or operators that
            are not ONNX's.
    """
    inputs = list(model.graph.input)
    outputs = {value.name: value for value in model.graph.output}
    told = "; ".join(_described(value) for value in (*inputs, *outputs.values()))

    def refused(reason: str) -> UsageError:
        return UsageError(f"{path}: {reason}. It has {told}; wanted: {_WANTED}.", _HALF_FROM)

    if len(inputs) != 1 or inputs[0].name != "frames":
        raise refused("the one input must be called frames")
    if "labels" not in outputs or set(outputs) - {"labels", "logits"}:
        raise refused("the outputs must be labels, and logits where wanted")
    frames, labels = inputs[0], outputs["labels"]
    if frames.type.tensor_type.elem_type != TensorProto.UINT8 or labels.type.tensor_type.elem_type != TensorProto.UINT8:
        raise refused("frames and labels must be uint8")
    shape = _shape(frames)
    if len(shape) != 4 or shape[3] != 3 or shape[1] is None or shape[2] is None:
        raise refused("frames must be (N, H, W, 3) with a fixed height and width")
    batch, height, width = shape[0], shape[1], shape[2]
    if not _fits(_shape(labels), (batch, height, width)):
        raise refused(f"labels must be (N, {height}, {width})")
    if "logits" in outputs and not _fits(_shape(outputs["logits"]), (batch, NUM_CLASSES, height, width)):
        raise refused(f"logits must be (N, {NUM_CLASSES}, {height}, {width})")
    _check_domains(model, path)
    _check_classes(model, path)
    return batch, (height, width)


def find_argmax(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that chooses the labels; None where they come of something else."""
    index = GraphIndex(model.graph)
    node = index.producer("labels")
    while node is not None and node.op_type in _KEEPS_IDS:
        node = index.producer(node.input[0])
    return node if node is not None and node.op_type == "ArgMax" else None


def _check_domains(model: onnx.ModelProto, path: Path) -> None:
    """See that all operators are ONNX's own: the shapes behind others are not known, and TensorRT has none of them."""
    foreign = next((node for node in model.graph.node if node.domain not in STANDARD_DOMAINS), None)
    if foreign is not None:
        raise UsageError(
            f"{path} holds {foreign.domain}.{foreign.op_type} ({foreign.name}), which is none of ONNX's own operators: "
            "neither calibration nor TensorRT knows it.",
            "Export the graph without a runtime's own optimisations and without custom operators.",
        )


def _check_classes(model: onnx.ModelProto, path: Path) -> None:
    """See that the labels are chosen of as many classes as LIP has: a graph says no more of what they mean."""
    argmax = find_argmax(model)
    if argmax is None:
        raise UsageError(
            f"{path}: how many classes there are cannot be told, as labels does not come of an ArgMax.",
            f"Let the graph end in ArgMax over {NUM_CLASSES} channels and a Cast to uint8.",
        )
    found = _channels(model, argmax)
    if found is None:
        raise UsageError(
            f"{path}: how many classes there are cannot be told, as the shape of {argmax.input[0]}, which ArgMax "
            "reads, cannot be inferred.",
            "Export the graph with a fixed height, width and number of channels; onnxslim may find the shapes.",
        )
    if found != NUM_CLASSES:
        raise UsageError(
            f"{path} tells {found} classes apart; trtparse knows the names of LIP's {NUM_CLASSES}.",
            f"Give a network with LIP's {NUM_CLASSES} classes: under other names every result would be wrong.",
        )


def _channels(model: onnx.ModelProto, argmax: onnx.NodeProto) -> int | None:
    """How many channels an ArgMax chooses of; None where that cannot be inferred."""
    bare = fresh_graph_copy(model)
    del bare.graph.value_info[:]  # what the file says of its shapes is not to be relied on
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):  # ValueError: beyond protobuf's 2 GB
        return None
    known = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)}
    if argmax.input[0] not in known:
        return None
    shape = _shape(known[argmax.input[0]])
    axis = next((attribute.i for attribute in argmax.attribute if attribute.name == "axis"), 0)
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def graph_precision(model: onnx.ModelProto) -> str:
    """``int8`` with Q/DQ, ``fp16`` where the convolutions' weights are half, else ``fp32``.

    Raises:
        BuildError: weights of another type.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        return "int8"
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    kernels = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    found = {types[name] for name in kernels if name in types}
    if found == {TensorProto.FLOAT16}:
        return "fp16"
    if not found - {TensorProto.FLOAT}:
        return "fp32"
    names = ", ".join(TensorProto.DataType.Name(kind) for kind in sorted(found))
    raise BuildError(f"The graph's convolutions are {names}.", "Use FP32, FP16, or FP32 or FP16 with Q/DQ.")


def _fits(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether a shape is the wanted one; a length that the exporter left open fits."""
    return len(shape) == len(wanted) and all(have in (None, want) for have, want in zip(shape, wanted))


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dimensions = value.type.tensor_type.shape.dim
    return [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in dimensions]


def _described(value: onnx.ValueInfoProto) -> str:
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{value.name} ({', '.join('N' if length is None else str(length) for length in _shape(value))}) {kind}"


def named(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its graph's name in its metadata."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**properties, "precision": name})
    return model
