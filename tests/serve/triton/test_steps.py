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
import onnx
import pytest
from google.protobuf import json_format, text_format

pytest.importorskip("tritonclient.grpc", reason="tritonclient, or grpcio that its protobuf comes through, is missing")
from tritonclient.grpc import model_config_pb2

import trtparse
from trtparse.data.images import decode_image, read_label_map
from trtparse.parse.images import parse_images
from trtparse.serve.model import NamedBundle
from trtparse.serve.triton.parser import ParserSpec
from trtparse.serve.triton.repository import export_repository
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.detector import open_detector
from trtparse.tests.engines.tiny_graphs import finder_graph
from trtparse.tests.predicting import HANDS
from trtparse.tests.serve.conftest import frames, hands, labels_of, write_bundle, write_finder, write_joints

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
    error: Any = ""

    def has_error(self) -> bool:
        return bool(self.error)


@dataclass
class Request:
    """One model of the repository asks another."""

    loaded: dict[str, Any]
    model_name: str
    requested_output_names: list[str]
    inputs: list[Tensor]
    preferred_memory: Any

    def exec(self) -> Response:
        if self.model_name not in self.loaded:
            return Response(error=lambda: SimpleNamespace(message=lambda: f"no model {self.model_name}"))
        (response,) = self.loaded[self.model_name].execute([self.inputs])
        assert [tensor.name for tensor in response.tensors] == self.requested_output_names
        return response


Load = Callable[..., Any]


@pytest.fixture
def load(hands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """``load(model)``: a repository's model, initialised as Triton does it."""
    loaded: dict[str, Any] = {}
    utils = SimpleNamespace(
        get_input_tensor_by_name=lambda request, name: next(one for one in request if one.name == name),
        get_output_tensor_by_name=lambda response, name: next(one for one in response.tensors if one.name == name),
        Tensor=Tensor,
        TritonError=str,
        InferenceResponse=Response,
        InferenceRequest=lambda **told: Request(loaded=loaded, **told),
        PreferredMemory=lambda kind, number: (kind, number),
        TRITONSERVER_MEMORY_CPU="cpu",
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)

    def call(name: str, bundle: Path = hands) -> Any:
        repository = tmp_path / "repository"
        detector = None if bundle.name == "finder" else finder_graph().SerializeToString()
        export_repository([NamedBundle("hands", bundle)], repository, ParserSpec("python", threads=1), None, detector)
        source = (repository / name / "1/model.py").read_text()
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        config = text_format.Parse((repository / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        model = namespace["TritonPythonModel"]()
        told = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
        loaded[name] = model
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
    (third,) = load("hands_answer", hands).execute([[Tensor("answer", found.array), made["image_size"]]])
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
    (third,) = load("hands_answer", joints).execute([[Tensor("answer", second.tensors[0].array), size]])
    assert third.tensors[0].name == "keypoints"
    with open_predictor(joints, "onnxruntime") as predictor:
        expected = predictor.look_at(decode_image(data.tobytes(), "photograph", upright=True))
    assert np.array_equal(third.tensors[0].array, expected)


def test_a_finder_s_boxes_are_those_of_a_predictor(load: Load, tmp_path: Path) -> None:
    finder = write_finder(tmp_path / "finder")
    data = cv2.imencode(".png", np.full((50, 70, 3), 255, np.uint8))[1]
    (first,) = load("hands_frame", finder).execute([[Tensor("photograph", data)]])
    frame, size = first.tensors
    parser = load("hands", finder)
    (second,) = parser.execute([[frame]])
    parser.finalize()
    (third,) = load("hands_answer", finder).execute([[Tensor("answer", second.tensors[0].array), size]])
    with open_predictor(finder, "onnxruntime") as predictor:
        expected = predictor.look_at(np.full((50, 70, 3), 255, np.uint8))
    assert len(expected) == 3
    assert np.array_equal(third.tensors[0].array, expected)


@pytest.mark.parametrize("batch", [None, 2])
def test_everybody_in_a_photograph_is_parsed_as_parse_does(load: Load, tmp_path: Path, batch: int | None) -> None:
    hands = write_bundle(tmp_path / "bundle", batch=batch)
    small = np.random.default_rng(3).integers(0, 256, (8, 5, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), cv2.resize(small, (120, 80)))
    detector = open_detector(written(tmp_path / "finder.onnx"), threads=1)
    with open_predictor(hands, "onnxruntime") as predictor:
        parse_images([tmp_path / "street.png"], predictor, tmp_path / "parsed", detector=detector)
    detector.close()
    parser, step = load("hands", hands), load("hands_people", hands)
    (answer,) = step.execute([[Tensor("photograph", np.fromfile(tmp_path / "street.png", np.uint8))]])
    label_map, people = answer.tensors
    assert np.array_equal(label_map.array, read_label_map(tmp_path / "parsed/street.png", HANDS))
    assert len(people.array) == 2
    assert (people.array[:, 4] >= 0.5).all()
    (nobody,) = step.execute([[Tensor("photograph", cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1])]])
    assert (nobody.tensors[0].array.shape, nobody.tensors[0].array.any()) == ((20, 30), False)
    assert nobody.tensors[1].array.shape == (0, 5)
    step.finalize()
    parser.finalize()


def test_everybody_s_joints_are_those_that_load_gives(load: Load, tmp_path: Path) -> None:
    joints = write_joints(tmp_path / "joints")
    small = np.random.default_rng(4).integers(0, 256, (8, 5, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), cv2.resize(small, (120, 80)))
    with trtparse.load(joints, "onnxruntime", task="pose", detector=written(tmp_path / "finder.onnx")) as find:
        expected = find(tmp_path / "street.png", people="auto").keypoints
    parser, step = load("hands", joints), load("hands_people", joints)
    (answer,) = step.execute([[Tensor("photograph", np.fromfile(tmp_path / "street.png", np.uint8))]])
    assert len(expected) == 2
    assert np.array_equal(answer.tensors[0].array, expected)
    step.finalize()
    parser.finalize()


def test_where_the_network_gives_no_answer_the_client_is_told_why(load: Load) -> None:
    step = load("hands_people")
    photograph = Tensor("photograph", cv2.imencode(".png", np.full((20, 30, 3), 255, np.uint8))[1])
    (answer,) = step.execute([[photograph]])
    assert answer.error.startswith("hands gave no answer: no model hands")
    step.finalize()


def written(path: Path) -> Path:
    """The finder's graph as a file."""
    onnx.save(finder_graph(), path)
    return path


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
