"""What goes into a graph and what comes out: ours, and those of others that have the same input and outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import onnx.inliner
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from ..errors import BuildError, UsageError
from ..networks.file_kind import refuse_others
from ..specs.label_set import LabelSet, check_same, label_set, label_sets, told_label_set
from ..specs.skeleton import Skeleton, shipped_skeletons
from .answers import EVERY, KEYPOINTS, answers_of
from .facts import STANDARD_DOMAINS
from .index import CONVOLUTIONS, attribute_of, fresh_graph_copy, property_of, set_property
from .overflow import float_nodes
from .raw import find_argmax
from .surgery import unique_node_names

_WANTED = "frames (N, H, W, 3) uint8, BGR, in; out either " + ", or ".join(map(str, EVERY))
_CHECKED_NODE = re.compile(r"Name: (\S*) *OpType: (\S+)")
"""Where the checker says which node it refuses."""
_IN_THE_GRAPH = "Normalisation and argmax belong into the graph: see what trtparse build exports."


def read_onnx(path: Path) -> onnx.ModelProto:
    """Load and check an ONNX file, and bring it to one form.

    Each of its nodes has a name of its own afterwards, functions of the file are written out, and its inputs are what
    is fed to it: until IR version 4 every initializer had to be an input as well.

    Raises:
        UsageError: there is none, it is not one, or its weights are missing.
    """
    if path.is_file():
        refuse_others(path, "an ONNX graph", allowed=("onnx",))
    try:
        model = onnx.load(path, load_external_data=False)
        _refuse_incomplete(model, path)
        load_external_data_for_model(model, str(path.parent))
        _infer_missing_shapes(model)
        onnx.checker.check_model(model, full_check=True)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {error.filename or path}.", "Give an ONNX file.") from error
    except Exception as error:
        # protobuf's and the checker's exceptions have no common base but Exception.
        reason, _, context = str(error).strip().partition("\n")
        where = _CHECKED_NODE.search(context)
        raise UsageError(
            f"{path} is not an ONNX graph that can be used: {(reason or type(error).__name__).rstrip('.')}"
            + (f" (node {where[1] or '?'}, {where[2]})." if where else "."),
            "Export it again, with ONNX's own operators alone." if where else "Export it again.",
        ) from error
    unique_node_names(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, 4)
    return model


def _refuse_incomplete(model: onnx.ModelProto, path: Path) -> None:
    """See that the files beside a graph that hold its weights are there, whole, and not too much for one file."""
    lying = [ExternalDataInfo(tensor) for tensor in model.graph.initializer if uses_external_data(tensor)]
    ends = {one.location: 0 for one in lying}
    for one in lying:
        ends[one.location] = max(ends[one.location], (one.offset or 0) + (one.length or 0))
    missing = sorted(name for name in ends if not (path.parent / name).is_file())
    if missing:
        raise UsageError(
            f"{path} has its weights in {len(ends)} file{'s' if len(ends) > 1 else ''} beside it, and "
            f"{', '.join(missing)} is not there.",
            f"Put {', '.join(missing)} into {path.parent}: the graph is nothing without it.",
        )
    for name, end in sorted(ends.items()):
        have = (path.parent / name).stat().st_size
        if have < end:
            raise UsageError(
                f"{path} has weights in {name} beside it, which has {have} bytes where {end} are wanted.",
                "Copy or download it again.",
            )
    # What says no length reaches to the end of its file.
    total = sum(one.length or (path.parent / one.location).stat().st_size - (one.offset or 0) for one in lying)
    if total >= onnx.checker.MAXIMUM_PROTOBUF:
        raise UsageError(
            f"{path} has {total / 2**30:.1f} GiB of weights: with them in one file, as in a bundle, a graph holds less "
            f"than {onnx.checker.MAXIMUM_PROTOBUF / 2**30:.0f}.",
            "Give a smaller network of its kind.",
        )


def _infer_missing_shapes(model: onnx.ModelProto) -> None:
    """Give outputs a shape where a file leaves it out altogether, which ONNX's checker takes for an error."""
    bare = [output for output in model.graph.output if not output.type.tensor_type.HasField("shape")]
    if bare:
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in bare:
            output.CopyFrom(inferred[output.name])


def label_set_of(model: onnx.ModelProto, given: LabelSet | None, path: Path) -> LabelSet:
    """What a graph's classes mean: as its metadata says, else as somebody says, else LIP's where there are 20 of them.

    Args:
        model: with our outputs.
        given: what somebody says.
        path: the graph's file, for messages.

    Raises:
        UsageError: nobody says it, or the graph has another number of classes, or two sets are told.
    """
    found = count_classes(model, path)
    told = property_of(model, "label_set") or property_of(model, "labels")
    if told:
        meant = told_label_set(json.loads(told), str(path))
        if given is not None:
            check_same(meant, str(path), given, "--labels")
    else:
        lip = label_set("lip")
        if given is None and found != len(lip):
            raise UsageError(
                f"{path} tells {found} classes apart and does not say which.",
                f"Give --labels the set that it was trained on: one of {', '.join(label_sets())}, or a TOML file.",
            )
        meant = lip if given is None else given
    if len(meant) != found:
        raise UsageError(
            f"{path} tells {found} classes apart, and its label set is {meant}.",
            "Give --labels the set that it was trained on: under other names every result would be wrong.",
        )
    return meant


def skeleton_of(model: onnx.ModelProto, given: Skeleton | None, path: Path) -> Skeleton:
    """What a graph's joints are: as its metadata says, else as somebody says.

    Args:
        model: with our outputs.
        given: what somebody says; None for nothing.
        path: the graph's file, for messages.

    Raises:
        UsageError: nobody says it, the graph has another number of joints, or two skeletons are told.
    """
    told = property_of(model, "skeleton")
    meant = Skeleton.from_json(told) if told else given
    if meant is None:
        raise UsageError(
            f"{path} does not say what its joints are.",
            f"Give --labels their skeleton: one of {', '.join(shipped_skeletons())}, or a TOML file.",
        )
    if told and given is not None and given.joints != meant.joints:
        raise UsageError(
            f"{path} has the joints of {meant.name}, and --labels names {given.name}.", "Leave --labels out."
        )
    found = next(_shape(output) for output in model.graph.output if output.name == KEYPOINTS.name)[1]
    if found is not None and found != len(meant):
        raise UsageError(
            f"{path} finds {found} joints, and its skeleton is {meant}.", "Give the one it was trained on."
        )
    return meant


def sure_of(model: onnx.ModelProto, path: Path) -> float | None:
    """The score from which a finder's box is somebody, as its graph says; None where it does not.

    Raises:
        UsageError: it says something else.
    """
    told = property_of(model, "sure")
    try:
        sure = float(told) if told else None
    except ValueError:
        sure = -1.0
    if sure is not None and not 0 < sure < 1:
        raise UsageError(f"{path} says that {told!r} is a score.", "Export the finder again.")
    return sure


def check_interface(model: onnx.ModelProto, path: Path) -> int | None:
    """See that a graph has our input and outputs.

    Returns:
        Frames per call, None for any number.

    Raises:
        UsageError: it has others; says which, and what is wanted. Or it has operators that are not ONNX's.
    """
    inputs = list(model.graph.input)
    outputs = {value.name: value for value in model.graph.output}
    told = "; ".join(_described(value) for value in (*inputs, *outputs.values()))

    def refused(reason: str) -> UsageError:
        return UsageError(f"{path}: {reason}. It has {told}; wanted: {_WANTED}.", _IN_THE_GRAPH)

    if len(inputs) != 1 or inputs[0].name != "frames":
        raise refused("the one input must be called frames")
    answers = answers_of(model)
    if answers is None or set(outputs) - {answers.name, answers.raw}:
        wanted = "; or ".join(f"{one.name}, and {one.raw} where wanted" for one in EVERY)
        raise refused(f"the outputs must be {wanted}")
    frames, found = inputs[0], outputs[answers.name]
    kinds = [value.type.tensor_type.elem_type for value in (frames, found)]
    if kinds != [TensorProto.UINT8, answers.kind]:
        raise refused(f"frames must be uint8, {answers.name} {answers.dtype}")
    shape = _shape(frames)
    if len(shape) != 4 or shape[3] != 3 or shape[1] is None or shape[2] is None:
        raise refused("frames must be (N, H, W, 3) with a fixed height and width")
    raw = _shape(outputs[answers.raw]) if answers.raw in outputs else None
    problem = answers.problem(_shape(found), raw, shape)
    if problem is not None:
        raise refused(problem)
    _check_domains(model, path)
    return shape[0]


def _check_domains(model: onnx.ModelProto, path: Path) -> None:
    """See that all operators are ONNX's own: the shapes behind others are not known, and TensorRT has none of them."""
    foreign = next((node for node in model.graph.node if node.domain not in STANDARD_DOMAINS), None)
    if foreign is not None:
        raise UsageError(
            f"{path} holds {foreign.domain}.{foreign.op_type} ({foreign.name}), which is none of ONNX's own operators: "
            "neither calibration nor TensorRT knows it.",
            "Export the graph without a runtime's own optimisations and without custom operators.",
        )


def count_classes(model: onnx.ModelProto, path: Path) -> int:
    """How many classes the labels are chosen of: a graph says no more of what they mean.

    Raises:
        UsageError: it cannot be told.
    """
    argmax = find_argmax(model)
    if argmax is None:
        raise UsageError(
            f"{path}: how many classes there are cannot be told, as labels does not come of an ArgMax.",
            "Let the graph end in ArgMax over the channels and a Cast to uint8.",
        )
    found = channels_of(model, argmax)
    if found is None:
        raise UsageError(
            f"{path}: how many classes there are cannot be told, as the shape of {argmax.input[0]}, which ArgMax "
            "reads, cannot be inferred.",
            "Export the graph with a fixed height, width and number of channels; onnxslim may find the shapes.",
        )
    return found


def channels_of(model: onnx.ModelProto, argmax: onnx.NodeProto) -> int | None:
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
    axis = attribute_of(argmax, "axis", 0)
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def graph_precision(model: onnx.ModelProto) -> str:
    """``int8`` with Q/DQ, ``fp16`` where the convolutions' weights are half, else ``fp32``.

    Raises:
        BuildError: weights of another type.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        return "int8"
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    kernels = [node.input[1] for node in model.graph.node if node.op_type in CONVOLUTIONS]
    found = {types[name] for name in kernels if name in types}
    if found == {TensorProto.FLOAT16} or (TensorProto.FLOAT16 in found and float_nodes(model)):
        return "fp16"
    if not found - {TensorProto.FLOAT}:
        return "fp32"
    names = ", ".join(TensorProto.DataType.Name(kind) for kind in sorted(found))
    raise BuildError(f"The graph's convolutions are {names}.", "Use FP32, FP16, or FP32 or FP16 with Q/DQ.")


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dimensions = value.type.tensor_type.shape.dim
    return [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in dimensions]


def _described(value: onnx.ValueInfoProto) -> str:
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{value.name} ({', '.join('N' if length is None else str(length) for length in _shape(value))}) {kind}"


def with_precision(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model itself, whose metadata says its precision now; ``int8-cpu`` is one as well."""
    set_property(model, "precision", name)
    return model
