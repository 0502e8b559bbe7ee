from __future__ import annotations

import configparser
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from trtparse.serve.deepstream.export import export_deepstream
from trtparse.tests.commands.conftest import run
from trtparse.tests.predicting import LIP
from trtparse.tests.serve.conftest import write_finder, write_joints, write_student

__all__ = ["run"]

# Keys of nvinfer's [property] in gst_nvinfer_property_parser.h, which NVIDIA publishes with DeepStream.
NVINFER = {
    "gpu-id", "gie-unique-id", "process-mode", "interval", "onnx-file", "model-engine-file", "labelfile-path",
    "batch-size", "network-mode", "network-type", "num-detected-classes", "infer-dims", "network-input-order",
    "model-color-format", "net-scale-factor", "offsets", "maintain-aspect-ratio", "symmetric-padding",
    "scaling-filter", "output-blob-names", "segmentation-output-order", "segmentation-threshold",
    "operate-on-gie-id", "operate-on-class-ids", "output-tensor-meta",
}  # fmt: skip

# Keys of deepstream-app's groups, in NVIDIA's samples and in its parser of [segvisual].
APPLICATION = {
    "application": {"enable-perf-measurement", "perf-measurement-interval-sec"},
    "source0": {"enable", "type", "uri", "num-sources", "gpu-id"},
    "streammux": {"gpu-id", "live-source", "batch-size", "batched-push-timeout", "width", "height"},
    "primary-gie": {"enable", "gpu-id", "gie-unique-id", "batch-size", "config-file"},
    "segvisual": {"enable", "gpu-id", "batch-size", "width", "height"},
    "sink0": {"enable", "type", "container", "codec", "sync", "source-id", "output-file"},
    "tests": {"file-loop"},
}


@pytest.fixture
def student(small_graph: onnx.ModelProto, tmp_path: Path) -> Path:
    """A bundle of the student at 64x64."""
    return write_student(tmp_path / "student", small_graph)


def read(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return {name: dict(section) for name, section in parser.items() if name != "DEFAULT"}


def test_the_folder_holds_what_nvinfer_reads_by_its_own_keys(student: Path, tmp_path: Path) -> None:
    exported = export_deepstream(student, tmp_path / "out", None, 8)
    assert (exported.precision, exported.batch, exported.agreement) == ("fp32", 1, 1)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == [
        "README.md", "config_infer_parser.txt", "config_infer_parser_of_people.txt", "deepstream_app_config.txt",
        "labels.txt", "parser.onnx", "trtparse-export.json",
    ]  # fmt: skip
    whole = read(tmp_path / "out/config_infer_parser.txt")["property"]
    people = read(tmp_path / "out/config_infer_parser_of_people.txt")["property"]
    assert set(whole) <= NVINFER
    assert set(people) <= NVINFER
    graph = onnx.load(tmp_path / "out/parser.onnx").graph
    assert whole["output-blob-names"] == graph.output[0].name
    assert whole["infer-dims"] == "3;64;64"
    assert (whole["network-mode"], whole["network-type"], whole["model-color-format"]) == ("0", "2", "1")
    assert (whole["net-scale-factor"], whole["segmentation-threshold"]) == ("1", "0")
    assert (tmp_path / "out" / whole["labelfile-path"]).read_text().splitlines() == list(LIP.classes)
    assert int(whole["num-detected-classes"]) == len(LIP)
    assert (people["process-mode"], people["operate-on-gie-id"], people["operate-on-class-ids"]) == ("2", "1", "0")
    application = read(tmp_path / "out/deepstream_app_config.txt")
    assert {name: set(section) for name, section in application.items()} == APPLICATION
    assert (tmp_path / "out" / application["primary-gie"]["config-file"]).is_file()


@pytest.mark.parametrize(
    ("write", "name", "tensor", "more"),
    [
        (write_joints, "pose", "joints", ["config_infer_pose_of_people.txt"]),
        (write_finder, "people", "boxes", []),
    ],
)
def test_poses_and_people_are_handed_on_as_tensors(
    write: Callable[[Path], Path], name: str, tensor: str, more: list[str], tmp_path: Path
) -> None:
    exported = export_deepstream(write(tmp_path / "bundle"), tmp_path / "out", None, 8)
    assert (exported.task, exported.precision, exported.agreement) == (name, "fp32", 1)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["README.md", f"config_infer_{name}.txt", *more, f"{name}.onnx", "trtparse-export.json"]
    for file in (f"config_infer_{name}.txt", *more):
        told = read(tmp_path / "out" / file)["property"]
        assert set(told) <= NVINFER
        assert (told["network-type"], told["output-tensor-meta"], told["output-blob-names"]) == ("100", "1", tensor)
        assert (told["onnx-file"], told["maintain-aspect-ratio"], told["symmetric-padding"]) == (
            f"{name}.onnx",
            "1",
            "1",
        )
        assert told["process-mode"] == ("2" if "of_people" in file else "1")
    graph = onnx.load(tmp_path / "out" / f"{name}.onnx").graph
    assert [value.name for value in graph.input] == ["images"]
    assert [value.name for value in graph.output] == [tensor]
    text = (tmp_path / "out/README.md").read_text()
    assert "NvDsInferTensorMeta" in text
    assert f"`{tensor}` (N," in text
    assert "deepstream-app" not in text


def test_the_readme_says_what_was_not_run(student: Path, tmp_path: Path) -> None:
    export_deepstream(student, tmp_path / "out", "fp32", 8)
    text = (tmp_path / "out/README.md").read_text()
    assert "DeepStream itself, on any machine" in text
    assert "100.000 % of the pixels" in text
    assert "up to 1.5" in text


def test_the_command_tells_the_agreement_and_refuses_what_it_must(
    run: Callable[..., tuple[int, str, str]], student: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, out, _ = run("export", "deepstream", student, "--output", output)
    assert (code, out.splitlines()[0]) == (0, f"fp32, 100.000 % of the pixels as in {student}")
    assert run("export", "deepstream", student, "--output", output, "--precision", "int8")[0] == 2
    (output / "mine.txt").write_text("precious")
    code, _, err = run("export", "deepstream", student, "--output", output)
    assert code == 2
    assert "mine.txt is not trtparse's; nothing was written." in err
    assert (output / "mine.txt").read_text() == "precious"
