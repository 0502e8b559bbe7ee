"""What clients send that they should not, and what they are told; photographs; metrics."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so nothing is served")

from trtparse.data.images import decode_image
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import UsageError
from trtparse.parse.images import parse_images
from trtparse.serve.limits import Limits
from trtparse.serve.photographs import Photograph, check_encoded, encode_json, encode_tensor
from trtparse.serve.worker import BatchSpec
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.task import People
from trtparse.tests.demo.live.made_frames import eventually
from trtparse.tests.serve.conftest import SIZE, Serve, labels_of, write_bundle, write_joints
from trtparse.web.address import ServeAddress, listen

TOKEN = "a-token-of-some-length"
FRAME = np.full((1, *SIZE, 3), 100, np.uint8)


def connection(serving: Any) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(serving.url).netloc, timeout=20)


def asked(serving: Any, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, bytes, Any]:
    """Status, body and headers of an answer."""
    with closing(connection(serving)) as client:
        client.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = client.getresponse()
        return answer.status, answer.read(), answer.headers


def tensors(frames: np.ndarray = FRAME, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A request with a binary tensor: its body and headers."""
    tensor = {"name": "frames", "datatype": "UINT8", "shape": list(frames.shape)}
    tensor["parameters"] = {"binary_data_size": frames.nbytes}
    text = json.dumps({"inputs": [{**tensor, **changes}], "parameters": {"binary_data_output": True}}).encode()
    return text + frames.tobytes(), {"Inference-Header-Content-Length": str(len(text))}


def inferred(serving: Any, frames: np.ndarray = FRAME, **more: str) -> tuple[int, bytes]:
    body, headers = tensors(frames)
    status, told, _ = asked(serving, "/v2/models/hands/infer", body, **headers, **more)
    return status, told


def jpeg(height: int = 60, width: int = 40) -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(picture, (width, height)))[1].tobytes()


def png_that_says(height: int, width: int) -> bytes:
    """A PNG of a few bytes that unpacks to so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def jpeg_that_says(height: int, width: int) -> bytes:
    """The same of a JPEG, whose frame header begins with FFC0, a length and the bits of a value."""
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def slow(monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> None:
    """Let no pass end before ``until`` is true."""
    run = CpuEngine._run

    def waiting(self: CpuEngine, frames: np.ndarray) -> Any:
        eventually(until)
        return run(self, frames)

    monkeypatch.setattr(CpuEngine, "_run", waiting)


def waiting_clients(serving: Any, count: int) -> list[http.client.HTTPConnection]:
    """Clients that asked: the first one's frame is in a pass, the others' wait."""
    worker = serving.models["hands"].worker
    body, headers = tensors()
    clients = []
    for number in range(count):
        clients.append(connection(serving))
        clients[-1].request("POST", "/v2/models/hands/infer", body, headers)
        eventually(lambda number=number: worker._flying and worker.waiting == number)
    return clients


# Photographs.


def test_a_photograph_becomes_the_label_map_that_parse_writes(serve: Serve, hands: Any, tmp_path: Any) -> None:
    serving = serve()
    (tmp_path / "person.jpg").write_bytes(jpeg())
    with open_predictor(hands, "onnxruntime") as predictor:
        parse_images([tmp_path / "person.jpg"], predictor, tmp_path / "parsed")
    status, png, headers = asked(serving, "/models/hands/image", jpeg())
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert png == (tmp_path / "parsed/person.png").read_bytes()


def test_a_photograph_becomes_json_where_that_is_asked_for(serve: Serve) -> None:
    serving = serve()
    green = cv2.imencode(".png", np.full((30, 20, 3), (0, 200, 0), np.uint8))[1].tobytes()
    status, text, _ = asked(serving, "/models/hands/image", green, Accept="application/json")
    told = json.loads(text)
    assert (status, told["height"], told["width"], told["task"]) == (200, 30, 20, "parsing")
    assert told["pixels"] == {"Right hand": 600}
    assert base64.b64decode(told["labels_png"]) == asked(serving, "/models/hands/image", green)[1]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "The body is empty"),
        (b"GIF89a" + bytes(100), 415, "neither a JPEG nor a PNG"),
        (b"hello", 415, "neither a JPEG nor a PNG"),
        (jpeg()[:-300], 400, "The photograph is cut off"),
        (jpeg()[:20], 400, "The photograph"),
        (png_that_says(20_000, 20_000), 413, "is 20000x20000 pixels; 64000000 are read"),
        (jpeg_that_says(20_000, 20_000), 413, "is 20000x20000 pixels; 64000000 are read"),
        (png_that_says(200, 200), 400, "The photograph"),
    ],
    ids=["empty", "GIF", "text", "truncated", "beheaded", "bomb", "JPEG bomb", "hollow"],
)
def test_what_is_no_photograph_is_refused_with_the_reason(serve: Serve, body: bytes, status: int, told: str) -> None:
    serving = serve()
    found, text, _ = asked(serving, "/models/hands/image", body)
    assert (found, told in json.loads(text)["error"]) == (status, True), text
    assert asked(serving, "/models/hands/image", jpeg())[0] == 200


def test_a_photograph_of_too_many_bytes_is_not_read(serve: Serve) -> None:
    serving = serve(limits=Limits(photograph_bytes=1000))
    assert asked(serving, "/models/hands/image", jpeg() + bytes(1000))[0] == 413


def test_an_id_that_is_no_class_is_the_engine_s_fault_and_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuEngine, "_run", lambda self, frames: (np.full(frames.shape[:3], 9, np.uint8),))
    status, text, _ = asked(serve(), "/models/hands/image", jpeg())
    assert status == 500
    assert "labels pixels 9; Hands-4 ends at 3" in json.loads(text)["error"]


# Requests that are none.


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        (b"", {}, "no JSON"),
        (b"[" * 50_000, {}, "no JSON"),
        (b"[]", {}, "no JSON object"),
        (b"{}", {}, "inputs is no list"),
        (b'{"inputs": [{"name": "frames"}], "parameters": 3}', {}, "parameters is no JSON object"),
        (b'{"inputs": [{"name": "frames"}]}', {}, "frames must be (N, 48, 32, 3) UINT8, not None None"),
        (b"{}", {"Inference-Header-Content-Length": "3"}, "Inference-Header-Content-Length is '3'"),
        (b"{}", {"Inference-Header-Content-Length": "9" * 5000}, "Inference-Header-Content-Length is '9999"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, "Inference-Header-Content-Length is '-1'"),
        (b"nothing", {"Content-Encoding": "gzip"}, "cannot be unpacked"),
        (tensors()[0][:-1], tensors()[1], "has 4608 bytes; the request says 4608 and brings 4607"),
        (tensors(shape=[2, 48, 32, 3])[0], tensors(shape=[2, 48, 32, 3])[1], "has 9216 bytes"),
        (tensors(shape=[0, 48, 32, 3])[0], tensors(shape=[0, 48, 32, 3])[1], "frames must be"),
        (tensors(shape=[True, 48, 32, 3])[0], tensors(shape=[True, 48, 32, 3])[1], "frames must be"),
        (tensors(parameters={"shared_memory_region": "x"})[0], tensors()[1], "no shared_memory_region"),
    ],
)
def test_a_request_that_is_none_is_refused_and_the_server_goes_on(
    serve: Serve, body: bytes, headers: dict[str, str], told: str
) -> None:
    serving = serve()
    if "shared_memory_region" in told:
        body, headers = tensors(parameters={"shared_memory_region": "x"})
    status, text, _ = asked(serving, "/v2/models/hands/infer", body, **headers)
    assert (status, told in json.loads(text)["error"]) == (400, True), text
    assert inferred(serving)[0] == 200


@pytest.mark.parametrize("data", [[[1, 2], [3]], ["a"] * 4608, [256] * 4608, [-1] * 4608, [0.5] * 4608, None, [0]])
def test_numbers_in_json_that_are_no_frame_are_refused(serve: Serve, data: Any) -> None:
    text = json.dumps({"inputs": [{"name": "frames", "datatype": "UINT8", "shape": [1, 48, 32, 3], "data": data}]})
    status, told, _ = asked(serve(), "/v2/models/hands/infer", text)
    assert (status, "is no list of 4608 numbers" in json.loads(told)["error"]) == (400, True)


def test_a_body_larger_than_any_request_is_not_read(serve: Serve) -> None:
    serving = serve()
    assert asked(serving, "/v2/models/hands/infer", bytes(200_000))[0] == 413
    bomb = zlib.compress(bytes(5_000_000))
    assert asked(serving, "/v2/models/hands/infer", bomb, **{"Content-Encoding": "deflate"})[0] == 413


def test_a_body_of_unknown_length_is_refused(serve: Serve) -> None:
    status, _, _ = asked(serve(), "/v2/models/hands/infer", iter([b"a", b"b"]))
    assert status == 411


def test_bodies_together_have_no_more_room_than_there_is(serve: Serve) -> None:
    serving = serve(limits=Limits(bytes_at_once=5000))
    with socket.create_connection(urlsplit(serving.url).netloc.split(":")) as waiting:
        waiting.sendall(b"POST /models/hands/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n")
        eventually(lambda: serving._server._held.bytes == 4000)
        assert inferred(serving)[0] == 503
    eventually(lambda: serving._server._held.bytes == 0)
    assert inferred(serving)[0] == 200


@pytest.mark.parametrize("path", ["/", "/v2/models", "/v2/models/hands/nothing", "/models/feet/image"])
def test_a_path_that_there_is_not_is_told_as_json(serve: Serve, path: str) -> None:
    status, text, _ = asked(serve(), path, b"" if "image" in path else None)
    assert status == 404
    assert json.loads(text)["error"]


# Who is let in.


def test_without_the_token_nothing_is_told_but_health(serve: Serve) -> None:
    serving = serve(token=TOKEN)
    for path in ("/v2", "/metrics", "/v2/models/hands", "/v2/models/hands/ready", "/v2/models/stats", "/nothing"):
        status, _, headers = asked(serving, path)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), path
        assert asked(serving, path, Authorization=f"Bearer {TOKEN}")[0] == (404 if path == "/nothing" else 200), path
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert asked(serving, path)[:2] == (200, b"")


def test_a_token_is_not_guessed_at_speed(serve: Serve) -> None:
    serving = serve(token=TOKEN)
    found = [asked(serving, "/v2", Authorization=f"Bearer wrong-{number}")[0] for number in range(60)]
    assert found[0] == 401
    assert 429 in found
    assert asked(serving, "/v2", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_pages_of_others_and_names_of_others_are_refused(serve: Serve) -> None:
    serving = serve()
    assert asked(serving, "/v2", Origin="http://evil.test")[0] == 403
    assert asked(serving, "/v2", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert asked(serving, "/v2", Host="rebound.test")[0] == 403
    assert asked(serving, "/v2", Host="localhost:9")[0] == 200


def test_more_requests_than_the_rate_are_told_to_wait(serve: Serve) -> None:
    serving = serve(limits=Limits(rate=1e-3))
    found = [asked(serving, "/v2") for _ in range(2)]
    assert [status for status, _, _ in found] == [200, 429]
    assert found[1][2]["Retry-After"] == "1"


def test_other_machines_are_served_with_a_token_alone() -> None:
    from trtparse.serve.serving import Serving

    with pytest.raises(UsageError, match="a token is needed"):
        Serving([], "0.0.0.0:0")


def test_a_port_in_use_is_told_before_an_engine_is_opened(hands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtparse.serve.model import named_bundles
    from trtparse.serve.serving import Serving

    monkeypatch.setattr("trtparse.serve.serving.Model", None)
    with closing(listen(ServeAddress("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"Port {port} .* is in use"),
            Serving(named_bundles((str(hands),)), f"{port}"),
        ):
            raise AssertionError


# Clients that are slow, many, or gone.


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"POST /models/hands/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n", b"HTTP/1.1 408"),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-More: ", b""),
    ],
    ids=["body", "head"],
)
def test_a_client_that_sends_a_byte_at_a_time_is_let_go(serve: Serve, begin: bytes, told: bytes) -> None:
    serving = serve(limits=Limits(reading_seconds=0.5, silence_seconds=0.5))
    with socket.create_connection(urlsplit(serving.url).netloc.split(":"), timeout=0.05) as client:
        client.sendall(begin)
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                assert client.recv(12) == told
                break
            client.sendall(b"a")
        else:
            raise AssertionError("still there")
    assert eventually(lambda: not serving._runner.server.connections)


def test_a_client_that_takes_no_answer_is_let_go(serve: Serve, tmp_path: Any) -> None:
    serving = serve(limits=Limits(reading_seconds=0.3))
    model = serving.models["hands"]
    model.config = lambda: {"text": "x" * 30_000_000}
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", urlsplit(serving.url).port))
        client.sendall(b"GET /v2/models/hands/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert eventually(lambda: serving._server._working == 1)
        assert eventually(lambda: not serving._runner.server.connections)


def test_a_client_that_leaves_is_not_worked_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[int] = []
    slow(monkeypatch, lambda: bool(let_go))
    serving = serve()
    flying, *leaving = waiting_clients(serving, 5)
    for client in leaving:
        client.close()
    eventually(lambda: serving._server._working == 1)
    let_go.append(1)
    assert flying.getresponse().status == 200
    assert inferred(serving)[0] == 200
    assert serving.models["hands"].statistics.to_kserve("", "")["inference_count"] == 2
    flying.close()


def test_a_thousand_connections_leave_room_for_no_more_than_are_allowed(serve: Serve) -> None:
    serving = serve(limits=Limits(connections=20))
    where = urlsplit(serving.url).hostname, urlsplit(serving.url).port
    silent = []
    refused = 0
    for _ in range(1000):
        client = socket.create_connection(where, timeout=20)
        if len(silent) < 20:
            silent.append(client)
            eventually(lambda: len(serving._runner.server.connections) == len(silent))
        else:
            with client:
                refused += client.recv(1000).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
    assert refused == 980
    for client in silent:
        client.close()
    eventually(lambda: not serving._runner.server.connections)
    assert inferred(serving)[0] == 200


def test_of_connections_that_come_at_once_no_more_are_held_than_are_allowed(serve: Serve) -> None:
    serving = serve(limits=Limits(connections=20))
    where = urlsplit(serving.url).hostname, urlsplit(serving.url).port
    let_go = threading.Event()
    clients = [socket.create_connection(where, timeout=20) for _ in range(10)]
    assert eventually(lambda: len(serving._runner.server.connections) == 10)
    serving._loop.call_soon_threadsafe(let_go.wait)
    clients += [socket.create_connection(where, timeout=20) for _ in range(20)]  # all wait to be accepted
    let_go.set()
    refused = 0
    for client in clients[20:]:
        refused += client.recv(1000).startswith(b"HTTP/1.1 503")
    assert (refused, len(serving._runner.server.connections)) == (10, 20)
    for client in clients:
        client.close()


def test_more_than_may_wait_are_told_to_come_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[int] = []
    slow(monkeypatch, lambda: bool(let_go))
    serving = serve(batch=BatchSpec(most_waiting=2))
    clients = waiting_clients(serving, 3)
    body, headers = tensors()
    status, _, told = asked(serving, "/v2/models/hands/infer", body, **headers)
    assert (status, told["Retry-After"]) == (503, "1")
    assert asked(serving, "/models/hands/image", jpeg())[0] == 503
    let_go.append(1)
    assert [client.getresponse().status for client in clients] == [200] * 3
    for client in clients:
        client.close()


def test_a_client_s_own_timeout_holds(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go: list[int] = []
    slow(monkeypatch, lambda: bool(let_go))
    serving = serve()
    text = {"inputs": [{"name": "frames", "datatype": "UINT8", "shape": [1, *SIZE, 3], "data": FRAME.tolist()}]}
    text["parameters"] = {"timeout": 50_000}
    assert asked(serving, "/v2/models/hands/infer", json.dumps(text))[0] == 504
    let_go.append(1)
    assert inferred(serving)[0] == 200


# The end, engines that die, bundles that change.


def test_at_the_end_what_was_asked_is_answered_and_nothing_new_is_taken(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go: list[int] = []
    slow(monkeypatch, lambda: bool(let_go))
    serving = serve()
    body, headers = tensors()
    with closing(connection(serving)) as early, closing(connection(serving)) as kept:
        kept.request("GET", "/v2/health/ready")
        assert kept.getresponse().read() == b""
        early.request("POST", "/v2/models/hands/infer", body, headers)
        eventually(lambda: serving.models["hands"].worker._flying)
        ending = serving._loop.call_soon_threadsafe
        draining = []
        ending(lambda: draining.append(serving._loop.create_task(serving._server.drain())))
        eventually(lambda: serving._server._draining)
        kept.request("GET", "/v2/health/ready")
        assert kept.getresponse().status == 503
        let_go.append(1)
        answer = early.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert inferred(serving)[0] == 503
    assert eventually(lambda: draining[0].done())


def test_an_engine_that_dies_is_opened_anew_and_said(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = serve()
    run = CpuEngine._run
    died: list[int] = []

    def dying(self: CpuEngine, frames: np.ndarray) -> Any:
        if not died:
            died.append(1)
            raise RuntimeError("CUDA error 700")
        return run(self, frames)

    monkeypatch.setattr(CpuEngine, "_run", dying)
    status, told = inferred(serving)
    assert (status, json.loads(told)["error"]) == (503, "The engine died: CUDA error 700")
    eventually(lambda: inferred(serving)[0] == 200)
    assert "died: CUDA error 700. It is opened anew." in serving.said[0]
    assert "hands: The engine is there again" in serving.said[1]
    assert b'trtparse_engine_reopened_total{model="hands"} 1\n' in asked(serving, "/metrics")[1]


def test_an_engine_that_does_not_come_back_makes_the_server_unready_and_at_last_dead(
    serve: Serve, hands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.serve.worker._FIRST_PAUSE_SECONDS", 1e-3)
    serving = serve()
    (hands / "student.fp32.onnx").unlink()
    monkeypatch.setattr(CpuEngine, "_run", lambda self, frames: 1 / 0)
    assert inferred(serving)[0] == 503
    eventually(lambda: asked(serving, "/v2/health/live")[0] == 503)
    assert asked(serving, "/v2/health/ready")[0] == 503
    status, told = inferred(serving)
    assert status == 503
    assert "cannot be opened" in json.loads(told)["error"]
    assert "lacks student.fp32.onnx" in json.loads(told)["error"]
    (told,) = json.loads(asked(serving, "/v2/repository/index", b"")[1])
    assert told["state"] == "UNAVAILABLE"


def test_a_bundle_that_changes_on_disk_is_noticed_and_said(serve: Serve, hands: Any) -> None:
    from trtparse.engines import open_bundle
    from trtparse.engines.accuracy import Accuracy
    from trtparse.engines.bundle import add_accuracy, add_files

    serving = serve()
    model = serving.models["hands"]
    add_accuracy(open_bundle(hands), {"cpu-fp32": Accuracy("some", 7, "PyTorch", 0.99)})  # no other engine
    model.look_at_disk()
    assert not model.changed
    add_files(open_bundle(hands), {"engines/new.engine": b"engine"})
    for _ in range(2):
        model.look_at_disk()
    assert len(serving.said) == 1
    assert f"hands: The bundle {hands} was changed or removed." in serving.said[0]
    assert b'trtparse_bundle_changed{model="hands"} 1\n' in asked(serving, "/metrics")[1]
    assert inferred(serving)[0] == 200


def test_an_engine_of_another_network_is_not_opened_under_the_old_name(
    serve: Serve, hands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.serve.worker._FIRST_PAUSE_SECONDS", 1e-3)
    serving = serve()
    write_bundle(hands, batch=1)
    monkeypatch.setattr(CpuEngine, "_run", lambda self, frames: 1 / 0)
    inferred(serving)
    eventually(lambda: "was built anew in the meantime" in serving.models["hands"].worker.down)


# Several bundles, and what is told of them.


def test_several_bundles_are_served_each_under_its_name(serve: Serve, hands: Any) -> None:
    serving = serve(str(hands), f"more={hands}")
    for name in ("hands", "more"):
        assert asked(serving, f"/models/{name}/image", jpeg())[0] == 200
    text = asked(serving, "/metrics")[1].decode()
    for name in ("hands", "more"):
        assert f'trtparse_requests_total{{model="{name}",status="200"}} 1\n' in text
        assert f'trtparse_request_seconds_bucket{{model="{name}",le="+Inf"}} 1\n' in text


def test_poses_are_served_as_tensors_and_on_photographs(serve: Serve, tmp_path: Any) -> None:
    serving = serve(str(write_joints(tmp_path / "joints")))
    frames = np.random.default_rng(0).integers(0, 256, (1, 24, 16, 3), np.uint8)
    body, headers = tensors(frames)
    status, told, answer = asked(serving, "/v2/models/joints/infer", body, **headers)
    assert status == 200
    found = np.frombuffer(told[int(answer["Inference-Header-Content-Length"]) :], np.float32).reshape(1, 5, 3)
    with open_predictor(tmp_path / "joints", "onnxruntime") as predictor:
        assert np.array_equal(found, predictor.engine.infer(frames)[0])
        expected = predictor.look_at(decode_image(jpeg(), "photograph"))
    status, text, answer = asked(serving, "/models/joints/image", jpeg())
    told = json.loads(text)
    assert (status, answer["Content-Type"]) == (200, "application/json")
    assert (told["task"], told["skeleton"]) == ("pose", "five")
    assert (told["height"], told["width"], list(told["keypoints"])) == (60, 40, list("abcde"))
    np.testing.assert_allclose([told["keypoints"][name] for name in "abcde"], expected, atol=0.006)


def test_an_answer_on_a_photograph_comes_as_a_tensor_that_triton_s_client_reads(serve: Serve, tmp_path: Any) -> None:
    http_client = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    serving = serve(str(write_joints(tmp_path / "joints")), str(write_bundle(tmp_path / "hands")))
    for name, output in (("joints", "keypoints"), ("hands", "label_map")):
        status, body, answer = asked(serving, f"/models/{name}/image", jpeg(), Accept="application/octet-stream")
        assert (status, answer["Content-Type"]) == (200, "application/octet-stream")
        length = int(answer["Inference-Header-Content-Length"])
        told = http_client.InferenceServerClient.parse_response_body(body, header_length=length)
        with open_predictor(tmp_path / name, "onnxruntime") as predictor:
            expected = predictor.look_at(decode_image(jpeg(), "photograph"))
        assert np.array_equal(told.as_numpy(output), expected)


def test_people_on_a_photograph_are_told_in_words_and_as_a_tensor() -> None:
    task, rows = People(), np.array([[1, 2, 30.26, 40, 0.75], [5, 6, 7, 8, 0.5]], np.float32)
    check_encoded(task)
    whole = Photograph((60, 40), (), np.zeros((1, 32, 32, 3), np.uint8))
    told = json.loads(encode_json(task, rows, "finder", whole))
    assert (told["task"], told["height"], told["width"]) == ("people", 60, 40)
    assert told["people"] == [{"box": [1, 2, 30.3, 40], "score": 0.75}, {"box": [5, 6, 7, 8], "score": 0.5}]
    for answer in (rows, rows[:0]):
        body, end = encode_tensor(task, answer, "finder", "1", whole)
        (tensor,) = json.loads(body[:end])["outputs"]
        assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("people", "FP32", [len(answer), 5])
        assert np.array_equal(np.frombuffer(body[end:], np.float32).reshape(-1, 5), answer)


def test_bundles_of_one_name_or_of_none_are_refused(hands: Any) -> None:
    from trtparse.serve.model import named_bundles

    with pytest.raises(UsageError, match="would both be called hands") as caught:
        named_bundles((str(hands), str(hands / "bundle.json")))
    assert "NAME=" in caught.value.hint
    with pytest.raises(UsageError, match="'a b' is no name"):
        named_bundles(("a b",))
    assert [(one.name, str(one.path)) for one in named_bundles(("x=a=b", "a=c/b"))] == [("x", "a=b"), ("a", "c/b")]


def test_metrics_count_requests_by_status_in_prometheus_format(serve: Serve) -> None:
    serving = serve()
    inferred(serving)
    asked(serving, "/v2/models/hands/infer", b"{}")
    lines = asked(serving, "/metrics")[1].decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert samples['trtparse_requests_total{model="hands",status="200"}'] == "1"
    assert samples['trtparse_requests_total{model="hands",status="400"}'] == "1"
    assert samples['trtparse_frames_total{model="hands"}'] == "1"
    assert samples['trtparse_ready{model="hands"}'] == "1"
    assert float(samples['trtparse_pass_seconds_total{model="hands"}']) > 0
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    for line in samples:
        name = line.partition("{")[0]
        assert any(name == known or name.startswith(f"{known}_") for known in names), line


def test_frames_get_their_own_labels_whatever_batch_they_came_in(
    serve: Serve, frames: np.ndarray, tmp_path: Any
) -> None:
    """Also where the engine takes a fixed number."""
    serving = serve(str(write_bundle(tmp_path / "four" / "hands", batch=4)))
    for count in (1, 3, 4):
        status, body = inferred(serving, frames[:count])
        assert status == 200
        assert body.endswith(labels_of(frames[:count]).tobytes())


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_many_requests_leave_nothing_behind(serve: Serve, count: int) -> None:
    """The objects that Python holds after so many requests are those after a few."""
    import gc

    serving = serve()
    body, headers = tensors()

    def rush(number: int) -> int:
        with closing(connection(serving)) as client:
            for _ in range(number):
                client.request("POST", "/v2/models/hands/infer", body, headers)
                answer = client.getresponse()
                assert answer.status == 200
                answer.read()
        eventually(lambda: not serving._runner.server.connections)
        gc.collect()
        return len(gc.get_objects())

    rush(50)
    before = rush(10)
    assert rush(count) < before + 100
