"""Images on their way to the engines: read, checked and fitted in threads, a bounded number ahead."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ..errors import DataError
from ..specs.framing import Framing
from .dataset import Dataset, Image, LabelMap
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
        letterbox: where the image lies in it.
        labels: (H, W) uint8 at the image's own size; None where the dataset has none.
    """

    index: int
    name: str
    pixels: Image
    letterbox: Letterbox
    labels: LabelMap | None

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


def read_frame(dataset: Dataset, index: int, framing: Framing, order: str = "ce2p") -> Frame:
    """The frame of one image.

    Args:
        dataset: where it is.
        index: which.
        framing: of the network; what the image does not fill is black.
        order: of the protocol; HRNet's fill the frame, whatever the framing's stretch.

    Raises:
        DataError: the image or its label map cannot be read, or they differ in size.
    """
    sample = dataset[index]
    height, width = sample.image.shape[:2]
    labels = sample.labels if dataset.labelled else None
    if dataset.labelled and labels is None:
        raise DataError(f"{sample.name} has no label map.", "Check the dataset.")
    if labels is not None and labels.shape != (height, width):
        shape = " x ".join(str(length) for length in labels.shape)
        raise DataError(
            f"{sample.name} is {height} x {width} pixels (height x width), but its label map is {shape}.",
            "Use label maps of the size of their images.",
        )
    letterbox = Letterbox.fit(
        (height, width), framing.input_size, math.inf if order.startswith("hrnet") else framing.stretch
    )
    return Frame(index, sample.name, letterbox.apply(sample.image), letterbox, labels)


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
