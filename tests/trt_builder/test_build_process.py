"""A build that is killed or crashes is explained, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from trtparse.errors import BuildError, MachineError, TrtparseError, UsageError
from trtparse.storage.interrupts import interrupts
from trtparse.trt_builder import build_process
from trtparse.trt_builder.build_process import build_in_process
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.tensorrt_api import NoEngine

SPEC = EngineSpec("fp16", workspace_mb=512)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see that none is left."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def graph(tmp_path: Path, small: SimpleNamespace) -> Path:
    onnx.save(small.model(half=True), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Where the build leaves what it came to."""
    (tmp_path / "left").mkdir()
    return tmp_path / "left"


def start_with(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Let the other process run ``before`` with a stand-in for TensorRT in place."""
    monkeypatch.setattr(
        build_process,
        "_START",
        "import os, signal, sys, onnx\n"
        "from trtparse.trt_builder import build_process\n"
        "from trtparse.trt_builder.tensorrt_api import Built, NetworkLayer, NoEngine, TensorRT\n"
        "from trtparse.errors import UsageError\n"
        "class Library:\n"
        "    def log_to(self, write, *, verbose):\n"
        "        self.say, self.verbose = write, verbose\n"
        "    def build(self, model, spec, capability, cache, *, inspect, built):\n"
        f"        {before}\n"
        "        built(b'engine')\n"
        "        return Built(b'engine', (NetworkLayer('a', 'CONVOLUTION', 'fp16'),), '{}', b'new', ('note',))\n"
        "TensorRT.load = classmethod(lambda cls, target: Library())\n"
        "build_process.main()\n",
    )


def test_the_other_process_gets_the_request_and_gives_the_engine(
    graph: Path, left: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(
        monkeypatch,
        "assert (spec.workspace_mb, capability, cache, inspect) == (512, '8.6', b'earlier', True); "
        "assert len(model.graph.node) == 12; assert 'torch' not in sys.modules and 'cv2' not in sys.modules",
    )
    built = build_in_process(graph, SPEC, "8.6", b"earlier", inspect=True, left=left)
    assert (built.content, built.inspector, built.timing_cache, built.notes) == (b"engine", "{}", b"new", ("note",))
    assert built.layers[0].precision == "fp16"
    assert not list(folders.iterdir())


def test_a_build_killed_by_signal_9_is_told_as_out_of_memory(
    graph: Path, left: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(
        monkeypatch,
        "self.say('[E] conv1: no kernel'); [self.say(f'Tactic {n}') for n in range(9)]; os.kill(os.getpid(), 9)",
    )
    with pytest.raises(
        BuildError, match=r"signal 9.*out of memory.*\[E\] conv1: no kernel … Tactic 6 Tactic 7 Tactic 8"
    ) as caught:
        build_in_process(graph, SPEC, left=left)
    assert "--workspace 256" in caught.value.hint
    assert not list(folders.iterdir())
    assert (left / "log").read_text().startswith("[E] conv1: no kernel\nTactic 0\n")


def test_a_crash_is_told_by_its_signal(graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_with(monkeypatch, "os.abort()")
    with pytest.raises(BuildError, match=r"signal 6 \(SIGABRT") as caught:
        build_in_process(graph, SPEC, left=left)
    assert "trtparse doctor" in caught.value.hint


@pytest.mark.parametrize("ending", ["raise KeyError('of ours')", "os._exit(0)"])
def test_an_end_without_an_engine_is_never_success(
    ending: str, graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, ending)
    with pytest.raises(BuildError, match="no engine"):
        build_in_process(graph, SPEC, left=left)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("raise UsageError('too small', 'make it larger')", UsageError), ("raise MemoryError", MachineError)],
)
def test_an_error_of_ours_comes_through_as_it_is(
    ending: str, kind: type[TrtparseError], graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, ending)
    with pytest.raises(kind) as caught:
        build_in_process(graph, SPEC, left=left)
    if kind is UsageError:
        assert (caught.value.message, caught.value.hint) == ("too small", "make it larger")


def test_a_file_in_the_user_s_folder_is_not_taken_for_a_library(
    graph: Path, left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit('the wrong onnx')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    start_with(monkeypatch, "pass")
    assert build_in_process(graph, SPEC, left=left).content == b"engine"


def test_all_that_is_said_is_left_line_by_line_and_told(
    graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "self.say('[W] slow'); os.write(1, b'[plugin] \\xff\\n'); os.write(2, b'to stderr\\n')"
    start_with(monkeypatch, f"assert self.verbose; {said}")
    told: list[str] = []
    build_in_process(graph, SPEC, left=left, verbose=True, told=told.append)
    assert (left / "log").read_bytes() == b"[W] slow\n[plugin] \xff\nto stderr\n"
    assert told == ["[W] slow", "[plugin] \ufffd", "to stderr"]
    assert not (left / "engine").exists()  # it was not refused


def test_a_log_of_ten_megabytes_is_left_whole_and_told_in_short(
    graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "self.say('[E] node 7 has no kernel'); [self.say('[V] ' + 'tactic ' * 140) for _ in range(9000)]"
    start_with(monkeypatch, f"{words}; self.say('[V] ' + 'x' * 1_000_000); os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(BuildError, match="was killed") as caught:
        build_in_process(graph, SPEC, left=left)
    assert "[E] node 7 has no kernel …" in caught.value.message
    assert len(caught.value.message) < 5000
    log = (left / "log").read_bytes()
    assert len(log) > 9_000_000
    assert log.count(b"\n") == 9002


def test_an_engine_that_is_refused_after_it_was_built_is_left(
    graph: Path, folders: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, "built(b'odd engine'); raise NoEngine('it cannot load the engine that it built')")
    with pytest.raises(NoEngine, match="cannot load"):
        build_in_process(graph, SPEC, left=left)
    assert (left / "engine").read_bytes() == b"odd engine"
    assert not list(folders.iterdir())


def test_a_build_that_is_interrupted_ends_its_process(graph: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_with(monkeypatch, "self.say(str(os.getpid())); signal.pause()")

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt) as caught:
        build_in_process(graph, SPEC, left=left, told=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


def test_a_signal_to_the_command_ends_the_process_that_builds(
    graph: Path, folders: Path, left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    start_with(monkeypatch, f"open({str(told)!r}, 'w').write(str(os.getpid())); signal.pause()")
    builders: list[int] = []

    def end_once_it_builds() -> None:
        builders.append(int(told.read_text()))
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=end_once_it_builds)
    killer.start()
    with pytest.raises(KeyboardInterrupt), interrupts(own_process=False):
        build_in_process(graph, SPEC, left=left)
    killer.join()
    with pytest.raises(ProcessLookupError):
        os.kill(builders[0], 0)
    assert list(folders.iterdir()) == []
