"""Parsing on a Ray of this machine: one cluster of two workers for all of these tests, started by our own code."""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trtparse.data.dataset import Dataset, LabelMap
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.errors import DataError, MachineError, UsageError
from trtparse.parse.images import ParseResult, parse_images
from trtparse.parse.objects import LocalStorage, open_storage
from trtparse.parse.parser import ParseSpec
from trtparse.parse.provenance import MadeBy
from trtparse.parse.ray import _list as list_places
from trtparse.parse.ray import parse_on_ray
from trtparse.parse.ray_cluster import ray_cluster, watching
from trtparse.parse.summary import write_summary
from trtparse.specs.framing import CropRule, Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.storage.interrupts import SIGNALS
from trtparse.tasks.open import open_predictor
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.given import GivenBoxes
from trtparse.tasks.pose.task import Pose
from trtparse.tasks.predictor import Predictor

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, which change from version to version
NETWORK = MadeBy("ab" * 32, "fake", "fp32", (48, 32))


class GreyEngine(Engine):
    """Everything bright is Face. Kills its process in the third pass, where a marker says that it is to, once."""

    def __init__(self, kill: Path | None = None) -> None:
        super().__init__()
        self.name, self.target, self.precision = "grey", "fake", "fp32"
        self.input_size, self.batch = (48, 32), 1
        self._kill, self._passes = kill, 0

    def _run(self, frames: Frames) -> Arrays:
        self._passes += 1
        if self._kill is not None and self._passes == 3 and self._kill.exists():
            self._kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return (np.where(frames[..., 1] > 99, 13, 0).astype(np.uint8),)


def open_grey(kill: Path | None = None, made_by: MadeBy = NETWORK) -> tuple[Predictor[LabelMap], MadeBy]:
    return Predictor(GreyEngine(kill), Parsing(label_set("lip")), Framing((48, 32))), made_by


HANDLERS = [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'trtparse[ray]'")
    with ray_cluster("local", workers=2, threads=1):
        from ray import cloudpickle

        # workers cannot import the tests
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 photographs, some in subfolders, two of one stem, and one that is none; the test is run beside them."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(22):
        image = np.random.default_rng(number).integers(0, 255, (40 + number, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / ("more" if number % 3 else ".") / f"{number:02}.png"), image)
    cv2.imwrite(str(folder / "a.png"), image)
    cv2.imwrite(str(folder / "a.jpg"), image)
    (folder / "bad.jpg").write_text("words")
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def content(folder: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def plain(photos: Path, **options: Any) -> ParseResult:
    spec = ParseSpec(recursive=True, index="plain.csv", **options)
    with open_grey()[0] as predictor:
        return parse_images([photos], predictor, Path("plain"), spec, made_by=NETWORK)


def on_ray(photos: Path | str, open_engine: Callable[[], Any] = open_grey, output: str = "ray", **options: Any) -> Any:
    progress = options.pop("progress", None)
    spec = ParseSpec(recursive=True, index="ray.csv", **options)
    return parse_on_ray([str(photos)], open_engine, output, spec, address="local", workers=2, progress=progress)


def test_results_of_another_network_are_refused_before_ray_is_asked(photos: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'trtparse[ray]'")
    plain(photos)
    other = MadeBy("cd" * 32, "fake", "fp32", (48, 32))
    with pytest.raises(UsageError, match=r"plain/00\.png was made with another graph"):
        parse_on_ray(["photos"], partial(open_grey, None, other), "plain", address="127.0.0.1:1")


def test_a_cluster_that_is_not_there_is_told_at_once(photos: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'trtparse[ray]'")
    with pytest.raises(MachineError, match=r"Cannot connect to a Ray cluster at 127\.0\.0\.1:1") as caught:
        parse_on_ray(["photos"], open_grey, "out", address="127.0.0.1:1")
    assert "ray start --head" in caught.value.hint


def test_a_cluster_on_this_machine_is_looked_for_where_ray_looks_for_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray takes a loopback address for this machine's in the network, and would wait there for minutes."""
    util = pytest.importorskip("ray.util", reason="Ray is not installed: pip install 'trtparse[ray]'")
    monkeypatch.setattr(util, "get_node_ip_address", lambda: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(MachineError, match=rf"nobody listens at 127\.0\.0\.2:{port} \(Connection refused\)"):
            parse_on_ray(["photos"], open_grey, "out", address=f"127.0.0.1:{port}")


def test_a_cluster_that_does_not_let_us_in_is_asked_once_and_tokens_are_told_of(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'trtparse[ray]'")
    attempts = "RAY_gcs_server_port_wait_time_s"
    monkeypatch.delenv(attempts, raising=False)
    asked = []

    def refuse(address: str, **options: object) -> None:
        asked.append((address, os.environ.get(attempts)))
        raise ConnectionError(f"\x1b[31mFailed to connect\x1b[0m\n  to Ray cluster at {address}")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
        with pytest.raises(MachineError, match=f"{address}: Failed to connect to Ray cluster at {address}\n") as caught:
            parse_on_ray(["photos"], open_grey, "out", address=address)
    assert "RAY_AUTH_MODE=token" in caught.value.hint
    assert asked == [(address, "1")]
    assert attempts not in os.environ


def test_a_cluster_that_goes_away_is_told_once_and_so_is_its_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtparse.parse.ray_cluster._WATCH_SECONDS", 0.01)
    told: queue.Queue[str] = queue.Queue()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with listening, watching(f"127.0.0.1:{port}", told.put):
        listening.close()
        assert f"The Ray cluster is gone: nobody listens at 127.0.0.1:{port}" in told.get(timeout=60)
        with socket.create_server(("127.0.0.1", port)):
            assert told.get(timeout=60) == "The Ray cluster is there again."
    assert told.empty()


def test_paths_and_uris_are_not_mixed(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'trtparse[ray]'")
    with pytest.raises(UsageError, match="photos is in another place than file://"):
        parse_on_ray([f"file://{tmp_path}/photos", "photos"], open_grey, "out")
    with pytest.raises(UsageError, match="would go among the images of"):
        parse_on_ray([f"file://{tmp_path}/photos"], open_grey, f"file://{tmp_path}/photos/")


def test_an_output_folder_inside_a_uri_is_no_input_and_each_image_is_listed_once(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.fs", reason="PyArrow is not installed")
    for name in (
        "photos/a.jpg",
        "photos/m/b.jpg",
        "photos/out/a.png",
        "photos/out/m/b_overlay.jpg",
        "photos/outer/c.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = f"file://{tmp_path}/photos"
    asked = [f"{root}/m/b.jpg", root, f"{root}/", f"{root}/a.jpg"]
    _, listing = list_places(asked, f"{root}/out", ParseSpec(recursive=True))
    assert [image.path for image in listing] == [f"{root}/{name}" for name in ("m/b.jpg", "a.jpg", "outer/c.jpg")]


@pytest.mark.slow
def test_ray_leaves_the_signals_to_the_command_line(cluster: None) -> None:
    """Its own handler of SIGTERM ends the process with code 15."""
    assert [signal.getsignal(number) for number in SIGNALS] == HANDLERS


@pytest.mark.slow
def test_files_and_index_are_those_of_the_plain_run_and_so_is_what_is_told(cluster: None, photos: Path) -> None:
    calls: list[tuple[int, int]] = []
    expected, result = plain(photos), on_ray(photos, progress=lambda *told: calls.append(told))
    assert len(content("plain")) == 48
    assert content("ray") == content("plain")
    assert Path("ray.csv").read_bytes() == Path("plain.csv").read_bytes()
    assert [item.image for item in result.parsed] == [item.image for item in expected.parsed]
    assert result.skipped == expected.skipped
    assert calls == [(done, 25) for done in range(1, 26)]


class Halves:
    """Finds somebody in either half of a picture."""

    name, sure, at_once = "halves", 0.5, 1

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self.look(frame) for frame in frames]

    def look(self, frame: np.ndarray) -> Detections:
        height, width = frame.shape[:2]
        boxes = [[2, 2, width / 2 - 2, height - 2], [width / 2 + 2, 2, width - 2, height - 2]]
        return Detections(np.array(boxes), np.array([0.9, 0.8]))

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_people_are_found_by_workers_as_here(cluster: None, photos: Path) -> None:
    made_by = replace(NETWORK, people="ef" * 32)
    spec = ParseSpec(recursive=True)
    with open_grey()[0] as predictor:
        here = parse_images([photos], predictor, Path("plain"), spec, made_by=made_by, detector=Halves())
    opened = partial(open_grey, None, made_by)
    there = parse_on_ray(["photos"], opened, "ray", spec, open_detector=Halves, address="local", workers=2)
    assert content("ray") == content("plain")
    assert here.people == there.people == 48


@pytest.mark.slow
def test_boxes_travel_to_the_workers(cluster: None, photos: Path) -> None:
    spec = ParseSpec(recursive=True)
    names = {path.name for path in photos.rglob("*") if path.is_file()}
    somebody = Detections(np.array([[1.0, 1.0, 9.0, 9.0]]), np.array([0.9]))
    boxes = GivenBoxes(Path("boxes.json"), Path("boxes.json"), dict.fromkeys(names, somebody))
    made_by = replace(NETWORK, people=boxes.digest)
    with open_grey()[0] as predictor:
        here = parse_images([photos], predictor, Path("plain"), spec, made_by=made_by, boxes=boxes)
    opened = partial(open_grey, None, made_by)
    there = parse_on_ray(["photos"], opened, "ray", spec, boxes=boxes, address="local", workers=2)
    assert content("ray") == content("plain")
    assert here.people == there.people == len(here.parsed)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(cluster: None, photos: Path, tmp_path: Path) -> None:
    marker = tmp_path / "kill"
    marker.touch()
    plain(photos)
    result = on_ray(photos, partial(open_grey, marker))
    assert not marker.exists()
    assert (len(result.parsed), result.skipped_images) == (24, 1)
    assert content("ray") == content("plain")
    assert Path("ray.csv").read_bytes() == Path("plain.csv").read_bytes()


@pytest.mark.slow
def test_uris_are_parsed_as_paths_are_and_what_is_there_is_not_made_again(
    cluster: None, photos: Path, tmp_path: Path
) -> None:
    expected = plain(photos, shard=(1, 2))
    there = [Path(item.labels).relative_to("plain") for item in expected.parsed]
    for number, labels in enumerate(there[:4]):
        target = Path("ray", labels)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("plain", labels.with_name(f"{labels.stem}_overlay.jpg")), target.parent)
        target.write_bytes(Path("plain", labels).read_bytes()[: None if number else -30])
    uri = f"file://{tmp_path}"
    result = on_ray(f"{uri}/photos", output=f"{uri}/ray", shard=(1, 2))
    assert (result.found, len(result.parsed)) == (3, len(there))
    assert content("ray") == content("plain")
    assert Path("ray.1-of-2.csv").read_text().replace(uri + "/", "") == Path("plain.1-of-2.csv").read_text()
    assert str(result.parsed[0].labels) == f"{uri}/ray/{there[0]}"


class CornerEngine(GreyEngine):
    """Seventeen joints where the first pixels of a frame are bright."""

    def _run(self, frames: Frames) -> Arrays:
        return (frames[:, :17, :3, 1].astype(np.float32) / 255,)


def open_corners() -> tuple[Predictor[Any], MadeBy]:
    return Predictor(CornerEngine(), Pose(load_skeleton("coco17")), Framing((48, 32), crop=CropRule())), NETWORK


@pytest.mark.slow
def test_poses_and_their_summary_are_those_of_the_plain_run(cluster: None, photos: Path) -> None:
    spec = ParseSpec(recursive=True)
    predictor, made_by = open_corners()
    with predictor:
        here = parse_images([photos], predictor, Path("plain"), spec, made_by=made_by)
    there = on_ray(photos, open_corners)
    task = predictor.task
    for result, storage, output in ((here, LocalStorage(), "plain"), (there, open_storage("ray"), "ray")):
        summary = task.summary(None)
        assert summary is not None
        assert write_summary(summary, task, result.parsed, storage, output) == f"{output}/keypoints.json"
    assert len(json.loads(Path("plain/keypoints.json").read_bytes())) == 24
    assert len(content("plain")) == 49
    assert content("ray") == content("plain")


@pytest.mark.slow
def test_what_a_worker_refuses_is_our_own_error_here(cluster: None, photos: Path) -> None:
    with pytest.raises(DataError, match=r"photos/bad\.jpg is not an image") as caught:
        on_ray(photos, strict=True)
    assert caught.value.hint == "Use JPEG or PNG files."


class NeedsMore:
    """Opens the engine here; a worker that unpacks it lacks a module."""

    def __call__(self) -> tuple[Predictor[LabelMap], MadeBy]:
        return open_grey()

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("not_on_the_workers",)


def test_a_module_that_workers_lack_is_named(cluster: None, photos: Path) -> None:
    with pytest.raises(MachineError, match=r"Ray's workers have no module not_on_the_workers\.") as caught:
        on_ray(photos, NeedsMore())
    assert "Install trtparse" in caught.value.hint


@pytest.mark.slow
def test_bytes_of_a_real_int8_engine_are_those_of_the_plain_run(
    cluster: None, bundle: Bundle, people: Dataset, photos: Path
) -> None:
    people_folder = Path("people")
    people_folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(people_folder / f"{index}.png"), people[index].image)

    def open_int8() -> tuple[Predictor[LabelMap], MadeBy]:
        opened = open_bundle(bundle.path)
        predictor = open_predictor(opened, "onnxruntime", threads=1)  # in workers nothing else names one
        return predictor, MadeBy.of(opened, predictor.engine)

    predictor, made_by = open_int8()
    with predictor:
        assert predictor.engine.precision == "int8"
        parse_images([people_folder], predictor, Path("plain"), made_by=made_by)
    on_ray(people_folder, open_int8)
    assert len(content("plain")) == 12
    assert content("ray") == content("plain")


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_processors_for_are_refused(cluster: None, photos: Path) -> None:
    with pytest.raises(MachineError, match="3 workers of 2 threads want 6 processors; the cluster has 2"):
        parse_on_ray(["photos"], open_grey, "out", address="auto", workers=3, threads=2)
