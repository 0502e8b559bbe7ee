"""From a bundle to engines in it: what is written down, and what never gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtparse.engines import Bundle, open_bundle
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.engines.machine.facts import Memory
from trtparse.engines.machine.gpu import Driver, Gpu
from trtparse.engines.machine.probe import Answer, Probe
from trtparse.engines.manifest import engine_manifests
from trtparse.engines.tensorrt import engine as tensorrt
from trtparse.errors import BuildError, MachineError, UsageError
from trtparse.tests.predicting import label_maps
from trtparse.tests.trt_builder.recorded_gpu import ORIN
from trtparse.trt_builder import compile as compiling
from trtparse.trt_builder import timing_cache
from trtparse.trt_builder.compile import HowToBuild, build_engines, choose_target, workspace_mb
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.parity import save_parity
from trtparse.trt_builder.source import bundle_of_onnx
from trtparse.trt_builder.tensorrt_api import TensorRT

NO_GPU = replace(ORIN, gpus=(), driver=None, jetson=None)


@pytest.fixture
def bundle(tmp_path: Path, small: SimpleNamespace) -> Callable[..., Bundle]:
    """A small bundle; with PyTorch's answers, all background, and with an FP16 graph, where they are asked for."""
    import onnx

    from trtparse.engines.bundle import add_files, finish

    def make(answers: bool = False, typed_beside: bool = False, **options: Any) -> Bundle:
        model = small.model(**options)
        onnx.helper.set_model_props(model, {"preprocessing": '{"stretch": 1.25}'})
        onnx.save(model, tmp_path / "small.onnx")
        made = bundle_of_onnx(tmp_path / "small.onnx", tmp_path / "built" / "student")
        if answers:
            frames = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), np.uint8)
            save_parity(made.path, frames, {"labels": np.zeros((4, 16, 24), np.uint8)})
            finish(made.path, made.manifest)
        if typed_beside:
            add_files(open_bundle(made.path), {"student.fp16.onnx": small.model(half=True).SerializeToString()})
        return open_bundle(made.path)

    return make


@pytest.fixture
def jetson(declared: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT 10.3 of a Jetson, built with in this process."""
    library = declared("tensorrt-10.3.0")
    library.inspector = inspector("Int8")
    adapter = TensorRT(library, "tensorrt")
    monkeypatch.setattr(TensorRT, "load", classmethod(lambda cls, target: adapter))

    def build(graph: Path, spec: EngineSpec, capability: Any = None, timing_cache: Any = None, **options: Any) -> Any:
        import onnx

        log, verbose = options["left"] / "log", "verbose " if options["verbose"] else ""
        log.write_text(f"[W] {verbose}{graph.name}\n")
        options["told"](log.read_text().strip())
        return adapter.build(onnx.load(graph), spec, capability, timing_cache, inspect=options["inspect"])

    monkeypatch.setattr(compiling, "build_in_process", build)
    return library


def inspector(read: str) -> str:
    types = {"first": read, "second": read, "head": "Half"}
    layers = [
        {"Name": name, "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": told}]}
        for name, told in types.items()
    ]
    return json.dumps({"Layers": [*layers, {"Name": "copy", "LayerType": "Reformat"}]})


class Constant(Engine):
    """Labels every pixel alike."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.name, self.target, self.precision, self.input_size, self.batch = "a", "tensorrt", "int8", (16, 24), 1
        self.outputs, self._label = label_maps((16, 24)), label

    def _run(self, frames: Frames) -> Arrays:
        return (np.full(frames.shape[:3], self._label, np.uint8),)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_engine_joins_its_bundle_with_all_that_is_known_of_it(bundle: Callable[..., Bundle], jetson: Any) -> None:
    spec = EngineSpec("int8", sparsity=True)
    stages: list[str] = []
    made, (facts,) = build_engines(bundle(half=True, quantised=True), spec, stages.append, machine=ORIN)
    assert stages == ["Compiling int8 for compute capability 8.7 with TensorRT 10.3.0"]
    assert facts.engine == "engines/tensorrt-10.3-sm87-int8.engine"
    reopened = open_bundle(made.path)
    (manifest,) = engine_manifests(reopened)
    assert (reopened.path / manifest.engine).read_bytes() == b"engine"
    assert (manifest.tensorrt, manifest.compute_capability, manifest.gpu) == ("10.3.0", "8.7", "Orin")
    assert (manifest.multiprocessors, manifest.board) == (8, "Jetson Orin Nano")
    assert (manifest.cuda, manifest.driver) == ("12.6", "540.4.0")
    assert (manifest.l4t, manifest.jetpack, manifest.power_mode) == ("36.4.3", "6.2", "MAXN_SUPER")
    assert manifest.graph_sha256 == reopened.manifest.files[manifest.graph]
    assert manifest.batch == (1, 1, 1)
    assert (manifest.outputs, manifest.raw) == (label_maps((16, 24)), None)
    assert reopened.manifest.stretch == 1.25
    assert manifest.rebuild == ("--int8", "--target", "tensorrt", "--sparsity")
    assert manifest.settings["workspace_mb"] == 1536
    assert manifest.settings["trtexec"].startswith(f"trtexec --onnx={reopened.path / manifest.graph} --saveEngine=")
    assert "--memPoolSize=workspace:1536M" in manifest.settings["trtexec"]
    assert manifest.inspection["judged_by"] == "engine"
    assert manifest.inspection["reformat_layers"] == 1
    assert manifest.inspection["convolutions"] == {"fp16": 1, "int8": 2}
    assert manifest.parity == {}
    assert timing_cache.read(made.path.parent / "timing" / "tensorrt-10.3.0-sm87.cache") == b"measured"


def failed(bundle: Bundle) -> dict[str, bytes]:
    """What refused engines left, which no manifest lists."""
    return contents(bundle.path / "engines" / "failed")


STEM = "tensorrt-10.3-sm87-int8"


@pytest.mark.parametrize("read", ["Float", "Half"])
def test_int8_that_came_out_higher_never_gets_in_and_what_is_left_of_it_is_kept(
    read: str, bundle: Callable[..., Bundle], jetson: Any
) -> None:
    made = bundle(half=True, quantised=True)
    before, jetson.inspector = contents(made.path), inspector(read)
    with pytest.raises(BuildError, match="Asked for int8") as caught:
        build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(ladder=False))
    left = failed(made)
    assert left == {
        f"{STEM}.engine": b"engine",
        f"{STEM}.inspector.json": jetson.inspector.encode(),
        f"{STEM}.log": b"[W] student.int8.onnx\n",
    }
    assert f"(engine, layers, log) is in {made.path / 'engines' / 'failed'}." in caught.value.message
    assert "--accept-unverified" in caught.value.hint
    assert contents(made.path) == {**before, **{f"engines/failed/{name}": content for name, content in left.items()}}
    assert open_bundle(made.path).digest == made.digest
    assert engine_manifests(open_bundle(made.path)) == []


def test_a_build_replaces_what_the_one_before_it_left(bundle: Callable[..., Bundle], jetson: Any) -> None:
    made = bundle(half=True, quantised=True)
    jetson.inspector = inspector("Half")
    with pytest.raises(BuildError):
        build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert f"{STEM}-float-pools.engine" in failed(made)
    # The next one comes to no engine at all: none of the old one must pass for its own.
    jetson.engine = None
    with pytest.raises(BuildError, match=r"built no engine.*\(log\) is in"):
        build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(ladder=False))
    assert f"{STEM}.log" in failed(made)
    assert f"{STEM}.engine" not in failed(made)
    with pytest.raises(BuildError):
        build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert {name.partition(".log")[2] for name in failed(made)} == {""}
    jetson.engine, jetson.inspector = b"engine", inspector("Int8")
    made, _ = build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert not (made.path / "engines" / "failed").exists()


def test_a_folder_that_cannot_be_written_does_not_hide_why_an_engine_was_refused(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(half=True, quantised=True)
    jetson.inspector = inspector("Half")

    real = Path.mkdir

    def refuse(self: Path, *arguments: Any, **options: Any) -> None:
        if self.name == "failed":
            raise PermissionError(13, "Permission denied", str(self))
        real(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BuildError, match=r"Asked for int8.*could not be kept in .*: .*Permission denied"):
        build_engines(made, EngineSpec("int8"), machine=ORIN)


def test_a_file_in_the_place_of_the_folder_hides_nothing_either(bundle: Callable[..., Bundle], jetson: Any) -> None:
    made = bundle(half=True, quantised=True)
    jetson.inspector = inspector("Half")
    (made.path / "engines").mkdir()
    (made.path / "engines" / "failed").write_text("mine")
    with pytest.raises(BuildError, match=r"Asked for int8.*could not be kept in"):
        build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert (made.path / "engines" / "failed").read_text() == "mine"


def test_an_engine_that_fails_its_checks_is_taken_where_that_is_asked_for_and_says_so(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(answers=True, half=True, quantised=True)
    jetson.inspector = inspector("Half")
    monkeypatch.setattr(tensorrt, "open_tensorrt", lambda *_: Constant(7))
    made, (facts,) = build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(accept_unverified=True))
    (manifest,) = engine_manifests(open_bundle(made.path))
    assert [reason.partition(",")[0].partition(" on ")[0] for reason in manifest.unverified] == [
        "Asked for int8",
        "The int8 graph agrees with the FP32 graph",
    ]
    assert manifest.parity["pixel_agreement"] == 0
    assert facts.unverified == manifest.unverified
    # Another machine's build is not let pass for this one's sake.
    assert "--accept-unverified" not in manifest.rebuild


def test_a_verified_engine_is_not_called_unverified(bundle: Callable[..., Bundle], jetson: Any) -> None:
    made = bundle(half=True, quantised=True)
    _, (facts,) = build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(accept_unverified=True))
    assert facts.unverified == ()


def test_what_could_not_be_judged_is_noted(bundle: Callable[..., Bundle], jetson: Any) -> None:
    jetson.inspector = json.dumps({"Layers": [{"Name": "{ForeignNode[first...head]}", "LayerType": "Myelin"}]})
    _, (facts,) = build_engines(bundle(half=True, quantised=True), EngineSpec("int8"), machine=ORIN)
    assert facts.settings["notes"] == [
        "3 of 3 convolutions could not be judged: the engine does not tell their precision."
    ]


def test_all_that_tensorrt_says_goes_into_a_file_where_that_is_asked_for(
    bundle: Callable[..., Bundle], jetson: Any, tmp_path: Path
) -> None:
    log, told = tmp_path / "build.log", list[str]()
    log.write_text("of an earlier build")
    made = bundle(half=True, quantised=True)
    how = HowToBuild(log=log, verbose=True, told=told.append)
    made, _ = build_engines(made, EngineSpec("int8"), machine=ORIN, how=how)
    assert log.read_text() == "[W] verbose student.int8.onnx\n"
    assert told == ["[W] verbose student.int8.onnx"]
    jetson.inspector = inspector("Half")
    with pytest.raises(BuildError):
        build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(log=log, ladder=False))
    assert log.read_text() == "[W] student.int8.onnx\n"


def test_a_bundle_that_cannot_be_written_to_is_refused_before_any_work(
    bundle: Callable[..., Bundle], jetson: Any
) -> None:
    made = bundle(half=True, quantised=True)
    (made.path / "engines").write_text("mine")
    with pytest.raises(UsageError, match="is not a folder"):
        build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert not jetson.calls
    assert (made.path / "engines").read_text() == "mine"


def test_a_log_that_cannot_be_written_is_refused_before_any_work(
    bundle: Callable[..., Bundle], jetson: Any, tmp_path: Path
) -> None:
    how = HowToBuild(log=tmp_path / "missing" / "build.log")
    with pytest.raises(UsageError, match="does not exist"):
        build_engines(bundle(half=True, quantised=True), EngineSpec("int8"), machine=ORIN, how=how)
    assert not jetson.calls


@pytest.mark.parametrize(("label", "fits"), [(0, True), (7, False)])
def test_an_engine_is_held_to_pytorch_s_answers_before_it_gets_in(
    label: int, fits: bool, bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(answers=True, half=True, quantised=True)

    def opened(staged: Bundle, manifest: Any) -> Engine:
        assert (staged.path / manifest.engine).read_bytes() == b"engine"
        assert staged.path != made.path
        return Constant(label)

    monkeypatch.setattr(tensorrt, "open_tensorrt", opened)
    if fits:
        _, (facts,) = build_engines(made, EngineSpec("int8"), machine=ORIN)
        assert facts.parity == {"pixel_agreement": 1.0, "worst_image": 1.0, "images": 4}
    else:
        with pytest.raises(BuildError, match=r"agrees with the FP32 graph on 0\.00 %.*What is left of it"):
            build_engines(made, EngineSpec("int8"), machine=ORIN)
        assert engine_manifests(open_bundle(made.path)) == []
        assert failed(made)[f"{STEM}.engine"] == b"engine"


def test_the_cache_of_one_build_reaches_the_next(bundle: Callable[..., Bundle], jetson: Any, tmp_path: Path) -> None:
    made = bundle(half=True, quantised=True)
    path = tmp_path / "elsewhere" / "a.cache"
    for _ in range(2):
        made, _ = build_engines(made, EngineSpec("int8", timing_cache=path), machine=ORIN)
    assert jetson.did("IBuilderConfig", "create_timing_cache") == [(b"",), (b"measured",)]
    assert not (made.path.parent / "timing").exists()


def test_without_a_gpu_tensorrt_is_not_even_started(bundle: Callable[..., Bundle], jetson: Any) -> None:
    with pytest.raises(MachineError, match="CUDA finds none here") as caught:
        build_engines(bundle(half=True), EngineSpec("fp16"), machine=NO_GPU)
    assert "tensorrt-rtx" in caught.value.hint
    assert not jetson.calls


def test_an_engine_cannot_be_built_from_a_graph_that_the_bundle_lacks(bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(UsageError, match="no INT8 graph"):
        build_engines(bundle(half=True), EngineSpec("int8", "tensorrt-rtx"), machine=NO_GPU)


def test_a_profile_reaches_the_manifest(bundle: Callable[..., Bundle], jetson: Any) -> None:
    jetson.inspector = inspector("Half")
    made = bundle(half=True, batch=None)
    _, (plain,) = build_engines(made, EngineSpec("fp16"), machine=ORIN)
    _, (asked,) = build_engines(made, EngineSpec("fp16", batch=(2, 4, 16)), machine=ORIN)
    assert (plain.batch, asked.batch) == ((1, 1, 8), (2, 4, 16))


def test_a_profile_for_fixed_graphs_is_refused_before_any_work(bundle: Callable[..., Bundle], jetson: Any) -> None:
    with pytest.raises(UsageError, match="takes 1 frames per call"):
        build_engines(bundle(half=True), EngineSpec("fp16", batch=(1, 2, 4)), machine=ORIN)
    assert not jetson.calls


def test_an_accelerator_s_engine_has_a_name_of_its_own(bundle: Callable[..., Bundle], jetson: Any) -> None:
    jetson.dla_cores = 2
    _, (facts,) = build_engines(
        bundle(half=True, quantised=True), EngineSpec("int8", dla_core=1, gpu_fallback=True), machine=ORIN
    )
    assert facts.engine == "engines/tensorrt-10.3-sm87-int8-dla1.engine"
    assert facts.settings["dla_core"] == 1
    assert facts.settings["notes"][0].startswith("Experimental")
    assert "tensors have an INT8 range" in facts.settings["notes"][1]


def test_the_workspace_is_half_of_what_is_free() -> None:
    assert workspace_mb(ORIN) == 1536
    assert workspace_mb(replace(ORIN, memory=None)) is None
    assert workspace_mb(replace(ORIN, memory=Memory(64 << 30, 60 << 30, 0))) == 4096
    discrete = replace(ORIN, gpus=(Gpu("RTX 3060", "8.6", 12 << 30, False),))
    assert workspace_mb(discrete, Probe(run=lambda _: Answer(0, "5000\n", ""))) == 2500
    # Of the GPU that is used, which need not be nvidia-smi's first.
    commands: list[Any] = []
    third = replace(discrete, gpus=(replace(discrete.gpus[0], bus="0000:65:00.0"),))
    assert workspace_mb(third, Probe(run=lambda command: commands.append(command) or Answer(0, "700\n", ""))) == 350
    assert commands[0][1] == "--id=0000:65:00.0"
    # An nvidia-smi that does not tell: half of all.
    assert workspace_mb(discrete, Probe(run=lambda _: Answer(0, "[N/A]\n", ""))) == 4096


def test_auto_takes_tensorrt_where_it_can_build(
    monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], Any]
) -> None:
    def load(cls: type, target: str) -> TensorRT:
        return TensorRT(declared("tensorrt-10.3.0"), target)

    def missing(cls: type, target: str) -> TensorRT:
        raise MachineError("TensorRT is not installed.", "")

    monkeypatch.setattr(TensorRT, "load", classmethod(load))
    assert choose_target(ORIN) == "tensorrt"
    assert choose_target(NO_GPU) == "cpu"
    assert choose_target(replace(ORIN, driver=Driver("540.4.0", None, "CUDA_ERROR_NO_DEVICE"))) == "cpu"
    monkeypatch.setattr(TensorRT, "load", classmethod(missing))
    assert choose_target(ORIN) == "cpu"


# The ladder


def refused(jetson: Any, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> list[Any]:
    """Let the builder refuse with each reason in turn, and build from None on; gives the graphs that it saw."""
    seen: list[Any] = []
    left = list(answers)
    real = jetson.Builder

    def builder(logger: Any) -> Any:
        made = real(logger)

        def build(*_: Any) -> bytes | None:
            seen.append(jetson.parsed)
            reason = left.pop(0) if left else None
            if reason is not None:
                logger.log(1, reason)
                return None
            return b"engine"

        made._own[2]["build_serialized_network"] = build
        return made

    monkeypatch.setattr(jetson, "Builder", builder, raising=False)
    return seen


NO_KERNEL = "Error Code 10: Internal Error (Could not find any implementation for node node_avg_pool2d.)"
UNTYPED = (
    "Error Code 9: [type.cpp:186: infer_type] Could not infer output types for operation: 291: dequantize: "
    "Dequantized input0-(f32[1,16,8,8]) | scale weightsHalf-0.35:(f16[])"
)


def test_where_no_engine_comes_of_int8_other_forms_are_tried_fp16_last_and_each_reason_is_told(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(half=True, quantised=True, typed_beside=True)
    seen = refused(jetson, monkeypatch, NO_KERNEL, NO_KERNEL, "out of tactics")
    jetson.inspector = inspector("Half")
    stages: list[str] = []
    made, (facts,) = build_engines(made, EngineSpec("int8"), stages.append, machine=ORIN)
    scales = [
        {
            tensor.data_type
            for node in model.graph.node
            for tensor in model.graph.initializer
            if "Linear" in node.op_type and tensor.name == node.input[1]
        }
        for model in seen
    ]
    assert scales == [{10}, {10}, {1}, set()]
    assert (facts.precision, facts.engine) == ("fp16", "engines/tensorrt-10.3-sm87-fp16.engine")
    assert facts.graph == "student.fp16.onnx"
    notes = facts.settings["notes"]
    assert notes[0] == "Built in FP16, as otherwise no INT8 engine came of it."
    assert [note.partition(":")[0] for note in notes[1:]] == [
        "INT8 as it is",
        "INT8 without INT8 at resizes and pools",
        "INT8 with scales in FP32",
    ]
    assert all(reason in note for reason, note in zip([NO_KERNEL, NO_KERNEL, "out of tactics"], notes[1:]))
    assert [stage.rpartition("Trying it ")[2] for stage in stages if "Trying it" in stage] == [
        "without INT8 at resizes and pools",
        "with scales in FP32",
        "in FP16",
    ]
    # What is left of each stays, side by side.
    assert sorted(failed(made)) == [f"{STEM}-float-pools.log", f"{STEM}-fp32-scales.log", f"{STEM}.log"]
    open_bundle(made.path)


def test_an_orin_s_trouble_with_scales_in_fp16_leads_straight_to_fp32(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = refused(jetson, monkeypatch, UNTYPED)
    made, (facts,) = build_engines(bundle(half=True, quantised=True), EngineSpec("int8"), machine=ORIN)
    assert len(seen) == 2
    assert (facts.precision, facts.graph) == ("int8", "student.int8.onnx")
    assert facts.settings["notes"][0] == "Built with scales in FP32, as otherwise no INT8 engine came of it."
    assert "trtexec" not in facts.settings, "the graph in the bundle is another one"
    assert engine_manifests(open_bundle(made.path))[0].is_of(made)


def test_an_engine_that_came_out_higher_is_built_again_in_another_form(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(half=True, quantised=True)
    told = [inspector("Half"), inspector("Int8")]
    monkeypatch.setattr(type(jetson), "inspector", property(lambda _: told.pop(0), lambda *_: None), raising=False)
    _, (facts,) = build_engines(made, EngineSpec("int8"), machine=ORIN)
    assert (facts.precision, facts.inspection["convolutions"]) == ("int8", {"fp16": 1, "int8": 2})
    assert facts.unverified == ()
    assert failed(made)[f"{STEM}.engine"] == b"engine"


def test_without_the_ladder_the_first_refusal_is_the_last(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = refused(jetson, monkeypatch, NO_KERNEL)
    made = bundle(half=True, quantised=True)
    with pytest.raises(BuildError, match="Could not find any implementation"):
        build_engines(made, EngineSpec("int8"), machine=ORIN, how=HowToBuild(ladder=False))
    assert len(seen) == 1


def test_where_nothing_helps_every_form_s_reason_is_told(
    bundle: Callable[..., Bundle], jetson: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(jetson, monkeypatch, "first", "second", "third")
    with pytest.raises(BuildError, match=r"INT8 as it is: .* first.*at resizes and pools: .* second.*FP32: .* third"):
        build_engines(bundle(half=True, quantised=True), EngineSpec("int8"), machine=ORIN)


def test_what_the_parser_refuses_is_not_tried_in_other_forms(bundle: Callable[..., Bundle], jetson: Any) -> None:
    jetson.refused = 4
    with pytest.raises(BuildError, match="parser refuses"):
        build_engines(bundle(half=True, quantised=True), EngineSpec("int8"), machine=ORIN)
    assert len(jetson.did("Builder", "create_network")) == 1
