from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from trtparse.calibration.budget.costs import layer_costs
from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.search import Outcome, meet_budget, pareto
from trtparse.calibration.quantise.placement import Placement, place
from trtparse.calibration.ranges import Ranges
from trtparse.errors import AccuracyError, DataError, UsageError

Search = Callable[..., Outcome]


def named(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
    """Stands in for the graph: the names of its layers."""
    return onnx.helper.make_model(onnx.helper.make_graph([], ",".join(placement.layers) or "none", [], []))


class AddingJudge:
    """Every layer in INT8 loses its own points, and they add up; FP16 loses ``floor``."""

    def __init__(self, harms: Mapping[str, float], floor: float = 0.0, patience: int = 10_000) -> None:
        self.harms, self.floor, self.patience = harms, floor, patience
        self.asked: list[str] = []

    def __call__(self, model: onnx.ModelProto) -> Score:
        if len(self.asked) == self.patience:
            raise KeyboardInterrupt
        self.asked.append(model.graph.name)
        loss = self.floor + sum(self.harms.get(name, 0.0) for name in model.graph.name.split(","))
        return Score(100 - loss, 99.0, 60 - loss, loss, 7)


@pytest.fixture(scope="module")
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture(scope="module")
def placement(model: onnx.ModelProto) -> Placement:
    return place(model)


@pytest.fixture(scope="module")
def convolutions(placement: Placement) -> list[str]:
    return [name for site in placement.weights for name in site.layers]


@pytest.fixture(scope="module")
def search(model: onnx.ModelProto, placement: Placement, ranges_for: Callable[..., Ranges]) -> Search:
    def run(judge: AddingJudge, budget: float, record: Path | None = None, **options: Any) -> Outcome:
        return meet_budget(model, placement, ranges_for(model), judge, budget, record, quantise=named, **options)

    return run


def test_full_int8_is_kept_where_it_fits_and_nothing_else_is_judged(search: Search, placement: Placement) -> None:
    judge = AddingJudge({"stem": 0.2})
    outcome = search(judge, 0.2)
    assert outcome.placement == placement
    assert outcome.given_back == ()
    assert len(judge.asked) == 1


def test_the_layer_that_costs_most_goes_and_the_others_stay(search: Search, placement: Placement) -> None:
    outcome = search(AddingJudge({"depthwise": 0.9, "stem": 0.1}), 0.3)
    assert outcome.given_back == ("depthwise",)
    assert outcome.score.loss == pytest.approx(0.1)
    assert "depthwise" not in outcome.placement.layers
    assert "at most 0.3 points" in outcome.placement.higher_precision["depthwise"]
    assert set(outcome.placement.layers) == {*placement.layers} - {"depthwise"}


def test_of_two_layers_that_harm_alike_the_cheaper_one_goes(
    search: Search, model: onnx.ModelProto, placement: Placement
) -> None:
    costs = layer_costs(model, placement)
    assert costs["down.project"] < costs["stem"]
    judge = AddingJudge({"stem": 0.5, "down.project": 0.5})
    assert search(judge, 0.6).given_back == ("down.project",)
    measured = {**dict.fromkeys(placement.layers, 1.0), "stem": 0.1}
    assert search(AddingJudge(judge.harms), 0.6, milliseconds=measured).given_back == ("stem",)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=some.data(), budget=some.floats(0, 5))
def test_the_budget_holds_and_no_layer_was_given_back_for_nothing(
    search: Search, placement: Placement, convolutions: list[str], data: some.DataObject, budget: float
) -> None:
    layers = some.sampled_from(placement.layers)
    harms = data.draw(some.dictionaries(layers, some.floats(0, 2, width=16), max_size=12))
    floor = data.draw(some.sampled_from([0.0, 0.0, 1.0]))
    possible = floor <= budget and any(floor + harms.get(name, 0.0) <= budget for name in convolutions)
    if not possible:
        with pytest.raises(AccuracyError):
            search(AddingJudge(harms, floor), budget)
        return
    outcome = search(AddingJudge(harms, floor), budget)
    assert outcome.score.drop <= budget
    assert outcome.placement.weights, "no convolution is in INT8"
    for layer in outcome.given_back:
        assert outcome.score.drop + harms.get(layer, 0.0) > budget - 1e-9, f"{layer} was given back for nothing"


def test_a_killed_search_goes_on_to_the_same_graph_and_judges_nothing_twice(search: Search, tmp_path: Path) -> None:
    harms = {"stem": 0.4, "depthwise": 0.4, "head": 0.2, "mix": 0.05}
    whole = AddingJudge(harms)
    expected = search(whole, 0.3)
    record = tmp_path / "search.jsonl"
    asked: list[str] = []
    for _ in range(100):
        judge = AddingJudge(harms, patience=5)
        try:
            found = search(judge, 0.3, record)
        except KeyboardInterrupt:
            asked += judge.asked
        else:
            asked += judge.asked
            break
    assert found == expected
    assert asked == whole.asked, "the same graphs in the same order, each once"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [",".join(line["int8"]) or "none" for line in lines[1:]] == whole.asked


def test_a_scout_ranks_the_layers_and_holds_nothing_against_the_budget(search: Search, tmp_path: Path) -> None:
    judge, scout = AddingJudge({"stem": 0.5, "head": 0.1}), AddingJudge({"head": 9.0, "stem": 0.0})
    record = tmp_path / "search.jsonl"
    outcome = search(judge, 0.3, record, scout=scout)
    assert outcome.given_back == ("stem",), "the scout was wrong; the judge was not"
    assert outcome.score.drop == pytest.approx(0.1)
    assert "stem" in scout.asked
    assert "stem" not in judge.asked, "alone"
    again = AddingJudge({}, patience=0)
    assert search(again, 0.3, record, scout=again) == outcome


def test_progress_never_goes_back_or_past_its_end(search: Search) -> None:
    told: list[tuple[int, int]] = []
    search(AddingJudge({"stem": 0.4, "head": 0.3}), 0.1, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= total for done, total in told)


def test_another_budget_goes_on_with_the_same_record(search: Search, tmp_path: Path) -> None:
    harms = {"stem": 0.4, "depthwise": 0.4, "head": 0.2}
    record = tmp_path / "search.jsonl"
    search(AddingJudge(harms), 0.5, record)
    second = AddingJudge(harms)
    assert search(second, 0.3, record).score.drop <= 0.3
    assert len(second.asked) < 10, "the layers alone were judged before"


def test_the_record_of_other_images_is_refused(search: Search, tmp_path: Path) -> None:
    record = tmp_path / "search.jsonl"
    search(AddingJudge({}), 0.5, record, about={"images": "a"})
    with pytest.raises(DataError, match="its images is a, now it is b"):
        search(AddingJudge({}), 0.5, record, about={"images": "b"})


def test_a_budget_below_what_fp16_loses_says_so_before_any_layer_is_judged(search: Search) -> None:
    judge = AddingJudge({"stem": 1.0}, floor=0.25)
    with pytest.raises(AccuracyError, match=r"without any INT8 loses 0\.25 points .* budget is 0\.2"):
        search(judge, 0.2)
    assert len(judge.asked) == 2


def test_where_nothing_fits_the_nearest_graph_is_named(search: Search, convolutions: list[str]) -> None:
    harms = {name: 2.0 + number / 100 for number, name in enumerate(convolutions)}
    with pytest.raises(
        AccuracyError, match=r"No INT8 graph loses at most 1 points of mean IoU\. .* loses 2\."
    ) as error:
        search(AddingJudge(harms), 1.0)
    assert error.value.exit_code == 4
    assert "layers in INT8" in error.value.message


@pytest.mark.parametrize("budget", [-0.1, float("nan"), 101])
def test_what_is_no_budget_is_refused(search: Search, budget: float) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        search(AddingJudge({}), budget)


def test_no_point_of_the_curve_is_beaten_by_another(search: Search) -> None:
    outcome = search(AddingJudge({"stem": 0.4, "depthwise": 0.4, "head": 0.2, "right": 0.3}), 0.3)
    curve = pareto(outcome.points)
    assert len(outcome.points) > len(curve) > 1
    for one in curve:
        assert not any(other.saved >= one.saved and other.score.drop < one.score.drop for other in outcome.points)
    assert frozenset(outcome.placement.layers) in {frozenset(point.int8) for point in outcome.points}
