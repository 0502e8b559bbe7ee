from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from trtparse.data.crops import Window
from trtparse.demo.people.finder import PeopleFinder
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.crops import placements_of
from trtparse.tasks.people.detector import MOST_PEOPLE, open_detector
from trtparse.tasks.people.person import Person

FRAME = np.zeros((100, 200, 3), np.uint8)


class Script:
    """Finds what it is told to, one entry per look."""

    name, sure = "script", 0.5
    at_once = 1

    def __init__(self, *looks: list[tuple[float, float, float, float]]) -> None:
        self.looks = list(looks)
        self.frames: list[np.ndarray] = []
        self.calls: list[int] = []

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        self.calls.append(len(frames))
        return [self.look(frame) for frame in frames]

    def look(self, frame: np.ndarray) -> Detections:
        self.frames.append(frame)
        boxes = self.looks[min(len(self.frames), len(self.looks)) - 1]
        return Detections(np.array(boxes, float).reshape(-1, 4), np.full(len(boxes), 0.9))


def test_without_a_file_the_detector_is_the_one_that_comes_along() -> None:
    detector = open_detector(threads=1)
    assert detector.name == "the finder finder.int8-cpu.onnx"
    assert 0.1 < detector.sure < 0.5  # of the weights, as build --sure chose it; 0.5 is nobody's choice


@pytest.mark.parametrize("every", [1, 3, 5])
def test_the_detector_looks_at_each_kth_frame_and_people_are_there_in_all(every: int) -> None:
    script = Script([(10, 10, 40, 90)])
    finder = PeopleFinder(script, every=every)
    people = [finder.find([FRAME], [index / 25])[0] for index in range(16)]
    assert len(script.frames) == -(-16 // every)
    assert [[person.id for person in some] for some in people] == [[1]] * 16
    assert finder.count == 1


@pytest.mark.parametrize(
    ("rate", "looks"), [(25, [0, 5, 10, 15]), (12.5, [0, 5, 10, 15]), (10, [0, 5, 10, 15]), (3, list(range(0, 16, 2)))]
)
def test_where_few_frames_a_second_are_shown_it_looks_at_latest_after_the_seconds_it_is_given(
    rate: float, looks: list[int]
) -> None:
    script = Script([(10, 10, 40, 90)])
    finder = PeopleFinder(script, every=5, at_latest=0.55)
    seen = []
    for index in range(16):
        finder.find([FRAME], [index / rate])
        if sum(script.calls) > len(seen):
            seen.append(index)
    assert seen == looks


@pytest.mark.parametrize(("at_latest", "calls"), [(1.0, [1, 2, 1]), (0.05, [1, 3, 1])])
def test_frames_that_come_at_once_have_the_people_that_they_have_one_by_one(at_latest: float, calls: list[int]) -> None:
    looks = [[(10.0 + 3 * step, 10.0, 40.0 + 3 * step, 90.0)] for step in range(5)]
    seconds = [index / 25 for index in range(10)]
    alone, together = Script(*looks), Script(*looks)
    one_by_one = PeopleFinder(alone, every=3, at_latest=at_latest)
    expected = [one_by_one.find([FRAME], [second])[0] for second in seconds]
    finder = PeopleFinder(together, every=3, at_latest=at_latest)
    found = [finder.find([FRAME] * (end - start), seconds[start:end]) for start, end in ((0, 1), (1, 8), (8, 10))]
    assert [people for some in found for people in some] == expected
    assert together.calls == calls


@pytest.mark.parametrize(
    ("every", "batch", "frames"), [(1, 1, [1, 1]), (5, 1, [1, 1]), (1, 4, [4, 4]), (5, 4, [16, 20])]
)
def test_as_many_frames_are_taken_as_have_the_looks_of_one_pass(every: int, batch: int, frames: list[int]) -> None:
    script = Script([])
    script.at_once = batch
    finder = PeopleFinder(script, every=every)
    for pass_, next_frames in enumerate(frames, 1):
        assert finder.at_once == next_frames <= finder.most_at_once
        finder.find([FRAME] * next_frames, [0.0] * next_frames)
        assert script.calls == ([batch] * pass_ if batch > 1 or every == 1 else [1] + [0] * (pass_ - 1))


@pytest.mark.parametrize("frames_before", range(9))
def test_wherever_the_frames_stand_as_many_are_taken_as_fill_a_pass(frames_before: int) -> None:
    script = Script([])
    script.at_once = 2
    finder = PeopleFinder(script, every=3)
    finder.find([FRAME] * frames_before, [0.0] * frames_before)
    most = finder.at_once
    script.calls.clear()
    finder.find([FRAME] * most, [0.0] * most)
    assert script.calls == [2]


def test_boxes_end_with_the_frame_and_who_is_outside_is_not_there() -> None:
    finder = PeopleFinder(Script([(-20, -30, 30, 150), (150, 20, 260, 70), (199.5, 10, 260, 70)]))
    (people,) = finder.find([FRAME], [0.0])
    assert [person.box for person in people] == [
        pytest.approx((0, 0, 30, 100)),
        pytest.approx((150, 20, 200, 70)),
    ]


def test_photographs_have_nothing_to_do_with_each_other() -> None:
    finder = PeopleFinder(Script([(10, 10, 40, 90), (60, 10, 90, 90)], [], [(12, 10, 42, 90)]), every=4, track=False)
    numbered = [[person.id for person in finder.find([FRAME], [float(index)])[0]] for index in range(3)]
    assert numbered == [[1, 2], [], [1]]
    assert finder.count == 3


def test_looking_in_no_frame_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="every 0th frame"):
        PeopleFinder(Script([]), every=0)


FRAMING = Framing((48, 32), 1.5)


def person(*box: float) -> Person:
    return Person(1, (box[0], box[1], box[2], box[3]), 0.9)


def sizes(*people: Person) -> list[tuple[int, int]]:
    found = placements_of(people, (120, 100), FRAMING)
    return [window.size for window in found if isinstance(window, Window)]


def test_who_fills_the_frame_is_parsed_with_all_of_it_and_one_of_two_is_not() -> None:
    large, small = person(10, 4, 90, 118), person(60, 30, 90, 90)
    assert sizes(large) == [(120, 100)]
    assert (120, 100) not in sizes(small)
    assert len(sizes(large, small)) == 2
    assert (120, 100) not in sizes(large, small)
    assert sizes() == []


def test_a_detectors_box_that_is_no_number_is_nobody() -> None:
    broken = Script([(10, 10, 40, 90), (float("nan"), 10, 40, 90), (60, 10, float("inf"), 90)])
    assert [person.id for person in PeopleFinder(broken).find([FRAME], [0.0])[0]] == [1]


def test_a_box_without_an_area_in_the_picture_is_nobody_at_any_look() -> None:
    odd = Script([(10, 10, 40, 90), (60, 10, 60, 90), (90, 80, 80, 10), (199, 10, 260, 70), (300, 10, 340, 90)])
    finder = PeopleFinder(odd)
    found = [finder.find([FRAME], [index / 25])[0] for index in range(6)]
    assert [[person.id for person in people] for people in found] == [[1]] * 6
    assert finder.count == 1


def test_of_a_crowd_no_more_are_followed_than_are_parsed_and_that_is_counted() -> None:
    crowd = Script([(5.0 * number, 10, 5.0 * number + 4, 90) for number in range(MOST_PEOPLE + 5)])
    finder = PeopleFinder(crowd)
    assert len(finder.find([np.zeros((100, 300, 3), np.uint8)], [0.0])[0]) <= MOST_PEOPLE
    assert finder.crowded == 1
