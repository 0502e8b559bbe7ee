"""Reading a request's body: no more than allowed, and not more of all requests together than there is room for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aiohttp import web

from .worker import BusyError


class TooLargeError(Exception):
    """A body has more bytes than allowed."""


class Held:
    """Counts the bytes of bodies that are held at once.

    Args:
        most: of them; a single body may have more.
    """

    def __init__(self, most: int) -> None:
        self._most, self.bytes = most, 0

    @contextlib.contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Room for so many bytes while the block runs.

        Raises:
            BusyError: there is none.
        """
        if self.bytes and self.bytes + count > self._most:
            raise BusyError
        self.bytes += count
        try:
            yield
        finally:
            self.bytes -= count


async def read_body(request: web.Request, most: int, held: Held, stack: contextlib.ExitStack) -> bytearray:
    """A request's body, unpacked where it came compressed.

    Args:
        request: whose body nobody has read.
        most: bytes that it may have.
        held: counts it, until the stack is closed.
        stack: of the request.

    Raises:
        TooLargeError: it has more; no more than that was read.
        BusyError: bodies of others take all the room.
        HTTPLengthRequired: it does not tell its length.
        ConnectionError: the client left.
    """
    length = request.content_length
    if length is None:
        if not request.body_exists:
            return bytearray()
        raise web.HTTPLengthRequired
    if length > most:
        raise TooLargeError
    compressed = "Content-Encoding" in request.headers
    stack.enter_context(held.reserved(most if compressed else length))
    body = bytearray()
    async for piece in request.content.iter_any():
        if len(body) + len(piece) > most:
            raise TooLargeError
        body += piece
    return body
