"""Label maps over the frames of a run: pasted, kept still, coloured, named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Placement, Window
from ...data.dataset import Image, LabelMap
from ...data.letterbox import Letterbox
from ...specs.label_set import LabelSet
from ...storage.json_types import JsonObject
from ..drawing import Drawer, Flicker, Seen, Sight
from ..people.person import Person
from .draw import Overlay, encode_label_png
from .legend import LEAST_SHARE, class_shares
from .metrics import pixels_of_classes
from .paste import paste
from .smoothing import TemporalSmoothing


@dataclass(frozen=True)
class LabelSight(Sight):
    """A frame's label map.

    Args:
        labels: (H, W) uint8, ids of the label set.
        label_set: what they mean.
        instances: (H, W) uint8, 0 or the id of the person (modulo 255, plus 1, above 255); None where nobody was looked
            for.
        cell: the width of one of the network's pixels in pixels of the frame; the mean of several.
    """

    labels: LabelMap
    label_set: LabelSet
    instances: NDArray[np.uint8] | None = None
    cell: float = 1.0
    ending: ClassVar[str] = ".png"

    def file(self) -> bytes:
        """A PNG, the pixel values being the class ids."""
        return encode_label_png(self.labels, self.label_set)

    def told(self) -> JsonObject:
        """The pixels of the classes that are there."""
        counts = pixels_of_classes(self.labels, self.label_set)
        return {"pixels": {name: count for name, count in zip(self.label_set.classes, counts) if count}}

    def shares(self) -> Mapping[int, float]:
        """Of the frame's pixels; background and what is hardly there is left out."""
        shares = class_shares(self.labels, len(self.label_set))
        return {int(index): float(shares[index]) for index in np.flatnonzero(shares >= LEAST_SHARE) if index}


class LabelDrawer(Drawer[LabelMap, LabelSight]):
    """Draws label maps.

    Args:
        label_set: what they mean.
        restore: brings one back from a network's frame onto the image that lies in it; the task's.
        frame_size: (height, width).
        fps: frames a second, for how long the legend names a class that has gone.
        smooth: keep labels where the picture stands still.
    """

    def __init__(
        self,
        label_set: LabelSet,
        restore: Callable[[LabelMap, Letterbox], LabelMap],
        frame_size: tuple[int, int],
        fps: float,
        *,
        smooth: bool = False,
    ) -> None:
        self._label_set, self._restore, self._size = label_set, restore, frame_size
        self._overlay = Overlay(frame_size, label_set, fps)
        self._smoothing = TemporalSmoothing() if smooth else None

    @property
    def flicker(self) -> Flicker | None:
        return None if self._smoothing is None else self._smoothing.flicker

    def look(self, frame: Image, seen: Seen[LabelMap]) -> LabelSight:
        instances: NDArray[np.uint8] | None = None
        if seen.people is None:
            labels = self._restore(seen.answers[0], letterbox_of(seen.placements[0]))
        else:
            windows = [one for one in seen.placements if isinstance(one, Window)]
            labels, instances = paste(windows, seen.people, seen.answers, self._size, self._restore)
        if self._smoothing is not None:
            labels, instances = self._smoothing.apply(frame, labels, seen.seconds, instances)
        return LabelSight(labels, self._label_set, instances, mean_cell(seen.placements))

    def draw(
        self,
        frame: Image,
        sight: LabelSight,
        *,
        people: tuple[Person, ...] = (),
        hud: str = "",
        opacity: float | None = None,
        parts: frozenset[int] | None = None,
    ) -> None:
        self._overlay.draw(
            frame,
            sight.labels,
            hud=hud,
            cell=sight.cell,
            people=people,
            instances=sight.instances,
            alpha=opacity,
            classes=parts,
        )


def mean_cell(placements: Sequence[Placement]) -> float:
    """The width of one of the network's pixels in pixels of the image, over all placements; 1 without any."""
    cells = [letterbox_of(one).cell for one in placements]
    return sum(cells) / len(cells) if cells else 1.0


def letterbox_of(placement: Placement) -> Letterbox:
    """The letterbox of a whole image, or of a window."""
    if isinstance(placement, Window):
        return placement.letterbox
    assert isinstance(placement, Letterbox), "label maps are of whole images and of windows"
    return placement
