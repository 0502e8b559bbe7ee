from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.int8 import Int8Spec
from trtparse.calibration.key import METHOD
from trtparse.data.dataset import Dataset, Image, LabelMap, Sample
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.bundle import CALIBRATION_NAME, GRAPHS, Manifest, finish, writing
from trtparse.errors import BuildError, DataError, MachineError
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.specs.framing import Framing
from trtparse.tasks.open import open_predictor
from trtparse.tests.predicting import LIP
from trtparse.trt_builder import build as builds
from trtparse.trt_builder.build import BuildSpec, Listener, build_bundle
from trtparse.trt_builder.parity import PARITY_NAME

SIZE = (64, 64)
NewSpec = Callable[..., BuildSpec]


class Photographs:
    """Images without label maps; some cannot be read."""

    labelled = False
    label_set = LIP

    def __init__(self, images: Sequence[Image], broken: Sequence[int] = (), count: int | None = None) -> None:
        self._images, self._broken = images, set(broken)
        self._count = len(images) if count is None else count
        self.names = tuple(f"photo-{index}" for index in range(self._count))
        self.description = f"{self._count} photographs"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if index in self._broken:
            raise DataError(f"{self.names[index]} is cut off.")
        return Sample(self.names[index], self._images[index], None)

    def labels(self, index: int) -> LabelMap:
        raise AssertionError("nobody asks photographs for label maps")


@pytest.fixture(scope="module")
def images(people: Dataset) -> list[Image]:
    """Rendered once, as every build here reads them again."""
    return [people[index].image for index in range(8)]


@pytest.fixture(scope="module")
def small_int8(small_weights: Path) -> BuildSpec:
    return BuildSpec(small_weights, "int8", calibration_images=4, int8=Int8Spec("max"), threads=1)


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, images: list[Image], small_int8: BuildSpec, quick_builds: Any
) -> Bundle:
    """An INT8 bundle."""
    with quick_builds():
        return build_bundle(small_int8, Photographs(images), tmp_path_factory.mktemp("exported") / "student").bundle


@pytest.fixture
def spec(quick_builds: Any, small_weights: Path) -> Iterator[NewSpec]:
    """Quick: one calibration method, nothing measured."""

    def spec(precision: str = "fp32", **options: object) -> BuildSpec:
        quick = {"calibration_images": 2, "int8": Int8Spec("max"), "validate": False, "threads": 1}
        return BuildSpec(small_weights, precision, **{**quick, **options})  # type: ignore[arg-type]

    with quick_builds():
        yield spec


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def old_bundle(path: Path) -> dict[str, bytes]:
    values = {name: {} for name in ("options", "parity", "calibration", "versions")}
    manifest = Manifest("parsing", "lsfa-r18", spec=LIP, framing=Framing(SIZE), batch=1, precisions=("fp32",), **values)
    with writing(path) as folder:
        (folder / GRAPHS["fp32"]).write_bytes(b"old")
        finish(folder, manifest)
    return contents(path)


def test_a_bundle_says_what_it_holds(exported: Bundle) -> None:
    manifest = open_bundle(exported.path).manifest
    assert manifest == exported.manifest
    assert (manifest.task, manifest.network, manifest.spec) == ("parsing", "lsfa-r18", LIP)
    assert (manifest.input_size, manifest.batch, manifest.precisions) == (SIZE, 1, ("fp32", "fp16", "int8"))
    assert set(manifest.parity) == set(GRAPHS)
    assert set(manifest.files) == {*GRAPHS.values(), CALIBRATION_NAME, PARITY_NAME, "student.safetensors"}
    assert manifest.calibration["method"] == METHOD
    assert (manifest.calibration["images"], manifest.calibration["skipped"]) == (4, 0)
    assert {"trtparse", "torch", "onnx", "onnxruntime"} <= set(manifest.versions)


@pytest.mark.usefixtures("quick_export")
def test_every_engine_wants_images_as_the_checkpoint_saw_them(exported: Bundle, small_weights: Path) -> None:
    stretch = load_checkpoint(small_weights).stretch
    assert stretch > 1, "the small student's images are stretched"
    assert exported.manifest.stretch == load_checkpoint(exported.weights).stretch == stretch
    every = [("cpu", "fp32"), ("cpu", "fp16"), ("cpu", "int8"), ("simulated", "int8"), ("pytorch", "fp32")]
    for target, precision in every:
        with open_predictor(exported, target, precision, threads=1) as predictor:
            assert predictor.framing.stretch == stretch, target


def test_every_graph_carries_its_precision(exported: Bundle) -> None:
    for name in GRAPHS:
        properties = {prop.key: prop.value for prop in onnx.load(exported.graph(name)).metadata_props}
        assert properties["precision"] == name


@pytest.mark.usefixtures("quick_export")
def test_the_same_request_gives_the_same_bytes(
    exported: Bundle, small_int8: BuildSpec, images: list[Image], tmp_path: Path
) -> None:
    build_bundle(small_int8, Photographs(images), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(exported.path)


@pytest.mark.parametrize(
    ("precision", "graphs", "precisions"),
    [("fp32", {"fp32"}, ("fp32",)), ("fp16", {"fp32", "fp16"}, ("fp32", "fp16"))],
)
def test_a_precision_includes_those_before_it_and_nothing_is_calibrated_in_vain(
    precision: str, graphs: set[str], precisions: tuple[str, ...], spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    manifest = build_bundle(spec(precision), Photographs(images), tmp_path / "a").bundle.manifest
    assert set(manifest.parity) == graphs
    assert manifest.precisions == precisions
    assert manifest.calibration == {}
    assert CALIBRATION_NAME not in manifest.files


def test_without_int8_no_label_map_is_read(spec: NewSpec, images: list[Image], tmp_path: Path) -> None:
    class Labelled(Photographs):
        labelled = True

    build_bundle(spec("fp32"), Labelled(images), tmp_path / "a")
    with pytest.raises(AssertionError, match="label maps"):
        build_bundle(spec("int8"), Labelled(images), tmp_path / "a")


def test_graphs_are_compared_on_images_that_were_not_calibrated_on(
    spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    bundle = build_bundle(spec("int8", calibration_images=4), Photographs(images), tmp_path / "a").bundle
    assert bundle.manifest.calibration["images"] == 4
    assert bundle.manifest.parity["int8"]["images"] == len(images) - 4


def test_where_all_images_calibrate_they_are_compared_on_as_well(
    spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    bundle = build_bundle(spec("int8", calibration_images=99), Photographs(images, count=2), tmp_path / "a").bundle
    assert bundle.manifest.calibration["images"] == 2
    assert bundle.manifest.parity["int8"]["images"] == 2


def test_unreadable_images_are_counted_and_listed_with_the_reason(
    spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    bundle = build_bundle(
        spec("int8", calibration_images=12), Photographs(images, broken=[3, 6]), tmp_path / "a"
    ).bundle
    assert (bundle.manifest.calibration["images"], bundle.manifest.calibration["skipped"]) == (6, 2)
    skipped = json.loads((bundle.path / CALIBRATION_NAME).read_text())["skipped"]
    assert sorted(skipped) == [["photo-3", "photo-3 is cut off."], ["photo-6", "photo-6 is cut off."]]


def test_strict_refuses_the_first_unreadable_image(spec: NewSpec, images: list[Image], tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "a")
    with pytest.raises(DataError, match="photo-3 is cut off"):
        build_bundle(spec("int8", calibration_images=12, strict=True), Photographs(images, broken=[3]), tmp_path / "a")
    assert contents(tmp_path / "a") == old


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_readable_image_at_all_is_refused(
    precision: str, spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="3 photographs"):
        build_bundle(spec(precision), Photographs(images, broken=range(3), count=3), tmp_path / "a")
    with pytest.raises(DataError, match="holds no image"):
        build_bundle(spec(precision), Photographs(images, count=0), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_that_does_not_do_what_pytorch_does_is_refused_and_the_old_bundle_stays(
    precision: str, spec: NewSpec, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = old_bundle(tmp_path / "a")
    infer = builds.CpuEngine.infer

    def confused(self: builds.CpuEngine, frames: np.ndarray) -> tuple[np.ndarray, ...]:
        (labels,) = infer(self, frames)
        return ((labels + 1) % 20 if self.precision == precision else labels,)

    monkeypatch.setattr(builds.CpuEngine, "infer", confused)
    with pytest.raises(BuildError, match="agrees with PyTorch on") as caught:
        build_bundle(spec(precision), Photographs(images), tmp_path / "a")
    assert caught.value.message.startswith(f"The {precision} graph")
    assert contents(tmp_path / "a") == old
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("file", [GRAPHS["fp32"], "student.safetensors"])
def test_whichever_file_no_longer_fits_on_the_disk_the_old_bundle_stays(
    file: str, spec: NewSpec, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = old_bundle(tmp_path / "a")
    open_file = Path.open

    def full(self: Path, *arguments: object, **options: object) -> object:
        if self.name == f".{Path(file).stem}.partial{Path(file).suffix}":
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_file(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MachineError, match="No space left"):
        build_bundle(spec("fp32"), Photographs(images), tmp_path / "a")
    monkeypatch.undo()
    assert contents(tmp_path / "a") == old
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_listener_hears_of_every_stage_and_of_how_far_it_is(
    spec: NewSpec, images: list[Image], tmp_path: Path
) -> None:
    heard: list[object] = []
    listener = Listener(heard.append, lambda done, total, note="": heard.append((done, total)))
    build_bundle(spec("int8"), Photographs(images), tmp_path / "a", listener)
    stages = [word for word in heard if isinstance(word, str)]
    assert stages == [
        "Exporting to ONNX",
        "Choosing images",
        "Looking for what overflows FP16",
        "Calibrating",
        "Writing the INT8 graphs",
        "Comparing with PyTorch",
    ]
    assert heard[heard.index("Calibrating") + 1 :][:2] == [(1, 2), (2, 2)]
    assert heard[-1] == (6, 6)
