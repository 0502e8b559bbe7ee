"""Images on their way to the engines: read, checked and fitted in threads, a bounded number ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..errors import DataError
from ..specs.framing import Framing
from .crops import Placement, place
from .dataset import Box, Image, Images, label_set_of
from .letterbox import Letterbox

Item = TypeVar("Item")
Found = TypeVar("Found")

READERS = min(4, os.cpu_count() or 1)
"""Threads. Decoding and resizing leave Python's lock, and four keep up with any engine on the same machine."""


@dataclass(frozen=True)
class Frame:
    """An image as the engines see it.

    Args:
        index: in its dataset.
        name: of the image.
        pixels: (h, w, 3) uint8, BGR, at the network's input size.
        placement: where the image lies in it.
        labels: what is known of the image, in its own pixels, such as a label map (H, W) uint8; None where the dataset
            has no labels.
        box: around the person in the image whom it is about; None where it is about the image.
    """

    index: int
    name: str
    pixels: Image
    placement: Placement
    labels: NDArray[Any] | None
    box: Box | None = None

    @property
    def letterbox(self) -> Letterbox:
        """The placement of a whole image."""
        assert isinstance(self.placement, Letterbox), "a network that sees crops was asked about whole images"
        return self.placement

    @property
    def inside(self) -> tuple[slice, slice]:
        """The part of the frame that the image covers."""
        box = self.letterbox
        return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read: its index, its name and why."""

    index: int
    name: str
    error: DataError


def read_frame(dataset: Images, index: int, framing: Framing) -> Frame:
    """The frame of one image.

    Args:
        dataset: where it is.
        index: which.
        framing: of the network.

    Raises:
        DataError: the image or its labels cannot be read, or a label map is of another size.
    """
    sample = dataset[index]
    height, width = sample.image.shape[:2]
    labels = sample.labels if dataset.labelled else None
    if dataset.labelled and labels is None:
        what = "labels" if label_set_of(dataset) is None else "label map"
        raise DataError(f"{sample.name} has no {what}.", "Check the dataset.")
    if labels is not None and label_set_of(dataset) is not None and labels.shape != (height, width):
        shape = " x ".join(str(length) for length in labels.shape)
        raise DataError(
            f"{sample.name} is {height} x {width} pixels (height x width), but its label map is {shape}.",
            "Use label maps of the size of their images.",
        )
    placement = place(framing, (height, width), sample.box)
    return Frame(index, sample.name, placement.apply(sample.image), placement, labels, sample.box)


def read_ahead(
    read: Callable[[int], Frame], indices: Sequence[int], names: Sequence[str], ahead: int
) -> Generator[Frame | Unreadable, None, None]:
    """Frames in the order of ``indices``, at most ``ahead`` of them read and not yet taken.

    The generator owns its threads: close it, or take all it gives.

    Args:
        read: the frame of an index; raises DataError where it cannot be read.
        indices: of the images.
        names: of all images of the dataset.
        ahead: at least 1.
    """

    def attempt(index: int) -> Frame | Unreadable:
        try:
            return read(index)
        except DataError as error:
            return Unreadable(index, names[index], error)

    return called_ahead(attempt, indices, ahead)


def called_ahead(
    call: Callable[[Item], Found], items: Iterable[Item], ahead: int, readers: int = READERS
) -> Generator[Found, None, None]:
    """``call`` of each item in threads, in the items' order; memory does not grow with their number.

    The generator owns its threads: close it, or take all it gives. What ``call`` raises comes where its item would.

    Args:
        call: runs in several threads at a time.
        items: taken as they are needed.
        ahead: how many are begun and not yet taken; at least 1.
        readers: threads.
    """
    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
    try:
        rest = iter(items)
        waiting = deque(pool.submit(call, item) for item in islice(rest, ahead))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(call, item) for item in islice(rest, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)
