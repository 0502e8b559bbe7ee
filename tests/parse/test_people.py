"""People are found in photographs first, and parsed on crops of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.data.images import read_label_map
from trtparse.errors import DataError, UsageError
from trtparse.parse.images import parse_images
from trtparse.parse.parser import ParseSpec
from trtparse.parse.provenance import MadeBy
from trtparse.specs.framing import Framing
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.detector import MOST_PEOPLE
from trtparse.tasks.people.given import GivenBoxes
from trtparse.tasks.people.task import People
from trtparse.tasks.predictor import Predictor
from trtparse.tests.predicting import predicting

NETWORK = MadeBy("ab" * 32, "fake", "fp32", (48, 32))


class Bright:
    """Finds each run of bright columns."""

    name, sure, at_once = "bright", 0.5, 1

    def __init__(self, *others: tuple[float, float, float, float]) -> None:
        self._others = others

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self.look(frame) for frame in frames]

    def look(self, frame: np.ndarray) -> Detections:
        bright = np.concatenate([[0], (frame.max((0, 2)) > 100).astype(int), [0]])
        starts, ends = np.flatnonzero(np.diff(bright) == 1), np.flatnonzero(np.diff(bright) == -1)
        boxes = [(left, 10, right, frame.shape[0] - 10) for left, right in zip(starts, ends)]
        found = np.array([*boxes, *self._others], np.float64).reshape(-1, 4)
        return Detections(found, np.full(len(found), 0.9))

    def close(self) -> None:
        pass


def photograph(path: Path, *lefts: int, size: tuple[int, int] = (96, 200)) -> Path:
    image = np.full((*size, 3), 20, np.uint8)
    for left in lefts:
        image[12:-12, left : left + 16] = 200
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path


@pytest.mark.parametrize("batch", [None, 1, 2, 3])
def test_everybody_is_parsed_and_put_back_and_who_is_nowhere_is_told(
    tmp_path: Path, make_engine: Any, batch: int | None
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photograph(folder / "a.png", 20, 90, 150)
    photograph(folder / "b.png")
    photograph(folder / "c.png", 60)
    with make_engine(batch) as engine:
        result = parse_images([folder], predicting(engine), tmp_path / "out", detector=Bright())
    assert (result.people, result.without_people, result.crowded) == (4, 1, 0)
    assert [len(item.image.name) for item in result.parsed] == [5, 5, 5]
    maps = {name: read_label_map(tmp_path / "out" / f"{name}.png") for name in "abc"}
    assert not maps["b"].any()
    for name, lefts in (("a", (20, 90, 150)), ("c", (60,))):
        middles = [bool(maps[name][48, left + 8]) for left in lefts]
        assert all(middles)
        assert not maps[name][:, 0:10].any()


def test_what_is_there_of_whole_photographs_is_not_taken_for_what_people_were_found_in(
    tmp_path: Path, make_engine: Any
) -> None:
    photo = photograph(tmp_path / "a.png", 20)
    found = MadeBy(NETWORK.graph, "fake", "fp32", (48, 32), people="cd" * 32)
    with make_engine(1) as engine:
        parse_images([photo], predicting(engine), tmp_path / "out", made_by=found, detector=Bright())
        again = parse_images([photo], predicting(engine), tmp_path / "out", made_by=found, detector=Bright())
        assert (again.found, again.people) == (1, None)
        with pytest.raises(UsageError, match="with people found first, and now it is one person each"):
            parse_images([photo], predicting(engine), tmp_path / "out", made_by=NETWORK)


def test_of_a_crowd_so_many_are_parsed_and_a_box_that_is_no_number_is_nobody(tmp_path: Path, make_engine: Any) -> None:
    photo = photograph(tmp_path / "a.png", 20, size=(64, 400))
    crowd = [(9.0 * number, 10.0, 9.0 * number + 8, 60.0) for number in range(MOST_PEOPLE + 3)]
    broken = (float("nan"), 10.0, 30.0, 60.0)
    with make_engine(1) as engine:
        many = parse_images([photo], predicting(engine), tmp_path / "many", detector=Bright(*crowd))
        one = parse_images([photo], predicting(engine), tmp_path / "one", detector=Bright(broken))
    assert (many.people, many.crowded) == (MOST_PEOPLE, 1)
    assert (one.people, one.crowded) == (1, 0)


def given(**boxes: list[tuple[float, float, float, float]]) -> GivenBoxes:
    """Boxes in ``NAME.png``; a detector would not have been sure of any."""
    found = {
        f"{name}.png": Detections(np.array(here, np.float64).reshape(-1, 4), np.full(len(here), 0.01))
        for name, here in boxes.items()
    }
    return GivenBoxes(Path("b.json"), Path("b.json"), found)


def test_given_boxes_are_the_people_all_of_them(tmp_path: Path, make_engine: Any) -> None:
    for name in "ab":
        photograph(tmp_path / f"{name}.png", 20, 150)
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    boxes = given(a=[(20, 10, 36, 86)] * (MOST_PEOPLE + 2), b=[])
    made_by = replace(NETWORK, people=boxes.digest)
    with make_engine(2) as engine:
        result = parse_images(photos, predicting(engine), tmp_path / "out", made_by=made_by, boxes=boxes)
        assert (result.people, result.without_people, result.crowded) == (MOST_PEOPLE + 2, 1, 0)
        labels = read_label_map(tmp_path / "out/a.png")
        assert (bool(labels[48, 28]), bool(labels[48, 158])) == (True, False)
        assert not read_label_map(tmp_path / "out/b.png").any()
        again = parse_images(photos, predicting(engine), tmp_path / "out", made_by=made_by, boxes=boxes)
        assert again.found == 2
        others = given(a=[(150, 10, 166, 86)], b=[])
        made_by = replace(NETWORK, people=others.digest)
        with pytest.raises(UsageError, match="with another detector, or in other boxes"):
            parse_images(photos, predicting(engine), tmp_path / "out", made_by=made_by, boxes=others)


def test_boxes_of_other_photographs_are_told_before_anything_is_made(tmp_path: Path, make_engine: Any) -> None:
    photo = photograph(tmp_path / "a.png", 20)
    with make_engine(1) as engine:
        with pytest.raises(DataError, match=r"b\.json says nothing of 1 of the 1 photographs, as a\.png"):
            parse_images([photo], predicting(engine), tmp_path / "out", boxes=given(b=[]))
        assert not any((tmp_path / "out").glob("*"))
        other = photograph(tmp_path / "b.png", 20)
        boxes = given(a=[(900, 10, 960, 90)], b=[(20, 10, 36, 86)])
        result = parse_images([photo, other], predicting(engine), tmp_path / "out", boxes=boxes)
        assert [item.image for item in result.parsed] == [other]
        assert "somebody at 900, 10, 960, 90" in result.skipped[0][1]
        with pytest.raises(DataError, match="somebody at 900, 10, 960, 90"):
            parse_images([photo], predicting(engine), tmp_path / "out", ParseSpec(strict=True), boxes=boxes)


@pytest.mark.parametrize(
    "box", [(-30.0, -20.0, 8.0, 120.0), (100.0, 30.0, 112.0, 42.0), (195.0, 10.0, 400.0, 90.0), (0.0, 0.0, 200.0, 96.0)]
)
def test_whoever_is_cut_by_the_edge_or_of_12_pixels_or_fills_it_is_parsed(
    tmp_path: Path, make_engine: Any, box: tuple[float, float, float, float]
) -> None:
    photo = photograph(tmp_path / "a.png")
    with make_engine(1) as engine:
        result = parse_images([photo], predicting(engine), tmp_path / "out", detector=Bright(box))
        same = parse_images([photo], predicting(engine), tmp_path / "same", boxes=given(a=[box]))
    assert result.people == same.people == 1
    assert read_label_map(tmp_path / "out" / "a.png").shape == (96, 200)


@pytest.mark.parametrize("box", [(199.5, 95.5, 199.9, 95.9), (-50.0, 10.0, 0.4, 90.0), (60.0, 30.0, 60.5, 31.0)])
def test_a_given_box_of_less_than_a_pixel_is_somebody(
    tmp_path: Path, make_engine: Any, box: tuple[float, float, float, float]
) -> None:
    photo = photograph(tmp_path / "a.png")
    with make_engine(1) as engine:
        result = parse_images([photo], predicting(engine), tmp_path / "out", boxes=given(a=[box]))
    assert (result.people, result.skipped_images) == (1, 0)


def test_a_task_whose_answer_is_about_one_person_says_so(tmp_path: Path, make_engine: Any) -> None:
    photo = photograph(tmp_path / "a.png", 20)
    with make_engine(1) as engine:
        predictor = Predictor(engine, People(), Framing(engine.input_size))
        predictor.task.__dict__["unpack"] = lambda arrays: list(arrays[0])
        with pytest.raises(UsageError, match="about one person, and --people auto finds several"):
            parse_images([photo], predictor, tmp_path / "out", ParseSpec(overlay=False), detector=Bright())
