from __future__ import annotations

import json

import numpy as np
import pytest

from trtparse.data.crops import RULES, Crop
from trtparse.specs.skeleton import Skeleton
from trtparse.tasks.drawing import Seen
from trtparse.tasks.people.person import Person
from trtparse.tasks.pose.drawer import PoseDrawer

SIZE = (120, 160)
JOINTS = np.array([[48, 20, 1], [20, 100, 1], [80, 100, 1]], np.float32)


@pytest.fixture
def frame() -> np.ndarray:
    return np.zeros((*SIZE, 3), np.uint8)


def crop(left: float) -> Crop:
    return Crop(SIZE, (128, 96), (left, 10.0, 60.0, 100.0), RULES["trtparse"])


def seen(seconds: float = 0.0, moved: float = 0.0) -> Seen[np.ndarray]:
    people = (Person(7, (10, 10, 70, 110), 0.9), Person(9, (80, 10, 140, 110), 0.8))
    answers = tuple(JOINTS + np.array([moved, 0, 0], np.float32) for _ in people)
    return Seen(seconds, (crop(10), crop(80)), answers, people)


def test_everybody_has_a_skeleton_where_they_are(frame: np.ndarray, stick: Skeleton) -> None:
    drawer = PoseDrawer(stick, SIZE)
    sight = drawer.look(frame, seen())
    assert list(sight.poses) == [7, 9]
    for number, left in ((7, 10), (9, 80)):
        np.testing.assert_allclose(crop(left).to_frame(sight.poses[number][:, :2]), JOINTS[:, :2], atol=1e-3)
    drawer.draw(frame, sight, people=seen().people or ())
    for pose in sight.poses.values():
        x, y = pose[0, :2].round().astype(int)
        assert frame[y, x].any()
    told = json.loads(sight.file())
    assert [person["id"] for person in told["poses"]] == [7, 9]
    assert set(told["poses"][0]["keypoints"]) == set(stick.joints)
    assert sight.shares() == {0: 1.0, 1: 1.0, 2: 1.0}
    assert drawer.flicker is None


def test_a_whole_frame_is_one_person_and_nobody_is_nobody(frame: np.ndarray, stick: Skeleton) -> None:
    drawer = PoseDrawer(stick, SIZE)
    assert list(drawer.look(frame, Seen(0.0, (crop(10),), (JOINTS,))).poses) == [1]
    nobody = drawer.look(frame, Seen(0.0, (), (), ()))
    drawer.draw(frame, nobody, hud="30 FPS")
    assert nobody.shares() == {}
    assert json.loads(nobody.file()) == {"poses": []}
    assert frame[:20, 80:].any()


def test_parts_and_opacity_are_chosen(frame: np.ndarray, stick: Skeleton) -> None:
    drawer = PoseDrawer(stick, SIZE)
    sight = drawer.look(frame, seen())
    drawer.draw(frame, sight, opacity=0.0)
    assert not frame.any()
    drawer.draw(frame, sight, parts=frozenset({1}))
    head = sight.poses[7][0, :2].round().astype(int)
    hand = sight.poses[7][1, :2].round().astype(int)
    assert frame[hand[1], hand[0]].any()
    assert not frame[head[1], head[0]].any()
    faint = np.zeros_like(frame)
    drawer.draw(faint, sight, opacity=0.2)
    assert 0 < faint.max() < 255


def test_smoothing_holds_joints_and_says_how_far_they_moved(frame: np.ndarray, stick: Skeleton) -> None:
    drawer = PoseDrawer(stick, SIZE, smooth=True)
    for number in range(12):
        drawer.look(frame, seen(number / 25, moved=2.0 * (number % 2)))
    flicker = drawer.flicker
    assert flicker is not None
    assert 0 < flicker.after < 0.7 * flicker.before
