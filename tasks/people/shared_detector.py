"""One detector for the threads that read photographs: what several of them wait for goes through it together."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from ...data.dataset import Image
from .boxes import Detections
from .detector import PersonDetector


class SharedDetector:
    """A detector that any number of threads may ask.

    Args:
        detector: is asked by one thread at a time, about as many pictures as wait and it takes at once.
    """

    def __init__(self, detector: PersonDetector) -> None:
        self.sure = detector.sure
        self._detector = detector
        self._waiting: deque[tuple[Image, Future[Detections]]] = deque()
        self._asking = threading.Lock()

    def detect(self, image: Image) -> Detections:
        """Who is in (H, W, 3) uint8, BGR. What the detector raises, everybody gets whose picture it was shown."""
        asked: Future[Detections] = Future()
        self._waiting.append((image, asked))
        while not asked.done():
            with self._asking:
                if not asked.done():  # by the thread before
                    self._ask()
        return asked.result()

    def _ask(self) -> None:
        count = min(len(self._waiting), self._detector.at_once)
        images, asked = zip(*(self._waiting.popleft() for _ in range(count)))
        try:
            answers = self._detector.detect(images)
        except BaseException as error:
            for one in asked:
                one.set_exception(error)
        else:
            for one, answer in zip(asked, answers):
                one.set_result(answer)
