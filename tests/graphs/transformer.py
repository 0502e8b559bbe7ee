"""A network in SegFormer's shape, made by hand: patches, layer norms, attention, a feed-forward part, and a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, WIDTH, SIDE = 8, 32, 64


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.random = np.random.default_rng(2)

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, value: Any, name: str) -> str:
        array: NDArray[Any] = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def linear(self, tensor: str, channels: tuple[int, int], name: str, scale: float = 1.0) -> str:
        weight = self.random.normal(size=channels) * scale / np.sqrt(channels[0])
        return self.node("MatMul", [tensor, self.constant(weight, f"{name}.weight")], name)

    def norm(self, tensor: str, name: str, epsilon: float, decomposed: bool) -> str:
        """As exporters below opset 17 write a layer norm, or as one node."""
        scale = self.constant(np.ones(WIDTH), f"{name}.scale")
        shift = self.constant(np.zeros(WIDTH), f"{name}.shift")
        if not decomposed:
            return self.node("LayerNormalization", [tensor, scale, shift], name, axis=-1, epsilon=epsilon)
        axes = self.constant(np.array([-1], np.int64), f"{name}.axes")
        mean = self.node("ReduceMean", [tensor, axes], f"{name}.mean")
        centred = self.node("Sub", [tensor, mean], f"{name}.centred")
        squares = self.node("Pow", [centred, self.constant(2.0, f"{name}.two")], f"{name}.squares")
        variance = self.node("ReduceMean", [squares, axes], f"{name}.variance")
        kept = self.node("Add", [variance, self.constant(epsilon, f"{name}.epsilon")], f"{name}.kept")
        root = self.node("Sqrt", [kept], f"{name}.root")
        whitened = self.node("Div", [centred, root], f"{name}.whitened")
        scaled = self.node("Mul", [whitened, scale], f"{name}.scaled")
        return self.node("Add", [scaled, shift], name)


def transformer(
    embedding: float = 1.0, attention: float = 1.0, epsilon: float = 1e-5, *, decomposed: bool = True
) -> onnx.ModelProto:
    """Frames (1, 64, 64, 3) uint8 to labels.

    Args:
        embedding: scale of the patches' weights: of the residual stream.
        attention: scale of the queries' and keys' weights.
        epsilon: of the layer norms.
        decomposed: layer norms as their parts.
    """
    new = _Writer()
    cells = SIDE // 4
    new.node("Cast", ["frames"], "float", to=TensorProto.FLOAT)
    new.node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
    new.node("Mul", ["planes", new.constant(1 / 64, "scale")], "image")
    kernel = new.random.normal(size=(WIDTH, 3, 7, 7)) / 12 * embedding
    new.node("Conv", ["image", new.constant(kernel, "patches.weight")], "patches", strides=[4, 4], pads=[3, 3, 3, 3])
    new.node("Reshape", ["patches", new.constant(np.array([1, WIDTH, cells**2]), "flat")], "flattened")
    tokens = new.node("Transpose", ["flattened"], "tokens", perm=[0, 2, 1])
    normed = new.norm(tokens, "norm1", epsilon, decomposed)
    query = new.linear(normed, (WIDTH, WIDTH), "query", attention)
    key = new.linear(normed, (WIDTH, WIDTH), "key", attention)
    value = new.linear(normed, (WIDTH, WIDTH), "value")
    turned = new.node("Transpose", [key], "key.turned", perm=[0, 2, 1])
    scores = new.node("MatMul", [query, turned], "scores")
    scaled = new.node(
        "Mul", [scores, new.constant(1 / (attention**2 * np.sqrt(WIDTH)), "temperature")], "scores.scaled"
    )
    weights = new.node("Softmax", [scaled], "weights", axis=-1)
    mixed = new.node("MatMul", [weights, value], "mixed")
    projected = new.linear(mixed, (WIDTH, WIDTH), "projected", embedding)
    tokens = new.node("Add", [tokens, projected], "residual1")
    normed = new.norm(tokens, "norm2", epsilon, decomposed)
    wide = new.linear(normed, (WIDTH, 2 * WIDTH), "wide")
    active = new.node("Relu", [wide], "active")
    narrow = new.linear(active, (2 * WIDTH, WIDTH), "narrow", embedding)
    tokens = new.node("Add", [tokens, narrow], "residual2")
    normed = new.norm(tokens, "norm3", epsilon, decomposed)
    turned = new.node("Transpose", [normed], "turned", perm=[0, 2, 1])
    new.node("Reshape", [turned, new.constant(np.array([1, WIDTH, cells, cells]), "grid")], "map")
    head = new.random.normal(size=(CLASSES, WIDTH, 1, 1))
    new.node("Conv", ["map", new.constant(head, "head.weight")], "head")
    sizes = new.constant(np.array([1, CLASSES, SIDE, SIDE]), "sizes")
    new.node("Resize", ["head", "", "", sizes], "logits", mode="linear")
    new.node("ArgMax", ["logits"], "best", axis=1, keepdims=0)
    new.node("Cast", ["best"], "best_float", to=TensorProto.FLOAT)
    new.node("Cast", ["best_float"], "labels", to=TensorProto.UINT8)
    graph = helper.make_graph(
        new.nodes,
        "transformer",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, SIDE, SIDE])],
        new.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
