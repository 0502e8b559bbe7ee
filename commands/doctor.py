"""``trtparse doctor``: what this machine is, what works, and the line to type for each thing that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..errors import MachineError

if TYPE_CHECKING:
    from ..engines.machine.diagnosis import Finding
    from ..engines.machine.facts import Machine

_MARKS = {
    "works": ("✓", "green"),
    "optional": ("–", "dim"),
    "advice": ("!", "yellow"),
    "missing": ("✗", "red"),
    "broken": ("✗", "red"),
}


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 3 where something is missing or broken.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def doctor(context: click.Context, /, strict: bool, as_json: bool, debug: bool) -> None:
    """Say what this machine is, what works, and what to type for each thing that does not.

    Changes nothing. Exits with 0 also where something is missing, unless --strict is given.
    """
    from dataclasses import asdict

    from ..engines.machine.diagnosis import diagnose
    from ..engines.machine.facts import read_machine
    from ..engines.machine.packages import read_packages
    from ..engines.machine.probe import Probe
    from .terminal import Terminal

    probe = Probe()
    with Terminal(as_json=as_json) as terminal:
        terminal.stage("Reading the machine")
        machine = read_machine(probe)
        terminal.stage("Loading the packages")
        packages = read_packages(probe)
        findings = diagnose(machine, packages)
    failing = [finding for finding in findings if finding.fails]
    if as_json:
        terminal.result(
            {
                "works": not failing,
                "machine": asdict(machine),
                "packages": asdict(packages),
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        _show(machine, findings)
    context.exit(MachineError.exit_code if strict and failing else 0)


def _show(machine: Machine, findings: tuple[Finding, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .tables import print_table

    console = Console(highlight=False, markup=False, emoji=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(machine):
        facts.add_row(name, value)
    print_table(console, facts)
    console.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.state]
        table.add_row(Text(mark, style), finding.topic, finding.text)
    print_table(console, table)
    fixes = [finding for finding in findings if finding.fix]
    if fixes:
        console.print("\nTo type:")
    for finding in fixes:
        console.print(Text(f"  # {finding.topic}", "dim"))
        # Not wrapped, so that it can be copied.
        console.print(f"  {finding.fix}", soft_wrap=True)
    console.print(f"\n{_verdict(findings)}")


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "processor", f"{machine.processor}, {machine.cores} cores"
    if machine.memory is not None:
        memory = machine.memory
        swap = f", {_gigabytes(memory.swap)} swap" if memory.swap else ", no swap"
        yield "memory", f"{_gigabytes(memory.total)}, {_gigabytes(memory.available)} available{swap}"
    yield "system", f"{machine.system}, kernel {machine.kernel}{', in a container' if machine.container else ''}"
    place = f", virtual environment {machine.environment}" if machine.environment else ""
    yield "Python", f"{machine.python}{place}"
    yield "CUDA toolkit", f"{machine.cuda} ({machine.nvcc})" if machine.cuda else "none"


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _verdict(findings: tuple[Finding, ...]) -> str:
    failing = [finding.topic for finding in findings if finding.fails]
    if not failing:
        return "Everything that engines need works."
    return f"{len(failing)} missing or broken: {', '.join(failing)}."
