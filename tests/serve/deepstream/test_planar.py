"""The planar graph against the graph that it was made of, by nvinfer's own loop."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.errors import UsageError
from trtparse.graphs.planar import planar_graph
from trtparse.serve.deepstream.nvinfer import agreement, nvinfer_labels
from trtparse.tests.serve.conftest import brightness_graph


def by_the_loop(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """nvinfer's loop, pixel by pixel."""
    count, classes, height, width = probabilities.shape
    found = np.full((count, height, width), -1, np.int32)
    for n in range(count):
        for y in range(height):
            for x in range(width):
                highest = -1.0
                for c in range(classes):
                    value = probabilities[n, c, y, x]
                    if value > highest and value > threshold:
                        found[n, y, x], highest = c, value
    return found


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.9]), st.booleans())
def test_nvinfer_s_loop_takes_the_first_of_the_highest_above_the_threshold(
    seed: int, threshold: float, logits: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-4 if logits else 0, 5, (1, 3, 2, 2)).astype(np.float32) / 4
    assert np.array_equal(nvinfer_labels(values, threshold), by_the_loop(values, threshold))


def test_raw_logits_would_lose_pixels() -> None:
    logits = np.array([-3, -1], np.float32).reshape(1, 2, 1, 1)
    assert nvinfer_labels(logits).item() == -1
    assert nvinfer_labels(np.exp(logits)).item() == 1


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_the_student_s_planar_graph_labels_people_as_the_student_does(
    pristine_bundle: Bundle, frames: Frames, name: str
) -> None:
    path = pristine_bundle.graph(name)
    planar = planar_graph(onnx.load(path), (256, 192), None, 20)
    assert [value.name for value in planar.graph.input] == ["images"]
    assert [value.name for value in planar.graph.output] == ["probabilities"]
    assert "ArgMax" not in {node.op_type for node in planar.graph.node}
    ours, theirs = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for model in (path.read_bytes(), planar.SerializeToString())
    )
    (labels,) = ours.run(["labels"], {"frames": frames[:2]})
    (probabilities,) = theirs.run(None, {"images": frames[:2].transpose(0, 3, 1, 2).astype(np.float32)})
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert len(np.unique(labels)) > 5
    assert agreement(labels, nvinfer_labels(probabilities)) == 1


def test_a_graph_that_reads_frames_without_a_cast_gets_bytes() -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 20]>
        bytes (uint8[N, 4, 6, 3] frames) => (uint8[N, 4, 6] labels) {
            turned = Transpose <perm = [0, 3, 1, 2]> (frames)
            scores = Cast <to = 10> (turned)
            best = ArgMax <axis = 1, keepdims = 0> (scores)
            labels = Cast <to = 2> (best)
        }
        """
    )
    planar = planar_graph(model, (4, 6), None, 3)
    frames = np.random.default_rng(0).integers(0, 9, (2, 4, 6, 3), np.uint8)
    session = onnxruntime.InferenceSession(planar.SerializeToString())
    (probabilities,) = session.run(None, {"images": frames.transpose(0, 3, 1, 2).astype(np.float32)})
    assert probabilities.dtype == np.float32
    assert np.array_equal(nvinfer_labels(probabilities), frames.argmax(axis=3))


def test_labels_of_no_argmax_are_refused() -> None:
    with pytest.raises(UsageError, match="no ArgMax over channels"):
        planar_graph(brightness_graph(), (48, 32), None, 4)
