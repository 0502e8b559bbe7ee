from __future__ import annotations

import numpy as np

from trtparse.data.crops import place_around
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.people.draw import person_colour
from trtparse.tasks.people.person import Person

PARSING, FRAMING = Parsing(label_set("lip")), Framing((48, 32), 1.5)


def test_people_in_a_photograph_are_drawn_with_their_outlines_and_numbers_on_a_copy() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    people = (Person(1, (30.0, 40.0, 80.0, 180.0), 0.9), Person(2, (190.0, 40.0, 240.0, 180.0), 0.8))
    windows = [place_around(FRAMING, (200, 300), person.box) for person in people]
    answer = np.zeros((48, 32), np.uint8)
    answer[6:42, 10:22] = 5
    drawn = PARSING.drawn_together(image, [answer, answer], windows, people)
    assert (image == 90).all()
    for person, columns in zip(people, (slice(0, 150), slice(150, 300))):
        here = (drawn[:, columns] == person_colour(person.id)).all(axis=2)
        assert here.sum() > 200
        others = [one.id for one in people if one is not person]
        assert not any((drawn[:, columns] == person_colour(other)).all(axis=2).any() for other in others)
    empty = PARSING.drawn_together(image, [], [], ())
    assert np.array_equal(empty, image)
