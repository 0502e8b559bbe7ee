from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo.sinks import VideoSink
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.found import read_found

Run = Callable[..., tuple[int, str, str]]


CLOSED: list[object] = []


class Bright:
    """Finds whatever is bright."""

    name, sure, at_once = "bright", 0.5, 1

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self.look(frame) for frame in frames]

    def close(self) -> None:
        CLOSED.append(self)

    def look(self, frame: np.ndarray) -> Detections:
        rows, columns = np.nonzero(frame[..., 0] > 127)
        if not len(rows):
            return Detections(np.zeros((0, 4)), np.zeros(0))
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections(np.array([box], np.float64), np.array([0.9]))


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOSED.clear()
    monkeypatch.setattr("trtparse.tasks.people.detector.open_detector", lambda *_, **__: Bright())


def picture(left: int) -> np.ndarray:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:40, left : left + 10] = 255
    return image


def test_people_in_a_folder_become_a_file_of_boxes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture(5))
    cv2.imwrite(str(folder / "b.png"), np.zeros((48, 64, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")

    code, out, _ = run("find", folder, "--detector", "any.onnx", "--output", tmp_path / "boxes.json", "--json")

    assert code == 0
    assert len(CLOSED) == 1
    told = json.loads(out)
    assert told["people"] == 1
    assert [Path(one["image"]).name for one in told["skipped"]] == ["broken.jpg"]
    one, other = read_found(tmp_path / "boxes.json", folder)
    assert one.people.boxes.tolist() == [[5, 8, 15, 40]]
    assert len(other.people) == 0


def test_of_videos_the_pictures_that_were_looked_at_are_kept(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with VideoSink(tmp_path / f"{name}.mp4", 25.0, (48, 64)) as sink:
            for number in range(12):
                sink.write(picture(2 * number))
    videos = (tmp_path / "one.mp4", tmp_path / "two.mp4")
    options = ("--detector", "any.onnx", "--output", tmp_path / "boxes.json", "--every", "2", "--until", "0.5")

    code, out, _ = run("find", *videos, *options)

    assert code == 0
    assert "6 people" in out
    found = read_found(tmp_path / "boxes.json", tmp_path / "boxes")
    assert [one.image.relative_to(tmp_path / "boxes").as_posix() for one in found] == [
        f"{name}/{number:06d}.jpg" for name in ("one", "two") for number in (0, 2, 4)
    ]
    assert all(one.read().shape == (48, 64, 3) for one in found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none",), "There is no none"),
        ((".", "."), "Several sources must all be videos"),
        ((".", "--since", "0.5", "--until", "0.5"), "Nothing lies since 0.5 until 0.5"),
        (("a/walk.mp4", "b/walk.avi"), "Two videos are called walk"),
    ],
)
def test_what_cannot_be_looked_at_is_told(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for video in ("a/walk.mp4", "b/walk.avi"):
        Path(video).parent.mkdir()
        Path(video).touch()
    code, _, err = run("find", *arguments, "--detector", "any.onnx", "--output", "boxes.json")
    assert code != 0
    assert said in " ".join(err.split())


def test_a_folder_without_images_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run("find", tmp_path / "empty", "--detector", "any.onnx", "--output", tmp_path / "boxes.json")
    assert code != 0
    assert "There is no image" in err
    assert not (tmp_path / "boxes.json").exists()
