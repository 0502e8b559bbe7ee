from __future__ import annotations

import json

import pytest

from trtparse.calibration.budget.score import Score


@pytest.mark.parametrize("score", [Score(97.5, 99.1, 46.3, -0.02, 139, 0.1, 34.98), Score(97.5, 99.1, None, None, 8)])
def test_a_score_comes_back_from_json_to_the_bit(score: Score) -> None:
    assert Score.from_dict(json.loads(json.dumps(score.to_dict()))) == score


def test_a_budget_is_held_against_the_loss_of_miou_where_there_are_label_maps() -> None:
    assert Score(97.5, 99.1, 46.3, 0.25, 139).drop == 0.25


def test_without_them_against_what_is_missing_to_full_agreement() -> None:
    assert Score(97.5, 99.1, None, None, 139).drop == 2.5
