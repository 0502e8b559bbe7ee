"""What docs/deploy.md says is done, command for command, against a server of a small student."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed, so nothing is served")

from trtparse.cli import cli, main
from trtparse.commands.serve import serve
from trtparse.data.images import read_label_map
from trtparse.tests.serve.conftest import write_student

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")

ADDRESS = "127.0.0.1:8000"

BENEATH = click.Context(cli, **cli.context_settings)  # a command keeps for good the help option that it had first


def commands(program: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(f"{program} ")]


@pytest.fixture
def place(small_graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``build/student`` and ``person.jpg``, where the commands are typed."""
    write_student(tmp_path / "build/student", small_graph)
    small = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "person.jpg"), cv2.resize(small, (60, 80)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    """Where ``build/student`` is served."""
    from trtparse.serve.model import Opening, named_bundles
    from trtparse.serve.serving import Serving
    from trtparse.tasks.people.detector import open_detector

    engine, finds = Opening("onnxruntime", threads=1), partial(open_detector, threads=1)
    with Serving(named_bundles(("build/student",)), "127.0.0.1:0", engine=engine, open_detector=finds) as serving:
        yield serving.url.removeprefix("http://")


def test_every_export_writes_its_folder(place: Path) -> None:
    typed = [line for line in commands("trtparse") if " export " in line]
    assert len(typed) == 2
    for line in typed:
        words = shlex.split(line)
        main(words[1:])
        assert (place / words[words.index("--output") + 1] / "README.md").is_file(), line


def test_the_server_s_line_is_one_that_the_command_takes(place: Path) -> None:
    (line,) = [line for line in commands("trtparse") if " serve " in line]
    parsed = serve.make_context("serve", shlex.split(line)[2:], BENEATH).params
    assert (parsed["bundles"], parsed["listen"], parsed["people"]) == (("build/student",), ADDRESS, "auto")


DIAGRAM = re.findall(r"► (trtparse .*)", PAGE)


def test_the_diagram_names_each_way_once() -> None:
    assert [line.split()[1] for line in DIAGRAM] == ["demo", "demo", "serve", "export", "export", "parse", "parse"]


@pytest.mark.parametrize("line", DIAGRAM)
def test_the_diagram_s_lines_are_those_that_the_commands_take(line: str) -> None:
    words = shlex.split(line.replace("…", "").replace("--token", "--token a-token-of-some-length"))[1:]
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, line
    command.make_context(command.name, words, BENEATH)


def test_photographs_on_disk_are_parsed_by_the_diagram_s_line(place: Path) -> None:
    (place / "photos").mkdir()
    (place / "person.jpg").rename(place / "photos/person.jpg")
    (line,) = [line for line in DIAGRAM if " parse " in line and "--ray" not in line]
    main([*shlex.split(line)[1:], "--output", "parsed", "--target", "onnxruntime", "--threads", "1"])
    assert read_label_map(place / "parsed/person.png").shape == (80, 60)


def test_every_curl_gets_an_answer(place: Path, address: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    answers = []
    for line in commands("curl"):
        words = shlex.split(line.replace(ADDRESS, address))
        done = subprocess.run([*words, "--silent", "--show-error", "--fail"], capture_output=True, timeout=60)
        assert done.returncode == 0, (line, done.stderr)
        answers.append(done.stdout)
    assert len(answers) == 5
    assert read_label_map(place / "labels.png").shape == (80, 60)
    assert json.loads(answers[1])["height"] == 80
    assert read_label_map(place / "everybody.png").shape == (80, 60)
    assert json.loads(answers[3])["name"] == "student"
    assert b"trtparse_requests_total" in answers[4]


def test_the_program_gets_labels(address: str) -> None:
    pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(source.replace(ADDRESS, address).replace("(1, 256, 192, 3)", "(1, 64, 64, 3)"), names)
    assert (names["labels"].shape, names["labels"].dtype) == ((1, 64, 64), np.uint8)


def test_the_page_names_every_path_that_the_server_has(address: str) -> None:
    from trtparse.serve.limits import Limits
    from trtparse.serve.server import Server
    from trtparse.web.access import Credentials

    server = Server({}, Limits(), "", Credentials("", 0), frozenset(), print)
    for route in server.app().router.resources():
        path = route.canonical.replace("/versions/{version}", "").replace("{model}", "NAME")
        tail = "…/" + path.rpartition("/")[2]
        assert path in PAGE or tail in PAGE or path == "/v2/models/NAME", path
    server.close()
