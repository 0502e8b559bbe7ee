from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.engines import Bundle
from trtparse.tasks.people.boxes import Detections
from trtparse.tests.predicting import LIP

Run = Callable[..., tuple[int, str, str]]
Demo = Callable[..., tuple[int, str, str]]


@pytest.fixture
def demo(run: Run, pristine_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Call the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run("demo", *arguments, "--bundle", pristine_bundle.path, "--threads", 1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five numbered pictures of 64x48, a grey square that stands still."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        picture = np.full((64, 48, 3), 40, np.uint8)
        picture[16:48, 12:36] = 180
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


def test_a_folder_of_images_becomes_a_video_called_by_the_folder(demo: Demo, pictures: Path) -> None:
    code, out, _ = demo(pictures)
    assert code == 0
    assert out.splitlines()[-1] == "Video: pictures-parsed.mp4"
    assert cv2.VideoCapture("pictures-parsed.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_a_name_that_nobody_chose_replaces_no_video(demo: Demo, pictures: Path) -> None:
    Path("pictures-parsed.mp4").write_text("another folder's")
    code, out, err = demo(pictures, "--fps", "10")
    assert code == 0
    assert out.splitlines()[-1] == "Video: pictures-parsed-2.mp4"
    assert "pictures-parsed.mp4 is there already; this video becomes pictures-parsed-2.mp4" in err.replace("\n", " ")
    assert Path("pictures-parsed.mp4").read_text() == "another folder's"
    assert cv2.VideoCapture("pictures-parsed-2.mp4").get(cv2.CAP_PROP_FPS) == 10


def test_images_that_cannot_be_read_are_not_called_a_file_s(demo: Demo, pictures: Path) -> None:
    (pictures / "2.png").write_text("no image")
    code, out, err = demo(pictures, "--jsonl", "frames.jsonl")
    assert code == 0
    assert "2.png is not an image. It is left out." in err.replace("\n", " ")
    assert "1 frames that should be there could not be decoded" in out.replace("\n", " ")
    assert "header" not in out


def test_records_are_written_and_no_video_beside_them(demo: Demo, pictures: Path, tmp_path: Path) -> None:
    code, out, _ = demo(pictures, "--answers", "labels", "--jsonl", "frames.jsonl", "--smooth")
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.jsonl", "labels", "pictures"]
    assert len(list(Path("labels").glob("*.png"))) == 5
    lines = [json.loads(line) for line in Path("frames.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    labels = cv2.imread("labels/frame-000002.png", cv2.IMREAD_UNCHANGED)
    assert sum(lines[2]["pixels"].values()) == 64 * 48
    assert set(lines[2]["pixels"]) <= set(LIP.classes)
    assert labels is not None
    assert "Flicker: " in out


def test_labels_of_other_classes_than_the_bundle_s_are_refused_by_both_names(demo: Demo, pictures: Path) -> None:
    code, _, err = demo(pictures, "--labels", "atr")
    assert code == 2
    assert "The bundle has the label set LIP-20 (20 classes), and --labels has ATR-18 (18 classes)" in err


class TwoPeople:
    """Finds the same two people in every frame."""

    name, sure, at_once = "two people", 0.5, 1

    def __init__(self) -> None:
        self.looked = 0

    def close(self) -> None:
        pass

    def detect(self, frames: Sequence[Any]) -> list[Detections]:
        self.looked += len(frames)
        return [Detections(np.array([[2.0, 4, 20, 60], [26.0, 4, 46, 60]]), np.array([0.9, 0.8])) for _ in frames]


def test_people_are_found_in_each_kth_frame_and_are_in_the_record(
    demo: Demo, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = TwoPeople()
    monkeypatch.setattr("trtparse.tasks.people.detector.open_detector", lambda path, threads: detector)
    code, out, _ = demo(pictures, "--detect-every", "2", "--jsonl", "frames.jsonl")
    assert code == 0
    assert "People: 2" in out
    assert detector.looked == 3
    last = json.loads(Path("frames.jsonl").read_text().splitlines()[-1])
    assert [person["id"] for person in last["people"]] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--people", "full", "--detector", "a.onnx"), "--detector is for finding people"),
        (("--people", "full", "--detect-every", "2"), "--detect-every is for finding people"),
        (("--people", "auto", "--detector", "a.onnx"), "There is no detector a.onnx"),
        (("--token", "abcdefgh"), "--token is for the page of --serve"),
        (("--serve", "0.0.0.0:0"), "so a token is needed"),
        (("--serve", "nonsense"), "nonsense names no port"),
        (("--jsonl", "no/frames.jsonl"), "no does not exist"),
        (("--fps", "0"), "0<x<=1000"),
        (("--policy", "some"), "'some' is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], said: str, demo: Demo, pictures: Path, tmp_path: Path
) -> None:
    if "--serve" in arguments:
        pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'trtparse[serve]'")
    code, _, error = demo(pictures, *arguments)
    assert (code, said in error) == (2, True), error
    assert list(tmp_path.iterdir()) == [pictures]


def test_a_page_is_served_while_the_demo_runs(demo: Demo, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'trtparse[serve]'")
    from trtparse.demo import pipeline

    answers: list[str] = []
    ready = threading.Event()
    original = pipeline.run_demo

    def look_first(*arguments: Any, **options: Any) -> Any:
        (page,) = options["observers"]
        with urllib.request.urlopen(page.url, timeout=20) as answer:
            answers.append(answer.read().decode())
        assert options["settings"] is page.settings
        assert page.settings.policy == "all"
        ready.set()
        return original(*arguments, **options)

    monkeypatch.setattr(pipeline, "run_demo", look_first)
    code, _, error = demo(pictures, "--serve", "0")
    assert code == 0, error
    assert ready.is_set()
    assert "<html" in answers[0]
    assert re.search(r"Watch it: http://127\.0\.0\.1:\d+/", error)
    assert not list(Path.cwd().glob("*.mp4"))


def test_two_bundles_of_one_task_are_refused(
    demo: Demo, pristine_bundle: Bundle, pictures: Path, tmp_path: Path
) -> None:
    code, _, error = demo(pictures, "--bundle", pristine_bundle.path)
    assert code == 2
    assert "Two bundles are for parsing; of each task one is drawn." in error.replace("\n", " ")
    assert list(tmp_path.iterdir()) == [pictures]
