from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trtparse.engines import Bundle, open_engine
from trtparse.engines.cpu import CpuEngine
from trtparse.errors import MachineError, UsageError


def test_auto_takes_the_cpu_runtime_in_int8_and_says_so(pristine_bundle: Bundle) -> None:
    with open_engine(pristine_bundle.path) as engine:
        assert (engine.target, engine.precision) == ("cpu", "int8")
        assert "ONNX Runtime" in engine.name
        assert "int8" in engine.name


def test_unknown_words_are_refused_with_the_known_ones(pristine_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="Unknown target 'gpu'") as caught:
        open_engine(pristine_bundle, "gpu")
    assert "cpu" in caught.value.hint
    with pytest.raises(UsageError, match="Unknown precision 'int4'"):
        open_engine(pristine_bundle, "cpu", "int4")
    with pytest.raises(UsageError, match="runs in fp32"):
        open_engine(pristine_bundle, "pytorch", "int8")


def test_a_text_file_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("hello")
    with pytest.raises(UsageError, match="cannot load"):
        CpuEngine(tmp_path / "a.onnx", "fp32")


def test_without_pytorch_the_reference_says_what_to_install(
    pristine_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="PyTorch is not installed") as caught:
        open_engine(pristine_bundle, "pytorch")
    assert "trtparse[train]" in caught.value.hint


def test_running_an_engine_imports_no_torch(pristine_bundle: Bundle) -> None:
    script = (
        "import sys, pathlib, numpy as np\n"
        "from trtparse.engines import open_engine\n"
        "with open_engine(pathlib.Path(sys.argv[1]), threads=1) as engine:\n"
        "    engine.infer(np.zeros((1, *engine.input_size, 3), np.uint8))\n"
        "print(sorted({'torch', 'safetensors', 'onnxslim', 'onnxscript'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(pristine_bundle.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
