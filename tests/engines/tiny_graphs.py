"""Graphs of a few nodes whose answers are no label maps, or not label maps alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

JOINTS = 5
SIZE = (24, 16)


BOXES = np.array([[2, 4, 14, 30, 0.9], [16, 6, 30, 28, 0.75], [0, 0, 8, 10, 0.2]], np.float32)
"""Whom :func:`finder_graph` sees in its frame of 32x32, the scores for white."""


def finder_graph() -> onnx.ModelProto:
    """A graph that always finds the same: ``frames`` (N, 32, 32, 3) to ``boxes`` (N, 3, 5) float32, :data:`BOXES`.

    It is the surer, the brighter the frame's brightest value; from 0.5 on a box is somebody.
    """
    by_brightness = np.concatenate([np.zeros((3, 4), np.float32), BOXES[:, 4:] / 255], axis=1)
    constants = {
        "boxes_there": np.concatenate([BOXES[:, :4], np.zeros((3, 1), np.float32)], axis=1),
        "scores": by_brightness,
        "axes": np.array([1, 2, 3], np.int64),
        "shape": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float", "axes"], ["brightest"], "brightest"),
        helper.make_node("Reshape", ["brightest", "shape"], ["one_each"], "reshape"),
        helper.make_node("Mul", ["one_each", "scores"], ["sure"], "scale"),
        helper.make_node("Add", ["sure", "boxes_there"], ["boxes"], "add"),
    ]
    graph = helper.make_graph(
        nodes,
        "finder",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 3, 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"task": "people", "sure": "0.5"})
    onnx.checker.check_model(model, full_check=True)
    return model


def joints_graph(outputs: Sequence[str] = ("joints",)) -> onnx.ModelProto:
    """A graph that finds the brightest place in each of five maps.

    Args:
        outputs: any of ``joints`` (N, 5, 3) float32, x, y and value; ``labels`` (N, 24, 16) uint8, the map that is
            highest at a pixel; and ``maps`` (N, 5, 24, 16) float32, which both are decided from.
    """
    height, width = SIZE
    constants = {
        "weight": np.random.default_rng(0).normal(size=(JOINTS, 3, 3, 3)).astype(np.float32) / 255,
        "flat": np.array([0, JOINTS, height * width], np.int64),
        "width": np.array(width, np.float32),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["images"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "weight"], ["maps"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["maps", "flat"], ["rows"], "reshape"),
        helper.make_node("ArgMax", ["rows"], ["place"], "argmax_place", axis=2),
        helper.make_node("Cast", ["place"], ["place_float"], "place_to_float", to=TensorProto.FLOAT),
        helper.make_node("Div", ["place_float", "width"], ["quotient"], "divide"),
        helper.make_node("Floor", ["quotient"], ["y"], "floor"),
        helper.make_node("Mul", ["y", "width"], ["row_start"], "multiply"),
        helper.make_node("Sub", ["place_float", "row_start"], ["x"], "subtract"),
        helper.make_node("ReduceMax", ["rows", "last"], ["value"], "highest"),
        helper.make_node("Concat", ["x", "y", "value"], ["joints"], "joints", axis=2),
    ]
    labelling = [
        helper.make_node("ArgMax", ["maps"], ["best"], "argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["best_float"], "best_to_float", to=TensorProto.FLOAT),
        helper.make_node("Cast", ["best_float"], ["labels"], "to_uint8", to=TensorProto.UINT8),
    ]
    kinds = {
        "joints": (TensorProto.FLOAT, (JOINTS, 3)),
        "labels": (TensorProto.UINT8, SIZE),
        "maps": (TensorProto.FLOAT, (JOINTS, *SIZE)),
    }
    graph = helper.make_graph(
        nodes + labelling if "labels" in outputs else nodes,
        "joints",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", *SIZE, 3])],
        [helper.make_tensor_value_info(name, kinds[name][0], ["N", *kinds[name][1]]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"raw": "maps"})
    onnx.checker.check_model(model, full_check=True)
    return model
