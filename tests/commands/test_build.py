from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest

from trtparse.commands.build import _held_out
from trtparse.commands.build_result import show_build
from trtparse.commands.terminal import Terminal
from trtparse.data.synthetic import write_lip_layout
from trtparse.engines import Bundle
from trtparse.engines.accuracy import Accuracy
from trtparse.engines.choice import Choice
from trtparse.engines.manifest import EngineManifest
from trtparse.errors import DataError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.engines.recording import bundle_with, fake_engine
from trtparse.tests.trt_builder.conftest import small_model
from trtparse.trt_builder.compile import HowToBuild

PARSING = Parsing(label_set("lip"))

Run = Callable[..., tuple[int, str, str]]


def test_the_val_split_of_the_same_folder_judges(tmp_path: Path) -> None:
    write_lip_layout(tmp_path, train=2, val=1, seed=1)
    held_out = _held_out(PARSING, {"held_out": None, "data": str(tmp_path)}, open_dataset(tmp_path, "train"))
    assert held_out is not None
    assert len(held_out) == 1


def test_a_train_split_alone_keeps_some_of_its_own_images_back(tmp_path: Path) -> None:
    write_lip_layout(tmp_path, train=2, val=0, seed=1)
    assert _held_out(PARSING, {"held_out": None, "data": str(tmp_path)}, open_dataset(tmp_path, "train")) is None


def test_images_that_were_named_to_judge_on_must_be_there(tmp_path: Path) -> None:
    write_lip_layout(tmp_path, train=2, val=0, seed=1)
    with pytest.raises(DataError, match="only the train split"):
        _held_out(PARSING, {"held_out": str(tmp_path), "data": None}, open_dataset(tmp_path, "train"))


def test_a_bundle_of_an_earlier_version_is_still_shown(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    added = {"methods", "warnings", "validated", "weights", "corrections", "search"}
    calibration = {name: value for name, value in bundle.manifest.calibration.items() if name not in added}
    with Terminal(as_json=False) as terminal:
        show_build(terminal, Bundle(bundle.path, replace(bundle.manifest, calibration=calibration)), [])
    assert "Calibrated: by max, on 8 images" in capsys.readouterr().out


@pytest.mark.parametrize(("agreement", "warned"), [(97.2, False), (94.3, True)])
def test_a_budget_that_the_cpu_s_graph_does_not_keep_is_told(
    agreement: float, warned: bool, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    search = {"max_drop": 3.0, "score": {"loss": None}, "int8": [], "given_back": ["conv"], "points": []}
    calibration = {**bundle.manifest.calibration, "search": search, "validated": True}
    reached = Accuracy("photographs", 38, "ONNX Runtime 1.31.1, fp32", 0.99, agreement_value=agreement, invented=0)
    manifest = replace(bundle.manifest, calibration=calibration, accuracy={"onnxruntime-int8": reached})
    with Terminal(as_json=False) as terminal:
        show_build(terminal, Bundle(bundle.path, manifest), [])
    told = capsys.readouterr().out
    assert f"as in ONNX Runtime 1.31.1, agreement {agreement:.2f}; 38 held-out images" in told
    assert "; 1 layer in higher precision for the budget\n" in told
    warning = f"on onnxruntime the same layers lose {100 - agreement:.2f}"
    assert (warning in told) == warned


def test_a_calibration_cache_is_written_into_a_bundle_and_its_use_is_told(bundle: Bundle, run: Run) -> None:
    code, told, _ = run("build", bundle.path, "--int8", "--target", "cpu", "--calibration-cache", "8.6.1")
    assert code == 0
    cache = bundle.path / "tensorrt" / "calibration-8.6.1.cache"
    assert cache.read_text().startswith("TRT-8601-")
    assert f"Cache:      {cache}" in told
    assert f"--calib={cache}" in told


def test_a_calibration_cache_for_no_version_is_refused_before_images_are_looked_for(tmp_path: Path, run: Run) -> None:
    data = tmp_path / "missing"
    code, _, error = run("build", "--int8", "--target", "cpu", "--data", data, "--calibration-cache", "8.6")
    assert code == 2
    assert "'8.6' is no version of TensorRT" in error


def test_a_profile_that_the_graph_will_not_take_is_refused_before_images_are_looked_for(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.engines.machine.dependencies.require", lambda name: None)
    words = ("--target", "tensorrt-rtx", "--batch-profile", "1,4,8", "--data", tmp_path / "missing")
    code, _, error = run("build", "--int8", *words)
    assert code == 2
    assert "takes 1 frames per call, so another --batch-profile cannot be had" in error
    code, _, error = run("build", "--int8", "--batch", "dynamic", *words)
    assert "--batch-profile" not in error


def test_a_build_says_which_cpu_runtime_is_faster_and_by_how_much(
    bundle: Bundle, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def choose(*arguments: Any) -> Choice:
        asked.append(arguments[1:4])
        return Choice({"onnxruntime": 5.6, "openvino-f32": 3.5, "openvino-bf16": 4.2})

    monkeypatch.setattr("trtparse.engines.choice.choose", choose)
    code, told, _ = run("build", bundle.path, "--int8", "--target", "cpu", "--threads", "1")
    assert code == 0
    assert asked == [("int8-cpu", "int8", 1)]
    assert "OpenVINO with f32 between, 1.20 × as fast as OpenVINO with bf16 between and 1.60 × as fast as ONNX" in told
    assert "here (3.50 ms a call, not 4.20 and 5.60)" in told
    _, told, _ = run("build", bundle.path, "--int8", "--target", "cpu", "--json")
    assert json.loads(told)["cpu_runtimes"] == {
        "faster": "openvino",
        "between": "f32",
        "ratio": pytest.approx(1.2),
        "milliseconds": {"onnxruntime": 5.6, "openvino-f32": 3.5, "openvino-bf16": 4.2},
        "refused": {},
    }


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_by_name_is_an_error_where_it_does_not_run_the_graph(
    bundle: Bundle, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trtparse.engines.choice.choose", lambda *_: Choice({"onnxruntime": 5.6}, {"openvino-f32": "OpenVINO errs"})
    )
    code, _, error = run("build", bundle.path, "--int8", "--target", "openvino")
    assert code == 2
    assert "OpenVINO errs." in error
    assert "--target onnxruntime" in error
    assert run("build", bundle.path, "--int8", "--target", "onnxruntime")[0] == 0


def test_tensorrt_s_calibration_cache_needs_no_images_of_one_s_own_unless_int8_is_measured(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = small_model(), tmp_path / "calib.cache"
    onnx.save(model, tmp_path / "small.onnx")
    names = [*(name for node in model.graph.node for name in node.output), "of/another"]
    cache.write_text("\n".join(["TRT-8601-EntropyCalibration2", *(f"{name}: 3f000000" for name in names)]))
    words = ["build", tmp_path / "small.onnx", "--int8", "--target", "cpu", "--threads", "1", "--ranges", cache]
    words += ["--labels", "lip", "--output", tmp_path / "student"]
    code, _, error = run(*words)
    assert code == 2
    assert "--no-validate none is needed" in " ".join(error.split())
    code, out, error = run(*words, "--no-validate")
    assert code == 0, error
    assert "Calibrated: by TensorRT 8.6.1's cache, EntropyCalibration2" in out
    assert "1 of the cache's 13 tensors are none of the graph's: of/another." in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--labels", "lipp"], "There is no label set 'lipp'"),
        (["--labels", "atr"], "student.safetensors has the label set LIP-20 (20 classes), and --labels has ATR-18"),
    ],
)
def test_a_label_set_that_is_none_or_not_the_checkpoint_s_is_refused(
    words: list[str], told: str, tmp_path: Path, run: Run
) -> None:
    code, _, error = run("build", "--output", tmp_path / "new", *words)
    assert code == 2
    assert told in error.replace("\n", " ")
    assert not (tmp_path / "new").exists()


def test_label_maps_of_another_set_than_the_network_s_do_not_calibrate_it(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from trtparse.networks.checkpoint_file import save_checkpoint
    from trtparse.networks.student import Student, StudentSpec

    write_lip_layout(tmp_path / "people", train=1, val=0)
    pascal = tmp_path / "pascal.safetensors"
    save_checkpoint(Student(StudentSpec(num_classes=7)), pascal, Framing((64, 64)), label_set("pascal"))
    code, _, error = run("build", pascal, "--int8", "--data", tmp_path / "people", "--output", tmp_path / "new")
    assert code == 2
    assert "pascal.safetensors has the label set Pascal-7 (7 classes), and people/" in error.replace("\n", " ")
    assert "LIP-20 (20 classes)" in error.replace("\n", " ")


@pytest.mark.parametrize("option", [["--batch", "2"], ["--input-size", "128x96"], ["--stretch", "1.5"], ["--logits"]])
def test_what_an_onnx_graph_has_of_its_own_is_refused_as_an_option(
    option: list[str], bundle: Bundle, tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "new"
    code, _, error = run("build", bundle.graph("fp32"), "--fp16", "--output", output, *option)
    assert code == 2
    assert f"{option[0]} cannot change" in error
    assert not output.exists()


def test_what_is_told_kept_and_let_pass_of_an_engine_s_build_reaches_it(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle_with(tmp_path / "student")
    seen: list[HowToBuild] = []

    def build_engines(bundle: Bundle, *_: Any, how: HowToBuild) -> tuple[Bundle, list[EngineManifest]]:
        seen.append(how)
        how.told("[V] Tactic 7")
        settings = {"notes": ["1 of 2 could not be judged."], "trtexec": "trtexec --onnx=a"}
        return bundle, [fake_engine(unverified=("It agrees on 3 %.",), settings=settings)[1]]

    monkeypatch.setattr("trtparse.engines.open_bundle", lambda path: made)
    monkeypatch.setattr("trtparse.trt_builder.compile.build_engines", build_engines)
    words = ["build", made.path, "--int8", "--target", "tensorrt"]
    code, out, error = run(*words)
    assert code == 0
    assert (seen[0].log, seen[0].verbose, seen[0].accept_unverified, seen[0].ladder) == (None, False, False, True)
    assert seen[0].bisect, "an engine that answers otherwise is looked into"
    assert "Tactic" not in error
    for line in ("Note:       1 of 2 could not be judged.", "Unverified: It agrees on 3 %.", "trtexec --onnx=a"):
        assert line in out
    log = tmp_path / "build.log"
    code, _, error = run(*words, "--log", log, "--verbose", "--accept-unverified", "--no-ladder")
    assert code == 0
    assert (seen[1].log, seen[1].verbose, seen[1].accept_unverified, seen[1].ladder) == (log, True, True, False)
    assert "[V] Tactic 7" in error
    code, _, error = run(*words, "--log", tmp_path / "missing" / "build.log")
    assert (code, len(seen)) == (2, 2)
    assert "does not exist" in error


def test_int8_is_timed_against_fp16_unless_that_is_not_wanted_and_the_result_is_told(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle_with(tmp_path / "student")
    seen: list[tuple[bool, bool]] = []

    def build_engines(bundle: Bundle, *_: Any, how: HowToBuild) -> tuple[Bundle, list[EngineManifest]]:
        seen.append((how.timed, how.fastest))
        return bundle, [replace(fake_engine()[1], milliseconds={"int8": 0.9, "fp16": 0.8, "frames": 1})]

    monkeypatch.setattr("trtparse.engines.open_bundle", lambda path: made)
    monkeypatch.setattr("trtparse.trt_builder.compile.build_engines", build_engines)
    words = ["build", made.path, "--int8", "--target", "tensorrt"]
    code, out, _ = run(*words)
    assert code == 0
    assert "Timed:      INT8 takes 0.900 ms and FP16 0.800 ms a call of 1: INT8 is slower here" in out
    run(*words, "--fastest")
    run(*words, "--no-timing")
    assert seen == [(True, False), (True, True), (False, False)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fp16", "--target", "tensorrt", "--fastest"], "no INT8 is built"),
        (["--int8", "--target", "tensorrt-rtx", "--fastest"], "needs the GPU"),
        (["--int8", "--target", "tensorrt", "--fastest", "--no-timing"], "goes by times"),
        (["--int8", "--target", "cpu", "--fastest"], "--fastest is for an engine"),
    ],
)
def test_the_fastest_of_nothing_is_refused(words: list[str], told: str, tmp_path: Path, run: Run) -> None:
    code, _, error = run("build", bundle_with(tmp_path / "student").path, *words)
    assert code == 2
    assert told in error


def test_the_deep_learning_accelerator_alone_is_refused_at_once(tmp_path: Path, run: Run) -> None:
    code, _, error = run("build", tmp_path, "--int8", "--target", "tensorrt", "--dla", "0")
    assert code == 2
    assert "--gpu-fallback" in error
