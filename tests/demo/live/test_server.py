"""The page as programs see it: who is let in, what is refused."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so no page is served")

import aiohttp

from trtparse.demo.live import LivePage, LiveSettings, server
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.demo.live.clients import asked, at, close_code, letter, watched
from trtparse.tests.demo.live.made_frames import eventually, made_frame

PARTS = Parsing(label_set("lip")).parts

TOKEN = "a token & more"


@pytest.fixture
def locked() -> Iterator[LivePage]:
    with LivePage("127.0.0.1:0", TOKEN, settings=LiveSettings(PARTS)) as page:
        yield page


# Who is let in.


def test_without_a_token_all_of_the_page_is_there(page: LivePage) -> None:
    page(made_frame(0))
    for path in ("/", "/page.css", "/page.js", "/snapshot.png"):
        assert asked(page, path).status == 200, path


@pytest.mark.parametrize("path", ["/", "/page.js", "/live", "/snapshot.png", "/nothing"])
@pytest.mark.parametrize("wrong", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "trtparse-live=wrong"}])
def test_without_the_token_nothing_is_told(locked: LivePage, path: str, wrong: dict[str, str]) -> None:
    locked(made_frame(0))
    answer = asked(locked, path, headers=wrong)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


def test_without_the_token_nobody_watches(locked: LivePage) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        watched(locked, lambda connection: letter(connection, "welcome"))
    assert caught.value.status == 401


def test_the_token_in_the_address_gives_a_cookie_that_opens_the_rest(locked: LivePage) -> None:
    locked(made_frame(0))
    first = asked(locked, "/?" + urlsplit(locked.url).query)
    assert first.status == 200
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "token" not in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    assert asked(locked, "/snapshot.png", headers=headers).status == 200
    assert watched(locked, lambda c: letter(c, "welcome"), headers=headers)["kind"] == "welcome"


def test_the_token_opens_the_page_through_its_form_and_for_programs(locked: LivePage) -> None:
    wrong = asked(locked, method="POST", data={"token": "wrong"})
    assert (wrong.status, "Set-Cookie" in wrong.headers) == (401, False)
    right = asked(locked, method="POST", data={"token": TOKEN})
    assert (right.status, right.headers["Location"]) == (303, "/")
    headers = {"Cookie": right.headers["Set-Cookie"].partition(";")[0]}
    assert asked(locked, "/page.js", headers=headers).status == 200
    assert asked(locked, "/page.js", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_name_that_somebody_made_point_here_is_refused(page: LivePage) -> None:
    page(made_frame(0))
    for path in ("/", "/page.css", "/snapshot.png", "/live"):
        assert asked(page, path, headers={"Host": "rebound.test"}).status == 403, path
    assert asked(page, headers={"Host": "localhost:9000"}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:1", "https://localhost"])
def test_another_page_neither_watches_nor_switches(page: LivePage, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        watched(page, lambda connection: letter(connection, "welcome"), headers={"Origin": origin})
    assert caught.value.status == 403
    assert asked(page, method="POST", data={"token": ""}, headers={"Origin": origin}).status == 403
    own = {"Origin": at(page, "")}
    assert watched(page, lambda connection: letter(connection, "welcome"), headers=own)["kind"] == "welcome"


def test_every_answer_allows_scripts_and_styles_of_its_own_only(locked: LivePage) -> None:
    for path, method in (("/", "GET"), ("/page.css", "GET"), ("/nothing", "GET"), ("/", "PUT"), ("/page.js", "HEAD")):
        headers = asked(locked, path, method, headers={"Authorization": f"Bearer {TOKEN}"}).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "trtparse"
        assert "Access-Control-Allow-Origin" not in headers


# What is bounded.


def test_too_many_requests_are_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    _, at_once = server._REQUESTS
    monkeypatch.setattr(server, "_REQUESTS", (1e-6, at_once))  # a slow machine does not get more meanwhile
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as page:

        async def rush() -> list[int]:
            async with aiohttp.ClientSession() as session:
                return [(await session.get(at(page))).status for _ in range(at_once + 3)]

        assert asyncio.run(rush()) == [200] * at_once + [429] * 3


def test_a_large_form_is_not_read(locked: LivePage) -> None:
    assert asked(locked, method="POST", data={"token": "x" * 100_000}).status == 413


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"token"),
        ("multipart/form-data; boundary=x", b"token"),
        ("application/x-www-form-urlencoded; charset=none", b"token=a"),
        ("application/x-www-form-urlencoded", b"token=\xff"),
    ],
)
def test_a_form_that_cannot_be_read_holds_no_token(locked: LivePage, kind: str, body: bytes) -> None:
    assert asked(locked, method="POST", data=body, headers={"Content-Type": kind}).status == 401


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 2000,
        "7",
        "null",
        '{"kind": "shown"}',  # of a picture that was not sent
        '{"kind": "open", "source": "rtsp://10.0.0.1/"}',
        '{"opacity": 0.5}',
        json.dumps({"kind": "change", "policy": "x" * 3000}),
        b"\x00",
    ],
    ids=lambda text: repr(text)[:30],
)
def test_a_viewer_who_sends_what_the_page_never_does_is_put_out(page: LivePage, text: str | bytes) -> None:
    async def send(connection: aiohttp.ClientWebSocketResponse) -> int | None:
        await (connection.send_str(text) if isinstance(text, str) else connection.send_bytes(text))
        return await close_code(connection)

    before = page.settings.choice
    assert watched(page, send) in (1008, 1009)
    assert page.settings.choice == before


def test_changes_at_a_rate_that_no_hand_reaches_put_the_viewer_out(
    page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, at_once = server._CHANGES
    monkeypatch.setattr(server, "_CHANGES", (1e-6, at_once))

    async def send(connection: aiohttp.ClientWebSocketResponse) -> int | None:
        for number in range(at_once + 1):
            await connection.send_json({"kind": "change", "opacity": number / 100})
        return await close_code(connection)

    assert watched(page, send) == 1008
    assert page.settings.opacity == (at_once - 1) / 100


def test_more_viewers_than_there_is_room_for_are_turned_away(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_VIEWERS", 1)

    async def second(connection: aiohttp.ClientWebSocketResponse) -> int:
        await letter(connection, "welcome")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(at(page, "/live"))
        return caught.value.status

    assert watched(page, second) == 503
    # The place is free again.
    assert eventually(lambda: watched(page, lambda c: letter(c, "welcome")))["kind"] == "welcome"


def test_silent_connections_are_closed_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    monkeypatch.setattr(server, "_SILENCE_SECONDS", 1.0)
    with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as page:
        port = urlsplit(page.url).port
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2)]
        silent[1].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # and never the end of it
        eventually(lambda: len(page._server._runner.server.connections) == 2)
        with pytest.raises(aiohttp.ClientError):
            asked(page)
        assert [connection.recv(100) for connection in silent] == [b"", b""]
        for connection in silent:
            connection.close()
        assert eventually(lambda: asked(page).status) == 200
