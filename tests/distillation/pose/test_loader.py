from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trtparse.data.crops import RULES
from trtparse.distillation.pose.loader import Album, Batch, PoseLoader
from trtparse.distillation.pose.recipe import PoseRecipe
from trtparse.errors import DataError
from trtparse.tasks.pose.examples import labelled_examples
from trtparse.tasks.pose.people import People

RECIPE = PoseRecipe.from_dict(
    {
        "phases": [
            {"input_size": "32x32", "batch": 2, "steps": 2},
            {"input_size": "64x32", "batch": 3, "steps": 2},
        ]
    }
)


def batches(people: People, first: int = 0) -> list[Batch]:
    examples = labelled_examples(people, people.skeleton, Album().reader)
    loader = PoseLoader(examples, np.ones(len(examples)), RECIPE, people.skeleton, RULES["trtparse"], first)
    try:
        return [loader.next() for _ in range(first, RECIPE.steps)]
    finally:
        loader.close()


def test_phases_have_their_own_sizes_and_a_later_start_sees_what_the_whole_run_saw(drawn: People) -> None:
    whole, rest = batches(drawn), batches(drawn, first=1)

    assert [batch.frames.shape for batch in whole] == [(2, 32, 32, 3)] * 2 + [(3, 64, 32, 3)] * 2
    assert whole[0].places.shape == (2, 17, 2, 2)
    for one, other in zip(whole[1:], rest):
        assert one.names == other.names
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.places, other.places)


def test_everybody_comes_once_an_epoch(drawn: People) -> None:
    first, second, *_ = batches(drawn)
    assert len({*first.names, *second.names}) == 4


def test_an_image_is_read_once_until_the_album_is_full(drawn: People) -> None:
    person, other = drawn[0], drawn[1]
    album = Album(limit=person.read().nbytes)
    assert album.read(person) is album.read(person)
    assert album.read(replace(other, draw=lambda: other.read().copy())) is not album.read(
        replace(other, draw=lambda: other.read().copy())
    )


def test_an_image_that_cannot_be_read_ends_the_run_with_its_name(drawn: People) -> None:
    lost = People("", drawn.skeleton, tuple(replace(person, draw=None) for person in drawn.people))
    with pytest.raises(DataError, match=r"rendered_5_00000\d\.png"):
        batches(lost)
