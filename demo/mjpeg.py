"""MJPEG over HTTP: one JPEG after the other in a ``multipart/x-mixed-replace``, as network cameras send it.

Read here and not by FFmpeg, so that what is wrong can be told (a password, a page in place of a stream), so that
what a server may send is bounded, and so that a redirection leads nowhere.
"""

from __future__ import annotations

import base64
import http.client
from urllib.parse import SplitResult, unquote, urlsplit

import cv2
import numpy as np

from ..data.dataset import Image
from ..data.quiet import quiet_opencv
from ..errors import DataError, UsageError

_PATIENCE_SECONDS = 10.0
_LARGEST_JPEG = 64 << 20
_LONGEST_LINE = 4096
_MOST_LINES = 64
_DAMAGED_IN_A_ROW = 30
_READ_AT_ONCE = 1 << 16
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"


class MjpegStream:
    """An open stream.

    Args:
        address: http or https, with a name and a password where the camera wants them.

    Raises:
        UsageError: the address is none.
        DataError: it cannot be reached, refuses us, or is no MJPEG stream.
    """

    fps = 0.0

    def __init__(self, address: str) -> None:
        self._name = without_password(address)
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        try:
            if not parts.hostname:
                raise http.client.InvalidURL("it names no host")
            self._connection = kind(parts.hostname, parts.port, timeout=_PATIENCE_SECONDS)
            path = parts.path or "/"
            self._connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=_headers(parts))
            self._answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "it does not answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise DataError(
                f"{self._name} cannot be reached: {reason}.", "Check the address and the network."
            ) from None
        try:
            self._check()
        except DataError:
            self.close()
            raise

    def read(self) -> Image | None:
        """The next picture, (H, W, 3) uint8, BGR; None where the stream ended, stands still, or sends no JPEG."""
        try:
            for _ in range(_DAMAGED_IN_A_ROW):
                data = self._part()
                if data is None:
                    return None
                with quiet_opencv():
                    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
                if frame is not None:
                    return frame  # type: ignore[return-value]
        except (OSError, http.client.HTTPException, ValueError, cv2.error):
            return None
        return None

    def close(self) -> None:
        """Hang up. Twice is fine; only on the thread that reads."""
        self._answer.close()
        self._connection.close()

    def _check(self) -> None:
        status, kind = self._answer.status, self._answer.getheader("Content-Type", "")
        if status == 401:
            raise DataError(f"{self._name} wants a name and a password.", "Put them in: http://NAME:PASSWORD@HOST/PATH")
        if 300 <= status < 400:
            to = self._answer.getheader("Location", "elsewhere")
            raise DataError(f"{self._name} leads to {to}.", "Give that address, if you trust it.")
        if status != 200:
            raise DataError(f"{self._name} answers {status} {self._answer.reason}.", "Check the address.")
        if not kind.lower().startswith("multipart/"):
            raise DataError(
                f"{self._name} is no MJPEG stream: it sends {kind or 'an unknown kind of data'}.",
                "Give the address of the camera's MJPEG stream; download a video first.",
            )

    def _part(self) -> bytes | None:
        """The bytes of the next picture; None at the end."""
        length: int | None = None
        for _ in range(_MOST_LINES):
            line = self._answer.readline(_LONGEST_LINE)
            if not line:
                return None
            if line.startswith(_START):  # of a server that does not send the length
                return self._until_end(line)
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
            if length is not None and not line.strip():
                return self._exactly(length)
        raise ValueError("no picture in sight")

    def _exactly(self, length: int) -> bytes | None:
        if not 0 <= length <= _LARGEST_JPEG:
            raise ValueError(f"a picture of {length} bytes")
        data = self._answer.read(length)
        return data if len(data) == length else None

    def _until_end(self, begun: bytes) -> bytes | None:
        """A picture without its length: up to the end marker that a new line or a boundary follows."""
        data = bytearray(begun)
        line = begun
        while True:
            tail = bytes(data[-len(line) - 1 :])
            end = tail.rfind(_END)
            after = tail[end + 2 :].strip()
            if end >= 0 and (not after or after.startswith(b"--")):
                return bytes(data)
            line = self._answer.readline(_READ_AT_ONCE)
            if not line:
                return None
            data += line
            if len(data) > _LARGEST_JPEG:
                raise ValueError(f"a picture of more than {_LARGEST_JPEG} bytes")


def without_password(address: str) -> str:
    """An address as it may be shown.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # whose words may hold the password
        raise UsageError(
            f"{address.rpartition('@')[2]} is no address.", "In a name or a password write [ as %5B and ] as %5D."
        ) from None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": "trtparse", "Accept": "multipart/x-mixed-replace, */*;q=0.1"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    return headers
