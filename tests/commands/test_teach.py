from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.data.images import read_image, write_png
from trtparse.distillation.kept_answers import KeptAnswers
from trtparse.distillation.limbs import LIMBS, LimbMaps
from trtparse.networks.weights import DEFAULT_WEIGHTS
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.found import Found, write_found

Run = Callable[..., tuple[int, str, str]]


class Bright:
    """Sees somebody where it is bright."""

    asked = 0

    def __init__(self, path: Path, longest: int = 400, threads: int = 0) -> None:
        pass

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return image[..., 0].astype(np.float32) - 127, np.zeros((24, *image.shape[:2]), np.float32)

    def limbs(self, image: np.ndarray) -> np.ndarray:
        Bright.asked += 1
        return (image[..., 0] > 127).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("trtparse.distillation.limbs.BodyPix", Bright)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, left in enumerate((4, 150)):
        image = np.zeros((120, 200, 3), np.uint8)
        image[10:110, left : left + 40] = 255
        write_png(folder / f"{number}.png", image)
    return folder


def test_limbs_and_answers_are_kept_and_asked_for_once(run: Run, images: Path, tmp_path: Path) -> None:
    words = ("teach", images, "--body", "body.onnx", "--teacher", DEFAULT_WEIGHTS, "--output", tmp_path / "told")
    Bright.asked = 0
    code, out, _ = run(*words, "--json", "--threads", "1")
    assert (code, json.loads(out)["limbs"], json.loads(out)["answers"], Bright.asked) == (0, 2, 2, 2)
    limbs = LimbMaps.open(tmp_path / "told" / "limbs").read("1.png", (120, 200))
    assert set(np.unique(limbs[:, 150:190])) == {0, LIMBS.id_of("Person")}
    answers = KeptAnswers.open(tmp_path / "told" / "answers")
    assert (answers.input_size, answers.stretch) == ((256, 192), 1.5)
    assert answers.read("0.png").shape == (20, 64, 48)

    answers.path("0").unlink()
    kept = answers.path("1").stat().st_mtime_ns
    assert run(*words, "--json")[0] == 0
    assert Bright.asked == 2
    assert answers.path("0").is_file()
    assert answers.path("1").stat().st_mtime_ns == kept


def test_what_is_beside_all_boxes_and_shows_nobody_is_a_picture_of_nobody(
    run: Run, images: Path, tmp_path: Path
) -> None:
    boxes = [Detections(np.array([box], np.float64), np.array([0.9])) for box in ([4, 10, 44, 110], [0, 0, 60, 120])]
    found = [Found(images / f"{number}.png", (120, 200), people) for number, people in enumerate(boxes)]
    write_found(tmp_path / "boxes.json", found, images, "two")
    words = ("teach", images, "--boxes", tmp_path / "boxes.json", "--body", "body.onnx", "--output", tmp_path / "told")
    code, out, _ = run(*words, "--json")
    assert (code, json.loads(out)["nobody"]) == (0, 1)
    # Beside the box of the second picture somebody is seen all the same.
    shown = read_image(tmp_path / "told" / "nobody" / "0.jpg")
    assert shown.shape == (120, 156, 3)


def test_somebody_must_be_asked(run: Run, images: Path, tmp_path: Path) -> None:
    code, _, told = run("teach", images, "--output", tmp_path / "told")
    assert code == 2
    assert "Nobody is asked" in told


def test_images_that_would_be_kept_under_one_name_are_refused(run: Run, images: Path, tmp_path: Path) -> None:
    (images / "0.jpg").write_bytes((images / "1.png").read_bytes())
    code, _, err = run("teach", images, "--body", "body.onnx", "--output", tmp_path / "told")
    assert code == 2
    assert "0.jpg and 0.png of" in err
    assert not (tmp_path / "told" / "limbs").exists()
