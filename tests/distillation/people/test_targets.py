from __future__ import annotations

import numpy as np

from trtparse.distillation.people.targets import make_targets

SIZE = (64, 96)
NOBODY = np.zeros((0, 4))


def test_a_middle_is_one_and_its_surroundings_fall_off_by_the_size_of_the_box() -> None:
    targets = make_targets(np.array([[8, 4, 72, 64.0]]), NOBODY, SIZE)
    assert targets.heat.shape == (8, 12)
    assert targets.heat[4, 5] == 1
    assert (targets.heat == 1).sum() == 1
    assert targets.heat[4, 6] > targets.heat[4, 7] > 0
    assert targets.weights[4, 5] == 1
    assert targets.boxes[:, 4, 5].tolist() == [8, 4, 72, 64]
    assert (targets.counts == 1).all()


def test_where_two_share_cells_the_smaller_has_them() -> None:
    big, small = [8, 0, 72, 64.0], [32, 24, 48, 40.0]
    targets = make_targets(np.array([small, big]), NOBODY, SIZE)
    assert targets.boxes[:, 4, 5].tolist() == small


def test_nothing_is_asked_for_about_the_doubtful_but_their_neighbours_count() -> None:
    doubtful = np.array([[24, 8, 72, 56.0]])
    targets = make_targets(np.array([[40, 16, 56, 48.0]]), doubtful, SIZE)
    assert targets.counts[3, 4] == 0
    assert targets.counts[4, 6] == 1  # somebody's middle
    assert targets.counts[0, 0] == 1


def test_a_box_smaller_than_a_cell_has_one() -> None:
    targets = make_targets(np.array([[17, 17, 20, 22.0]]), NOBODY, SIZE)
    assert (targets.weights > 0).sum() == 1
    assert targets.heat[2, 2] == 1


def test_a_frame_without_anybody_asks_for_nobody() -> None:
    targets = make_targets(NOBODY, NOBODY, SIZE)
    assert not targets.heat.any()
    assert not targets.weights.any()
