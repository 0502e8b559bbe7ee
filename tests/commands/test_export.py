"""The command line of ``trtparse export``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from trtparse.networks.weights import FINDER_GRAPH
from trtparse.tests.serve.conftest import hands, write_finder

__all__ = ["hands"]

Run = Callable[..., tuple[int, str, str]]


def test_a_repository_is_written_and_what_it_holds_is_told(run: Run, hands: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    code, out, _ = run("export", "triton", hands, f"more={hands}", "--output", output)
    assert (code, out.splitlines()) == (
        0,
        [
            "hands: onnxruntime, fp32; hands_photograph for photographs",
            "more: onnxruntime, fp32; more_photograph for photographs",
            f"How to start it: {output}/README.md",
        ],
    )


def test_every_option_reaches_the_configuration(run: Run, hands: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    words = ("--backend", "python", "--precision", "fp32", "--batch", 5, "--delay", 1.5, "--queue", 7)
    code, out, _ = run(
        "export", "triton", hands, "--output", output, *words, "--instances", 3, "--threads", 2, "--json"
    )
    document = json.loads(out)
    assert (code, document["schema_version"], document["output"]) == (0, 1, str(output))
    assert document["models"] == [
        {
            "model": "hands",
            "ensemble": "hands_photograph",
            "people": None,
            "task": "parsing",
            "backend": "python",
            "precision": "fp32",
            "batch": [1, 5],
            "tensorrt": None,
            "compute_capabilities": [],
        }
    ]
    text = (output / "hands/config.pbtxt").read_text()
    for line in ("max_batch_size: 5", "max_queue_delay_microseconds: 1500", "max_queue_size: 7", "count: 3"):
        assert line in text


def test_people_are_found_by_the_finder_that_comes_along_or_by_another(run: Run, hands: Path, tmp_path: Path) -> None:
    own = write_finder(tmp_path / "finder")
    for words, graph in (
        (("--people", "auto"), FINDER_GRAPH),
        (("--detector", own), own / "student.fp32.onnx"),
    ):
        code, out, _ = run("export", "triton", hands, "--output", tmp_path / "repository", *words)
        assert (code, out.splitlines()[0]) == (
            0,
            "hands: onnxruntime, fp32; hands_photograph and hands_people for photographs",
        )
        there = onnx.load(tmp_path / "repository/hands_people/1/detector.onnx")
        assert there == onnx.load(graph)
    code, _, err = run("export", "triton", hands, "--people", "full", "--detector", own)
    assert (code, "--detector is for finding people" in err) == (2, True)
    code, _, err = run("export", "triton", hands, "--detector", hands)
    assert (code, "it finds nobody" in err) == (2, True)


@pytest.mark.parametrize("words", [(), ("triton", "nowhere"), ("nothing",)])
def test_what_cannot_be_exported_is_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    code, out, _ = run("export", *words)
    assert (code, out) == (2, "")
