"""Decode, letterbox, infer, restore, draw, encode: each on time, none waiting for the sum of the others.

Three threads hand slots on to each other::

    reader: decode, letterbox  ──ready──►  caller: engine  ──done──►  writer: restore, draw, sinks
      ▲                                                                                  │
      └───────────────────────────────────────free────────────────────────────────────────┘

There are a few slots and no more, so the queues are bounded by them and putting never waits; only taking does, and
whoever takes is woken when the run is to stop and looks at the stop flag ten times a second besides. So whatever
stage fails, all of them end.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Image, LabelMap
from ..data.letterbox import Letterbox
from ..engines.base import Engine, Frames, LabelMaps, Ticket
from ..errors import DataError, UsageError
from .overlay import Overlay
from .sinks import FrameSink
from .sources import FrameSource

SCHEMA_VERSION = 1

_SPARE_SLOTS = 4  # besides those in flight: one being filled, one ready, two on their way out
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 10.0  # for a thread to end after it was told to; then it is left behind

Progress = Callable[[int, "int | None"], None]
"""Called on the caller's thread with the frames finished so far and the frames there are, where known."""

OnFrame = Callable[[int, Image, LabelMap], None]
"""Called on the writer's thread with each frame's number, the drawn frame and its labels at the frame's size."""


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds per frame that each stage worked, its waiting left out.

    The stages overlap: the reader needs ``decode + preprocess``, the engine ``infer``, the writer
    ``overlay + encode``, and the slowest of these three sets the pace.
    """

    decode: float
    preprocess: float
    infer: float
    overlay: float
    encode: float


@dataclass(frozen=True)
class DemoResult:
    """What a run did.

    Args:
        frames: how many were finished.
        seconds: from the first decoded frame to the last encoded one.
        fps: ``frames / seconds``, end to end.
        stages: the split.
        frames_missing: how many the source's header lists that could not be decoded.
        stopped: whether a sink asked for the end before the source's.
        output: the file that the first sink with one makes.
        engine: the engine's name.
        precision: the engine's precision.
    """

    frames: int
    seconds: float
    fps: float
    stages: StageTimes
    frames_missing: int
    stopped: bool
    output: Path | None
    engine: str
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, with a schema version."""
        output = None if self.output is None else str(self.output)
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "output": output}


@dataclass
class _Slot:
    """One batch on its way, and the buffer it travels in."""

    inputs: Frames
    frames: list[Image] = field(default_factory=list)
    labels: LabelMaps = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))


class _Clock:
    """Seconds of work per stage. Each stage is timed by one thread, so no lock is needed."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "preprocess", "infer", "overlay", "encode"), 0.0)

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - begin

    def per_frame(self, frames: int) -> StageTimes:
        return StageTimes(**{stage: 1e3 * seconds / frames for stage, seconds in self.seconds.items()})


def run_demo(
    source: FrameSource,
    engine: Engine,
    sinks: Sequence[FrameSink],
    *,
    progress: Progress | None = None,
    on_frame: OnFrame | None = None,
    hud: bool = False,
) -> DemoResult:
    """Parse every frame of ``source``, draw the result and hand it to ``sinks``.

    The engine is used by the calling thread only. Opening and closing source, engine and sinks stays with the caller::

        with VideoSource(path) as source, VideoSink(output, source.fps, source.size) as sink:
            result = run_demo(source, engine, [sink])

    so that on an error or Ctrl-C, which end the run at once and come out of here as they are, the sink finishes the
    video with the frames it has. The engine has nothing in flight afterwards and can be used again.

    Args:
        source: frames; drawn on in place.
        engine: fed ``engine.batch`` frames at a time, one where that is None; the last batch is filled up with
            repetitions, whose labels are dropped.
        sinks: take the drawn frames; there may be none.
        progress: see :data:`Progress`.
        on_frame: see :data:`OnFrame`.
        hud: write the frame rate of the last half second and the precision into the upper right corner.

    Raises:
        DataError: the source has no frames.
        UsageError: a sink would replace the file that is being read.
        Whatever the source, the engine, a sink or a callback raises.
    """
    _refuse_same_file(source, sinks)
    meter = _Meter(engine.precision.upper()) if hud else None
    return _Run(source, engine, sinks, progress, on_frame, meter).run()


def _refuse_same_file(source: FrameSource, sinks: Sequence[FrameSink]) -> None:
    for sink in sinks:
        same = source.path is not None and sink.path is not None and sink.path.exists()
        if same and os.path.samefile(str(source.path), str(sink.path)):
            raise UsageError(f"{sink.path} is the video being read; it is not replaced.", "Choose another output.")


class _Meter:
    """The frame rate of the last half second, as text that changes no more often than that."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._text = ""
        self._since = time.perf_counter()
        self._frames = 0

    def tick(self) -> str:
        self._frames += 1
        passed = time.perf_counter() - self._since
        if passed >= 0.5:
            self._text = f"{self._frames / passed:.0f} FPS  {self._suffix}"
            self._since += passed
            self._frames = 0
        return self._text


class _Run:
    """One run's state; the methods are grouped by the thread that calls them."""

    def __init__(
        self,
        source: FrameSource,
        engine: Engine,
        sinks: Sequence[FrameSink],
        progress: Progress | None,
        on_frame: OnFrame | None,
        meter: _Meter | None,
    ) -> None:
        self._source, self._engine = source, engine
        self._sinks = [sink for sink in sinks if not sink.latest_only]
        self._viewers = [sink for sink in sinks if sink.latest_only]
        self._output = next((sink.path for sink in sinks if sink.path is not None), None)
        self._progress, self._on_frame, self._meter = progress, on_frame, meter
        self._letterbox = Letterbox.fit(source.size, engine.input_size)
        self._batch = engine.batch or 1
        self._in_flight = max(1, engine.in_flight)
        self._clock = _Clock()
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        for _ in range(self._in_flight + _SPARE_SLOTS):
            self._free.put(_Slot(np.zeros((self._batch, *engine.input_size, 3), np.uint8)))
        self._stop = threading.Event()  # nobody wants more frames: because of an error or a sink's wish
        self._error: BaseException | None = None  # the first one from the reader or the writer
        self._written = 0
        self._latest: Image | None = None
        self._requested_end = False

    def run(self) -> DemoResult:
        begin = time.perf_counter()
        reader = threading.Thread(target=self._guard, args=(self._read,), name="demo reader", daemon=True)
        writer = threading.Thread(target=self._guard, args=(self._write,), name="demo writer", daemon=True)
        reader.start()
        writer.start()
        try:
            self._infer()
            while writer.is_alive() and not self._stop.is_set():
                writer.join(_POLL_SECONDS / 4)
                self._look_up()
        finally:
            self._halt()
            for thread in (reader, writer):
                thread.join(_PATIENCE_SECONDS)
        if self._error is not None:
            raise self._error
        if self._written == 0 and not self._requested_end:
            raise DataError(f"{self._source.name} holds no frames.", "Check that the video plays.")
        result = self._result(time.perf_counter() - begin)
        self._look_up()  # the last frame, and the last count
        return result

    def _result(self, seconds: float) -> DemoResult:
        return DemoResult(
            frames=self._written,
            seconds=seconds,
            fps=self._written / seconds,
            stages=self._clock.per_frame(max(1, self._written)),
            frames_missing=0 if self._requested_end else self._source.frames_missing,
            stopped=self._requested_end,
            output=self._output,
            engine=self._engine.name,
            precision=self._engine.precision,
        )

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # handed to the caller's thread, which raises it
            if self._error is None:
                self._error = error
            self._halt()

    def _halt(self) -> None:
        """Have every stage stop where it is; whoever waits for a slot is woken."""
        self._stop.set()
        for slots in (self._free, self._ready, self._done):
            slots.put(None)

    def _take(self, slots: queue.SimpleQueue[_Slot | None]) -> _Slot | None:
        """The next slot; None at the end of the stream, or once the run is to stop."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                slot = slots.get(timeout=_POLL_SECONDS)
                return None if self._stop.is_set() else slot
        return None

    # The reader's thread.

    def _read(self) -> None:
        frames = iter(self._source)
        more = True
        while more:
            slot = self._take(self._free)
            if slot is None:
                return
            slot.frames = []
            while more and len(slot.frames) < self._batch:
                with self._clock.time("decode"):
                    frame = next(frames, None)
                if frame is None:
                    more = False
                    continue
                with self._clock.time("preprocess"):
                    self._letterbox.apply(frame, out=slot.inputs[len(slot.frames)])
                slot.frames.append(frame)
            if slot.frames:
                slot.inputs[len(slot.frames) :] = slot.inputs[len(slot.frames) - 1]
                self._ready.put(slot)
        self._ready.put(None)

    # The caller's thread.

    def _infer(self) -> None:
        """Keep the engine busy: submit while it takes more, collect as soon as nothing else is there to submit."""
        flying: deque[tuple[Ticket, _Slot, float]] = deque()
        free_since = 0.0
        more = True
        try:
            while (more or flying) and not self._stop.is_set():
                while more and len(flying) < self._in_flight and (not flying or not self._ready.empty()):
                    slot = self._take(self._ready)
                    more = slot is not None
                    if slot is not None:
                        flying.append((self._engine.submit(slot.inputs), slot, time.perf_counter()))
                if flying:
                    ticket, slot, submitted = flying.popleft()
                    slot.labels = self._engine.collect(ticket)
                    now = time.perf_counter()
                    # a request that queued behind another one was not worked on until that was done
                    self._clock.seconds["infer"] += now - max(submitted, free_since)
                    free_since = now
                    self._done.put(slot)
                self._look_up()
        finally:
            for ticket, _, _ in flying:  # leave the engine as it was found
                with contextlib.suppress(Exception):
                    self._engine.collect(ticket)
        if not self._stop.is_set():
            self._done.put(None)

    def _look_up(self) -> None:
        """What is for the caller's thread only: progress, and windows."""
        if self._progress is not None:
            self._progress(self._written, self._source.frame_count)
        frame, self._latest = self._latest, None
        if frame is None:
            return
        for viewer in self._viewers:
            if not viewer.write(frame):
                self._request_end()

    def _request_end(self) -> None:
        self._requested_end = True
        self._halt()

    # The writer's thread.

    def _write(self) -> None:
        cell = self._source.size[0] / self._letterbox.height
        overlay = Overlay(self._source.size, self._source.fps, cell=cell)
        while (slot := self._take(self._done)) is not None:
            for frame, labels in zip(slot.frames, slot.labels):
                if self._stop.is_set():
                    return
                self._finish(overlay, frame, labels)
            slot.frames = []
            self._free.put(slot)

    def _finish(self, overlay: Overlay, frame: Image, labels: LabelMap) -> None:
        with self._clock.time("overlay"):
            restored = self._letterbox.restore(labels)
            overlay.draw(frame, restored, hud=self._meter.tick() if self._meter else "")
        with self._clock.time("encode"):
            wanted = [sink.write(frame) for sink in self._sinks]
        if self._on_frame is not None:
            self._on_frame(self._written, frame, restored)
        self._written += 1
        self._latest = frame
        if not all(wanted):
            self._request_end()
