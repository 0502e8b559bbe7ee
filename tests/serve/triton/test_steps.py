"""The models of the Python backend, called as Triton calls them, with a stand-in for its module."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import json_format, text_format

pytest.importorskip("tritonclient.grpc", reason="tritonclient, or grpcio that its protobuf comes through, is missing")
from tritonclient.grpc import model_config_pb2

from trtparse.data.images import decode_image
from trtparse.serve.model import NamedBundle
from trtparse.serve.triton.parser import ParserSpec
from trtparse.serve.triton.repository import export_repository
from trtparse.tasks.open import open_predictor
from trtparse.tests.serve.conftest import frames, hands, labels_of, write_bundle, write_joints

__all__ = ["frames", "hands"]


@dataclass
class Tensor:
    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


@dataclass
class Response:
    tensors: list[Tensor] = field(default_factory=list)
    error: str = ""


Load = Callable[..., Any]


@pytest.fixture
def load(hands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """``load(model)``: a repository's model, initialised as Triton does it."""
    utils = SimpleNamespace(
        get_input_tensor_by_name=lambda request, name: next(one for one in request if one.name == name),
        Tensor=Tensor,
        TritonError=str,
        InferenceResponse=Response,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)

    def call(name: str, bundle: Path = hands) -> Any:
        repository = tmp_path / "repository"
        export_repository([NamedBundle("hands", bundle)], repository, ParserSpec("python", threads=1), None)
        source = (repository / name / "1/model.py").read_text()
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        config = text_format.Parse((repository / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        model = namespace["TritonPythonModel"]()
        told = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
        model.initialize({"model_config": told, "model_repository": str(repository / name), "model_version": "1"})
        return model

    return call


@pytest.mark.parametrize("returns", ["labels", "logits"])
def test_a_photograph_goes_through_the_steps_as_through_a_predictor(load: Load, tmp_path: Path, returns: str) -> None:
    hands = write_bundle(tmp_path / "bundle", returns=returns)
    small = np.random.default_rng(3).integers(0, 256, (8, 5, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(small, (50, 80)))[1]
    (first,) = load("hands_frame", hands).execute([[Tensor("photograph", data)]])
    made = {tensor.name: tensor for tensor in first.tensors}
    parser = load("hands", hands)
    (second,) = parser.execute([[made["frames"]]])
    (found,) = second.tensors
    (third,) = load("hands_label_map", hands).execute([[Tensor("answer", found.array), made["image_size"]]])
    parser.finalize()
    (label_map,) = third.tensors
    assert label_map.name == "label_map"
    with open_predictor(hands, "onnxruntime") as predictor:
        image = decode_image(data.tobytes(), "photograph", upright=True)
        assert np.array_equal(label_map.array, predictor.look_at(image))


def test_a_photograph_s_joints_are_those_of_a_predictor(load: Load, tmp_path: Path) -> None:
    joints = write_joints(tmp_path / "joints")
    data = cv2.imencode(".png", np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8))[1]
    (first,) = load("hands_frame", joints).execute([[Tensor("photograph", data)]])
    frame, size = first.tensors
    parser = load("hands", joints)
    (second,) = parser.execute([[frame]])
    parser.finalize()
    (third,) = load("hands_keypoints", joints).execute([[Tensor("answer", second.tensors[0].array), size]])
    assert third.tensors[0].name == "keypoints"
    with open_predictor(joints, "onnxruntime") as predictor:
        expected = predictor.look_at(decode_image(data.tobytes(), "photograph", upright=True))
    assert np.array_equal(third.tensors[0].array, expected)


def test_each_request_gets_its_own_answer(load: Load, frames: np.ndarray) -> None:
    parser = load("hands")
    responses = parser.execute([[Tensor("frames", frames[:1])], [Tensor("frames", frames[1:4])]])
    for response, asked in zip(responses, (frames[:1], frames[1:4])):
        assert np.array_equal(response.tensors[0].array, labels_of(asked))


def test_what_is_no_photograph_is_told_and_the_next_is_served(load: Load) -> None:
    data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1]
    requests = [[Tensor("photograph", array)] for array in (np.frombuffer(b"GIF89a", np.uint8), data)]
    bad, good = load("hands_frame").execute(requests)
    assert "neither a JPEG nor a PNG" in bad.error
    assert [tensor.name for tensor in good.tensors] == ["frames", "image_size"]
