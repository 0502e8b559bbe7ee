"""The modules against the reference on arrays, in PyTorch and as graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.graphs.opset import OPSET  # noqa: E402
from trtparse.networks.pose_decoding.create import create_decoder  # noqa: E402
from trtparse.specs.decoding import DARK, HRNET, LOGITS, MSPN, Decoding  # noqa: E402
from trtparse.tasks.pose.decoding import decode  # noqa: E402

SIZE = (20, 15)
ALL = {
    "sign-shift": HRNET,
    "second-highest": MSPN,
    "second-highest, MPII": Decoding("second-highest", 9, offset=2.0),
    "dark": DARK,
    "logits": LOGITS,
}


def maps(*, as_logits: bool) -> np.ndarray:
    """(4, 60, 20, 15): peaks anywhere, at borders and in corners too, with noise and a lower second peak."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    shape = (4, 60, 1, 1)
    y, x = rng.uniform(-0.4, SIZE[0] - 0.6, shape), rng.uniform(-0.4, SIZE[1] - 0.6, shape)
    other_y, other_x = rng.uniform(0, SIZE[0] - 1, shape), rng.uniform(0, SIZE[1] - 1, shape)
    squared = (rows - y) ** 2 + (columns - x) ** 2
    if as_logits:
        return (12 - squared / 4.5 + 0.05 * rng.normal(size=squared.shape)).astype(np.float32)
    values = np.exp(-squared / 8) + 0.4 * np.exp(-((rows - other_y) ** 2 + (columns - other_x) ** 2) / 8)
    return (rng.uniform(0.3, 1.1, shape) * values + 0.004 * rng.normal(size=values.shape)).astype(np.float32)


class Everything(torch.nn.Module):
    """All decodings in one graph: an export takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.decoders = torch.nn.ModuleList(create_decoder(decoding, 1, SIZE) for decoding in ALL.values())

    def forward(self, heatmaps: torch.Tensor, logits: torch.Tensor) -> list[torch.Tensor]:
        return [d(logits if d.decoding.kind == "logits" else heatmaps) for d in self.decoders]


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    program = torch.onnx.export(
        Everything().eval(),
        (torch.zeros(4, 60, *SIZE), torch.zeros(4, 60, *SIZE)),
        input_names=["maps", "logit_maps"],
        output_names=list(ALL),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


@pytest.mark.parametrize("name", ALL)
def test_every_decoding_is_the_reference_s(name: str) -> None:
    heatmaps = maps(as_logits=ALL[name].kind == "logits")
    with torch.inference_mode():
        found = create_decoder(ALL[name], 1, SIZE)(torch.from_numpy(heatmaps)).numpy()
    np.testing.assert_allclose(found, decode(heatmaps, ALL[name]), atol=0.02)


def test_every_decoding_is_the_reference_s_as_a_graph(graph: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"maps": maps(as_logits=False), "logit_maps": maps(as_logits=True)}
    for decoding, found in zip(ALL.values(), session.run(list(ALL), feed)):
        heatmaps = feed["logit_maps" if decoding.kind == "logits" else "maps"]
        np.testing.assert_allclose(found, decode(heatmaps, decoding), atol=0.02)


def test_nvidia_s_parser_takes_every_decoding(graph: onnx.ModelProto) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(graph.SerializeToString()), parser.get_error(0).desc()


@pytest.mark.parametrize("name", ["sign-shift", "dark"])
def test_a_joint_without_a_value_above_0_is_in_the_first_cell(name: str) -> None:
    heatmaps = -np.ones((1, 1, *SIZE), np.float32) - maps(as_logits=False)[:1, :1] ** 2
    expected = decode(heatmaps, ALL[name])
    found = create_decoder(ALL[name], 1, SIZE)(torch.from_numpy(heatmaps)).numpy()
    assert found[0, 0, :2].tolist() == expected[0, 0, :2].tolist() == [ALL[name].offset] * 2
    assert found[0, 0, 2] == expected[0, 0, 2] < 0


def test_half_heatmaps_are_decoded_in_single_precision() -> None:
    heatmaps = maps(as_logits=False)
    found = create_decoder(DARK, 1, SIZE)(torch.from_numpy(heatmaps).half())
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
