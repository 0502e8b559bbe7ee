"""What a repository holds, as Triton's own protobuf reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="tritonclient, or grpcio that its protobuf comes through, is missing")

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trtparse.engines import open_bundle
from trtparse.engines.bundle import add_files
from trtparse.errors import UsageError
from trtparse.serve.model import NamedBundle
from trtparse.serve.triton.parser import ParserSpec
from trtparse.serve.triton.readme import readme
from trtparse.serve.triton.repository import export_repository
from trtparse.tests.engines.recording import fake_engine
from trtparse.tests.engines.tiny_graphs import finder_graph
from trtparse.tests.predicting import label_maps
from trtparse.tests.serve.conftest import SIZE, hands, labels_of, write_bundle, write_finder, write_joints

__all__ = ["hands"]

FILES = [
    "Dockerfile",
    "README.md",
    "hands/1/model.onnx",
    "hands/config.pbtxt",
    "hands/labels.txt",
    "hands_answer/1/model.py",
    "hands_answer/config.pbtxt",
    "hands_frame/1/model.py",
    "hands_frame/config.pbtxt",
    "hands_photograph/1/.keep",
    "hands_photograph/config.pbtxt",
    "trtparse-export.json",
]


def exported(bundle: Path, output: Path, image: str | None = None, detector: bytes | None = None, **spec: Any) -> Any:
    (one,) = export_repository([NamedBundle("hands", bundle)], output, ParserSpec(**spec), image, detector)
    return one


def config(repository: Path, model: str) -> Any:
    text = (repository / model / "config.pbtxt").read_text("utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def with_engines(bundle: Path, *fields: dict[str, Any]) -> Path:
    """A bundle with engines that nothing could run."""
    opened = open_bundle(bundle)
    graph = {"graph": "student.fp32.onnx", "graph_sha256": opened.manifest.files["student.fp32.onnx"]}
    meant = {"spec": opened.manifest.spec, "framing": opened.manifest.framing}
    contents = {}
    for number, changes in enumerate(fields):
        told = {"engine": f"engines/{number}.engine", "batch": (1, 4, 8), **graph, **meant, **changes}
        batch = told.pop("batch")
        content, manifest = fake_engine(batch, outputs=label_maps(SIZE), input_size=SIZE, **told)
        contents |= {told["engine"]: content, f"engines/{number}.json": manifest.to_json().encode()}
    return add_files(opened, contents).path


def test_without_tensorrt_engines_it_is_onnx_runtime_s(hands: Path, tmp_path: Path) -> None:
    one = exported(hands, tmp_path / "repository", most_frames=6, delay=100, most_waiting=9, instances=2, threads=3)
    assert files(tmp_path / "repository") == FILES
    assert (one.name, one.photograph.name, one.people) == ("hands", "hands_photograph", None)
    told = config(tmp_path / "repository", "hands")
    assert (told.name, told.backend, told.max_batch_size) == ("hands", "onnxruntime", 6)
    assert [(t.name, list(t.dims), t.data_type) for t in told.input] == [("frames", [*SIZE, 3], 2)]
    assert [(t.name, list(t.dims), t.label_filename) for t in told.output] == [("labels", list(SIZE), "labels.txt")]
    batching = told.dynamic_batching
    assert (batching.max_queue_delay_microseconds, batching.default_queue_policy.max_queue_size) == (100, 9)
    assert [(group.count, group.kind) for group in told.instance_group] == [
        (2, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    ]
    assert [(warm.batch_size, warm.inputs["frames"].zero_data) for warm in told.model_warmup] == [(1, True), (6, True)]
    assert told.parameters["intra_op_thread_count"].string_value == "3"
    labels = (tmp_path / "repository/hands/labels.txt").read_text().splitlines()
    assert labels == ["Nothing", "Head", "Left hand", "Right hand"]


def test_the_ensemble_s_tensors_fit_from_a_photograph_to_a_label_map(hands: Path, tmp_path: Path) -> None:
    exported(hands, tmp_path / "repository")
    ensemble = config(tmp_path / "repository", "hands_photograph")
    assert (ensemble.platform, len(ensemble.instance_group)) == ("ensemble", 0)
    known = {tensor.name: list(tensor.dims) for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = config(tmp_path / "repository", step.model_name)
        front = [1] if model.max_batch_size else []
        for tensor in model.input:
            assert known[step.input_map[tensor.name]] == [*front, *tensor.dims], (step.model_name, tensor.name)
        known |= {step.output_map[tensor.name]: [*front, *tensor.dims] for tensor in model.output}
    assert known[ensemble.output[0].name] == list(ensemble.output[0].dims) == [-1, -1]


def test_where_logits_go_back_onto_the_image_the_ensemble_passes_them_on(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", returns="logits")
    for backend, name, outputs in (("onnxruntime", "logits", ["labels", "logits"]), ("python", "logits", ["logits"])):
        exported(bundle, tmp_path / backend, backend=backend)
        assert [tensor.name for tensor in config(tmp_path / backend, "hands").output] == outputs
        steps = config(tmp_path / backend, "hands_photograph").ensemble_scheduling.step
        assert dict(steps[1].output_map) == {name: "answer"}
        assert list(config(tmp_path / backend, "hands_answer").input[0].dims) == [1, 4, *SIZE]


@pytest.mark.parametrize(("backend", "outputs"), [("onnxruntime", ["joints", "maps"]), ("python", ["joints"])])
def test_of_a_pose_network_with_heatmaps_the_joints_go_on(tmp_path: Path, backend: str, outputs: list[str]) -> None:
    exported(write_joints(tmp_path / "bundle", raw=True), tmp_path / "repository", backend=backend)
    assert [tensor.name for tensor in config(tmp_path / "repository", "hands").output] == outputs
    steps = config(tmp_path / "repository", "hands_photograph").ensemble_scheduling.step
    assert dict(steps[1].output_map) == {"joints": "answer"}


def test_a_pose_network_s_ensemble_gives_joints_in_the_photograph_s_pixels(tmp_path: Path) -> None:
    one = exported(write_joints(tmp_path / "bundle"), tmp_path / "repository")
    assert (one.photograph.name, one.task) == ("hands_photograph", "pose")
    told = config(tmp_path / "repository", "hands")
    assert [(t.name, list(t.dims), t.label_filename) for t in told.output] == [("joints", [5, 3], "")]
    ensemble = config(tmp_path / "repository", "hands_photograph")
    assert [(t.name, list(t.dims)) for t in ensemble.output] == [("keypoints", [5, 3])]
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == [
        "hands_frame",
        "hands",
        "hands_answer",
    ]
    assert "`keypoints` (5, 3) FP32" in (tmp_path / "repository/README.md").read_text()


def test_a_finder_s_ensemble_gives_everybody_s_box(tmp_path: Path) -> None:
    one = exported(write_finder(tmp_path / "bundle"), tmp_path / "repository")
    assert (one.photograph.name, one.task) == ("hands_photograph", "people")
    ensemble = config(tmp_path / "repository", "hands_photograph")
    assert [(t.name, list(t.dims)) for t in ensemble.output] == [("people", [-1, 5])]


def test_with_a_detector_there_is_a_model_that_finds_people_and_looks_at_each(hands: Path, tmp_path: Path) -> None:
    detector = finder_graph().SerializeToString()
    joints = write_joints(tmp_path / "joints")
    for bundle, gives in ((hands, ("label_map", [-1, -1])), (joints, ("keypoints", [-1, 5, 3]))):
        repository = tmp_path / f"repository {gives[0]}"
        one = exported(bundle, repository, detector=detector)
        assert one.people.name == "hands_people"
        told = config(repository, "hands_people")
        assert (told.backend, told.max_batch_size) == ("python", 0)
        assert [(t.name, list(t.dims)) for t in told.output] == [gives, ("people", [-1, 5])]
        assert told.parameters["network"].string_value == "hands"
        assert (repository / "hands_people/1/detector.onnx").read_bytes() == detector
        text = (repository / "README.md").read_text()
        assert "| `hands_people` | `photograph` (bytes) UINT8: a JPEG's or PNG's file; people are found in it |" in text


def test_a_detector_for_finders_alone_has_nothing_to_do(tmp_path: Path) -> None:
    finder = write_finder(tmp_path / "finder")
    with pytest.raises(UsageError, match="nothing here looks at people") as caught:
        exported(finder, tmp_path / "repository", detector=b"graph")
    assert "--detector" in caught.value.hint
    named = [NamedBundle("finder", finder), NamedBundle("hands", write_bundle(tmp_path / "hands"))]
    both = export_repository(named, tmp_path / "repository", ParserSpec(), None, b"graph")
    assert [one.people and one.people.name for one in both] == [None, "hands_people"]


@pytest.mark.parametrize("batch", [None, 3])
def test_openvino_s_form_is_what_its_backend_asks_of_a_model(tmp_path: Path, batch: int | None) -> None:
    """The checks of openvino_backend's ``ValidateInputs`` and ``ValidateOutputs``, and its answers."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    bundle = write_bundle(tmp_path / "bundle", batch=batch)
    one = exported(bundle, tmp_path / "repository", backend="openvino", threads=3, instances=2)
    told = config(tmp_path / "repository", "hands")
    frames = batch or 1
    assert (told.backend, told.max_batch_size, one.parser.batch) == ("openvino", 0, (frames, frames))
    assert told.parameters["INFERENCE_NUM_THREADS"].string_value == "6"
    assert told.parameters["NUM_STREAMS"].string_value == "2"
    assert files(tmp_path / "repository/hands/1") == ["model.bin", "model.xml"]
    core = openvino.Core()
    model = core.read_model(tmp_path / "repository/hands/1/model.xml")
    for tensors, said in ((model.inputs, told.input), (model.outputs, told.output)):
        assert [t.get_any_name() for t in tensors] == [t.name for t in said]
        assert [list(t.get_shape()) for t in tensors] == [list(t.dims) for t in said]
    looked_at = np.random.default_rng(0).integers(0, 256, (frames, *SIZE, 3), np.uint8)
    answers = core.compile_model(model, "CPU")({0: looked_at})
    assert np.array_equal(answers[0], labels_of(looked_at))
    assert "OpenVINO's backend computes" in (tmp_path / "repository/README.md").read_text()


def test_a_fixed_batch_is_a_dimension_and_makes_an_ensemble_where_it_is_one(tmp_path: Path) -> None:
    for batch, ensemble in ((1, "hands_photograph"), (4, "")):
        bundle = write_bundle(tmp_path / f"bundle{batch}", batch=batch)
        one = exported(bundle, tmp_path / f"{batch}")
        assert (one.photograph.name if one.photograph else "") == ensemble
        told = config(tmp_path / f"{batch}", "hands")
        assert (told.max_batch_size, list(told.input[0].dims)) == (0, [batch, *SIZE, 3])
        assert not told.HasField("dynamic_batching")
        assert list(told.model_warmup[0].inputs["frames"].dims) == [batch, *SIZE, 3]


def test_whoever_starts_int8_without_vnni_is_told_what_to_take(hands: Path, tmp_path: Path) -> None:
    for backend, precision, told in (
        ("onnxruntime", "int8", True),
        ("onnxruntime", "fp32", False),
        ("python", "int8", False),
    ):
        one = exported(hands, tmp_path / "repository", backend=backend)
        text = readme([replace(one, parser=replace(one.parser, precision=precision))], "", None)
        assert ("`--backend python`" in text) == ("without VNNI" in text) == told, (backend, precision)


def test_engines_are_chosen_by_compute_capability(hands: Path, tmp_path: Path) -> None:
    bundle = with_engines(hands, {"compute_capability": "8.6"}, {"compute_capability": "8.7"})
    one = exported(bundle, tmp_path / "repository", "24.08-py3")
    told = config(tmp_path / "repository", "hands")
    assert (told.backend, told.max_batch_size) == ("tensorrt", 8)
    assert list(told.dynamic_batching.preferred_batch_size) == [4, 8]
    assert dict(told.cc_model_filenames) == {"8.6": "cc8.6.engine", "8.7": "cc8.7.engine"}
    for number, capability in enumerate(("8.6", "8.7")):
        there = tmp_path / f"repository/hands/1/cc{capability}.engine"
        assert there.read_bytes() == (bundle / f"engines/{number}.engine").read_bytes()
    assert told.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert told.optimization.cuda.graphs
    assert (one.parser.tensorrt, one.parser.compute_capabilities) == ("10.3.0", ("8.6", "8.7"))
    text = (tmp_path / "repository/README.md").read_text()
    assert "TensorRT 10.3.0" in text
    assert "`24.08-py3`" in text
    assert "--gpus all" in text
    assert (tmp_path / "repository/Dockerfile").read_text().startswith("ARG TAG=24.08-py3\n")


def test_of_the_engines_those_of_the_lowest_precision_are_taken_or_the_one_asked_for(
    hands: Path, tmp_path: Path
) -> None:
    bundle = with_engines(hands, {"precision": "int8"}, {"precision": "fp16"}, {"target": "tensorrt-rtx"})
    assert exported(bundle, tmp_path / "a", "x").parser.precision == "int8"
    assert exported(bundle, tmp_path / "b", "x", precision="fp16").parser.precision == "fp16"


@pytest.mark.parametrize(
    ("engines", "spec", "image", "told", "hint"),
    [
        (({},), {}, None, "the one Triton image that has TensorRT 10.3.0", "--image 24.08-py3: https://"),
        (({}, {}), {}, "x", "both for compute capability 8.7", "holds one of them"),
        (({}, {"compute_capability": "8.6", "tensorrt": "10.4.0"}), {}, "x", "one model cannot hold both", "alike"),
        (({}, {"compute_capability": "8.6", "batch": (1, 1, 4)}), {}, "x", "one model cannot hold both", "alike"),
        (({"batch": (2, 4, 8)},), {}, "x", "takes 2 to 8 frames, and Triton also brings one", "1 and more"),
        (({"graph_sha256": "0" * 64},), {}, "x", "was built from another student.fp32.onnx", "trtparse build"),
        (({"target": "tensorrt-rtx"},), {"backend": "tensorrt"}, "x", "has no TensorRT engine", "--target tensorrt"),
        ((), {"precision": "int8"}, None, "has no INT8 graph", "--int8"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_written(
    hands: Path, tmp_path: Path, engines: tuple[Any, ...], spec: Any, image: str | None, told: str, hint: str
) -> None:
    bundle = with_engines(hands, *engines)
    with pytest.raises(UsageError, match=told) as caught:
        exported(bundle, tmp_path / "repository", image, **spec)
    assert hint in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands"]


def test_names_of_models_that_meet_are_refused(hands: Path, tmp_path: Path) -> None:
    named = [NamedBundle("hands", hands), NamedBundle("hands_frame", hands)]
    with pytest.raises(UsageError, match="would be called hands_frame"):
        export_repository(named, tmp_path / "repository", ParserSpec(), None)


# The folder.


def test_the_same_export_again_writes_the_same_bytes(hands: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    exported(hands, output)
    before = {name: (output / name).read_bytes() for name in files(output)}
    exported(hands, output)
    assert {name: (output / name).read_bytes() for name in files(output)} == before


def somebody_s(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.pbtxt").write_text("precious")


def one_of_another_kind(folder: Path) -> None:
    folder.mkdir()
    (folder / "trtparse-export.json").write_text('{"kind": "DeepStream", "files": {}}')


def added(folder: Path) -> None:
    (folder / "mine/1").mkdir(parents=True)
    (folder / "mine/config.pbtxt").write_text("precious")


def edited(folder: Path) -> None:
    (folder / "hands/config.pbtxt").write_text("precious")


@pytest.mark.parametrize(
    ("spoil", "ours", "told"),
    [
        (somebody_s, False, "exists and is no model repository for Triton of trtparse"),
        (one_of_another_kind, False, "exists and is no model repository for Triton of trtparse"),
        (added, True, "mine/config.pbtxt is not trtparse's"),
        (edited, True, "hands/config.pbtxt was changed since trtparse wrote it"),
    ],
)
def test_a_folder_that_is_somebody_else_s_is_refused_and_stays(
    hands: Path, tmp_path: Path, spoil: Callable[[Path], None], ours: bool, told: str
) -> None:
    output = tmp_path / "repository"
    if ours:
        exported(hands, output)
    spoil(output)
    before = {name: (output / name).read_bytes() for name in files(output)}
    with pytest.raises(UsageError, match=told) as caught:
        exported(hands, output)
    assert "--output" in caught.value.hint
    assert {name: (output / name).read_bytes() for name in files(output)} == before
