"""A page that shows the frames as they are drawn, for a machine without a screen."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ...engines.machine.dependencies import require
from ...errors import TrtparseError
from ...web.access import Credentials, own_names
from ...web.address import ServeAddress, check_token, listen, url_of
from ..parsed_frame import ParsedFrame
from .pictures import Picture, Pictures
from .settings import LiveSettings
from .status import notice_letter, status_letter, welcome

if TYPE_CHECKING:
    from .server import LiveServer

_PATIENCE_SECONDS = 5.0

Result = TypeVar("Result")


class LivePage:
    """Serves the page while its block runs, and is called with each frame::

        with LivePage("127.0.0.1:8080", settings=LiveSettings(task.parts)) as page:
            print(page.url)
            run_demo(source, engine, sinks, observers=[page], settings=page.settings)

    A call takes a reference to the frame and returns; pictures are made on a thread of their own while somebody
    watches. When the block ends, the viewers are told so, and why where it ended by an error.

    Args:
        address: ``HOST:PORT``, ``[IPV6]:PORT``, or ``PORT`` of this machine alone; port 0 takes a free one.
        token: what a viewer has to know; needed where other machines can reach the page.
        settings: what viewers may change, and of which parts.
        title: what is watched, as the name of the source.
        details: in small letters beside it, as the engine's name.
        frames_dropped: how many frames the source threw away, where somebody counts them.

    Attributes:
        url: what to open in a browser, with the token in it, once entered.

    Raises:
        UsageError: no HOST:PORT, or a token that is missing or too short. On entering: an unknown host, a port in use.
        MachineError: on entering: aiohttp is not installed, or the system refuses.
    """

    def __init__(
        self,
        address: str,
        token: str = "",
        *,
        settings: LiveSettings,
        title: str = "",
        details: str = "",
        frames_dropped: Callable[[], int] | None = None,
    ) -> None:
        self._address = ServeAddress.parse(address)
        check_token(self._address, token)
        self._token = token
        self.settings = settings
        self.url = ""
        self._welcome = welcome(title, details, settings.parts)
        self._frames_dropped = frames_dropped
        self._came = time.monotonic()
        self._people_so_far = 0
        self._ended = False
        self._server: LiveServer | None = None

    def __enter__(self) -> LivePage:
        require("aiohttp")
        from .server import LiveServer

        listening = listen(self._address)
        self.url = url_of(listening, self._token)
        self._pictures = Pictures(self._show)
        credentials = Credentials(self._token, listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="live page", daemon=True)
        self._thread.start()
        names = own_names(self._address.host)

        async def start() -> LiveServer:
            server = LiveServer(self._welcome, self._status, self.settings, self._pictures, credentials, names)
            await server.start(listening)
            return server

        try:
            self._server = self._wait_for(start())
        except BaseException:
            listening.close()
            self._close()
            raise
        return self

    def __call__(self, frame: ParsedFrame) -> None:
        """Take the newest frame, on the writer's thread."""
        self._came = time.monotonic()
        # Their ids count up from 1.
        self._people_so_far = max([self._people_so_far, *(person.id for person in frame.people)])
        self._pictures.take(frame)

    def say(self, text: str) -> None:
        """Show a line to whoever watches, as that a source connects again. From any thread, at any time."""
        self._have(lambda server: server.tell("notice", notice_letter(text)))

    def end(self, text: str = "The run has ended.") -> None:
        """Tell the viewers that no more frames will come; the last one stays. From any thread, at any time."""
        self._ended = True
        self._have(lambda server: server.end(text))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self._ended:
            self.end(_farewell(error))
        try:
            # A page that hangs does not keep the program; its threads are daemons.
            with contextlib.suppress(concurrent.futures.TimeoutError):
                if self._server is not None:
                    self._wait_for(self._server.stop())
        finally:
            self._server = None
            self._close()

    def _close(self) -> None:
        self._pictures.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Have the page's thread do something."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_SECONDS)

    def _show(self, picture: Picture) -> None:
        self._have(lambda server: server.show(picture))

    def _have(self, server_do: Callable[[LiveServer], None]) -> None:
        """On the page's thread, soon; nothing where the page is not there, or not any more."""
        if (server := self._server) is not None:
            with contextlib.suppress(RuntimeError):  # closed in between
                self._loop.call_soon_threadsafe(server_do, server)

    def _status(self) -> str:
        frame = self._pictures.newest
        dropped = None if self._frames_dropped is None else self._frames_dropped()
        return status_letter(frame, time.monotonic() - self._came, self._people_so_far, dropped)


def _farewell(error: BaseException | None) -> str:
    if error is None:
        return "The run has ended."
    if isinstance(error, TrtparseError):
        return f"The run has ended: {error.message}"
    return "The run was stopped." if isinstance(error, KeyboardInterrupt) else "The run has ended by an error."
