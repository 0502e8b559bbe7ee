from __future__ import annotations

import resource
from pathlib import Path

import pytest

from trtparse.data.images import read_bytes
from trtparse.errors import DataError, MachineError, UsageError
from trtparse.parse.objects import ArrowStorage, LocalStorage, Storage, list_uri, open_storage

fs = pytest.importorskip("pyarrow.fs", reason="PyArrow is not installed")


@pytest.fixture(params=["this machine's", "a path on PyArrow's", "a URI"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Storage, str]:
    """A kind of storage, and the folder of the test as it is called there."""
    monkeypatch.chdir(tmp_path)
    if request.param.startswith("this"):
        return LocalStorage(), "."
    if request.param.startswith("a path"):
        return open_storage("."), "."
    return open_storage(f"file://{tmp_path}"), f"file://{tmp_path}"


def test_what_is_written_is_read_and_nothing_is_left_beside_it(storage: tuple[Storage, str], tmp_path: Path) -> None:
    files, root = storage
    path = f"{root}/new/deep/a.png"
    assert files.size(path) == 0
    for data in (b"older", b"newer still"):
        files.write(path, data)
        assert (files.read(path), files.size(path)) == (data, len(data))
        assert (tmp_path / "new" / "deep" / "a.png").read_bytes() == data
    assert [item.name for item in (tmp_path / "new" / "deep").iterdir()] == ["a.png"]
    files.remove(path)
    files.remove(path)
    assert files.size(path) == 0


def test_a_name_that_ends_like_an_archive_is_read_and_written_as_it_is(storage: tuple[Storage, str]) -> None:
    files, root = storage
    files.write(f"{root}/a.gz", b"no archive")
    assert files.read(f"{root}/a.gz") == b"no archive"


def test_what_cannot_be_read_is_told_in_the_same_words_everywhere(storage: tuple[Storage, str], tmp_path: Path) -> None:
    files, root = storage
    (tmp_path / "a.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("missing.png", "a.png/b.png", "loop.png"):
        with pytest.raises(DataError) as here:
            read_bytes(tmp_path / name)
        with pytest.raises(DataError) as there:
            files.read(f"{root}/{name}")
        said = there.value.message.replace(f"{root}/{name}", "it")
        assert said == here.value.message.replace(str(tmp_path / name), "it")


def test_a_full_disk_is_the_machine_s_error_and_the_older_file_stays(
    storage: tuple[Storage, str], tmp_path: Path
) -> None:
    files, root = storage
    files.write(f"{root}/a.png", b"older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(MachineError, match=r"No space left for .*a\.png"):
            files.write(f"{root}/a.png", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"older"


def test_a_place_that_cannot_be_written_is_the_user_s_error(storage: tuple[Storage, str], tmp_path: Path) -> None:
    files, root = storage
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a.png" / "b").mkdir(parents=True)
    for path in ("notes.txt/out/a.png", "a.png"):
        with pytest.raises(UsageError):
            files.write(f"{root}/{path}", b"data")


def test_objects_are_written_in_place_as_they_appear_whole() -> None:
    class Store:
        type_name = "s3"
        made: list[str] = []  # noqa: RUF012

        def open_output_stream(self, path: str, compression: object) -> object:
            self.made.append(path)
            return open("/dev/null", "wb")

    ArrowStorage(Store(), prefix="s3://").write("s3://bucket/out/a.png", b"data")
    assert Store.made == ["bucket/out/a.png"]


def test_a_uri_of_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="nonsense://there cannot be opened"):
        open_storage("nonsense://there")


def test_a_folder_behind_a_uri_is_listed_by_relative_paths(tmp_path: Path) -> None:
    for name in ("b.png", "m/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    uri = f"file://{tmp_path}"
    files = open_storage(uri)
    base, names = list_uri(f"{uri}/", files, recursive=True)
    assert (base, sorted(names or ())) == (uri, ["b.png", "m/a.png"])
    assert list_uri(uri, files, recursive=False)[1] == ["b.png"]
    assert list_uri(f"{uri}/b.png", files, recursive=False) == (f"{uri}/b.png", None)
    with pytest.raises(DataError, match="There is no file"):
        list_uri(f"{uri}/missing", files, recursive=False)
