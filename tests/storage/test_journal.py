from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.errors import DataError, UsageError
from trtparse.storage.journal import Journal, entries_of

KEY = {"schema": 1, "model": "ab" * 40}


def numbers(path: Path, key: dict[str, Any] = KEY, *, resume: bool = True) -> Journal[int]:
    return Journal(path, key, lambda number: [number], lambda values: int(values[0]), resume=resume, hint="Remove it.")


@settings(max_examples=50, deadline=None)
@given(written=st.lists(st.integers(), max_size=6), cut=st.integers(0, 60), more=st.integers())
def test_wherever_a_kill_cuts_it_the_whole_entries_are_kept_and_it_goes_on(
    written: list[int], cut: int, more: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    with numbers(path) as journal:
        for number in written:
            journal.append(number)
    content = path.read_bytes()
    kept = content[: max(content.index(b"\n") + 1, len(content) - cut)]
    path.write_bytes(kept)
    expected = written[: kept.count(b"\n") - 1]
    with numbers(path) as journal:
        assert journal.entries == expected
        journal.append(more)
    assert list(entries_of(path, lambda values: int(values[0]))) == [*expected, more]


def test_without_resuming_it_starts_anew(tmp_path: Path) -> None:
    with numbers(tmp_path / "journal") as journal:
        journal.append(1)
    with numbers(tmp_path / "journal", resume=False) as journal:
        assert journal.entries == []
    with numbers(tmp_path / "journal") as journal:
        assert journal.entries == []


def test_an_entry_is_on_disk_at_once(tmp_path: Path) -> None:
    with numbers(tmp_path / "journal") as journal:
        journal.append(7)
        assert list(entries_of(tmp_path / "journal", lambda values: int(values[0]))) == [7]


def test_one_of_other_work_is_refused_by_the_field_that_differs_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with numbers(path) as journal:
        journal.append(1)
    before = path.read_bytes()
    for key, said in (
        ({**KEY, "schema": 2}, "of another version of trtparse: its schema is 1, now it is 2"),
        ({**KEY, "model": "cd" * 40}, "its model is abababababab…, now it is cdcdcdcdcdcd…"),
        ({**KEY, "more": [1]}, r"its more is null, now it is \[1\]"),
        ({"schema": 1}, "its model is abababababab…, now it is null"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            numbers(path, key)
        assert caught.value.hint == "Remove it."
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"hello\n", b"[1]\n", b"\xff\xfe\n", b"{\n"])
def test_what_is_no_journal_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(DataError, match="journal is no record of this work"):
        numbers(path)
    assert path.read_bytes() == content
    assert list(entries_of(path, lambda values: int(values[0]))) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        numbers(tmp_path / "missing" / "journal")
