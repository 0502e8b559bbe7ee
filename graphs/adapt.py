"""Give somebody else's graph our input and outputs: a few nodes before it, and a few behind.

Before: frames (N, H, W, 3) uint8, BGR, become what it takes (Cast, Transpose, the order of channels, scale and offset).
Behind: its outputs become the answers of its task: labels (N, H, W) uint8, keypoints (N, K, 3) float32, or boxes
(N, M, 5) float32 (``tails/``).
Every step is compared with what the file itself computes on a made-up frame.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from .. import __version__
from ..errors import UsageError
from .answers import BOXES, KEYPOINTS, LABELS
from .computed import Arrays, difference, run
from .conventions import Convention, Said, convention_of
from .facts import facts_of, opset_of, values_of
from .folded import folded
from .front import Frames, made_up_frames, pictures, write_front
from .index import fresh_graph_copy
from .opset import OPSET, converted
from .raw import RAW_PROPERTY, decided_from, name_raw
from .surgery import fix_input, note_outputs, prune, rename_tensors
from .tails.parsing import LOGITS, write_labels
from .tails.people import write_boxes
from .tails.pose import write_keypoints

LEAST_OPSET = 19
"""What the nodes behind a graph, and FP16's scales of INT8, are written in; older graphs are raised."""

_OURS = ("frames", LABELS.name, LOGITS, KEYPOINTS.name, BOXES.name)


def adapt(model: onnx.ModelProto, said: Said, path: Path, *, logits: bool = False) -> onnx.ModelProto:
    """A copy with frames in and the answers of its task out.

    Args:
        model: as :func:`~trtparse.graphs.interface.read_onnx` reads it.
        said: what the file does not say of itself.
        path: of the file, for messages.
        logits: give it the logits as a second output, even where label maps go back to the image.

    Returns:
        FP32, at opset 19 or above, with label set or skeleton, framing and raw tensors in its metadata.

    Raises:
        UsageError: something is missing or does not fit, or the graph cannot be raised or answers differently
            afterwards; says what.
    """
    how = convention_of(said, facts_of(model), path)
    work = fresh_graph_copy(model)
    taken = values_of(work.graph.input)[0]
    fix_input(work, _input_shape(how))
    frames = made_up_frames(how.batch or 2, how.framing.input_size)
    feeds = {taken.name: pictures(frames, how, taken.dtype)}
    before = _answers(work, feeds, path)
    note_outputs(work, before, how.batch)
    if opset_of(work) < LEAST_OPSET:
        work = _raised(work, feeds, before, path)
    work = _folded(work, feeds, before, path)
    rename_tensors(work, _OURS)
    renamed = dict(zip(before, (output.name for output in work.graph.output)))
    before = {renamed[name]: array for name, array in before.items()}
    theirs = {new: old for old, new in renamed.items()}
    if how.task == "parsing":
        both = logits or how.framing.returns == LOGITS
        with_answers = write_labels(work, how, before, theirs, path, logits=both)
    else:
        write, alone = _DECODED[how.task]
        if logits:
            raise UsageError(f"{path} gives {alone} to follow them.", "Leave --logits out.")
        with_answers = write(work, how, before, theirs, path)
    write_front(work, how, taken.dtype)
    prune(work)
    _describe(work, how, path)
    work = _checked(work, path)
    _compare(work, frames, with_answers, path)
    return work


_DECODED = {
    "pose": (write_keypoints, "joints alone, and no heatmaps"),
    "people": (write_boxes, "boxes of several grids, and no one map of cells"),
}
"""Tasks whose answers several maps are decoded into together: what writes that, and what cannot be told of them."""


def _input_shape(how: Convention) -> tuple[int | None, ...]:
    height, width = how.framing.input_size
    return (how.batch, 3, height, width) if how.layout == "NCHW" else (how.batch, height, width, 3)


def _answers(model: onnx.ModelProto, feeds: Arrays, path: Path) -> Arrays:
    """What the file's own graph makes of a made-up frame, by the names of its outputs."""
    try:
        return run(model, feeds)
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        raise UsageError(
            f"{path} cannot be run on {_shapes(feeds)}: {_first_line(error)}.",
            "Is that how it takes images? trtparse inspect says what it takes; --layout and --input-size change it.",
        ) from error


def _raised(model: onnx.ModelProto, feeds: Arrays, before: Arrays, path: Path) -> onnx.ModelProto:
    """The graph at ``OPSET``, which computes the same."""
    old = opset_of(model)
    hint = f"Export the graph again with opset_version={OPSET}."
    try:
        raised = converted(model)
        after = run(raised, feeds)
    except Exception as error:
        # The converter's, the checker's and the runtime's exceptions have no common base but Exception.
        raise UsageError(
            f"Opset {LEAST_OPSET} is needed, {path} has {old}, and it cannot be raised: {_first_line(error)}.", hint
        ) from error
    told = _differs(before, after)
    if told:
        raise UsageError(f"Opset {LEAST_OPSET} is needed, {path} has {old}, and raised to {OPSET} {told}.", hint)
    return raised


def _folded(model: onnx.ModelProto, feeds: Arrays, before: Arrays, path: Path) -> onnx.ModelProto:
    """The graph with fewer nodes, which computes the same."""
    hint = "Simplify it first, as onnxslim does, or export it again."
    try:
        fewer = folded(model)
        after = run(fewer, feeds)
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        raise UsageError(f"The constants of {path} cannot be computed: {_first_line(error)}.", hint) from error
    told = _differs(before, after)
    if told:
        raise UsageError(f"With its constants computed {path} is another network: {told}.", hint)
    return fewer


def _differs(before: Arrays, after: Arrays) -> str:
    """Which output differs beyond rounding, and how; empty where none does."""
    found = ((name, difference(array, after[name])) for name, array in before.items())
    return next((f"its output {name} differs: {told}" for name, told in found if told), "")


def _describe(model: onnx.ModelProto, how: Convention, path: Path) -> None:
    model.graph.name = how.task
    meant = {}
    if how.task == "parsing":
        meant = {"label_set": json.dumps(how.label_set.to_dict())}
    elif how.task == "pose":
        meant = {"skeleton": how.skeleton.to_json()}
    onnx.helper.set_model_props(
        model,
        {
            "task": how.task,
            **meant,
            "input_size": json.dumps(list(how.framing.input_size)),
            "preprocessing": json.dumps(how.framing.preprocessing()),
            "trtparse": __version__,
            RAW_PROPERTY: LOGITS,
            "adapted": json.dumps({"source": path.name, "preset": how.preset}),
        },
    )
    if how.task != "parsing":
        raw = decided_from(model)
        if not raw:
            raise UsageError(f"{path} has no layer with constant weights.", "Fold its constants, as onnxslim does.")
        known = {value.name: value for value in values_of(onnx.shape_inference.infer_shapes(model).graph.value_info)}
        # The first is what layers are compared by: a map for each joint, or of where there is somebody.
        channels = len(how.skeleton) if how.task == "pose" else 1
        name_raw(model, *sorted(raw, key=lambda name: name not in known or known[name].length(1) != channels))


def _checked(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        # ValueError: beyond protobuf's 2 GB.
        raise UsageError(
            f"{path} cannot be given our input and outputs: {_first_line(error)}.", "Export the graph again."
        ) from error
    return model


def _compare(model: onnx.ModelProto, frames: Frames, expected: tuple[str, NDArray[np.generic]], path: Path) -> None:
    """See that the graph's own scores come out of frames as they came out of pictures."""
    tensor, wanted = expected
    try:
        found = run(model, {"frames": frames}, [tensor])[tensor]
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        raise UsageError(
            f"{path} cannot be run with our input and outputs: {_first_line(error)}.", "Export the graph again."
        ) from error
    differs = difference(wanted, found)
    if differs:
        raise UsageError(
            f"{path} computes something else with our input and outputs: {tensor} differs, {differs}.",
            "It may depend on its inputs in a way that is not seen here; export it again.",
        )


def _shapes(feeds: Arrays) -> str:
    return ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
