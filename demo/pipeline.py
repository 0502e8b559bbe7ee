"""Decode, prepare, infer, draw, encode: each on time, none waiting for the sum of the others.

Five threads hand frames on to each other::

    decode ─► prepare ─► infer ─► draw ─► encode
      ▲       (find people, crop, letterbox)  │
      └──────────── room for a frame ─────────┘

``infer`` is the caller's thread, as an engine belongs to the thread that uses it. There is room for a few frames and
no more, so the queues are bounded by that and putting never waits; only taking does, and whoever takes is woken when
the run is to stop and looks at the stop flag ten times a second besides. So whatever stage fails, all of them end.

A frame is seen as a whole, or person by person; a request to the engine carries as many of these as it takes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..data.dataset import Image
from ..engines.base import Engine, Frames, Ticket
from ..errors import DataError, UsageError
from ..tasks.base import Predictor
from ..tasks.drawing import Drawer, Seen
from .jobs import Channel, Job, Request
from .meter import Clock, Meter
from .parsed_frame import ParsedFrame
from .people.finder import PeopleFinder, placements_of
from .result import DemoResult
from .settings import Settings
from .sinks import FrameSink
from .sources import FrameSource

_SPARE = 4  # requests of frames besides those in flight: two on their way in, two on their way out
_SPARE_LIVE = 3  # frames: what waits is late, so no more of it than keeps every stage busy
_LOOK_UP_SECONDS = 0.025  # between looks at progress and windows once the engine is done
_PATIENCE_SECONDS = 10.0  # for a thread to end after it was told to; then it is left behind
_MOST_AT_ONCE = 8  # crops in one request to an engine that takes any number

FramesDone = Callable[[int, "int | None"], None]
"""Called on the caller's thread with the frames finished so far and the frames there are, where known."""

Observer = Callable[[ParsedFrame], None]
"""Called on the encoding thread with each frame, after the sinks that take every frame."""


def run_demo(
    source: FrameSource,
    predictor: Predictor[Any],
    sinks: Sequence[FrameSink],
    *,
    observers: Sequence[Observer] = (),
    people: PeopleFinder | None = None,
    smooth: bool = False,
    settings: Settings | None = None,
    progress: FramesDone | None = None,
    hud: bool = False,
) -> DemoResult:
    """Parse every frame of ``source``, draw the result and hand it to ``sinks``.

    The engine is used by the calling thread only. Opening and closing source, predictor and sinks is the caller's::

        with VideoSource(path) as source, VideoSink(output, source.fps, source.size) as sink:
            result = run_demo(source, predictor, [sink])

    so that on an error or Ctrl-C, which end the run at once and come out of here as they are, the sink finishes the
    video with the frames it has. The engine has nothing in flight afterwards and can be used again.

    Args:
        source: frames; drawn on in place.
        predictor: its engine is fed ``engine.batch`` crops at a time; the last batch is filled up with repetitions,
            whose labels are dropped. Whole frames share a batch with their neighbours, one frame's people are never
            kept waiting for the next frame's.
        sinks: take the drawn frames; there may be none.
        observers: see :data:`Observer`.
        people: finds them, each of whom is parsed as a crop of their own; None parses the frame as one person.
        smooth: keep labels where the picture stands still.
        settings: looked at for every frame; None draws all classes at the usual opacity.
        progress: see :data:`FramesDone`.
        hud: write the frame rate of the last half second and the precision into the upper right corner.

    Raises:
        DataError: the source has no frames.
        UsageError: a sink would replace the file that is being read.
        Whatever the source, the engine, a sink or a callback raises.
    """
    _refuse_same_file(source, sinks)
    drawer = predictor.task.drawer(source.size, source.fps, smooth=smooth)
    run = _Pipeline(source, predictor, drawer, sinks, observers, people, settings, progress)
    run.hud = hud
    return run.run()


def _refuse_same_file(source: FrameSource, sinks: Sequence[FrameSink]) -> None:
    for sink in sinks:
        same = source.path is not None and sink.path is not None and sink.path.exists()
        if same and os.path.samefile(str(source.path), str(sink.path)):
            raise UsageError(f"{sink.path} is the video being read; it is not replaced.", "Choose another output.")


def _batch(engine: Engine, several: bool) -> tuple[int, int]:
    """The fewest and the most crops for one request; the fewest it may bring, where frames are whole."""
    fewest, most = engine.batch_range
    wanted = max(_MOST_AT_ONCE, fewest) if several else fewest
    return fewest, wanted if most is None else min(most, wanted)


class _Pipeline:
    """One run's state; the methods are grouped by the thread that calls them."""

    def __init__(
        self,
        source: FrameSource,
        predictor: Predictor[Any],
        drawer: Drawer[Any, Any],
        sinks: Sequence[FrameSink],
        observers: Sequence[Observer],
        people: PeopleFinder | None,
        settings: Settings | None,
        progress: FramesDone | None,
    ) -> None:
        self._source, self._predictor, self._drawer = source, predictor, drawer
        engine = predictor.engine
        self._sinks = [sink for sink in sinks if not sink.latest_only]
        self._viewers = [sink for sink in sinks if sink.latest_only]
        self._output = next((sink.path for sink in sinks if sink.path is not None), None)
        self._observers, self._people = observers, people
        self._settings, self._progress = settings, progress
        self.hud = False
        self._whole = predictor.place(source.size)
        self._fewest, self._capacity = _batch(engine, people is not None)
        self._in_flight = max(1, engine.in_flight)
        self._clock = Clock()
        self._meter = Meter(self._clock)
        self._stop = threading.Event()  # nobody wants more frames: because of an error or a sink's wish
        self._room: Channel[bool] = Channel(self._stop)
        self._buffers: Channel[Frames] = Channel(self._stop)
        self._decoded: Channel[Job] = Channel(self._stop)
        self._ready: Channel[Request] = Channel(self._stop)
        self._parsed: Channel[Job] = Channel(self._stop)
        self._drawn: Channel[Job] = Channel(self._stop)
        waiting = _SPARE_LIVE if source.live else _SPARE * self._capacity
        for _ in range(self._in_flight * self._capacity + waiting):
            self._room.put(True)
        for _ in range(self._in_flight + 2):  # one being filled, one ready
            self._buffers.put(np.zeros((self._capacity, *engine.input_size, 3), np.uint8))
        self._error: BaseException | None = None  # the first one of any thread but the caller's
        self._written = 0
        self._latest: Image | None = None
        self._requested_end = False

    def run(self) -> DemoResult:
        begin = time.perf_counter()
        stages = (self._decode, self._prepare, self._draw, self._encode)
        threads = [
            threading.Thread(target=self._guard, args=(stage,), name=f"demo {stage.__name__[1:]}", daemon=True)
            for stage in stages
        ]
        for thread in threads:
            thread.start()
        try:
            self._infer()
            while threads[-1].is_alive() and not self._stop.is_set():
                threads[-1].join(_LOOK_UP_SECONDS)
                self._look_up()
        finally:
            self._halt()
            if threads[0].is_alive():
                self._source.stop()
            for thread in threads:
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
            frames_dropped=self._source.frames_dropped,
            people=None if self._people is None else self._people.count,
            crowded=0 if self._people is None else self._people.crowded,
            flicker=self._drawer.flicker,
            stopped=self._requested_end,
            output=self._output,
            engine=self._predictor.name,
            precision=self._predictor.engine.precision,
        )

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # handed to the caller's thread, which raises it
            if self._error is None:
                self._error = error
            self._halt()

    def _halt(self) -> None:
        """Have every stage stop where it is; whoever waits is woken."""
        self._stop.set()
        for channel in (self._room, self._buffers, self._decoded, self._ready, self._parsed, self._drawn):
            channel.put(None)

    # Decode.

    def _decode(self) -> None:
        frames = iter(self._source)
        number = 0
        while self._room.take():
            if self._settings is not None and self._settings.policy != self._source.policy:
                self._source.set_policy(self._settings.policy)
            waited = self._source.waited
            with self._clock.time("decode"):
                frame = next(frames, None)
            self._clock.seconds["decode"] -= self._source.waited - waited
            if frame is None:
                break
            self._decoded.put(Job(number, self._source.seconds, frame))
            number += 1
        self._decoded.put(None)

    # Prepare.

    def _prepare(self) -> None:
        request: Request | None = None
        while (job := self._decoded.take()) is not None:
            with self._clock.time("preprocess"):
                self._look_for_people(job)
            for placement in job.placements:
                if request is None or len(request.carried) == self._capacity:
                    self._hand_over(request)
                    request = self._begin()
                    if request is None:
                        return
                with self._clock.time("preprocess"):
                    placement.apply(job.frame, request.inputs[len(request.carried)])
                request.carried.append(job)
            if request is None:  # nobody to look at; the frame keeps its place among the others
                request = Request(np.zeros((0, 0, 0, 3), np.uint8))
            request.complete.append(job)
            if self._people is not None or len(request.carried) == self._capacity:
                self._hand_over(request)
                request = None
        self._hand_over(request)
        self._ready.put(None)

    def _look_for_people(self, job: Job) -> None:
        if self._people is None:
            job.placements = (self._whole,)
            return
        job.people = self._people.find(job.frame, job.seconds)
        job.placements = placements_of(job.people, self._source.size, self._predictor)

    def _begin(self) -> Request | None:
        buffer = self._buffers.take()
        return None if buffer is None else Request(buffer)

    def _hand_over(self, request: Request | None) -> None:
        if request is None:
            return
        used = len(request.carried)
        if 0 < used < self._fewest:
            request.inputs[used : self._fewest] = request.inputs[used - 1]
        self._ready.put(request)

    # Infer: the caller's thread.

    def _infer(self) -> None:
        """Keep the engine busy: submit while it takes more, collect as soon as nothing else is there to submit."""
        flying: deque[tuple[Ticket | None, Request, float]] = deque()
        free_since = 0.0
        more = True
        try:
            while (more or flying) and not self._stop.is_set():
                while more and len(flying) < self._in_flight and (not flying or not self._ready.empty()):
                    request = self._ready.take()
                    more = request is not None
                    if request is not None:
                        flying.append((self._submit(request), request, time.perf_counter()))
                if flying:
                    ticket, request, submitted = flying.popleft()
                    if ticket is not None:
                        self._collect(ticket, request)
                        now = time.perf_counter()
                        # a request that queued behind another one was not worked on until that was done
                        self._clock.seconds["infer"] += now - max(submitted, free_since)
                        free_since = now
                    for job in request.complete:
                        self._parsed.put(job)
                self._look_up()
        finally:
            for ticket, _, _ in flying:  # leave the engine as it was found
                with contextlib.suppress(Exception):
                    if ticket is not None:
                        self._predictor.collect(ticket)
        if not self._stop.is_set():
            self._parsed.put(None)

    def _submit(self, request: Request) -> Ticket | None:
        if not request.carried:
            return None
        return self._predictor.submit(request.inputs[: max(len(request.carried), self._fewest)])

    def _collect(self, ticket: Ticket, request: Request) -> None:
        answers = self._predictor.collect(ticket)
        self._buffers.put(request.inputs)
        for job, answer in zip(request.carried, answers):
            job.found.append(answer)

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

    # Draw.

    def _draw(self) -> None:
        while (job := self._parsed.take()) is not None:
            with self._clock.time("overlay"):
                seen = Seen(job.seconds, job.placements, tuple(job.found), job.people)
                job.sight = self._drawer.look(job.frame, seen)
                settings = self._settings
                self._drawer.draw(
                    job.frame,
                    job.sight,
                    people=job.people or (),
                    hud=f"{self._meter.fps:.0f} FPS  {self._predictor.engine.precision.upper()}" if self.hud else "",
                    opacity=None if settings is None else settings.opacity,
                    parts=None if settings is None else settings.classes,
                )
            self._drawn.put(job)
        if not self._stop.is_set():
            self._drawn.put(None)

    # Encode.

    def _encode(self) -> None:
        while (job := self._drawn.take()) is not None:
            with self._clock.time("encode"):
                wanted = [sink.write(job.frame, job.seconds) for sink in self._sinks]
            self._meter.tick()
            if self._observers:
                self._tell(job)
            self._written += 1
            self._latest = job.frame
            if not all(wanted):
                self._request_end()
            self._room.put(True)

    def _tell(self, job: Job) -> None:
        assert job.sight is not None
        parsed = ParsedFrame(
            job.number,
            job.seconds,
            job.frame,
            job.sight,
            job.people or (),
            job.people is not None,
            self._meter.fps,
            self._meter.stages,
        )
        for observe in self._observers:
            observe(parsed)
