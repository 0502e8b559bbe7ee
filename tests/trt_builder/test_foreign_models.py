"""A network that nobody here made, all the way: built in INT8 within a budget, validated and drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trtparse.cli import main
from trtparse.data.images import read_image
from trtparse.engines import open_bundle
from trtparse.tasks.open import open_predictor


@pytest.mark.shared
@pytest.mark.slow
def test_bodypix_is_built_within_a_budget_validated_and_drawn(shared_data: Path, tmp_path: Path) -> None:
    graph = shared_data.parent / "models" / "bodypix_mobilenet050_stride8.onnx"
    images = sorted((shared_data / "person_masks" / "images").glob("*.jpg"))[:12]
    if not graph.is_file() or len(images) < 12:
        pytest.skip(f"no {graph}, or no photographs beside it")
    folder, bundle = tmp_path / "photographs", tmp_path / "bundle"
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder)
    words = ("build", graph, "--preset", "bodypix", "--int8", "--calibration", "max", "--data", folder)
    main([*map(str, words), "--min-agreement", "90", "--output", str(bundle), "--input-size", "161x161"])
    manifest = open_bundle(bundle).manifest
    assert manifest.calibration["search"]["score"]["agreement"] >= 90
    assert (manifest.spec.name, manifest.options["preset"]) == ("BodyPix-24", "bodypix")
    main(["validate", str(bundle), "--data", str(folder), "--tolerance", "100", "--no-report"])
    main(["demo", str(folder), "--bundle", str(bundle), "--output", str(tmp_path / "out.mp4")])
    assert (tmp_path / "out.mp4").stat().st_size > 1000
    with open_predictor(bundle, "cpu", "fp32") as predictor:
        shares = [float((predictor.look_at(read_image(image)) > 0).mean()) for image in images]
    # Streets with people: some of every picture, and never most of it, is a person.
    assert 0.01 < sum(shares) / len(shares) < 0.6
