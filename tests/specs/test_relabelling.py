from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtparse.errors import UsageError
from trtparse.specs.label_set import FOLDER, label_set
from trtparse.specs.relabelling import from_lip, relabelling
from trtparse.tests.predicting import LIP

ATR = label_set("atr")


@pytest.mark.parametrize("word", ["lip", "atr", "cihp", "person"])
def test_a_set_that_says_what_lip_s_classes_become_has_a_class_or_nothing_for_each(word: str) -> None:
    table = relabelling(word).table()
    assert table[0] == 0
    assert ((table[: len(LIP)] < len(label_set(word))) | (table[: len(LIP)] == 255)).all()
    assert (table[len(LIP) :] == 255).all()


def test_classes_become_what_the_table_says_else_those_of_their_own_name() -> None:
    found = relabelling("atr")
    becomes = {name: found.table()[LIP.id_of(name)] for name in LIP.classes}
    assert becomes["Coat"] == ATR.id_of("Upper-clothes")
    assert becomes["Left-shoe"] == ATR.id_of("Left-shoe")
    assert becomes["Glove"] == 255
    assert found.missing == ("Belt", "Bag")


def test_lip_s_own_classes_stay_what_they_are() -> None:
    np.testing.assert_array_equal(relabelling("lip").table()[:20], np.arange(20))


def test_the_background_is_the_background_whatever_a_set_calls_it() -> None:
    renamed = replace(LIP, classes=("Nobody", *LIP.classes[1:]))
    np.testing.assert_array_equal(from_lip(renamed, {}, "a.toml").table()[:20], np.arange(20))


@pytest.mark.parametrize("word", ["atr", "cihp"])
def test_left_and_right_change_places_before_as_after(word: str) -> None:
    found = relabelling(word)
    ids = np.arange(len(LIP))
    mirrored = found.target.flip_table()[found.table()[ids]]
    np.testing.assert_array_equal(found.table()[LIP.flip_table()[ids]], mirrored)


def test_the_table_is_no_part_of_the_set_that_travels(tmp_path: Path) -> None:
    own = tmp_path / "atr.toml"
    own.write_text((FOLDER / "atr.toml").read_text("utf-8"), "utf-8")
    assert label_set(own) == ATR
    assert "from_lip" not in ATR.to_dict()


def test_a_class_of_which_nothing_is_said_is_named() -> None:
    with pytest.raises(UsageError, match=r"LIP's Glove, Coat, Socks become") as caught:
        from_lip(ATR, {"Jumpsuits": "Dress"}, "a.toml")
    assert "[from_lip]" in caught.value.hint
    with pytest.raises(UsageError, match=r"pascal\.toml does not say"):
        relabelling("pascal")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"Hatt": "Hat"}, r"LIP has no class 'Hatt'\. Did you mean Hat\?"),
        ({"Hat": "Hatt"}, r"Hat shall become 'Hatt'.* Did you mean Hat\?"),
        ({"Hat": 3}, r"Hat shall become 3"),
    ],
)
def test_a_name_that_is_no_class_is_told_with_the_nearest(told: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_lip(ATR, told, "a.toml")


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('from_lip = 3\nname = "A"\nclasses = [{name="x",colour=[0,0,0]},{name="y",colour=[1,0,0]}]\n')
    with pytest.raises(UsageError, match="from_lip is no table"):
        relabelling(path)
    with pytest.raises(UsageError, match=r"no label set 'nowhere\.toml'"):
        relabelling("nowhere.toml")
