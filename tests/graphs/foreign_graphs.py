"""Graphs as others export them: small, made by hand, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def foreign(
    classes: int = 18,
    *,
    layout: str = "NCHW",
    size: tuple[int | str, int | str] = (32, 24),
    batch: int | str = 1,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("scores",),
    stride: int = 4,
) -> onnx.ModelProto:
    """A parser of three convolutions, with its input called ``pixels``.

    Args:
        outputs: of ``scores`` (N, classes, h, w) or its like in NHWC, ``edges`` (two channels), ``coarse`` (as scores),
            ``ids64`` and ``ids_float`` (N, H, W) of scores at stride 1.
        stride: of the scores.
    """
    random = np.random.default_rng(5)
    weights: dict[str, NDArray[Any]] = {
        "w1": random.normal(size=(16, 3, 3, 3)) / 4,
        "w2": random.normal(size=(16, 16, 3, 3)) / 8,
        "w3": random.normal(size=(classes, 16, 1, 1)),
        "w4": random.normal(size=(classes, 16, 1, 1)),
        "w5": random.normal(size=(2, 16, 1, 1)),
    }
    channels_last = layout == "NHWC"
    nodes = [helper.make_node("Cast", ["pixels"], ["float"], "cast", to=TensorProto.FLOAT)]
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["float"], ["planes"], "planes", perm=[0, 3, 1, 2]))
    first = "planes" if channels_last else "float"
    nodes += [
        helper.make_node("Conv", [first, "w1"], ["one"], "conv1", pads=[1, 1, 1, 1], strides=[stride, stride]),
        helper.make_node("Relu", ["one"], ["two"], "relu1"),
        helper.make_node("Conv", ["two", "w2"], ["three"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["three"], ["four"], "relu2"),
        helper.make_node("Conv", ["four", "w3"], ["planes_of_scores"], "head"),
        helper.make_node("Conv", ["four", "w4"], ["coarse"], "coarse"),
        helper.make_node("Conv", ["four", "w5"], ["edges"], "edges"),
        helper.make_node("Identity", ["planes_of_scores"], ["scores"], "same")
        if not channels_last
        else helper.make_node("Transpose", ["planes_of_scores"], ["scores"], "last", perm=[0, 2, 3, 1]),
        helper.make_node("ArgMax", ["planes_of_scores"], ["ids64"], "argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["ids64"], ["ids_float"], "to_float", to=TensorProto.FLOAT),
    ]
    kinds = {"ids64": TensorProto.INT64}
    shape = [batch, *size, 3] if channels_last else [batch, 3, *size]
    ranks = {"ids64": 3, "ids_float": 3}
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), [None] * ranks.get(name, 4))
            for name in outputs
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
