from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trtparse.data.dataset import Subset
from trtparse.data.letterbox import Letterbox
from trtparse.data.reading import Frame, read_frame
from trtparse.errors import DataError, UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.drawing import Seen
from trtparse.tasks.open import task_named
from trtparse.tasks.people.images import BoxImages
from trtparse.tasks.people.rows import Rows
from trtparse.tasks.people.scoring import Agreement, Scores
from trtparse.tasks.people.task import People
from trtparse.tests.finding import write_streets

FRAMING = Framing((64, 96))
TASK = People(sure=0.3)


@pytest.fixture
def streets(tmp_path: Path) -> BoxImages:
    images = TASK.open_data(str(write_streets(tmp_path)), None, "validation")
    assert isinstance(images, BoxImages)
    return images


def perfect(frame: Frame, by: float = 0.0, score: float = 0.9) -> Rows:
    """The labels as an answer, moved so many pixels of the frame to the right."""
    boxes = np.asarray(frame.labels)[:, :4] + np.array([by, 0, by, 0])
    return np.column_stack([boxes, np.full(len(boxes), score)]).astype(np.float32)


def test_boxes_are_unpacked_once_a_person_and_what_is_none_is_refused() -> None:
    rows = np.zeros((1, 4, 5), np.float32)
    rows[0, :3] = [[10, 10, 30, 60, 0.9], [11, 10, 30, 60, 0.5], [50, 10, 70, 60, 0.4]]
    (found,) = TASK.unpack((rows,))
    assert found[:, 4] == pytest.approx([0.9, 0.4])
    for arrays, said in (
        ((rows[..., :4],), "instead of \\(N, M, 5\\) float32 boxes"),
        ((rows.astype(np.float64),), "float64"),
        ((), "returned nothing"),
        ((rows * np.nan,), "placed somebody nowhere"),
    ):
        with pytest.raises(UsageError, match=said):
            TASK.unpack(arrays)


def test_boxes_go_back_onto_the_image_and_end_at_its_edges() -> None:
    letterbox = Letterbox.fit((100, 300), (64, 96), 1.0)  # a third of the size, 16 rows of black above
    inside = np.array([[10, 20, 40, 40, 0.5], [-8, 10, 200, 90, 0.5]], np.float32)
    assert TASK.restore(inside, letterbox) == pytest.approx(
        np.array([[31.25, 12.5, 125, 75, 0.5], [0, 0, 300, 100, 0.5]]), abs=1.5
    )


def test_whoever_is_found_counts_and_whoever_is_too_small_is_not_asked_about(streets: BoxImages) -> None:
    scorer = TASK.scorer(streets)
    tally = scorer.truth_tally()
    for index in range(len(streets)):
        frame = read_frame(streets, index, FRAMING)
        marks = scorer.against_truth(frame, perfect(frame, 30 if index == 2 else 0))
        assert marks is not None
        tally.add(marks)
    scores = tally.scores()
    assert (scores.support, scores.image_support, scores.images) == ((7,), (5,), 6)
    assert tally.value == pytest.approx(scores.value)
    assert dict(scores.summary)["Recall at 0.3"] == pytest.approx(6 / 7)
    assert Scores.from_dict(scores.to_dict()) == scores

    small = read_frame(streets, 0, Framing((32, 48)))  # 16 pixels high there
    tiny = read_frame(streets, 0, Framing((20, 30)))
    seen, unseen = (TASK.scorer(streets).against_truth(frame, perfect(frame)) for frame in (small, tiny))
    assert seen is not None
    assert unseen is not None
    assert [len(part) for part in seen][1:] == [1, 0]
    assert [len(part) for part in unseen][1:] == [0, 1]


def test_a_loss_has_its_interval_over_images(streets: BoxImages) -> None:
    scorer = TASK.scorer(streets)
    reference, engine = scorer.truth_tally(), scorer.truth_tally()
    for index in range(len(streets)):
        frame = read_frame(streets, index, FRAMING)
        for tally, by in ((reference, 0), (engine, 40 if index == 5 else 0)):
            marks = scorer.against_truth(frame, perfect(frame, by))
            assert marks is not None
            tally.add(marks)
    loss = reference.loss_of(engine)
    expected = reference.value, engine.value
    assert expected[0] == 1
    assert expected[1] is not None
    assert loss.points == pytest.approx(100 * (1 - expected[1]))
    assert 0 <= loss.low < loss.points < loss.high


def test_engines_agree_by_the_overlap_of_the_boxes_that_both_have(streets: BoxImages) -> None:
    scorer = TASK.scorer(streets)
    tally = scorer.agreement_tally()
    frame = read_frame(streets, 1, FRAMING)
    both = perfect(frame)
    tally.add(scorer.against_reference(frame, both, both))
    assert tally.scores().value == 1
    tally.add(scorer.against_reference(frame, both, both[:1]))
    agreement = tally.scores()
    assert agreement.value == pytest.approx(3 / 3.5)
    assert agreement.share == pytest.approx(3 / 4)
    assert Agreement.from_dict(agreement.to_dict()) == agreement
    unsure = perfect(frame, score=0.2)
    assert scorer.disagreement(scorer.against_reference(frame, both, unsure)) == (0.0, None)
    with pytest.raises(DataError, match="nothing to agree on"):
        scorer.agreement_tally().scores()


def test_parity_is_the_share_of_boxes_that_both_engines_have() -> None:
    rows = np.zeros((2, 3, 5), np.float32)
    rows[0, :2] = [[10, 10, 30, 60, 0.9], [50, 10, 70, 60, 0.4]]
    moved = rows.copy()
    moved[0, 1, :4] += 12
    np.testing.assert_allclose(TASK.agreement((moved,), (rows,)), [1 / 3, 1])


def test_a_picture_shows_labels_both_answers_and_whom_one_has_alone(streets: BoxImages) -> None:
    frame = read_frame(streets, 1, FRAMING)
    both = perfect(frame)
    panels = TASK.scorer(streets).picture(frame, both, both[:1]).panels("PyTorch", "INT8", 288)
    assert [panel.caption for panel in panels] == ["photo", "truth", "PyTorch", "INT8", "difference"]
    assert (panels[2].pixels != panels[3].pixels).any()
    assert (panels[4].pixels == (255, 150, 0)).all(2).any()  # somebody whom the engine has not
    assert not (panels[4].pixels == (200, 0, 225)).all(2).any()


def test_boxes_are_kept_in_files_with_what_they_were_made_from() -> None:
    rows = np.array([[1, 2, 30, 40, 0.75]], np.float32)
    record, found = TASK.decode(TASK.encode(rows, "made by"), "x.json")
    assert record == "made by"
    np.testing.assert_allclose(found, rows)
    assert TASK.decode(b'{"schema": 1, "people": [{"box": [1]}]}', "x.json") == (None, None)
    name, content = TASK.summary(None)
    assert name == "people.json"
    assert b'"bbox": [1.0, 2.0, 29.0, 38.0]' in content([("a/7.png", rows)])
    assert b'"image_id": 7' in content([("a/7.png", rows)])
    assert TASK.amounts(rows) == (1,)


def test_everybody_is_drawn_once_and_told() -> None:
    drawer = TASK.drawer((64, 96), 25.0)
    frame = np.zeros((64, 96, 3), np.uint8)
    rows = np.array([[10, 10, 30, 60, 0.75], [60, 10, 80, 60, 0.2]], np.float32)
    letterbox = Letterbox.fit((64, 96), (64, 96), 1.0)
    sight = drawer.look(frame, Seen(0.0, (letterbox,), (rows,)))
    assert sight.told() == {"found": [{"box": [10.0, 10.0, 30.0, 60.0], "score": 0.75}]}
    drawer.draw(frame, sight)
    assert frame[:, 8:34].any()
    assert not frame[:, 50:].any()


def test_a_task_is_opened_by_its_name_and_its_score() -> None:
    assert task_named("people", label_set("person"), {"sure": 0.3}) == TASK
    assert task_named("people", label_set("person")) == People()
    with pytest.raises(UsageError, match="none that this trtparse knows"):
        task_named("people", load_skeleton("coco17"))


def test_labels_of_something_else_are_refused(people: object) -> None:
    with pytest.raises(UsageError, match="are no boxes"):
        TASK.scorer(people)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="knows people alone"):
        TASK.open_data(None, None, "validation", "lip")


def test_a_choice_of_images_is_scored_as_all_of_them(streets: BoxImages) -> None:
    some = Subset(streets, (4, 1))
    frame = read_frame(some, 0, FRAMING)
    assert frame.name == "street-4.png"
    assert TASK.scorer(some).value(TASK.scorer(some).against_truth(frame, perfect(frame)) or ()) == 1
