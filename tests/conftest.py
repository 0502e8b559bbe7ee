"""Fixtures that several folders of tests use."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings

from trtparse.data.dataset import Dataset, LabelMap, Sample
from trtparse.data.letterbox import Letterbox
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.base import Frames

settings.register_profile("patient", deadline=None)  # how long an example takes says nothing of the code
settings.load_profile("patient")


def pytest_configure() -> None:
    """Ctrl-C raises, as in a terminal; a shell has jobs in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def shared_data() -> Path:
    """The photographs beside the project; a test that needs them is skipped where there are none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def measured_for_real() -> Iterator[Callable[..., Any]]:
    """No test takes what is faster where it runs: ``cpu`` is ONNX Runtime. What measures, for tests of that."""
    from trtparse.engines import choice

    recorded = choice.Choice({"onnxruntime": 5.0, "openvino": 6.0})
    for_real = choice.choose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "choose", lambda *_, **__: recorded)
        yield for_real


class Kept:
    """A dataset that reads each sample once: a person takes longer to render than a small network to parse it."""

    def __init__(self, dataset: Dataset) -> None:
        self.description, self.names, self.labelled = dataset.description, dataset.names, dataset.labelled
        self.label_set = dataset.label_set
        self._sample = cache(dataset.__getitem__)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(index)
        labels = None if sample.labels is None else sample.labels.copy()
        return replace(sample, image=sample.image.copy(), labels=labels)

    def labels(self, index: int) -> LabelMap:
        labels = self[index].labels
        assert labels is not None
        return labels


@pytest.fixture(scope="session")
def new_people() -> Callable[..., Dataset]:
    """``new_people(3, seed=7)``: synthetic people with labels, each rendered once."""
    from trtparse.data.synthetic import SyntheticPeople

    return lambda count, seed=0: Kept(SyntheticPeople(count, seed))


@pytest.fixture(scope="session")
def people(new_people: Callable[..., Dataset]) -> Dataset:
    """Twelve synthetic people with labels."""
    return new_people(12, seed=3)


@pytest.fixture
def made_up() -> Callable[..., Any]:
    """``made_up(losses=(0.3,), labelled=False)`` makes up a validation's result."""
    from trtparse.tests.made_up import made_up

    return made_up


@pytest.fixture(scope="session")
def frames(people: Dataset) -> Frames:
    """(6, 256, 192, 3) uint8: people letterboxed to the default input."""
    images = [people[index].image for index in range(6)]
    return np.stack([Letterbox.fit((i.shape[0], i.shape[1]), (256, 192), 1.0).apply(i) for i in images])


@pytest.fixture
def short_trunks() -> Iterator[None]:
    """One block in each layer of a ResNet: a third of the weights, where its depth does not matter."""
    from trtparse.networks.resnet import BLOCKS

    # Not the test's own `monkeypatch`, which it may undo on the way.
    with pytest.MonkeyPatch.context() as patch:
        for depth, (block, _) in BLOCKS.items():
            patch.setitem(BLOCKS, depth, (block, (1, 1, 1, 1)))
        yield


MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@contextmanager
def _tiny_layout() -> Iterator[None]:
    from trtparse.networks import mspn

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mspn.LAYOUTS, "l-mspn", mspn.Layout(1, (1, 1, 1, 1), (8, 8, 8, 8), 1, 8, 8))
        yield


@pytest.fixture
def tiny_layout() -> Iterator[None]:
    """L-MSPN is of one stage and eight channels, as :func:`tiny_mspn` is, so that its checkpoints can be read."""
    with _tiny_layout():
        yield


@pytest.fixture(scope="session")
def tiny_mspn() -> Any:
    """An MSPN of one stage and eight channels for COCO's joints, that maps cells by their centres. To be read only."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from trtparse.networks import mspn

    with _tiny_layout():
        torch.manual_seed(0)
        return mspn.MSPN("l-mspn", mspn.MSPNSpec(half_pixel=True)).eval()


@pytest.fixture(scope="session")
def pose_bundle(tiny_mspn: Any, make_once: MakeOnce) -> Path:
    """An INT8 bundle of that network at 64x64 for rendered people, with heatmaps. To be read only."""
    from trtparse.calibration.int8 import Int8Spec
    from trtparse.networks.checkpoint_file import save_checkpoint
    from trtparse.specs.framing import CropRule, Framing
    from trtparse.specs.skeleton import load_skeleton
    from trtparse.tasks.pose.images import PersonImages
    from trtparse.tasks.pose.rendered import rendered_people
    from trtparse.trt_builder.build import BuildSpec, build_bundle

    def build(folder: Path) -> None:
        path = folder / "tiny.safetensors"
        framing = Framing((64, 64), crop=CropRule())
        save_checkpoint(tiny_mspn, path, framing, load_skeleton("coco17"), lossless=True)
        spec = BuildSpec(path, "int8", batch=1, logits=True, int8=Int8Spec("max"), validate=False, threads=1)
        with _tiny_layout():
            build_bundle(spec, PersonImages(rendered_people(4, seed=5)), folder / "bundle")

    return make_once("pose-bundle", build) / "bundle"


@pytest.fixture(scope="session")
def people_bundle(make_once: MakeOnce) -> Path:
    """An INT8 bundle of :func:`trtparse.tests.finding.bright_finder`; the pictures are beside it. To be read only."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from trtparse.calibration.int8 import Int8Spec
    from trtparse.networks.checkpoint_file import save_checkpoint
    from trtparse.specs.framing import Framing
    from trtparse.tasks.people.data import read_boxes
    from trtparse.tests.finding import SIZE, bright_finder, write_streets
    from trtparse.trt_builder.build import BuildSpec, build_bundle

    def build(folder: Path) -> None:
        streets = read_boxes(write_streets(folder / "streets"))
        save_checkpoint(bright_finder(), folder / "bright.safetensors", Framing(SIZE), None, sure=0.3, lossless=True)
        source = folder / "bright.safetensors"
        spec = BuildSpec(source, "int8", calibration_images=2, int8=Int8Spec("max"), validate=False, threads=1)
        build_bundle(spec, streets, folder / "people")

    return make_once("people-bundle", build) / "people"


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """``make_once(name, make)``: a folder that ``make`` fills, once for all processes of a run. To be read only."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent

    def call(name: str, make: Callable[[Path], object]) -> Path:
        folder, partial = run / f"once-{name}", run / f"once-{name}.partial"
        with open(run / f"once-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(folder)
        return folder

    return call


@pytest.fixture(scope="session")
def small_weights(make_once: MakeOnce) -> Path:
    """A checkpoint of a student of 20,440 random parameters, for 64x64; with ``quick_export`` it can be read."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from trtparse.tests.tiny_student import save_tiny_student

    name = "small.safetensors"
    return make_once("small-weights", lambda folder: save_tiny_student(folder / name)) / name


@pytest.fixture(scope="session")
def small_graph(make_once: MakeOnce, small_weights: Path) -> onnx.ModelProto:
    """That student's graph: one frame, without logits. To be read only."""
    from trtparse.networks.checkpoint import load_checkpoint
    from trtparse.tests.tiny_student import tiny_students
    from trtparse.trt_builder.export import export_onnx

    def export(folder: Path) -> None:
        with tiny_students():
            loaded = load_checkpoint(small_weights)
        onnx.save(export_onnx(loaded), folder / "small.onnx")

    return onnx.load(make_once("small-graph", export) / "small.onnx")


QuickBuilds = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def quick_builds(small_graph: onnx.ModelProto) -> QuickBuilds:
    """``with quick_builds():`` the small student can be read, and builds take its graph in place of an export."""
    from trtparse.tests.tiny_student import tiny_students

    def export(*_: object, **__: object) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(small_graph)
        return copy

    @contextmanager
    def quick() -> Iterator[None]:
        # Not the test's own `monkeypatch`, which it may undo on the way.
        with tiny_students(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("trtparse.trt_builder.export.export_onnx", export)
            yield

    return quick


@pytest.fixture
def quick_export(small_weights: Path, quick_builds: QuickBuilds) -> Iterator[tuple[str, ...]]:
    """Builds of the small student take no second; the command's words for one."""
    with quick_builds():
        yield str(small_weights), "--threads", "1"


@pytest.fixture(scope="session")
def pristine_bundle(people: Dataset, make_once: MakeOnce) -> Bundle:
    """An INT8 bundle of the weights that ship, any batch; built once, to be read only."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from trtparse.calibration.int8 import Int8Spec
    from trtparse.networks.weights import DEFAULT_WEIGHTS
    from trtparse.trt_builder.build import BuildSpec, build_bundle

    spec = BuildSpec(
        DEFAULT_WEIGHTS,
        "int8",
        (256, 192),
        batch=None,
        logits=True,
        calibration_images=8,
        int8=Int8Spec("max"),
        validate=False,
    )
    made = make_once("bundle", lambda folder: build_bundle(spec, people, folder / "student"))
    return open_bundle(made / "student")


@pytest.fixture
def bundle(pristine_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle that a test may spoil."""
    shutil.copytree(pristine_bundle.path, tmp_path / "student")
    return Bundle(tmp_path / "student", pristine_bundle.manifest)
