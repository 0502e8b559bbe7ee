"""INT8 with a contract: the cheapest graph that loses no more than a budget allows.

Full INT8 first. Where that loses too much, every layer is judged alone in INT8, and those that harm most for the
time they save go back to FP16: as few as the budget asks for, found by bisection. Of these, each that the budget can
bear returns to INT8, the most expensive first. Every graph on the way is a point of the curve of
loss against INT8's share, and a line of the record from which a killed search goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from ...engines.calibrated import Searched
from ...errors import AccuracyError, UsageError
from ...storage.json_types import JsonObject, ReadJson
from ..quantise.placement import Placement, restrict
from ..quantise.qdq import quantise as quantise_plainly
from ..ranges import Ranges
from .costs import int8_share, layer_costs, multiply_adds
from .score import Judge, Score
from .scored_graphs import JudgedGraphs, Quantise
from .sensitivity import Measure, harm_of, measure_sensitivity

_MOST_DECIBELS = 60
"""Steps of less and less harm: past it, hardly a layer is left in INT8."""


@dataclass(frozen=True)
class Point:
    """A graph that the search looked at.

    Args:
        int8: its layers in INT8.
        share: of the multiply-adds, those in INT8; 0 to 1.
        saved: share of the time that INT8 saves at most which this graph saves, as layers' costs have it; 0 to 1.
        score: on the held-out images.
    """

    int8: tuple[str, ...]
    share: float
    saved: float
    score: Score

    def to_dict(self) -> JsonObject:
        return {
            "int8": list(self.int8),
            "share": self.share,
            "saved": self.saved,
            "drop": self.score.drop,
            "score": self.score.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: ReadJson) -> Point:
        """The inverse of :meth:`to_dict`."""
        score = Score.from_dict(values["score"])
        return cls(tuple(values["int8"]), float(values["share"]), float(values["saved"]), score)


@dataclass(frozen=True)
class Search:
    """What a search looked at, and which graph it chose.

    Args:
        int8: layers of the chosen graph that are in INT8.
        score: of the chosen graph, on the held-out images.
        given_back: layers that went back to FP16, the first to go first.
        max_drop: the budget, in ``score.unit``.
        points: every graph of the search, in the order of their looking at; layers alone are left out.
    """

    int8: tuple[str, ...]
    score: Score
    given_back: tuple[str, ...]
    max_drop: float
    points: tuple[Point, ...]

    def to_dict(self) -> Searched:
        return {
            "max_drop": self.max_drop,
            "score": self.score.to_dict(),
            "int8": list(self.int8),
            "given_back": list(self.given_back),
            "points": [point.to_dict() for point in self.points],
        }

    @classmethod
    def from_dict(cls, values: ReadJson) -> Search:
        """The inverse of :meth:`to_dict`."""
        return cls(
            int8=tuple(values["int8"]),
            score=Score.from_dict(values["score"]),
            given_back=tuple(values["given_back"]),
            max_drop=float(values["max_drop"]),
            points=tuple(Point.from_dict(point) for point in values["points"]),
        )


@dataclass(frozen=True)
class Outcome(Search):
    """The graph that was found, and how.

    Args:
        placement: of its INT8; the convolutions that were given back are among ``higher_precision``.
    """

    placement: Placement


def meet_budget(
    model: onnx.ModelProto,
    placement: Placement,
    ranges: Ranges,
    judge: Judge,
    max_drop: float,
    record: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    scout: Judge | None = None,
    quantise: Quantise = quantise_plainly,
    milliseconds: Mapping[str, float] | None = None,
    about: Mapping[str, str] | None = None,
) -> Outcome:
    """The cheapest graph that loses at most ``max_drop`` points.

    Args:
        model: FP32.
        placement: of everything that may be in INT8.
        ranges: collected on ``model``.
        judge: of graphs, on images that did not calibrate.
        max_drop: largest loss, in points; of what, see :attr:`~trtparse.calibration.budget.score.Score.drop`.
        record: file that is log and resume point.
        progress: called with the graphs judged so far, and how many there will be as far as can be told.
        scout: judges each layer alone, to rank them, on fewer images than a loss needs; by default ``judge``.
        quantise: makes the graphs, corrections and FP16 typing included; with an empty placement, the FP16 graph.
        milliseconds: what each layer saves in INT8, where it was measured; a layer that is not named saves nothing.
            Without it, layers save in proportion to their multiply-adds.
        about: what scores depend on besides, such as the judge's images; see :class:`JudgedGraphs`.

    Raises:
        UsageError: ``max_drop`` is no budget.
        DataError: the record is of another search.
        AccuracyError: no graph with a convolution in INT8 stays within the budget, or FP16 itself does not.
    """
    check_budget(max_drop)
    with JudgedGraphs(
        model, placement, ranges, judge, scout=scout, quantise=quantise, record=record, about=about
    ) as graphs:
        costs = layer_costs(model, placement) if milliseconds is None else _profiled(milliseconds, placement)
        return _Search(graphs, costs, max_drop, progress).run()


def check_budget(max_drop: float) -> None:
    """See that so many points can be lost.

    Raises:
        UsageError: they cannot.
    """
    if not 0 <= max_drop <= 100:
        raise UsageError(f"A budget of {max_drop:g} points makes no sense.", "Give 0 to 100, such as 0.3.")


class _Search:
    """One search."""

    def __init__(
        self,
        graphs: JudgedGraphs,
        costs: Mapping[str, float],
        max_drop: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._graphs, self._costs, self._max_drop, self._progress = graphs, costs, max_drop, progress
        self._layers = graphs.placement.layers
        self._convolutions = frozenset(name for site in graphs.placement.weights for name in site.layers)
        self._counts = multiply_adds(graphs.model)
        self._points: dict[tuple[str, ...], Point] = {}
        self._done, self._total = 0, 1

    def run(self) -> Outcome:
        if self._fits(()):
            return self._outcome(())
        # FP16, each layer alone with the two graphs they are held against, and the bisection.
        self._total += 1 + len(self._layers) + 2 + 1 + _MOST_DECIBELS.bit_length()
        floor = self._graphs.score(())
        self._tell()
        if floor.drop > self._max_drop:
            raise AccuracyError(
                f"The graph without any INT8 loses {floor.drop:.2f} {floor.unit} itself, and the budget is "
                f"{self._max_drop:g}.",
                f"Allow more than {floor.drop:.2f}, or judge on more images.",
            )
        given_back = self._enough(self._candidates())
        self._total = self._done + len(given_back)
        return self._outcome(self._without_needless(given_back))

    def _candidates(self) -> list[list[str]]:
        """What to give back, from little to much: for one decibel less of harm after the other, what costs least.

        Harm is the power of the logits' error where the judge compares logits. A layer alone moves the mean IoU by
        less than its noise, and the errors of layers add up in power, not in labels: on a depthwise trunk, twelve
        layers given back by it brought the agreement from 88.0 to 92.7 and kept 99 % of the saving; sixteen by their
        loss of agreement brought 88.8, and 24 brought 91.6 for 3 % of it.
        """
        found = measure_sensitivity(self._graphs, progress=lambda _, __: self._tell())
        measured = all(entry.score.raw_sqnr is not None for entry in found.layers)
        measure: Measure = "sqnr" if measured else "agreement"
        floor = harm_of(found.none, measure)
        harms = {entry.layer: max(entry.harm(measure) - floor, 0.0) for entry in found.layers}
        order = sorted(harms, key=lambda layer: -harms[layer] / max(self._costs[layer], 1e-9))
        last = max((place for place, layer in enumerate(order) if layer in self._convolutions), default=0)
        total = sum(harms.values())
        candidates: list[list[str]] = []
        for decibels in range(1, _MOST_DECIBELS):
            given_back = self._cheapest(order, harms, total * 10 ** (-decibels / 10))
            if self._convolutions <= frozenset(given_back):
                break
            if given_back not in candidates:
                candidates.append(given_back)
        return [*candidates, order[:last]]

    def _cheapest(self, order: list[str], harms: Mapping[str, float], target: float) -> list[str]:
        """Layers that leave no more harm than ``target``: the worst bargains, less those that need not go then."""
        given_back: list[str] = []
        left = sum(harms.values())
        for layer in order:
            if left <= target:
                break
            given_back.append(layer)
            left -= harms[layer]
        for layer in sorted(given_back, key=lambda name: -self._costs[name]):
            if left + harms[layer] <= target:
                given_back.remove(layer)
                left += harms[layer]
        return given_back

    def _enough(self, candidates: list[list[str]]) -> list[str]:
        """The first of the candidates without which the graph fits.

        Bisection takes it that the later ones lose less. Where that fails it still ends with a graph that fits,
        though perhaps not with the cheapest.

        Raises:
            AccuracyError: there is no such graph with a convolution in INT8.
        """
        if not self._fits(candidates[-1]):
            return self._all_but_one()
        too_little, enough = -1, len(candidates) - 1
        while enough - too_little > 1:
            middle = (too_little + enough) // 2
            if self._fits(candidates[middle]):
                enough = middle
            else:
                too_little = middle
        return candidates[enough]

    def _all_but_one(self) -> list[str]:
        """All layers but one convolution: of those that fit alone, the one that saves most."""
        for layer in sorted(self._convolutions, key=lambda name: (-self._costs[name], name)):
            others = [name for name in self._layers if name != layer]
            if self._fits(others):
                return others
        raise self._nothing_fits()

    def _without_needless(self, given_back: list[str]) -> list[str]:
        """Layers that must stay given back: each of the others, tried again in INT8, fits."""
        kept = list(given_back)
        for layer in sorted(given_back, key=lambda name: -self._costs[name]):
            rest = [name for name in kept if name != layer]
            if rest and self._fits(rest):
                kept = rest
        return kept

    def _fits(self, given_back: Collection[str]) -> bool:
        """Whether the graph without these layers in INT8 stays within the budget."""
        int8 = tuple(layer for layer in self._layers if layer not in given_back)
        score = self._graphs.score(int8)
        placement = restrict(self._graphs.placement, int8)
        saved = sum(self._costs[layer] for layer in int8) / max(sum(self._costs.values()), 1e-12)
        point = Point(int8, int8_share(self._counts, placement), saved, score)
        self._points[int8] = point
        self._tell()
        return score.drop <= self._max_drop

    def _outcome(self, given_back: Collection[str]) -> Outcome:
        int8 = [layer for layer in self._layers if layer not in given_back]
        score = self._graphs.score(int8)
        reason = f"given back to FP16, to lose at most {self._max_drop:g} {score.unit}"
        return Outcome(
            int8=tuple(int8),
            score=score,
            given_back=tuple(given_back),
            max_drop=self._max_drop,
            points=tuple(self._points.values()),
            placement=restrict(self._graphs.placement, int8, reason),
        )

    def _nothing_fits(self) -> AccuracyError:
        nearest = min(self._points.values(), key=lambda point: (point.score.drop, -point.share))
        return AccuracyError(
            f"No INT8 graph loses at most {self._max_drop:g} {nearest.score.unit}. The nearest has "
            f"{len(nearest.int8)} of {len(self._layers)} layers in INT8 ({100 * nearest.share:.1f} % of the "
            f"multiply-adds: {_few(nearest.int8)}) and loses {nearest.score.drop:.2f}.",
            f"Allow {nearest.score.drop:.2f} or more, build with --fp16, or calibrate on more images.",
        )

    def _tell(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))


def pareto(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other beats in both, from all of INT8 to little of it: each saves less and loses less."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.saved, point.score.drop)):
        if not best or point.score.drop < best[-1].score.drop:
            best.append(point)
    return tuple(best)


def _profiled(milliseconds: Mapping[str, float], placement: Placement) -> dict[str, float]:
    return {layer: max(milliseconds.get(layer, 0.0), 0.0) for layer in placement.layers}


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
