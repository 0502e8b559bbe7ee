from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.engines import Bundle, open_bundle, open_engine
from trtparse.engines.bundle import add_files
from trtparse.engines.cpu import CpuEngine
from trtparse.engines.manifest import EngineManifest
from trtparse.errors import MachineError, UsageError
from trtparse.tests.engines.recording import FakeTensorRT, RecordingCuda, bundle_with, fake_engine, labels_of


def test_auto_takes_the_cpu_runtime_in_int8_and_says_so(pristine_bundle: Bundle) -> None:
    with open_engine(pristine_bundle.path) as engine:
        assert (engine.target, engine.precision) == ("onnxruntime", "int8")
        assert "ONNX Runtime" in engine.name
        assert "int8" in engine.name


def test_a_bundle_s_folder_may_be_named_by_a_text(pristine_bundle: Bundle) -> None:
    assert open_bundle(str(pristine_bundle.path)) == pristine_bundle
    with open_engine(str(pristine_bundle.path), "cpu", "fp32") as engine:
        assert engine.input_size == (256, 192)
    with pytest.raises(UsageError, match="No bundle at nowhere"):
        open_engine("nowhere")


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


# TensorRT, on a machine that seems to have it


@pytest.fixture
def gpu_machine(monkeypatch: pytest.MonkeyPatch) -> RecordingCuda:
    """This machine seems to have TensorRT 10.3.0, no TensorRT-RTX and a GPU of compute capability 8.7."""
    cuda = RecordingCuda()
    library: Any = FakeTensorRT(cuda)
    library.__spec__ = ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)  # type: ignore[arg-type]
    for module in ("cuda", "engine"):
        monkeypatch.setattr(f"trtparse.engines.tensorrt.{module}.open_cuda", lambda: cuda)
    return cuda


@pytest.mark.parametrize("target", ["auto", "tensorrt"])
def test_an_engine_that_fits_is_taken_and_the_name_says_so(
    target: str, gpu_machine: RecordingCuda, tmp_path: Path
) -> None:
    bundle = bundle_with(
        tmp_path,
        fake_engine(precision="fp16", engine="engines/a.engine"),
        fake_engine(engine="engines/b.engine", compute_capability="9.0"),
    )
    with open_engine(bundle, target, slots=3, cuda_graph=True) as engine:
        assert engine.name == "TensorRT 10.3.0, fp16, Stand-in GPU, stand-in, CUDA graph"
        assert engine.in_flight == 3
        frames = np.full((1, 6, 4, 3), 9, np.uint8)
        np.testing.assert_array_equal(engine.infer(frames)[0], labels_of(frames))
    assert gpu_machine.left() == []


def test_an_engine_of_another_machine_is_refused_where_it_was_asked_for(
    gpu_machine: RecordingCuda, tmp_path: Path
) -> None:
    bundle = bundle_with(tmp_path, fake_engine(compute_capability="9.0", gpu="NVIDIA H200"))
    with pytest.raises(MachineError, match=r"compute capability 9\.0, and here it is 8\.7") as caught:
        open_engine(bundle, "tensorrt")
    assert f"trtparse build {tmp_path} --int8 --target tensorrt" in caught.value.hint
    assert gpu_machine.left() == []


def test_the_name_says_that_an_engine_is_unverified_or_another_board_s(
    gpu_machine: RecordingCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_machine.device = replace(gpu_machine.device, integrated=True)
    monkeypatch.setattr("trtparse.engines.tensorrt.engine.read_model", lambda probe: "NVIDIA Jetson AGX Orin")
    board = "NVIDIA Jetson Orin NX"
    bundle = bundle_with(tmp_path, fake_engine(unverified=("It agrees on 3 %.",), board=board, multiprocessors=8))
    with open_engine(bundle, "tensorrt") as engine:
        assert engine.name.endswith(f"accepted unverified, tuned on another board, {board}")


def test_an_engine_of_an_orin_with_more_multiprocessors_is_not_opened(
    gpu_machine: RecordingCuda, tmp_path: Path
) -> None:
    bundle = bundle_with(tmp_path, fake_engine(multiprocessors=16))
    with pytest.raises(MachineError, match="was built for multiprocessors 16, and here it is 8"):
        open_engine(bundle, "tensorrt")


def test_a_bundle_without_an_engine_says_how_to_build_one(gpu_machine: RecordingCuda, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, fake_engine())
    with pytest.raises(UsageError, match="has no TensorRT FP16 engine") as caught:
        open_engine(bundle, "tensorrt", "fp16")
    assert f"trtparse build {tmp_path} --fp16 --target tensorrt" in caught.value.hint


def test_bf16_of_tensorrt_is_refused_with_what_has_it(gpu_machine: RecordingCuda, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A TensorRT engine of a bundle does not compute in BF16") as caught:
        open_engine(bundle_with(tmp_path, fake_engine()), "tensorrt", "bf16")
    assert caught.value.hint == "OpenVINO does: --target openvino"


def test_an_engine_of_a_library_that_is_not_here_names_the_library(gpu_machine: RecordingCuda, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, fake_engine(target="tensorrt-rtx"))
    with pytest.raises(MachineError, match="TensorRT-RTX"):
        open_engine(bundle, "tensorrt")


def test_auto_takes_the_cpu_where_no_engine_fits_and_says_so(gpu_machine: RecordingCuda, bundle: Bundle) -> None:
    content, manifest = fake_engine(compute_capability="9.0")
    names = {manifest.engine: content, manifest.engine.replace(".engine", ".json"): manifest.to_json().encode()}
    with open_engine(add_files(bundle, names)) as engine:
        assert engine.target == "onnxruntime"
        assert "no TensorRT engine of the bundle fits this machine" in engine.name


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    def no_gpu() -> None:
        raise MachineError("No NVIDIA GPU can be used: no device.")

    monkeypatch.setattr("trtparse.engines.tensorrt.cuda.open_cuda", no_gpu)
    content, manifest = fake_engine()
    names = {manifest.engine: content, manifest.engine.replace(".engine", ".json"): manifest.to_json().encode()}
    opened = add_files(bundle, names)
    with open_engine(opened) as engine:
        assert engine.target == "onnxruntime"
        assert "TensorRT" not in engine.name
    with pytest.raises(MachineError, match="No NVIDIA GPU"):
        open_engine(opened, "tensorrt")


@pytest.mark.parametrize("target", ["auto", "tensorrt"])
@pytest.mark.parametrize("spoilt", ["another machine", "no engine", "manifest edited"])
def test_an_engine_that_does_not_fit_is_rebuilt_where_that_is_asked_for(
    target: str, spoilt: str, gpu_machine: RecordingCuda, tmp_path: Path
) -> None:
    foreign = fake_engine(compute_capability="9.0", precision="fp16", rebuild=("--fp16",))
    bundle = bundle_with(tmp_path, *([] if spoilt == "no engine" else [foreign]))
    if spoilt == "manifest edited":
        path = tmp_path / foreign[1].engine.replace(".engine", ".json")
        path.write_text(path.read_text().replace("9.0", "8.7"))
    calls = []

    def rebuild(old: Bundle, precision: str, manifest: EngineManifest | None) -> Bundle:
        calls.append((precision, manifest))
        return bundle_with(tmp_path, fake_engine(precision=precision))

    with open_engine(bundle, target, rebuild=rebuild) as engine:
        assert engine.target == "tensorrt"
    assert calls == [("fp16", foreign[1]) if spoilt == "another machine" else ("int8", None)]


def test_a_rebuild_that_does_not_help_is_not_tried_again(gpu_machine: RecordingCuda, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, fake_engine(compute_capability="9.0"))
    calls = []

    def rebuild(old: Bundle, precision: str, manifest: EngineManifest | None) -> Bundle:
        calls.append(precision)
        return old

    with pytest.raises(MachineError, match="compute capability"):
        open_engine(bundle, "tensorrt", rebuild=rebuild)
    assert calls == ["int8"]


def test_a_bundle_without_weights_says_what_to_compare_with_instead(bundle: Bundle) -> None:
    files = {name: value for name, value in bundle.manifest.files.items() if name != "student.safetensors"}
    with pytest.raises(UsageError, match="no weights for PyTorch") as caught:
        open_engine(Bundle(bundle.path, replace(bundle.manifest, files=files)), "pytorch")
    assert "--reference fp32" in caught.value.hint
