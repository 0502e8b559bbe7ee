from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.quantise.placement import place  # noqa: E402
from trtparse.errors import UsageError  # noqa: E402
from trtparse.graphs.half import to_half  # noqa: E402
from trtparse.graphs.raw import end_of  # noqa: E402
from trtparse.networks.hrnet import HRNet  # noqa: E402
from trtparse.networks.mspn import MSPN  # noqa: E402
from trtparse.networks.pose import PoseNetwork  # noqa: E402
from trtparse.networks.pose_checkpoint import PoseCheckpoint  # noqa: E402
from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.specs.decoding import DARK, HRNET, Decoding  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.skeleton import load_skeleton  # noqa: E402
from trtparse.tasks.pose.decoding import decode  # noqa: E402
from trtparse.trt_builder.export import export_onnx  # noqa: E402

COCO = load_skeleton("coco17")


class Answers:
    """A tiny network's graph, and what it, PyTorch and the reference decoding make of two frames."""

    def __init__(self, network: PoseNetwork, decoding: Decoding, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        self.network, self.decoding = network.eval(), decoding
        trained = PoseCheckpoint(self.network, Framing(size), COCO, decoding=decoding)
        self.model = export_onnx(trained, batch=2, raw=True)
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
        with torch.inference_mode():
            self.heatmaps = self.network(normalise(torch.from_numpy(self.frames))).numpy()
        self.keypoints = decode(self.heatmaps, decoding)

    def of(self, model: onnx.ModelProto) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return [np.asarray(value) for value in session.run(None, {"frames": self.frames})]


@pytest.fixture(scope="module")
def answers(tiny_mspn: MSPN) -> Answers:
    return Answers(tiny_mspn, Decoding(), (64, 96))


def test_frames_go_in_and_keypoints_in_their_pixels_come_out(answers: Answers) -> None:
    keypoints, heatmaps = answers.of(answers.model)
    assert [output.name for output in answers.model.graph.output] == ["keypoints", "heatmaps"]
    assert (keypoints.shape, keypoints.dtype) == ((2, 17, 3), np.float32)
    largest = np.abs(answers.heatmaps).max()
    np.testing.assert_allclose(heatmaps, answers.heatmaps, atol=1e-5 * largest)
    np.testing.assert_allclose(keypoints, answers.keypoints, atol=0.05)
    np.testing.assert_allclose(keypoints, decode(heatmaps, answers.decoding), atol=1e-3)


def test_it_says_what_its_joints_are_and_how_they_were_decoded(answers: Answers) -> None:
    said = {entry.key: entry.value for entry in answers.model.metadata_props}
    assert (said["task"], said["raw"]) == ("pose", "heatmaps")
    assert json.loads(said["skeleton"]) == COCO.to_dict()
    assert Decoding.from_dict(json.loads(said["decoding"])) == answers.decoding
    assert json.loads(said["input_size"]) == [64, 96]


def test_nothing_of_the_decoding_is_quantised_or_rounded_to_half(answers: Answers) -> None:
    end = end_of(answers.model)
    after = answers.model.graph.node[[node.op_type for node in answers.model.graph.node].index("ArgMax") :]
    assert all(name in end for node in after for name in node.output)
    placement = place(answers.model)
    assert not end & set(placement.activations)
    half = to_half(answers.model)
    keypoints, heatmaps = answers.of(half)
    np.testing.assert_allclose(keypoints, decode(heatmaps, answers.decoding), atol=1e-3)


def test_nvidia_s_parser_takes_it_in_both_precisions(answers: Answers) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    for model in (answers.model, to_half(answers.model)):
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
        assert parser.parse(model.SerializeToString()), parser.get_error(0).desc()
        assert network.get_output(0).dtype == trt.float32


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "decoding"), [("s-hrnet-s5", HRNET), ("s-hrnet-s5", DARK)])
def test_an_hrnet_answers_as_in_pytorch(kind: str, decoding: Decoding) -> None:
    answers = Answers(HRNet(kind), decoding, (64, 64))
    np.testing.assert_allclose(answers.of(answers.model)[0], answers.keypoints, atol=0.05)


def test_an_input_that_is_no_multiple_of_32_is_refused(tiny_mspn: MSPN) -> None:
    with pytest.raises(UsageError, match="An input of 100x64"):
        export_onnx(PoseCheckpoint(tiny_mspn, Framing((100, 64)), COCO, decoding=DARK))
