from __future__ import annotations

import pickle

import pytest

from trtparse import errors
from trtparse.errors import (
    AccuracyError,
    BuildError,
    DataError,
    FileNameError,
    MachineError,
    TrtparseError,
    UsageError,
)

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (DataError, 2),
        (FileNameError, 2),
        (MachineError, 3),
        (AccuracyError, 4),
        (BuildError, 5),
        (TrtparseError, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(kind: type[TrtparseError], code: int) -> None:
    assert kind("Something.").exit_code == code


def test_there_is_one_family() -> None:
    assert len(FAMILY) == 7
    assert all(issubclass(kind, TrtparseError) for kind in FAMILY)


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_tells_what_happened_and_what_to_do(kind: type[TrtparseError]) -> None:
    error = kind("The file is empty.", "Copy it again.")
    assert (error.message, error.hint) == ("The file is empty.", "Copy it again.")
    assert str(error) == "The file is empty.\nCopy it again."


@pytest.mark.parametrize("kind", FAMILY)
def test_no_error_goes_without_a_hint(kind: type[TrtparseError]) -> None:
    assert kind("The file is empty.").hint.endswith(".")


def test_what_only_we_can_cure_asks_for_a_report() -> None:
    for kind in (BuildError, TrtparseError):
        assert "--debug" in kind("The graph has a loop.").hint


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_survives_the_way_between_processes(kind: type[TrtparseError]) -> None:
    error = pickle.loads(pickle.dumps(kind("The file is empty.", "Copy it again.")))
    assert type(error) is kind
    assert (error.message, error.hint) == ("The file is empty.", "Copy it again.")
