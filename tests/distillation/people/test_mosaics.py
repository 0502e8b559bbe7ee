from __future__ import annotations

import numpy as np
import pytest

from trtparse.distillation.people.mosaics import Mosaics, Seen, _cut, _hidden, _rotated, _scaled, _split, empty_part
from trtparse.tasks.parsing.augmentation import Augmentation

SIZE = (96, 160)
PLAIN = Augmentation(brightness=0, contrast=0, saturation=0, tint=0, grey=0, soften=0, noise=0, erase=0)


def somebody(rng: np.random.Generator) -> Seen:
    """A white rectangle on grey, in an image of any shape."""
    height, width = (int(value) for value in rng.integers(60, 200, 2))
    image = np.full((height, width, 3), 60, np.uint8)
    box = np.array([[width * 0.3, height * 0.2, width * 0.7, height * 0.9]]).round()
    left, top, right, bottom = box[0].astype(int)
    image[top:bottom, left:right] = 255
    return Seen(image, box, np.ones(1))


def nobody(rng: np.random.Generator) -> Seen:
    return Seen(np.full((80, 120, 3), 60, np.uint8), np.zeros((0, 4)), np.zeros(0))


def test_boxes_lie_on_the_people() -> None:
    make = Mosaics(rotation=0, colours=PLAIN)
    people, white, inside = 0, 0.0, 0.0
    for number in range(60):
        scene = make(SIZE, somebody, nobody, np.random.default_rng(number))
        assert scene.frame.shape == (*SIZE, 3)
        bright = scene.frame[..., 0] > 200
        covered = np.zeros(SIZE, bool)
        for left, top, right, bottom in np.concatenate([scene.boxes, scene.doubtful]).round().astype(int):
            covered[top:bottom, left:right] = True
        white += bright.sum()
        inside += (bright & covered).sum()
        people += len(scene.boxes)
    assert people > 100
    assert inside / white > 0.97


def test_a_scene_depends_on_its_random_numbers_alone() -> None:
    one, other = (Mosaics()(SIZE, somebody, nobody, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one.frame, other.frame)
    assert np.array_equal(one.boxes, other.boxes)


def test_people_of_all_sizes_are_shown() -> None:
    scenes = [Mosaics()((192, 320), somebody, nobody, np.random.default_rng(number)) for number in range(80)]
    heights = np.concatenate([scene.boxes[:, 3] - scene.boxes[:, 1] for scene in scenes])
    assert np.percentile(heights, 2) < 0.08 * 192
    assert np.percentile(heights, 90) > 0.6 * 192
    assert any(not len(scene.boxes) for scene in scenes)


def test_cells_fill_the_scene_without_overlap() -> None:
    cells = _split(SIZE, 6, np.random.default_rng(1))
    painted = np.zeros(SIZE, int)
    for left, top, right, bottom in cells:
        painted[top:bottom, left:right] += 1
    assert len(cells) == 6
    assert (painted == 1).all()


def test_a_scaled_part_is_where_it_should_be() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 100:140] = 255
    for scale in (0.3, 0.5, 0.8, 1.7):
        shown = _scaled(image, scale, (10.0, 5.0), (0, 0, 300, 300))
        rows, columns = np.nonzero(shown[..., 0] > 127)
        assert (rows.min(), rows.max() + 1) == pytest.approx((80 * scale + 5, 120 * scale + 5), abs=1)
        assert (columns.min(), columns.max() + 1) == pytest.approx((100 * scale + 10, 140 * scale + 10), abs=1)


def test_who_is_cut_to_little_is_doubtful_and_to_next_to_nothing_gone() -> None:
    boxes, scores = np.array([[0, 0, 20, 40], [30, 0, 50, 40], [60, 0, 80, 40.0]]), np.ones(3)
    cut, left = _cut(boxes, scores, np.array([10, 0, 36, 100.0]))
    assert cut.tolist() == [[10, 0, 20, 40], [30, 0, 36, 40]]
    assert left[0] == 1
    assert left[1] < 0.5


def test_a_picture_over_a_whole_side_cuts_a_box_and_one_over_a_corner_does_not() -> None:
    box, score = np.array([[10, 10, 30, 50.0]]), np.ones(1)
    assert _hidden(box, score, np.array([0, 30, 40, 80.0]))[0].tolist() == [[10, 10, 30, 30]]
    assert _hidden(box, score, np.array([20, 30, 40, 80.0]))[0].tolist() == box.tolist()
    assert len(_hidden(box, score, np.array([0, 0, 40, 80.0]))[0]) == 0


def test_turning_a_scene_takes_its_boxes_along() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[40:60, 70:80] = 255
    turned, boxes = _rotated(frame, np.array([[70, 40, 80, 60.0]]), 90.0)
    rows, columns = np.nonzero(turned[..., 0] > 127)
    assert boxes[0] == pytest.approx((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), abs=1.5)


def test_the_empty_part_shows_nobody_and_small_ones_are_not_taken() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    part = empty_part(Seen(image, np.array([[0, 5, 50, 100.0], [40, 10, 70, 90]]), np.ones(2)))
    assert part is not None
    assert part.image.shape == (100, 50, 3)
    assert empty_part(Seen(image, np.array([[10, 10, 110, 95.0]]), np.ones(1))) is None
