"""What the shipped weights and their INT8 graphs reach on real photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.engines import Bundle
from trtparse.networks.weights import DEFAULT_WEIGHTS
from trtparse.tasks.open import open_predictor
from trtparse.tasks.parsing.files import open_dataset
from trtparse.trt_builder.build import BuildSpec, build_bundle
from trtparse.validation.result import ValidationResult
from trtparse.validation.validate import validate

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def photographs() -> Path:
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}")
    return folder


@pytest.fixture(scope="module")
def calibrated(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Calibrated on LIP's unlabelled test images."""
    dataset = open_dataset(photographs / "lip", purpose="calibration")
    return build_bundle(
        BuildSpec(DEFAULT_WEIGHTS, validate=False), dataset, tmp_path_factory.mktemp("real") / "student"
    ).bundle


def compared(bundle: Bundle, target: str, data: Path) -> ValidationResult:
    with open_predictor(bundle, "pytorch") as reference, open_predictor(bundle, target, "int8") as engine:
        return validate(reference, engine, open_dataset(data))


@pytest.mark.parametrize("target", ["cpu", "simulated"])
def test_int8_loses_at_most_0_3_points_on_held_out_photographs(
    target: str, calibrated: Bundle, photographs: Path
) -> None:
    result = compared(calibrated, target, photographs / "ccp20")
    assert result.images == 139
    assert result.reference is not None
    assert result.reference.mean_iou >= 0.48
    assert result.first.loss is not None
    assert result.first.loss.points <= 0.3
    assert result.first.agreement.mean_iou >= 0.96


def test_the_calibration_set_is_listed_and_comes_from_unlabelled_images(calibrated: Bundle) -> None:
    assert calibrated.manifest.calibration["images"] == 256
    assert "test" in calibrated.manifest.calibration["dataset"]
