"""The pictures of the pages are there, and the script that draws the moving one writes what it should."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trtparse.data.people.passers import Passers

ROOT = Path(__file__).resolve().parents[2]
PICTURES = [
    (page, picture)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8"))
]


@pytest.fixture
def script() -> ModuleType:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    spec = importlib.util.spec_from_file_location("draw_street", ROOT / "docs" / "draw_street.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_opens_with_a_moving_picture() -> None:
    assert any(page.name == "README.md" and picture.endswith(".gif") for page, picture in PICTURES)


@pytest.mark.parametrize(("page", "picture"), PICTURES, ids=lambda value: getattr(value, "name", value))
def test_a_picture_that_a_page_shows_is_there_and_no_burden(page: Path, picture: str) -> None:
    assert (page.parent / picture).stat().st_size <= 1_500_000


def test_a_film_becomes_a_moving_picture_of_its_frames(script: ModuleType, tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    film = Passers(3, (90, 160), people=2, seed=1)
    frames = list(film)
    script.write_gif(tmp_path / "street.gif", frames, film.fps)
    with Image.open(tmp_path / "street.gif") as picture:
        assert (picture.size, picture.info["loop"], picture.info["duration"]) == ((160, 90), 0, 80)
        shown = [np.asarray(one.convert("RGB"))[..., ::-1] for one in ImageSequence.Iterator(picture)]
    assert len(shown) == 3
    for one, frame in zip(shown, frames):
        assert np.abs(one.astype(int) - frame).mean() < 8
