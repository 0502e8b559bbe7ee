"""``docs/adding-a-task.md`` is followed to the letter: its class, on a graph of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.engines.cpu import CpuEngine
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.base import Predictor

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
SIZE = (16, 24)


def graph(outputs: list[str]) -> onnx.ModelProto:
    """Brightness, from 0 to 1; every further output is the same."""
    shape = ["N", *SIZE]
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "float", to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], "mean", keepdims=0),
        *(helper.make_node("Div", ["mean", "scale"], [name], name) for name in outputs),
    ]
    constants = {"axes": np.array([3], np.int64), "scale": np.array(255, np.float32)}
    made = helper.make_graph(
        nodes,
        "matte",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", *SIZE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's first piece of code defines."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    (code,) = re.findall(r"```python\n(from .*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), vars(module))
    return vars(module)


def predictor(page: dict[str, Any], folder: Path, outputs: list[str]) -> Predictor[Any]:
    onnx.save(graph(outputs), folder / "matte.onnx")
    engine = CpuEngine(folder / "matte.onnx", "fp32", threads=1)
    return Predictor(engine, page["Matting"](label_set("person")), Framing(engine.input_size))


def test_the_task_of_the_page_answers_in_the_image_s_pixels(page: dict[str, Any], tmp_path: Path) -> None:
    image = np.full((40, 60, 3), 51, np.uint8)
    with predictor(page, tmp_path, ["matte"]) as matting:
        found = matting.look_at(image)
    assert found.shape == (40, 60)
    np.testing.assert_allclose(found, 0.2, atol=1e-6)


def test_what_are_no_answers_of_it_is_refused_by_the_engine_s_name(page: dict[str, Any], tmp_path: Path) -> None:
    with predictor(page, tmp_path, ["one", "other"]) as matting, pytest.raises(UsageError) as caught:
        matting.look_at(np.zeros((40, 60, 3), np.uint8))
    assert caught.value.message.startswith("ONNX Runtime")


def test_engines_agree_within_the_tolerance_of_the_page(page: dict[str, Any]) -> None:
    matting = page["Matting"](label_set("person"))
    expected = np.zeros((2, *SIZE), np.float32)
    found = expected.copy()
    found[0, :8] = 0.01
    found[1, :8] = 0.5
    np.testing.assert_array_equal(matting.agreement((found,), (expected,)), [1.0, 0.5])
