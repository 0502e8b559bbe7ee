from __future__ import annotations

from typing import Any

import pytest

from trtparse.errors import UsageError
from trtparse.specs.decoding import DARK, HRNET, MSPN, Decoding


@pytest.mark.parametrize("decoding", [Decoding(), DARK, HRNET, MSPN], ids=lambda decoding: decoding.kind)
def test_a_decoding_comes_back_from_its_table(decoding: Decoding) -> None:
    assert Decoding.from_dict(decoding.to_dict()) == decoding


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "soft-argmax"}, "no decoding 'soft-argmax'"),
        ({"blur": 4}, "a blur of 4"),
        ({"stride": 0}, "a stride of 0"),
        ({"offset": float("nan")}, "an offset of nan"),
        ({"sigma": 2}, "has no 'sigma'"),
        ([1], "should be a table"),
    ],
)
def test_what_cannot_be_is_refused(values: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Decoding.from_dict(values)
