from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.calibration.quantise.placement import place
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import Ranges
from trtparse.errors import UsageError
from trtparse.graphs.half import to_half
from trtparse.graphs.index import property_of
from trtparse.graphs.raw import decided_from, end_of, find_argmax, find_raw, name_raw, raw_tensors
from trtparse.tests.engines.tiny_graphs import joints_graph


@pytest.fixture
def ladder(new_ladder: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    return new_ladder()


def test_the_metadata_says_what_the_raw_tensor_is_where_no_argmax_makes_labels() -> None:
    model = joints_graph(("joints",))
    assert find_argmax(model) is None
    assert find_raw(model) == "maps"
    found = end_of(model)
    assert {"maps", "rows", "place", "x", "y", "value", "joints"} <= found
    assert not {"images", "float"} & found


def test_graphs_of_older_versions_are_asked_what_argmax_reads() -> None:
    model = joints_graph(("labels", "joints"))
    del model.metadata_props[:]
    assert find_raw(model) == "maps"
    del model.graph.output[0]
    del model.graph.node[-1]
    assert find_raw(model) == ""
    # Nothing but the output is known then.
    assert end_of(model) == {"joints"}


def test_a_name_that_no_node_makes_is_an_error() -> None:
    model = joints_graph()
    name_raw(model, "logits")
    with pytest.raises(UsageError, match="calls logits the tensor that its answers are decided from"):
        end_of(model)


def test_of_a_decoding_that_nobody_told_the_last_layers_with_weights_are_its_beginning(ladder: onnx.ModelProto) -> None:
    model = joints_graph(("joints",))
    assert decided_from(model) == ("maps",)
    assert decided_from(ladder) == ("logits",)


def test_several_raw_tensors_all_stay_float_and_so_does_what_comes_of_any() -> None:
    model = joints_graph(("joints",))
    name_raw(model, "maps", "rows")
    assert raw_tensors(model) == ("maps", "rows")
    assert find_raw(model) == "maps"
    assert {"maps", "rows", "value", "joints"} <= end_of(model)
    name_raw(model, "maps", "logits")
    with pytest.raises(UsageError, match="calls logits the tensor"):
        end_of(model)


def test_what_makes_the_raw_tensor_stays_float_past_resizes_and_what_comes_after_it_as_well(
    ladder: onnx.ModelProto,
) -> None:
    found = end_of(ladder)
    assert found == {"logits", "last_resize", "argmax", "argmax_float", "labels"}
    name_raw(ladder, "last_resize")
    assert end_of(ladder) == found
    # Another name moves the end.
    name_raw(ladder, "fused")
    assert {"fused", "weighted", "head", "logits"} <= end_of(ladder)
    assert place(ladder).higher_precision["head"] == "it makes the logits"


def test_another_output_has_an_end_of_its_own(ladder: onnx.ModelProto) -> None:
    ladder.graph.node.append(helper.make_node("Sigmoid", ["left.again"], ["edges"], "edges"))
    ladder.graph.output.append(helper.make_tensor_value_info("edges", TensorProto.FLOAT, None))
    assert end_of(ladder) == {
        *("logits", "last_resize", "argmax", "argmax_float", "labels"),
        *("edges", "left.again"),
    }


@pytest.mark.parametrize("form", ["half", "int8", "int8 in half"])
def test_the_name_goes_along_into_every_precision(
    form: str, ladder: onnx.ModelProto, ranges_for: Callable[[onnx.ModelProto], Ranges]
) -> None:
    name_raw(ladder, "last_resize")
    model = ladder if form == "half" else quantise(ladder, place(ladder), ranges_for(ladder))
    made = to_half(model) if "half" in form else model
    assert property_of(made, "raw") == find_raw(made) == "last_resize"


def test_as_an_output_it_is_float32_in_half_as_well() -> None:
    half = to_half(joints_graph(("joints", "maps")))
    assert find_raw(half) == "maps"
    assert [output.type.tensor_type.elem_type for output in half.graph.output] == [TensorProto.FLOAT] * 2
    assert {"maps", "maps_half"} <= end_of(half)
