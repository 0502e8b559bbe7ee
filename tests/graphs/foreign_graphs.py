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


def foreign_joints(form: str = "keypoints", *, size: tuple[int, int] = (32, 24), joints: int = 17) -> onnx.ModelProto:
    """A network for poses with two heads, whose decoding needs both.

    Args:
        form: ``keypoints``, as MoveNet: whole numbers NHWC in, (1, 1, K, 3) of y, x and score from 0 to 1 out. Or
            ``simcc``, as RTMPose: floats NCHW in, ``simcc_x`` and ``simcc_y`` out, two cells a pixel.
        size: (height, width) of the input.
        joints: K.
    """
    random = np.random.default_rng(7)
    height, width = size
    rows, columns = height // 4, width // 4
    whole = form == "keypoints"
    constants: dict[str, NDArray[Any]] = {
        "w1": random.normal(size=(16, 3, 3, 3)) / (400 if whole else 4),
        "w2": random.normal(size=(16, 16, 3, 3)) / 8,
        "w3": random.normal(size=(joints, 16, 1, 1)),
        "w4": random.normal(size=(joints, 16, 1, 1)) / 8,
    }
    weights = {name: value.astype(np.float32) for name, value in constants.items()}
    kind, shape = (TensorProto.INT32, [1, *size, 3]) if whole else (TensorProto.FLOAT, [1, 3, *size])
    nodes = [helper.make_node("Cast", ["pixels"], ["float"], "cast", to=TensorProto.FLOAT)]
    if whole:
        nodes.append(helper.make_node("Transpose", ["float"], ["planes"], "planes", perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node(
            "Conv", ["planes" if whole else "float", "w1"], ["one"], "conv1", pads=[1] * 4, strides=[4, 4]
        ),
        helper.make_node("Relu", ["one"], ["two"], "relu1"),
        helper.make_node("Conv", ["two", "w2"], ["three"], "conv2", pads=[1] * 4),
        helper.make_node("Relu", ["three"], ["four"], "relu2"),
        helper.make_node("Conv", ["four", "w3"], ["maps"], "head"),
        helper.make_node("Conv", ["four", "w4"], ["offsets"], "offsets"),
    ]
    if whole:
        weights["columns"], weights["cells"] = np.float32(columns), np.array([1, joints, rows * columns], np.int64)
        weights["sides"] = np.array([rows, columns, 1], np.float32)
        weights["one_axis"], weights["last"] = np.array([1], np.int64), np.array([2], np.int64)
        nodes += [
            helper.make_node("Reshape", ["maps", "cells"], ["flat"], "flat"),
            helper.make_node("Reshape", ["offsets", "cells"], ["flat_offsets"], "flat_offsets"),
            helper.make_node("ReduceMean", ["flat_offsets", "last"], ["offset"], "offset"),
            helper.make_node("ArgMax", ["flat"], ["best"], "best", axis=2),
            helper.make_node("Cast", ["best"], ["place"], "place", to=TensorProto.FLOAT),
            helper.make_node("Div", ["place", "columns"], ["quotient"], "quotient"),
            helper.make_node("Floor", ["quotient"], ["row"], "row"),
            helper.make_node("Mul", ["row", "columns"], ["start"], "start"),
            helper.make_node("Sub", ["place", "start"], ["column"], "column"),
            helper.make_node("Add", ["row", "offset"], ["y"], "y"),
            helper.make_node("ReduceMax", ["flat", "last"], ["score"], "score"),
            helper.make_node("Concat", ["y", "column", "score"], ["joints"], "joints", axis=2),
            helper.make_node("Div", ["joints", "sides"], ["shares"], "shares"),
            helper.make_node("Unsqueeze", ["shares", "one_axis"], ["Identity"], "unsqueeze"),
        ]
        outputs = {"Identity": [1, 1, joints, 3]}
    else:
        axes = {"simcc_x": (2, 3, 2 * width), "simcc_y": (3, 2, 2 * height)}
        for name, (over, _, cells) in axes.items():
            weights[f"{name}.axes"] = np.array([over], np.int64)
            left = columns if name == "simcc_x" else rows
            weights[f"{name}.weight"] = random.normal(size=(left, cells)).astype(np.float32)
            head = "maps" if name == "simcc_x" else "offsets"
            nodes += [
                helper.make_node("ReduceMean", [head, f"{name}.axes"], [f"{name}.mean"], f"{name}.mean", keepdims=0),
                helper.make_node("MatMul", [f"{name}.mean", f"{name}.weight"], [name], name),
            ]
        outputs = {name: [1, joints, cells] for name, (_, _, cells) in axes.items()}
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, lengths) for name, lengths in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def foreign_boxes(
    *,
    size: tuple[int, int] = (64, 96),
    classes: int = 80,
    decoded: bool = False,
    batch: int | str = 1,
    fits_any_size: bool = True,
    probabilities: bool = True,
) -> onnx.ModelProto:
    """A detector of YOLOX's form: three grids with three heads each, and a row for each cell.

    Args:
        size: (height, width) of the input that the file notes.
        classes: of things.
        decoded: centres and sizes are pixels.
        batch: of the input, a name where it is open.
        fits_any_size: no constant of it depends on ``size``.
        probabilities: its scores go through a sigmoid.
    """
    random = np.random.default_rng(11)
    weights: dict[str, NDArray[Any]] = {"stem": random.normal(size=(16, 3, 8, 8)) / 4000}
    nodes = [
        helper.make_node("Conv", ["pixels", "stem"], ["stem_out"], "stem", strides=[8, 8]),
        helper.make_node("Relu", ["stem_out"], ["level8"], "stem_relu"),
    ]
    rows = []
    for side in (8, 16, 32):
        level, cells = f"level{side}", (size[0] // side) * (size[1] // side)
        if side > 8:
            weights[f"down{side}"] = random.normal(size=(16, 16, 2, 2)) / 4
            nodes.append(
                helper.make_node(
                    "Conv", [f"level{side // 2}", f"down{side}"], [f"down{side}_out"], f"down{side}", strides=[2, 2]
                )
            )
            nodes.append(helper.make_node("Relu", [f"down{side}_out"], [level], f"relu{side}"))
        parts = []
        for head, channels in (("box", 4), ("something", 1), ("class", classes)):
            name = f"{head}{side}"
            weights[name] = random.normal(size=(channels, 16, 1, 1)) / (12 if head == "box" else 3)
            weights[f"{name}_bias"] = np.full(channels, -0.5)
            nodes.append(helper.make_node("Conv", [level, name, f"{name}_bias"], [f"{name}_out"], name))
            parts.append(f"{name}_out")
            if head != "box" and probabilities:
                parts[-1] = f"{name}_share"
                nodes.append(helper.make_node("Sigmoid", [f"{name}_out"], [parts[-1]], f"{name}_sigmoid"))
        weights[f"flat{side}"] = np.array([0, 5 + classes, -1 if fits_any_size else cells], np.int64)
        nodes += [
            helper.make_node("Concat", parts, [f"heads{side}"], f"heads{side}", axis=1),
            helper.make_node("Reshape", [f"heads{side}", f"flat{side}"], [f"rows{side}"], f"rows{side}"),
        ]
        rows.append(f"rows{side}")
    nodes += [
        helper.make_node("Concat", rows, ["columns"], "columns", axis=2),
        helper.make_node("Transpose", ["columns"], ["raw" if decoded else "output"], "rows", perm=[0, 2, 1]),
    ]
    if decoded:
        grid = [(x, y, side) for side in (8, 16, 32) for y in range(size[0] // side) for x in range(size[1] // side)]
        weights["places"], weights["sides"] = np.array(grid)[None, :, :2], np.array(grid)[None, :, 2:]
        weights["split"] = np.array([2, 2, 1 + classes], np.int64)
        nodes += [
            helper.make_node("Split", ["raw", "split"], ["centre", "size", "rest"], "split", axis=2),
            helper.make_node("Add", ["centre", "places"], ["placed"], "placed"),
            helper.make_node("Mul", ["placed", "sides"], ["centre_px"], "centre_px"),
            helper.make_node("Exp", ["size"], ["in_cells"], "in_cells"),
            helper.make_node("Mul", ["in_cells", "sides"], ["size_px"], "size_px"),
            helper.make_node("Concat", ["centre_px", "size_px", "rest"], ["output"], "decoded", axis=2),
        ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * 3)],
        [
            numpy_helper.from_array(
                value if value.dtype == np.int64 and value.ndim == 1 else value.astype(np.float32), name
            )
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def bright_boxes() -> onnx.ModelProto:
    """A detector of YOLOX's form that takes every bright 32 x 32 pixels, from a multiple of 32 on, for a person."""
    model = foreign_boxes(classes=1)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("stem", "down16", "down32"):
            # The first channel is the mean brightness of what a cell covers.
            values[:] *= 1e-2
            values[0] = 0
            first = values[0] if tensor.name == "stem" else values[0, 0]
            first[...] = 1 / first.size
        elif tensor.name.startswith(("box", "something", "class")):
            values[:] = 0
            if tensor.name == "something32":
                values[0, 0] = 0.06
            elif tensor.name.startswith("box") and tensor.name.endswith("_bias"):
                values[:2] = 0.5  # the middle of a cell
            elif tensor.name.endswith("_bias"):
                values[:] = {"something32_bias": -8, "class32_bias": 8}.get(tensor.name, -12)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model
