from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import onnx
import pytest

from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.scored_graphs import JudgedGraphs
from trtparse.calibration.budget.sensitivity import Measure, measure_sensitivity
from trtparse.calibration.quantise.placement import Placement, place
from trtparse.calibration.ranges import Ranges

HARMS = {"stem": (3.0, 0.1, 30.0), "head": (1.0, 0.9, 20.0), "mix": (2.0, 0.5, 10.0)}
"""Loss of agreement and of mIoU, and SQNR, of a layer alone; others are harmless."""


def named(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
    """Stands in for the graph: the names of its layers."""
    return onnx.helper.make_model(onnx.helper.make_graph([], ",".join(placement.layers) or "none", [], []))


def judge(model: onnx.ModelProto) -> Score:
    harms = [HARMS[name] for name in model.graph.name.split(",") if name in HARMS]
    agreement, loss = sum(harm[0] for harm in harms), sum(harm[1] for harm in harms)
    noise = sum(10 ** (-harm[2] / 10) for harm in harms)
    decibels = -10 * math.log10(noise) if noise else 200.0
    return Score(100 - agreement, 99.0, 50 - loss, loss, 5, loss, decibels)


@pytest.fixture
def graphs(new_ladder: Callable[..., onnx.ModelProto], ranges_for: Callable[..., Ranges]) -> JudgedGraphs:
    model = new_ladder()
    return JudgedGraphs(model, place(model), ranges_for(model), judge, quantise=named)


@pytest.mark.parametrize(
    ("measure", "order"),
    [("agreement", ["stem", "mix", "head"]), ("miou", ["head", "mix", "stem"]), ("sqnr", ["mix", "head", "stem"])],
)
def test_each_measure_has_its_own_ranking(graphs: JudgedGraphs, measure: Measure, order: list[str]) -> None:
    found = measure_sensitivity(graphs, measure)
    assert [entry.layer for entry in found.layers[:3]] == order
    assert sorted(entry.layer for entry in found.layers) == sorted(graphs.placement.layers)


def test_layers_that_do_no_harm_stay_in_the_graphs_order(graphs: JudgedGraphs) -> None:
    found = measure_sensitivity(graphs)
    harmless = [layer for layer in graphs.placement.layers if layer not in HARMS]
    assert [entry.layer for entry in found.layers[3:]] == harmless


def test_the_whole_graph_and_the_one_without_int8_are_judged_as_well(graphs: JudgedGraphs) -> None:
    found = measure_sensitivity(graphs)
    assert found.whole.loss == pytest.approx(1.5)
    assert found.none.loss == 0


def test_progress_ends_with_every_graph_judged(graphs: JudgedGraphs) -> None:
    told: list[tuple[int, int]] = []
    measure_sensitivity(graphs, progress=lambda done, total: told.append((done, total)))
    total = len(graphs.placement.layers) + 2
    assert told == [(done, total) for done in range(1, total + 1)]


def test_every_measure_grows_with_the_harm(graphs: JudgedGraphs) -> None:
    found = {entry.layer: entry for entry in measure_sensitivity(graphs).layers}
    for measure in get_args(Measure):
        assert found["stem"].harm(measure) > found["down.add"].harm(measure)
