"""A result whose words come from somebody hostile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.predicting import LIP
from trtparse.validation.result import EngineRun, ValidationResult

_EVIL = """<script>alert(1)</script>"'><img src=https://example.org/x.png onerror=alert(1)>{{ 7*7 }}"""


@pytest.fixture
def hostile(made_up: Callable[..., ValidationResult]) -> ValidationResult:
    """A result with a script in every word that comes from outside."""
    result = made_up()
    first = result.first
    run = dataclasses.replace(first.run, name=_EVIL, target=_EVIL, bundle=_EVIL)
    worst = tuple(dataclasses.replace(image, name=_EVIL) for image in first.worst)
    names = tuple(f"{_EVIL}{number}" for number in range(len(result.task.rows)))
    return dataclasses.replace(
        result,
        task=Parsing(dataclasses.replace(LIP, name=_EVIL, classes=names, flip_pairs=(), rare=())),
        dataset=_EVIL,
        reference_run=EngineRun(_EVIL, _EVIL, _EVIL),
        engines=(dataclasses.replace(first, run=run, worst=worst),),
        machine={_EVIL: _EVIL},
        created=_EVIL,
    )
