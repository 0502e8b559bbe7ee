"""From a dataset to ranges: letterbox, run, count, one image at a time.

The first pass takes the range of every activation, the second one, for methods that clip, a histogram over it.
Neither keeps more than that, and neither depends on the order of the images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

from ..data.dataset import Image, Images
from ..errors import DataError
from ..graphs.observe import framing_of
from ..storage.files import check_output_file
from .frames import letterboxed
from .histograms import Histogram, HistogramCollector
from .key import CalibrationKey, frame_digest, key_of
from .methods import UNSIGNED, Method, threshold
from .ranges import RangeCollector, Ranges, no_images
from .record import State, fingerprint, read_record, write_record
from .selection import Selection

SECONDS_BETWEEN_RECORDS = 10.0

FEW_IMAGES = 16
"""Fewer calibrate, with a warning. Largest magnitudes of the student's 38 placed activations on LIP test images, as
a share of those on 500, median and least: 0.71 and 0.49 on 8 images, 0.78 and 0.56 on 16, 0.92 and 0.78 on 64."""


@dataclass(frozen=True)
class Statistics:
    """What calibration knows of the activations; ranges by any method follow from it.

    Args:
        limits: tensor name to its smallest and largest value.
        histograms: tensor name to the histogram of its magnitudes; empty where none were asked for.
        images: names of the images, sorted.
        skipped: (name, reason) of images that could not be read, sorted.
        dataset: where the images came from.
        seed: of the choice of images.
        classes: class id to the number of chosen images it occurs in; empty without labels.
        key: of ranges by the method ``max``.
    """

    limits: dict[str, tuple[float, float]]
    histograms: dict[str, Histogram]
    images: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    dataset: str
    seed: int
    classes: dict[int, int]
    key: CalibrationKey


def calibrate(
    model: onnx.ModelProto,
    dataset: Images,
    selection: Selection,
    *,
    method: Method = Method(),
    threads: int = 0,
) -> Ranges:
    """Collect what ``method`` needs, and apply it: :func:`collect` and :func:`ranges_of` in one."""
    statistics = collect(model, dataset, selection, histograms=method.name != "max", threads=threads)
    return ranges_of(statistics, method)


def ranges_of(statistics: Statistics, method: Method = Method()) -> Ranges:
    """The ranges by one method.

    Args:
        statistics: with histograms, unless the method is ``max``.
        method: how far int8 shall reach; the data's own ends stay where they are nearer.

    Raises:
        ValueError: there are no histograms.
    """
    limits, unsigned = statistics.limits, {}
    if method.name != "max":
        if not statistics.histograms:
            raise ValueError(f"{method} needs histograms, and none were collected")
        unsigned = {
            name: min(limits[name][1], threshold(histogram, method, UNSIGNED))
            for name, histogram in statistics.histograms.items()
            if limits[name][0] >= 0
        }
        limits = {
            name: _clipped(limits[name], threshold(histogram, method))
            for name, histogram in statistics.histograms.items()
        }
    return Ranges(
        limits=limits,
        unsigned=unsigned,
        images=statistics.images,
        skipped=statistics.skipped,
        dataset=statistics.dataset,
        seed=statistics.seed,
        classes=statistics.classes,
        key=replace(statistics.key, method=str(method)),
        warnings=tuple(_warnings(statistics)),
    )


def collect(
    model: onnx.ModelProto,
    dataset: Images,
    selection: Selection,
    *,
    histograms: bool,
    threads: int = 0,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    record: Path | None = None,
) -> Statistics:
    """Run the chosen images through a graph, once for ranges and, where asked for, once more for histograms.

    Args:
        model: FP32; the images go singly, whatever its batch.
        dataset: raw images; they are letterboxed here as for inference, normalised in the graph.
        selection: from :func:`~trtparse.calibration.selection.select`.
        histograms: needed by every method but ``max``.
        threads: of the CPU runtime; 0 for one per core.
        strict: an unreadable image is an error instead of being skipped and listed.
        progress: called with (done, total) images, over both passes.
        record: file from which a killed run goes on, written every ten seconds. It stays: whoever named it
            removes it once the result is safe.

    Raises:
        DataError: no image at all, only black ones, an unreadable one with ``strict``, or one that changes meanwhile.
        BuildError: an activation is not finite, or the graph has no fixed frame size.
        UsageError: ``record`` is another kind of file, or cannot be written.
    """
    if not selection.indices:
        raise no_images("there are none")
    run = _Passes(model, dataset, selection.indices, threads, strict, progress, record, passes=2 if histograms else 1)
    run.resume()
    limits = run.take_ranges()
    counted = run.take_histograms(limits) if histograms else {}
    return Statistics(
        limits=limits,
        histograms=counted,
        images=tuple(sorted(run.state.digests)),
        skipped=tuple(sorted(run.state.skipped.items())),
        dataset=dataset.description,
        seed=selection.seed,
        classes=selection.classes,
        key=key_of(model, run.state.digests.values(), Method()),
    )


def expected_key(
    model: onnx.ModelProto, dataset: Images, selection: Selection, method: Method = Method()
) -> CalibrationKey:
    """The key that ranges of these would have; the images are read and not run.

    Against it :func:`~trtparse.calibration.key.check_key` holds the key of ranges that are there already.
    """
    frames = letterboxed(dataset, selection.indices, framing_of(model))
    return key_of(model, (frame_digest(name, frame) for name, frame in frames), method)


@dataclass
class _Passes:
    """The passes over the images, with a record of how far they are."""

    model: onnx.ModelProto
    dataset: Images
    indices: tuple[int, ...]
    threads: int
    strict: bool
    progress: Callable[[int, int], None] | None
    record: Path | None
    passes: int

    def __post_init__(self) -> None:
        self._framing = framing_of(self.model)
        self._written = time.monotonic()
        self._begun_with = ""
        self.state = State()

    def resume(self) -> None:
        """Go on from the record, where it is one of this run."""
        if self.record is None:
            return
        check_output_file(self.record)
        key = asdict(key_of(self.model, (), Method()))
        names = [self.dataset.names[index] for index in self.indices]
        self._begun_with = fingerprint(
            {**key, "dataset": self.dataset.description, "images": names, "strict": self.strict}
        )
        found = read_record(self.record, self._begun_with)
        if found is not None:
            self.state = found

    def take_ranges(self) -> dict[str, tuple[float, float]]:
        """The first pass."""
        state = self.state
        collector = RangeCollector(self.model, self.threads)
        if state.digests:
            collector.go_on_from(state.low, state.high, len(state.digests))
        state.low, state.high = collector.low, collector.high
        done = len(state.digests) + len(state.skipped)
        for position, index in enumerate(self.indices[done:], done + 1):
            skipped: list[tuple[str, str]] = []
            for name, frame in self._frames([index], skipped):
                collector.update(name, frame[None])
                state.digests[name] = frame_digest(name, frame)
                state.black = state.black and not frame.any()
            state.skipped.update(skipped)
            self._tell(position)
        if not state.digests:
            raise no_images(f"none of {self.dataset.description} could be read", next(iter(state.skipped.values())))
        if state.black:
            raise DataError(
                f"All {len(state.digests)} calibration images of {self.dataset.description} are black.",
                "Give --data images like those that the engine will see.",
            )
        return collector.limits()

    def take_histograms(self, limits: dict[str, tuple[float, float]]) -> dict[str, Histogram]:
        """The second pass."""
        state = self.state
        maxima = {name: max(abs(low), abs(high)) for name, (low, high) in limits.items()}
        collector = HistogramCollector(self.model, maxima, self.threads)
        if state.counted:
            collector.counts[:] = state.counts
        state.counts = collector.counts
        read = [index for index in self.indices if self.dataset.names[index] not in state.skipped]
        before = 2 * len(self.indices) - len(read)
        for name, frame in self._frames(read[state.counted :]):
            if frame_digest(name, frame) != state.digests[name]:
                raise DataError(
                    f"{name} of {self.dataset.description} has changed since its range was taken.",
                    "Calibrate again once the images stay as they are.",
                )
            collector.update(frame)
            state.counted += 1
            self._tell(before + state.counted)
        return collector.histograms()

    def _frames(
        self, indices: Iterable[int], skipped: list[tuple[str, str]] | None = None
    ) -> Iterator[tuple[str, Image]]:
        """Of the images; one that cannot be read is an error, but where a list to note it in is given."""
        strict = self.strict or skipped is None
        return letterboxed(self.dataset, indices, self._framing, strict=strict, skipped=skipped)

    def _tell(self, done: int) -> None:
        if self.record is not None and time.monotonic() - self._written >= SECONDS_BETWEEN_RECORDS:
            write_record(self.record, self._begun_with, self.state)
            self._written = time.monotonic()
        if self.progress is not None:
            self.progress(done, self.passes * len(self.indices))


def _clipped(limits: tuple[float, float], reach: float) -> tuple[float, float]:
    """Limits within ±reach."""
    low, high = limits
    return min(max(low, -reach), reach), max(min(high, reach), -reach)


def _warnings(statistics: Statistics) -> Iterator[str]:
    images = len(statistics.images)
    if images < FEW_IMAGES:
        yield (
            f"Only {images} calibration image{'s' if images > 1 else ''}: activations are clipped where other images "
            f"reach further (on 8 images they reached 0.7 of what they did on 500). Give 256, at least {FEW_IMAGES}."
        )
    dead = [name for name, limits in statistics.limits.items() if limits == (0, 0)]
    if dead:
        others = f" ({len(dead)} activations in all)" if len(dead) > 1 else ""
        yield f"Activation {dead[0]} is 0 on every calibration image, so its scale is a guess{others}."
