"""Bring an ONNX graph of somebody else's to what INT8 needs, before a single image is read.

INT8 is made at the end of a calibration that may take an hour. So an older opset is raised here, and compared with
what it was; and INT8 is made once of one made-up frame, all of the way, so that whatever would refuse the graph
refuses it now.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from ..calibration.key import key_of
from ..calibration.methods import Method
from ..calibration.quantise.cpu import quantise_for_cpu
from ..calibration.quantise.lint import MINIMUM_OPSET, check
from ..calibration.quantise.placement import place
from ..calibration.quantise.qdq import quantise
from ..calibration.ranges import RangeCollector, Ranges
from ..errors import TrtparseError, UsageError
from ..graphs.answers import answers_of
from ..graphs.computed import CLOSE, run
from ..graphs.facts import opset_of
from ..graphs.front import made_up_frames
from ..graphs.half import to_half
from ..graphs.observe import input_size_of
from ..graphs.opset import OPSET, converted
from ..graphs.raw import find_raw
from ..graphs.simulated import simulated_graph

LEAST_OPSET = MINIMUM_OPSET[TensorProto.FLOAT16]
"""The first opset whose Q/DQ takes FP16 scales."""


def prepare_for_int8(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A graph that INT8 can be made of, which computes the same.

    Args:
        model: FP32, with frames in and labels out.
        name: of the file, for messages.

    Returns:
        The model, or one raised to ``OPSET``.

    Raises:
        UsageError: an opset that cannot be raised, or a graph that a step towards INT8 refuses.
    """
    if opset_of(model) < LEAST_OPSET:
        model = raise_opset(model, name)
    _rehearse(model, name)
    return model


def raise_opset(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A copy at ``OPSET`` whose answers were compared with the graph's own.

    Args:
        model: at an older opset.
        name: of the file, for messages.

    Raises:
        UsageError: it cannot be converted, cannot be run, or answers differently afterwards.
    """
    before = opset_of(model)
    hint = f"Export the graph again with opset_version={OPSET}, or build with --fp16."
    try:
        raised = converted(model)
        frames = frames_for(model)
        (answers, scores), (new_answers, new_scores) = _answers(model, frames), _answers(raised, frames)
    except Exception as error:
        # The converter's, the checker's and the runtime's exceptions have no common base but Exception.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"INT8 needs opset {LEAST_OPSET}, {name} has {before}, and it cannot be raised: {reason}.", hint
        ) from error
    if not np.array_equal(answers, new_answers) and not _close(scores, new_scores):
        differ = 100 * float((answers != new_answers).mean())
        raise UsageError(
            f"INT8 needs opset {LEAST_OPSET}, {name} has {before}, and raised to {OPSET} it answers differently: "
            f"{differ:.2f} % of {_name_of_answers(model)}.",
            hint,
        )
    return raised


def frames_for(model: onnx.ModelProto) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8 for a graph: patches of colour with noise on them, the same every time."""
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    count = first.dim_value if first.HasField("dim_value") else 2
    return made_up_frames(count, input_size_of(model))


def _answers(
    model: onnx.ModelProto, frames: NDArray[np.uint8], *, as_float: bool = False
) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    """The answers that a graph makes of frames, and the raw tensor that they come of.

    Args:
        as_float: compute Q/DQ as the arithmetic that it stands for.
    """
    scores = find_raw(model)
    assert scores, "a graph whose classes were counted"
    answers = _name_of_answers(model)
    found = run(model, {"frames": frames}, [answers, scores], as_float=as_float)
    return found[answers], found[scores].astype(np.float32)


def _name_of_answers(model: onnx.ModelProto) -> str:
    answers = answers_of(model)
    assert answers is not None, "a graph whose outputs were checked"
    return answers.name


def _close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two graphs' scores differ by rounding alone."""
    if one.shape != other.shape:
        return False
    # Written so that a NaN is refused as well.
    return bool(np.abs(one - other).max() <= CLOSE * np.abs(one).max())


def _rehearse(model: onnx.ModelProto, name: str) -> None:
    """Make INT8 of one made-up frame and run both of its forms; nothing of it is kept."""
    frames = frames_for(model)
    try:
        placement = place(model)
        collector = RangeCollector(model, 1)
        collector.update("a made-up frame", frames[:1])
        ranges = Ranges(collector.limits(), (), (), "", 0, {}, key_of(model, (), Method()))
        graph = quantise(model, placement, ranges)
        check(graph)
        typed = to_half(graph)
        check(typed)
        _answers(simulated_graph(typed), frames, as_float=True)
        _answers(quantise_for_cpu(model, placement, ranges), frames)
    except Exception as error:
        # The runtime's exceptions have no common base but Exception.
        reason = error.message if isinstance(error, TrtparseError) else str(error).strip().partition("\n")[0]
        raise UsageError(
            f"INT8 cannot be made of {name}: {reason.rstrip('.')}.",
            f"Export the graph again: FP32, opset {OPSET}, batch norms folded, ONNX's own operators; or give --fp32.",
        ) from error
