from __future__ import annotations

import numpy as np
import pytest

from trtparse.data.people.passers import Passers

SIZE = (90, 160)


def test_a_street_is_the_same_pixels_wherever_nobody_is() -> None:
    film = Passers(3, SIZE, people=2, seed=1)
    frames = list(film)
    assert (len(film), film.size) == (3, SIZE)
    assert all(frame.shape == (*SIZE, 3) and frame.dtype == np.uint8 for frame in frames)
    moved = (frames[0] != frames[2]).any(axis=2)
    assert 0.005 < moved.mean() < 0.5
    assert np.array_equal(list(film)[1], frames[1])


def test_people_come_nearer() -> None:
    film = Passers(50, SIZE, people=3, seed=1)
    for walker in film._walkers:
        distances = [walker.place(second)[0] for second in (0.0, 1.0, 2.0, 3.0)]
        assert distances == sorted(distances, reverse=True)
        assert 0.5 < (distances[0] - distances[-1]) / 3 < 2  # metres a second
        assert walker.place(2.0)[0] > 2


def test_who_has_passed_the_camera_is_no_longer_there() -> None:
    film = Passers(800, SIZE, people=3, seed=1)
    assert all(walker.place(63.0)[0] < 0 for walker in film._walkers)
    assert np.array_equal(film._frame(788), film._street)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"size": (20, 40)}, {"fps": 0.0}])
def test_a_film_of_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected frames"):
        Passers(**wrong)  # type: ignore[arg-type]
