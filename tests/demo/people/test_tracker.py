from __future__ import annotations

import numpy as np
import pytest

from trtparse.demo.people.tracker import PeopleTracker
from trtparse.tasks.people.boxes import Detections

STEP = 1 / 25
LOOK = 5 * STEP


def seen(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, float).reshape(-1, 4), np.full(len(boxes), score))


def walking(index: float, left: float = 100, speed: float = 4) -> tuple[float, float, float, float]:
    x = left + speed * index
    return (x, 50, x + 60, 230)


def test_two_who_walk_past_each_other_keep_their_ids() -> None:
    tracker = PeopleTracker(sure=0.5)
    for index in range(60):
        near = (100 + 5 * index, 100, 180 + 5 * index, 340)
        far = (380 - 5 * index, 60, 430 - 5 * index, 200)
        people = tracker.step(seen(near, far), index * STEP)
        assert [person.id for person in people] == [1, 2]
        for person, box in zip(people, (near, far)):
            assert np.abs(np.subtract(person.box, box)).max() < 12
    assert tracker.count == 2


def test_between_detections_people_go_on_as_they_went() -> None:
    tracker = PeopleTracker(sure=0.5)
    for index in range(80):
        people = tracker.step(seen(walking(index)) if index % 5 == 0 else None, index * STEP)
        assert [person.id for person in people] == [1]
        if index > 30:
            assert people[0].box[0] == pytest.approx(walking(index)[0], abs=4)


def test_a_box_is_steadier_than_its_detections() -> None:
    random, tracker = np.random.default_rng(0), PeopleTracker(sure=0.5)
    raw, smoothed = [], []
    for index in range(200):
        box = np.array((100, 50, 160, 230)) + random.normal(0, 6, 4)
        raw.append(box)
        smoothed.append(tracker.step(seen(tuple(box)), index * STEP)[0].box)
    shake = [np.abs(np.diff(np.array(boxes[20:]), axis=0)).mean() for boxes in (raw, smoothed)]
    assert shake[1] < 0.4 * shake[0]


def test_somebody_missed_once_stays_and_somebody_gone_goes() -> None:
    tracker = PeopleTracker(sure=0.5)
    for index in range(20):
        tracker.step(seen(walking(index)), index * STEP)
    assert [person.id for person in tracker.step(seen(), 20 * STEP)] == [1]
    assert [person.id for person in tracker.step(seen(walking(21)), 21 * STEP)] == [1]
    for index in range(22, 30):
        people = tracker.step(seen(), index * STEP)
    assert people == ()


def test_somebody_who_was_hidden_for_half_a_second_gets_their_id_back() -> None:
    tracker = PeopleTracker(sure=0.5)
    for index in range(20):
        tracker.step(seen(walking(index, speed=2)), index * STEP)
    for index in range(20, 32):
        people = tracker.step(seen(), index * STEP)
    assert people == ()
    assert [person.id for person in tracker.step(seen(walking(32, speed=2)), 32 * STEP)] == [1]
    tracker.step(seen(), 40.0)
    assert [person.id for person in tracker.step(seen(walking(32)), 40.04)] == [2]


def test_a_weak_detection_continues_somebody_and_begins_nobody() -> None:
    tracker = PeopleTracker(sure=0.5)
    assert tracker.step(seen(walking(0), score=0.3), 0.0) == ()
    tracker.step(seen(walking(1)), STEP)
    for index in range(2, 30):
        people = tracker.step(seen(walking(index), score=0.3), index * STEP)
        assert [(person.id, person.score) for person in people] == [(1, 0.3)]


def test_who_is_hardly_sure_is_shown_and_counted_after_five_looks_in_a_row() -> None:
    tracker = PeopleTracker(sure=0.28)
    for index in range(12):
        # A scaffold: sure now and again. A person far away: hardly sure, but each time.
        scores = [0.25 if index % 4 == 3 else 0.33, 0.33]
        people = tracker.step(
            Detections(np.array([(300, 50, 360, 230), walking(index)], float), np.array(scores)), index * STEP
        )
        assert [person.id for person in people] == ([1] if index >= 4 else [])
        assert tracker.count == len(people)
    assert people[0].box[0] == pytest.approx(walking(11)[0], abs=8)


def test_a_leg_of_somebody_is_nobody_but_a_child_before_somebody_is() -> None:
    somebody, leg, child = (100, 50, 180, 290), (110, 200, 140, 295), (120, 150, 170, 290)
    tracker = PeopleTracker(sure=0.28)
    for index in range(20):
        people = tracker.step(Detections(np.array([somebody, leg], float), np.array([0.7, 0.45])), index * STEP)
        assert [person.id for person in people] == [1]
    people = tracker.step(Detections(np.array([somebody, child], float), np.array([0.7, 0.6])), 20 * STEP)
    assert [person.id for person in people] == [1, 2]


def test_who_sets_off_between_two_looks_keeps_their_id_though_a_weak_box_is_nearer() -> None:
    tracker = PeopleTracker(sure=0.28)
    for index in range(10):
        tracker.step(seen((380, 0, 540, 370)), index * LOOK)
    off = Detections(np.array([(500, 20, 680, 390), (420, 40, 580, 270)], float), np.array([0.66, 0.11]))
    assert [person.id for person in tracker.step(off, 10 * LOOK)] == [1]
    people = tracker.step(seen((620, 20, 790, 390)), 11 * LOOK)
    assert [person.id for person in people] == [1]
    assert tracker.count == 1


def test_nobody_inherits_the_id_of_somebody_else() -> None:
    tracker = PeopleTracker(sure=0.5)
    ids: set[int] = set()
    for index in range(30):
        people = tracker.step(seen((300.0 * index, 0, 300.0 * index + 60, 180)), index * 2.0)
        new = {person.id for person in people if person.box[0] > 300 * index - 50}
        assert len(new) == 1
        assert not new & ids
        ids |= new
    assert tracker.count == 30


@pytest.mark.parametrize("step", [0.0, 1e-6, 10.0, 1e6])
def test_boxes_stay_finite_and_right_way_round_whatever_the_time_between_frames(step: float) -> None:
    tracker = PeopleTracker(sure=0.5)
    for index in range(8):
        shrinking = (100, 50, 100 + 64 / 2**index, 50 + 128 / 2**index)
        for person in tracker.step(seen(shrinking) if index % 2 == 0 else None, index * step):
            left, top, right, bottom = person.box
            assert np.isfinite(person.box).all()
            assert left < right
            assert top < bottom
