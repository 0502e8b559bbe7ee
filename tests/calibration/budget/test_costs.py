from __future__ import annotations

import math
from collections.abc import Callable

import onnx
import pytest

from trtparse.calibration.budget.costs import describe, int8_share, layer_costs, multiply_adds
from trtparse.calibration.quantise.placement import place, restrict
from trtparse.errors import BuildError

NewLadder = Callable[..., onnx.ModelProto]


@pytest.mark.parametrize("batch", [None, 4])
def test_multiply_adds_are_those_of_one_frame(new_ladder: NewLadder, batch: int | None) -> None:
    counts = multiply_adds(new_ladder(batch))
    assert counts["stem"] == 16 * 16 * 16 * 3 * 9
    assert counts["down.project"] == 4 * 4 * 32 * 16
    assert counts["depthwise"] == 4 * 4 * 32 * 9, "a depthwise filter has one channel"
    assert counts["up"] == 32 * 4 * 4 * 16 * 2 * 2, "a transposed filter is laid over every input"


def test_costs_of_all_layers_add_up_to_one(new_ladder: NewLadder) -> None:
    model = new_ladder()
    placement = place(model)
    costs = layer_costs(model, placement)
    assert tuple(costs) == placement.layers
    assert math.isclose(sum(costs.values()), 1)
    assert 0 < costs["down.add"] < costs["down.conv1"], "an addition is work, but little"


def test_the_share_of_int8_counts_its_convolutions_alone(new_ladder: NewLadder) -> None:
    model = new_ladder()
    placement, counts = place(model), multiply_adds(model)
    assert int8_share(counts, restrict(placement, [])) == 0
    assert int8_share(counts, restrict(placement, ["down.add"])) == 0
    only = int8_share(counts, restrict(placement, ["stem"]))
    assert math.isclose(only, counts["stem"] / sum(counts.values()))
    assert only < int8_share(counts, placement) < 1, "the logits and the attention stay in higher precision"


def test_layers_are_told_in_words(new_ladder: NewLadder) -> None:
    words = describe(new_ladder())
    assert words["stem"] == "Conv 3×3 3→16"
    assert words["depthwise"] == "Conv 3×3 32→32 depthwise"
    assert words["up"] == "ConvTranspose 2×2 32→16"
    assert words["pool"] == "MaxPool"


def test_a_convolution_of_unknown_size_is_named(new_ladder: NewLadder) -> None:
    model = new_ladder()
    for axis in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "any"
    with pytest.raises(BuildError, match="stem"):
        multiply_adds(model)
