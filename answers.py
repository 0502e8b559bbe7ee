"""What ``import trtparse`` answers with: values that can be drawn, saved and handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engines.machine.dependencies import require
from .specs.label_set import LabelSet
from .specs.skeleton import Skeleton
from .storage.files import replace_bytes


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Args:
        pixels: (H, W, 3) uint8, BGR.
    """

    pixels: NDArray[np.uint8]

    def save(self, path: Path | str) -> Path:
        """Write it, whole or not at all; the ending says in which format (.png, .jpg).

        Raises:
            UsageError: an ending that OpenCV does not write, or a place that takes no file.
        """
        import cv2

        from .errors import UsageError

        path = Path(path)
        try:
            fits, data = cv2.imencode(path.suffix or ".", self.pixels)
        except cv2.error as error:
            raise UsageError(f"{path} has no ending of a picture.", "End it in .png or .jpg.") from error
        assert fits
        replace_bytes(path, data.tobytes())
        return path


@dataclass(frozen=True)
class Parsed:
    """The class of every pixel of a picture.

    Args:
        labels: (H, W) uint8, ids of ``label_set``.
        label_set: what they mean.
        image: (H, W, 3) uint8, BGR: what was looked at.
        cell: the side of one of the network's pixels in pixels of the picture.
        seconds: when it was shown, in a stream; 0 for a photograph.

    >>> import numpy as np
    >>> from trtparse.specs.label_set import label_set
    >>> answer = Parsed(np.array([[0, 13], [13, 5]], np.uint8), label_set("lip"), np.zeros((2, 2, 3), np.uint8))
    >>> answer.shares()
    {'Upper-clothes': 0.25, 'Face': 0.5}
    >>> answer.mask("Face").sum()
    np.int64(2)
    """

    labels: NDArray[np.uint8]
    label_set: LabelSet
    image: NDArray[np.uint8] = field(repr=False)
    cell: float = 1.0
    seconds: float = 0.0

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(H, W) bool: where a class is.

        Raises:
            UsageError: the label set has none of that name.
        """
        return np.asarray(self.labels == self.label_set.id_of(name))

    def shares(self) -> dict[str, float]:
        """The share of the picture of each class that is there, without the background."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.label_set))
        found = zip(self.label_set.classes[1:], counts[1 : len(self.label_set)])
        return {name: float(count) / self.labels.size for name, count in found if count}

    def draw(self, alpha: float | None = None, *, legend: bool = True) -> Drawn:
        """Its colours over the picture.

        Args:
            alpha: how far a colour covers the picture, 0 to 1; None for the usual.
            legend: name the classes in a corner.
        """
        from .tasks.parsing.draw import ALPHA, draw

        strength = ALPHA if alpha is None else alpha
        return Drawn(draw(self.image, self.labels, self.label_set, cell=self.cell, alpha=strength, legend=legend))

    def save(self, path: Path | str) -> Path:
        """Write the label map as a PNG whose values are ids and whose palette has their colours."""
        from .tasks.parsing.draw import encode_label_png

        path = Path(path)
        replace_bytes(path, encode_label_png(self.labels, self.label_set))
        return path

    def to_supervision(self) -> Any:
        """``supervision.Detections``: a mask, a box and a name for each class that is there.

        Raises:
            MachineError: supervision is not installed.
        """
        supervision = require("supervision")
        ids = [number for number in range(1, len(self.label_set)) if (self.labels == number).any()]
        masks = np.stack([self.labels == number for number in ids]) if ids else np.zeros((0, *self.labels.shape), bool)
        boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        names = np.array([self.label_set.classes[number] for number in ids])
        return supervision.Detections(xyxy=boxes, mask=masks, class_id=np.array(ids, int), data={"class_name": names})


@dataclass(frozen=True)
class Posed:
    """The joints of the people in a picture.

    Args:
        keypoints: (P, K, 3) float32: of each person x and y in pixels of the picture, and a score, of each joint.
        skeleton: the joints.
        image: (H, W, 3) uint8, BGR: what was looked at.
        ids: of the people; in a stream they stay the same while somebody is followed.
        seconds: when it was shown, in a stream; 0 for a photograph.

    >>> import numpy as np
    >>> from trtparse.specs.skeleton import load_skeleton
    >>> joints = np.full((1, 17, 3), 0.5, np.float32)
    >>> answer = Posed(joints, load_skeleton("coco17"), np.zeros((2, 2, 3), np.uint8), (1,))
    >>> answer.joint("left_wrist")
    array([[0.5, 0.5, 0.5]], dtype=float32)
    >>> answer.scores
    array([0.5], dtype=float32)
    """

    keypoints: NDArray[np.float32]
    skeleton: Skeleton
    image: NDArray[np.uint8] = field(repr=False)
    ids: tuple[int, ...]
    seconds: float = 0.0

    @property
    def scores(self) -> NDArray[np.float32]:
        """(P,) float32: the mean of each person's joints' scores above 0.2."""
        from .tasks.pose.oks import person_scores

        return person_scores(self.keypoints, np.ones(len(self.keypoints))).astype(np.float32)

    def joint(self, name: str) -> NDArray[np.float32]:
        """(P, 3) float32: where each person's joint of that name is.

        Raises:
            UsageError: the skeleton has none of that name.
        """
        return self.keypoints[:, self.skeleton.index(name)]

    def draw(self) -> Drawn:
        """Skeletons over the picture."""
        from .tasks.pose.draw import draw_pose

        canvas = self.image.copy()
        for pose in self.keypoints:
            draw_pose(canvas, pose, self.skeleton)
        return Drawn(canvas)

    def save(self, path: Path | str) -> Path:
        """Write everybody's joints by name as JSON, as ``trtparse demo --answers`` does."""
        from .tasks.pose.drawer import PoseSight

        path = Path(path)
        replace_bytes(path, PoseSight(dict(zip(self.ids, self.keypoints)), self.skeleton).file())
        return path

    def to_supervision(self) -> Any:
        """``supervision.KeyPoints``: everybody's joints and their scores.

        Raises:
            MachineError: supervision is not installed.
        """
        supervision = require("supervision")
        if not len(self.keypoints):
            return supervision.KeyPoints.empty()  # up to its 0.28 it takes no other array of nobody
        # By place: the scores of joints are called ``confidence`` up to its 0.28, ``keypoint_confidence`` since.
        return supervision.KeyPoints(self.keypoints[..., :2], None, self.keypoints[..., 2])


@dataclass(frozen=True)
class Found:
    """The people in a picture: those whom a finder is sure of, the surest first.

    Args:
        boxes: (P, 4) float32: left, top, right, bottom of each in pixels of the picture; right and bottom are outside.
        scores: (P,) float32, 0 to 1.
        image: (H, W, 3) uint8, BGR: what was looked at.
        seconds: when it was shown, in a stream; 0 for a photograph.

    >>> import numpy as np
    >>> boxes = np.array([[1, 2, 3, 8]], np.float32)
    >>> answer = Found(boxes, np.array([0.9], np.float32), np.zeros((9, 9, 3), np.uint8))
    >>> len(answer.boxes)
    1
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    image: NDArray[np.uint8] = field(repr=False)
    seconds: float = 0.0

    def draw(self) -> Drawn:
        """Boxes with scores in percent over the picture."""
        from .tasks.people.draw import draw_boxes

        canvas = self.image.copy()
        draw_boxes(canvas, self._rows, sure=0.0)
        return Drawn(canvas)

    def save(self, path: Path | str) -> Path:
        """Write boxes and scores as JSON, in the form of ``trtparse parse``."""
        from .tasks.people.box_file import encode_people

        path = Path(path)
        replace_bytes(path, encode_people(self._rows))
        return path

    def to_supervision(self) -> Any:
        """``supervision.Detections``: everybody's box and score, of the one class ``person``.

        Raises:
            MachineError: supervision is not installed.
        """
        supervision = require("supervision")
        # Its annotators choose their colours by class, and refuse boxes that have none.
        classes, names = np.zeros(len(self.boxes), int), np.full(len(self.boxes), "person")
        return supervision.Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=classes, data={"class_name": names}
        )

    @property
    def _rows(self) -> NDArray[np.float32]:
        """(P, 5)."""
        return np.column_stack([self.boxes, self.scores]).astype(np.float32).reshape(-1, 5)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
