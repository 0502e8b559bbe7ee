from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from trtparse.demo import live_reader
from trtparse.demo.live_sources import mjpeg
from trtparse.demo.mjpeg import MjpegStream
from trtparse.errors import DataError

SIZE = (24, 32)


def jpeg(number: int) -> bytes:
    image = np.full((*SIZE, 3), 10 * number, np.uint8)
    image[::3, ::5] = 255  # so that there are bytes in it that mean something else in the protocol
    return cv2.imencode(".jpg", image)[1].tobytes()


class Camera(http.server.BaseHTTPRequestHandler):
    """Five pictures, in the ways of different cameras, and then it hangs up."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/")
        if name == "page":
            self._head("text/html")
            self.wfile.write(b"<html>")
        elif name == "moved":
            self.send_response(302)
            self.send_header("Location", "http://10.0.0.1/admin")
            self.end_headers()
        elif name == "locked" and self.headers.get("Authorization") != "Basic bWU6c2UgY3JldA==":
            self.send_error(401)
        elif name == "gone":
            self.send_error(404)
        else:
            self._stream(name)

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def _stream(self, name: str) -> None:
        self._head("multipart/x-mixed-replace; boundary=frame")
        for number in range(5):
            data = jpeg(number)
            head = b"--frame\r\nContent-Type: image/jpeg\r\n"
            if name == "short":
                head, data = b"--frame\n\n", data + (b"\n" if number % 2 else b"")
            elif name == "damaged" and number == 2:
                head, data = head + b"Content-Length: 9\r\n\r\n", b"no jpeg!!"
            elif name == "huge" and number == 2:
                head += b"Content-Length: 99999999999\r\n\r\n"
            elif name == "cut" and number == 3:
                self.wfile.write(head + f"Content-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
                return
            elif name == "words" and number == 2:
                self.wfile.write(b"word\r\n" * 5000)
                return
            else:
                head += f"content-length: {len(data)}\r\n\r\n".encode()
                data += b"\r\n"
            self.wfile.write(head + data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def shades(address: str) -> list[int]:
    stream = MjpegStream(address)
    found = []
    while (frame := stream.read()) is not None:
        assert (frame.shape, frame.dtype) == ((*SIZE, 3), np.uint8)
        found.append(round(float(np.median(frame)) / 10))
    stream.close()
    stream.close()
    return found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("usual?resolution=32x24", [0, 1, 2, 3, 4]),
        ("short", [0, 1, 2, 3, 4]),
        ("damaged", [0, 1, 3, 4]),
        ("huge", [0, 1]),
        ("cut", [0, 1, 2]),
        ("words", [0, 1]),
    ],
)
def test_the_pictures_of_a_stream_are_read_up_to_where_it_breaks(server: str, name: str, wanted: list[int]) -> None:
    assert shades(f"{server}/{name}") == wanted


def test_a_name_and_a_password_are_sent(server: str) -> None:
    assert shades(server.replace("//", "//me:se%20cret@") + "/locked") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("locked", "wants a name and a password"),
        ("page", "is no MJPEG stream: it sends text/html"),
        ("moved", r"leads to http://10\.0\.0\.1/admin"),
        ("gone", "answers 404"),
    ],
)
def test_what_is_no_stream_is_told_apart(server: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        MjpegStream(f"{server}/{name}")
    assert caught.value.hint


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "http:///a", "http://127.0.0.1:x/", "http://127.0.0.1/a b"])
def test_what_cannot_be_reached_says_so(address: str) -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        MjpegStream(address)


def test_a_stream_that_hangs_up_is_connected_to_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_reader, "_FIRST_WAIT_SECONDS", 0.01)
    told: list[str] = []
    with mjpeg(f"{server}/usual", "all", told.append) as source:
        shades = [round(float(np.median(frame)) / 10) for frame in itertools.islice(source, 12)]
        assert shades == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
        assert source.times_lost >= 2
    assert f"{server}/usual is lost" in told[0]
    assert f"{server}/usual is back" in told[1]
