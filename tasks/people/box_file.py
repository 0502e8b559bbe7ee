"""One photograph's people as a file, and as COCO's results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...storage.json_types import JsonObject
from .rows import Rows

SCHEMA = 1

DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a photograph's file raises where it is cut off, or its values are of another kind."""


def encode_people(people: Rows, record: str = "") -> bytes:
    """A photograph's people as JSON, the same bytes each time.

    Args:
        people: (n, 5).
        record: what they were made from; empty for nothing.
    """
    values = {"schema": SCHEMA, "people": told_people(people), **({"record": record} if record else {})}
    return (json.dumps(values, indent=1) + "\n").encode("ascii")


def decode_people(data: bytes) -> tuple[str | None, Rows | None]:
    """What people were made from, and the people; None for either where the file does not say or is damaged."""
    try:
        values, record = read_values(data)
        return record, people_told(values["people"]) if values["schema"] == SCHEMA else None
    except DAMAGED:
        return None, None


def read_values(data: bytes) -> tuple[Any, str | None]:
    """What stands in a photograph's file, and what it was made from, which is None where that is no text.

    Raises:
        DAMAGED: it is no JSON, or no table.
    """
    values = json.loads(data)
    record = values.get("record")
    return values, record if isinstance(record, str) else None


def told_people(people: Rows) -> list[JsonObject]:
    """Box and score of everybody, as JSON has it."""
    return [{"box": [round(float(side), 2) for side in row[:4]], "score": round(float(row[4]), 4)} for row in people]


def people_told(told: Any) -> Rows | None:
    """The inverse of :func:`told_people`; None where a number is not finite.

    Raises:
        DAMAGED: it is something else.
    """
    rows = np.array([[*one["box"], one["score"]] for one in told], np.float32).reshape(-1, 5)
    return rows if np.isfinite(rows).all() else None


def coco_results(image: int, people: Rows) -> list[JsonObject]:
    """COCO's results of one photograph.

    Args:
        image: its number.
        people: (n, 5).
    """
    return [
        {
            "image_id": image,
            "category_id": 1,
            "bbox": [round(float(side), 2) for side in (row[0], row[1], row[2] - row[0], row[3] - row[1])],
            "score": round(float(row[4]), 4),
        }
        for row in people
    ]
