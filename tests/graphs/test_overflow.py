"""A transformer in FP16 keeps in FP32 what overflows there, by name and reason, and answers as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.calibration.key import CalibrationKey
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import RangeCollector, Ranges
from trtparse.engines.cpu import CpuEngine
from trtparse.graphs.computed import run
from trtparse.graphs.front import made_up_frames
from trtparse.graphs.half import to_half
from trtparse.graphs.interface import graph_precision
from trtparse.graphs.overflow import LARGEST, MARGIN, float_nodes, keep_what_overflows, overflowing
from trtparse.graphs.simulated import stored_in_half
from trtparse.tests.graphs.transformer import SIDE, transformer

FRAMES = made_up_frames(4, (SIDE, SIDE))
SEEN = made_up_frames(3, (SIDE, SIDE))[::-1, ::-1]


def limits_of(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    collector = RangeCollector(model, 1)
    collector.update("made up", SEEN)
    return collector.limits()


def agreement(model: onnx.ModelProto, half: onnx.ModelProto) -> float:
    with CpuEngine(model, "fp32", threads=1) as one, CpuEngine(stored_in_half(half), "fp16", threads=1) as other:
        same = [one.infer(frame[None])[0] == other.infer(frame[None])[0] for frame in FRAMES]
    return float(np.mean(same))


SCALED: dict[str, dict[str, Any]] = {
    "layer norms": {"embedding": 300.0},
    "attention": {"attention": 150.0},
    "both": {"embedding": 300.0, "attention": 150.0},
}


@pytest.mark.parametrize("scaled", SCALED)
def test_plain_fp16_is_wrong_and_with_what_overflows_in_fp32_it_is_right(scaled: str) -> None:
    model = transformer(**SCALED[scaled])
    assert len(np.unique(run(model, {"frames": FRAMES[:1]})["labels"])) >= 4
    plain = agreement(model, to_half(model))
    kept = agreement(model, to_half(keep_what_overflows(model, limits_of(model))))
    assert plain < 0.9
    assert kept >= 0.995


def test_a_transformer_whose_values_are_small_keeps_nothing() -> None:
    model = transformer()
    assert overflowing(model, limits_of(model)) == {}
    assert keep_what_overflows(model, limits_of(model)) is model
    assert agreement(model, to_half(model)) >= 0.995


def test_what_stays_is_named_with_the_reason_and_nothing_else_stays() -> None:
    model = transformer(**SCALED["both"])
    marked = keep_what_overflows(model, limits_of(model))
    found = float_nodes(marked)
    assert {"norm1.squares", "norm1.variance", "scores", "scores.scaled"} <= set(found)
    assert found["norm1.squares"].startswith("norm1.squares reaches")
    assert not {"value", "wide", "head", "patches", "weights", "mixed"} & set(found)
    half = to_half(marked)
    assert graph_precision(half) == "fp16"
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert types["wide.weight"] == TensorProto.FLOAT16
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    made = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    assert made["active"] == made["weights"] == TensorProto.FLOAT16
    assert {made[name] for node in half.graph.node if node.name == "norm1.variance" for name in node.output} == {
        TensorProto.FLOAT
    }


def test_a_layer_norm_in_one_node_is_known_by_its_squares() -> None:
    model = transformer(embedding=300.0, decomposed=False)
    found = overflowing(model, limits_of(model))
    assert set(found) == {"norm1", "norm2", "norm3"}
    assert all("the squares of" in reason for reason in found.values())


def test_a_constant_that_vanishes_keeps_its_division() -> None:
    model = transformer(epsilon=1e-12)
    found = overflowing(model, limits_of(model))
    assert {"norm1.kept", "norm1.root", "norm1.whitened"} <= set(found)
    assert "norm1.epsilon is 0 in FP16" in found["norm1.kept"]
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)  # a variance of 0
    marked = to_half(keep_what_overflows(model, limits_of(model)))
    np.testing.assert_array_equal(run(marked, {"frames": black})["labels"], run(model, {"frames": black})["labels"])


def test_others_may_reach_further_than_what_was_seen() -> None:
    model = transformer()
    reaching = {**limits_of(model), "active": (0.0, LARGEST / MARGIN * 0.99)}
    assert overflowing(model, reaching) == {}
    reaching["active"] = (0.0, LARGEST / MARGIN * 1.01)
    assert set(overflowing(model, reaching)) == {"active", "narrow"}


def test_logits_that_stay_are_still_an_output_in_fp32() -> None:
    model = transformer()
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
    marked = keep_what_overflows(model, {"head": (0.0, 60000.0)})
    assert set(float_nodes(marked)) == {"head", "logits"}
    found = run(to_half(marked), {"frames": FRAMES[:1]})
    assert found["logits"].dtype == np.float32
    np.testing.assert_allclose(found["logits"], run(model, {"frames": FRAMES[:1]})["logits"], atol=0.2)


def test_int8_keeps_it_as_well() -> None:
    model = transformer(**SCALED["layer norms"])
    limits = limits_of(model)
    marked = keep_what_overflows(model, limits)
    ranges = Ranges(limits, ("a",), (), "made up", 0, {}, CalibrationKey("", "", ""))
    half = to_half(quantise(marked, place(marked), ranges))
    assert float_nodes(half) == float_nodes(marked)
    assert graph_precision(half) == "int8"
    with CpuEngine(model, "fp32", threads=1) as one, CpuEngine(half, "int8", threads=1, simulate=True) as other:
        same = [one.infer(frame[None])[0] == other.infer(frame[None])[0] for frame in FRAMES]
    assert np.mean(same) > 0.9
