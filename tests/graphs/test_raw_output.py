from __future__ import annotations

import pytest

from trtparse.errors import UsageError
from trtparse.graphs.raw import find_raw
from trtparse.graphs.raw_output import with_raw_output
from trtparse.tests.engines.tiny_graphs import joints_graph


def given(model: object) -> list[str]:
    return [output.name for output in model.graph.output]


def test_the_raw_tensor_becomes_an_output_of_a_copy_that_names_it_and_ceases_to_be_one() -> None:
    model = joints_graph(("joints",))
    before = model.SerializeToString()
    with_it = with_raw_output(model, True)
    assert model.SerializeToString() == before
    assert given(with_it) == ["joints", "maps_as_output"]
    assert find_raw(with_it) == "maps_as_output"
    assert given(with_raw_output(with_it, True)) == given(with_it)
    assert given(with_raw_output(with_it, False)) == given(with_raw_output(model, False)) == ["joints"]


def test_a_graph_of_which_nobody_knows_the_raw_tensor_cannot_give_it() -> None:
    model = joints_graph(("joints",))
    del model.metadata_props[:]
    with pytest.raises(UsageError, match="does not name its raw tensor"):
        with_raw_output(model, True)
    assert given(with_raw_output(model, False)) == ["joints"]
