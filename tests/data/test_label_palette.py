from __future__ import annotations

import numpy as np
import pytest

from trtparse.data.label_palette import AmbiguousPaletteError, ids_by_index
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.tests.predicting import LIP

Colour = tuple[int, int, int]


def grey(*levels: int) -> list[Colour]:
    return [(level, level, level) for level in levels]


def ids(palette: list[Colour], used: list[int], hidden: tuple[int, ...] = ()) -> list[int] | None:
    """What the used indices stand for; None where they are the classes themselves."""
    shown = np.array([index not in hidden for index in range(len(palette))])
    found = ids_by_index(np.array(palette, np.uint8), shown, np.array(used, np.intp), LIP)
    return None if found is None else found[used].tolist()


GREEN = (0, 255, 0)
WHITE_GROUND = [(255, 255, 255), (0, 0, 0), (200, 0, 0), (0, 0, 200)]


@pytest.mark.parametrize(
    ("palette", "used", "expected"),
    [
        pytest.param(grey(0, 2, 5, 9, 13), [0, 1, 2, 3, 4], [0, 2, 5, 9, 13], id="sorted by level"),
        pytest.param(grey(5, 0, 9, 255), [0, 1, 2, 3], [5, 0, 9, 255], id="sorted by frequency"),
        pytest.param(grey(1, 0), [0, 1], [1, 0], id="classes that are indices, too"),
        pytest.param(grey(0, 2, 5, 5, 5, 5), [0, 1, 2], [0, 2, 5], id="filled with the last level"),
        pytest.param(grey(0, 2, 5, 9, 19), [0, 1, 3], [0, 2, 9], id="one palette of many label maps"),
        pytest.param(grey(5), [0], [5], id="one class"),
        pytest.param(grey(*[0] * 40, 3), [0, 40], [0, 3], id="an index that is no class"),
    ],
)
def test_levels_are_taken_where_they_are_the_classes(
    palette: list[Colour], used: list[int], expected: list[int]
) -> None:
    assert ids(palette, used) == expected


def test_a_transparent_entry_that_no_pixel_has_does_not_count() -> None:
    assert ids([*grey(0, 2, 5), GREEN], [0, 1, 2], hidden=(3,)) == [0, 2, 5]


def test_classes_that_an_octree_mixed_are_refused_where_its_rest_is_transparent() -> None:
    with pytest.raises(AmbiguousPaletteError):
        ids(grey(2, 17, *[0] * 30), [0, 1], hidden=tuple(range(2, 32)))


@pytest.mark.parametrize(
    ("palette", "used"),
    [
        pytest.param(list(LIP.colours), [0, 5, 13], id="LIP's"),
        pytest.param([(index, 255 - index, 128) for index in range(256)], [0, 5, 255], id="coloured"),
        pytest.param([*grey(0, 2, 5), GREEN], [0, 1, 2], id="a colour that is seen, but not used"),
        pytest.param(WHITE_GROUND, [0], id="coloured, and only its white used"),
        pytest.param(WHITE_GROUND, [0, 1], id="coloured, and only its white and black used"),
        pytest.param(grey(*range(256)), [0, 5, 255], id="index and level are the same"),
        pytest.param(grey(*range(0, 240, 12)), [0, 3, 5], id="stretched to be seen"),
        pytest.param(grey(*[9] * 20), [0, 5, 13], id="constant"),
        pytest.param(grey(*[0] * 25), [5, 24], id="constant, with an index that is no class"),
        pytest.param(grey(0, 2), [0, 5], id="an index past its end"),
    ],
)
def test_indices_are_taken_where_colours_are_only_to_be_seen(palette: list[Colour], used: list[int]) -> None:
    assert ids(palette, used) is None


@pytest.mark.parametrize(
    ("palette", "used", "told"),
    [
        pytest.param(grey(0, 255), [0, 1], "0, 1, by the grey levels 0, 255", id="black and white"),
        pytest.param(grey(255), [0], "0, by the grey levels 255", id="white alone"),
        pytest.param(grey(*range(0, 240, 12)), [0, 1], "0, 1, by the grey levels 0, 12", id="the dark end of a ramp"),
        pytest.param(grey(0, 5, 2), [1], "1, by the grey levels 5", id="one entry of several"),
        pytest.param(grey(0, 5, 5), [0, 1, 2], "0, 1, 2, by the grey levels 0, 5, 5", id="one level twice"),
        pytest.param(grey(2, 17, *[0] * 30), [0, 1], "0, 1, by the grey levels 2, 17", id="mixed by an octree"),
        pytest.param(
            [LIP.colours[0], LIP.colours[13], LIP.colours[2]],
            [0, 1, 2],
            "0, 1, 2, by the colours of LIP-20 0, 13, 2",
            id="LIP's",
        ),
    ],
)
def test_what_can_be_either_is_refused_with_both_readings(palette: list[Colour], used: list[int], told: str) -> None:
    with pytest.raises(AmbiguousPaletteError, match=rf"classes are {told}$"):
        ids(palette, used)


def test_the_colours_that_tell_an_order_are_those_of_the_set_that_is_asked() -> None:
    person = label_set("person")
    turned = np.array(person.colours[::-1], np.uint8)
    with pytest.raises(AmbiguousPaletteError, match="by the colours of Person 1, 0"):
        ids_by_index(turned, np.ones(2, np.bool_), np.arange(2), person)
    assert ids_by_index(np.array(person.colours, np.uint8), np.ones(2, np.bool_), np.arange(2), person) is None


def test_two_classes_of_one_colour_are_in_order_where_each_shows_its_own() -> None:
    alike = LabelSet("Alike", ("a", "b", "c"), ((0, 0, 0), (9, 0, 0), (9, 0, 0)))
    assert ids_by_index(np.array(alike.colours, np.uint8), np.ones(3, np.bool_), np.arange(3), alike) is None
