"""The protocol as Triton's own client speaks it, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so nothing is served")
pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")

from tritonclient import http
from tritonclient.utils import InferenceServerException

from trtparse.serve.worker import BatchSpec
from trtparse.tests.serve.conftest import Serve, labels_of

TOKEN = "a-token-of-some-length"


@pytest.fixture
def client(serve: Serve) -> Iterator[Any]:
    serving = serve(batch=BatchSpec(most_frames=4))
    client = http.InferenceServerClient(serving.url.removeprefix("http://"))
    yield client
    client.close()


def asked(frames: np.ndarray, binary: bool = True) -> list[Any]:
    tensor = http.InferInput("frames", list(frames.shape), "UINT8")
    tensor.set_data_from_numpy(frames, binary_data=binary)
    return [tensor]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_frames_become_the_engine_s_arrays_bit_for_bit(
    client: Any, frames: np.ndarray, binary_in: bool, binary_out: bool
) -> None:
    outputs = [http.InferRequestedOutput("labels", binary_data=binary_out)]
    answer = client.infer("hands", asked(frames[:3], binary_in), outputs=outputs, request_id="seven")
    assert np.array_equal(answer.as_numpy("labels"), labels_of(frames[:3]))
    told = answer.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == ("hands", "1", "seven")


def test_without_named_outputs_all_come(client: Any, frames: np.ndarray) -> None:
    assert np.array_equal(client.infer("hands", asked(frames[:1])).as_numpy("labels"), labels_of(frames[:1]))


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_compressed_requests_are_unpacked(client: Any, frames: np.ndarray, how: str) -> None:
    answer = client.infer("hands", asked(frames[:2]), request_compression_algorithm=how)
    assert np.array_equal(answer.as_numpy("labels"), labels_of(frames[:2]))


def test_requests_side_by_side_get_their_own_answers(serve: Serve, frames: np.ndarray) -> None:
    url = serve(batch=BatchSpec(most_frames=4, delay=0.01)).url.removeprefix("http://")
    client = http.InferenceServerClient(url, concurrency=5)
    flying = [client.async_infer("hands", asked(frames[index : index + 1])) for index in range(5)]
    for index, request in enumerate(flying):
        assert np.array_equal(request.get_result().as_numpy("labels"), labels_of(frames[index : index + 1]))
    client.close()


def test_the_client_reads_health_metadata_configuration_and_index(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("hands")
    assert client.is_model_ready("hands", "1")
    assert not client.is_model_ready("feet")
    assert client.get_server_metadata()["name"] == "trtparse"
    told = client.get_model_metadata("hands")
    assert told["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, 48, 32, 3]}]
    assert told["outputs"] == [{"name": "labels", "datatype": "UINT8", "shape": [-1, 48, 32]}]
    config = client.get_model_config("hands")
    assert config["max_batch_size"] == 4
    assert config["input"] == [{"name": "frames", "data_type": "TYPE_UINT8", "dims": [48, 32, 3]}]
    index = client.get_model_repository_index()
    assert index == [{"name": "hands", "version": "1", "state": "READY", "reason": ""}]


def test_the_client_reads_statistics(client: Any, frames: np.ndarray) -> None:
    client.infer("hands", asked(frames[:3]))
    client.infer("hands", asked(frames[:1]))
    (told,) = client.get_inference_statistics("hands")["model_stats"]
    assert (told["inference_count"], told["execution_count"]) == (4, 2)
    assert told["inference_stats"]["success"]["count"] == 2
    assert told["inference_stats"]["compute_infer"]["ns"] > 0
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in told["batch_stats"]] == [(1, 1), (3, 1)]
    assert client.get_inference_statistics()["model_stats"] == [told]


@pytest.mark.parametrize(
    ("model", "version", "shape", "kind", "name", "told"),
    [
        ("feet", "", (1, 48, 32, 3), np.uint8, "frames", "There is no model 'feet'. Here are: hands"),
        ("hands", "2", (1, 48, 32, 3), np.uint8, "frames", "no version '2'"),
        ("hands", "", (1, 32, 48, 3), np.uint8, "frames", r"frames must be \(N, 48, 32, 3\) UINT8"),
        ("hands", "", (48, 32, 3), np.uint8, "frames", r"frames must be \(N, 48, 32, 3\) UINT8"),
        ("hands", "", (1, 48, 32, 3), np.float32, "frames", "FP32"),
        ("hands", "", (1, 48, 32, 3), np.uint8, "image", "The one input is frames; the request has image"),
        ("hands", "", (5, 48, 32, 3), np.uint8, "frames", "5 frames in one request; 4 are the most"),
    ],
)
def test_what_is_no_request_for_the_model_is_refused_with_what_it_takes(
    client: Any, model: str, version: str, shape: tuple[int, ...], kind: Any, name: str, told: str
) -> None:
    kinds = {np.uint8: "UINT8", np.float32: "FP32"}
    tensor = http.InferInput(name, list(shape), kinds[kind])
    tensor.set_data_from_numpy(np.zeros(shape, kind))
    with pytest.raises(InferenceServerException, match=told):
        client.infer(model, [tensor], version)


def test_an_output_that_there_is_not_is_refused(client: Any, frames: np.ndarray) -> None:
    with pytest.raises(InferenceServerException, match="There is no output logits"):
        client.infer("hands", asked(frames[:1]), outputs=[http.InferRequestedOutput("logits")])


@pytest.mark.parametrize("more", [{"sequence_id": 3, "sequence_start": True}, {"class_count": 2}])
def test_what_this_server_has_not_is_refused(client: Any, frames: np.ndarray, more: dict[str, Any]) -> None:
    outputs = [http.InferRequestedOutput("labels", class_count=more.pop("class_count", 0))]
    with pytest.raises(InferenceServerException, match="This server has no"):
        client.infer("hands", asked(frames[:1]), outputs=outputs, **more)


def test_the_token_comes_as_a_header(serve: Serve, frames: np.ndarray) -> None:
    client = http.InferenceServerClient(serve(token=TOKEN).url.removeprefix("http://"))
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.is_server_ready()
    for headers in ({}, {"Authorization": "Bearer wrong-token"}):
        with pytest.raises(InferenceServerException, match="A token is needed"):
            client.infer("hands", asked(frames[:1]), headers=headers)
    answer = client.infer("hands", asked(frames[:1]), headers=right)
    assert np.array_equal(answer.as_numpy("labels"), labels_of(frames[:1]))
    client.close()
