"""Learned ranges as a checkpoint carries them: by value, with what they belong to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import onnx

from ...errors import UsageError
from ...graphs.index import GraphIndex, property_of
from ...storage.json_types import JsonObject, ReadJson
from ..quantise.placement import Placement
from ..ranges import Ranges

SCHEMA = 1

LEARNED = "learned"
"""The method of ranges that came of training."""


def identity_of(model: onnx.ModelProto, placement: Placement) -> str:
    """sha256 of what ranges belong to: where Q/DQ goes, the convolutions' shapes, and how images become frames.

    Args:
        model: FP32; the values of its weights do not count.
        placement: of its Q/DQ.
    """
    index = GraphIndex(model.graph)
    told = {
        "placement": placement.digest,
        "shapes": [[node.name, list(index.initializers[node.input[1]].dims)] for node in index.convolutions()],
        "preprocessing": json.loads(property_of(model, "preprocessing") or "{}"),
        "size": [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3]],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def carry(ranges: Ranges, identity: str, step: int, steps: int, *, finished: bool) -> JsonObject:
    """What a checkpoint's header says of its ranges.

    Args:
        ranges: as learned.
        identity: of :func:`identity_of`.
        step: that they are of; 0 is the start.
        steps: of the run.
        finished: the run has come to its end.
    """
    learned = replace(ranges, key=replace(ranges.key, method=LEARNED))
    return {
        "schema": SCHEMA,
        "graph": identity,
        "step": step,
        "steps": steps,
        "finished": finished,
        **learned.to_dict(),
    }


def carried_ranges(told: ReadJson, model: onnx.ModelProto, placement: Placement, source: str) -> Ranges:
    """The ranges that a checkpoint carries, where they are those of a graph.

    Args:
        told: by :func:`carry`.
        model: FP32, of the checkpoint.
        placement: of its Q/DQ.
        source: the checkpoint, for errors.

    Raises:
        UsageError: they are damaged, of an unfinished run, or of another graph.
    """
    calibrate = "--calibration mse calibrates anew."
    if told.get("schema") != SCHEMA:
        raise UsageError(
            f"{source} carries INT8 ranges of schema {told.get('schema')}; this version of trtparse reads {SCHEMA}.",
            f"Update trtparse, or calibrate: {calibrate}",
        )
    if told.get("finished") is not True:
        raise UsageError(
            f"{source} is of an INT8 training that was stopped before its {told.get('steps')} steps were done.",
            f"The same trtparse distill --int8 goes on to the end. Or {calibrate}",
        )
    if told.get("graph") != identity_of(model, placement):
        raise UsageError(
            f"The INT8 ranges that {source} carries are of another graph than is built.",
            "They hold for the input size and the stretch that were trained at, and for the names that the version of "
            f"PyTorch gave which exported it. {calibrate}",
        )
    try:
        ranges = Ranges.from_dict(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"The INT8 ranges that {source} carries are damaged: {error}.", "Get the file again."
        ) from error
    missing = sorted(placement.activations.keys() - ranges.limits.keys())
    if missing:
        raise UsageError(f"{source} carries no INT8 range of {missing[0]}.", "Get the file again.")
    return ranges
