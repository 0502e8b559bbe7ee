"""Made-up frames, and somebody who hands them to a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from trtparse.demo.layers import all_parts, layers_of
from trtparse.demo.live import LivePage, LiveSettings
from trtparse.demo.parsed_frame import ParsedFrame, StageTimes
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.drawer import LabelSight
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.people.person import Person

LIP = label_set("lip")
LAYERS = layers_of([Parsing(LIP)])
PARTS = all_parts(LAYERS)

HEIGHT, WIDTH = 120, 160
UPPER_CLOTHES, PANTS = 5, 9


def made_frame(number: int, settings: LiveSettings | None = None) -> ParsedFrame:
    """A grey frame with upper clothes on the left, pants on the right, and a white bar on top that moves."""
    settings = settings or LiveSettings(PARTS)
    size = height, width = HEIGHT, WIDTH
    labels = np.zeros(size, np.uint8)
    labels[height // 2 :, : width // 2] = UPPER_CLOTHES
    labels[height // 2 :, width // 2 :] = PANTS
    drawn = np.full((*size, 3), 100, np.uint8)
    for index, colour in ((UPPER_CLOTHES, (0, 0, 255)), (PANTS, (255, 0, 0))):
        if index in settings.classes:
            mixed = 100 * (1 - settings.opacity) + np.array(colour) * settings.opacity
            drawn[labels == index] = mixed.astype(np.uint8)
    left = number * 4 % width
    drawn[: height // 4, left : left + 16] = 255
    people = tuple(Person(identity, (0.0, 0.0, 10.0, 20.0), 0.9) for identity in (1, 2))
    stages = StageTimes(1.0, 2.0, 12.5, 3.0, 4.0)
    return ParsedFrame(number, number / 25, drawn, LAYERS, (LabelSight(labels, LIP),), people, True, 25.0, stages)


class Pipeline:
    """Hands frames to a page on a thread of its own, as the writer does, until it is stopped."""

    def __init__(self, page: LivePage, per_second: float = 25.0) -> None:
        self.page, self.sent, self.slowest = page, 0, 0.0
        self._pause = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            self.page(made_frame(self.sent, self.page.settings))
            self.sent += 1

    def __enter__(self) -> Pipeline:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def eventually(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value, or a failure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {holds}")
