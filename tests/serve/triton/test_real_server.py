"""The real Triton server, without a GPU: its Python backend and its ensembles, from the wheel of nvidia-pytriton.

The wheel wants an older NumPy than we test with, so it gets packages of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import trtparse
from trtparse.serve.model import NamedBundle
from trtparse.serve.triton.parser import ParserSpec
from trtparse.serve.triton.repository import export_repository
from trtparse.tasks.people.detector import detector_graph, open_detector
from trtparse.tests.conftest import MakeOnce
from trtparse.tests.engines.tiny_graphs import finder_graph
from trtparse.tests.serve.conftest import SIZE, labels_of, write_bundle, write_finder, write_joints

pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
from tritonclient import http
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

WHEEL = "nvidia-pytriton==0.7.0"
TWICE = "hands_people"
"""The model that keeps the two instances that it was exported with."""


@pytest.fixture(scope="session")
def packages(make_once: MakeOnce) -> Path:
    """A folder of packages with the server."""

    def make(folder: Path) -> None:
        packages = folder / "packages"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", packages]
        for words in (
            ["--no-deps", WHEEL, f"opencv-python=={version('opencv-python')}"],
            ["numpy<2", f"onnx=={version('onnx')}", f"onnxruntime=={version('onnxruntime')}"],
        ):
            done = subprocess.run([*pip, *words], capture_output=True, text=True)
            if done.returncode:
                (folder / "refused").write_text(done.stderr.strip().rpartition("\n")[2])
                return
        (packages / "trtparse").symlink_to(Path(trtparse.__file__).parent)

    folder = make_once("triton", make)
    if (folder / "refused").exists():
        pytest.skip(f"{WHEEL} and what it needs cannot be installed: {(folder / 'refused').read_text()}")
    return folder / "packages"


@pytest.fixture(scope="session")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder of bundles, and the address of a server that has them: of any batch, of one, with logits, of joints, and
    of boxes."""
    folder = tmp_path_factory.mktemp("triton")
    named = [
        NamedBundle("hands", write_bundle(folder / "hands")),
        NamedBundle("one", write_bundle(folder / "one", batch=1)),
        NamedBundle("logits", write_bundle(folder / "logits", returns="logits")),
        NamedBundle("joints", write_joints(folder / "joints")),
        NamedBundle("finder", write_finder(folder / "finder")),
    ]
    onnx.save(finder_graph(), folder / "finder.onnx")
    detector = detector_graph(folder / "finder.onnx")
    export_repository(named, folder / "repository", ParserSpec("python", threads=1), None, detector)
    for config in (folder / "repository").rglob("config.pbtxt"):  # each instance is a process that imports us
        if config.parent.name != TWICE:
            config.write_text(config.read_text().replace("count: 2", "count: 1"))
    triton = packages / "pytriton/tritonserver"
    stub = triton / f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    needs = subprocess.run(["ldd", stub], capture_output=True, text=True)
    if needs.returncode or "not found" in needs.stdout:
        pytest.skip(f"Triton's Python backend lacks a library here: {needs.stdout}{needs.stderr}")
    shutil.copytree(triton / "backends", folder / "backends")
    shutil.copy(stub, folder / "backends/python")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [triton / "bin/tritonserver", "--model-repository", folder / "repository"]
    words += ["--backend-directory", folder / "backends", "--http-address", "127.0.0.1", "--http-port", str(port)]
    # One model after the other: on a busy machine many processes that start at once end the server (lock_exception).
    words += ["--model-load-thread-count", "1"]
    libraries = {"LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs")}
    log = folder / "log"
    with log.open("w") as out:
        started = subprocess.Popen(
            [*words, "--allow-grpc", "false", "--allow-metrics", "false", "--exit-timeout-secs", "1"],
            cwd=packages,  # where the backend's Python looks for packages
            env={**os.environ, **libraries},
            stdout=out,
            stderr=out,
        )
        try:
            while not is_ready(port):
                assert started.poll() is None, log.read_text()
                time.sleep(0.1)
            yield folder, f"127.0.0.1:{port}"
        finally:
            started.terminate()
            started.wait()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def asked(address: str, model: str, name: str, array: np.ndarray, output: str) -> np.ndarray:
    client = http.InferenceServerClient(address, network_timeout=60)
    tensor = http.InferInput(name, list(array.shape), "UINT8")
    tensor.set_data_from_numpy(array)
    answer = client.infer(model, [tensor]).as_numpy(output)
    client.close()
    return answer


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    small = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "person.jpg"), cv2.resize(small, (400, 600)))
    return tmp_path / "person.jpg"


@pytest.mark.parametrize("people", [False, True])
@pytest.mark.parametrize("model", ["hands", "one", "logits"])
def test_a_photograph_s_label_map_is_that_of_parse_bit_for_bit(
    server: tuple[Path, str], model: str, people: bool, photograph: Path, tmp_path: Path
) -> None:
    from trtparse.data.images import read_label_map
    from trtparse.parse.images import parse_images
    from trtparse.tasks.open import open_predictor
    from trtparse.tests.predicting import HANDS

    folder, address = server
    detector = open_detector(folder / "finder.onnx", threads=1)
    with open_predictor(folder / model, "onnxruntime") as predictor:
        parse_images([photograph], predictor, tmp_path / "parsed", detector=detector if people else None)
    detector.close()
    asks = f"{model}_people" if people else f"{model}_photograph"
    found = asked(address, asks, "photograph", np.fromfile(photograph, np.uint8), "label_map")
    assert np.array_equal(found, read_label_map(tmp_path / "parsed/person.png", HANDS))


def test_two_instances_side_by_side_answer_each_its_own(server: tuple[Path, str], photograph: Path) -> None:
    client = http.InferenceServerClient(server[1])
    assert client.get_model_config(TWICE)["instance_group"][0]["count"] == 2
    client.close()
    turned = [np.roll(cv2.imread(str(photograph)), 50 * step, 0) for step in range(4)]
    data = [cv2.imencode(".jpg", image)[1] for image in turned]
    alone = [asked(server[1], TWICE, "photograph", one, "label_map") for one in data]
    assert len({one.tobytes() for one in alone}) == 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: asked(server[1], TWICE, "photograph", one, "label_map"), 8 * data))
    for found, expected in zip(together, 8 * alone):
        assert np.array_equal(found, expected)


def test_joints_and_boxes_are_those_that_load_gives(server: tuple[Path, str], photograph: Path) -> None:
    folder, address = server
    data = np.fromfile(photograph, np.uint8)
    with trtparse.load(folder / "joints", "onnxruntime", detector=folder / "finder.onnx") as find:
        for model, people in (("joints_photograph", "whole"), ("joints_people", "auto")):
            found = asked(address, model, "photograph", data, "keypoints")
            assert np.array_equal(found.reshape(-1, 5, 3), find(photograph, people=people).keypoints)
    with trtparse.load(folder / "finder", "onnxruntime", task="people") as find:
        expected = find(photograph)
    found = asked(address, "finder_photograph", "photograph", data, "people")
    assert np.array_equal(found[found[:, 4] >= 0.5], np.column_stack([expected.boxes, expected.scores]))
    assert np.array_equal(asked(address, "joints_people", "photograph", data, "people"), found[found[:, 4] >= 0.5])


def test_frames_become_what_the_engine_gives(server: tuple[Path, str]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    assert np.array_equal(asked(server[1], "hands", "frames", frames, "labels"), labels_of(frames))


def test_what_is_no_photograph_is_told_why(server: tuple[Path, str]) -> None:
    with pytest.raises(InferenceServerException, match="neither a JPEG nor a PNG"):
        asked(server[1], "hands_photograph", "photograph", np.frombuffer(b"GIF89a", np.uint8), "label_map")


def test_triton_reads_the_configurations_as_they_were_meant(server: tuple[Path, str]) -> None:
    client = http.InferenceServerClient(server[1])
    told: Any = client.get_model_config("hands")
    assert (told["max_batch_size"], told["dynamic_batching"]["max_queue_delay_microseconds"]) == (8, 2000)
    assert {entry["name"] for entry in client.get_model_repository_index()} == {
        f"{name}{part}"
        for name in ("hands", "one", "logits", "joints", "finder")
        for part in ("", "_frame", "_answer", "_photograph", "_people")
    } - {"finder_people"}
    client.close()
