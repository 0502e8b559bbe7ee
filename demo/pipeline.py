"""Decode, prepare, infer, draw, encode: each on time, none waiting for the sum of the others.

Five threads hand frames on to each other::

    decode ─► prepare ─► infer ─► draw ─► encode
      ▲       (find people, crop, letterbox)  │
      └──────────── room for a frame ─────────┘

``infer`` is the caller's thread, as an engine belongs to the thread that uses it. There is room for a few frames and
no more, so the queues are bounded by that and putting never waits; only taking does, and whoever takes is woken when
the run is to stop and looks at the stop flag ten times a second besides. So whatever stage fails, all of them end.

A frame is seen as a whole, or person by person; a request to the engine carries as many of these as it takes. Several
engines, each of another task, see the same frames and the same people: each has a lane of its own, and a frame is drawn
once all of them have answered.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..data.crops import Placement
from ..data.dataset import Image
from ..engines.base import Ticket
from ..errors import DataError, UsageError
from ..tasks.drawing import Seen
from ..tasks.predictor import Predictor
from .jobs import Channel, Job, Request
from .lanes import Lane
from .layers import drawn_together, layers_of
from .meter import Clock, Meter
from .parsed_frame import ParsedFrame
from .people.finder import PeopleFinder
from .result import DemoResult
from .settings import Settings
from .sinks import FrameSink
from .sources import FrameSource

_SPARE = 4  # requests of frames besides those in flight: two on their way in, two on their way out
_SPARE_LIVE = 3  # frames: what waits is late, so no more of it than keeps every stage busy
_LOOK_UP_SECONDS = 0.025  # between looks at progress and windows once the engine is done
_PATIENCE_SECONDS = 10.0  # for a thread to end after it was told to; then it is left behind

FramesDone = Callable[[int, "int | None"], None]
"""Called on the caller's thread with the frames finished so far and the frames there are, where known."""

Observer = Callable[[ParsedFrame], None]
"""Called on the encoding thread with each frame, after the sinks that take every frame."""


def run_demo(
    source: FrameSource,
    predictors: Predictor[Any] | Sequence[Predictor[Any]],
    sinks: Sequence[FrameSink],
    *,
    observers: Sequence[Observer] = (),
    people: PeopleFinder | None = None,
    smooth: bool = False,
    settings: Settings | None = None,
    progress: FramesDone | None = None,
    hud: bool = False,
) -> DemoResult:
    """Look at every frame of ``source``, draw what was found and hand it to ``sinks``.

    The engines are used by the calling thread only. Opening and closing source, predictors and sinks is the caller's::

        with VideoSource(path) as source, VideoSink(output, source.fps, source.size) as sink:
            result = run_demo(source, predictor, [sink])

    so that on an error or Ctrl-C, which end the run at once and come out of here as they are, the sink finishes the
    video with the frames it has. The engines have nothing in flight afterwards and can be used again.

    Args:
        source: frames; drawn on in place.
        predictors: one, or one of each of several tasks, whose answers are drawn over one another. An engine is fed
            ``engine.batch`` crops at a time; the last batch is filled up with repetitions, whose answers are dropped.
            Whole frames share a batch with their neighbours; people share one with those of frames that wait already,
            and are never kept waiting for a frame that is not there yet. A crop that several see alike is made once.
        sinks: take the drawn frames; there may be none.
        observers: see :data:`Observer`.
        people: finds them, each of whom is looked at in a crop of their own; None takes the frame for one person.
            Frames that wait already are shown to the detector together, as far as it takes them.
        smooth: keep still what stands still in the picture.
        settings: looked at for every frame; None draws all parts at the usual opacity.
        progress: see :data:`FramesDone`.
        hud: write the frame rate of the last half second and the precision into the upper right corner.

    Raises:
        DataError: the source has no frames.
        UsageError: a sink would replace the file that is being read, or two predictors are for one task.
        Whatever the source, an engine, a sink or a callback raises.
    """
    _refuse_same_file(source, sinks)
    together = drawn_together([predictors] if isinstance(predictors, Predictor) else predictors)
    run = _Pipeline(source, together, smooth, sinks, observers, people, settings, progress)
    run.hud = hud
    return run.run()


def _refuse_same_file(source: FrameSource, sinks: Sequence[FrameSink]) -> None:
    for sink in sinks:
        same = source.path is not None and sink.path is not None and sink.path.exists()
        if same and os.path.samefile(str(source.path), str(sink.path)):
            raise UsageError(f"{sink.path} is the video being read; it is not replaced.", "Choose another output.")


class _Pipeline:
    """One run's state; the methods are grouped by the thread that calls them."""

    def __init__(
        self,
        source: FrameSource,
        predictors: Sequence[Predictor[Any]],
        smooth: bool,
        sinks: Sequence[FrameSink],
        observers: Sequence[Observer],
        people: PeopleFinder | None,
        settings: Settings | None,
        progress: FramesDone | None,
    ) -> None:
        self._source, self._predictors = source, predictors
        self._layers = layers_of(predictor.task for predictor in predictors)
        self._drawers = [one.task.drawer(source.size, source.fps, smooth=smooth) for one in predictors]
        self._sinks = [sink for sink in sinks if not sink.latest_only]
        self._viewers = [sink for sink in sinks if sink.latest_only]
        self._output = next((sink.path for sink in sinks if sink.path is not None), None)
        self._observers, self._people = observers, people
        self._settings, self._progress = settings, progress
        self.hud = False
        self._clock = Clock()
        self._meter = Meter(self._clock)
        self._stop = threading.Event()  # nobody wants more frames: because of an error or a sink's wish
        self._room: Channel[bool] = Channel(self._stop)
        self._decoded: Channel[Job] = Channel(self._stop)
        self._ready: Channel[Request] = Channel(self._stop)
        self._parsed: Channel[Job] = Channel(self._stop)
        self._drawn: Channel[Job] = Channel(self._stop)
        self._lanes = [
            Lane(number, predictor, source.size, people is not None, self._ready, self._stop)
            for number, predictor in enumerate(predictors)
        ]
        # Of crops, not of requests: a frame of its own waits for each.
        waiting = _SPARE_LIVE if source.live else _SPARE * max(lane.capacity for lane in self._lanes)
        if people is not None and not source.live:
            waiting += people.most_at_once - 1
        for _ in range(max(lane.in_flight * lane.capacity for lane in self._lanes) + waiting):
            self._room.put(True)
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
            flicker={
                one.task.name: drawer.flicker
                for one, drawer in zip(self._predictors, self._drawers)
                if drawer.flicker is not None
            },
            stopped=self._requested_end,
            output=self._output,
            engine=_together(one.name for one in self._predictors),
            precision=self._precision,
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
        for channel in (self._room, self._decoded, self._ready, self._parsed, self._drawn):
            channel.put(None)
        for lane in self._lanes:
            lane.buffers.put(None)

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
            self._decoded.put(Job(number, self._source.seconds, frame, len(self._lanes)))
            number += 1
        self._decoded.put(None)

    # Prepare.

    def _prepare(self) -> None:
        for jobs in self._waiting():
            if self._people is not None:
                with self._clock.time("preprocess"):
                    found = self._people.find([job.frame for job in jobs], [job.seconds for job in jobs])
                for job, people in zip(jobs, found):
                    job.people = people
            for job in jobs:
                if not self._cut_all(job):
                    return
            if self._decoded.empty():
                for lane in self._lanes:
                    lane.none_waits()
        for lane in self._lanes:
            lane.hand_over()
        self._ready.put(None)

    def _waiting(self) -> Iterator[list[Job]]:
        """The frames that wait, as many as people are looked for in together; nothing waits for one more."""
        more = True
        while more:
            most = 1 if self._people is None else self._people.at_once
            jobs: list[Job] = []
            while more and len(jobs) < most and not (jobs and self._decoded.empty()):
                job = self._decoded.take()
                more = job is not None
                if job is not None:
                    jobs.append(job)
            if jobs:
                yield jobs

    def _cut_all(self, job: Job) -> bool:
        """Make what the engines see of a frame; False at the end of the run."""
        with self._clock.time("preprocess"):
            job.placements = tuple(lane.placements(job.people) for lane in self._lanes)
            job.found = tuple([] for _ in self._lanes)
        for around_one in zip(*job.placements):
            if not self._cut(job, around_one):
                return False
        for lane in self._lanes:
            lane.complete(job)
        return True

    def _cut(self, job: Job, placements: Sequence[Placement]) -> bool:
        """Make what each engine sees of one person; False at the end of the run."""
        made: list[tuple[Placement, Image]] = []
        for lane, placement in zip(self._lanes, placements):
            crop = lane.take(job)
            if crop is None:
                return False
            with self._clock.time("preprocess"):
                alike = next((other for where, other in made if where == placement), None)
                if alike is None:
                    placement.apply(job.frame, crop)
                else:
                    crop[:] = alike
            made.append((placement, crop))
        return True

    # Infer: the caller's thread.

    def _infer(self) -> None:
        """Keep the engines busy: submit while they take more, collect as soon as nothing else is there to submit."""
        flying: deque[tuple[Ticket | None, Request, float]] = deque()
        most = sum(lane.in_flight for lane in self._lanes)
        self._free_since = 0.0
        more = True
        try:
            while (more or flying) and not self._stop.is_set():
                while more and len(flying) < most and (not flying or not self._ready.empty()):
                    request = self._ready.take()
                    more = request is not None
                    if request is not None:
                        lane = self._lanes[request.lane]
                        # Never of a lane alone, as it has no more than these in flight.
                        while sum(other.lane == lane.number for _, other, _ in flying) >= lane.in_flight:
                            self._land(*flying.popleft())
                        flying.append((self._submit(lane, request), request, time.perf_counter()))
                if flying:
                    self._land(*flying.popleft())
                self._look_up()
        finally:
            for ticket, request, _ in flying:  # leave the engines as they were found
                with contextlib.suppress(Exception):
                    if ticket is not None:
                        self._lanes[request.lane].predictor.collect(ticket)
        if not self._stop.is_set():
            self._parsed.put(None)

    def _submit(self, lane: Lane, request: Request) -> Ticket | None:
        return lane.predictor.submit(lane.frames(request)) if request.carried else None

    def _land(self, ticket: Ticket | None, request: Request, submitted: float) -> None:
        """Wait for a request, and send on the frames that all engines have answered."""
        lane = self._lanes[request.lane]
        if ticket is not None:
            answers = lane.predictor.collect(ticket)
            lane.buffers.put(request.inputs)
            for job, answer in zip(request.carried, answers):
                job.found[lane.number].append(answer)
            now = time.perf_counter()
            # a request that queued behind another one was not worked on until that was done
            self._clock.seconds["infer"] += now - max(submitted, self._free_since)
            self._free_since = now
        for job in request.complete:
            job.waits_for -= 1
            if not job.waits_for:
                self._parsed.put(job)

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
                # All look before any of them draws.
                job.sights = tuple(
                    drawer.look(job.frame, Seen(job.seconds, placements, tuple(found), job.people))
                    for drawer, placements, found in zip(self._drawers, job.placements, job.found)
                )
                self._draw_sights(job)
            self._drawn.put(job)
        if not self._stop.is_set():
            self._drawn.put(None)

    def _draw_sights(self, job: Job) -> None:
        settings = self._settings
        chosen = None if settings is None else settings.classes
        for layer, drawer, sight in zip(self._layers, self._drawers, job.sights):
            lowest, uppermost = layer is self._layers[0], layer is self._layers[-1]
            drawer.draw(
                job.frame,
                sight,
                people=(job.people or ()) if lowest else (),  # what covers areas knows their outlines
                hud=f"{self._meter.fps:.0f} FPS  {self._precision.upper()}" if self.hud and uppermost else "",
                opacity=None if settings is None else settings.opacity,
                parts=None if chosen is None else layer.own(chosen),
            )

    @property
    def _precision(self) -> str:
        return _together(predictor.engine.precision for predictor in self._predictors)

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
        parsed = ParsedFrame(
            job.number,
            job.seconds,
            job.frame,
            self._layers,
            job.sights,
            job.people or (),
            job.people is not None,
            self._meter.fps,
            self._meter.stages,
        )
        for observe in self._observers:
            observe(parsed)


def _together(words: Iterable[str]) -> str:
    """Each once."""
    return " + ".join(dict.fromkeys(words))
