from __future__ import annotations

import numpy as np

from trtparse.data.people.head import Skull, face_points
from trtparse.data.synthetic import SyntheticPeople, random_scene
from trtparse.tasks.pose.people import People
from trtparse.tasks.pose.rendered import rendered_people


def test_joints_lie_on_the_parts_that_they_are_named_after() -> None:
    """LIP's left arm is 14, the right one 15; legs, bare, are 16 and 17. Clothed joints say nothing."""
    counted = {14: 0, 15: 0}
    for number in range(5):
        rng = np.random.default_rng((2, number))
        scene = random_scene(rng)
        joints = dict(zip(rendered_people(1).skeleton.joints, scene.joints()))
        labels = scene.draw(rng)[1]
        for side, label in (("left", 14), ("right", 15)):
            x, y = np.rint(joints[f"{side}_wrist"]).astype(int)
            near = labels[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            if near.size and np.isin(near, (14, 15)).all():
                counted[label] += 1
                assert (near == label).all()
    assert min(counted.values()) >= 1


def test_the_face_s_left_is_the_person_s_and_its_nose_is_in_front() -> None:
    skeleton = random_scene(np.random.default_rng(1)).skeleton
    points = (face_points(Skull(skeleton)) - skeleton.head) @ skeleton.head_frame
    nose, left_eye, right_eye, left_ear, right_ear = points
    assert left_ear[0] > left_eye[0] > abs(nose[0]) > right_eye[0] > right_ear[0]
    assert nose[2] > max(left_eye[2], right_eye[2]) > max(left_ear[2], right_ear[2])
    assert min(left_eye[1], right_eye[1]) > nose[1] > 0


def test_joints_lie_in_the_box_and_the_box_in_the_image(drawn: People) -> None:
    for person in drawn.people:
        left, top, width, height = person.box
        seen = person.joints[person.joints[:, 2] > 0, :2]
        rows, columns = person.read().shape[:2]
        assert min(left, top) >= 0
        assert left + width <= columns + 1
        assert top + height <= rows + 1
        assert ((seen >= (left - 2, top - 2)) & (seen <= (left + width + 2, top + height + 2))).all()


def test_people_are_the_same_every_time_and_other_seeds_have_other_people() -> None:
    one, again, other = rendered_people(2, 3), rendered_people(2, 3), rendered_people(2, 4)
    assert np.array_equal(one.joints(), again.joints())
    assert not np.array_equal(one.joints(), other.joints())


def test_the_image_of_a_person_is_the_one_that_parsing_has() -> None:
    assert np.array_equal(rendered_people(2, 3)[1].read(), SyntheticPeople(2, 3)[1].image)
