"""Names of what is in JSON's types on its way through the program: a document that was made, and one that was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = Mapping[str, object]
"""A document that was made, and is written or shown: nobody looks in on the way."""

ReadJson = Mapping[str, Any]
"""A document that was read: whoever takes it makes a value of it at once, and sees what is wrong with it."""
