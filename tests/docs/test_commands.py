"""What the pages tell to type can be typed: every command and option in them is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from trtparse.cli import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"


def typed(page: str) -> list[list[str]]:
    """The words of each ``trtparse`` command in a page's code blocks, without comments."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in lines.splitlines() if line.startswith("trtparse ")]


def options(page: str) -> set[str]:
    """Options that are named in a page's sentences."""
    return set(re.findall(r"`(--[a-z0-9-]+)", (DOCS / page).read_text()))


@pytest.mark.parametrize("page", ["jetson.md", "int8.md", "demo.md"])
def test_commands_of_the_pages_are_there_with_their_options(page: str) -> None:
    commands = typed(page)
    assert commands
    context = click.Context(cli)
    for words in commands:
        command = cli.get_command(context, words[1])
        assert command is not None, words
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        for word in words[2:]:
            if word.startswith("--"):
                assert word in known, f"{page}: {shlex.join(words)}"


def test_options_that_are_named_by_symptom_are_those_of_some_command() -> None:
    context = click.Context(cli)
    known = {"--runtime", "--gpus", "--system-site-packages", "--debug", "--json"}
    known.add("--pytorch")  # of benchmarks/first_contact.py
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for page in ("when-it-fails.md", "jetson.md"):
        assert options(page) <= known, sorted(options(page) - known)


def test_the_script_for_the_first_minutes_has_the_options_that_the_page_names() -> None:
    if importlib.util.find_spec("trtparse.benchmarks.first_contact") is None:
        pytest.skip("the benchmarks are not part of this installation")
    from trtparse.benchmarks import first_contact

    line = re.search(r"python benchmarks/first_contact.py (.*)", (DOCS / "jetson.md").read_text())
    assert line is not None
    for word in shlex.split(line[1]):
        if word.startswith("--"):
            assert f'"{word}"' in Path(first_contact.__file__).read_text()


def test_what_no_gpu_has_run_is_called_experimental_in_the_help_and_on_the_page() -> None:
    build = cli.get_command(click.Context(cli), "build")
    assert build is not None
    told = {
        option.opts[0]: option.help or ""
        for option in build.params
        if isinstance(option, click.Option) and "experimental: not run" in (option.help or "")
    }
    assert set(told) == {
        "--target",  # TensorRT 8
        "--dla",
        "--version-compatible",
        "--hardware-compatible",
        "--sparsity",
        "--refit",
    }
    page = (DOCS / "jetson.md").read_text()
    section = page[page.index("## Experimental") : page.index("## Open")]
    for word in (*(set(told) - {"--target"}), "TensorRT 8.6"):
        assert word in section
