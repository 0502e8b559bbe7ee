from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from trtparse.errors import UsageError
from trtparse.tasks.people.detector import open_detector
from trtparse.tasks.people.onnx_detector import OnnxDetector

SIZE = (64, 96)  # of the detectors' inputs
CELLS = 8 * 12 + 4 * 6 + 2 * 3
FRAME = (128, 160)  # scaled by 0.5 into the input
IMAGES = ("images", TensorProto.FLOAT, (1, 3, *SIZE))
BOX = (40.0, 24.0, 72.0, 104.0)  # in the frame


def frame() -> np.ndarray:
    return np.zeros((*FRAME, 3), np.uint8)


def yolox_rows(decoded: bool, classes: int = 80) -> np.ndarray:
    """What YOLOX says of a person in BOX, of a car beside, and of the same person a little less surely."""
    rows = np.zeros((1, CELLS, 5 + classes), np.float32)
    number = 0
    grid = []
    for side in (8, 16, 32):
        for row in range(SIZE[0] // side):
            for column in range(SIZE[1] // side):
                centre = np.array([column + 0.5, row + 0.5]) * side
                rows[0, number, :4] = (*centre, side, side) if decoded else (0.5, 0.5, 0, 0)
                grid.append((column, row, side))
                number += 1
    at = grid.index((1, 2, 16))
    for place, objectness, kind, shift in ((at, 0.9, 0, 0.0), (at + 1, 0.8, 0, 1.0), (at - 6, 0.95, 2, 20.0)):
        column, row, side = grid[place]
        left, top, right, bottom = (value / 2 + shift for value in BOX)
        centre, size = np.array([left + right, top + bottom]) / 2, np.array([right - left, bottom - top])
        if not decoded:
            centre, size = centre / side - (column, row), np.log(size / side)
        rows[0, place, :4] = (*centre, *size)
        rows[0, place, 4] = objectness
        rows[0, place, 5 + kind] = 1.0
    return rows


@pytest.mark.parametrize("decoded", [False, True])
def test_a_yolox_finds_a_person_once_and_no_car(make_constant_graph: Any, decoded: bool) -> None:
    detector = open_detector(make_constant_graph({"output": yolox_rows(decoded)}, [IMAGES]), threads=1)
    found = detector.detect([frame()])[0]
    assert found.boxes == pytest.approx(np.array([BOX]), abs=1e-3)
    assert found.scores == pytest.approx([0.9])


def test_a_yolox_of_people_alone_is_known_by_its_one_class(make_constant_graph: Any) -> None:
    rows = yolox_rows(False, classes=3)[..., :6]
    detector = OnnxDetector(make_constant_graph({"dets": rows}, [IMAGES]), threads=1)
    assert (detector.form, len(detector.detect([frame()])[0])) == ("yolox", 1)


def test_an_rt_detr_of_its_authors_gives_boxes_of_the_frame(make_constant_graph: Any) -> None:
    outputs = {
        "labels": np.array([[0, 2, 0, 0]], np.int64),
        "boxes": np.array([[BOX, BOX, (1, 2, 30, 50), (100, 0, 500, 60)]], np.float32),
        "scores": np.array([[0.8, 0.9, 0.05, 0.6]], np.float32),
    }
    inputs = [IMAGES, ("orig_target_sizes", TensorProto.INT64, (1, 2))]
    found = OnnxDetector(make_constant_graph(outputs, inputs), threads=1).detect([frame()])[0]
    assert found.boxes == pytest.approx(np.array([BOX, (100, 0, 160, 60)]))  # the last one ends with the frame
    assert found.scores == pytest.approx([0.8, 0.6])


def test_an_rt_detr_of_hugging_face_gives_shares_of_the_picture(make_constant_graph: Any) -> None:
    logits = np.full((1, 3, 80), -9.0, np.float32)
    logits[0, 0, 0], logits[0, 1, 7] = 2.0, 4.0
    left, top, right, bottom = np.array(BOX) / (FRAME[1], FRAME[0], FRAME[1], FRAME[0])
    box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    outputs = {"logits": logits, "pred_boxes": np.array([[box, box, box]], np.float32)}
    graph = make_constant_graph(outputs, [("pixel_values", TensorProto.FLOAT, (1, 3, "height", "width"))])
    detector = OnnxDetector(graph, threads=1)
    found = detector.detect([frame()])[0]
    assert found.boxes == pytest.approx(np.array([BOX]), abs=1e-3)
    assert found.scores == pytest.approx([1 / (1 + np.exp(-2.0))])


@pytest.mark.parametrize(("form", "order", "ratio"), [("yolox", (0, 1, 2), 1.0), ("rt-detr", (2, 1, 0), 1 / 255)])
def test_the_picture_arrives_as_each_form_was_trained_on(
    make_constant_graph: Any, form: str, order: tuple[int, ...], ratio: float
) -> None:
    answers = (
        {"output": yolox_rows(False)}
        if form == "yolox"
        else {"logits": np.zeros((1, 1, 80), np.float32), "pred_boxes": np.zeros((1, 1, 4), np.float32)}
    )
    detector = OnnxDetector(make_constant_graph(answers, [IMAGES]), threads=1)
    seen = []
    run = detector._session.run

    class Spy:
        def run(self, names: list[str], fed: dict[str, np.ndarray]) -> Any:
            seen.append(fed["images"])
            return run(names, fed)

    detector._session = Spy()
    picture = np.full((*FRAME, 3), (10, 20, 30), np.uint8)
    detector.detect([picture])
    assert (seen[0].shape, seen[0].dtype) == ((1, 3, *SIZE), np.float32)
    corner = np.array([10, 20, 30], np.float32)[list(order)] * np.float32(ratio)
    assert seen[0][0, :, 0, 0] == pytest.approx(corner)
    if form == "yolox":
        assert (seen[0][0, :, :, 85:] == 114).all()  # right of the picture, which keeps its shape
    else:
        assert seen[0][0, :, -1, -1] == pytest.approx(corner)


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [
        ({"output": np.zeros((1, 17, 85), np.float32)}, [IMAGES]),
        ({"output": np.zeros((1, CELLS, 5), np.float32)}, [IMAGES]),
        ({"one": np.zeros((1, 10), np.float32), "two": np.zeros((1, 10), np.float32)}, [IMAGES]),
        ({"output": yolox_rows(False)}, [("tokens", TensorProto.INT64, (1, 77))]),
        ({"output": yolox_rows(False)}, [("images", TensorProto.FLOAT, (1, *SIZE, 3))]),
    ],
)
def test_a_detector_of_another_form_is_refused_with_what_it_is(
    make_constant_graph: Any, outputs: dict[str, np.ndarray], inputs: Any
) -> None:
    path = make_constant_graph(outputs, inputs)
    with pytest.raises(UsageError, match="is a detector of no known form") as error:
        open_detector(path, threads=1)
    assert next(iter(outputs)) in error.value.message
    assert inputs[0][0] in error.value.message
    assert "YOLOX" in error.value.hint


def test_a_detector_of_two_pictures_at_once_is_refused_with_what_it_is(make_constant_graph: Any) -> None:
    path = make_constant_graph({"output": yolox_rows(False)}, [("images", TensorProto.FLOAT, (2, 3, *SIZE))])
    with pytest.raises(UsageError, match=r"is a detector of no known form.*images \[2, 3"):
        open_detector(path, threads=1)


def test_a_file_that_is_missing_or_no_graph_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"There is no detector {tmp_path / 'no.onnx'}")):
        open_detector(tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UsageError, match="cannot load"):
        open_detector(tmp_path / "text.onnx")


def test_answers_that_are_no_numbers_are_nobody(make_constant_graph: Any) -> None:
    rows = yolox_rows(False)
    rows[0, :, 2] = 1e9  # a size beyond all bounds
    rows[0, 3, :2] = np.nan
    rows[0, 3, 4:6] = 1.0
    found = OnnxDetector(make_constant_graph({"output": rows}, [IMAGES]), threads=1).detect([frame()])[0]
    assert np.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [160, 128, 160, 128]).all()
