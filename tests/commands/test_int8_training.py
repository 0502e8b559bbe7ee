from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lsfa-r18-lip",), "--int8 goes by no recipe, and lsfa-r18-lip is one"),
        (("--teacher", "t.pth", "--data", "a"), "--teacher is not for --int8"),
        (("--input-size", "64x64", "--data", "a"), "--input-size is not for --int8"),
        (("--unlabelled", "a"), "give the images as --data"),
        ((), "INT8 is trained on images"),
        (("--data", "a", "--data", "b"), "INT8 is trained on one --data"),
        (("--data", "a", "--batch", "1"), "The recipe's batch is 2 or more"),
        (("--data", "a", "--set", "loss.kll=1"), "Did you mean loss.kl"),
        (("--data", "a", "--set", "pace=-1"), "pace is 0 or more"),
        (("--data", "none"), "none"),
    ],
)
def test_what_int8_training_cannot_be_given_is_told(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run("distill", "--int8", "--output", tmp_path / "run", *arguments)
    assert code == 2
    assert said in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_a_folder_with_few_images_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    (tmp_path / "few").mkdir()
    for number in range(15):
        cv2.imwrite(str(tmp_path / "few" / f"{number}.png"), np.full((64, 64, 3), number, np.uint8))
    code, _, err = run("distill", "--int8", "--data", tmp_path / "few", "--output", tmp_path / "run")
    assert code == 2
    assert "holds 15 images" in " ".join(err.split())
    assert not (tmp_path / "run").exists()
