from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trtparse.data.crops import RULES
from trtparse.data.dataset import Subset
from trtparse.data.reading import Frame, read_frame
from trtparse.errors import DataError, UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.pose.images import PersonImages
from trtparse.tasks.pose.metrics import LIMB_JOINTS
from trtparse.tasks.pose.people import People
from trtparse.tasks.pose.scoring import Agreement, Scores
from trtparse.tasks.pose.task import Pose

COCO = load_skeleton("coco17")
FRAMING = Framing((128, 96), crop=RULES["trtparse"])
TASK = Pose(COCO)


@pytest.fixture
def images(drawn: People) -> PersonImages:
    return PersonImages(drawn)


def perfect(frame: Frame, by: float = 0.0) -> np.ndarray:
    """The labels as an answer in the frame's pixels, moved so many pixels of the image to the right."""
    labels = np.asarray(frame.labels)
    points = frame.placement.to_frame(labels[:, :2] + np.array([by, 0]))
    return np.column_stack([points, np.ones(len(labels))]).astype(np.float32)


def test_answers_are_scored_in_pixels_of_their_images(images: PersonImages) -> None:
    scorer, tally = TASK.scorer(images), TASK.scorer(images).truth_tally()
    for index in range(len(images)):
        frame = read_frame(images, index, FRAMING)
        marks = scorer.against_truth(frame, perfect(frame))
        assert marks is not None
        assert scorer.value(marks) == 1
        tally.add(marks)
    scores = tally.scores()
    assert (scores.value, scores.images) == (1, len(images))
    counted = {joint for joint, row in zip(COCO.joints, scores.rows) if row is not None}
    assert counted <= set(LIMB_JOINTS)
    assert dict(scores.summary)["Mean OKS"] == pytest.approx(1, abs=1e-3)
    assert Scores.from_dict(scores.to_dict()) == scores


def test_the_loss_of_an_engine_has_an_interval_and_a_row_for_every_joint(images: PersonImages) -> None:
    scorer = TASK.scorer(images)
    reference, engine = scorer.truth_tally(), scorer.truth_tally()
    for index in range(len(images)):
        frame = read_frame(images, index, FRAMING)
        for tally, by in ((reference, 0.0), (engine, 500.0 if index == 0 else 0.0)):
            marks = scorer.against_truth(frame, perfect(frame, by))
            assert marks is not None
            tally.add(marks)
    loss = reference.loss_of(engine)
    assert loss.points == pytest.approx(100 * (reference.value - engine.value))
    assert loss.low <= loss.points <= loss.high
    assert len(loss.rows) == len(COCO)
    assert loss.rows[COCO.index("nose")] is None


def test_by_ap_the_figure_and_its_loss_are_coco_s(images: PersonImages) -> None:
    pytest.importorskip("faster_coco_eval")
    task = TASK.measured_by("ap")
    assert (task.figure.unit, TASK.measured_by("pck"), task.measured_by("PCK@0.2")) == ("points of AP", TASK, TASK)
    scorer = task.scorer(images)
    reference, engine = scorer.truth_tally(), scorer.truth_tally()
    every = []
    assert reference.value is None
    for index in range(len(images)):
        frame = read_frame(images, index, FRAMING)
        for tally, by in ((reference, 0.0), (engine, 500.0 if index == 0 else 0.0)):
            marks = scorer.against_truth(frame, perfect(frame, by))
            assert marks is not None
            tally.add(marks)
        every.append(marks)
    scores = engine.scores()
    assert scores.value == engine.value == scores.figures["AP"] < 1
    # PCK stays what it is: one of four people is wrong in all joints.
    right, counted = (sum(marks[0][row].sum() for marks in every) for row in (0, 1))
    assert scores.pck == dict(scores.summary)["PCK@0.2"] == right / counted != scores.value
    assert reference.value == pytest.approx(1)
    assert Scores.from_dict(scores.to_dict()) == scores
    loss = reference.loss_of(engine)
    assert loss.points == pytest.approx(100 * (reference.value - engine.value))
    assert loss.low <= loss.points <= loss.high
    assert loss.high > loss.points > 5
    assert {row is None for row in loss.rows} == {True, False}


def test_by_ap_other_joints_and_other_figures_are_refused(drawn: People) -> None:
    pytest.importorskip("faster_coco_eval")
    lsp = load_skeleton("lsp14")
    order = [COCO.joints.index(name) if name in COCO.joints else 0 for name in lsp.joints]
    people = tuple(replace(person, joints=person.joints[order]) for person in drawn.people)
    with pytest.raises(
        UsageError, match=r"AP cannot be measured: the labels of lsp have the joints of lsp14"
    ) as caught:
        TASK.measured_by("AP").scorer(PersonImages(People("lsp", lsp, people)))
    assert "--figure PCK@0.2" in caught.value.hint
    with pytest.raises(UsageError, match="Poses have no figure 'mIoU'"):
        TASK.measured_by("mIoU")
    with pytest.raises(UsageError, match="parsing goes by mean IoU alone"):
        Parsing(label_set("lip")).measured_by("AP")


def test_agreement_is_the_mean_oks_over_what_the_reference_is_sure_of(images: PersonImages) -> None:
    scorer, tally = TASK.scorer(images), TASK.scorer(images).agreement_tally()
    frame = read_frame(images, 0, FRAMING)
    reference, answer = perfect(frame), perfect(frame)
    reference[3:, 2] = 0.1
    answer[0] += (900, 900, 0)
    answer[5:] += 900
    marks = scorer.against_reference(frame, reference, answer)
    assert marks[0].sum(1).tolist() == [3, 2]
    assert scorer.disagreement(marks)[0] == pytest.approx(1 / 3)
    tally.add(marks)
    found = tally.scores()
    assert (found.value, found.share) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.left_out == tuple(range(3, 17))
    assert Agreement.from_dict(found.to_dict()) == found
    with pytest.raises(DataError, match=r"scores no joint at 0\.2 or more"):
        TASK.scorer(images).agreement_tally().scores()


def test_labels_of_other_joints_are_scored_by_the_names_that_both_have(drawn: People) -> None:
    lsp = load_skeleton("lsp14")
    order = [COCO.joints.index(name) if name in COCO.joints else 0 for name in lsp.joints]
    people = tuple(replace(person, joints=person.joints[order]) for person in drawn.people)
    images = PersonImages(People("lsp", lsp, people))
    scorer, tally = TASK.scorer(images), TASK.scorer(images).truth_tally()
    for index, person in enumerate(drawn.people):
        frame = read_frame(images, index, FRAMING)
        points = frame.placement.to_frame(person.joints[:, :2])
        marks = scorer.against_truth(frame, np.column_stack([points, np.ones(17)]).astype(np.float32))
        assert marks is not None
        tally.add(marks)
    scores = tally.scores()
    assert scores.value == 1
    assert "No AP: the labels have other joints than the network." in scores.told


def test_a_choice_of_people_is_scored_as_they_are(images: PersonImages) -> None:
    some = Subset(images, (2, 1))
    scorer = TASK.scorer(some)
    frame = read_frame(some, 0, FRAMING)
    assert frame.name == images.names[2]
    marks = scorer.against_truth(frame, perfect(frame))
    tally = scorer.truth_tally()
    assert marks is not None
    tally.add(marks)
    assert dict(tally.scores().summary)["Mean OKS"] == pytest.approx(1, abs=1e-3)


def test_labels_that_are_no_joints_or_have_none_in_common_are_refused(drawn: People, people: object) -> None:
    with pytest.raises(UsageError, match="are no joints"):
        TASK.scorer(people)  # type: ignore[arg-type]
    hands = replace(COCO, name="hands", joints=tuple(f"finger {n}" for n in range(17)), flip=(), limbs=())
    with pytest.raises(UsageError, match="no limb joint is in both"):
        Pose(hands).scorer(PersonImages(drawn))


def test_a_picture_shows_labels_both_answers_and_what_moved(images: PersonImages) -> None:
    frame = read_frame(images, 0, FRAMING)
    reference, engine = perfect(frame), perfect(frame, 30)
    panels = TASK.scorer(images).picture(frame, reference, engine).panels("PyTorch", "INT8", 160)
    assert [panel.caption for panel in panels] == ["photo", "truth", "PyTorch", "INT8", "difference"]
    assert {panel.pixels.shape for panel in panels} == {(160, 120, 3)}
    np.testing.assert_array_equal(panels[1].pixels, panels[2].pixels)
    assert (panels[2].pixels != panels[3].pixels).any()
    magenta = (panels[4].pixels == (200, 0, 225)).all(2)
    assert magenta.any()
