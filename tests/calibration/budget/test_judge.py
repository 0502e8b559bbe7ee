from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from trtparse.calibration.budget import judge as judge_module
from trtparse.calibration.budget.judge import GraphJudge, open_graph
from trtparse.data.dataset import Dataset, LabelMap, Sample
from trtparse.engines import Bundle
from trtparse.errors import DataError, UsageError
from trtparse.graphs.adapt import adapt
from trtparse.graphs.conventions import Said
from trtparse.graphs.front import made_up_frames
from trtparse.tasks.open import open_predictor
from trtparse.tests.graphs.foreign_graphs import foreign_boxes
from trtparse.tests.predicting import HANDS, LIP, predicting
from trtparse.validation.validate import validate

CHOSEN = (1, 3, 4, 8, 10)


class Part:
    """Some images of a dataset, or the errors of reading them; with label maps or without."""

    description = "some people"

    def __init__(self, whole: Dataset, broken: tuple[int, ...] = (), labelled: bool = True) -> None:
        self.whole, self.broken, self.labelled = whole, broken, labelled
        self.label_set = whole.label_set
        self.names = tuple(whole.names[index] for index in CHOSEN)

    def __len__(self) -> int:
        return len(CHOSEN)

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise DataError(f"{self.names[index]} cannot be read.", "Remove it.")
        sample = self.whole[CHOSEN[index]]
        return sample if self.labelled else dataclasses.replace(sample, labels=None)

    def labels(self, index: int) -> LabelMap:
        return self.whole.labels(CHOSEN[index])


@pytest.fixture(scope="module")
def graphs(pristine_bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """The bundle's graphs, to be read only."""
    return {name: onnx.load(pristine_bundle.graph(name)) for name in ("fp32", "int8", "int8-cpu")}


@pytest.fixture(scope="module")
def judge(pristine_bundle: Bundle, people: Dataset) -> GraphJudge:
    with open_predictor(pristine_bundle, "pytorch", threads=1) as reference:
        return GraphJudge(people, CHOSEN, reference, threads=1, raw=True)


@pytest.mark.parametrize("target", ["simulated", "cpu"])
def test_a_graph_scores_as_validation_has_it(
    pristine_bundle: Bundle, people: Dataset, graphs: dict[str, onnx.ModelProto], judge: GraphJudge, target: str
) -> None:
    found = judge(graphs["int8"]) if target == "simulated" else judge.score_cpu(graphs["int8-cpu"])
    with (
        open_predictor(pristine_bundle, "pytorch", threads=1) as reference,
        open_predictor(pristine_bundle, target, "int8", threads=1) as engine,
    ):
        result = validate(reference, engine, Part(people))
    first = result.first
    assert first.scores is not None
    assert first.loss is not None
    assert result.reference is not None
    assert found.images == result.images == len(CHOSEN)
    # Validation hands PyTorch all images at once, which may turn a pixel.
    assert found.agreement == pytest.approx(100 * first.agreement.mean_iou, abs=0.02)
    assert found.share == pytest.approx(100 * first.agreement.pixel_accuracy, abs=0.01)
    assert found.value == pytest.approx(100 * first.scores.mean_iou, abs=0.01)
    assert found.loss == pytest.approx(first.loss.points, abs=0.02)
    assert found.drop == found.loss
    assert found.loss_high == pytest.approx(first.loss.high, abs=0.05)
    assert found.left_out == LIP.names(first.agreement.left_out)
    assert set(found.invented_in) <= set(found.left_out)
    assert found.agreement < 100, "INT8 differs somewhere, or this proves nothing"


def test_the_reference_s_own_graph_loses_nothing(graphs: dict[str, onnx.ModelProto], judge: GraphJudge) -> None:
    score = judge(graphs["fp32"])
    assert score.agreement > 99.9
    assert score.loss == pytest.approx(0, abs=0.05)
    assert score.raw_sqnr is not None
    assert score.raw_sqnr > 80
    int8 = judge(graphs["int8"]).raw_sqnr
    assert int8 is not None
    assert 10 < int8 < 60


def test_without_label_maps_the_drop_is_what_is_missing_to_full_agreement(
    people: Dataset, graphs: dict[str, onnx.ModelProto]
) -> None:
    with predicting(open_graph(graphs["fp32"], threads=1)) as reference:
        judge = GraphJudge(Part(people, labelled=False), range(len(CHOSEN)), reference, threads=1)
    score = judge(graphs["int8"])
    assert judge.reference_value is None
    assert (score.value, score.loss, score.raw_sqnr) == (None, None, None)
    assert score.drop == 100 - score.agreement > 0


def test_frames_that_do_not_fit_into_memory_are_read_again(
    people: Dataset, graphs: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for memory in (judge_module.FRAMES_KEPT, 500_000):
        monkeypatch.setattr(judge_module, "FRAMES_KEPT", memory)
        part = Part(people)
        with predicting(open_graph(graphs["fp32"], threads=1)) as reference:
            judge = GraphJudge(part, range(len(CHOSEN)), reference, threads=1)
        part.broken = () if memory < 1_000_000 else tuple(range(len(CHOSEN)))
        scores.append(judge(graphs["int8"]))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("batch", [2, 8])
def test_a_fixed_batch_changes_no_score(graphs: dict[str, onnx.ModelProto], judge: GraphJudge, batch: int) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graphs["int8"])
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    found, expected = judge(fixed), judge(graphs["int8"])
    assert found.images == expected.images
    # Sums of another order differ in their last bits, which may turn a pixel.
    assert found.agreement == pytest.approx(expected.agreement, abs=0.05)
    assert found.loss == pytest.approx(expected.loss, abs=0.05)


def test_what_cannot_be_read_is_left_out_and_listed_or_refused(
    people: Dataset, graphs: dict[str, onnx.ModelProto]
) -> None:
    with predicting(open_graph(graphs["fp32"], threads=1)) as reference:
        judge = GraphJudge(Part(people, broken=(1, 2)), range(len(CHOSEN)), reference, threads=1)
        assert judge.images == judge(graphs["fp32"]).images == 3
        assert [name for name, _ in judge.skipped] == [people.names[3], people.names[4]]
        with pytest.raises(DataError, match="cannot be read"):
            GraphJudge(Part(people, broken=(1,)), range(len(CHOSEN)), reference, strict=True)
        with pytest.raises(DataError, match="No usable held-out image in some people"):
            GraphJudge(Part(people, broken=tuple(range(5))), range(len(CHOSEN)), reference)
        with pytest.raises(DataError, match="No usable held-out image"):
            GraphJudge(people, [], reference)


def test_the_key_tells_other_images_and_other_references_apart(
    people: Dataset, graphs: dict[str, onnx.ModelProto]
) -> None:
    def key(indices: tuple[int, ...], graph: str = "fp32", labelled: bool = True) -> str:
        with predicting(open_graph(graphs[graph], threads=1)) as reference:
            return GraphJudge(Part(people, labelled=labelled), indices, reference, threads=1).key

    keys = [key((0, 1)), key((0, 2)), key((0, 1), "int8-cpu"), key((0, 1), labelled=False)]
    assert len(set(keys)) == len(keys)
    assert key((0, 1)) == keys[0]


def test_a_graph_for_frames_of_another_size_is_refused(judge: GraphJudge, graphs: dict[str, onnx.ModelProto]) -> None:
    other = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("ReduceMax", ["frames", "axes"], ["labels"], keepdims=0)],
            "other",
            [onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, [1, 64, 64, 3])],
            [onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.UINT8, [1, 64, 64])],
            [onnx.numpy_helper.from_array(np.array([3], np.int64), "axes")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    with pytest.raises(UsageError, match="has no ArgMax"):
        judge(other)
    with predicting(open_graph(graphs["fp32"], threads=1)) as reference:
        plain = GraphJudge(GreyImage(), [0], reference, threads=1)
    with pytest.raises(UsageError, match="64x64, its reference 256x192"):
        plain(other)


class GreyImage:
    """One grey image."""

    description, names, labelled, label_set = "one image", ("grey",), False, LIP

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("grey", np.full((90, 60, 3), 128, np.uint8), None)

    def labels(self, index: int) -> LabelMap:
        raise NotImplementedError


def test_label_maps_of_another_set_than_the_reference_s_are_refused(
    people: Dataset, graphs: dict[str, onnx.ModelProto]
) -> None:
    told = r"has the label set Hands-4 .*, and some people has LIP-20"
    graph = open_graph(graphs["fp32"], threads=1)
    with predicting(graph, label_set=HANDS) as reference, pytest.raises(UsageError, match=told):
        GraphJudge(Part(people), CHOSEN, reference)


def test_logits_need_a_reference_that_gives_them(people: Dataset, graphs: dict[str, onnx.ModelProto]) -> None:
    with (
        predicting(open_graph(graphs["fp32"], threads=1)) as reference,
        pytest.raises(UsageError, match="SQNR of the raw tensor"),
    ):
        GraphJudge(people, CHOSEN, reference, raw=True)


@pytest.mark.parametrize("head", ["box8", "something32"])
def test_of_several_raw_tensors_each_head_is_seen_whatever_its_size(head: str) -> None:
    made = adapt(foreign_boxes(), Said(preset="yolox"), Path("theirs.onnx"))
    frames = made_up_frames(1, (64, 96))
    other = onnx.ModelProto()
    other.CopyFrom(made)
    (weight,) = [tensor for tensor in other.graph.initializer if tensor.name == head]
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight)[:, ::-1].copy(), head))
    with open_graph(made, threads=1, raw=True) as one, open_graph(other, threads=1, raw=True) as changed:
        found, expected = changed.raw(frames), one.raw(frames)
    assert found.shape == (1, 126 * 85, 1, 1)
    assert np.square(expected).sum() == pytest.approx(9, rel=1e-4)
    assert 0.01 < np.square(found - expected).sum() < 4
