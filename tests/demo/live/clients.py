"""Programs that ask for a page and watch it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import cv2
import numpy as np

from trtparse.demo.live import LivePage


def at(page: LivePage, path: str = "/") -> str:
    return page.url.split("?")[0].rstrip("/") + path


def asked(page: LivePage, path: str = "/", method: str = "GET", **more: Any) -> aiohttp.ClientResponse:
    """A request without cookies or redirections; its body has been read."""

    async def ask() -> aiohttp.ClientResponse:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, at(page, path), allow_redirects=False, **more) as answer,
        ):
            await answer.read()
            return answer

    return asyncio.run(ask())


def watched(page: LivePage, watch: Callable[[aiohttp.ClientWebSocketResponse], Awaitable[Any]], **more: Any) -> Any:
    """What ``watch`` returns, called with an open connection."""

    async def go() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(at(page, "/live"), **more) as connection:
            return await asyncio.wait_for(watch(connection), 20)

    return asyncio.run(go())


async def letter(connection: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    while True:
        message = await connection.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT and (found := json.loads(message.data))["kind"] == kind:
            return dict(found)


async def picture(connection: aiohttp.ClientWebSocketResponse) -> np.ndarray:
    while (message := await connection.receive()).type is not aiohttp.WSMsgType.BINARY:
        assert message.type is aiohttp.WSMsgType.TEXT, message
    return np.asarray(cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR))


def bar(image: np.ndarray) -> int:
    """The number of the frame, modulo 40, by where the bar is."""
    return int(np.argmax(image[5].mean(1) > 200)) // 4


async def close_code(connection: aiohttp.ClientWebSocketResponse) -> int | None:
    while not connection.closed:
        await connection.receive()
    return connection.close_code
