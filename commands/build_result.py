"""What ``trtparse build`` tells at the end: what was made, what INT8 reached, and what to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from .tables import print_table
from .terminal import Terminal, plain_table

if TYPE_CHECKING:
    from ..engines import Bundle
    from ..engines.accuracy import Accuracy
    from ..engines.bundle import Manifest
    from ..engines.calibrated import Calibrated, Searched
    from ..engines.choice import Choice
    from ..engines.manifest import EngineManifest
    from ..trt_builder.calibration_cache import WrittenCache


def show_build(
    terminal: Terminal,
    bundle: Bundle,
    engines: Sequence[EngineManifest],
    cache: WrittenCache | None = None,
    runtimes: Choice | None = None,
) -> None:
    """What a build made, and what to type next."""
    manifest = bundle.manifest
    if terminal.as_json:
        document = {"bundle": str(bundle.path), "manifest": json.loads(manifest.to_json())}
        document["engines"] = [asdict(engine) for engine in engines]
        if cache is not None:
            document["calibration_cache"] = str(cache.cache)
        if runtimes is not None:
            document["cpu_runtimes"] = runtimes.to_dict()
        terminal.result(document)
        return
    from ..engines.bundle import GRAPHS
    from ..tasks.open import task_of

    closeness = task_of(manifest).closeness
    table = plain_table("graph", "size", f"{closeness.unit} as in {manifest.reference}")
    for name, parity in manifest.parity.items():
        size = (bundle.path / GRAPHS[name]).stat().st_size / 1e6
        simulated = " (simulated)" if name == "int8" else ""
        table.add_row(GRAPHS[name], f"{size:.1f} MB", f"{100 * parity[closeness.figure]:.2f} %{simulated}")
    for engine in engines:
        agreement = engine.parity.get(closeness.figure)
        seen = "not run here" if agreement is None else f"{100 * agreement:.2f} %"
        table.add_row(engine.engine, f"{engine.bytes / 1e6:.1f} MB", seen)
    print_table(terminal.out, table)
    _show_race(terminal, engines)
    for engine in engines:
        for note in engine.settings.get("notes", ()):
            terminal.out.print(f"Note:       {note}", markup=False)
        for reason in engine.unverified:
            terminal.out.print(f"Unverified: {reason}", markup=False)
        if "trtexec" in engine.settings:
            terminal.out.print(f"With trtexec: {engine.settings['trtexec']}", markup=False)
    terminal.out.print()
    if manifest.float_nodes:
        terminal.out.print(f"In FP32:    {len(manifest.float_nodes)} nodes that overflow FP16", markup=False)
    if manifest.calibration:
        _show_calibration(terminal, manifest.calibration)
        _show_accuracy(terminal, manifest)
    if cache is not None:
        _show_cache(terminal, cache)
    if runtimes is not None:
        terminal.out.print(f"On the CPU: {runtimes.told()}", markup=False)
    path = shlex.quote(str(bundle.path))
    terminal.out.print(f"Bundle:     {bundle.path}\nNext:       trtparse validate {path}", markup=False)


def _show_race(terminal: Terminal, engines: Sequence[EngineManifest]) -> None:
    """How INT8 and FP16 did against each other, where they were timed."""
    times = next((engine.milliseconds for engine in engines if engine.milliseconds), None)
    if times is None:
        return
    from ..trt_builder.worth import Race

    race = Race(times["int8"], times["fp16"], int(times.get("frames", 1)))
    terminal.out.print(f"Timed:      {race.verdict}", markup=False)


def _show_cache(terminal: Terminal, cache: WrittenCache) -> None:
    terminal.out.print(f"Cache:      {cache.cache}", markup=False)
    graph, calibration = shlex.quote(str(cache.graph)), shlex.quote(str(cache.cache))
    terminal.out.print(f"Use it:     trtexec --onnx={graph} --int8 --fp16 --calib={calibration}", markup=False)
    if cache.in_float:
        terminal.out.print(
            f"Note:       a cache cannot keep layers in FP16, as the budget does {len(cache.in_float)} of them: "
            "measure what TensorRT makes of it.",
            markup=False,
        )


def _show_calibration(terminal: Terminal, calibration: Calibrated) -> None:
    from ..calibration.budget.score import EARLIER, is_of_earlier_version

    skipped = f", {calibration['skipped']} unreadable ones skipped" if calibration["skipped"] else ""
    terminal.out.print(
        f"Calibrated: by {calibration['method']}, on {calibration['images']} images "
        f"({calibration['dataset']}{skipped})",
        markup=False,
    )
    # Bundles of earlier versions know neither methods nor warnings, nor whether anybody measured them.
    methods = calibration.get("methods", {})
    if len(methods) > 1:
        tried = ", ".join(f"{name} {score['agreement']:.2f}" for name, score in methods.items())
        earlier = f" ({EARLIER})" if any(map(is_of_earlier_version, methods.values())) else ""
        terminal.out.print(f"Tried:      agreement of {tried}{earlier}", markup=False)
    returned = calibration["search"]["given_back"] if "search" in calibration else []
    layers = "layer" if len(returned) == 1 else "layers"  # of any kind: additions, pools and resizes as well
    budget = f"; {len(returned)} {layers} in higher precision for the budget" if returned else ""
    terminal.out.print(
        f"In INT8:    {calibration['quantised_weights']} convolutions, "
        f"{len(calibration['higher_precision'])} in higher precision{budget}",
        markup=False,
    )
    timed = calibration.get("timed")
    if timed is not None:
        without = timed["without_slower"]
        told = (
            "" if without is None else f", {without:.3f} ms without {len(timed['slower'])} layers that INT8 made slower"
        )
        terminal.out.print(
            f"On {timed['gpu']}: {timed['int8']:.3f} ms in INT8, {timed['fp16']:.3f} ms in FP16{told}", markup=False
        )
    for warning in calibration.get("warnings", ()):
        terminal.out.print(f"Warning:    {warning}", markup=False)


def _lost(reached: Accuracy, search: Searched) -> float | None:
    """What an engine loses of what a budget was for; None where it was not measured."""
    if search["score"]["loss"] is not None:
        return None if reached.loss is None else reached.loss[0]
    return None if reached.agreement_value is None else 100 - reached.agreement_value


def _show_accuracy(terminal: Terminal, manifest: Manifest) -> None:
    """Loss and agreement on the held-out images; or that nobody measured them."""
    if not manifest.calibration.get("validated", True):
        terminal.out.print("Measured:   nothing (--no-validate); trtparse validate does it")
        return
    from ..calibration.budget.score import EARLIER
    from ..tasks.open import task_of
    from ..tasks.scoring import told_invented

    task = task_of(manifest)
    unit = task.closeness.unit
    for name, reached in manifest.accuracy.items():
        target = name.removesuffix("-int8")
        loss = (
            "no labels"
            if reached.loss is None
            else "loses {:+.2f} {figure} ({:+.2f} to {:+.2f})".format(*reached.loss, figure=task.figure.name)
        )
        earlier = f", {EARLIER}" if reached.invented is None else ""
        agreement = "" if reached.agreement_value is None else f", agreement {reached.agreement_value:.2f}"
        terminal.out.print(
            f"Measured:   INT8 ({target}) {loss}, {100 * reached.share:.2f} % of the {unit} as in "
            f"{reached.reference.partition(',')[0]}{agreement}; {reached.images} held-out images{earlier}",
            markup=False,
        )
        search = manifest.calibration.get("search")
        lost = None if search is None else _lost(reached, search)
        if search is not None and lost is not None and lost > search["max_drop"]:
            terminal.out.print(
                f"Warning:    The budget of {search['max_drop']:g} points is kept by TensorRT's graph; on {target} the "
                f"same layers lose {lost:.2f}.",
                markup=False,
            )
        if reached.invented:
            told = told_invented(reached.invented, reached.invented_in, unit)
            terminal.out.print(f"            It {told}", markup=False)
