from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from trtparse.engines.cpu import CpuEngine  # noqa: E402
from trtparse.graphs.index import GraphIndex  # noqa: E402
from trtparse.graphs.raw import end_of, find_raw  # noqa: E402
from trtparse.networks.finder import Finder, FinderSpec, decode  # noqa: E402
from trtparse.networks.finder_checkpoint import FinderCheckpoint  # noqa: E402
from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.trt_builder.export import export_onnx  # noqa: E402

OPERATORS = {
    *("Cast", "Transpose", "Mul", "Add", "Sub", "Conv", "Relu", "Resize", "Slice", "Clip", "Exp", "Concat", "Reshape"),
    *("MaxPool", "GreaterOrEqual", "Sigmoid", "TopK", "Unsqueeze", "Expand", "GatherElements", "Shape", "Gather"),
}
"""TensorRT's ONNX parser knows all of them."""


def test_a_graph_of_any_batch_answers_as_the_network_and_names_what_it_decodes() -> None:
    torch.manual_seed(0)
    network = Finder(FinderSpec(people=5, widths=(8, 8, 16, 16, 16), neck=16)).eval()
    model = export_onnx(FinderCheckpoint(network, Framing((64, 96))), batch=None)
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    with torch.no_grad():
        expected = decode(network(normalise(torch.from_numpy(frames))), 5).numpy()

    with CpuEngine(model, "fp32", threads=1) as engine:
        (found,) = engine.infer(frames)

    assert engine.batch is None
    assert found.shape == (3, 5, 5)
    assert np.abs(found - expected).max() < 1e-3
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    raw = GraphIndex(model.graph).producer(find_raw(model))
    assert raw is not None
    assert (raw.op_type, raw.name) == ("Conv", "answer")
    assert {"boxes", raw.output[0]} <= end_of(model)
