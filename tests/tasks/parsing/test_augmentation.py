from __future__ import annotations

import numpy as np

from trtparse.data.dataset import IGNORE_LABEL, Sample
from trtparse.data.letterbox import Letterbox
from trtparse.tasks.parsing.augmentation import Augmentation, Geometry
from trtparse.tests.predicting import LIP

FLIPPED = LIP.flip_table()

STILL = Augmentation(
    scale=(1, 1),
    rotation=0,
    shift=0,
    aspect=1,
    flip=0,
    brightness=0,
    contrast=0,
    saturation=0,
    tint=0,
    grey=0,
    soften=0,
    noise=0,
    erase=0,
)


def half_and_half(height: int = 80, width: int = 60) -> Sample:
    """The left half is bright and a left arm, the right half dark and a right arm."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = 200
    labels = np.full((height, width), 15, np.uint8)
    labels[:, : width // 2] = 14
    return Sample("a", image, labels)


def test_without_jitter_a_sample_is_what_the_letterbox_gives() -> None:
    rng = np.random.default_rng(1)
    image = np.repeat(np.repeat(rng.integers(0, 255, (8, 6, 3), np.uint8), 10, 0), 10, 1)
    sample = Sample("a", image, np.full((80, 60), 5, np.uint8))
    frame, labels = STILL(sample, Geometry((160, 120)), rng, FLIPPED)
    expected = Letterbox.fit((80, 60), (160, 120), 1.0).apply(image)
    assert np.abs(frame.astype(int)[2:-2, 2:-2] - expected[2:-2, 2:-2]).mean() < 1.5
    assert (labels == 5).all()


def test_a_narrower_sample_is_the_middle_of_what_an_engine_sees_stretched() -> None:
    rng = np.random.default_rng(1)
    image = np.repeat(np.repeat(rng.integers(0, 255, (8, 3, 3), np.uint8), 10, 0), 10, 1)
    sample = Sample("a", image, np.full((80, 30), 5, np.uint8))
    frame, labels = STILL(sample, Geometry((160, 120), 1.5, (160, 80)), rng, FLIPPED)
    box = Letterbox.fit((80, 30), (160, 120), 1.5)
    assert (box.height, box.width) == (160, 90)
    expected = box.apply(image)[:, 20:100]
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int)[2:-2] - expected[2:-2]).mean() < 1.5
    assert (labels == 5).all()


def test_a_mirrored_sample_swaps_left_and_right_together_with_the_picture() -> None:
    mirror = Augmentation(**{**vars(STILL), "flip": 1.0})
    frame, labels = mirror(half_and_half(), Geometry((80, 60)), np.random.default_rng(0), FLIPPED)
    assert frame[:, :28].max() == 0
    assert frame[:, 32:].min() == 200
    # The bright side was the left arm; in the mirror it is the right arm.
    assert (labels[:, 32:] == 15).all()
    assert (labels[:, :28] == 14).all()


def test_picture_and_labels_move_together() -> None:
    wild = Augmentation(**{**vars(STILL), "scale": (0.5, 2.0), "rotation": 40, "shift": 0.3, "flip": 0.5})
    for seed in range(10):
        frame, labels = wild(half_and_half(), Geometry((96, 96)), np.random.default_rng(seed), FLIPPED)
        grey = frame[..., 0]
        inside = labels != IGNORE_LABEL
        bright = grey > 150
        side = labels[bright & inside]
        assert len(side) == 0 or (side == np.bincount(side).argmax()).mean() > 0.97
        assert grey[~inside].max(initial=0) <= 200


def test_the_same_seed_gives_the_same_sample() -> None:
    first = Augmentation()(half_and_half(), Geometry((64, 64)), np.random.default_rng(5), FLIPPED)
    second = Augmentation()(half_and_half(), Geometry((64, 64)), np.random.default_rng(5), FLIPPED)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


def test_a_sample_without_labels_is_ignored_everywhere() -> None:
    _, labels = Augmentation()(
        Sample("a", half_and_half().image, None), Geometry((64, 64)), np.random.default_rng(0), FLIPPED
    )
    assert (labels == IGNORE_LABEL).all()
