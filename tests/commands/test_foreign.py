"""Somebody else's graph from the command line: what it is, a bundle of it, or why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from trtparse.engines import open_bundle
from trtparse.specs.label_set import label_set
from trtparse.tasks.open import open_predictor
from trtparse.tests.graphs.foreign_graphs import MEAN, STD, bright_boxes, foreign, foreign_joints

Run = Callable[..., tuple[int, str, str]]

BY_HAND = (
    *("--labels", "atr", "--input-order", "rgb", "--align-corners"),
    *("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))),
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("theirs") / "theirs.onnx"
    onnx.save(foreign(opset=13, size=(64, 48)), path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(6):
        small = random.integers(0, 256, (12, 9, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (90, 120)))
    return folder


@pytest.fixture(scope="module")
def built(theirs: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trtparse.cli import main

    output = tmp_path_factory.mktemp("built") / "bundle"
    words = ("build", theirs, *BY_HAND, "--int8", "--calibration", "max", "--data", photographs, "--output", output)
    main([*map(str, words), "--returns", "logits", "--threads", "1"])
    return output


def test_a_graph_told_by_hand_becomes_an_int8_bundle_whose_reference_is_its_own(built: Path, run: Run) -> None:
    manifest = open_bundle(built).manifest
    assert (manifest.spec, manifest.framing.order) == (label_set("atr"), "RGB")
    assert manifest.precisions == ("fp32", "fp16", "int8")
    assert manifest.options["source"] == "theirs.onnx"
    assert manifest.parity["fp32"]["pixel_agreement"] == 1
    code, told, _ = run("inspect", built)
    assert code == 0
    assert "as in the FP32 graph" in " ".join(told.split())


def test_it_is_validated_and_parsed_like_any_other(built: Path, photographs: Path, run: Run, tmp_path: Path) -> None:
    code, told, _ = run("validate", built, "--data", photographs, "--no-report", "--json", "--threads", "1")
    result = json.loads(told)
    assert code == 0
    assert (result["reference_run"]["precision"], result["protocol"]["order"]) == ("fp32", "logits")
    assert result["spec"]["name"] == "ATR-18"
    code, _, error = run("parse", photographs, "--bundle", built, "--output", tmp_path / "maps", "--threads", "1")
    assert code == 0, error
    found = cv2.imread(str(tmp_path / "maps" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert found.shape[:2] == (120, 90)


def test_logits_go_back_before_their_argmax(built: Path, photographs: Path) -> None:
    image = cv2.imread(str(photographs / "1.png"))
    with open_predictor(built, "cpu", "fp32", threads=1) as predictor:
        found = predictor.look_at(image)
        logits = predictor.infer(predictor.letterbox((120, 90)).apply(image)[None])[0]
    assert logits.shape == (18, 64, 48)
    wanted = cv2.resize(np.ascontiguousarray(logits.transpose(1, 2, 0)), (90, 120)).argmax(2)
    assert (found == wanted).mean() > 0.999
    nearest = cv2.resize(logits.argmax(0).astype(np.uint8), (90, 120), interpolation=cv2.INTER_NEAREST_EXACT)
    assert (found != nearest).mean() > 0.01


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        ((), "the one input must be called frames. It has pixels (1, 3, 64, 48) float", "--preset"),
        (("--preset", "schp-atr"), "64x48 pixels, not 512x512", "inspect"),
        (("--preset", "schp"), "There is no preset 'schp'", "schp-lip"),
        (BY_HAND[2:], "does not say what its classes mean", "--preset bodypix|"),
        ((*BY_HAND, "--mean", "0.5"), "has 1 number; it takes three", ""),
        ((*BY_HAND, "--mean", "0.5,0.5,0.5,0.5"), "has 4 numbers; it takes three", ""),
        ((*BY_HAND, "--output-name", "logits"), "has no output logits; it gives scores", "--output-name"),
    ],
)
def test_what_is_not_said_or_does_not_fit_is_told(
    words: tuple[str, ...], told: str, hint: str, theirs: Path, photographs: Path, run: Run, tmp_path: Path
) -> None:
    code, _, error = run("build", theirs, "--fp16", "--data", photographs, "--output", tmp_path / "new", *words)
    assert code == 2
    assert told in " ".join(error.split())
    assert hint in error
    assert not (tmp_path / "new").exists()


def test_a_graph_of_ours_is_not_told_how_it_takes_images(small_ours: Path, run: Run) -> None:
    code, _, error = run("build", small_ours, "--fp16", "--preset", "schp-lip")
    assert code == 2
    assert "has our input and outputs already: --preset cannot change them" in " ".join(error.split())


@pytest.fixture
def small_ours(tmp_path: Path) -> Path:
    from trtparse.tests.trt_builder.test_rehearsal import old_graph

    onnx.save(old_graph(opset=20), tmp_path / "ours.onnx")
    return tmp_path / "ours.onnx"


def test_inspect_tells_what_a_graph_takes_and_which_presets_fit(theirs: Path, small_ours: Path, run: Run) -> None:
    code, told, _ = run("inspect", theirs)
    words = " ".join(told.split())
    assert code == 0
    assert "takes pixels (1, 3, 64, 48) float" in words
    assert "gives scores" in words
    assert "preset schp-atr it takes 64x48 pixels, not 512x512" in words
    code, told, _ = run("inspect", theirs, "--json")
    found = json.loads(told)
    assert (found["opset"], found["ours"], found["presets"]["fits"]) == (13, False, [])
    assert set(found["presets"]["others"]) > {"bodypix", "movenet"}
    _, told, _ = run("inspect", small_ours)
    assert "ours: frames in, labels out, 20 classes" in " ".join(told.split())
    code, _, error = run("inspect", theirs.with_name("none.onnx"))
    assert code == 2
    assert "no file" in error


@pytest.mark.shared
def test_graphs_that_failed_are_built_or_refused_for_what_they_are(
    shared_data: Path, photographs: Path, run: Run, tmp_path: Path
) -> None:
    cases = shared_data.parent / "cases"
    if not cases.is_dir():
        pytest.skip(f"no {cases}")

    def build(name: str, *words: str) -> tuple[int, str]:
        output = tmp_path / name
        code, _, error = run(
            *("build", cases / f"{name}.onnx", "--int8", "--calibration", "max", "--no-validate", *words),
            *("--data", photographs, "--output", output, "--threads", "1"),
        )
        assert output.exists() == (code == 0)
        return code, error

    for name in ("hand13", "hand18"):
        assert build(name)[0] == 0
    code, error = build("cls18")
    assert (code, "tells 18 classes apart and does not say which" in error) == (2, True)
    assert build("cls18", "--labels", "atr")[0] == 0
    code, error = build("cls25")
    assert (code, "tells 25 classes apart and does not say which" in error) == (2, True)
    code, error = build("cls25", "--labels", "atr")
    assert (code, "25 classes apart, and its label set is ATR-18 (18 classes)" in error) == (2, True)


# A detector


def streets_of(folder: Path) -> Path:
    """Six pictures of 128 x 192 pixels with bright squares of 64, and a file of boxes around them."""
    from trtparse.tasks.people.boxes import Detections
    from trtparse.tasks.people.found import Found, write_found

    cells = [[(0, 0)], [(1, 2), (0, 1)], [(1, 1)], [], [(0, 2), (1, 0)], [(1, 0)]]
    found = []
    for number, places in enumerate(cells):
        picture = np.full((128, 192, 3), 40, np.uint8)
        corners = np.array([(64 * x, 64 * y) for y, x in places], np.float64).reshape(-1, 2)
        for left, top in corners.astype(int):
            picture[top : top + 64, left : left + 64] = 235
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        people = Detections(np.concatenate([corners, corners + 64], axis=1), np.ones(len(corners)))
        found.append(Found(folder / f"{number}.png", (128, 192), people))
    write_found(folder / "boxes.json", found, folder, "bright squares")
    return folder


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streets_of(tmp_path_factory.mktemp("streets"))


@pytest.fixture(scope="module")
def finder(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trtparse.cli import main

    folder = tmp_path_factory.mktemp("finder")
    onnx.save(bright_boxes(), folder / "yolox.onnx")
    words = ("build", folder / "yolox.onnx", "--preset", "yolox", "--int8", "--calibration", "max", "--data", streets)
    main([*map(str, words), "--output", str(folder / "bundle"), "--sure", str(streets), "--threads", "1"])
    return folder / "bundle"


def test_a_yolox_becomes_a_bundle_that_finds_people(finder: Path, streets: Path, run: Run) -> None:
    manifest = open_bundle(finder).manifest
    assert (manifest.task, manifest.options["preset"]) == ("people", "yolox")
    assert (manifest.framing.place, manifest.framing.fill) == ("upper left", 114)
    assert 0.01 < manifest.options["sure"] < 0.99
    code, told, error = run("validate", finder, "--data", streets, "--no-report", "--json", "--threads", "1")
    assert code == 0, error
    result = json.loads(told)
    assert (result["task"], result["reference"]["ap50"], result["images"]) == ("people", 1.0, 6)
    assert result["engines"][0]["scores"]["ap50"] == 1.0
    _, told, _ = run("inspect", finder / "student.fp32.onnx")
    assert "ours: frames in, boxes out" in " ".join(told.split())
    assert "--labels" not in told
    code, told, _ = run("inspect", finder)
    assert code == 0
    assert "lie in the upper left of a frame; the rest is grey 114" in " ".join(told.split())


def test_it_is_a_detector_and_parses_like_any_finder(finder: Path, streets: Path, run: Run, tmp_path: Path) -> None:
    from trtparse.tasks.people.detector import open_detector

    detector = open_detector(finder, threads=1)
    # Higher than wide: the network sees it in the left half of its frame.
    tall = np.full((256, 192, 3), 40, np.uint8)
    tall[128:256, :128] = 235
    (found,) = detector.detect([tall])
    detector.close()
    assert found.boxes[found.scores >= detector.sure] == pytest.approx(np.array([[0, 128, 128, 256]]), abs=1)
    code, _, error = run("parse", streets, "--bundle", finder, "--output", tmp_path / "found", "--threads", "1")
    assert code == 0, error
    results = json.loads((tmp_path / "found" / "people.json").read_text())
    assert sum(entry["score"] > 0.5 for entry in results) == 7


def test_two_detectors_are_compared_by_their_boxes(streets: Path, run: Run, tmp_path: Path) -> None:
    model = bright_boxes()
    onnx.save(model, tmp_path / "one.onnx")
    (bias,) = [tensor for tensor in model.graph.initializer if tensor.name == "box32_bias"]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([0.5, 0.5, 0.9, 0.9], np.float32), bias.name))
    onnx.save(model, tmp_path / "two.onnx")
    words = ("compare", tmp_path / "one.onnx", tmp_path / "two.onnx", "--preset", "yolox", "--data", streets)
    code, told, error = run(*words, "--layers", "--json", "--threads", "1")
    assert code == 4, error
    result = json.loads(told)
    assert (result["reference"]["ap50"], result["engines"][0]["scores"]["ap50"]) == (1.0, 0.0)
    assert result["layers"]["first"] == "box32"


def test_networks_that_give_joints_alone_are_compared_as_well(run: Run, tmp_path: Path) -> None:
    onnx.save(foreign_joints(size=(256, 256)), tmp_path / "one.onnx")
    onnx.save(foreign_joints(size=(256, 256)), tmp_path / "two.onnx")
    words = ("compare", tmp_path / "one.onnx", tmp_path / "two.onnx", "--preset", "movenet")
    code, told, error = run(*words, "--limit", "2", "--json", "--threads", "1")
    assert code == 0, told + error
    assert json.loads(told)["task"] == "pose"
