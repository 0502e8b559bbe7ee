"""What a viewer is sent, and how a page begins and ends."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so no page is served")

import aiohttp

from trtparse.demo.live import LivePage, LiveSettings, pictures, server
from trtparse.demo.live.pictures import encode_jpeg
from trtparse.demo.parsed_frame import ParsedFrame
from trtparse.demo.pipeline import run_demo
from trtparse.demo.sources import ArraySource
from trtparse.errors import DataError, MachineError, UsageError
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.demo.conftest import BrightEngine
from trtparse.tests.demo.live.clients import asked, at, bar, letter, picture, watched
from trtparse.tests.demo.live.made_frames import PANTS, Pipeline, eventually, made_frame
from trtparse.tests.predicting import predicting
from trtparse.web.address import ServeAddress, listen

PARTS = Parsing(label_set("lip")).parts

# What a viewer is sent.


def test_a_viewer_is_told_what_there_is_and_what_holds() -> None:
    settings = LiveSettings(PARTS, 0.25, [PANTS], "latest")
    with LivePage("127.0.0.1:0", settings=settings, title="<b>", details="x", frames_dropped=lambda: 12) as page:

        async def first(connection: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
            return [await letter(connection, kind) for kind in ("welcome", "settings", "status")]

        welcome, told, status = watched(page, first)
        assert (welcome["title"], welcome["details"], len(welcome["classes"])) == ("<b>", "x", 19)
        assert welcome["classes"][4] == {"id": 5, "name": "Upper clothes", "colour": [255, 85, 0], "kind": "parts"}
        assert told == {"kind": "settings", "opacity": 0.25, "classes": [PANTS], "policy": "latest"}
        assert "number" not in status
        page(made_frame(50))
        status = watched(page, lambda connection: letter(connection, "status"))
    assert (status["number"], status["seconds"], status["fps"], status["dropped"]) == (50, 2.0, 25.0, 12)
    assert status["stages"] == {"decode": 1.0, "preprocess": 2.0, "infer": 12.5, "overlay": 3.0, "encode": 4.0}
    assert status["people"] == [{"id": 1, "score": 0.9}, {"id": 2, "score": 0.9}]
    assert status["people_so_far"] == 2
    assert status["classes"].keys() == {"5", "9"}
    assert status["classes"]["9"] == pytest.approx(0.25, abs=0.01)


def test_a_viewer_who_confirms_is_sent_newer_pictures(page: LivePage) -> None:
    async def watch(connection: aiohttp.ClientWebSocketResponse) -> list[np.ndarray]:
        seen = []
        for _ in range(6):
            seen.append(await picture(connection))
            await connection.send_json({"kind": "shown"})
        return seen

    with Pipeline(page):
        seen = watched(page, watch)
    assert len(seen) == 6
    assert all(not np.array_equal(one, other) for one, other in pairwise(seen))


def test_a_viewer_who_stops_confirming_is_skipped_and_comes_back_to_the_newest(page: LivePage) -> None:
    async def watch(slow: aiohttp.ClientWebSocketResponse) -> tuple[list[int], int]:
        """While the slow one holds two pictures, a quick one is sent ten; then the slow one goes on to the last."""
        seen = [bar(await picture(slow)) for _ in range(2)]
        async with aiohttp.ClientSession() as session, session.ws_connect(at(page, "/live")) as quick:
            for _ in range(10):
                await picture(quick)
                await quick.send_json({"kind": "shown"})
        pipeline.stop()
        last = (pipeline.sent - 1) % 40
        while seen[-1] != last:
            await slow.send_json({"kind": "shown"})
            seen.append(bar(await picture(slow)))
        return seen, last

    with Pipeline(page) as pipeline:
        seen, last = watched(page, watch)
    # Perhaps the picture that the quick one saw last, then the last frame; of those before, none.
    assert len(seen) in (3, 4)
    assert pipeline.sent >= 10
    assert seen[-1] == last


def test_one_picture_is_made_for_all_viewers(page: LivePage) -> None:
    async def watch(one: aiohttp.ClientWebSocketResponse) -> None:
        async with aiohttp.ClientSession() as session:
            others = [await session.ws_connect(at(page, "/live")) for _ in range(5)]
            for number in range(5):
                page(made_frame(number))
                shown = await asyncio.gather(*(picture(viewer) for viewer in (one, *others)))
                assert all(np.array_equal(shown[0], other) for other in shown)
                for viewer in (one, *others):
                    await viewer.send_json({"kind": "shown"})
            for viewer in others:
                await viewer.close()

    watched(page, watch)
    assert page._pictures.made == 5


def test_nothing_is_made_once_the_last_viewer_has_gone(page: LivePage) -> None:
    page(made_frame(0))
    watched(page, picture)
    eventually(lambda: not page._server._viewers)
    made = page._pictures.made
    for number in range(1, 100):
        page(made_frame(number))
    # At most the wish that the viewer had left behind.
    assert page._pictures.made <= made + 1


def test_a_change_reaches_the_settings_and_every_viewer(page: LivePage) -> None:
    async def change(one: aiohttp.ClientWebSocketResponse) -> tuple[dict[str, Any], dict[str, Any]]:
        async with aiohttp.ClientSession() as session, session.ws_connect(at(page, "/live")) as other:
            await letter(one, "settings")
            await letter(other, "settings")
            await one.send_json({"kind": "change", "opacity": 0.5, "classes": [1, PANTS], "policy": "latest"})
            return await letter(one, "settings"), await letter(other, "settings")

    told = watched(page, change)
    assert told[0] == told[1]
    assert told[0] == {"kind": "settings", "opacity": 0.5, "classes": [1, PANTS], "policy": "latest"}
    assert (page.settings.opacity, page.settings.classes, page.settings.policy) == (0.5, {1, PANTS}, "latest")


def test_a_change_by_the_program_reaches_the_viewers(page: LivePage) -> None:
    async def change(connection: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        await letter(connection, "settings")
        page.settings.opacity = 0.125
        return await letter(connection, "settings")

    assert watched(page, change)["opacity"] == 0.125


@pytest.mark.parametrize(
    "wish", [{"opacity": 7}, {"classes": [0]}, {"policy": "rtsp://10.0.0.1/"}, {"source": "camera:0"}]
)
def test_a_wish_that_cannot_be_met_is_answered_in_words(page: LivePage, wish: dict[str, Any]) -> None:
    async def change(connection: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        await connection.send_json({"kind": "change", **wish})
        return await letter(connection, "refused")

    before = page.settings.choice
    assert watched(page, change)["text"]
    assert page.settings.choice == before


def test_a_snapshot_is_the_newest_frame_to_the_pixel(page: LivePage) -> None:
    assert asked(page, "/snapshot.png").status == 404
    frame = made_frame(12)
    page(frame)

    async def ask() -> tuple[str, bytes]:
        async with aiohttp.ClientSession() as session, session.get(at(page, "/snapshot.png")) as answer:
            return answer.headers["Content-Disposition"], await answer.read()

    name, data = asyncio.run(ask())
    assert name == 'attachment; filename="trtparse-000012.png"'
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), frame.drawn)


# How it begins and ends.


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "The run has ended."),
        (DataError("No camera 3.", "x"), "The run has ended: No camera 3."),
        (KeyboardInterrupt(), "The run was stopped."),
        (RuntimeError("secret"), "The run has ended by an error."),
    ],
)
def test_the_viewers_see_the_last_frame_and_are_told_why_it_is_the_last(
    error: BaseException | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough that nobody sees the frame who does not wait for it.
    monkeypatch.setattr(pictures, "encode_jpeg", lambda image: time.sleep(0.2) or encode_jpeg(image))
    page = LivePage("127.0.0.1:0", settings=LiveSettings(PARTS))
    messages: list[aiohttp.WSMessage] = []
    watching = threading.Event()

    async def watch(connection: aiohttp.ClientWebSocketResponse) -> None:
        await letter(connection, "welcome")
        watching.set()
        while not connection.closed:
            messages.append(await connection.receive())

    page.__enter__()
    viewer = threading.Thread(target=watched, args=(page, watch))
    viewer.start()
    assert watching.wait(60)
    page(made_frame(3))
    page.__exit__(type(error) if error else None, error, None)
    viewer.join(10)
    assert [message.type for message in messages].count(aiohttp.WSMsgType.BINARY) == 1
    letters = [json.loads(message.data) for message in messages if message.type is aiohttp.WSMsgType.TEXT]
    assert {"kind": "ended", "text": words} in letters
    assert messages[-1].type is aiohttp.WSMsgType.CLOSE
    assert messages[-1].data == 1001


def test_afterwards_nothing_is_left_running_and_the_port_is_free() -> None:
    before = threading.active_count()
    for _ in range(2):
        with LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)) as page:
            port = urlsplit(page.url).port
            asked(page)
        assert threading.active_count() == before
        page.say("nobody hears it")
        page.end()
        page(made_frame(1))
        with LivePage(f"127.0.0.1:{port}", settings=LiveSettings(PARTS)):
            pass


def test_a_port_in_use_is_an_error_before_anything_runs(page: LivePage) -> None:
    before = threading.active_count()
    with (
        pytest.raises(UsageError, match="in use"),
        LivePage(f"127.0.0.1:{urlsplit(page.url).port}", settings=LiveSettings(PARTS)),
    ):
        pass
    assert threading.active_count() == before


def test_a_page_that_does_not_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: server.LiveServer, listening: socket.socket) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(server.LiveServer, "start", start)
    before = threading.active_count()
    page = LivePage("127.0.0.1:0", settings=LiveSettings(PARTS))
    with pytest.raises(RuntimeError, match="not today"), page:
        pass
    assert threading.active_count() == before
    port = urlsplit(page.url).port
    assert port is not None
    listen(ServeAddress("127.0.0.1", port)).close()


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtparse.engines.machine.dependencies._is_installed", lambda module: False)
    with pytest.raises(MachineError) as caught, LivePage("127.0.0.1:0", settings=LiveSettings(PARTS)):
        pass
    assert "trtparse[serve]" in caught.value.hint


def test_what_happens_is_told_and_who_comes_late_hears_the_end(page: LivePage) -> None:
    async def hear(connection: aiohttp.ClientWebSocketResponse) -> list[str]:
        await letter(connection, "status")
        page.say("camera:0 is back.")
        notice = (await letter(connection, "notice"))["text"]
        page.end("That was all.")
        return [notice, (await letter(connection, "ended"))["text"]]

    assert watched(page, hear) == ["camera:0 is back.", "That was all."]
    assert watched(page, lambda connection: letter(connection, "ended"))["text"] == "That was all."


def test_a_run_is_watched_and_switched_while_it_lasts(page: LivePage) -> None:
    """With the pipeline itself, and an engine that takes grey for upper clothes."""
    frames = (np.full((96, 64, 3), 120, np.uint8) for _ in range(2000))
    colours: list[np.ndarray] = []

    async def watch(connection: aiohttp.ClientWebSocketResponse) -> None:
        while (image := await picture(connection))[60, 32].max() > 130 or not colours:
            if not colours:
                await connection.send_json({"kind": "change", "classes": []})
            colours.append(image[60, 32])
            await connection.send_json({"kind": "shown"})
        colours.append(image[60, 32])
        page.end()  # stops the run, see below

    def stop_at_end(frame: ParsedFrame) -> None:
        if page._ended:
            raise KeyboardInterrupt

    viewer = threading.Thread(target=watched, args=(page, watch))
    viewer.start()
    source = ArraySource(frames, (96, 64), frame_count=2000)
    with pytest.raises(KeyboardInterrupt):
        run_demo(
            source, predicting(BrightEngine(seconds=0.01)), [], observers=[page, stop_at_end], settings=page.settings
        )
    viewer.join()
    assert colours[0].max() > 150  # orange over grey
    assert colours[-1] == pytest.approx([120] * 3, abs=5)
