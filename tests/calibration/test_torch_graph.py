from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.graph import fresh_graph_copy  # noqa: E402
from trtparse.calibration.observation import Observer, float_activations  # noqa: E402
from trtparse.calibration.torch_graph import TorchGraph  # noqa: E402
from trtparse.engines.base import Frames  # noqa: E402
from trtparse.errors import BuildError  # noqa: E402


def assert_same(model: onnx.ModelProto, frames: Frames) -> None:
    """Every float activation up to the logits is what the runtime makes of it."""
    names = float_activations(model)
    observer = Observer(model, names, (), 1)
    found = TorchGraph(model, names)(torch.from_numpy(frames))
    for position, frame in enumerate(frames):
        for name, ours, theirs in zip(names, found, observer.activations(frame)):
            tolerance = 1e-4 * float(np.abs(theirs).max())
            np.testing.assert_allclose(ours[position], theirs[0], rtol=1e-3, atol=tolerance, err_msg=name)


def attribute_of(model: onnx.ModelProto, name: str, **values: Any) -> onnx.ModelProto:
    """A copy in which a node has other attributes."""
    changed = fresh_graph_copy(model)
    (node,) = [node for node in changed.graph.node if node.name == name]
    for key, value in values.items():
        kept = [entry for entry in node.attribute if entry.name != key]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])
    return changed


def test_every_structure_computes_what_the_runtime_does(
    new_ladder: Callable[..., onnx.ModelProto], small_frames: Frames
) -> None:
    assert_same(new_ladder(), small_frames)


def test_the_student_does(student: onnx.ModelProto, frames: Frames) -> None:
    assert_same(student, frames[:2])


def test_sides_that_are_padded_differently(new_graph: Callable[..., Any], small_frames: Frames) -> None:
    new = new_graph()
    tensor = new.relu(new.conv(new.image(), "first", (3, 16)))
    pool = new.node("MaxPool", [tensor], "pool", kernel_shape=[3, 3], strides=[1, 1], pads=[0, 1, 2, 1])
    weight = new.constant("second.weight", new.rng.normal(size=(16, 16, 3, 3)))
    second = new.node("Conv", [pool, weight], "second", pads=[2, 0, 0, 2])
    average = new.node("AveragePool", [second], "average", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    clipped = new.node("Clip", [average, "", new.constant("six", 6.0)], "clipped")
    assert_same(new.labels(clipped, 16), small_frames)


def test_what_a_node_reads_can_be_replaced_and_the_gradient_arrives(
    new_ladder: Callable[..., onnx.ModelProto], small_frames: Frames
) -> None:
    model = new_ladder()
    factor = torch.ones((), requires_grad=True)
    seen: list[tuple[str, int]] = []

    def read(node: onnx.NodeProto, position: int, value: Any) -> Any:
        seen.append((node.name, position))
        return value * factor if (node.name, position) == ("stem", 1) else value

    (logits,) = TorchGraph(model, ["logits"])(torch.from_numpy(small_frames), read)
    logits.sum().backward()
    assert factor.grad is not None
    assert factor.grad != 0
    assert ("block.add", 1) in seen
    assert not {"last_resize", "argmax", "labels"} & {name for name, _ in seen}


@pytest.mark.parametrize(
    ("node", "values", "words"),
    [
        ("fed_resize", {"mode": "nearest"}, "Resize fed_resize .* only linear resizing"),
        ("fed_resize", {"coordinate_transformation_mode": "align_corners"}, "only linear resizing"),
        ("stem", {"auto_pad": "SAME_UPPER"}, "Conv stem cannot be differentiated here: it pads by rule"),
        ("up", {"pads": [0, 0, 1, 1]}, "ConvTranspose up .* more on one side"),
    ],
)
def test_forms_that_are_not_known_are_refused_by_name(
    node: str, values: dict[str, Any], words: str, new_ladder: Callable[..., onnx.ModelProto]
) -> None:
    with pytest.raises(BuildError, match=words) as refused:
        TorchGraph(attribute_of(new_ladder(), node, **values), ["logits"])
    assert "--correct tuning" in str(refused.value.hint)


def test_an_operator_that_is_not_known_is_refused_only_where_it_is_needed(new_graph: Callable[..., Any]) -> None:
    new = new_graph()
    first = new.conv(new.image(), "first", (3, 16))
    model = new.labels(new.node("Elu", [first], "elu"), 16)
    TorchGraph(model, ["first"])
    with pytest.raises(BuildError, match="Elu elu cannot be differentiated here: the operator is not known"):
        TorchGraph(model, ["logits"])
