from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtparse.data.crops import RULES
from trtparse.distillation.pose.loader import Album
from trtparse.specs.skeleton import Skeleton
from trtparse.tasks.parsing.augmentation import Augmentation
from trtparse.tasks.pose.augmentation import PoseAugmentation, half_body
from trtparse.tasks.pose.examples import Example, labelled_examples
from trtparse.tasks.pose.people import People, Person

PLAIN = Augmentation(brightness=0, contrast=0, saturation=0, tint=0, grey=0, soften=0, noise=0, erase=0)
SIZE, RULE = (128, 96), RULES["trtparse"]


@pytest.fixture
def example(stick: Skeleton) -> Example:
    """Joints that are marked in the image: white head, blue left hand, red right hand."""
    image = np.zeros((100, 80, 3), np.uint8)
    joints = np.array([[40, 20, 2], [60, 50, 2], [20, 60, 2]], np.float32)
    for (x, y, _), colour in zip(joints, ((255, 255, 255), (255, 0, 0), (0, 0, 255))):
        image[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = colour
    person = Person(Path("p"), 1, 1, (10, 10, 60, 60), joints, np.ones(3, np.float32), draw=lambda: image)
    return labelled_examples(People("", stick, (person,)), stick, Album().reader)[0]


@pytest.mark.parametrize(("flip", "blue", "red"), [(0.0, 1, 2), (1.0, 2, 1)])
def test_joints_go_where_their_pixels_go_and_in_a_mirror_the_other_hand_is_the_left_one(
    example: Example, stick: Skeleton, flip: float, blue: int, red: int
) -> None:
    augment = PoseAugmentation(scale=(0.8, 1.2), any_way_up=0.5, flip=flip, colours=PLAIN)
    for seed in range(8):
        sample = augment(example, stick, SIZE, RULE, np.random.default_rng(seed))
        for joint, channel in ((blue, 0), (red, 2)):
            coloured = (sample.frame[..., 1] < 60) & (sample.frame[..., channel] > 120)
            rows, columns = np.nonzero(coloured)
            assert (columns.mean(), rows.mean()) == pytest.approx(sample.places[joint, 0], abs=0.7)


def test_without_any_change_a_sample_is_what_inference_sees(example: Example, stick: Skeleton) -> None:
    still = PoseAugmentation(scale=(1, 1), rotated=0, shift=0, flip=0, colours=PLAIN)
    one, other = (still(example, stick, SIZE, RULE, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.array_equal(one.frame, other.frame)
    assert np.array_equal(one.places, other.places)


def test_half_a_body_is_the_joints_above_or_below_the_waist(drawn: People) -> None:
    skeleton = drawn.skeleton
    whole = labelled_examples(drawn, skeleton, Album().reader)[0]
    whole = replace(whole, weights=np.ones(17, np.float32), places=np.zeros((17, 2, 2), np.float32))
    whole.masses[:, 0] = 1
    whole.places[:11, 0] = [[x, 10] for x in range(11)]
    whole.places[11:, 0] = [[x, 90] for x in range(6)]
    boxes = {half_body(whole, skeleton, np.random.default_rng(seed), 8)[1] for seed in range(9)}
    assert boxes == {6.0, 86.0}
    assert half_body(whole, skeleton, np.random.default_rng(0), 17) is None
