from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.demo.live import LiveSettings
from trtparse.demo.pacing import POLICIES
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.draw import ALPHA
from trtparse.tasks.parsing.task import Parsing

PARTS = Parsing(label_set("lip")).parts


def test_at_first_every_part_is_drawn_as_the_overlay_draws_it() -> None:
    settings = LiveSettings(PARTS)
    assert settings.opacity == ALPHA
    assert settings.classes == frozenset(range(1, 20))
    assert settings.policy == "all"


@given(opacity=st.floats(0, 1), classes=st.sets(st.integers(1, 19)), policy=st.sampled_from(POLICIES))
def test_what_is_allowed_is_set_together(opacity: float, classes: set[int], policy: str) -> None:
    settings = LiveSettings(PARTS)
    choice = settings.change(opacity=opacity, classes=classes, policy=policy)
    assert choice == settings.choice
    assert (settings.opacity, settings.classes, settings.policy) == (opacity, classes, policy)


@pytest.mark.parametrize(
    "wish",
    [
        *({"opacity": value} for value in (-0.01, 1.01, math.nan, math.inf, 10**400, True, "1", [0.5])),
        *({"classes": value} for value in ([0], [20], [-1], [1.0], ["5"], [True], "5", [[5]])),
        *({"policy": value} for value in ("", "newest", 1, "http://10.0.0.1/", ["all"])),
    ],
    ids=repr,
)
def test_what_is_not_allowed_changes_nothing_not_even_what_came_with_it(wish: dict[str, object]) -> None:
    settings = LiveSettings(PARTS, opacity=0.3, classes=[5], policy="latest")
    before = settings.choice
    with pytest.raises((ValueError, TypeError)):
        settings.change(**{"opacity": 0.9, "classes": [1], "policy": "all", **wish})
    assert settings.choice == before


def test_each_setting_is_also_an_attribute() -> None:
    settings = LiveSettings(PARTS)
    settings.opacity, settings.classes, settings.policy = 0.2, frozenset({3}), "latest"
    assert (settings.choice.opacity, settings.choice.classes, settings.choice.policy) == (0.2, {3}, "latest")
    with pytest.raises(ValueError, match="between 0 and 1"):
        settings.opacity = 2.0


def test_changes_from_several_threads_are_not_lost() -> None:
    settings = LiveSettings(PARTS)

    def often(wish: dict[str, object]) -> None:
        for _ in range(500):
            settings.change(**wish)

    wishes: list[dict[str, object]] = [{"opacity": 0.1}, {"classes": [7]}, {"policy": "latest"}]
    threads = [threading.Thread(target=often, args=(wish,)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (settings.opacity, settings.classes, settings.policy) == (0.1, {7}, "latest")
