"""Photographs of several people: found by the server, looked at one by one, and answered about together."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so nothing is served")

import trtparse
from trtparse.errors import UsageError
from trtparse.parse.images import parse_images
from trtparse.serve.worker import BatchSpec
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.detector import open_detector
from trtparse.tests.demo.live.made_frames import eventually
from trtparse.tests.engines.tiny_graphs import finder_graph
from trtparse.tests.serve.conftest import Serve, write_bundle, write_finder, write_joints
from trtparse.tests.serve.test_server import asked, jpeg

STREET = cv2.imencode(".png", cv2.resize(np.random.default_rng(3).integers(0, 256, (8, 5, 3), np.uint8), (120, 80)))[1]
DARK = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1]


@pytest.fixture
def detector(tmp_path: Path) -> Any:
    """Opens one that sees two people in the street, and nobody in the dark."""
    onnx.save(finder_graph(), tmp_path / "finder.onnx")
    return partial(open_detector, tmp_path / "finder.onnx", threads=1)


def parsed(photograph: np.ndarray, bundle: Path, detector: Any, folder: Path) -> bytes:
    """The label map that ``parse --people auto`` writes."""
    (folder / "one.png").write_bytes(photograph)
    finding = detector()
    with open_predictor(bundle, "onnxruntime", threads=1) as predictor:
        parse_images([folder / "one.png"], predictor, folder / "parsed", detector=finding)
    finding.close()
    return (folder / "parsed/one.png").read_bytes()


@pytest.mark.parametrize(("batch", "most"), [(None, 1), (None, 4), (2, 2)])
@pytest.mark.parametrize("photograph", [STREET, DARK], ids=["street", "dark"])
def test_everybody_in_a_photograph_is_parsed_as_parse_does(
    serve: Serve, detector: Any, tmp_path: Path, photograph: np.ndarray, batch: int | None, most: int
) -> None:
    bundle = write_bundle(tmp_path / "some/hands", batch=batch)
    serving = serve(str(bundle), open_detector=detector, batch=BatchSpec(most))
    status, png, headers = asked(serving, "/models/hands/people", photograph.tobytes())
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert png == parsed(photograph, bundle, detector, tmp_path)
    assert serving.models["hands"].statistics.frames == (0 if photograph is DARK else 2)


def test_people_are_told_beside_the_label_map(serve: Serve, detector: Any, hands: Any) -> None:
    http_client = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    serving = serve(open_detector=detector)
    path, body = "/models/hands/people", STREET.tobytes()
    told = json.loads(asked(serving, path, body, Accept="application/json")[1])
    assert len(told["people"]) == 2
    assert all(person["score"] >= 0.5 for person in told["people"])
    assert sum(told["pixels"].values()) == 80 * 120
    _, tensors, headers = asked(serving, path, body, Accept="application/octet-stream")
    length = int(headers["Inference-Header-Content-Length"])
    answer = http_client.InferenceServerClient.parse_response_body(tensors, header_length=length)
    assert answer.as_numpy("label_map").shape == (80, 120)
    boxes = [person["box"] for person in told["people"]]
    np.testing.assert_allclose(answer.as_numpy("people")[:, :4], boxes, atol=0.06)


def test_everybody_s_joints_are_those_that_load_gives(serve: Serve, detector: Any, tmp_path: Path) -> None:
    http_client = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    bundle = write_joints(tmp_path / "joints")
    (tmp_path / "street.png").write_bytes(STREET)
    with trtparse.load(bundle, "onnxruntime", task="pose", detector=tmp_path / "finder.onnx") as find:
        expected = find(tmp_path / "street.png", people="auto").keypoints
    serving = serve(str(bundle), open_detector=detector)
    told = json.loads(asked(serving, "/models/joints/people", STREET.tobytes())[1])
    assert (len(expected), len(told["people"]), len(told["poses"])) == (2, 2, 2)
    for pose, joints in zip(told["poses"], expected):
        np.testing.assert_allclose([pose["keypoints"][name] for name in "abcde"], joints, atol=0.006)
    _, body, headers = asked(serving, "/models/joints/people", STREET.tobytes(), Accept="application/octet-stream")
    length = int(headers["Inference-Header-Content-Length"])
    answer = http_client.InferenceServerClient.parse_response_body(body, header_length=length)
    assert np.array_equal(answer.as_numpy("keypoints"), expected)


def test_photographs_side_by_side_get_their_own_answers(serve: Serve, detector: Any, hands: Any) -> None:
    serving = serve(open_detector=detector)
    turned = [cv2.imencode(".png", np.roll(cv2.imdecode(STREET, 1), 10 * step, 1))[1].tobytes() for step in range(4)]
    alone = [asked(serving, "/models/hands/people", body)[1] for body in turned]
    assert len(set(alone)) == 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda step: asked(serving, "/models/hands/people", turned[step % 4])[1], range(16)))
    assert together == 4 * alone


def test_more_photographs_than_may_wait_are_told_to_come_again(serve: Serve, detector: Any, hands: Any) -> None:
    """Also while none has come to the engine yet."""
    let_go = threading.Event()

    class Slow:
        name, sure, at_once, close = "slow", 0.5, 1, staticmethod(lambda: None)

        def detect(self, frames: Any) -> list[Detections]:
            assert let_go.wait(60)
            return [Detections(np.zeros((0, 4)), np.zeros(0)) for _ in frames]

    serving = serve(open_detector=Slow, batch=BatchSpec(most_waiting=2))
    with ThreadPoolExecutor(2) as pool:
        flying = [pool.submit(asked, serving, "/models/hands/people", STREET.tobytes()) for _ in range(2)]
        assert eventually(lambda: serving._server._photographs == 2)
        status, _, told = asked(serving, "/models/hands/people", STREET.tobytes())
        assert (status, told["Retry-After"]) == (503, "1")
        let_go.set()
        assert [one.result()[0] for one in flying] == [200, 200]
    assert serving._server._photographs == 0


def test_bad_photographs_are_refused_as_elsewhere(serve: Serve, detector: Any) -> None:
    serving = serve(open_detector=detector)
    for body, status in ((b"", 400), (b"GIF89a", 415), (jpeg()[:-300], 400)):
        assert asked(serving, "/models/hands/people", body)[0] == status
    assert asked(serving, "/models/hands/people", STREET.tobytes())[0] == 200


def test_where_nobody_is_looked_for_it_is_said(serve: Serve, detector: Any, tmp_path: Path) -> None:
    status, text, _ = asked(serve(), "/models/hands/people", STREET.tobytes())
    assert (status, "--people auto" in json.loads(text)["error"]) == (404, True)
    finder = str(write_finder(tmp_path / "finder"))
    with pytest.raises(UsageError, match="nothing here looks at people"):
        serve(finder, open_detector=detector)
    both = serve(finder, str(tmp_path / "hands"), open_detector=detector)
    status, text, _ = asked(both, "/models/finder/people", STREET.tobytes())
    assert (status, "finder finds people itself" in json.loads(text)["error"]) == (501, True)
    assert asked(both, "/models/hands/people", STREET.tobytes())[0] == 200
