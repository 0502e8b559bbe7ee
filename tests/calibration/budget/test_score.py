from __future__ import annotations

import json

import pytest

from trtparse.calibration.budget.score import Score, is_of_earlier_version
from trtparse.tasks.scoring import told_invented

SCORES = [
    Score(97.5, 99.1, 46.3, -0.02, 139, 0.1, 34.98, ("Scarf", "Skirt"), 34, ("Scarf",)),
    Score(97.5, 99.1, None, None, 8),
]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_comes_back_from_json_to_the_bit(score: Score) -> None:
    assert Score.from_dict(json.loads(json.dumps(score.to_dict()))) == score


def test_a_budget_is_held_against_the_loss_of_miou_where_there_are_label_maps() -> None:
    assert Score(97.5, 99.1, 46.3, 0.25, 139).drop == 0.25


def test_without_them_against_what_is_missing_to_full_agreement() -> None:
    assert Score(97.5, 99.1, None, None, 139).drop == 2.5


def test_a_score_of_an_earlier_version_is_read_and_told_apart() -> None:
    old = {"agreement": 97.5, "pixel_agreement": 99.1, "mean_iou": None, "loss": None, "images": 8}
    assert Score.from_dict(old) == SCORES[1]
    assert is_of_earlier_version(old)
    assert not is_of_earlier_version(SCORES[0].to_dict())


@pytest.mark.parametrize(
    ("pixels", "words"),
    [(0, "invents nothing"), (1, "invents 1 pixel of Scarf"), (3400, "invents 3,400 pixels of Scarf")],
)
def test_what_is_invented_is_told_in_pixels_and_classes(pixels: int, words: str) -> None:
    assert told_invented(pixels, ("Scarf",), "pixels") == words
