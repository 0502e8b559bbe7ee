"""What ``trtparse inspect FILE.onnx`` tells: what a graph takes and gives, and which presets fit."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..storage.json_types import JsonObject

if TYPE_CHECKING:
    from ..graphs.facts import GraphFacts

_MOST_OPERATORS = 12
"""Told by name; --json has all."""


@dataclass(frozen=True)
class GraphReport:
    """A graph, read and not run.

    Args:
        path: of the file.
        facts: what it says of itself.
        ours: its answers, such as ``labels``, where it has our input and outputs; empty where not.
        classes: how many its labels are chosen of, where it is ours; None where that cannot be told.
        fits: every preset, and why it does not describe the graph.
    """

    path: Path
    facts: GraphFacts
    ours: str
    classes: int | None
    fits: dict[str, list[str]]

    @classmethod
    def of(cls, path: Path) -> GraphReport:
        """Read a graph.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        from ..graphs.answers import LABELS, answers_of
        from ..graphs.conventions import fits
        from ..graphs.facts import facts_of
        from ..graphs.interface import check_interface, count_classes, read_onnx

        model = read_onnx(path)
        facts = facts_of(model)
        ours, classes = "", None
        try:
            check_interface(model, path)
        except UsageError:
            pass
        else:
            answers = answers_of(model)
            assert answers is not None, "a graph that check_interface passed"
            ours = answers.name
            if answers is LABELS:
                with contextlib.suppress(UsageError):
                    classes = count_classes(model, path)
        return cls(path, facts, ours, classes, fits(facts))

    @property
    def fitting(self) -> list[str]:
        """The presets that nothing speaks against."""
        return [name for name, reasons in self.fits.items() if not reasons]

    def to_dict(self) -> JsonObject:
        """In JSON's types."""
        presets = {"fits": self.fitting, "others": {name: why for name, why in self.fits.items() if why}}
        return {
            "graph": str(self.path),
            **self.facts.to_dict(),
            "ours": bool(self.ours),
            "classes": self.classes,
            "presets": presets,
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """A line each, for a table."""
        facts = self.facts
        yield "graph", str(self.path)
        yield "opset", f"{facts.opset}" + (f", by {facts.producer}" if facts.producer else "")
        yield from (("takes", str(value)) for value in facts.inputs)
        yield from (("gives", str(value)) for value in facts.outputs)
        told = [f"{name} {count}" for name, count in facts.operators[:_MOST_OPERATORS]]
        more = len(facts.operators) - len(told)
        yield "operators", ", ".join(told) + (f" and {more} more" if more > 0 else "")
        for operator, node in (*facts.foreign, *facts.control_flow):
            yield "in the way", f"{operator} ({node}): neither calibration nor TensorRT sees into it"
        if facts.quantised:
            yield "quantised", f"{facts.quantised} nodes make, read or compute with integers"
        if self.ours:
            yield "interface", f"ours: frames in, {self.ours} out" + self._told_classes()
            yield "next", f"trtparse build {shlex.quote(str(self.path))}{self._labels()}"
            return
        yield "interface", "not ours: docs/foreign.md says how it is given ours"
        for name, reasons in self.fits.items():
            yield f"preset {name}", "; ".join(reasons) or "fits"
        first = self.fitting[0] if len(self.fitting) == 1 else "NAME" if self.fitting else ""
        how = f"--preset {first}" if first else "--labels WORD|FILE --input-order rgb|bgr --mean A,B,C --std A,B,C"
        yield "next", f"trtparse build {shlex.quote(str(self.path))} {how}"

    def _told_classes(self) -> str:
        return "" if self.classes is None else f", {self.classes} classes"

    def _labels(self) -> str:
        known = {"label_set", "labels", "skeleton"} & set(self.facts.properties)
        # A finder's classes are known: somebody and nobody.
        return "" if known or self.ours == "boxes" else " --labels WORD|FILE"
