"""What weights come from: it travels with them, from the recipe to the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What weights come from, in words for a person.

    Args:
        training_data: the images and teachers that they were trained with; empty where nobody said.
        licence: under which they may be used; empty where nobody said.
    """

    training_data: str = ""
    licence: str = ""
