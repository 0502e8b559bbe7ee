"""Where do frames come from: a folder of images, a pattern, or a single image."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..data.dataset import Image
from ..data.images import read_image
from ..errors import DataError
from ..parse.listing import EXTENSIONS
from .pacing import Notify, PacedSource, fitted

IMAGE_EXTENSIONS = (*EXTENSIONS, ".tif", ".tiff")
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
        fps: frames per second; None takes 25 for images that are numbered without a gap, as those of a video are,
            and 2 for others, which a person looks at one by one.
        policy: see :data:`~trtparse.demo.pacing.POLICIES`.
        notify: told what is unusual about them.

    Attributes:
        numbered: whether they are numbered without a gap.

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
    ) -> None:
        super().__init__(policy, notify)
        if not paths:
            raise DataError(f"There are no images in {name}.", f"Images end in {', '.join(IMAGE_EXTENSIONS)}.")
        self.name = name
        self.path = Path(paths[0]) if len(paths) == 1 else None
        self.numbered = _are_numbered(paths)
        self.fps = fps or (_VIDEO_RATE if self.numbered else _SLIDES_RATE)
        self.frame_count: int | None = len(paths)
        self.frames_missing = 0
        self._paths = paths
        self._next = self._taken = 0
        self._resized = False
        first = self._read_next(several=len(paths) > 1)
        if first is None:
            raise DataError(f"Not one of the {len(paths)} images in {name} can be read.", "Use JPEG or PNG files.")
        self._first: Image | None = first
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])

    def _take(self) -> tuple[Image, float] | None:
        frame, self._first = self._first, None
        if frame is None:
            frame = self._read_next(several=True)
        if frame is None:
            return None
        self._taken += 1
        if frame.shape[:2] != self.size:
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


def images_in(folder: Path) -> list[str]:
    """The images of a folder, without those below it; numbers in their names count as such, 2 before 10."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file()]
    return sorted((str(path) for path in found if not path.name.startswith(".")), key=_as_read)


def images_like(pattern: str) -> list[str]:
    """The images that a pattern such as ``run/frame-*.png`` matches, in the order of :func:`images_in`.

    Raises:
        DataError: it matches something else.
    """
    found = sorted(glob.glob(pattern, recursive=True), key=_as_read)
    for path in found:
        if Path(path).suffix.lower() not in IMAGE_EXTENSIONS:
            raise DataError(
                f"{pattern} matches {path}, which is no image.", f"Images end in {', '.join(IMAGE_EXTENSIONS)}."
            )
    return found


def _as_read(path: str) -> list[tuple[int, str]]:
    """A key that sorts by numbers where names have them."""
    texts, numbers = _NUMBER.split(path), [*_NUMBER.findall(path), "0"]
    return [part for text, number in zip(texts, numbers) for part in ((0, text), (int(number), ""))]


def _are_numbered(paths: Sequence[str]) -> bool:
    """Whether the last numbers of the names go up by one."""
    numbers = [[int(number) for number in _NUMBER.findall(Path(path).stem)[-1:]] for path in paths]
    return len(paths) > 1 and all(numbers) and all(b[0] == a[0] + 1 for a, b in pairwise(numbers))
