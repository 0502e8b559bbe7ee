from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from trtparse.data import quiet
from trtparse.data.images import read_image
from trtparse.data.quiet import quiet_opencv
from trtparse.errors import DataError


def level() -> int:
    return int(cv2.utils.logging.getLogLevel())


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)


def test_opencv_s_own_line_about_an_image_stays_away(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(b"II*\0garbage")
    assert cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR) is None
    assert "TIFF" in capfd.readouterr().err
    with pytest.raises(DataError, match="is not an image"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_the_level_comes_back_when_the_last_thread_leaves() -> None:
    before = level()
    entered, leave = threading.Event(), threading.Event()

    def read() -> None:
        with quiet_opencv():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=read)
    with quiet_opencv():
        thread.start()
        entered.wait()
    assert level() == 0
    leave.set()
    thread.join()
    assert (level(), quiet._inside) == (before, 0)


def test_whoever_looks_for_a_fault_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "INFO")
    before = level()
    with quiet_opencv():
        assert level() == before
