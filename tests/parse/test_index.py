from __future__ import annotations

import contextlib
import csv
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trtparse.errors import MachineError, UsageError
from trtparse.parse.index import columns, index_place, writing_index
from trtparse.parse.parser import ImageResult
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.predicting import LIP

TASK = Parsing(LIP)

PIXELS = tuple(range(20))
ROWS = (
    ImageResult("in/a.jpg", "a", True, "", (10, 19), PIXELS),
    ImageResult('in/b, "b".jpg', "b", False, "in/b is empty."),
    ImageResult("in/ä.jpg", "m/ä", False, "", (3, 4), PIXELS),
)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow past 2 kB; no fixture, as pytest's own output may be a file, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(place: Path, rows: tuple[ImageResult, ...] = ROWS) -> None:
    with writing_index(place, TASK) as index:
        for row in rows:
            index.add(row)


def test_a_csv_has_a_row_per_image_with_the_pixels_of_every_class(tmp_path: Path) -> None:
    write(tmp_path / "index.csv")
    with (tmp_path / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(columns(TASK))
    assert set(LIP.classes) < set(columns(TASK))
    assert [row["image"] for row in rows] == [row.path for row in ROWS]
    assert [row["labels"] for row in rows] == ["a.png", "", "m/ä.png"]
    assert [row["skipped"] for row in rows] == ["", "in/b is empty.", ""]
    assert [int(rows[2][name]) for name in LIP.classes] == list(PIXELS)
    assert (rows[2]["height"], rows[2]["width"], rows[1]["height"]) == ("3", "4", "")


def test_parquet_holds_the_same_as_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed")
    write(tmp_path / "index.parquet")
    rows = parquet.read_table(tmp_path / "index.parquet").to_pylist()
    write(tmp_path / "index.csv")
    with (tmp_path / "index.csv").open(encoding="utf-8", newline="") as file:
        told = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
        assert told == list(csv.DictReader(file))
    assert [row["height"] for row in rows] == [10, None, 3]


def test_parquet_comes_in_groups_of_rows_and_has_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="PyArrow is not installed")
    monkeypatch.setattr("trtparse.parse.index._ROWS_AT_ONCE", 2)
    for name in ("a.parquet", "b.parquet"):
        write(tmp_path / name)
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write(tmp_path / "none.parquet", ())
    assert parquet.read_table(tmp_path / "none.parquet").column_names == list(columns(TASK))


@pytest.mark.parametrize("name", ["index.csv", "index.parquet"])
def test_a_file_name_that_is_no_text_does_not_end_the_work(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="PyArrow is not installed")
    write(tmp_path / name, (ImageResult("in/\udcff.jpg", "\udcff", skipped="no"),))
    assert b"\xff.jpg" in (tmp_path / name).read_bytes() or rb"\xff.jpg" in (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["index.csv", "index.parquet"])
def test_an_index_that_was_not_finished_leaves_the_older_one_and_nothing_else(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="PyArrow is not installed")
    (tmp_path / name).write_text("older")

    def end_early() -> None:
        with writing_index(tmp_path / name, TASK) as index:
            index.add(ROWS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_early()
    assert (tmp_path / name).read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1


def test_rows_are_on_the_disk_by_whole_lines_while_the_index_grows(tmp_path: Path) -> None:
    with writing_index(tmp_path / "index.csv", TASK) as index:
        for row in ROWS:
            index.add(row)
            assert (tmp_path / ".index.partial.csv").read_bytes().endswith(b"\n")
    assert [path.name for path in tmp_path.iterdir()] == ["index.csv"]


@pytest.mark.parametrize("name", ["index.csv", "index.parquet"])
def test_a_full_disk_is_the_machine_s_error(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="PyArrow is not installed")
    with small_files(), pytest.raises(MachineError, match=f"No space left for .*{name}"):
        write(tmp_path / name, ROWS * 40)
    assert list(tmp_path.iterdir()) == []


def test_each_shard_has_an_index_of_its_own() -> None:
    assert index_place("out/index.csv", None) == Path("out/index.csv")
    assert index_place("out/index.csv", (2, 8)) == Path("out/index.2-of-8.csv")


def test_an_index_of_another_kind_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"index\.txt ends in neither \.csv nor \.parquet"):
        index_place("index.txt", None)
    with pytest.raises(UsageError, match="does not exist"):
        write(tmp_path / "no" / "index.csv")


def test_parquet_without_pyarrow_is_an_error_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match="PyArrow is not installed") as caught:
        index_place("index.parquet", None)
    assert caught.value.hint == "Install it: pip install 'trtparse[parquet]'"


def test_a_result_comes_back_from_json_as_it_was() -> None:
    for row in (*ROWS, ImageResult("in/\udcff.jpg", "\udcff", skipped="no")):
        assert ImageResult.from_json(row.to_json()) == row
