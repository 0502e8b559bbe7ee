"""Small graphs with one structure each, small datasets, and the student's graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trtparse.calibration.key import CalibrationKey
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import Ranges
from trtparse.data.dataset import Image, LabelMap, Sample
from trtparse.engines import Bundle
from trtparse.errors import DataError
from trtparse.specs.label_set import LabelSet
from trtparse.tests.predicting import LIP


class GraphBuilder:
    """An FP32 graph, ``frames`` (N, size, size, 3) uint8 to ``labels``, node by node.

    Every node's output is called by the node's name.
    """

    def __init__(self, size: int = 16, batch: int | None = None, seed: int = 0) -> None:
        self.size, self.batch = size, batch
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def image(self) -> str:
        """(N, 3, size, size) float, 0 to 1."""
        self.node("Cast", ["frames"], "float", to=TensorProto.FLOAT)
        self.node("Transpose", ["float"], "planes", perm=[0, 3, 1, 2])
        return self.node("Mul", ["planes", self.constant("factor", 1 / 255)], "image")

    def conv(
        self, tensor: str, name: str, channels: tuple[int, int], kernel: int = 3, bias: bool = True, **attributes: Any
    ) -> str:
        """``channels`` in and out; keeps the size."""
        group = attributes.get("group", 1)
        shape = (channels[1], channels[0] // group, kernel, kernel)
        weight = self.rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        inputs = [tensor, self.constant(f"{name}.weight", weight)]
        if bias:
            inputs.append(self.constant(f"{name}.bias", self.rng.normal(size=channels[1]) / 32))
        return self.node("Conv", inputs, name, pads=[kernel // 2] * 4, **attributes)

    def transposed_conv(self, tensor: str, name: str, channels: tuple[int, int], group: int = 1) -> str:
        """``channels`` in and out; doubles the size."""
        weight = self.rng.normal(size=(channels[0], channels[1] // group, 2, 2)) * np.sqrt(2 * group / channels[0])
        return self.node(
            "ConvTranspose", [tensor, self.constant(f"{name}.weight", weight)], name, strides=[2, 2], group=group
        )

    def relu(self, tensor: str) -> str:
        return self.node("Relu", [tensor], f"{tensor}.relu")

    def resize(self, tensor: str, name: str, scale: float = 2) -> str:
        scales = self.constant(f"{name}.scales", [1, 1, scale, scale])
        return self.node("Resize", [tensor, "", scales], name, mode="linear")

    def labels(self, tensor: str, channels: int) -> onnx.ModelProto:
        """Logit convolution, last resize, argmax; and the model."""
        self.resize(self.conv(tensor, "logits", (channels, 20), 1, bias=False), "last_resize")
        self.node("ArgMax", ["last_resize"], "argmax", axis=1, keepdims=0)
        self.node("Cast", ["argmax"], "argmax_float", to=TensorProto.FLOAT)
        self.node("Cast", ["argmax_float"], "labels", to=TensorProto.UINT8)
        return self.model()

    def model(self, opset: int = 20) -> onnx.ModelProto:
        frames = helper.make_tensor_value_info(
            "frames", TensorProto.UINT8, [self.batch or "N", self.size, self.size, 3]
        )
        labels = helper.make_tensor_value_info("labels", TensorProto.UINT8, ["M", "H", "W"])
        graph = helper.make_graph(self.nodes, "small", [frames], [labels], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        helper.set_model_props(model, {"preprocessing": json.dumps({"order": "RGB"})})
        onnx.checker.check_model(model, full_check=True)
        return model


def ladder(batch: int | None = None) -> onnx.ModelProto:
    """Every structure once: blocks with and without a downsampling side, pool, concat, attention, resizes."""
    new = GraphBuilder(batch=batch)
    stem = new.relu(new.conv(new.image(), "stem", (3, 16)))
    pool = new.node("MaxPool", [stem], "pool", kernel_shape=[2, 2], strides=[2, 2])
    inner = new.relu(new.conv(pool, "block.conv1", (16, 16)))
    block = new.relu(new.node("Add", [new.conv(inner, "block.conv2", (16, 16)), pool], "block.add"))
    inner = new.relu(new.conv(block, "down.conv1", (16, 32), strides=[2, 2]))
    sides = [new.conv(inner, "down.conv2", (32, 32)), new.conv(block, "down.project", (16, 32), 1, strides=[2, 2])]
    down = new.relu(new.node("Add", sides, "down.add"))
    depthwise = new.relu(new.conv(down, "depthwise", (32, 32), group=32))
    upper = new.resize(new.relu(new.conv(depthwise, "mix", (32, 16), 1)), "fed_resize")
    lower = new.relu(new.transposed_conv(down, "up", (32, 16)))
    sides = [new.relu(new.conv(upper, "left", (16, 16))), new.relu(new.conv(lower, "right", (16, 16)))]
    both = new.node("Concat", sides, "concat", axis=1)
    left = new.conv(sides[0], "left.again", (16, 32))
    right = new.conv(sides[1], "right.again", (16, 32))
    fused = new.node("Mul", [new.conv(both, "fuse", (32, 32)), new.node("Mul", [left, right], "product")], "fused")
    attention = new.node("Sigmoid", [new.conv(fused, "attention", (32, 1))], "sigmoid")
    return new.labels(new.relu(new.conv(new.node("Mul", [fused, attention], "weighted"), "head", (32, 32))), 32)


class SmallDataset:
    """Images and label maps by hand; whatever is an exception is raised instead.

    Args:
        images: (H, W, 3) uint8 each, or the error of reading it.
        classes: ids in each label map, or the error of reading it; None for no label maps.
    """

    description = "small/, by hand"
    label_set: LabelSet = LIP

    def __init__(
        self,
        images: Sequence[Image | DataError],
        classes: Sequence[Sequence[int] | DataError] | None = None,
    ) -> None:
        self.images, self.classes = images, classes
        self.names = tuple(f"image_{index}" for index in range(len(images)))
        self.labels_read: list[int] = []

    @property
    def labelled(self) -> bool:
        return self.classes is not None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        if isinstance(image, DataError):
            raise image
        return Sample(self.names[index], image, None)

    def labels(self, index: int) -> LabelMap:
        self.labels_read.append(index)
        assert self.classes is not None, "label maps of an unlabelled dataset were asked for"
        classes = self.classes[index]
        if isinstance(classes, DataError):
            raise classes
        return np.array([classes], np.uint8)


def limits_everywhere(model: onnx.ModelProto, low: float = -1.0, high: float = 2.0) -> Ranges:
    """Ranges for every tensor of a graph, each a little wider than the one before."""
    names = [name for node in model.graph.node for name in node.output]
    limits = {name: (low, high + number / 16) for number, name in enumerate(names)}
    return Ranges(limits, ("a",), (), "by hand", 0, {}, CalibrationKey("", "", ""))


@pytest.fixture(scope="session")
def new_graph() -> type[GraphBuilder]:
    return GraphBuilder


@pytest.fixture(scope="session")
def new_ladder() -> Callable[..., onnx.ModelProto]:
    return ladder


@pytest.fixture(scope="session")
def new_dataset() -> type[SmallDataset]:
    return SmallDataset


@pytest.fixture(scope="session")
def ranges_for() -> Callable[..., Ranges]:
    return limits_everywhere


@pytest.fixture
def quantised_ladder() -> onnx.ModelProto:
    """INT8, as it should be; the test's own, to spoil."""
    model = ladder()
    return quantise(model, place(model), limits_everywhere(model))


@pytest.fixture(scope="session")
def small_frames() -> NDArray[np.uint8]:
    """(6, 16, 16, 3), in patches of 4 x 4 pixels, each brighter than the one before."""
    rng = np.random.default_rng(5)
    patches = np.stack([rng.integers(0, 80 + 35 * number, (4, 4, 3)) for number in range(6)]).astype(np.uint8)
    return patches.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="session")
def student(pristine_bundle: Bundle) -> onnx.ModelProto:
    """The FP32 graph of the weights that ship; to be read only."""
    return onnx.load(pristine_bundle.graph("fp32"))
