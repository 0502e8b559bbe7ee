"""Fixtures that several folders of tests use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from trtparse.data.dataset import Dataset
from trtparse.data.letterbox import Letterbox
from trtparse.engines import Bundle
from trtparse.engines.base import Frames

settings.register_profile("patient", deadline=None)  # how long an example takes says nothing of the code
settings.load_profile("patient")


@pytest.fixture
def shared_data() -> Path:
    """The photographs beside the project; a test that needs them is skipped where there are none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}")
    return folder


@pytest.fixture(scope="session")
def people() -> Dataset:
    """Twelve synthetic people with labels."""
    from trtparse.data.synthetic import SyntheticPeople

    return SyntheticPeople(12, seed=3)


@pytest.fixture(scope="session")
def frames(people: Dataset) -> Frames:
    """(6, 256, 192, 3) uint8: people letterboxed to the default input."""
    images = [people[index].image for index in range(6)]
    return np.stack([Letterbox.fit((i.shape[0], i.shape[1]), (256, 192), 1.0).apply(i) for i in images])


@pytest.fixture(scope="session")
def pristine_bundle(people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
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
    return build_bundle(spec, people, tmp_path_factory.mktemp("built") / "student").bundle


@pytest.fixture
def bundle(pristine_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle that a test may spoil."""
    shutil.copytree(pristine_bundle.path, tmp_path / "student")
    return Bundle(tmp_path / "student", pristine_bundle.manifest)
