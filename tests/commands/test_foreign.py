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
from trtparse.tests.graphs.foreign_graphs import MEAN, STD, foreign

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
        ((*BY_HAND, "--mean", "0.5"), "has 1 numbers; it takes three", ""),
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
    from trtparse.tests.trt_builder.test_opset import old_graph

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
