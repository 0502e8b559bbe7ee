"""What INT8 makes slower goes back to FP16, where the whole is faster without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import onnx
import pytest

from trtparse.calibration.budget.earning import Earned, Savings, earn_place
from trtparse.calibration.quantise.placement import Placement, place


class RecordedTimer:
    """Each layer saves what was recorded; ``lean`` is what a call takes without the slower ones."""

    def __init__(self, saved: dict[str, float] | None, lean: float | None) -> None:
        self.saved, self.lean = saved, lean
        self.asked: list[str] = []

    def savings(self, layers: Collection[str], int8: onnx.ModelProto, half: onnx.ModelProto) -> Savings | None:
        self.asked.append("savings")
        return None if self.saved is None else Savings(dict.fromkeys(layers, 0.1) | self.saved, 2.0, 3.0, "Orin")

    def milliseconds(self, int8: onnx.ModelProto) -> float | None:
        self.asked.append(int8.graph.name)
        return self.lean


@pytest.fixture(scope="module")
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


def typed(placement: Placement) -> onnx.ModelProto:
    """Stands in for the graph: the names of its layers."""
    return onnx.helper.make_model(onnx.helper.make_graph([], ",".join(placement.layers), [], []))


def _earn(model: onnx.ModelProto, timer: RecordedTimer, record: Path | None = None) -> Earned | None:
    return earn_place(place(model), model, typed, timer, record)


def test_layers_that_int8_makes_slower_go_back_where_that_makes_the_whole_faster(model: onnx.ModelProto) -> None:
    timer = RecordedTimer({"depthwise": -0.3, "stem": -0.1}, lean=1.7)
    earned = _earn(model, timer)
    assert earned is not None
    assert sorted(earned.slower) == ["depthwise", "stem"]
    assert set(earned.placement.layers) == {*place(model).layers} - {"depthwise", "stem"}
    assert "slower in INT8" in earned.placement.higher_precision["stem"]
    assert earned.milliseconds == 1.7
    assert json.loads(json.dumps(earned.to_dict()))["without_slower"] == 1.7


@pytest.mark.parametrize("lean", [2.0, 2.4, None])
def test_they_stay_where_the_whole_is_no_faster_without_them_or_nobody_knows(
    lean: float | None, model: onnx.ModelProto
) -> None:
    earned = _earn(model, RecordedTimer({"depthwise": -0.3}, lean))
    assert earned is not None
    assert earned.placement == place(model)
    assert (earned.slower, earned.milliseconds) == ((), None)


def test_where_every_layer_gains_nothing_more_is_built(model: onnx.ModelProto) -> None:
    timer = RecordedTimer({}, 1.0)
    earned = _earn(model, timer)
    assert earned is not None
    assert earned.placement == place(model)
    assert timer.asked == ["savings"]


def test_where_every_convolution_loses_all_stay_for_the_engines_to_be_compared(model: onnx.ModelProto) -> None:
    placement = place(model)
    timer = RecordedTimer(dict.fromkeys(placement.layers, -1.0), 1.0)
    earned = _earn(model, timer)
    assert earned is not None
    assert earned.placement == placement
    assert timer.asked == ["savings"]


def test_where_nothing_can_be_timed_nothing_is_said(model: onnx.ModelProto, tmp_path: Path) -> None:
    assert _earn(model, RecordedTimer(None, None), tmp_path / "times.json") is None
    assert not (tmp_path / "times.json").exists()


def test_a_killed_build_takes_the_times_of_before_and_another_graph_does_not(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    record = tmp_path / "times.json"
    first = _earn(model, RecordedTimer({"depthwise": -0.3}, 1.7), record)
    again = RecordedTimer({"stem": -0.3}, 1.0)
    assert _earn(model, again, record) == first
    assert again.asked == []
    record.write_text(record.read_text().replace('"key": "', '"key": "0'))
    other = _earn(model, again, record)
    assert other is not None
    assert other.slower == ("stem",)
    record.write_text("{")
    assert _earn(model, again, record) == other
