"""One photograph's people as a file, and many photographs' as COCO's results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import numpy as np

from .rows import Rows

SCHEMA = 1


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
        values = json.loads(data)
        record = values.get("record")
        if values["schema"] != SCHEMA:
            return record, None
        rows = np.array([[*one["box"], one["score"]] for one in values["people"]], np.float32).reshape(-1, 5)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
    return record, rows if np.isfinite(rows).all() else None


def told_people(people: Rows) -> list[dict[str, Any]]:
    """Box and score of everybody, as JSON has it."""
    return [{"box": [round(float(side), 2) for side in row[:4]], "score": round(float(row[4]), 4)} for row in people]


def coco_results(found: Iterable[tuple[str, int, Rows]]) -> bytes:
    """``people.json``: COCO's results, with the files' names.

    Args:
        found: name, image id and people of each photograph.
    """
    entries = [
        {
            "image_id": number,
            "category_id": 1,
            "bbox": [round(float(side), 2) for side in (row[0], row[1], row[2] - row[0], row[3] - row[1])],
            "score": round(float(row[4]), 4),
            "file_name": PurePath(name).name,
        }
        for name, number, people in found
        for row in people
    ]
    return ("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n").encode("ascii")
