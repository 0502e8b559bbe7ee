from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.errors import DataError, UsageError
from trtparse.tasks.scoring import EngineMarks, ImageMarks
from trtparse.validation.record import BatchRecord, images_recorded, open_record
from trtparse.validation.result import SkippedImage
from trtparse.validation.runner import Call

KEY = {"dataset": "people", "images": 7, "protocol": {"order": "ce2p", "scales": [1.0]}}


def batch(seed: int, labelled: bool = True) -> BatchRecord:
    rng = np.random.default_rng(seed)

    def counts() -> np.ndarray:
        return (rng.integers(0, 100_000, (20, 20)) * (rng.random((20, 20)) < 0.1)).astype(np.int64)

    def against_reference() -> tuple[np.ndarray, ...]:
        return counts(), np.array([rng.integers(1, 9), 2, 3, 4]), rng.random((int(rng.integers(0, 4)), 2)) - 0.5

    scores = tuple(
        ImageMarks(
            seed * 10 + number,
            f"image {number} 'ä\n\udce4",
            (counts(),) if labelled else None,
            tuple(EngineMarks((counts(),) if labelled else None, against_reference()) for _ in range(2)),
        )
        for number in range(seed % 4)
    )
    return BatchRecord(
        scores, ((seed, SkippedImage("a", "is broken")),), ((Call(0.25, 8), Call(0.5, 4)), (Call(0.125, 12),)), 1.5
    )


def same(one: BatchRecord, other: BatchRecord) -> bool:
    """Equal to the last pixel; arrays have no single truth, so their dataclasses cannot be compared."""
    return one.to_dict() == other.to_dict() and (one.skipped, one.calls, one.wall) == (
        other.skipped,
        other.calls,
        other.wall,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_a_batch_comes_back_from_json(seed: int, labelled: bool) -> None:
    written = batch(seed, labelled)
    read = BatchRecord.from_dict(json.loads(json.dumps(written.to_dict())))
    assert same(read, written)
    for one, other in zip(read.scores, written.scores):
        assert (one.index, one.name) == (other.index, other.name)
        for mine, yours in zip(one.engines, other.engines):
            for one_array, other_array in zip(mine.agreement, yours.agreement):
                np.testing.assert_array_equal(one_array, other_array)
                assert one_array.dtype == other_array.dtype
            assert (mine.truth is None) == (yours.truth is None) == (not labelled)
            for one_array, other_array in zip(mine.truth or (), yours.truth or ()):
                np.testing.assert_array_equal(one_array, other_array)


def write(path: Path, number: int = 3) -> list[BatchRecord]:
    batches = [batch(seed) for seed in range(1, 1 + number)]
    with open_record(path, KEY, resume=False) as record:
        for one in batches:
            record.append(one)
    return batches


def test_a_record_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    batches = write(path)
    with open_record(path, KEY, resume=True) as record:
        assert all(same(one, other) for one, other in zip(record.entries, batches))
        assert len(record.entries) == 3
        record.append(batch(5))
    with open_record(path, KEY, resume=True) as record:
        assert len(record.entries) == 4
        assert same(record.entries[3], batch(5))
    assert images_recorded(path) == 1 + 2 + 3 + 1


def test_what_was_appended_is_on_disk_at_once(tmp_path: Path) -> None:
    with open_record(tmp_path / "record.jsonl", KEY, resume=False) as record:
        record.append(batch(3))
        assert images_recorded(tmp_path / "record.jsonl") == 3


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 2000))
def test_wherever_a_kill_cuts_a_record_the_whole_batches_are_kept(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "record.jsonl"
    batches = write(path)
    content = path.read_bytes()
    head = content.index(b"\n") + 1
    kept = content[: max(head, len(content) - cut)]
    path.write_bytes(kept)
    with open_record(path, KEY, resume=True) as record:
        assert len(record.entries) == kept.count(b"\n") - 1
        assert all(same(one, other) for one, other in zip(record.entries, batches))
        record.append(batch(7))
    with open_record(path, KEY, resume=True) as record:
        assert same(record.entries[-1], batch(7))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dataset": "cars"}, "dataset is people, now it is cars"),
        ({"images": 8}, "images is 7, now it is 8"),
        ({"protocol": {"order": "hrnet", "scales": [1.0]}}, "protocol is"),
        ({"more": 1}, "more is null, now it is 1"),
    ],
)
def test_a_record_of_another_run_is_refused_and_left_as_it_is(
    change: dict[str, object], field: str, tmp_path: Path
) -> None:
    path = tmp_path / "record.jsonl"
    write(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"is a record of something else: its {field}") as caught:
        open_record(path, {**KEY, **change}, resume=True)
    assert "--resume" in caught.value.hint
    assert path.read_bytes() == before


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    write(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({**json.loads(lines[0]), "schema": 99}) + "\n" + "".join(lines[1:]))
    with pytest.raises(DataError, match="its schema is 99"):
        open_record(path, KEY, resume=True)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"[1]\n", b"\xff\xfe\n", b"{\n"])
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"record\.jsonl is no record of this work"):
        open_record(path, KEY, resume=True)
    assert images_recorded(path) == 0


def test_without_a_record_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run to go on with"):
        open_record(tmp_path / "record.jsonl", KEY, resume=True)
    assert images_recorded(tmp_path / "record.jsonl") == 0


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing does not exist"):
        open_record(tmp_path / "missing" / "record.jsonl", KEY, resume=False)
