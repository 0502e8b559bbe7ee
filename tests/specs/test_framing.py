from __future__ import annotations

import json

import pytest

from trtparse.errors import UsageError
from trtparse.specs.framing import Framing


def test_a_framing_survives_the_metadata_of_a_graph() -> None:
    framing = Framing((256, 192), 1.5, "BGR", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), place="upper left", fill=114)
    assert Framing.of_preprocessing((256, 192), json.dumps(framing.preprocessing())) == framing


@pytest.mark.parametrize("told", ["", "{}", '{"where": "in the graph"}', {}])
def test_what_older_files_do_not_tell_has_its_default(told: str) -> None:
    assert Framing.of_preprocessing((64, 48), told) == Framing((64, 48), 1.0)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ('{"stretch": 0.5}', "stretch of 0.5"),
        ('{"stretch": NaN}', "stretch of nan"),
        ('{"stretch": "wide"}', "'wide'"),
        ('{"order": "GBR"}', "'GBR'"),
        ('{"mean": [1, 2]}', "three numbers"),
        ('{"mean": 1}', "three numbers"),
        ('{"std": [1, 0, 1]}', "deviation"),
        ('{"place": "below"}', "no place 'below'"),
        ('{"fill": 256}', "fill of 256"),
        ('{"fill": "grey"}', "fill of 'grey'"),
        ("[1, 2]", "no JSON object"),
        ("3", "no JSON object"),
        ('{"stretch": Infinity}', "stretch of inf"),
        ("{", "no JSON object"),
    ],
)
def test_an_impossible_value_is_named(told: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Framing.of_preprocessing((64, 48), told)


def test_it_says_what_a_person_needs_to_compare_two() -> None:
    assert str(Framing((256, 192), 1.5)) == "256x192, stretched up to 1.5 times"
    assert str(Framing((256, 192)).resized((64, 48))) == "64x48"
