from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.people.draw import mark_people
from trtparse.tasks.people.person import Person


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_person_is_marked_at_the_corners_and_not_over_the_body(shade: int) -> None:
    frame = np.full((480, 640, 3), shade, np.uint8)
    mark_people(frame, [Person(12, (200, 100, 320, 400), 0.9)])
    changed = np.abs(frame.astype(int) - shade).max(axis=2) > 60
    for row, column in ((100, 200), (100, 319), (399, 200), (399, 319)):
        assert changed[row - 2 : row + 3, column - 2 : column + 3].any()
    assert not changed[106:394, 206:314].any()
    assert changed[60:98, 200:260].any()  # the number
    assert changed.mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (300, 5), (48, 64)])
@pytest.mark.parametrize("box", [(0, 0, 2, 2), (-50, -50, 400, 400), (30, 0, 60, 40), (900, 900, 950, 990)])
def test_any_box_is_marked_in_any_frame(size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    mark_people(frame, [Person(123456, box, 0.5)])
    assert frame.shape == (*size, 3)


def test_at_the_upper_edge_the_number_is_inside_the_box() -> None:
    frame = np.full((480, 640, 3), 128, np.uint8)
    mark_people(frame, [Person(7, (300, 0, 420, 400), 0.9)])
    assert (frame[6:30, 304:330] != 128).any()
