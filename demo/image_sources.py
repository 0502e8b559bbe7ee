"""Where do frames come from: a folder of images, a pattern, or a single image."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..data.dataset import Image
from ..data.image_files import IMAGE_EXTENSIONS, endings, is_image, left_out
from ..data.images import read_image
from ..errors import DataError
from .pacing import Notify, PacedSource, fitted, say_nothing, scaled, within

_VIDEO_RATE = 25.0
_SLIDES_RATE = 2.0
_NUMBER = re.compile(r"\d+")


class ImageSource(PacedSource):
    """Images as the frames of a video, each upright and brought to the first one's size.

    Grey and 16-bit ones become BGR of 8 bits, transparency is dropped; one that cannot be read is left out, and that
    is said.

    Args:
        paths: of the images, in order.
        name: what to call them together.
        fps: frames per second; None takes 25 for images that are numbered as those of a video are, and 2 for
            others, which a person looks at one by one.
        policy: see :data:`~trtparse.demo.pacing.POLICIES`.
        notify: told what is unusual about them.
        most: (height, width) within which they are to lie; larger ones are scaled down. None takes them as they are.

    Attributes:
        numbered: whether they are numbered as the frames of a video: upwards, and mostly by one.

    Raises:
        DataError: there are none, or not one can be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        name: str,
        fps: float | None = None,
        policy: str = "all",
        notify: Notify | None = None,
        most: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(policy, notify)
        if not paths:
            raise DataError(f"There are no images in {name}.", f"Images end in {', '.join(IMAGE_EXTENSIONS)}.")
        self.name = name
        self.path = Path(paths[0]) if len(paths) == 1 else None
        steps = _steps(paths)
        gaps = [index for index, step in enumerate(steps) if step != 1]
        self.numbered = bool(steps) and min(steps) > 0 and 2 * len(gaps) < len(steps)
        self.fps = fps or (_VIDEO_RATE if self.numbered else _SLIDES_RATE)
        if gaps and min(steps) > 0:
            missing, after = sum(steps) - len(steps), Path(paths[gaps[0]]).name
            told = f"{missing} missing in the numbers of {name}, the first after {after}"
            self._notify(
                f"{told}: played as a video of {self.fps:g} frames per second (--fps sets another rate)."
                if self.numbered
                else f"{told}: {self.fps:g} are shown per second (--fps sets another rate)."
            )
        self.frame_count: int | None = len(paths)
        self.frames_missing = 0
        self._paths = paths
        self._next = self._taken = 0
        self._resized = False
        first = self._read_next(several=len(paths) > 1)
        if first is None:
            raise DataError(f"Not one of the {len(paths)} images in {name} can be read.", "Use JPEG or PNG files.")
        self._first: Image | None = first
        self._own_size = (first.shape[0], first.shape[1])
        self.size: tuple[int, int] = within(self._own_size, most)

    def _take(self) -> tuple[Image, float] | None:
        frame, self._first = self._first, None
        if frame is None:
            frame = self._read_next(several=True)
        if frame is None:
            return None
        self._taken += 1
        if frame.shape[:2] == self._own_size:
            frame = scaled(frame, self.size)
        elif frame.shape[:2] != self.size:
            if not self._resized:
                self._notify(
                    f"The images of {self.name} differ in size; all are brought to the first one's, "
                    f"{self.size[1]}x{self.size[0]}."
                )
            self._resized = True
            frame = fitted(frame, self.size)
        return frame, (self._taken - 1) / self.fps

    def _read_next(self, several: bool) -> Image | None:
        """The next image that can be read; where there is one alone, its error is raised."""
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            try:
                return read_image(path, upright=True)
            except DataError as error:
                if not several:
                    raise
                self.frames_missing += 1
                self._notify(f"{error.message} It is left out.")
        return None


def images_in(folder: Path, notify: Notify = say_nothing) -> list[str]:
    """The images of a folder, without those below it; numbers in their names count as such, 2 before 10.

    Args:
        folder: to look in.
        notify: told how many other files are left out.

    Raises:
        DataError: the folder cannot be opened.
    """
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    except OSError as error:
        raise DataError(f"{folder} cannot be opened: {error.strerror}.", "Check its permissions.") from error
    found = [path for path in files if is_image(path.name)]
    others = left_out(endings(path.name for path in files if not is_image(path.name)))
    if others and found:
        notify(f"{folder}: {others}.")
    return sorted((str(path) for path in found), key=_as_read)


def images_like(pattern: str) -> list[str]:
    """The images that a pattern such as ``run/frame-*.png`` matches, in the order of :func:`images_in`.

    Raises:
        DataError: it matches something else.
    """
    found = sorted(glob.glob(pattern, recursive=True), key=_as_read)
    for path in found:
        if not is_image(Path(path).name):
            raise DataError(
                f"{pattern} matches {path}, which is no image.", f"Images end in {', '.join(IMAGE_EXTENSIONS)}."
            )
    return found


def _as_read(path: str) -> list[tuple[int, str]]:
    """A key that sorts by numbers where names have them."""
    texts, numbers = _NUMBER.split(path), [*_NUMBER.findall(path), "0"]
    return [part for text, number in zip(texts, numbers) for part in ((0, text), (int(number), ""))]


def _steps(paths: Sequence[str]) -> list[int]:
    """How far the last numbers of the names are apart; empty where one has none."""
    numbers = [int(found[-1]) for path in paths if (found := _NUMBER.findall(Path(path).stem))]
    return [after - before for before, after in pairwise(numbers)] if len(numbers) == len(paths) else []
