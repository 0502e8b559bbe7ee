"""The moving picture at the top of the README: rendered people on a street, found, parsed and posed.

trtparse build && trtparse build --task pose
python docs/draw_street.py build/student build/pose docs/demo-street.gif

Pillow writes the file (pip install pillow); what is seen in it is what ``trtparse demo`` draws with both bundles.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
from PIL import Image as Picture

from trtparse.data.dataset import Image
from trtparse.data.people.passers import Passers
from trtparse.demo.people.finder import PeopleFinder
from trtparse.demo.pipeline import run_demo
from trtparse.demo.sources import ArraySource
from trtparse.engines import open_bundle
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.detector import open_detector
from trtparse.tasks.predictor import Predictor

COLOURS = 96
"""Of a GIF's 256: fewer make smaller files, and by eye no other picture."""


class Collected:
    """A sink that keeps the frames."""

    latest_only = False
    path: Path | None = None

    def __init__(self) -> None:
        self.frames: list[Image] = []

    def write(self, frame: Image, seconds: float | None = None) -> bool:
        self.frames.append(frame)
        return True


def drawn(film: Passers, predictors: list[Predictor[Any]]) -> list[Image]:
    """Every frame as the demo draws it."""
    detector = open_detector(threads=1)
    sink = Collected()
    source = ArraySource(film, film.size, film.fps, name="a street")
    run_demo(source, predictors, [sink], people=PeopleFinder(detector), smooth=True)
    detector.close()
    return sink.frames


def write_gif(path: Path, frames: list[Image], fps: float) -> None:
    """One palette for all frames and no dithering: what stands still in the picture costs nothing."""
    pictures = [Picture.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) for frame in frames]
    sheet = Picture.new("RGB", (pictures[0].width, 4 * pictures[0].height))
    for place in range(4):
        sheet.paste(pictures[place * (len(pictures) - 1) // 3], (0, place * pictures[0].height))
    palette = sheet.quantize(COLOURS, Picture.Quantize.MEDIANCUT, kmeans=2)
    flat = [picture.quantize(palette=palette, dither=Picture.Dither.NONE) for picture in pictures]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=round(1000 / fps), loop=0, optimize=False)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("parser", type=Path, help="a bundle for parsing")
    arguments.add_argument("poser", type=Path, help="a bundle for pose")
    arguments.add_argument("output", type=Path, help="the GIF")
    arguments.add_argument("--frames", type=int, default=42)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--precision", default="fp32", help="of both bundles' graphs")
    asked = arguments.parse_args()
    film = Passers(asked.frames, seed=asked.seed)
    parser, poser = (open_bundle(path) for path in (asked.parser, asked.poser))
    with (
        open_predictor(parser, precision=asked.precision, threads=1) as parsing,
        open_predictor(poser, precision=asked.precision, threads=1) as posing,
    ):
        frames = drawn(film, [parsing, posing])
    write_gif(asked.output, frames, film.fps)
    print(
        f"{asked.output}: {len(frames)} frames of {film.size[1]}x{film.size[0]}, {asked.output.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
