"""Test-time augmentation: the logits of a frame averaged with those of its mirror image and of other scales.

How LIP's literature does it (JPPNet, CE2P, SCHP): every view goes through the network, its logits come back to the
frame (mirrored ones mirrored back, left and right classes swapped), and argmax follows the mean. Engines have one
input size, so scales are views of that size: a smaller frame lies in the middle of a black canvas, as in training
with random scales, and a larger one is covered by overlapping windows, as HRNet's evaluation slides them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ...engines.base import Arrays, Engine, Frames
from ...errors import UsageError
from ...specs.label_set import LabelSet
from .task import Logits

SMALLEST_SCALE, LARGEST_SCALE = 0.25, 2.0
"""A person of a quarter of the frame is at the limit of what the network can see; up to 2, four windows do."""


class AugmentedEngine(Engine):
    """An engine that looks at every frame several times.

    It takes frames of the same size and batch as the engine it looks through, which it does not own: closing it
    leaves that one open. Off unless somebody asks for it: times are those of all views together.

    Args:
        engine: gives logits.
        label_set: of its classes; names those that change places in a mirror.
        flip: look at the mirror image as well.
        scales: 1 is the frame as it is.

    Raises:
        UsageError: the engine gives no logits, or the scales make no sense.
    """

    def __init__(
        self, engine: Engine, label_set: LabelSet, *, flip: bool = False, scales: Sequence[float] = (1.0,)
    ) -> None:
        check_scales(scales)
        check_logits(engine, "Test-time augmentation")
        super().__init__()
        self._engine, self._flip, self._scales = engine, flip, tuple(scales)
        self._swapped = label_set.flip_table()[: len(label_set)]
        self.name, self.target, self.precision = engine.name, engine.target, engine.precision
        self.between = engine.between
        self.input_size, self.batch, self.outputs = engine.input_size, engine.batch, engine.outputs
        self.gives_raw = True

    def raw(self, frames: Frames) -> Logits:
        """(N, C, h, w) float32: the mean over all views."""
        self._check(frames)
        views = [self._at_scale(frames, scale) for scale in self._scales]
        total = views[0]
        for view in views[1:]:
            total += view
        mean: Logits = total / np.float32(len(views))
        return mean

    def _run(self, frames: Frames) -> Arrays:
        return (self.raw(frames).argmax(axis=1).astype(np.uint8),)

    def _at_scale(self, frames: Frames, scale: float) -> Logits:
        height, width = self.input_size
        new_height, new_width = scaled(height, scale), scaled(width, scale)
        if (new_height, new_width) == (height, width):
            return self._look(frames)
        if scale < 1:
            top, left = (height - new_height) // 2, (width - new_width) // 2
            rows, columns = slice(top, top + new_height), slice(left, left + new_width)
            canvas = np.zeros_like(frames)
            for place, frame in zip(canvas, frames):
                place[rows, columns] = cv2.resize(frame, (new_width, new_height), interpolation=cv2.INTER_AREA)
            return _resized(self._look(canvas)[:, :, rows, columns], (height, width))
        enlarged = np.stack([cv2.resize(frame, (new_width, new_height)) for frame in frames])
        total = np.zeros((len(frames), len(self._swapped), new_height, new_width), np.float32)
        looks = np.zeros((new_height, new_width), np.float32)
        for rows, columns in _windows((new_height, new_width), (height, width)):
            total[:, :, rows, columns] += self._look(np.ascontiguousarray(enlarged[:, rows, columns]))
            looks[rows, columns] += 1
        return _resized(total / looks, (height, width))

    def _look(self, frames: Frames) -> Logits:
        """Logits of frames, and where asked for of their mirror images."""
        plain = self._engine.raw(frames)
        if not self._flip:
            return plain
        mirrored = self._engine.raw(np.ascontiguousarray(frames[:, :, ::-1]))
        mean: Logits = (plain + mirrored[:, self._swapped, :, ::-1]) / np.float32(2)
        return mean


def check_logits(engine: Engine, what: str) -> None:
    """See that an engine gives logits, before any work is done.

    Raises:
        UsageError: it gives label maps alone.
    """
    if not engine.gives_raw:
        raise UsageError(
            f"{what} needs logits, and {engine.name} gives label maps alone.",
            "Build the bundle with its logits as a second output: trtparse build --logits",
        )


def check_scales(scales: Sequence[float]) -> None:
    """See that scales can be looked at.

    Raises:
        UsageError: there is none, one is there twice, or one is out of range.
    """
    shown = ", ".join(f"{scale:g}" for scale in scales)
    if not scales or len(set(scales)) < len(scales):
        raise UsageError(f"The scales {shown or '(none)'} make no sense.", "Name every scale once: 0.75,1,1.25")
    for scale in scales:
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
            raise UsageError(
                f"A scale of {scale:g} makes no sense.", f"Scales lie between {SMALLEST_SCALE:g} and {LARGEST_SCALE:g}."
            )


def scaled(length: int, scale: float) -> int:
    """A length at a scale, by an even number of pixels larger or smaller: what is centred stays in the centre."""
    return max(length + 2 * round(length * (scale - 1) / 2), 2 - length % 2)


def _windows(size: tuple[int, int], window: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Windows that cover ``size``, one at each corner; it is at most twice as large."""
    (height, width), (window_height, window_width) = size, window
    for top in sorted({0, height - window_height}):
        for left in sorted({0, width - window_width}):
            yield slice(top, top + window_height), slice(left, left + window_width)


def _resized(logits: Logits, size: tuple[int, int]) -> Logits:
    """Logits of another size, bilinear."""
    height, width = size
    return np.stack(
        [
            cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (width, height)).transpose(2, 0, 1)
            for image in logits
        ]
    )
