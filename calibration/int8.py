"""The INT8 graphs of a build: by the calibration that agrees best, and within a budget where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from ..data.dataset import Image, Images
from ..errors import DataError, UsageError
from ..graphs.half import to_half
from ..graphs.observe import framing_of
from .budget.earning import Earned, LayerTimer, earn_place
from .budget.judge import GraphJudge
from .budget.score import AGREEMENT_UNIT, Score
from .budget.search import Outcome, check_budget, meet_budget
from .cache import is_cache
from .calibrate import Statistics, collect, expected_key, ranges_of
from .foreign import ranges_of_cache
from .frames import letterboxed
from .key import check_key
from .methods import METHODS, Method
from .quantise.bias_correction import correct_biases
from .quantise.cpu import quantise_for_cpu
from .quantise.lint import check
from .quantise.placement import Placement, place
from .quantise.qdq import quantise
from .quantise.weights import Int8Weights
from .ranges import Ranges, read_ranges
from .selection import Selection
from .training.carried import LEARNED

AUTO = "auto"

CORRECTIONS = ("equalisation", "rounding", "bias")
"""Cross-layer equalisation before calibration; rounding of the weights learned layer by layer; biases that make up for
the mean error. In the order in which they are applied."""

CORRECTED_ON = 64
"""Calibration images that rounding and biases are fitted to."""

UNJUDGED = Method("mse")
"""What ``auto`` takes where no image was held out to compare methods on: the best of them on photographs."""


@dataclass(frozen=True)
class Int8Spec:
    """How INT8 is made.

    Args:
        method: ``auto`` tries every method and keeps the one that agrees best with the reference; or one of them, as
            ``percentile:99.99``.
        max_drop: largest loss of the task's figure, in points; layers go back to FP16 until it is met. None for no
            budget.
        min_agreement: least figure with the reference's answers as the truth, likewise; without any labels, and much
            stricter, as it counts everything that changes.
        ranges: a ``calibration.json``, or a calibration cache of TensorRT's, to take the ranges from instead of
            calibrating.
        weights: scales of the weights, by ``max`` or ``mse``.
        corrections: of ``CORRECTIONS``; each costs time, and gains little where there is little to gain.

    Raises:
        UsageError: an unknown method or correction, a budget that is none, or choices that cannot go together.
    """

    method: str = AUTO
    max_drop: float | None = None
    min_agreement: float | None = None
    ranges: Path | None = None
    weights: str = "max"
    corrections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.corrections:
            if name not in CORRECTIONS:
                raise UsageError(f"There is no correction {name!r}.", f"Choose of {', '.join(CORRECTIONS)}.")
        if self.max_drop is not None and self.min_agreement is not None:
            raise UsageError("--max-drop and --min-agreement are two budgets.", "Give one of them.")
        if self.from_cache and self.corrections:
            raise UsageError(
                f"{', '.join(self.corrections)}: corrections are learnt on calibration images, and a cache has none.",
                "Leave --correct out, or calibrate here with --data.",
            )
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 100:
            raise UsageError(f"An agreement of {self.min_agreement:g} makes no sense.", "Give 0 to 100, such as 98.")
        if self.max_drop is not None:
            check_budget(self.max_drop)
        # Read when they are needed, after minutes of calibrating; what is wrong with them shows here.
        _ = self.methods, Int8Weights(self.weights)

    @property
    def from_cache(self) -> bool:
        """Whether the ranges are TensorRT's, so that no image calibrates."""
        return self.ranges is not None and is_cache(self.ranges)

    @property
    def takes_carried(self) -> bool:
        """Whether ranges that a checkpoint carries are taken: nobody asked for others."""
        return self.method == AUTO and self.ranges is None

    @property
    def has_budget(self) -> bool:
        return self.max_drop is not None or self.min_agreement is not None

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods to try."""
        return tuple(map(Method, METHODS)) if self.method == AUTO else (Method.parse(self.method),)


@dataclass(frozen=True)
class Records:
    """Files from which a killed build goes on; they lie beside the bundle and go when it is whole.

    Args:
        calibration: of the passes over the calibration images.
        search: of the graphs that were judged for a budget: log and resume point.
        times: of the layers, on a GPU.
    """

    calibration: Path
    search: Path
    times: Path

    @classmethod
    def beside(cls, bundle: Path) -> Records:
        place = bundle.resolve()
        return cls(
            *(place.parent / f".{place.name}.{name}" for name in ("calibration.npz", "search.jsonl", "times.json"))
        )

    def remove(self) -> None:
        for path in (self.calibration, self.search, self.times):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Int8:
    """INT8 in both forms, and how it came to be.

    Args:
        graphs: ``int8``, TensorRT's, typed in FP16; ``int8-cpu``, ONNX Runtime's.
        ranges: of the activations.
        placement: what is in INT8.
        trials: calibration method to its score on the held-out images; empty where none was held out.
        outcome: of the search for a budget.
        earned: what INT8 saves on a GPU, where it was timed on one.
        weights: how the weights' scales were chosen.
        corrections: that were applied.
    """

    graphs: dict[str, onnx.ModelProto]
    ranges: Ranges
    placement: Placement
    trials: dict[str, Score] = field(default_factory=dict)
    outcome: Outcome | None = None
    earned: Earned | None = None
    weights: str = "max"
    corrections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Int8Builder:
    """Makes the INT8 graphs of one FP32 graph.

    Args:
        model: FP32.
        spec: how.
        judge: on held-out images, None where there are none.
        scout: ranks layers for a budget, on fewer of them.
        stage: told what begins.
        progress: called with (done, total).
        threads: of the CPU runtime; 0 for one per core.
        timer: of the GPU that INT8 will run on, where that is here.
        carried: ranges that were learned together with the weights; they are taken as they are.
    """

    model: onnx.ModelProto
    spec: Int8Spec
    judge: GraphJudge | None
    scout: GraphJudge | None
    stage: Callable[[str], None]
    progress: Callable[[int, int], None]
    threads: int = 0
    timer: LayerTimer | None = None
    carried: Ranges | None = None

    def build(self, dataset: Images, selection: Selection, records: Records, *, strict: bool = False) -> Int8:
        """Calibrate, choose, search and check.

        Args:
            dataset: to calibrate on.
            selection: of its images.
            records: where a killed build goes on from.
            strict: an unreadable image is an error.

        Raises:
            DataError: no readable image.
            UsageError: ranges of something else, or a graph that is quantised already.
            BuildError: a graph that breaks a rule.
            AccuracyError: nothing stays within the budget.
        """
        placement = place(self.model)
        if self.spec.ranges is not None and self.spec.from_cache:
            self.stage(f"Reading TensorRT's calibration cache {self.spec.ranges}")
            matched = ranges_of_cache(self.spec.ranges, self.model, placement)
            placement, candidates = matched.placement, [matched.ranges]
        elif self.spec.ranges is not None:
            candidates = [self._read_ranges(self.spec.ranges, dataset, selection)]
        elif self.carried is not None:
            self.stage("Taking the ranges that the checkpoint carries, as they were learned: nothing is calibrated")
            candidates = [self.carried]
        else:
            statistics = self._collect(dataset, selection, records, strict)
            methods = self.spec.methods if self.judge is not None or self.spec.method != AUTO else (UNJUDGED,)
            candidates = [ranges_of(statistics, method) for method in methods]
        ranges, trials = self._best(candidates, placement)
        # What could not be read when the images were chosen is told as well.
        ranges = replace(ranges, skipped=tuple(sorted({*ranges.skipped, *selection.unreadable})))
        outcome = None
        weights = self._corrected(placement, ranges, dataset, selection)
        earned = None
        if self.timer is not None:
            self.stage("Timing INT8 and FP16, layer by layer")
            earned = earn_place(
                placement,
                to_half(self.model),
                lambda part: to_half(quantise(self.model, part, ranges, weights=weights)),
                self.timer,
                records.times,
            )
            placement = placement if earned is None else earned.placement
        if self.spec.has_budget:
            milliseconds = None if earned is None else earned.savings.layers
            outcome = self._search(placement, ranges, weights, records.search, milliseconds)
            placement = outcome.placement
        self.stage("Writing the INT8 graphs")
        graph = quantise(self.model, placement, ranges, weights=weights)
        check(graph)
        typed = to_half(graph)
        check(typed)
        graphs = {"int8": typed, "int8-cpu": quantise_for_cpu(self.model, placement, ranges, weights=weights)}
        return Int8(graphs, ranges, placement, trials, outcome, earned, self.spec.weights, self.spec.corrections)

    def _collect(self, dataset: Images, selection: Selection, records: Records, strict: bool) -> Statistics:
        self.stage("Calibrating")
        return collect(
            self.model,
            dataset,
            selection,
            histograms=self.spec.method != "max",
            threads=self.threads,
            strict=strict,
            progress=self.progress,
            record=records.calibration,
        )

    def _read_ranges(self, path: Path, dataset: Images, selection: Selection) -> Ranges:
        """Ranges that were collected before, refused where they belong to something else."""
        self.stage(f"Checking {path}")
        ranges = read_ranges(path)
        if ranges.key.method == LEARNED:
            raise UsageError(
                f"{path} holds ranges that were learned together with weights, and belongs to no others.",
                "Build from the checkpoint that carries them, without --ranges.",
            )
        wanted = self.spec.method if self.spec.method != AUTO else ranges.key.method
        check_key(ranges.key, expected_key(self.model, dataset, selection, Method.parse(wanted)), path)
        return ranges

    def _best(self, candidates: list[Ranges], placement: Placement) -> tuple[Ranges, dict[str, Score]]:
        """The ranges whose graph agrees best with the reference, and every method's score."""
        if self.judge is None:
            return candidates[0], {}
        self.stage("Comparing calibration methods" if len(candidates) > 1 else "Judging the calibration")
        scores = {}
        for done, ranges in enumerate(candidates, 1):
            graph = quantise(self.model, placement, ranges, weights=Int8Weights(self.spec.weights))
            scores[ranges.key.method] = self.judge(graph)
            self.progress(done, len(candidates))
        return max(candidates, key=lambda ranges: scores[ranges.key.method].agreement), scores

    def _corrected(self, placement: Placement, ranges: Ranges, dataset: Images, selection: Selection) -> Int8Weights:
        """The weights' scales, with the corrections that were asked for."""
        weights = Int8Weights(self.spec.weights)
        indices = selection.indices[:CORRECTED_ON]

        def frames() -> Iterator[Image]:
            found = letterboxed(dataset, indices, framing_of(self.model))
            return (frame for _, frame in found)

        if "rounding" in self.spec.corrections:
            from .quantise.rounding import learn_rounding

            self.stage("Learning to round")
            weights = learn_rounding(
                self.model,
                placement,
                ranges,
                frames,
                weights=weights,
                threads=self.threads,
                progress=self.progress,
            )
        if "bias" in self.spec.corrections:
            self.stage("Correcting biases")
            weights = correct_biases(
                self.model,
                placement,
                ranges,
                frames(),
                weights=weights,
                threads=self.threads,
                progress=lambda done: self.progress(done, len(indices)),
            )
        return weights

    def _search(
        self,
        placement: Placement,
        ranges: Ranges,
        weights: Int8Weights,
        record: Path,
        milliseconds: Mapping[str, float] | None,
    ) -> Outcome:
        """The cheapest graph within the budget; a record of another search, of a build that was killed, is dropped."""
        judge = self.judge
        assert judge is not None, "BuildSpec has a budget judged"
        by_agreement = self.spec.min_agreement is not None
        budget = 100 - self.spec.min_agreement if self.spec.min_agreement is not None else self.spec.max_drop
        assert budget is not None
        unit = AGREEMENT_UNIT if by_agreement else judge.task.figure.unit
        self.stage(f"Searching for a graph that loses at most {budget:g} {unit}")

        def judged(model: onnx.ModelProto) -> Score:
            # Without a loss against labels, agreement is what is lost.
            return replace(judge(model), loss=None) if by_agreement else judge(model)

        def graph_of(model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> onnx.ModelProto:
            return to_half(quantise(model, placement, ranges, weights=weights) if placement.activations else model)

        def search() -> Outcome:
            return meet_budget(
                self.model,
                placement,
                ranges,
                judged,
                budget,
                record,
                self.progress,
                scout=self.scout,
                quantise=graph_of,
                milliseconds=milliseconds,
                about={
                    "task": judge.task.name,
                    "spec": judge.task.spec.digest,
                    "images": judge.key,
                    "scout": "" if self.scout is None else self.scout.key,
                    "unit": unit,
                    "weights": " ".join((self.spec.weights, *self.spec.corrections)),
                },
            )

        try:
            return search()
        except DataError:
            with contextlib.suppress(FileNotFoundError):
                record.unlink()
            return search()
