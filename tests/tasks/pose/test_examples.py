from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.pose.examples import Trust, fuse
from trtparse.tasks.pose.people import Person

COCO, LSP = load_skeleton("coco17"), load_skeleton("lsp14")
WRIST, NOSE = COCO.index("left_wrist"), COCO.index("nose")


def person(joints: int, at: float, score: float = 1.0) -> Person:
    table = np.zeros((joints, 3), np.float32)
    table[:, 0], table[:, 1], table[:, 2] = at + 3 * np.arange(joints), at, 2
    return Person(Path("a.jpg"), 1, 1, (0, 0, 90, 90), table, np.full(joints, score, np.float32))


@pytest.fixture
def labelled() -> Person:
    return person(14, 10)


@pytest.fixture
def taught(labelled: Person) -> Person:
    """Agrees with the labels; certain of all."""
    own = person(17, 50)
    for index, joint in enumerate(COCO.joints):
        if joint in LSP.joints:
            own.joints[index] = labelled.joints[LSP.joints.index(joint)]
    return own


def test_labels_alone_count_by_name_and_the_others_do_not(labelled: Person) -> None:
    places, masses, weights = fuse(labelled, LSP, None, COCO)
    assert weights.tolist() == [0] * 5 + [1] * 12
    assert places[WRIST, 0].tolist() == labelled.joints[LSP.index("left_wrist"), :2].tolist()
    assert masses[WRIST].tolist() == [1, 0]


def test_a_teacher_places_what_labels_lack_and_counts_by_its_scores(labelled: Person, taught: Person) -> None:
    taught.scores[NOSE] = 0.325  # half way from 0.15 to 0.5
    places, masses, weights = fuse(labelled, LSP, taught, COCO)
    assert places[NOSE, 1].tolist() == taught.joints[NOSE, :2].tolist()
    assert masses[NOSE].tolist() == [0, 1]
    assert weights[NOSE] == pytest.approx(0.4)
    assert weights[WRIST] == 1


def test_where_they_disagree_both_places_count(labelled: Person, taught: Person) -> None:
    taught.joints[WRIST, :2] += 40
    places, masses, weights = fuse(labelled, LSP, taught, COCO)
    assert masses[WRIST].tolist() == [0.5, 0.5]
    assert weights[WRIST] == pytest.approx(0.7)
    assert places[WRIST, 1].tolist() == taught.joints[WRIST, :2].tolist()


def test_a_teacher_who_is_wrong_about_a_person_has_no_say_on_the_other_joints(labelled: Person, taught: Person) -> None:
    taught.joints[WRIST, :2] += 40
    doubtful = replace(labelled, agreement=0.2)
    _, masses, weights = fuse(doubtful, LSP, taught, COCO)
    assert weights[NOSE] == 0
    assert masses[WRIST].tolist() == [1, 0]
    _, _, halves = fuse(replace(labelled, agreement=0.5), LSP, taught, COCO, Trust(taught=1.0))
    assert halves[NOSE] == pytest.approx(0.5)


def test_a_teacher_alone_is_label_distillation(taught: Person) -> None:
    taught.joints[NOSE, 2] = 0
    _, masses, weights = fuse(None, None, taught, COCO)
    assert weights[NOSE] == 0
    assert masses[NOSE].sum() == 0
    assert weights[WRIST] == pytest.approx(0.8)
