from __future__ import annotations

from trtparse.engines.outputs import output_specs
from trtparse.graphs.raw_output import with_raw_output
from trtparse.tests.engines.tiny_graphs import joints_graph


def test_a_graph_says_names_types_and_shapes_and_the_raw_tensor_stands_apart() -> None:
    model = joints_graph(("labels", "joints"))
    outputs, raw = output_specs(model)
    assert [(spec.name, spec.dtype) for spec in outputs] == [("labels", "uint8"), ("joints", "float32")]
    assert raw is None
    again, raw = output_specs(with_raw_output(joints_graph(("joints",)), True))
    assert (again, raw.name, raw.dtype) == ((outputs[1],), "maps_as_output", "float32")
