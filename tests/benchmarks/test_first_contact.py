"""The script for the day with a GPU, rehearsed: steps that pass, fail, hang or are killed, and a recorded machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from trtparse.benchmarks import first_contact
from trtparse.benchmarks.first_contact import TRTPARSE, FirstContact, Step, main
from trtparse.calibration.int8 import Int8Spec
from trtparse.data.dataset import Dataset, Subset
from trtparse.data.synthetic import WalkingFigure
from trtparse.engines import Bundle
from trtparse.tests.engines import recording
from trtparse.tests.trt_builder import recorded_gpu
from trtparse.tests.trt_builder.conftest import DECLARED, StandIn, small_model
from trtparse.tests.trt_builder.recorded_gpu import RecordedGpu
from trtparse.trt_builder.bisection import expected_of, points_of
from trtparse.trt_builder.build import BuildSpec, build_bundle
from trtparse.trt_builder.engine_spec import EngineSpec


@pytest.fixture
def contact(tmp_path: Path) -> FirstContact:
    (tmp_path / "steps").mkdir()
    return FirstContact(tmp_path, 1)


def python(name: str, code: str, seconds: float = 30.0, **options: Any) -> Step:
    """A step that is a little program."""
    return Step(name, lambda: (sys.executable, "-c", code), seconds, **options)


def shell(name: str, line: str, seconds: float, **options: Any) -> Step:
    """A step that is under way at once, also on a busy machine."""
    return Step(name, lambda: ("sh", "-c", line), seconds, **options)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def states(folder: Path) -> dict[str, str]:
    return {step["name"]: step["state"] for step in summary(folder)["steps"]}


def test_whatever_becomes_of_a_step_the_next_is_done_and_all_is_written_down(
    contact: FirstContact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_contact, "LEAST_SECONDS", 0.01)
    steps = [
        python("fine", "print('{}')"),
        python("bad", "import sys; print('Error: no engine.', file=sys.stderr); sys.exit(5)"),
        shell("hangs", "echo so far; sleep 60", seconds=1.0),
        python("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        Step("absent", lambda: None, 10),
        Step("faulty", lambda: (["no such program anywhere"]), 10),
        Step("broken", lambda: 1 / 0, 10),  # type: ignore[arg-type, return-value]
        shell("live", "sleep 60", seconds=0.3, endless=True),
        python("last", "print(7)"),
    ]
    contact.go(steps)
    assert states(contact.folder) == {
        "fine": "passed",
        "bad": "failed",
        "hangs": "out of time",
        "killed": "killed",
        "absent": "left out",
        "faulty": "failed",
        "broken": "failed",
        "live": "passed",
        "last": "passed",
    }
    told = {step["name"]: step["told"] for step in summary(contact.folder)["steps"]}
    assert told["bad"] == "exit code 5. Error: no engine."
    assert "SIGKILL" in told["killed"]
    assert "ZeroDivisionError" in told["broken"]
    assert (contact.folder / "steps" / "hangs.out").read_text() == "so far\n"
    page = (contact.folder / "README.md").read_text()
    for name in states(contact.folder):
        assert f"| {name} |" in page
    assert "not measured" in page


def test_a_step_that_heeds_no_interrupt_is_killed_with_all_that_it_started(
    contact: FirstContact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        first_contact, "SECONDS_TO_END", ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.1), (signal.SIGKILL, 10))
    )
    monkeypatch.setattr(first_contact, "LEAST_SECONDS", 0.01)
    contact.go([shell("stubborn", "trap '' INT TERM; sleep 60 & echo $!; wait", seconds=1.0)])
    assert states(contact.folder) == {"stubborn": "out of time"}
    assert summary(contact.folder)["steps"][0]["code"] == -signal.SIGKILL
    child = int((contact.folder / "steps" / "stubborn.out").read_text())
    until = time.monotonic() + 10
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(process: int) -> bool:
    """Whether a process is there and not only waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_step_for_another_is_done_only_where_that_one_failed(contact: FirstContact) -> None:
    contact.go([python("one", ""), python("instead of one", "", instead_of="one")])
    contact.go([python("two", "raise SystemExit(1)"), python("instead of two", "", instead_of="two")])
    assert list(states(contact.folder)) == ["one", "two", "instead of two"]


def test_what_there_is_no_time_for_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    contact = FirstContact(tmp_path, minutes=0.0)
    contact.go([python("late", "raise SystemExit(1)")])
    assert states(tmp_path) == {"late": "left out"}


def test_a_step_has_no_more_time_than_is_left_of_the_minutes(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    given: list[float] = []

    def run(words: Any, out: Path, error: Path, seconds: float) -> tuple[int, bool]:
        given.append(seconds)
        for file in (out, error):
            file.touch()
        return 0, False

    contact = FirstContact(tmp_path, minutes=1.0, run=run)
    contact.go([Step("long", lambda: ["long"], 600), Step("short", lambda: ["short"], 10)])
    assert states(tmp_path) == {"long": "passed", "short": "passed"}
    assert (50 < given[0] <= 60, given[1]) == (True, 10)


def test_an_interrupted_run_leaves_a_summary_of_what_was_done(contact: FirstContact) -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contact.go([python("first", ""), Step("second", interrupted, 10), python("never", "")])
    assert states(contact.folder) == {"first": "passed", "second": "killed"}


def test_results_that_cannot_be_read_cost_the_summary_nothing_else(contact: FirstContact) -> None:
    (contact.folder / "bench.json").write_text('{"engines": [')
    contact.go([python("one", "")])
    assert "JSONDecodeError" in summary(contact.folder)["measured"]["problem"]
    assert states(contact.folder) == {"one": "passed"}


def test_a_terminal_that_closes_ends_the_step_and_leaves_a_summary(
    source: Bundle, tmp_path: Path, photographs: Path
) -> None:
    def closed(words: Sequence[str], out: Path, error: Path, seconds: float) -> tuple[int, bool]:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0, False

    with pytest.raises(SystemExit, match="129"):
        _main(source, tmp_path / "contact", photographs, closed)
    assert states(tmp_path / "contact") == {"doctor": "killed"}


def test_what_a_machine_without_a_gpu_lacks_is_told_and_nothing_of_it_stops_the_rest(
    source: Bundle, tmp_path: Path, photographs: Path
) -> None:
    """TensorRT in one Python, PyTorch in another; neither finds a GPU."""
    ran: list[Sequence[str]] = []

    def nothing(words: Sequence[str], out: Path, error: Path, seconds: float) -> tuple[int, bool]:
        ran.append(words)
        finding = {"topic": "GPU", "state": "missing", "text": "No NVIDIA GPU.", "fix": "docker run --gpus all IMAGE"}
        works = {"topic": "OpenCV", "state": "works", "text": "5.0.0", "fix": ""}
        doctor = {"findings": [finding, works]}
        out.write_text(json.dumps(doctor if out.stem == "doctor" else {"error": "CUDA finds none here."}))
        error.write_text("")
        eager = {"target": "pytorch", "precision": "fp32", "host_to_host": {"p50": 9.0}, "engine_alone": None}
        speed = {**eager, "frames_per_second": 111.0, "overhead": None, "power": None, "millijoules": None}
        if out.stem == "bench-pytorch":
            Path(words[words.index("--output") + 1]).write_text(json.dumps({"engines": [speed]}))
        return 0 if out.stem in ("doctor", "bench-pytorch") else 3, False

    folder = tmp_path / "contact"
    assert _main(source, folder, photographs, nothing, "--pytorch", "env -i python3.12") == 1
    assert set(states(folder).values()) <= {"passed", "failed", "left out"}
    assert states(folder)["inspect"] == "failed", "the last step was done as well"
    page = (folder / "README.md").read_text()
    assert "- GPU: No NVIDIA GPU. Type: docker run --gpus all IMAGE\n" in page
    assert "OpenCV" not in page
    (eager,) = [words for words in ran if "pytorch" in words]
    assert list(eager[:6]) == ["env", "-i", "python3.12", "-m", "trtparse.cli", "bench"]
    found = summary(folder)
    assert found["measured"]["bench-pytorch"]["pytorch-fp32"]["milliseconds"] == 9.0
    assert [target["met"] for target in found["targets"]] == [None, None, None]
    found["measured"]["bench"] = {"tensorrt-fp16": {"milliseconds": 1.5}}
    assert first_contact.targets(found["measured"])[0] == {
        "claim": "FP16 over PyTorch's eager FP32, one frame a call",
        "wanted": "at least 5",
        "found": 6.0,
        "met": True,
    }


# On a Jetson that is recorded


class Rehearsal:
    """Runs the commands in this process, on the recorded GPU; a program that is none of ours is not there."""

    def __init__(self, hang: str = "", die: str = "") -> None:
        self.commands: list[str] = []
        self._hang, self._die = hang, die

    def __call__(self, words: Sequence[str], out: Path, error: Path, seconds: float) -> tuple[int, bool]:
        assert tuple(words[:3]) == TRTPARSE
        self.commands.append(" ".join(words[3:5]))
        from trtparse.cli import main as command

        with out.open("w") as stdout, error.open("w") as stderr:
            if out.stem == self._hang:
                return -signal.SIGINT, True
            if out.stem == self._die:
                return -signal.SIGSEGV, False
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                try:
                    command(list(words[3:]))
                except SystemExit as end:
                    return int(end.code or 0), False
        return 0, False


class ShortFigure(WalkingFigure):
    """Three steps of the walk."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        whole = super().__iter__()
        return (next(whole) for _ in range(3))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, people: Dataset) -> Bundle:
    """A small bundle of a graph that takes any number of frames, with PyTorch's part played by its FP32."""
    folder = tmp_path_factory.mktemp("first-contact")
    onnx.save(small_model(batch=None), folder / "small.onnx")
    spec = BuildSpec(folder / "small.onnx", "int8", int8=Int8Spec("max"), validate=False, threads=1)
    return build_bundle(spec, Subset(people, (0, 1)), folder / "student").bundle


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 30, 3), 70 * (number + 1), np.uint8))
    return folder


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, source: Bundle) -> RecordedGpu:
    """INT8 takes 0.4 ms, FP16 1 ms; both answer as the FP32 graph does."""
    session = onnxruntime.InferenceSession(str(source.graph("fp32")))
    answer = lambda frames: np.concatenate([session.run(None, {"frames": one[None]})[0] for one in frames])  # noqa: E731
    monkeypatch.setitem(recording.ANSWERS, "labels", answer)
    monkeypatch.setattr("trtparse.data.synthetic.WalkingFigure", ShortFigure)
    times = {"int8": 0.4, "fp16": 1.0, "fp32": 3.0}

    def recorded(model: onnx.ModelProto, spec: EngineSpec) -> tuple[float, list[tuple[str, float]]]:
        return times[spec.precision], [("first", 0.1), ("second", 0.2)]

    installed = recorded_gpu.install(monkeypatch, lambda name: StandIn(DECLARED / f"{name}.json"), recorded)
    monkeypatch.setattr("trtparse.engines.machine.facts.read_machine", lambda *_: recorded_gpu.ORIN)
    monkeypatch.setattr(first_contact.shutil, "which", lambda name: None)
    return installed


def _main(source: Bundle, folder: Path, photographs: Path, run: first_contact.Run, *more: str) -> int:
    words = [str(source.path), "--output", str(folder), "--data", str(photographs), "--seconds", "0.01", *more]
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return main(words, run)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_where_all_goes_well_everything_is_in_one_folder(
    source: Bundle, gpu: RecordedGpu, tmp_path: Path, photographs: Path
) -> None:
    folder, run = tmp_path / "contact", Rehearsal()
    assert _main(source, folder, photographs, run) == 0
    found = states(folder)
    programs = ("nvidia-smi", "nvpmodel", "jetson_clocks", "trtexec")
    assert {name for name, state in found.items() if state == "left out"} == set(programs)
    assert {state for name, state in found.items() if name not in programs} == {"passed"}
    told = summary(folder)
    assert [(engine["precision"], engine["batch"]) for engine in told["engines"]] == [
        *((name, [1, 1, 8]) for name in ("int8", "fp16", "fp32")),
        *((name, [8, 8, 8]) for name in ("int8", "fp16")),
    ]
    int8 = told["engines"][0]
    assert int8["milliseconds"] == {"int8": 0.4, "fp16": 1.0, "frames": 1}
    assert told["engines"][3]["milliseconds"] == {"int8": 0.4, "fp16": 1.0, "frames": 8}
    assert int8["parity"]["pixel_agreement"] == 1
    assert told["measured"]["bench"]["tensorrt-int8"]["alone"] == pytest.approx(0.4)
    assert {target["claim"].partition(",")[0]: target["met"] is None for target in told["targets"]} == {
        "FP16 over PyTorch's eager FP32": True,
        "INT8 over FP16": False,
        "host to host over the engine alone": False,
    }
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there >= {
        "README.md",
        "summary.json",
        "logs/int8.log",
        "bundle-of-eight/engines/tensorrt-10.3-sm87-int8.engine",
        "bench-batch-8.json",
        "layers/tensorrt-10.3-sm87-int8.graph.json",
        "layers/tensorrt-10.3-sm87-int8.profile.json",
        "bundle/engines/tensorrt-10.3-sm87-int8.engine",
        "bench.json",
        "bench-copies.json",
        "bench-graph.json",
        "demo.mp4",
        "validate-int8/report.json",
        "steps/doctor.out",
    }
    assert gpu.cuda.left() == []
    assert not (source.path / "engines").exists(), "the bundle that was given stays as it is"


@pytest.mark.slow
def test_where_int8_is_refused_a_step_hangs_and_one_dies_the_evidence_is_there_and_the_rest_is_done(
    source: Bundle, gpu: RecordedGpu, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(frames: Any) -> Any:
        return np.full(frames.shape[:3], 7, np.uint8)

    monkeypatch.setitem(recording.ANSWERS, "labels", wrong)
    graph = onnx.load(source.graph("fp32"))
    for point in points_of(graph):
        read_out = partial(expected_of, graph, point.tensor)
        monkeypatch.setitem(recording.ANSWERS, point.tensor, read_out)
    folder, run = tmp_path / "contact", Rehearsal(hang="bench", die="validate-int8")
    assert _main(source, folder, photographs, run) == 1
    found = states(folder)
    assert found["build-fp16"] == found["build-int8"] == "failed"
    assert found["build-int8-unverified"] == "passed"
    assert (found["bench"], found["validate-int8"]) == ("out of time", "killed")
    assert (found["demo"], found["bench-copies"]) == ("passed", "passed")
    steps = {step["name"]: step for step in summary(folder)["steps"]}
    assert "agrees with the FP32 graph on" in steps["build-int8"]["told"]
    assert "the fault is behind it" in json.loads((folder / "steps" / "build-int8.out").read_text())["error"]
    assert "SIGSEGV" in steps["validate-int8"]["told"]
    failed = {path.name for path in (folder / "bundle" / "engines" / "failed").iterdir()}
    assert {f"tensorrt-10.3-sm87-fp16.{kind}" for kind in ("engine", "inspector.json", "log")} <= failed
    (engine,) = summary(folder)["engines"]
    assert engine["unverified"][0].startswith("The int8 graph agrees with the FP32 graph on")


def test_a_folder_that_is_there_or_a_bundle_that_is_none_is_refused_before_anything_is_done(
    source: Bundle, tmp_path: Path, photographs: Path
) -> None:
    with pytest.raises(SystemExit, match="there already"):
        _main(source, tmp_path, photographs, Rehearsal())
    with pytest.raises(SystemExit, match="is no bundle"):
        main([str(photographs), "--output", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()
