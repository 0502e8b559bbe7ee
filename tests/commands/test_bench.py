from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest

from trtparse.cli import main
from trtparse.commands.bench import PRECISIONS, bench
from trtparse.engines import Bundle
from trtparse.engines.base import Engine
from trtparse.engines.machine.power import PowerMeter
from trtparse.engines.openvino import betweens, capabilities_of, load_openvino
from trtparse.engines.tensorrt.engine import TensorRTEngine
from trtparse.errors import MachineError
from trtparse.tests.engines.recording import FakeTensorRT, RecordingCuda, bundle_with, fake_engine
from trtparse.tests.trt_builder.recorded_gpu import ORIN

SHORT = ["--seconds", "0.01", "--warm-up", "0", "--threads", "1"]


def _bench(*words: str) -> int:
    try:
        main(["bench", *words, *SHORT])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def document(pristine_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert _bench(str(pristine_bundle.path), "--batch", "2", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_all_that_runs_here_is_measured_alike(document: dict[str, Any]) -> None:
    measured = [(engine["target"], engine["precision"]) for engine in document["engines"]]
    assert measured[:4] == [("pytorch", "fp32"), ("pytorch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    assert "channels_last" in document["engines"][1]["engine"]
    for engine in document["engines"]:
        assert engine["batch"] == 2
        times = engine["host_to_host"]
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
        assert engine["frames_per_second"] > 0
    assert {"processor", "Python", "ONNX Runtime"} <= set(document["machine"])


def test_the_table_names_every_engine_and_the_document_is_written_beside_it(
    pristine_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    assert _bench(str(pristine_bundle.path), "--target", "onnxruntime", "--output", str(output)) == 0
    told = capsys.readouterr().out
    engines = json.loads(output.read_text())["engines"]
    assert [engine["precision"] for engine in engines] == ["fp32", "int8"]
    for engine in engines:
        assert f"ONNX Runtime {engine['precision']}" in told
        assert engine["engine"] in told


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_cpu_is_both_runtimes_each_with_its_layers_by_kind(
    pristine_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _bench(str(pristine_bundle.path), "--target", "cpu", "--precision", "int8", "--layers") == 0
    told = capsys.readouterr().out
    assert "ONNX Runtime int8: " in told
    for between in betweens(capabilities_of(load_openvino().Core())):
        assert re.search(rf"OpenVINO int8, {between} between: \d+ layers", told)
    assert re.search(r"ms +\d+\.\d % +\d+ × QLinearConv", told)
    assert re.search(r"ms +\d+\.\d % +\d+ × Convolution", told)


def test_without_a_gpu_an_engine_of_the_bundle_is_listed_with_the_reason(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_gpu() -> None:
        raise MachineError("No NVIDIA GPU can be used: no device.")

    monkeypatch.setattr("trtparse.engines.tensorrt.cuda.open_cuda", no_gpu)
    from trtparse.engines.bundle import add_files

    content, manifest = fake_engine()
    name = manifest.engine.replace(".engine", ".json")
    add_files(bundle, {manifest.engine: content, name: manifest.to_json().encode()})
    assert _bench(str(bundle.path), "--target", "cpu", "--target", "tensorrt", "--precision", "int8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == [
        {"engine": "TensorRT int8", "reason": "No NVIDIA GPU can be used: no device."}
    ]
    assert _bench(str(bundle.path), "--target", "tensorrt") == 3
    assert "No NVIDIA GPU" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "mapped"), [([], None), (["--copies"], False), (["--mapped"], True)])
def test_tensorrt_is_timed_with_or_without_copies_and_spins(
    words: list[str], mapped: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def opened(*_: Any, **options: Any) -> Engine:
        asked.append(options)
        raise MachineError("No GPU.")

    made = bundle_with(tmp_path / "student", fake_engine())
    monkeypatch.setattr("trtparse.engines.open_engine", opened)
    monkeypatch.setattr("trtparse.engines.open_bundle", lambda path: made)
    assert _bench("student", "--target", "tensorrt", *words) == 3
    assert asked == [{"slots": 2, "cuda_graph": False, "mapped": mapped, "spin": True}]


def test_power_and_layers_of_a_gpu_s_engine_are_told_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Scale:
        source = "INA3221"

        def begin(self) -> None:
            pass

        def watts(self) -> dict[str, float]:
            return {"VDD_IN": 8.0}

        def joules(self) -> None:
            return None

        def held_down_by(self) -> set[str]:
            return {"temperature (gpu-throttle-alert)"}

    content, manifest = fake_engine()
    cuda = RecordingCuda()
    engine = TensorRTEngine(content, manifest, cuda=cuda, library=FakeTensorRT(cuda))
    made = bundle_with(tmp_path / "student", (content, manifest))
    monkeypatch.setattr("trtparse.engines.open_engine", lambda *_, **__: engine)
    monkeypatch.setattr("trtparse.engines.open_bundle", lambda path: made)
    monkeypatch.setattr("trtparse.engines.machine.facts.read_machine", lambda: ORIN)
    monkeypatch.setattr("trtparse.engines.machine.power.open_meter", lambda bus: PowerMeter(Scale()))
    folder, output = tmp_path / "explorer", tmp_path / "bench.json"
    assert _bench("student", "--target", "tensorrt", "--explorer", str(folder), "--output", str(output)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "TensorRT int8: 8.0 W, " in told
    assert "INA3221, VDD_IN" in told
    assert "clocks held down by temperature (gpu-throttle-alert)" in told
    (measured,) = json.loads(output.read_text())["engines"]
    assert measured["power"]["watts"] == 8.0
    assert measured["millijoules"] == pytest.approx(8000 / measured["frames_per_second"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "tensorrt-10.3.0-sm87-int8.graph.json",
        "tensorrt-10.3.0-sm87-int8.profile.json",
    ]


def test_a_batch_that_the_bundle_was_not_built_for_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any, **__: Any) -> Engine:
        raise AssertionError("an engine was opened")

    monkeypatch.setattr("trtparse.engines.open_engine", never)
    bundle_with(tmp_path / "student")
    monkeypatch.setattr("trtparse.engines.open_bundle", lambda path: bundle_with(tmp_path / "student"))
    assert _bench("student", "--batch", "4") == 2
    assert "take 1 frames per call, not 4" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _bench(str(tmp_path)) == 2
    assert "is not a bundle" in capsys.readouterr().err


def test_every_precision_can_be_asked_for() -> None:
    choices = next(option.type for option in bench.params if option.name == "precisions")
    assert isinstance(choices, click.Choice)
    assert tuple(choices.choices) == PRECISIONS
