"""``trtparse inspect``: what a bundle or a graph is, without running it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..engines.accuracy import Accuracy
    from ..engines.calibrated import Calibrated, Searched
    from ..storage.json_types import ReadJson
    from ..tasks.base import Task
    from .terminal import Terminal


_ENGINE_FACTS = (
    "precision",
    "target",
    "tensorrt",
    "compute_capability",
    "gpu",
    "multiprocessors",
    "board",
    "jetpack",
    "power_mode",
    "seconds",
    "built",
)
"""Of an engine's manifest; --json has all."""


@click.command()
@click.argument(
    "bundle", required=False, type=click.Path(path_type=Path), default=DEFAULT_BUNDLE, metavar="[BUNDLE|FILE.onnx]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def inspect(bundle: Path, as_json: bool, debug: bool) -> None:
    """Say what BUNDLE holds: network, graphs, calibration and its key, measured accuracy, engines.

    Every file's hash is checked on the way. Of an ONNX file, anybody's: what it takes and gives, and which presets fit.
    """
    from rich.console import Console
    from rich.table import Table

    from .inspect_graph import GraphReport
    from .tables import print_table
    from .terminal import Terminal

    rows: Iterable[tuple[str, str]]
    with Terminal(as_json=as_json) as terminal:
        if bundle.suffix.lower() == ".onnx" and not bundle.is_dir():
            report = GraphReport.of(bundle)
            if as_json:
                terminal.result(report.to_dict())
                return
            rows = report.rows()
        else:
            rows = _of_bundle(terminal, bundle)
            if as_json:
                return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    print_table(Console(highlight=False, markup=False), table)


def _of_bundle(terminal: Terminal, path: Path) -> list[tuple[str, str]]:
    """A line each; told as JSON already where that was asked for."""
    from ..engines import open_bundle

    opened = open_bundle(path)
    engines = _engines(opened)
    if terminal.as_json:
        told = json.loads(opened.manifest.to_json())
        terminal.result({"bundle": str(opened.path), "manifest": told, "engines": engines})
    return list(_rows(opened, engines))


def _rows(bundle: Bundle, engines: Sequence[ReadJson]) -> Iterator[tuple[str, str]]:
    from ..engines.choice import noted
    from ..tasks.open import task_of

    manifest = bundle.manifest
    height, width = manifest.input_size
    options = ", ".join(f"{name} {value}" for name, value in manifest.options.items())
    batch = "any number of" if manifest.batch is None else manifest.batch
    yield "bundle", str(bundle.path)
    yield "network", manifest.network + (f" ({options})" if options else "")
    yield "frames", f"{batch} × {height}×{width} (height × width), {manifest.spec}"
    framing = manifest.framing
    rest = f"the rest is {f'grey {framing.fill}' if framing.fill else 'black'}"
    if framing.stretch > 1:
        yield "images", f"fill a frame, their shapes changed up to {framing.stretch:g} times; {rest}"
    elif framing.place != "middle":
        yield "images", f"lie in the {framing.place} of a frame; {rest}"
    yield from ((name.replace("_", " "), told or "not told") for name, told in asdict(manifest.origin).items())
    yield "precisions", ", ".join(manifest.precisions)
    task = task_of(manifest)
    unit = task.closeness.unit
    for name, parity in manifest.parity.items():
        yield (
            f"parity {name}",
            f"{100 * parity[task.closeness.figure]:.2f} % of the {unit} as in {manifest.reference}",
        )
    if manifest.float_nodes:
        yield "in FP32", _by_reason(manifest.float_nodes)
    yield from _calibration_rows(manifest.calibration)
    for name, reached in manifest.accuracy.items():
        yield f"accuracy {name}", _accuracy(reached, task)
    for precision, choice in noted(bundle).items():
        yield f"on the CPU, {precision}", choice.told()
    for engine in engines:
        facts = [f"{name.replace('_', ' ')} {engine[name]}" for name in _ENGINE_FACTS if engine.get(name) is not None]
        yield f"engine {engine['engine']}", ", ".join(facts)
        for reason in engine.get("unverified", ()):
            yield "accepted unverified", reason
    yield "built with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield "files", f"{len(manifest.files)}, all as bundle.json has them"


def _accuracy(reached: Accuracy, task: Task[Any]) -> str:
    """The task's figure, loss and agreement in points; --json has every row."""
    from ..calibration.budget.score import EARLIER
    from ..tasks.scoring import told_invented

    unit = task.closeness.unit
    facts = [f"{reached.images} of {reached.dataset}"]
    if reached.value is not None:
        facts.append(f"{reached.figure or task.figure.name} {reached.value:.2f}")
    if reached.loss is not None:
        facts.append("loss {:+.2f} ({:+.2f} to {:+.2f})".format(*reached.loss))
    facts.append(f"{100 * reached.share:.2f} % of the {unit} as in {reached.reference.partition(',')[0]}")
    # Older bundles have the pixels alone.
    if reached.agreement_value is not None:
        facts.append(f"agreement {reached.agreement_value:.2f}")
    if reached.invented is None:
        facts.append(f"measured {EARLIER}")
    elif reached.invented:
        facts.append(told_invented(reached.invented, reached.invented_in, unit))
    return ", ".join(facts)


def _calibration_rows(calibration: Calibrated) -> Iterator[tuple[str, str]]:
    told: ReadJson = dict(calibration)
    for name, value in told.items():
        if name == "key":
            for field, part in value.items():
                yield f"key: {field}", str(part)
        elif name == "methods":
            yield "methods tried", _methods(value)
        elif name == "search":
            yield "budget", _budget(value)
        elif name == "warnings":
            yield from (("warning", text) for text in value)
        elif name == "higher_precision":
            yield "in higher precision", _by_reason(value) or "none"
        else:
            words = (", ".join(value) or "none") if isinstance(value, list) else str(value)
            yield f"calibration {name.replace('_', ' ')}", words


def _methods(scores: Mapping[str, ReadJson]) -> str:
    from ..calibration.budget.score import EARLIER, is_of_earlier_version

    told = ", ".join(f"{name} {score['agreement']:.2f}" for name, score in scores.items()) or "none"
    return f"{told} (measured {EARLIER})" if any(map(is_of_earlier_version, scores.values())) else told


def _budget(search: Searched) -> str:
    from ..calibration.budget.score import EARLIER, Score, is_of_earlier_version

    score = Score.from_dict(search["score"])
    given_back = ", ".join(search["given_back"]) or "nothing"
    lost = f"{score.drop:.2f} are lost" + (f" ({EARLIER})" if is_of_earlier_version(search["score"]) else "")
    return f"at most {search['max_drop']:g} {score.unit}: {lost}; in FP16 for it: {given_back}"


def _by_reason(layers: dict[str, str]) -> str:
    """Every reason once, with its layers."""
    reasons: dict[str, list[str]] = {}
    for layer, reason in layers.items():
        reasons.setdefault(reason, []).append(layer)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in reasons.items())


def _engines(bundle: Bundle) -> list[ReadJson]:
    files = sorted(name for name in bundle.manifest.files if name.startswith("engines/") and name.endswith(".json"))
    return [json.loads((bundle.path / name).read_text("utf-8")) for name in files]
