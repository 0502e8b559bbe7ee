"""The page over HTTP, its pictures and switches over a WebSocket.

A viewer says when a picture has been shown, and is sent the newest one then: who is slow, or has the page in the
background, misses pictures and delays nobody. Everything here runs on one event loop.

aiohttp, because it speaks both, is kept with care by many, and needs nothing else that is not its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from ...errors import FAULT_OF_OURS
from ...web.access import Credentials, RateLimit, is_own_host, is_own_page
from .pictures import Picture, Pictures, encode_png
from .settings import LiveSettings
from .status import ended_letter, refused_letter, settings_letter

_FOLDER = Path(__file__).parent
_MOST_VIEWERS = 32
_MOST_CONNECTIONS = 128
_MOST_BYTES = 2048  # of a form or a message to us; all classes and more fit
_REQUESTS = (20, 60)  # a second and at once, from one address: an opened page makes four
_ALL_REQUESTS = (200, 400)
_CHANGES = (20, 60)  # the page sends no more than ten a second
_IN_FLIGHT = 2  # pictures that a viewer has not confirmed: one on the way while one is shown
_STATUS_SECONDS = 0.25
_HEARTBEAT_SECONDS = 15.0  # a viewer who is silent for longer is gone
_SILENCE_SECONDS = 10.0  # for a connection that asks nothing
_FAREWELL_SECONDS = 1.0

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With no-referrer a browser would call the origin of our own form null.
    "Referrer-Policy": "same-origin",
    "Server": "trtparse",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Viewer:
    """A browser that watches. Letters wait by their kind, so that a slow one gets the newest of each."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.letters: dict[str, str] = {}
        self.unconfirmed = 0
        self.seen: int | None = None
        self.changes = RateLimit(*_CHANGES)
        self._wake = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self.unconfirmed < _IN_FLIGHT

    def wake(self) -> None:
        self._wake.set()

    def tell(self, kind: str, letter: str) -> None:
        self.letters[kind] = letter
        self.wake()

    async def sleep(self) -> None:
        await self._wake.wait()
        self._wake.clear()


class LiveServer:
    """Serves one page.

    Args:
        welcome: the letter for whoever comes.
        status: the letter about the newest frame.
        settings: read for the letters, changed by viewers.
        pictures: asked for a picture when a viewer is ready for one.
        credentials: what lets a viewer in.
        names: that the page goes by; see :func:`~trtparse.web.access.own_names`.
    """

    def __init__(
        self,
        welcome: str,
        status: Callable[[], str],
        settings: LiveSettings,
        pictures: Pictures,
        credentials: Credentials,
        names: frozenset[str],
    ) -> None:
        self._welcome, self._status, self._settings, self._pictures = welcome, status, settings, pictures
        self._credentials, self._names = credentials, names
        self._viewers: set[_Viewer] = set()
        self._picture: Picture | None = None
        self._ended = ""
        self._told = settings.choice
        self._requests, self._all_requests = RateLimit(*_REQUESTS), RateLimit(*_ALL_REQUESTS)
        self._snapshot = asyncio.Lock()
        self._page, self._css, self._js, self._door = (
            (_FOLDER / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js", "token.html")
        )

    async def start(self, listening: socket.socket) -> None:
        """Begin to answer on a socket that listens."""
        app = web.Application(middlewares=[self._guard], client_max_size=_MOST_BYTES)
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._get_page)
        app.router.add_post("/", self._take_token)
        app.router.add_get("/page.css", self._get_css)
        app.router.add_get("/page.js", self._get_js)
        app.router.add_get("/live", self._live)
        app.router.add_get("/snapshot.png", self._get_snapshot)
        # No access log: addresses of pages may hold the token.
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=_SILENCE_SECONDS, shutdown_timeout=_FAREWELL_SECONDS
        )
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(self._connection, sock=listening)
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Send the viewers what is there for them, for a second at most, and close everything."""
        self._ticking.cancel()
        self._listener.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._delivered(), _FAREWELL_SECONDS)
        for viewer in list(self._viewers):
            with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(viewer.socket.close(code=WSCloseCode.GOING_AWAY), _FAREWELL_SECONDS / 4)
        await self._runner.cleanup()

    def show(self, picture: Picture) -> None:
        """There is a newer picture."""
        self._picture = picture
        for viewer in self._viewers:
            viewer.wake()

    def tell(self, kind: str, letter: str) -> None:
        """Something for every viewer."""
        for viewer in self._viewers:
            viewer.tell(kind, letter)

    def end(self, text: str) -> None:
        """No more frames will come; those who come later are told as well."""
        self._ended = text
        self.tell("status", self._status())
        self.tell("ended", ended_letter(text))

    # What every request passes.

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= _MOST_CONNECTIONS:
            return _Refusal()
        return server()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = request.headers
        if not (self._requests.allows(request.remote or "") and self._all_requests.allows()):
            raise web.HTTPTooManyRequests(text="Too many requests; wait a moment.\n", headers={"Retry-After": "3"})
        # With a token, other names do no harm: a browser keeps the cookie to the name that it was given under.
        if not self._credentials.needed and not is_own_host(request.host, self._names):
            raise web.HTTPForbidden(text="This page is not served under that name. Use this machine's address.\n")
        fetched = headers.get("Sec-Fetch-Site"), headers.get("Sec-Fetch-Mode")
        if not is_own_page(request.host, headers.get("Origin"), *fetched):
            raise web.HTTPForbidden(text="Another page may not ask for this one.\n")
        if request.path not in ("/", "/page.css") and not self._may_enter(request):
            raise web.HTTPUnauthorized(text="A token is needed.\n", headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    def _may_enter(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        by_cookie = self._credentials.is_cookie(request.cookies.get(self._credentials.cookie_name))
        by_header = self._credentials.is_token(bearer.strip() if scheme.lower() == "bearer" else None)
        return by_cookie or by_header

    def _let_in(self, response: web.Response) -> web.Response:
        response.set_cookie(
            self._credentials.cookie_name, self._credentials.cookie, httponly=True, samesite="Strict", path="/"
        )
        return response

    # The page.

    async def _get_page(self, request: web.Request) -> web.Response:
        page = web.Response(text=self._page, content_type="text/html")
        if self._may_enter(request):
            return page
        given = request.query.get("token")
        if self._credentials.is_token(given):
            # No redirection: coming from elsewhere, a browser would leave a strict cookie out of it.
            return self._let_in(page)
        return self._ask_for_token(wrong=given is not None)

    async def _take_token(self, request: web.Request) -> web.Response:
        try:
            given = (await request.post()).get("token")
        except (ValueError, LookupError):  # no form, or letters of an unknown kind
            given = None
        if not self._credentials.is_token(given if isinstance(given, str) else None):
            return self._ask_for_token(wrong=True)
        return self._let_in(web.Response(status=303, headers={"Location": "/"}))

    def _ask_for_token(self, *, wrong: bool) -> web.Response:
        text = self._door.replace(' id="wrong" hidden', ' id="wrong"') if wrong else self._door
        headers = {"WWW-Authenticate": "Bearer"}
        return web.Response(status=401, text=text, content_type="text/html", headers=headers)

    async def _get_css(self, request: web.Request) -> web.Response:
        return web.Response(text=self._css, content_type="text/css")

    async def _get_js(self, request: web.Request) -> web.Response:
        return web.Response(text=self._js, content_type="text/javascript")

    async def _get_snapshot(self, request: web.Request) -> web.Response:
        frame = self._pictures.newest
        if frame is None:
            raise web.HTTPNotFound(text="There is no picture yet.\n")
        if self._snapshot.locked():
            raise web.HTTPTooManyRequests(text="One snapshot at a time.\n", headers={"Retry-After": "1"})
        async with self._snapshot:
            data = await asyncio.get_running_loop().run_in_executor(None, encode_png, frame.drawn)
        name = f"trtparse-{frame.number:06d}.png"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(body=data, content_type="image/png", headers=headers)

    # Those who watch.

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= _MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text="Too many viewers.\n", headers={"Retry-After": "10"})
        # Pictures are compressed already.
        connection = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_MOST_BYTES, compress=False)
        viewer = _Viewer(connection)
        self._viewers.add(viewer)
        sending: asyncio.Task[None] | None = None
        try:
            await connection.prepare(request)
            viewer.tell("welcome", self._welcome)
            viewer.tell("settings", settings_letter(self._settings.choice))
            viewer.tell("status", self._status())
            if self._ended:
                viewer.tell("ended", ended_letter(self._ended))
            sending = asyncio.create_task(self._send(viewer))
            async for message in connection:
                if message.type is not WSMsgType.TEXT or not self._hear(viewer, message.data):
                    await connection.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            self._viewers.discard(viewer)
            if sending is not None:
                sending.cancel()
        return connection

    async def _send(self, viewer: _Viewer) -> None:
        with contextlib.suppress(ConnectionError):
            while not viewer.socket.closed:
                picture = self._picture
                if viewer.letters:
                    await viewer.socket.send_str(viewer.letters.pop(next(iter(viewer.letters))))
                elif viewer.is_ready and picture is not None and picture.number != viewer.seen:
                    viewer.seen = picture.number
                    viewer.unconfirmed += 1
                    await viewer.socket.send_bytes(picture.jpeg)
                else:
                    if viewer.is_ready:
                        self._pictures.want()
                    await viewer.sleep()

    def _hear(self, viewer: _Viewer, text: str) -> bool:
        """Do what a viewer asks. False where no page of ours would have asked it."""
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if asked == {"kind": "shown"}:
            viewer.unconfirmed -= 1
            viewer.wake()
            return viewer.unconfirmed >= 0
        if not isinstance(asked, dict) or asked.pop("kind", None) != "change" or not viewer.changes.allows():
            return False
        try:
            self._settings.change(**asked)
        except (TypeError, ValueError) as error:
            known = isinstance(error, ValueError)
            viewer.tell("refused", refused_letter(str(error) if known else "There is no such setting."))
        self._tell_settings()
        return True

    def _tell_settings(self) -> None:
        self._told = self._settings.choice
        self.tell("settings", settings_letter(self._told))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            if self._viewers:
                self.tell("status", self._status())
                if self._settings.choice != self._told:  # by somebody other than a viewer
                    self._tell_settings()

    async def _delivered(self) -> None:
        def waits(viewer: _Viewer) -> bool:
            newest = self._pictures.newest
            return bool(viewer.letters) or (viewer.is_ready and newest is not None and viewer.seen != newest.number)

        while any(waits(viewer) for viewer in self._viewers):
            await asyncio.sleep(0.02)


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), FAULT_OF_OURS
        transport.abort()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
