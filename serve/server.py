"""KServe's protocol over HTTP, version 2 with binary tensors, and photographs; everything here runs on one event loop.

What Triton's client asks of Triton it can ask of this: health, metadata, configuration, statistics, inference. An error
is a status and a JSON object with the one field ``error``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from ..engines.base import Arrays, Frames
from ..errors import FAULT_OF_OURS, DataError, UsageError
from ..web.access import Credentials, RateLimit, is_own_host, is_own_page
from .limits import Limits
from .model import VERSION, Model
from .photographs import (
    Find,
    FormatError,
    SizeError,
    answer_of,
    check_encoded,
    encode,
    read_photograph,
)
from .reading import Held, TooLargeError, read_body
from .statistics import prometheus
from .tensors import HEADER_LENGTH, end_of_json, most_bytes, read_request, write_answer
from .worker import BusyError, DownError

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # which aiohttp brings along there

_EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
_ATTEMPTS = (10, 20)
"""A second and at once, from one address, with a wrong token."""
_LARGE_JSON = 1 << 16
"""Bytes of JSON that take a millisecond; more is read on another thread, as others wait meanwhile."""
_LOOK_SECONDS = 2.0
"""Between two looks at the bundles on disk."""
_OPEN_TO_ALL = frozenset({"/v2/health/live", "/v2/health/ready"})
"""What watches a server needs no token, and learns nothing of it."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers on sockets that somebody listens on.

    Args:
        models: by their names.
        limits: of what clients can make it do.
        version: of the program.
        credentials: what lets a client in.
        names: that the server goes by; see :func:`~trtparse.web.access.own_names`.
        say: told what a person should know.
        find: the people in photographs; None where they are not looked for.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits,
        version: str,
        credentials: Credentials,
        names: frozenset[str],
        say: Callable[[str], None],
        find: Find | None = None,
    ) -> None:
        self._models, self._limits, self._version, self._say = models, limits, version, say
        self._find = find
        self._credentials, self._names = credentials, names
        self._held = Held(limits.bytes_at_once)
        self._rate = RateLimit(limits.rate, max(1, round(2 * limits.rate))) if limits.rate else None
        self._attempts = RateLimit(*_ATTEMPTS)
        self._working, self._draining = 0, False
        # Photographs are unpacked and label maps packed there, both outside of Python's lock.
        self._pool = ThreadPoolExecutor(2, "photographs")
        self._photographs = 0

    def app(self) -> web.Application:
        """What answers."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_add_headers)
        add = app.router.add_route
        # In this order they are looked through, request by request: the busiest first.
        add("POST", "/v2/models/{model}/infer", self._infer)
        add("POST", "/models/{model}/image", self._look_at)
        add("POST", "/models/{model}/people", self._look_at_everybody)
        add("GET", "/v2", self._get_server)
        add("GET", "/v2/health/live", self._get_live)
        add("GET", "/v2/health/ready", self._get_ready)
        add("GET", "/v2/models/stats", self._get_all_statistics)
        add("POST", "/v2/repository/index", self._get_index)
        for versions in ("", "/versions/{version}"):
            model = f"/v2/models/{{model}}{versions}"
            add("GET", model, self._get_metadata)
            add("GET", f"{model}/ready", self._get_model_ready)
            add("GET", f"{model}/config", self._get_config)
            add("GET", f"{model}/stats", self._get_statistics)
        add("POST", "/v2/models/{model}/versions/{version}/infer", self._infer)
        add("GET", "/metrics", self._get_metrics)
        return app

    async def watch_disk(self) -> None:
        """Notice bundles that change, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for model in self._models.values():
                await asyncio.get_running_loop().run_in_executor(None, model.look_at_disk)

    async def drain(self) -> bool:
        """Take nothing more, and answer what was asked. False where that took too long."""
        self._draining = True
        until = time.monotonic() + self._limits.draining_seconds
        while self._working and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return not self._working

    def close(self) -> None:
        """Let its threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # What every request passes.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._working += 1
        begin = time.monotonic()
        model = None
        try:
            try:
                self._check(request)
                model = self._models.get(request.match_info.get("model", ""))
                response = await handler(request)
            except web.HTTPException as error:
                # aiohttp's own, as for a path that there is not.
                response = _refusal(error.status, error.reason or "")
                response.headers.update({key: error.headers[key] for key in ("Allow",) if key in error.headers})
            except _RefusedError as error:
                response = _refusal(error.status, error.told, error.headers)
            except ConnectionError:
                response = web.Response()  # the client left
            except Exception as error:
                self._say(f"{request.method} {request.path}: unexpected {type(error).__name__}: {error}")
                response = _refusal(500, f"{type(error).__name__}. {FAULT_OF_OURS}")
            if self._draining:
                response.force_close()
            if model is not None and request.method == "POST":
                model.statistics.answered(response.status, time.monotonic() - begin)
            await self._send(request, response)
            return response
        finally:
            self._working -= 1

    def _check(self, request: web.Request) -> None:
        headers = request.headers
        if self._draining and request.path not in _OPEN_TO_ALL:
            raise _RefusedError(503, "The server is ending.", {"Retry-After": "5"})
        if self._rate is not None and not self._rate.allows(request.remote or ""):
            raise _RefusedError(429, "Too many requests; wait a moment.", {"Retry-After": "1"})
        # With a token, other names do no harm: no page of a browser knows it.
        if not self._credentials.needed and not is_own_host(request.host, self._names):
            raise _RefusedError(403, "This server goes by another name. Use this machine's address, or a token.")
        fetched = headers.get("Sec-Fetch-Site"), headers.get("Sec-Fetch-Mode")
        if not is_own_page(request.host, headers.get("Origin"), *fetched):
            raise _RefusedError(403, "Pages of others may not ask this server.")
        if request.path in _OPEN_TO_ALL:
            return
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        if not self._credentials.is_token(bearer.strip() if scheme.lower() == "bearer" else None):
            if not self._attempts.allows(request.remote or ""):
                raise _RefusedError(429, "Too many attempts; wait a moment.", {"Retry-After": "3"})
            raise _RefusedError(401, "A token is needed.", {"WWW-Authenticate": "Bearer"})

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Write an answer within the time that a client has to take it."""

        try:
            async with timeout(self._limits.reading_seconds):
                await response.prepare(request)
                await response.write_eof()
        except asyncio.TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None

    # About the server.

    async def _get_server(self, request: web.Request) -> web.Response:
        return _json({"name": "trtparse", "version": self._version, "extensions": _EXTENSIONS})

    async def _get_live(self, request: web.Request) -> web.Response:
        hopeless = any(model.worker.is_hopeless for model in self._models.values())
        return web.Response(status=503 if hopeless else 200)

    async def _get_ready(self, request: web.Request) -> web.Response:
        down = self._draining or any(model.worker.down for model in self._models.values())
        return web.Response(status=503 if down else 200)

    async def _get_metrics(self, request: web.Request) -> web.Response:
        models = {
            name: [
                *model.statistics.samples(),
                ("waiting_frames", {}, model.worker.waiting),
                ("ready", {}, not model.worker.down),
                ("bundle_changed", {}, model.changed),
            ]
            for name, model in self._models.items()
        }
        return web.Response(
            body=prometheus(models).encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _get_all_statistics(self, request: web.Request) -> web.Response:
        told = [model.statistics.to_kserve(name, VERSION) for name, model in self._models.items()]
        return _json({"model_stats": told})

    async def _get_index(self, request: web.Request) -> web.Response:
        return _json(
            [
                {
                    "name": name,
                    "version": VERSION,
                    "state": "UNAVAILABLE" if model.worker.down else "READY",
                    "reason": model.worker.down,
                }
                for name, model in self._models.items()
            ]
        )

    # About a model.

    def _model(self, request: web.Request) -> Model:
        name, version = request.match_info["model"], request.match_info.get("version", VERSION)
        model = self._models.get(name)
        if model is None:
            raise _RefusedError(404, f"There is no model {name!r}. Here are: {', '.join(self._models)}.")
        if version != VERSION:
            raise _RefusedError(404, f"{name} has no version {version!r}; its one version is {VERSION}.")
        return model

    async def _get_metadata(self, request: web.Request) -> web.Response:
        return _json(self._model(request).metadata())

    async def _get_model_ready(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self._draining or self._model(request).worker.down else 200)

    async def _get_config(self, request: web.Request) -> web.Response:
        return _json(self._model(request).config())

    async def _get_statistics(self, request: web.Request) -> web.Response:
        model = self._model(request)
        return _json({"model_stats": [model.statistics.to_kserve(model.name, VERSION)]})

    # What the server is for.

    async def _infer(self, request: web.Request) -> web.Response:
        model = self._model(request)
        engine, most = model.predictor.engine, model.worker.most_frames
        with contextlib.ExitStack() as stack:
            body = await self._body(request, most_bytes(engine.input_size, most), stack)
            length = request.headers.get(HEADER_LENGTH)
            reads = read_request, body, length, engine.input_size, engine.outputs
            try:
                small = end_of_json(body, length) <= _LARGE_JSON
                asked = reads[0](*reads[1:]) if small else await self._on_pool(*reads)
                if len(asked.frames) > most:
                    raise UsageError(f"{len(asked.frames)} frames in one request; {most} are the most.")
            except UsageError as error:
                raise _RefusedError(400, error.message) from error
            arrays = await self._inferred(model, asked.frames, asked.patience)
            writes = write_answer, asked, arrays, engine.outputs, model.name, VERSION
            as_numbers = sum(array.size for array in arrays) > _LARGE_JSON and not all(b for _, b in asked.outputs)
            pieces, end = await self._on_pool(*writes) if as_numbers else writes[0](*writes[1:])
        if end is None:
            return web.Response(body=pieces[0], content_type="application/json")
        headers = {HEADER_LENGTH: str(end)}
        return web.Response(body=b"".join(pieces), content_type="application/octet-stream", headers=headers)

    async def _look_at(self, request: web.Request) -> web.Response:
        return await self._answered(request, self._model(request), None)

    async def _look_at_everybody(self, request: web.Request) -> web.Response:
        model = self._model(request)
        if self._find is None:
            raise _RefusedError(404, "This server looks for nobody. Start it with --people auto, or ask …/image.")
        if model.predictor.task.finds_people:
            raise _RefusedError(501, f"{model.name} finds people itself. Ask /models/{model.name}/image.")
        return await self._answered(request, model, self._find)

    async def _answered(self, request: web.Request, model: Model, find: Find | None) -> web.Response:
        """The answer about a photograph; ``find`` looks for the people in it first."""
        predictor, most_pixels = model.predictor, self._limits.photograph_pixels
        with contextlib.ExitStack() as stack:
            try:
                check_encoded(predictor.task)
                body = await self._body(request, self._limits.photograph_bytes, stack)
                if self._photographs >= model.worker.most_waiting:
                    raise BusyError
                self._photographs += 1
                stack.callback(self._one_photograph_less)
                photograph = await self._on_pool(read_photograph, body, predictor.framing, most_pixels, find)
            except BusyError:
                raise _busy() from None
            except FormatError as error:
                raise _RefusedError(415, f"{error.message} {error.hint}") from error
            except SizeError as error:
                raise _RefusedError(413, f"{error.message} {error.hint}") from error
            except DataError as error:
                raise _RefusedError(400, f"{error.message} {error.hint}") from error
            except UsageError as error:
                raise _RefusedError(501, f"{error.message} {error.hint}") from error
            # A pass after the other: a crowd takes no more of the queue than others do.
            starts = range(0, len(photograph.frames), model.worker.most_frames)
            frames = [photograph.frames[start : start + model.worker.most_frames] for start in starts]
            passes = [await self._inferred(model, several, None) for several in frames]
            try:
                answer = await self._on_pool(answer_of, predictor, passes, photograph)
            except UsageError as error:  # the engine's fault
                raise _RefusedError(500, f"{error.message} {error.hint}") from error
            words = request.headers.get("Accept", ""), model.name, VERSION
            told, content_type, end = await self._on_pool(encode, predictor.task, answer, photograph, *words)
            headers = {} if end is None else {HEADER_LENGTH: str(end)}
            return web.Response(body=told, content_type=content_type, headers=headers)

    async def _body(self, request: web.Request, most: int, stack: contextlib.ExitStack) -> bytearray:
        try:
            async with timeout(self._limits.reading_seconds):
                return await read_body(request, most, self._held, stack)
        except asyncio.TimeoutError:
            raise _RefusedError(408, f"The body took longer than {self._limits.reading_seconds:g} s.") from None
        except TooLargeError:
            raise _RefusedError(413, f"The body has more than {most} bytes.") from None
        except BusyError:
            raise _busy() from None
        except web.HTTPLengthRequired:
            raise _RefusedError(411, "The length of the body is not told: send Content-Length.") from None
        except web.RequestPayloadError as error:
            raise _RefusedError(400, f"The body cannot be unpacked: {error}") from error

    async def _inferred(self, model: Model, frames: Frames, patience: float | None) -> Arrays:
        """What comes of frames, as soon as it is their turn."""
        seconds = min(patience or self._limits.answering_seconds, self._limits.answering_seconds)
        try:
            async with timeout(seconds):
                return await asyncio.wrap_future(model.worker.submit(frames))
        except BusyError:
            raise _busy() from None
        except DownError as error:
            raise _RefusedError(503, str(error), {"Retry-After": "1"}) from error
        except asyncio.TimeoutError:
            raise _RefusedError(504, f"There was no answer within {seconds:g} s.") from None

    async def _on_pool(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def _one_photograph_less(self) -> None:
        self._photographs -= 1


class _RefusedError(Exception):
    """A request that is not met."""

    def __init__(self, status: int, told: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(told)
        self.status, self.told, self.headers = status, told, dict(headers or {})


def _busy() -> _RefusedError:
    return _RefusedError(503, "Too many requests wait; come again.", {"Retry-After": "1"})


def _json(values: Any) -> web.Response:
    return web.Response(body=json.dumps(values).encode(), content_type="application/json")


def _refusal(status: int, told: str, headers: Mapping[str, str] | None = None) -> web.Response:
    response = _json({"error": told})
    response.set_status(status)
    response.headers.update(headers or {})
    return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({"Cache-Control": "no-store", "Server": "trtparse", "X-Content-Type-Options": "nosniff"})
