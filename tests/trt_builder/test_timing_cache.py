"""Timings outlive builds that are killed, and two builds at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trtparse.errors import UsageError
from trtparse.trt_builder import timing_cache


def test_there_is_one_cache_beside_the_bundles_for_each_tensorrt_and_gpu(tmp_path: Path) -> None:
    paths = {
        timing_cache.default_path(tmp_path / bundle, target, version, capability)
        for bundle in ("a", "b")
        for target, version, capability in (
            ("tensorrt", "10.3.0", "8.7"),
            ("tensorrt", "10.3.0", "8.6"),
            ("tensorrt", "8.6.2", "8.7"),
        )
    }
    assert len(paths) == 3
    assert tmp_path / "timing" / "tensorrt-10.3.0-sm87.cache" in paths


def test_what_is_written_is_read_and_nothing_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "timing" / "a.cache"
    assert timing_cache.read(path) is None
    with timing_cache.locked(path):
        timing_cache.write(path, b"measured")
    assert timing_cache.read(path) == b"measured"


def test_a_second_build_waits_and_says_so(tmp_path: Path) -> None:
    path, told, got_in = tmp_path / "a.cache", threading.Event(), threading.Event()

    def second() -> None:
        with timing_cache.locked(path, told.set):
            got_in.set()

    with timing_cache.locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        assert told.wait(60)
        assert not got_in.is_set()
    thread.join(20)
    assert got_in.is_set()


def test_a_build_that_is_killed_leaves_the_cache_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    timing_cache.write(path, b"old and whole")
    script = (
        "import sys, time; from pathlib import Path; from trtparse.trt_builder import timing_cache\n"
        "path = Path(sys.argv[1])\n"
        "with timing_cache.locked(path):\n"
        "    (path.parent / '.a.partial.cache').write_bytes(b'half')\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    held = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    os.kill(held.pid, signal.SIGKILL)
    held.wait()
    held.stdout.close()
    waited = threading.Event()
    with timing_cache.locked(path, waited.set):
        assert timing_cache.read(path) == b"old and whole"
    assert not waited.is_set()


def test_a_place_that_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is not a folder"), timing_cache.locked(tmp_path / "file" / "a.cache"):
        raise AssertionError("locked where there is no folder")
