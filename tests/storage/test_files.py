from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from trtparse.errors import FileNameError, MachineError, TrtparseError, UsageError
from trtparse.storage.files import (
    Claim,
    check_output_file,
    check_output_folder,
    fitting_name,
    partial_path,
    replace_bytes,
    replace_shared,
    write_errors,
    write_failed,
)


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A folder that this user may not write to."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("permission bits do not stop this user")
    return folder


@pytest.fixture
def below_a_file(tmp_path: Path) -> Path:
    """A path that no user, root included, can make."""
    (tmp_path / "notes.txt").write_text("notes")
    return tmp_path / "notes.txt" / "out"


def test_bytes_take_the_place_of_an_older_file_and_nothing_is_left_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    replace_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_that_write_one_file_the_last_stays_whole(tmp_path: Path) -> None:
    path, contents = tmp_path / "notes.json", [bytes([number]) * 200_000 for number in range(4)]
    with ThreadPoolExecutor(4) as writers:
        for _ in range(20):
            list(writers.map(partial(replace_shared, path), contents))
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_the_partial_file_is_hidden_beside_it_and_keeps_the_extension() -> None:
    assert partial_path(Path("videos/walk.mp4")) == Path("videos/.walk.partial.mp4")


@pytest.mark.parametrize("letter", ["a", "ä", "\U0001f600", "\udcff"])
def test_the_longest_names_can_be_written_and_their_partial_files_stay_apart(tmp_path: Path, letter: str) -> None:
    stem = letter * (250 // len(os.fsencode(letter)))
    for name in (f"{stem}.png", f"{stem[:-1]}.png"):
        replace_bytes(tmp_path / name, name.encode("utf-8", "surrogateescape"))
        assert (tmp_path / name).read_bytes().startswith(os.fsencode(letter))
        assert len(os.fsencode(partial_path(tmp_path / name).name)) <= 255
    assert partial_path(tmp_path / f"{stem}.png") != partial_path(tmp_path / f"{stem[:-1]}.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_names_that_are_too_long_lose_their_end_and_stay_apart() -> None:
    assert fitting_name("a" * 251, ".png") == "a" * 251 + ".png"
    cut = {fitting_name(stem, "_overlay.jpg") for stem in ("a" * 250, "a" * 251, "ä" * 125, "ä" * 125 + "b")}
    assert len(cut) == 4
    assert all(240 < len(os.fsencode(name)) <= 255 and name.endswith("_overlay.jpg") for name in cut)


def test_a_name_that_no_file_can_have_is_told_apart_from_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNameError, match="could not be written") as caught:
        replace_bytes(tmp_path / ("a" * 300), b"data")
    assert "another name" in caught.value.hint


def test_a_file_is_claimed_by_one_at_a_time_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    first, second = Claim(tmp_path / "a.mp4"), Claim(tmp_path / "a.mp4")
    other = Claim(tmp_path / "b.mp4")
    first.take()
    other.take()
    with pytest.raises(UsageError, match=r"a\.mp4 is being written by another run"):
        second.take()
    second.release()
    first.release()
    second.take()
    for claim in (first, second, other):
        claim.release()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_a_killed_run_left_keeps_nobody_away(tmp_path: Path) -> None:
    take = "claim = Claim(pathlib.Path(sys.argv[1])); claim.take(); os._exit(9)"
    script = f"import os, sys, pathlib; from trtparse.storage.files import Claim; {take}"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.mp4")]).returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == [".a.mp4.lock"]
    claim = Claim(tmp_path / "a.mp4")
    claim.take()
    claim.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error"), RuntimeError("bug")])
def test_whatever_ends_the_writing_the_older_file_stays(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError if isinstance(error, OSError) else type(error)):
        replace_bytes(path, b"newer")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_the_machine_s_error_and_the_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(MachineError, match="No space left") as caught:
            replace_bytes(path, bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(path) in caught.value.message
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_way_to_run_out_of_space_is_told_alike(code: int) -> None:
    error = write_failed(Path("a.bin"), OSError(code, os.strerror(code)))
    assert isinstance(error, MachineError)
    assert error.message == "No space left for a.bin."


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR])
def test_every_other_refusal_is_the_request_s_and_gives_the_reason(code: int) -> None:
    with pytest.raises(UsageError) as caught, write_errors(Path("a.bin")):
        raise OSError(code, os.strerror(code))
    assert os.strerror(code) in caught.value.message


def test_errors_of_our_own_pass_through_unchanged() -> None:
    error = TrtparseError("Something.", "Else.")
    with pytest.raises(TrtparseError) as caught, write_errors(Path("a.bin")):
        raise error
    assert caught.value is error


def test_a_missing_folder_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        check_output_file(tmp_path / "my videos" / "out.mp4")
    subprocess.run(caught.value.hint, shell=True, check=True)
    check_output_file(tmp_path / "my videos" / "out.mp4")


def test_a_folder_is_no_file_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        check_output_file(tmp_path)


def test_a_file_is_no_folder_to_write_to(below_a_file: Path) -> None:
    with pytest.raises(UsageError, match=r"notes\.txt is not a folder"):
        check_output_file(below_a_file)
    for folder in (below_a_file, below_a_file.parent):
        with pytest.raises(UsageError, match="is not a folder"):
            check_output_folder(folder)


def test_a_folder_for_results_is_made_with_its_parents(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b")
    check_output_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_locked_folder_is_refused_before_any_work(locked: Path) -> None:
    for refuse in (lambda: check_output_file(locked / "a.bin"), lambda: check_output_folder(locked)):
        with pytest.raises(UsageError, match="cannot be written to"):
            refuse()
    with pytest.raises(UsageError):
        check_output_folder(locked / "inside")


def test_this_module_needs_nothing_but_the_errors() -> None:
    script = "import sys, trtparse.storage.files; print(sorted(n for n in sys.modules if n.startswith('trtparse')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['trtparse', 'trtparse.errors', 'trtparse.storage', 'trtparse.storage.files']"
