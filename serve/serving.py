"""A server while its block runs: bundles are opened, a socket is listened on, and at the end nothing asked is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ..engines.machine.dependencies import require
from ..errors import UsageError
from ..tasks.people.detector import PersonDetector
from ..web.access import Credentials, own_names
from ..web.address import ServeAddress, check_token, listen, url_of
from .limits import Limits
from .model import Model, NamedBundle, Opening
from .worker import BatchSpec

_FAREWELL_SECONDS = 2.0
"""For connections that are idle, and answers that are on their way."""

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 34\r\n\r\n{"error": "Too many connections."}'
)

Result = TypeVar("Result")


class Serving:
    """Serves bundles while its block runs::

        with Serving(named_bundles(("build/student",)), "127.0.0.1:8000") as serving:
            print(serving.url)
            serving.wait()

    Args:
        bundles: what is served.
        address: ``HOST:PORT``, ``[IPV6]:PORT``, or ``PORT`` of this machine alone; port 0 takes a free one.
        token: what a client has to know; needed where other machines can reach the server.
        engine: how engines are opened.
        batch: how requests become batches.
        limits: of what clients can make it do.
        version: of the program, for the protocol.
        say: told what a person should know, from any thread.
        open_detector: opens what finds the people in photographs; None serves photographs of one person alone.

    Attributes:
        url: where it answers, once entered.
        models: by their names, once entered.

    Raises:
        UsageError: no HOST:PORT, or a token that is missing or too short. On entering: an unknown host, a port in use,
            no bundle; a detector, and bundles that find people themselves alone.
        MachineError: on entering: aiohttp is not installed, the system refuses, an engine cannot be opened.
    """

    def __init__(
        self,
        bundles: Sequence[NamedBundle],
        address: str,
        token: str = "",
        *,
        engine: Opening = Opening(),
        batch: BatchSpec = BatchSpec(),
        limits: Limits = Limits(),
        version: str = "",
        say: Callable[[str], None] = lambda text: None,
        open_detector: Callable[[], PersonDetector] | None = None,
    ) -> None:
        self._address = ServeAddress.parse(address)
        check_token(self._address, token)
        self._bundles, self._token, self._engine, self._batch = bundles, token, engine, batch
        self._limits, self._version, self._say = limits, version, say
        self._open_detector = open_detector
        self.url = ""
        self.models: dict[str, Model] = {}
        self._over = threading.Event()
        self._coming = 0

    def __enter__(self) -> Serving:
        require("aiohttp")
        with contextlib.ExitStack() as stack:
            # First, as it takes no time: a port in use is told before engines are opened.
            listening = listen(self._address)
            stack.callback(listening.close)
            for named in self._bundles:
                self.models[named.name] = model = Model(named, self._engine, self._batch, self._say)
                stack.callback(model.worker.close)
            detector = self._opened_detector()
            if detector is not None:
                stack.callback(detector.close)
            self.url = url_of(listening, "").rstrip("/")
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, name="server", daemon=True)
            self._thread.start()
            stack.callback(self._end_loop)
            self._on_loop(self._start(listening, detector))
            self._stack = stack.pop_all()
        return self

    def wait(self) -> None:
        """Wait until a signal is raised here, on the main thread."""
        while not self._over.wait(3600):
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._on_loop(self._stop())

    def _opened_detector(self) -> PersonDetector | None:
        if self._open_detector is None:
            return None
        if all(model.predictor.task.finds_people for model in self.models.values()):
            bundles = ", ".join(str(named.path) for named in self._bundles)
            raise UsageError(
                f"{bundles}: nothing here looks at people who were found.",
                "Leave --people and --detector out, or give a parser's bundle.",
            )
        return self._open_detector()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_FAREWELL_SECONDS)

    def _on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # On the server's thread.

    async def _start(self, listening: socket.socket, detector: PersonDetector | None) -> None:
        from aiohttp import web

        from .photographs import finder
        from .server import Server

        port = listening.getsockname()[1]
        names = own_names(self._address.host)
        find = None if detector is None else finder(detector)
        self._server = Server(
            self.models, self._limits, self._version, Credentials(self._token, port), names, self._say, find
        )
        silent = logging.Logger("trtparse.serve")  # what clients do wrong is theirs to know; statistics count it
        silent.addHandler(logging.NullHandler())
        self._runner = web.AppRunner(
            self._server.app(),
            access_log=None,
            logger=silent,
            handler_cancellation=True,
            keepalive_timeout=self._limits.silence_seconds,
            shutdown_timeout=_FAREWELL_SECONDS,
        )
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection, sock=listening, backlog=self._limits.connections
        )
        self._watching = asyncio.create_task(self._server.watch_disk())

    async def _stop(self) -> None:
        self._watching.cancel()
        self._listener.close()
        if not await self._server.drain():
            self._say(f"Requests were still under way after {self._limits.draining_seconds:g} s, and are lost.")
        await self._runner.cleanup()
        self._server.close()

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) + self._coming >= self._limits.connections:
            return _Refusal()
        # The server knows of it in the loop's next round, and many are accepted in one.
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._came)
        return server()

    def _came(self) -> None:
        self._coming -= 1


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_REFUSAL)
        transport.close()
