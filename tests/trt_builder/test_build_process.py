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
from trtparse.interrupts import interrupts
from trtparse.trt_builder import build_process
from trtparse.trt_builder.build_process import build_in_process
from trtparse.trt_builder.engine_spec import EngineSpec

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


def start_with(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Let the other process run ``before`` with a stand-in for TensorRT in place."""
    monkeypatch.setattr(
        build_process,
        "_START",
        "import os, signal, sys, onnx\n"
        "from trtparse.trt_builder import build_process\n"
        "from trtparse.trt_builder.tensorrt_api import Built, NetworkLayer, TensorRT\n"
        "from trtparse.errors import UsageError\n"
        "class Library:\n"
        "    def build(self, model, spec, capability, cache, *, inspect):\n"
        f"        {before}\n"
        "        return Built(b'engine', (NetworkLayer('a', 'CONVOLUTION', 'fp16'),), '{}', b'new', ('note',))\n"
        "TensorRT.load = classmethod(lambda cls, target: Library())\n"
        "build_process.main()\n",
    )


def test_the_other_process_gets_the_request_and_gives_the_engine(
    graph: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(
        monkeypatch,
        "assert (spec.workspace_mb, capability, cache, inspect) == (512, '8.6', b'earlier', True); "
        "assert len(model.graph.node) == 12; assert 'torch' not in sys.modules and 'cv2' not in sys.modules",
    )
    built = build_in_process(graph, SPEC, "8.6", b"earlier", inspect=True)
    assert (built.content, built.inspector, built.timing_cache, built.notes) == (b"engine", "{}", b"new", ("note",))
    assert built.layers[0].precision == "fp16"
    assert not list(folders.iterdir())


def test_a_build_killed_by_signal_9_is_told_as_out_of_memory(
    graph: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, "print('Tactic 7', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(BuildError, match=r"signal 9.*out of memory.*Tactic 7") as caught:
        build_in_process(graph, SPEC)
    assert "--workspace 256" in caught.value.hint
    assert not list(folders.iterdir())


def test_a_crash_is_told_by_its_signal(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_with(monkeypatch, "os.abort()")
    with pytest.raises(BuildError, match=r"signal 6 \(SIGABRT") as caught:
        build_in_process(graph, SPEC)
    assert "trtparse doctor" in caught.value.hint


@pytest.mark.parametrize("ending", ["raise KeyError('of ours')", "os._exit(0)"])
def test_an_end_without_an_engine_is_never_success(ending: str, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_with(monkeypatch, ending)
    with pytest.raises(BuildError, match="no engine"):
        build_in_process(graph, SPEC)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("raise UsageError('too small', 'make it larger')", UsageError), ("raise MemoryError", MachineError)],
)
def test_an_error_of_ours_comes_through_as_it_is(
    ending: str, kind: type[TrtparseError], graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_with(monkeypatch, ending)
    with pytest.raises(kind) as caught:
        build_in_process(graph, SPEC)
    if kind is UsageError:
        assert (caught.value.message, caught.value.hint) == ("too small", "make it larger")


def test_a_file_in_the_user_s_folder_is_not_taken_for_a_library(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit('the wrong onnx')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    start_with(monkeypatch, "pass")
    assert build_in_process(graph, SPEC).content == b"engine"


def test_a_signal_to_the_command_ends_the_process_that_builds(
    graph: Path, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        build_in_process(graph, SPEC)
    killer.join()
    with pytest.raises(ProcessLookupError):
        os.kill(builders[0], 0)
    assert list(folders.iterdir()) == []
