from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from trtparse.cli import main
from trtparse.engines.machine.probe import Answer, Probe

Doctor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    """Examine a machine that has nothing but OpenCV and ONNX Runtime, and what a test adds."""
    for name in ("cv2", "onnxruntime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()

    def call(*arguments: str) -> tuple[int, str, str]:
        def stand_in() -> Probe:
            told = Answer(0, '{"version": "4.12.0", "build": "  GStreamer:  YES (1.20.3)"}')
            answer = lambda command: told if "-c" in command else Answer(None)  # noqa: E731
            return Probe(tmp_path, answer, lambda: None, (3, 10), None, (tmp_path,))

        monkeypatch.setattr("trtparse.engines.machine.probe.Probe", stand_in)
        code = 0
        try:
            main(["doctor", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_what_is_missing_is_named_with_the_line_to_type(examine: Doctor) -> None:
    code, out, err = examine()
    assert code == 0
    assert "No NVIDIA GPU" in out
    assert "4.12.0, with GStreamer" in out
    assert "pip install 'trtparse[rtx]'" in out
    assert "1 missing or broken: GPU." in out
    assert "Traceback" not in out + err


def test_strict_exits_with_3_where_something_is_missing(examine: Doctor) -> None:
    code, out, _ = examine("--strict")
    assert code == 3
    assert examine() == (0, out, examine()[2])  # and says the same


def test_json_is_one_document_that_strict_does_not_spoil(examine: Doctor) -> None:
    code, out, err = examine("--json", "--strict")
    assert (code, err) == (3, "")
    document = json.loads(out)
    assert set(document) == {"works", "machine", "packages", "findings"}
    assert document["works"] is False
    assert document["machine"]["python"] == "3.10"
    assert document["packages"]["modules"]["cv2"]["gstreamer"] is True
    states = {finding["topic"]: finding["state"] for finding in document["findings"]}
    assert states["GPU"] == "missing"
    assert states["OpenCV"] == "works"


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_no_line_ends_in_blanks(examine: Doctor, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    lines = examine()[1].splitlines()
    assert len(lines) > 10
    assert [line.rstrip() for line in lines] == lines
    (found,) = [line for line in lines if "OpenCV" in line]
    assert "4.12.0" in found  # beside its topic, however narrow


def test_a_line_to_type_is_never_wrapped(examine: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1")
    _, out, _ = examine()
    lines = [line.strip() for line in out.splitlines()]
    assert "sudo apt-get update && sudo apt-get install python3-libnvinfer" in lines
    fixes = [json.loads(examine("--json")[1])["findings"]]
    for finding in fixes[0]:
        assert not finding["fix"] or finding["fix"] in lines
        shlex.split(finding["fix"])
