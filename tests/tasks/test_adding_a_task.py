"""``docs/adding-a-task.md`` is followed to the letter: its class, on a graph of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.calibration.budget.judge import GraphJudge
from trtparse.data.dataset import Sample
from trtparse.demo.pipeline import run_demo
from trtparse.demo.records import AnswerRecorder, JsonlRecorder
from trtparse.demo.sources import ArraySource
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import UsageError
from trtparse.parse.images import parse_images
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.predictor import Predictor
from trtparse.validation.report.page import html
from trtparse.validation.validate import RecordFile, validate
from trtparse.validation.verdict import verdict

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
SIZE = (16, 24)


def graph(outputs: list[str], scale: float = 255) -> onnx.ModelProto:
    """Brightness, from 0 to 1 by the usual scale; every further output is the same."""
    shape = ["N", *SIZE]
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "float", to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], "mean", keepdims=0),
        *(helper.make_node("Div", ["mean", "scale"], [name], name) for name in outputs),
    ]
    constants = {"axes": np.array([3], np.int64), "scale": np.array(scale, np.float32)}
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
    """What the page's code defines, one piece after the other."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    pieces = re.findall(r"```python\n(from .*?)```", PAGE.read_text(), re.DOTALL)
    assert len(pieces) == 3
    for code in pieces:
        exec(compile(code, str(PAGE), "exec"), vars(module))
    return vars(module)


def predictor(page: dict[str, Any], folder: Path, outputs: list[str], scale: float = 255) -> Predictor[Any]:
    onnx.save(graph(outputs, scale), folder / "matte.onnx")
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


class Bright:
    """Grey images whose matte is their brightness; with labels, or without."""

    description, names = "grey images", ("dark", "light")

    def __init__(self, labelled: bool = True) -> None:
        self.labelled = labelled

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        grey = (51, 153)[index]
        matte = np.full((40, 60), grey / 255, np.float32)
        return Sample(self.names[index], np.full((40, 60, 3), grey, np.uint8), matte if self.labelled else None)


def test_it_is_validated_with_an_interval_and_a_report(page: dict[str, Any], tmp_path: Path) -> None:
    with predictor(page, tmp_path, ["matte"]) as reference, predictor(page, tmp_path, ["matte"], 300) as engine:
        result = validate(reference, engine, Bright(), tolerance=5.0, record=RecordFile(tmp_path / "record.jsonl"))
        kept = RecordFile(tmp_path / "record.jsonl", resume=True)
        resumed = validate(reference, engine, Bright(), tolerance=5.0, record=kept)
    assert result.reference is not None
    assert result.first.loss is not None
    assert result.reference.value == pytest.approx(1.0)
    lost = 100 * np.mean([grey / 255 - grey / 300 for grey in (51, 153)])
    assert result.first.loss.points == pytest.approx(lost, abs=1e-3)
    assert result.first.loss.low < lost < result.first.loss.high
    assert resumed.first.loss == result.first.loss
    assert not result.passed
    assert verdict(result).startswith("FAILED: 6.00 points of likeness lost, tolerance 5; 0.00 % of pixels agree")
    text = html(result)
    assert "FAILED" in text
    assert "Likeness" in text
    assert "Confusion" not in text
    assert json.loads(json.dumps(result.to_dict()))["task"] == "matting"


def test_it_is_judged_for_budgets_as_validation_has_it(page: dict[str, Any], tmp_path: Path) -> None:
    with predictor(page, tmp_path, ["matte"]) as reference:
        judge = GraphJudge(Bright(), (0, 1), reference, threads=1)
        unlabelled = GraphJudge(Bright(labelled=False), (0, 1), reference, threads=1)
    score = judge(graph(["matte"], 300))
    assert score.loss == pytest.approx(6.0, abs=1e-3)
    assert score.drop == score.loss
    assert score.unit == "points of likeness"
    agreed = unlabelled(graph(["matte"], 300))
    assert agreed.loss is None
    assert agreed.drop == pytest.approx(6.0, abs=1e-3)
    assert judge(graph(["matte"])).drop == pytest.approx(0.0, abs=1e-3)


def test_it_is_drawn_and_recorded(page: dict[str, Any], tmp_path: Path) -> None:
    frames = [np.full((40, 60, 3), grey, np.uint8) for grey in (0, 51)]
    drawn: list[np.ndarray] = []
    source = ArraySource(iter(frames), (40, 60), 25.0, 2, "grey")
    with (
        predictor(page, tmp_path, ["matte"]) as matting,
        AnswerRecorder(tmp_path / "answers") as files,
        JsonlRecorder(tmp_path / "lines.jsonl") as lines,
    ):
        run_demo(source, matting, [], observers=[files, lines, lambda frame: drawn.append(frame.drawn.copy())])
    assert drawn[0].max() == 0
    assert drawn[1].mean() == pytest.approx(51 + 0.2 * 0.55 * (255 - 51), abs=1)
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["frame-000000.png", "frame-000001.png"]
    assert [json.loads(line)["person"] for line in (tmp_path / "lines.jsonl").read_text().splitlines()] == [0.0, 0.2]


def test_what_it_leaves_out_is_refused_by_name(page: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(cv2.imencode(".png", np.zeros((40, 60, 3), np.uint8))[1].tobytes())
    with (
        predictor(page, tmp_path, ["matte"]) as matting,
        pytest.raises(UsageError, match="matting"),
    ):
        parse_images([tmp_path / "grey.png"], matting, tmp_path / "parsed")
