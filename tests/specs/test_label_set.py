from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.errors import UsageError
from trtparse.specs.label_set import LabelSet, check_same, label_set, label_sets, read_label_set

COUNTS = {"lip": 20, "cihp": 20, "atr": 18, "pascal": 7, "fashn": 18, "bodypix": 25, "person": 2}

SMALL: dict[str, Any] = {
    "name": "Small",
    "classes": ["Nothing", "Left", "Right"],
    "colours": [[0, 0, 0], [255, 0, 0], [0, 255, 0]],
    "flip_pairs": [["Left", "Right"]],
    "rare": ["Left"],
}


def with_(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def test_the_sets_that_come_along_have_the_classes_of_their_sources() -> None:
    assert {word: len(found) for word, found in label_sets().items()} == COUNTS


@pytest.mark.parametrize("word", COUNTS)
def test_a_set_survives_json_and_keeps_its_digest(word: str) -> None:
    found = label_set(word)
    again = LabelSet.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert again.digest == found.digest


def test_lip_has_the_colours_and_pairs_of_its_reference_implementation() -> None:
    lip = label_set("lip")
    assert (lip.classes[5], lip.colours[5]) == ("Upper-clothes", (255, 85, 0))
    assert [(lip.id_of(one), lip.id_of(other)) for one, other in lip.flip_pairs] == [(14, 15), (16, 17), (18, 19)]


def test_cihp_is_lip_but_for_the_skin_of_the_torso() -> None:
    lip, cihp = label_set("lip"), label_set("cihp")
    assert [number for number in range(20) if lip.classes[number] != cihp.classes[number]] == [10]
    assert cihp.classes[10] == "Torso-skin"


@pytest.mark.parametrize("word", COUNTS)
def test_flipping_twice_changes_nothing_and_no_two_classes_look_alike(word: str) -> None:
    found = label_set(word)
    table = found.flip_table()
    np.testing.assert_array_equal(table[table], np.arange(256))
    assert len(set(found.colours)) == len(found)


def test_ids_that_are_no_class_are_grey() -> None:
    palette = LabelSet.from_dict(SMALL).palette_bgr()
    np.testing.assert_array_equal(palette[[1, 3, 255]], [[0, 0, 255], [128] * 3, [128] * 3])


def test_a_toml_file_of_one_s_own_is_a_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "Mine"\nclasses = [\n  { name = "A", colour = [0, 0, 0] },\n  { name = "B", colour = [1, 2, 3] },\n]\n'
    )
    assert label_set(path) == LabelSet("Mine", ("A", "B"), ((0, 0, 0), (1, 2, 3)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (with_(classes=["A", "B", "B"], flip_pairs=[], rare=[]), "two classes are called 'B'"),
        (with_(colours=[[0, 0, 0], [256, 0, 0], [0, 255, 0]]), "the colour of Left is [256, 0, 0]"),
        (with_(colours=[[0, 0, 0], [1, 0, 0]]), "3 classes and 2 colours"),
        (with_(colours=[[0, 0, 0], [1, 0], [0, 0, 1]]), "a colour is [red, green, blue]"),
        (with_(flip_pairs=[["Left", "Rigth"]]), "'Rigth' that it does not have"),
        (with_(flip_pairs=[["Left", "Left"]]), "its own partner"),
        (with_(flip_pairs=[["Left"]]), "names two classes"),
        (with_(rare=["Hat"]), "'Hat' that it does not have"),
        (with_(ignore=2), "ignore is 2"),
        (with_(classes=["A"], colours=[[0, 0, 0]], flip_pairs=[], rare=[]), "it has 1 classes"),
        (with_(classes="ABC"), "classes must be a list of names"),
        (with_(color=1), "a label set has no color"),
        ({"name": "A"}, "a label set needs classes"),
        (3, "a label set is a table, not 3"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        LabelSet.from_dict(values, "mine.toml")
    assert told in caught.value.message
    assert caught.value.hint


def test_an_unknown_word_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        label_set(tmp_path / "lipp")
    assert "atr, bodypix" in caught.value.hint


@pytest.mark.parametrize("content", [b"classes = [", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        read_label_set(path)


def test_two_things_of_different_sets_are_told_with_the_first_class_that_differs() -> None:
    check_same(label_set("lip"), "the student", label_set("lip"), "the teacher")
    with pytest.raises(UsageError) as caught:
        check_same(label_set("lip"), "the student", label_set("atr"), "teacher.pth")
    for word in ("the student", "LIP-20 (20 classes)", "teacher.pth", "ATR-18 (18 classes)", "id 3 is Glove"):
        assert word in caught.value.message
