"""A stream over RTSP, from a server in a thread: enough of RFC 2326 for one transport stream over TCP."""

from __future__ import annotations

import contextlib
import itertools
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from trtparse.demo import live_reader
from trtparse.demo.open_source import open_source
from trtparse.errors import DataError

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=street\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
PACKETS = 7 * 188  # of the transport stream, in each of RTP


class Server(socketserver.StreamRequestHandler):
    """Plays the same second of video to whoever comes with the right password, and hangs up."""

    video: ClassVar[bytes] = b""
    over: ClassVar[threading.Event] = threading.Event()

    def handle(self) -> None:
        while head := self._request():
            method, sequence = head[0].split()[0], next(line for line in head if line.lower().startswith("cseq"))
            allowed = any(line.startswith("Authorization: Basic bWU6c2VjcmV0") for line in head)
            if not allowed and method != "OPTIONS":
                self._answer("401 Unauthorized", sequence, 'WWW-Authenticate: Basic realm="street"')
            elif method == "DESCRIBE":
                self._answer("200 OK", sequence, "Content-Type: application/sdp", body=SDP)
            elif method == "SETUP":
                self._answer("200 OK", sequence, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1")
            elif method == "PLAY":
                self._answer("200 OK", sequence, "Session: 1")
                with contextlib.suppress(ConnectionError):  # a viewer may go before the end
                    self._play()
                return
            else:
                self._answer("200 OK", sequence, "Public: OPTIONS, DESCRIBE, SETUP, PLAY")
        return

    def _request(self) -> list[str]:
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        return lines

    def _answer(self, status: str, *lines: str, body: str = "") -> None:
        head = "\r\n".join([f"RTSP/1.0 {status}", *lines, f"Content-Length: {len(body)}", "", ""])
        self.wfile.write((head + body).encode())

    def _play(self) -> None:
        for number in range(0, len(self.video), PACKETS):
            data = self.video[number : number + PACKETS]
            rtp = struct.pack(">BBHII", 0x80, 33, number // PACKETS & 0xFFFF, number, 7) + data
            self.wfile.write(b"$\x00" + struct.pack(">H", len(rtp)) + rtp)
            self.over.wait(0.002)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("street") / "street.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MPG2"), 25, (64, 48))
    if not writer.isOpened():
        pytest.skip("OpenCV cannot write a transport stream here")
    rng = np.random.default_rng(1)
    for number in range(50):
        frame = rng.integers(0, 40, (48, 64, 3), np.uint8)
        frame[:24] = 4 * number
        writer.write(frame)
    writer.release()
    Server.video = Path(path).read_bytes()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}/street"
        Server.over.set()
        server.shutdown()


def test_an_rtsp_stream_plays_and_is_connected_to_again_when_it_hangs_up(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_reader, "_FIRST_WAIT_SECONDS", 0.01)
    told: list[str] = []
    with open_source(f"rtsp://me:secret@{server}", "all", told.append) as source:
        assert (source.size, source.name, source.live) == ((48, 64), f"rtsp://{server}", True)
        shades = [round(float(np.median(frame[:20]))) for frame in itertools.islice(source, 60)]
    assert sum(later > earlier for earlier, later in itertools.pairwise(shades)) > 45  # brighter, then from the start
    assert any(later < earlier - 60 for earlier, later in itertools.pairwise(shades))
    assert [text.partition(":")[0] for text in told[:1]] == ["rtsp"]
    assert "is lost" in told[0]
    assert "is back" in told[1]
    assert not any("secret" in text for text in told)


def test_a_wrong_password_is_an_error_that_does_not_show_it(server: str) -> None:
    with pytest.raises(DataError, match="cannot be played") as caught:
        open_source(f"rtsp://me:guessed@{server}")
    assert "guessed" not in str(caught.value)
