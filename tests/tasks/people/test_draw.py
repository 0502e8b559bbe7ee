from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.people.draw import mark_people, outline_people, person_colour
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


@pytest.mark.parametrize("outlined", [frozenset(), frozenset({7})])
def test_the_number_of_somebody_who_begins_above_the_frame_is_at_its_upper_edge(outlined: frozenset[int]) -> None:
    frame = np.full((480, 640, 3), 128, np.uint8)
    mark_people(frame, [Person(7, (300, -200, 420, 300), 0.9)], outlined=outlined)
    changed = (frame != 128).any(axis=2)
    assert changed[:30, 300:420].any()
    assert not changed[310:].any()


def two_people() -> np.ndarray:
    instances = np.zeros((120, 160), np.uint8)
    instances[30:100, 30:60] = 1
    instances[40:110, 60:90] = 7
    return instances


def test_an_outline_lies_around_everybody_in_their_colour_and_covers_none_of_who_stands_alone() -> None:
    frame, instances = np.full((120, 160, 3), 77, np.uint8), two_people()
    outline_people(frame, instances, 2)
    changed = (frame != 77).any(axis=2)
    assert {tuple(colour) for colour in frame[changed]} == {person_colour(1), person_colour(7)}
    assert (frame[60, 28] == person_colour(1)).all()
    assert (frame[60, 91] == person_colour(7)).all()
    assert not changed[:, :28].any()
    assert not changed[:, 92:].any()
    assert not changed[42:108, 60:90].any()
    assert (frame[60, 58] == person_colour(7)).all()  # where two touch the line lies on one of them


def test_nobody_has_no_outline() -> None:
    frame = np.full((12, 16, 3), 77, np.uint8)
    outline_people(frame, np.zeros((12, 16), np.uint8), 2)
    assert (frame == 77).all()


def test_neighbours_in_number_have_other_colours_and_the_ids_of_a_long_run_have_one() -> None:
    assert all(person_colour(number) != person_colour(number + 1) for number in range(1, 40))
    assert person_colour(100_000) in {person_colour(number) for number in range(1, 9)}


def test_a_number_is_on_its_persons_colour_over_their_middle_where_an_outline_shows_them() -> None:
    frame = np.full((480, 640, 3), 128, np.uint8)
    mark_people(frame, [Person(3, (200, 100, 320, 400), 0.9)], outlined=frozenset({3}))
    changed = (frame != 128).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.max() < 100  # no corners
    assert (columns.min() + columns.max()) / 2 == pytest.approx(260, abs=2)
    colours = frame[changed].astype(int) - person_colour(3)
    assert (np.abs(colours).max(axis=1) < 30).mean() > 0.4
