"""What a bundle keeps of a validation: one figure with its unit, of whatever task."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..storage.json_types import ReadJson

_POINTS = {"mean_iou": "value", "reference_mean_iou": "reference_value", "agreement_mean_iou": "agreement_value"}
_RENAMED = {
    "class_iou": "rows",
    "reference_class_iou": "reference_rows",
    "agreement": "share",
    "invented_pixels": "invented",
    "invented_classes": "invented_in",
}
"""What was called after the IoU, whatever the task: figures in fractions of 1, and what keeps its value."""


@dataclass(frozen=True)
class Accuracy:
    """What one engine reached on a dataset.

    Args:
        dataset: what the images are.
        images: how many.
        reference: what the engine was compared with, by its name.
        share: of the answers' smallest parts, such as pixels, that are as the reference's.
        figure: the task's, by its name ("mIoU"); empty where an earlier version wrote it, then it is the bundle's
            task's.
        unit: of ``value``, ``reference_value``, ``agreement_value`` and ``loss``: 100 are all there is.
        value, reference_value: of the figure against the labels; None without labels.
        agreement_value: of the figure with the reference's answers as the truth; None in the oldest bundles.
        rows, reference_rows: what each row of the task has, fractions of 1; None without labels, and for a row of which
            the labels hold nothing.
        loss: what the engine loses, and the ends of its 95 % interval; None without labels.
        left_out: rows that the agreement does not count, as the reference sees next to nothing of them.
        invented: parts of the answers in these rows; None where an earlier version took both measures over other rows.
        invented_in: these rows.
        engine: by its name.
        protocol: how the answers were made.
        created: when, ISO 8601 in UTC; empty in a build, so that the same build gives the same bytes.
    """

    dataset: str
    images: int
    reference: str
    share: float
    figure: str = ""
    unit: str = ""
    value: float | None = None
    reference_value: float | None = None
    agreement_value: float | None = None
    rows: tuple[float | None, ...] | None = None
    reference_rows: tuple[float | None, ...] | None = None
    loss: tuple[float, float, float] | None = None
    left_out: tuple[str, ...] = ()
    invented: int | None = None
    invented_in: tuple[str, ...] = ()
    engine: str = ""
    protocol: str = ""
    created: str = ""

    @classmethod
    def from_dict(cls, values: ReadJson) -> Accuracy:
        """From JSON's types, as this or an earlier version wrote them; what is not known is passed over.

        Raises:
            TypeError: not such values, or some are missing.
        """
        found: dict[str, Any] = {}
        known = {field.name for field in fields(cls)}
        for name, value in values.items():
            if name in _POINTS:
                found[_POINTS[name]] = None if value is None else 100 * value
            elif _RENAMED.get(name, name) in known:
                found[_RENAMED.get(name, name)] = tuple(value) if isinstance(value, list) else value
        return cls(**found)
