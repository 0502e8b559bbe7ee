from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.scored_graphs import JudgedGraphs
from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.calibration.ranges import Ranges
from trtparse.errors import DataError, UsageError


class CountingJudge:
    """Scores a graph by the number of its QuantizeLinear nodes, and remembers how often it was asked."""

    def __init__(self, patience: int = 1000) -> None:
        self.asked, self.patience = 0, patience

    def __call__(self, model: onnx.ModelProto) -> Score:
        if self.asked == self.patience:
            raise KeyboardInterrupt
        self.asked += 1
        pairs = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
        return Score(100 - pairs / 7, 99.5, None, None, 3, raw_sqnr=40 - pairs / 3)


@pytest.fixture
def model(new_ladder: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


@pytest.fixture
def placement(model: onnx.ModelProto) -> Placement:
    return place(model)


@pytest.fixture
def ranges(model: onnx.ModelProto, ranges_for: Callable[..., Ranges]) -> Ranges:
    return ranges_for(model)


@pytest.fixture
def opened(
    model: onnx.ModelProto, placement: Placement, ranges: Ranges, tmp_path: Path
) -> Callable[[CountingJudge], JudgedGraphs]:
    return lambda judge: JudgedGraphs(
        model, placement, ranges, judge, record=tmp_path / "record.jsonl", about={"images": "abc"}
    )


def test_the_layers_named_are_those_in_int8(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> None:
    seen = []
    judge = CountingJudge()
    with JudgedGraphs(model, placement, ranges, lambda graph: seen.append(graph) or judge(graph)) as graphs:
        graphs.score(["stem"])
        graphs.score([])
    assert [node.name for node in seen[0].graph.node if node.op_type == "QuantizeLinear"] == [
        "image_q",
        "stem.weight_q",
    ]
    assert not any(node.op_type == "QuantizeLinear" for node in seen[1].graph.node)


def test_a_graph_is_judged_once_however_its_layers_are_ordered(
    opened: Callable[[CountingJudge], JudgedGraphs],
) -> None:
    judge = CountingJudge()
    with opened(judge) as graphs:
        assert graphs.score(["stem", "head"]) == graphs.score(("head", "stem", "stem"))
    assert judge.asked == 1


def test_a_record_goes_on_with_the_very_same_scores(
    opened: Callable[[CountingJudge], JudgedGraphs], placement: Placement
) -> None:
    with opened(CountingJudge(patience=4)) as graphs:
        first = [graphs.score([layer]) for layer in placement.layers[:4]]
        with pytest.raises(KeyboardInterrupt):
            graphs.score([placement.layers[4]])
    again = CountingJudge()
    with opened(again) as graphs:
        second = [graphs.score([layer]) for layer in placement.layers]
    assert second[:4] == first
    assert len(set(second)) > 1
    assert again.asked == len(placement.layers) - 4


@pytest.mark.parametrize("cut", [1, 25])
def test_a_line_that_a_kill_cut_off_is_judged_again(
    opened: Callable[[CountingJudge], JudgedGraphs], tmp_path: Path, cut: int
) -> None:
    with opened(CountingJudge()) as graphs:
        graphs.score(["stem"])
        expected = graphs.score(["head"])
    path = tmp_path / "record.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    judge = CountingJudge()
    with opened(judge) as graphs:
        assert graphs.score(["head"]) == expected
        graphs.score(["stem"])
    assert judge.asked == 1
    lines = path.read_text().splitlines()
    assert [json.loads(line)["int8"] for line in lines[1:]] == [["stem"], ["head"]]


def test_a_record_of_anything_else_is_refused_with_the_field_named(
    model: onnx.ModelProto, placement: Placement, ranges: Ranges, tmp_path: Path
) -> None:
    path = tmp_path / "record.jsonl"
    about = {"images": "abc"}
    with JudgedGraphs(model, placement, ranges, CountingJudge(), record=path, about=about) as graphs:
        graphs.score(["stem"])
    before = path.read_bytes()
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.initializer[1].raw_data = bytes(len(other.graph.initializer[1].raw_data))
    wider = replace(ranges, limits={**ranges.limits, "image": (-3.0, 3.0)})
    fewer = restrict(placement, placement.layers[1:])
    for field, arguments in {
        "model": (other, placement, ranges, about),
        "placement": (model, fewer, ranges, about),
        "ranges": (model, placement, wider, about),
        "images": (model, placement, ranges, {"images": "abd"}),
        "corrections": (model, placement, ranges, {**about, "corrections": "bias"}),
    }.items():
        with pytest.raises(DataError, match=f"its {field} is"):
            JudgedGraphs(*arguments[:3], CountingJudge(), record=path, about=arguments[3])
    assert path.read_bytes() == before, "a record that is refused stays as it is"


@pytest.mark.parametrize("content", [b"", b"hello\n", b"[1]\n", b"\xff\xfe"])
def test_a_file_that_is_no_record_is_left_alone(
    opened: Callable[[CountingJudge], JudgedGraphs], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "record.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no record of this work"):
        opened(CountingJudge())
    assert path.read_bytes() == content


def test_a_record_in_a_folder_that_is_missing_is_refused_before_any_judging(
    model: onnx.ModelProto, placement: Placement, ranges: Ranges, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        JudgedGraphs(model, placement, ranges, CountingJudge(), record=tmp_path / "nowhere" / "record.jsonl")


def test_a_record_of_the_version_that_scored_otherwise_is_refused_and_left_alone(
    opened: Callable[[CountingJudge], JudgedGraphs], tmp_path: Path
) -> None:
    with opened(CountingJudge()) as graphs:
        graphs.score(["stem"])
    path = tmp_path / "record.jsonl"
    head, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(head), "schema": 1}) + "\n", *rest]))
    before = path.read_bytes()
    with pytest.raises(DataError, match="of another version of trtparse: its schema is 1, now it is 2"):
        opened(CountingJudge())
    assert path.read_bytes() == before
