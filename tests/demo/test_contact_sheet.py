from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.data.dataset import Image
from trtparse.demo import contact_sheet as module
from trtparse.demo.contact_sheet import MOST, Bars, contact_sheet


def flat(value: int, height: int = 60, width: int = 40) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def greys_in_reading_order(page: Image, values: set[int]) -> list[int]:
    """Which of ``values`` fill a photograph, row by row; each once."""
    found: dict[int, None] = {}
    for line in page[::8]:
        for value in line[:, 0][(line[:, 0] == line[:, 1]) & (line[:, 1] == line[:, 2])].tolist():
            if value in values:
                found[value] = None
    return list(found)


def test_every_photograph_is_there_from_dark_to_bright() -> None:
    values = [200, 60, 130, 90, 170]
    page = contact_sheet("Set", [], [], [flat(value) for value in values], len(values))
    assert greys_in_reading_order(page, set(values)) == sorted(values)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=30))
def test_any_shapes_make_a_page_of_one_width(shapes: list[tuple[int, int]]) -> None:
    page = contact_sheet("Set", ["one", "two"], [], [flat(99, *shape) for shape in shapes], len(shapes))
    assert page.shape[1:] == (1600, 3)
    assert page.dtype == np.uint8


def test_full_rows_end_at_the_same_column() -> None:
    rng = np.random.default_rng(3)
    images = [flat(250, int(rng.integers(50, 90)), int(rng.integers(20, 90))) for _ in range(120)]
    page = contact_sheet("Set", [], [], images, len(images))
    ends = {int(np.flatnonzero(line[:, 0] == 250).max()) for line in page[90:] if (line[:, 0] == 250).sum() > 1200}
    assert len(ends) == 1


def test_a_longer_bar_stands_for_a_larger_count() -> None:
    colours = [(10, 200, 30), (200, 30, 10), (30, 10, 200)]
    tally = Bars("classes", tuple((f"class {n}", n, colour) for n, colour in zip((40, 10, 0), colours)))
    page = contact_sheet("Set", [], [tally], [], 0)
    areas = [int((page == colour).all(axis=2).sum()) for colour in colours]
    assert areas[0] == pytest.approx(4 * areas[1], rel=0.1)
    assert areas[2] == 0


def test_no_more_are_read_than_fit_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST > 500
    monkeypatch.setattr(module, "MOST", 7)
    read: list[int] = []

    def images() -> Iterator[Image]:
        for number in range(100):
            read.append(number)
            yield flat(number)

    contact_sheet("Set", [], [], images(), 100)
    assert read == list(range(7))


def test_letters_beyond_ascii_do_not_break_it() -> None:
    page = contact_sheet("Menschen, Größe ≥ 3 · 人", ["–"], [Bars("≥", (("1–2", 1, None),))], [flat(9)], 1)
    assert page.size
