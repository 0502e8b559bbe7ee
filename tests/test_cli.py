"""What a person types, and what comes back: the exit code, stdout, stderr and the files."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse import __version__, cli
from trtparse.cli import main
from trtparse.commands.terminal import Terminal
from trtparse.data.dataset import Dataset
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.engines.bundle import CALIBRATION_NAME, GRAPHS, WEIGHTS_NAME
from trtparse.errors import UsageError
from trtparse.specs.label_set import label_set
from trtparse.storage.interrupts import SIGNALS

LIP = label_set("lip")

COMMANDS = tuple(cli.COMMANDS)
CLI = (sys.executable, "-m", "trtparse.cli")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What is on stdout, which must be one JSON document and nothing else."""
        values = json.loads(self.out)
        assert isinstance(values, dict)
        return values


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process and in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code: Any = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(scope="session")
def pictures(people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three photographs without label maps. To be read only."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(3):
        small = cv2.resize(people[index].image, (96, 128))
        assert cv2.imwrite(str(folder / f"person-{index}.jpg"), small)
    return folder


@pytest.fixture
def pictures_and_a_broken_one(pictures: Path, tmp_path: Path) -> Path:
    """A hundred photographs, of which one ends in the middle."""
    folder = tmp_path / "hundred"
    folder.mkdir()
    whole = (pictures / "person-0.jpg").read_bytes()
    for index in range(99):
        (folder / f"whole-{index}.jpg").write_bytes(whole)
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def lip(people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in LIP's layout, as train and as val. To be read only."""
    folder = tmp_path_factory.mktemp("lip")
    for split in ("train", "val"):
        images = folder / "TrainVal_images" / f"{split}_images"
        masks = folder / "TrainVal_parsing_annotations" / f"{split}_segmentations"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(2):
            assert cv2.imwrite(str(images / f"{index}.jpg"), people[index].image)
            assert cv2.imwrite(str(masks / f"{index}.png"), people[index].labels)
        (folder / "TrainVal_images" / f"{split}_id.txt").write_text("0\n1\n")
    return folder


@pytest.fixture(scope="session")
def street(people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames at 29.97 frames per second. To be read only."""
    path = tmp_path_factory.mktemp("video") / "street.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 29.97, (96, 128))
    assert writer.isOpened()
    for index in range(6):
        writer.write(cv2.resize(people[index].image, (96, 128)))
    writer.release()
    return path


@pytest.fixture
def video(street: Path, tmp_path: Path) -> Path:
    """A copy of the video that a test may spoil."""
    return shutil.copy(street, tmp_path / street.name)


def frame_count(path: Path) -> int:
    """Decodes a video to its end, rather than trusting its header."""
    capture = cv2.VideoCapture(str(path))
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(path: Path) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


# The help.


def test_help_lists_the_commands_and_how_to_begin(run: Run) -> None:
    outcome = run("-h")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(f"\n  {command} " in outcome.out for command in COMMANDS)
    assert "trtparse build --int8" in outcome.out
    assert "..." not in outcome.out.split("Commands:")[1]
    assert run("--help") == run() == outcome


@pytest.mark.parametrize(
    "command", [*(name for name in COMMANDS if name != "export"), "export triton", "export deepstream"]
)
def test_each_command_has_help_with_json_and_debug(command: str, run: Run) -> None:
    outcome = run(*command.split(), "-h")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: trtparse {command} [OPTIONS]")
    assert "--json" in outcome.out
    assert "--debug" in outcome.out
    assert run(*command.split(), "--help") == outcome


def test_the_version_is_the_package_s(run: Run) -> None:
    assert run("--version") == Outcome(0, f"trtparse {__version__}\n", "")


def test_help_waits_for_no_heavy_import() -> None:
    script = (
        "import sys\nfrom trtparse.cli import main\n"
        f"for command in {COMMANDS}: main([command, '-h'])\n"
        "main(['-h']); main(['--version'])\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'rich', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_gpu_generations_on_offer_are_those_that_can_be_built_for() -> None:
    from trtparse.commands.tensorrt_options import COMPUTE_CAPABILITIES as on_offer
    from trtparse.trt_builder.engine_spec import COMPUTE_CAPABILITIES

    assert on_offer == COMPUTE_CAPABILITIES


# Errors. Every one is told the same way, on stderr or with --json on stdout.

Request = Callable[["Scene"], tuple[object, ...]]


@dataclass(frozen=True)
class Scene:
    """What requests are about."""

    folder: Path
    bundle: Bundle
    pictures: Path
    lip: Path
    video: Path

    def file(self, name: str, data: bytes = b"just some words\n") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def corrupt_pictures(self) -> Path:
        folder = self.made("corrupt")
        whole = (self.pictures / "person-0.jpg").read_bytes()
        (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
        (folder / "words.jpg").write_text("just some words")
        return folder

    def damaged(self, name: str) -> Path:
        # Links: a bundle is more than a hundred megabytes. The file that is spoilt becomes one of its own.
        shutil.copytree(self.bundle.path, self.folder / "damaged", copy_function=os.link)
        spoil(self.folder / "damaged" / name)
        return self.folder / "damaged"

    def checkpoint(self, name: str) -> Path:
        """Of another network."""
        import safetensors.torch
        import torch

        weights = {"backbone.weight": torch.ones(3, 3)}
        path = self.folder / name
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(weights, path)
        else:
            torch.save(weights, path)
        return path

    def pickled_code(self) -> Path:
        import pickle

        return self.file("network.pth", pickle.dumps(_Harmful(), protocol=2))

    def cut(self, path: Path) -> Path:
        data = path.read_bytes()
        return self.file(f"cut{path.suffix}", data[: len(data) // 2])


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmful",)


@pytest.fixture
def scene(tmp_path: Path, pristine_bundle: Bundle, pictures: Path, lip: Path, video: Path) -> Scene:
    return Scene(tmp_path, pristine_bundle, pictures, lip, video)


def refused(outcome: Outcome, code: int, words: str) -> None:
    """One message with ``words`` in it, one hint, and nothing else."""
    assert outcome.code == code
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    told = outcome.err[outcome.err.index("Error: ") :]
    assert words in told
    message, _, hint = told.strip().rpartition("\n")
    assert message.startswith("Error: ")
    assert hint
    assert "Error: " not in hint


def refused_as_json(outcome: Outcome, code: int, words: str) -> None:
    assert outcome.code == code
    assert outcome.err == ""
    assert set(outcome.document) == {"error", "hint", "exit_code"}
    assert words in outcome.document["error"]
    assert outcome.document["hint"]
    assert outcome.document["exit_code"] == code


TYPED_WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no such command": (("compile",), "No such command 'compile'"),
    **{f"{name}: no such option": ((name, "--colour"), "--colour") for name in COMMANDS},
    "words for a size": (("build", "--input-size", "garbage"), "not a size such as 256x192"),
    "half a size": (("build", "--input-size", "256x"), "not a size such as 256x192"),
    "a size with a sign": (("build", "--input-size", "-64x64"), "not a size such as 256x192"),
    "a small size": (("build", "--input-size", "63x64"), "between 64 and 4096"),
    "a large size": (("build", "--input-size", "64x4097"), "between 64 and 4096"),
    "a training size in words": (("train", "--data", ".", "--input-size", "big"), "not a size such as"),
    "no frames": (("build", "--batch", "0"), "a number from 1 to 256"),
    "half a frame": (("build", "--batch", "1.5"), "a number from 1 to 256"),
    "too many frames": (("build", "--batch", "257"), "a number from 1 to 256"),
    "no calibration images": (("build", "--int8", "--calibration-images", "0"), "--calibration-images"),
    "no GPU like that": (
        ("build", "--target", "tensorrt-rtx", "--compute-capability", "9.9"),
        "'9.9' is not one of '7.5'",
    ),
    "a GPU for no engine": (("build", "--compute-capability", "8.6"), "--compute-capability is for an engine"),
    "no target like that": (("validate", "--target", "tpu"), "'tpu' is not one of"),
    "no precision like that": (("demo", "--precision", "int4"), "'int4' is not one of"),
    "fewer than no threads": (("parse", "a.jpg", "--threads", "-1"), "--threads"),
    "two bundles": (("validate", "a", "b"), "unexpected extra argument"),
    "no images named": (("parse",), "Missing argument 'IMAGES...'"),
    "no training data named": (("train",), "names no images to train on"),
    "no steps": (("train", "--data", ".", "--steps", "0"), "steps is 0; it must be 1 or more"),
    "a learning rate of 2": (("train", "--data", ".", "--learning-rate", "2"), "optimizer.learning_rate is 2.0"),
    "a recipe that is not there": (("train", "none.toml"), "There is no recipe none.toml"),
    "a setting with an unknown key": (("train", "--set", "los.lovasz=1"), "unknown key los"),
    "no teacher": (("distill", "--data", "."), "no teacher to distil from"),
    "a kind of student that is none": (
        ("distill", "--teacher", "t.pth", "--student", "resnet", "--data", "."),
        "Unknown network 'resnet'",
    ),
    "a label set that is none": (("train", "--data", ".", "--labels", "lipp"), "There is no label set 'lipp'"),
    "no folder named": (("synthesize",), "Missing argument 'OUTPUT'"),
    "a set that no LIP class becomes": (("synthesize", "a", "--labels", "pascal"), "pascal.toml does not say"),
    "a split of synthetic people": (("validate", "{bundle}", "--split", "val"), "--split goes with --data"),
}


@pytest.mark.parametrize("name", TYPED_WRONG)
def test_a_slip_of_the_fingers_is_a_usage_error(name: str, run: Run, scene: Scene) -> None:
    words, told = TYPED_WRONG[name]
    arguments = [word.format(bundle=scene.bundle.path) for word in words]
    refused(run(*arguments), 2, told)
    refused_as_json(run(*arguments, "--json"), 2, told)
    assert list(Path.cwd().iterdir()) == []


INT8 = ("build", "--int8", "--data")

BAD_INPUT: dict[str, tuple[Request, str]] = {
    "build: no such file": (lambda s: ("build", "missing.pth"), "There is no file missing.pth"),
    "build --int8: no such file": (lambda s: ("build", "--int8", "missing.pth"), "There is no file missing.pth"),
    "build: text as .pth": (lambda s: ("build", s.file("a.pth")), "a.pth is a text that begins with"),
    "build: text as .safetensors": (
        lambda s: ("build", s.file("a.safetensors")),
        "a.safetensors is a text that begins",
    ),
    "build: text without extension": (lambda s: ("build", s.file("README")), "README is a text that begins with"),
    "build: empty checkpoint": (lambda s: ("build", s.file("a.pth", b"")), "a.pth is an empty file, not a checkpoint"),
    "build: half a checkpoint": (lambda s: ("build", s.cut(s.bundle.weights)), "cut.safetensors is not a readable"),
    "build: another network, .pth": (lambda s: ("build", s.checkpoint("a.pth")), "a checkpoint of another network"),
    "build: another network, .safetensors": (
        lambda s: ("build", s.checkpoint("a.safetensors")),
        "a checkpoint of another network",
    ),
    "build: code in a checkpoint": (lambda s: ("build", s.pickled_code()), "without running code from it"),
    "build --int8: own checkpoint, no images": (
        lambda s: ("build", "--int8", s.bundle.weights),
        "needs calibration images",
    ),
    "build: no such images": (lambda s: (*INT8, "missing"), "missing"),
    "build: no images in the folder": (lambda s: (*INT8, s.made("empty")), "empty"),
    "build: a folder that is no bundle": (lambda s: ("build", s.made("empty")), "is not a bundle"),
    "build: a damaged bundle": (lambda s: ("build", s.damaged(GRAPHS["fp16"])), "student.fp16.onnx is damaged"),
    "build: a bundle with a checkpoint's options": (
        lambda s: ("build", s.bundle.path, "--batch", "2", "--output", "other", "--logits"),
        "--output, --batch, --logits cannot change them",
    ),
    "build: output below a file": (
        lambda s: ("build", "--fp32", "--data", s.pictures, "--output", s.file("a.txt") / "b"),
        "could not be written: Not a directory",
    ),
    "build: output is a file": (
        lambda s: ("build", "--fp32", "--data", s.pictures, "--output", s.file("a.txt")),
        "is not a bundle; nothing was written",
    ),
    "build: output is somebody's folder": (
        lambda s: ("build", "--fp32", "--data", s.pictures, "--output", s.pictures),
        "is not a bundle; nothing was written",
    ),
    "build: output is the current folder": (
        lambda s: ("build", "--fp32", "--data", s.pictures, "--output", "."),
        "is the folder you are in",
    ),
    "build: output is the root": (
        lambda s: ("build", "--fp32", "--data", s.pictures, "--output", "/"),
        "is the folder you are in, or holds it",
    ),
    "validate: no bundle": (lambda s: ("validate",), "No bundle at build/student"),
    "validate: text as bundle": (lambda s: ("validate", s.file("a")), "is not a bundle"),
    "validate: photographs as bundle": (lambda s: ("validate", s.pictures), "is not a bundle"),
    "validate: one byte of the graph": (lambda s: ("validate", s.damaged(GRAPHS["int8"])), "int8.onnx is damaged"),
    "validate: one byte of the weights": (lambda s: ("validate", s.damaged(WEIGHTS_NAME)), "safetensors is damaged"),
    "validate: one byte of the ranges": (lambda s: ("validate", s.damaged(CALIBRATION_NAME)), "json is damaged"),
    "validate: one byte of the manifest": (lambda s: ("validate", s.damaged("bundle.json")), "bundle.json"),
    "validate: no such data": (lambda s: ("validate", s.bundle.path, "--data", "missing"), "missing"),
    "validate: only corrupt images": (
        lambda s: ("validate", s.bundle.path, "--data", s.corrupt_pictures()),
        "No usable image",
    ),
    "validate: a negative tolerance": (
        lambda s: ("validate", s.bundle.path, "--data", s.pictures, "--tolerance", "-100"),
        "-100",
    ),
    "validate: a tolerance that is no number": (
        lambda s: ("validate", s.bundle.path, "--data", s.pictures, "--tolerance", "nan"),
        "tolerance of nan",
    ),
    "validate: no images": (lambda s: ("validate", s.bundle.path, "--limit", "0"), "--limit"),
    "validate: PyTorch in INT8": (
        lambda s: ("validate", s.bundle.path, "--target", "pytorch", "--precision", "int8"),
        "runs in fp32, not int8",
    ),
    "demo: no bundle": (lambda s: ("demo", s.video), "No bundle at build/student"),
    "demo: text as bundle": (lambda s: ("demo", s.video, "--bundle", s.file("a")), "is not a bundle"),
    "demo: a damaged bundle": (
        lambda s: ("demo", s.video, "--bundle", s.damaged(GRAPHS["int8-cpu"])),
        "int8-cpu.onnx is damaged",
    ),
    "demo: no such file": (lambda s: ("demo", "a.mp4", "--bundle", s.bundle.path), "There is no file a.mp4"),
    "demo: text as video": (lambda s: ("demo", s.file("a.mp4"), "--bundle", s.bundle.path), "a.mp4 is not a video"),
    "demo: empty video": (lambda s: ("demo", s.file("a.mp4", b""), "--bundle", s.bundle.path), "a.mp4 is empty"),
    "demo: truncated video": (lambda s: ("demo", s.cut(s.video), "--bundle", s.bundle.path), "The file is cut off"),
    "demo: folder without images": (
        lambda s: ("demo", s.made("empty"), "--bundle", s.bundle.path),
        "There are no images in",
    ),
    "demo: no kind of source": (
        lambda s: ("demo", "cmera:0", "--bundle", s.bundle.path),
        "cmera: is no kind of source",
    ),
    "demo: output replaces the input": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", s.video),
        "is the video being read",
    ),
    "demo: output replaces the input by a detour": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", "../street.mp4"),
        "is the video being read",
    ),
    "demo: output in no folder": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", "no/such/a.mp4"),
        "no/such does not exist",
    ),
    "demo: output below a file": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", s.file("a.txt") / "a.mp4"),
        "a.txt is not a folder",
    ),
    "demo: output is a folder": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", s.made("a.mp4")),
        "a.mp4 is a folder",
    ),
    "demo: output is no video": (
        lambda s: ("demo", s.video, "--bundle", s.bundle.path, "--output", "a.txt"),
        "a.txt ends in .txt",
    ),
    "parse: no bundle": (lambda s: ("parse", s.pictures), "No bundle at build/student"),
    "parse: a damaged bundle": (
        lambda s: ("parse", s.pictures, "--bundle", s.damaged("bundle.json")),
        "bundle.json",
    ),
    "parse: no such file": (lambda s: ("parse", "a.jpg", "--bundle", s.bundle.path), "There is no file a.jpg"),
    "parse: text as image": (lambda s: ("parse", s.file("a.jpg"), "--bundle", s.bundle.path), "a.jpg is not an image"),
    "parse: only corrupt images": (
        lambda s: ("parse", s.corrupt_pictures(), "--bundle", s.bundle.path, "--output", s.folder / "out"),
        "None of 2 images could be read",
    ),
    "parse: no images in the folder": (
        lambda s: ("parse", s.made("empty"), "--bundle", s.bundle.path),
        "There are no images",
    ),
    "parse: output below a file": (
        lambda s: ("parse", s.pictures, "--bundle", s.bundle.path, "--output", s.file("a.txt") / "b"),
        "is not a folder",
    ),
    "parse: output over the input": (
        lambda s: ("parse", s.file("a.png"), "--bundle", s.bundle.path, "--output", s.folder),
        "would replace",
    ),
    "train: no such data": (lambda s: ("train", "--data", "missing"), "missing"),
    "train: images without labels": (lambda s: ("train", "--data", s.pictures), "No train images in"),
    "train: a checkpoint of another network": (
        lambda s: ("train", "--data", s.lip, "--output", s.folder, "--initial", s.checkpoint("a.pth")),
        "a checkpoint of another network",
    ),
    "distill: a teacher that is not there": (
        lambda s: ("distill", "--teacher", "none.pth", "--data", s.lip, "--output", s.folder),
        "none.pth",
    ),
    "distill: a student that is not there": (
        lambda s: ("distill", "--teacher", s.bundle.weights, "--student", "lsfa-r81", "--data", s.lip),
        "Unknown network 'lsfa-r81'",
    ),
    "synthesize: nothing": (lambda s: ("synthesize", "a", "--train", "0", "--val", "0"), "nothing to render"),
    "synthesize: a video that is none": (lambda s: ("synthesize", "a", "--video", "a.txt"), "a.txt ends in .txt"),
    "synthesize: a video in no folder": (lambda s: ("synthesize", "a", "--video", "b/a.mp4"), "b does not exist"),
    "synthesize: output below a file": (lambda s: ("synthesize", s.file("a.txt") / "b", "--train", "1"), "b"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_named_with_a_hint_and_leaves_nothing_behind(name: str, run: Run, scene: Scene) -> None:
    request, told = BAD_INPUT[name]
    arguments = request(scene)
    before = content(scene.folder)
    refused(run(*arguments), 2, told)
    refused_as_json(run(*arguments, "--json"), 2, told)
    assert content(scene.folder) == before


def test_debug_shows_where_an_error_comes_from(run: Run) -> None:
    with pytest.raises(UsageError, match="No bundle at"):
        run("validate", "--debug")


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_fault_of_ours_asks_for_a_report_without_a_traceback(
    as_json: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("trtparse.engines.open_bundle", fail)
    outcome = run("validate", *(("--json",) if as_json else ()))
    (refused_as_json if as_json else refused)(outcome, 1, "Unexpected ZeroDivisionError: division by zero")
    assert "--debug" in (outcome.document["hint"] if as_json else outcome.err)
    with pytest.raises(ZeroDivisionError):
        run("validate", "--debug")


# What the machine lacks: 3.


def test_without_pytorch_a_build_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = run("build")
    refused(outcome, 3, "PyTorch is not installed")
    assert "pip install 'trtparse[train]'" in outcome.err
    refused_as_json(run("build", "--json"), 3, "PyTorch is not installed")


def test_without_tensorrt_rtx_a_build_says_so_before_it_begins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    outcome = run("build", "--target", "tensorrt-rtx")
    refused(outcome, 3, "TensorRT-RTX is not installed")
    assert "pip install 'trtparse[rtx]'" in outcome.err
    assert "Exporting" not in outcome.err


def test_without_a_display_show_says_so(scene: Scene, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    refused(run("demo", scene.video, "--bundle", scene.bundle.path, "--show"), 3, "There is no display")


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to whoever writes, without one: the system refuses to let files grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_disk_that_fills_up_while_a_bundle_is_written_leaves_the_old_bundle(
    as_json: bool, run: Run, bundle: Bundle, pictures: Path, quick_export: tuple[str, ...]
) -> None:
    before = content(bundle.path.parent)
    arguments = ("build", "--fp32", "--data", pictures, "--output", bundle.path, *quick_export)
    with files_no_larger_than(16 << 10):
        outcome = run(*arguments, *(("--json",) if as_json else ()))
    (refused_as_json if as_json else refused)(outcome, 3, "No space left for")
    assert content(bundle.path.parent) == before
    open_bundle(bundle.path)


@contextlib.contextmanager
def disk_of(size: int, folder: Path) -> Iterator[None]:
    """Mount an empty disk of so many bytes."""
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this root may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_bundle(
    run: Run,
    pristine_bundle: Bundle,
    small_weights: Path,
    pictures: Path,
    tmp_path: Path,
    quick_export: tuple[str, ...],
) -> None:
    size = sum(len(data) for data in content(pristine_bundle.path).values())
    room = small_weights.stat().st_size // 2
    with disk_of(size + room, tmp_path / "disk"):
        place = tmp_path / "disk" / "student"
        shutil.copytree(pristine_bundle.path, place)
        before = content(place.parent)
        refused(run("build", "--fp32", "--data", pictures, "--output", place, *quick_export), 3, "No space left for")
        assert content(place.parent) == before
        open_bundle(place)


def test_a_full_disk_leaves_the_older_video(scene: Scene, run: Run) -> None:
    older = scene.file("out.mp4", b"older")
    with files_no_larger_than(4 << 10):
        outcome = run("demo", scene.video, "--bundle", scene.bundle.path, "--output", older)
    assert outcome.code == 3
    assert older.read_bytes() == b"older"
    assert not list(scene.folder.glob(".*"))


# What is not accurate enough: 4. What cannot be built: 5.


class NothingButBackground(Engine):
    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.name, self.target, self.precision = "nothing", "fake", "int8"
        self.input_size, self.batch = bundle.manifest.input_size, None

    def _release(self) -> None:
        """There is nothing to free."""

    def _run(self, frames: Frames) -> Arrays:
        return (np.zeros(frames.shape[:3], np.uint8),)


@pytest.fixture
def spoilt_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The FP32 graph is as it should be, and INT8 sees nothing."""
    from trtparse.engines import open_engine

    def choose(bundle: Bundle, target: str, precision: str | None, **options: Any) -> Engine:
        if precision == "fp32":
            return open_engine(bundle, target, precision, **options)
        return NothingButBackground(bundle)

    monkeypatch.setattr("trtparse.tasks.open.open_engine", choose)


@pytest.mark.usefixtures("spoilt_engine")
def test_validate_exits_with_4_when_the_engine_loses_more_than_the_tolerance(
    run: Run, pristine_bundle: Bundle, lip: Path
) -> None:
    arguments = ("validate", pristine_bundle.path, "--data", lip, "--reference", "fp32", "--no-report")
    outcome = run(*arguments)
    assert outcome.code == 4
    assert outcome.out.strip().splitlines()[-1].startswith("FAILED: ")
    assert "Error" not in outcome.err
    outcome = run(*arguments, "--json")
    assert outcome.code == 4
    assert outcome.document["passed"] is False
    assert outcome.document["engines"][0]["loss"]["points"] > 1
    assert run(*arguments, "--tolerance", "100").code == 0


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_build_exits_with_5_when_a_graph_does_not_do_what_pytorch_does(
    as_json: bool,
    run: Run,
    bundle: Bundle,
    pictures: Path,
    quick_export: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content(bundle.path.parent)
    monkeypatch.setattr("trtparse.trt_builder.build.CpuEngine.infer", lambda self, frames: (frames[..., 0],))
    arguments = ("build", "--fp32", "--data", pictures, "--output", bundle.path, *quick_export)
    outcome = run(*arguments, *(("--json",) if as_json else ()))
    (refused_as_json if as_json else refused)(outcome, 5, "The fp32 graph agrees with PyTorch on")
    assert content(bundle.path.parent) == before


# What works.


def test_build_shows_the_graphs_and_what_to_type_next(
    run: Run, pictures: Path, quick_export: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "my bundle"
    outcome = run("build", "--fp32", "--data", pictures, "--output", place, *quick_export)
    assert outcome.code == 0
    assert "student.fp32.onnx" in outcome.out
    assert outcome.out.splitlines()[-1] == f"Next:       trtparse validate '{place}'"
    assert outcome.err.splitlines()[:2] == ["Loading PyTorch …", "Exporting to ONNX …"]


@pytest.mark.slow
def test_a_corrupt_calibration_image_among_100_is_named_and_skipped_with_a_count(
    run: Run, pictures_and_a_broken_one: Path, quick_export: tuple[str, ...]
) -> None:
    arguments = ("build", "--int8", "--data", pictures_and_a_broken_one, *quick_export)
    outcome = run(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    calibration = outcome.document["manifest"]["calibration"]
    assert (calibration["images"], calibration["skipped"]) == (80, 1)  # a fifth of the 99 judges
    ranges = json.loads(Path("build/student", CALIBRATION_NAME).read_text())
    ((name, reason),) = ranges["skipped"]
    assert "broken" in name
    assert "broken.jpg is cut off" in reason


def test_text_as_calibration_images_is_refused(run: Run, tmp_path: Path, quick_export: tuple[str, ...]) -> None:
    (tmp_path / "a.txt").write_text("just some words")
    outcome = run("build", "--int8", "--data", tmp_path / "a.txt", *quick_export)
    refused(outcome, 2, "a.txt")
    assert content(Path.cwd()) == {}


def test_a_corrupt_calibration_image_is_told_on_the_terminal(
    run: Run, pictures_and_a_broken_one: Path, quick_export: tuple[str, ...]
) -> None:
    for path in sorted(pictures_and_a_broken_one.glob("whole-*"))[3:]:
        path.unlink()
    outcome = run("build", "--int8", "--data", pictures_and_a_broken_one, *quick_export)
    assert outcome.code == 0
    assert "1 skipped (--strict" in outcome.err
    assert "broken.jpg is cut off" in outcome.err
    assert "on 2 images" in outcome.out  # the third judges


def test_strict_refuses_a_corrupt_calibration_image_by_name(
    run: Run, pictures_and_a_broken_one: Path, quick_export: tuple[str, ...]
) -> None:
    arguments = ("build", "--int8", "--strict", "--data", pictures_and_a_broken_one, *quick_export)
    refused(run(*arguments), 2, "broken.jpg is cut off")
    assert content(Path.cwd()) == {}


def test_a_build_over_a_killed_build_s_leftovers_removes_them(
    run: Run, pictures: Path, quick_export: tuple[str, ...]
) -> None:
    leftover = Path("build/.student.0123abcd.partial")
    leftover.mkdir(parents=True)
    (leftover / GRAPHS["fp32"]).write_bytes(b"half of")
    assert run("build", "--fp32", "--data", pictures, *quick_export).code == 0
    assert [path.name for path in Path("build").iterdir()] == ["student"]


def test_validate_with_labels_compares_both_and_ends_with_the_verdict(
    run: Run, pristine_bundle: Bundle, lip: Path
) -> None:
    arguments = (
        "validate",
        pristine_bundle.path,
        "--data",
        lip,
        "--precision",
        "fp32",
        "--threads",
        "1",
        "--no-report",
    )
    outcome = run(*arguments)
    assert outcome.code == 0
    assert outcome.out.strip().splitlines()[-1].startswith("PASSED: ")
    outcome = run(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document["passed"] is True
    assert abs(outcome.document["engines"][0]["loss"]["points"]) < 0.5
    assert outcome.document["reference_run"]["target"] == "pytorch"


def test_validate_without_labels_gives_the_agreement_alone(run: Run, pristine_bundle: Bundle, pictures: Path) -> None:
    arguments = ("validate", pristine_bundle.path, "--data", pictures, "--reference", "fp32", "--no-report")
    outcome = run(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    values = outcome.document
    engine = values["engines"][0]
    assert (values["reference"], engine["scores"], engine["loss"]) == (None, None, None)
    assert values["passed"] is True
    assert 0.5 < engine["agreement"]["pixel_accuracy"] <= 1
    assert "no labels, so no mean IoU to lose" in run(*arguments).out


def test_a_bundle_may_be_named_from_inside_or_by_its_manifest(
    run: Run, pristine_bundle: Bundle, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = ("--data", pictures, "--reference", "fp32", "--limit", "1", "--no-report", "--json")
    assert run("validate", pristine_bundle.path / "bundle.json", *rest).code == 0
    monkeypatch.chdir(pristine_bundle.path)
    assert run("validate", ".", *rest).code == 0
    assert run("build", ".", "--fp32", "--json").code == 0


def test_a_demo_has_its_input_s_frames_rate_and_name(run: Run, scene: Scene) -> None:
    outcome = run("demo", scene.video, "--bundle", scene.bundle.path)
    assert outcome.code == 0
    assert "6 frames in" in outcome.out
    assert outcome.out.splitlines()[-1] == "Video: street-parsed.mp4"
    assert [path.name for path in Path.cwd().iterdir()] == ["street-parsed.mp4"]
    assert frame_count(Path("street-parsed.mp4")) == 6
    assert cv2.VideoCapture("street-parsed.mp4").get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, rel=1e-3)


def test_a_demo_as_json_is_one_document(run: Run, scene: Scene) -> None:
    outcome = run("demo", scene.video, "--bundle", scene.bundle.path, "--output", "a.avi", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert (outcome.document["frames"], outcome.document["output"]) == (6, "a.avi")
    assert outcome.document["precision"] == "int8"


def test_parse_skips_a_corrupt_image_by_name_and_strict_refuses_it(run: Run, scene: Scene) -> None:
    arguments = ("parse", scene.pictures, scene.corrupt_pictures(), "--bundle", scene.bundle.path)
    outcome = run(*arguments)
    assert outcome.code == 0
    assert "3 images parsed into parsed" in outcome.out
    assert "2 skipped (--strict" in outcome.err
    assert "half.jpg is cut off" in outcome.err
    assert len(list(Path("parsed").iterdir())) == 6
    outcome = run(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.document["parsed"]) == 3
    assert [Path(entry["image"]).name for entry in outcome.document["skipped"]] == ["half.jpg", "words.jpg"]
    refused(run(*arguments, "--strict"), 2, "half.jpg is cut off")


def test_synthesize_and_train_as_json_are_one_document_each(run: Run, pristine_bundle: Bundle) -> None:
    outcome = run("synthesize", "lip", "--train", "2", "--val", "1", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document == {"folder": "lip", "train": 2, "val": 1, "video": None}
    options = ("--steps", "1", "--batch", "2", "--input-size", "64x64", "--threads", "1", "--output", "run", "--json")
    outcome = run("train", "--data", "lip", "--initial", pristine_bundle.weights, *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document["checkpoint"] == "run/best.safetensors"
    assert 0 <= outcome.document["mean_iou"] <= 1
    assert Path("run/best.safetensors").is_file()


def test_a_student_is_distilled_from_a_teacher_on_images_with_and_without_labels(
    run: Run, pristine_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("synthesize", "lip", "--train", "2", "--val", "1")
    Path("recipe.toml").write_text('steps = 1\nbatch = 4\ninput_size = "64x64"\n[data]\ntrain = [{ path = "lip" }]\n')
    arguments = ("recipe.toml", "--teacher", pristine_bundle.weights, "--student", pristine_bundle.weights)
    arguments += ("--unlabelled", "lip", "--set", "distillation.kl=0.5", "--output", "run", "--json")
    outcome = run("distill", *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    recipe = outcome.document["recipe"]
    assert recipe["distillation"]["kl"] == 0.5
    assert [source["labels"] for source in recipe["data"]["train"]] == [True, False]
    assert recipe["network"]["initial"] == str(pristine_bundle.weights)
    assert Path("run/best.safetensors").is_file()


def test_engines_are_built_from_a_bundle_without_pytorch(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    script = "import sys; sys.modules['torch'] = None; from trtparse.cli import main; main(sys.argv[1:])"
    arguments = ("build", str(bundle.path), "--int8", "--target", "tensorrt-rtx", "--json")
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (engine,) = json.loads(done.stdout)["engines"]
    assert engine["compute_capability"] == "8.6"
    assert engine["engine"] in open_bundle(bundle.path).manifest.files


# The terminal.


def test_on_a_terminal_each_finished_stage_leaves_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with Terminal(as_json=False) as terminal:
        terminal.stage("Exporting")
        terminal.stage("Calibrating [red]")
        terminal.progress(3, 8, "note")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.index("Exporting") < err.rindex("Calibrating [red]")
    assert err.count("✓") == 2


def test_a_stage_that_failed_is_not_ticked_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    terminal = Terminal(as_json=False)
    terminal.__enter__()
    terminal.stage("Exporting")
    terminal.__exit__(UsageError, UsageError("No."), None)
    assert "✓" not in capsys.readouterr().err


def test_into_a_file_goes_a_line_a_minute_of_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("trtparse.commands.terminal.time.monotonic", lambda: now)
    with Terminal(as_json=False) as terminal:
        terminal.stage("Training in runs/a")
        # Killed after 1,000 steps: those took no time now.
        for step in range(1_000, 1_400):
            terminal.progress(step, 2_000, "loss 1.200")
            now += 1
        terminal.stage("Watching")
        now += 61
        terminal.progress(7, None)
    assert capsys.readouterr().err.splitlines() == [
        "Training in runs/a …",
        *(
            f"Training in runs/a: {1_000 + step}/2000, loss 1.200, about {minutes} min left"
            for step, minutes in ((60, 16), (120, 15), (180, 14), (240, 13), (300, 12), (360, 11))
        ),
        "Watching …",
        "Watching: 7",
    ]


def test_into_a_pipe_go_lines_that_are_not_broken_and_json_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-long-name/" * 12
    for as_json in (False, True):
        with Terminal(as_json=as_json) as terminal:
            terminal.stage(name)
            terminal.progress(1, 2)
            terminal.note(name)
    assert capsys.readouterr() == ("", f"{name} …\n{name}\n")


def test_a_locale_without_dashes_does_not_end_a_command(pristine_bundle: Bundle, pictures: Path) -> None:
    arguments = ("validate", str(pristine_bundle.path), "--data", str(pictures), "--reference", "fp32", "--no-report")
    done = subprocess.run([*CLI, *arguments], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith(b"PASSED")


# Ctrl-C and kill, in processes of their own.


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command as a shell in the foreground would start it, however these tests were started."""

    def defaults() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    return subprocess.Popen(
        [*CLI, *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,
    )


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if line.startswith(words):
            return
    raise AssertionError(f"it ended without {words!r}: {told}")


def press(process: subprocess.Popen[str], times: int, number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
    """Ctrl-C or another signal, as often as said or until it has ended; what it printed after that."""
    for _ in range(times):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    return process.communicate(timeout=120)


@pytest.fixture
def build_arguments(bundle: Bundle, pictures: Path) -> tuple[object, ...]:
    data = ("--data", pictures, "--calibration-images", 3)
    return ("build", "--int8", *data, "--input-size", "128x96", "--threads", 1, "--output", bundle.path)


@pytest.mark.parametrize(
    ("stage", "number", "times"),
    [pytest.param("Calibrating", signal.SIGTERM, 1, marks=pytest.mark.slow), ("Exporting", signal.SIGINT, 20)],
)
def test_a_signal_in_a_build_leaves_the_old_bundle_and_nothing_else(
    stage: str, number: signal.Signals, times: int, bundle: Bundle, build_arguments: tuple[object, ...]
) -> None:
    before = content(bundle.path)
    with start(*build_arguments) as process:
        read_until(process, stage)
        out, err = press(process, times, number)
    assert (process.returncode, out) == (128 + number, "")
    assert "Error: Interrupted" in err
    assert "Traceback" not in err
    assert [path.name for path in bundle.path.parent.iterdir() if "student" in path.name] == ["student"]
    assert content(bundle.path) == before
    open_bundle(bundle.path)


def test_kill_in_a_build_leaves_the_old_bundle_and_the_next_build_tidies_up(
    bundle: Bundle, build_arguments: tuple[object, ...], run: Run, pictures: Path, quick_export: tuple[str, ...]
) -> None:
    before = content(bundle.path)
    with start(*build_arguments) as process:
        read_until(process, "Exporting")
        running = list(bundle.path.parent.glob(".student.*"))
        process.kill()
    assert len(running) == 1
    assert running[0].is_dir()
    assert content(bundle.path) == before
    open_bundle(bundle.path)
    assert run("build", "--fp32", "--data", pictures, "--output", bundle.path, *quick_export).code == 0
    assert not list(bundle.path.parent.glob(".student.*"))
    assert open_bundle(bundle.path).manifest.precisions == ("fp32",)


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 20), (signal.SIGTERM, 1), (signal.SIGHUP, 20)])
def test_a_signal_in_a_demo_leaves_the_video_so_far(
    number: signal.Signals, times: int, pristine_bundle: Bundle, tmp_path: Path
) -> None:
    output, partial = tmp_path / "walk.avi", tmp_path / ".walk.partial.avi"
    with start("demo", "--bundle", pristine_bundle.path, "--output", output) as process:
        # The probe of the codec is smaller. Motion JPEG is written as it comes; H.264 encoders hold frames back.
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > 50_000):
            time.sleep(0.05)
        out, err = press(process, times, number)
    assert (process.returncode, out) == (128 + number, "")
    assert "Error: Interrupted" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["walk.avi"]
    assert 0 < frame_count(output) < 96


def test_a_build_that_still_runs_keeps_its_files_when_another_one_starts(tmp_path: Path) -> None:
    from trtparse.engines.bundle import writing

    with writing(tmp_path / "student") as first:
        with pytest.raises(KeyboardInterrupt), writing(tmp_path / "student"):
            raise KeyboardInterrupt
        assert first.is_dir()


def test_signals_are_handed_back_to_whoever_calls_main(run: Run) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    run("--version")
    assert [signal.getsignal(number) for number in SIGNALS] == before
