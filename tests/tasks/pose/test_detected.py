"""AP in the boxes of a detector."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed: pip install 'trtparse[pose]'")

from trtparse.data.crops import RULES
from trtparse.data.reading import read_frame
from trtparse.errors import DataError, UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.pose.average_precision import average_precision, results
from trtparse.tasks.pose.data import open_data
from trtparse.tasks.pose.detected import in_boxes
from trtparse.tasks.pose.images import PersonImages
from trtparse.tasks.pose.task import Pose

COCO = load_skeleton("coco17")
TASK = Pose(COCO).measured_by("AP")
LEFT, RIGHT = (10, 10, 60, 120), (110, 10, 60, 120)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two people in image 7, one in image 8."""
    random = np.random.default_rng(3)
    annotations = []
    for number, (image, box) in enumerate([(7, LEFT), (7, RIGHT), (8, LEFT)], 1):
        joints = np.column_stack([random.uniform(0, 1, (17, 2)) * box[2:] + box[:2], np.full(17, 2)])
        keypoints = joints.round(1).ravel().tolist()
        more = {"bbox": box, "area": 3000, "num_keypoints": 17, "iscrowd": 0, "category_id": 1}
        annotations.append({"id": number, "image_id": image, "keypoints": keypoints, **more})
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 200, "height": 150} for n in (7, 8)]
    for image in images:
        cv2.imwrite(str(tmp_path / str(image["file_name"])), np.full((150, 200, 3), 90, np.uint8))
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def detections(labels: Path, *found: tuple[int, tuple[int, ...], float]) -> Path:
    path = labels.with_name("boxes.json")
    entries = [{"image_id": image, "category_id": 1, "bbox": box, "score": score} for image, box, score in found]
    path.write_text(json.dumps(entries))
    return path


def moved(box: tuple[int, ...], by: int) -> tuple[int, ...]:
    return (box[0] + by, *box[1:])


def test_each_labelled_person_goes_to_the_best_box_around_them(labels: Path) -> None:
    path = detections(labels, (7, moved(LEFT, 4), 0.3), (7, LEFT, 0.9), (7, moved(RIGHT, 45), 0.8))
    images = in_boxes(open_data(str(labels), None, "validation"), path)
    assert [bool(person.joints[:, 2].any()) for person in images.people.people] == [False, True, False]
    assert [person.score for person in images.people.people] == [0.3, 0.9, 0.8]
    assert images[1].box == LEFT
    assert images.unboxed == (8,)
    assert images.told == ("Boxes are those of boxes.json; PCK leaves out those whom none overlaps by half: 2.",)


def test_ap_counts_whom_the_detector_missed_and_goes_by_the_scores_of_boxes(labels: Path) -> None:
    given = open_data(str(labels), None, "validation")
    # A box around nothing stands before or behind the right one, and image 8 has none.
    found = {}
    for score in (0.2, 0.95):
        images = in_boxes(given, detections(labels, (7, (60, 30, 20, 20), score), (7, LEFT, 0.9)))
        scorer = TASK.scorer(images)
        tally = scorer.truth_tally()
        answers = []
        for index in range(len(images)):
            frame = read_frame(images, index, Framing((128, 96), crop=RULES["trtparse"]))
            # Where nobody is, the answer is all at one place.
            points = given[0].labels[:, :2] if index else np.full((17, 2), 70.0)
            answer = np.column_stack([frame.placement.to_frame(points), np.ones(17)]).astype(np.float32)
            marks = scorer.against_truth(frame, answer)
            assert marks is not None
            tally.add(marks)
            answers.append(marks[2])
        scores = tally.scores()
        entries = results(images.people.people, np.array(answers, np.float32), COCO)
        assert sorted(entry["score"] for entry in entries) == sorted([score, 0.9])
        assert scores.value == average_precision(labels, entries, COCO).value
        assert scores.pck == 1
        loss = tally.loss_of(tally)
        assert (loss.points, loss.low, loss.high) == (0, 0, 0)
        found[score] = scores.value
    # One of three is found: first, or behind the wrong one.
    assert found[0.2] == pytest.approx(34 / 101)
    assert found[0.95] == pytest.approx(34 / 101 / 2)


def test_what_has_no_boxes_or_no_ap_is_refused(labels: Path) -> None:
    given = open_data(str(labels), None, "validation")
    images = in_boxes(given, detections(labels, (7, LEFT, 0.9)))
    with pytest.raises(UsageError, match="PCK is measured in given boxes") as caught:
        Pose(COCO).scorer(images)
    assert "--figure AP" in caught.value.hint
    with pytest.raises(DataError, match="has no box of a person"):
        in_boxes(given, detections(labels))
    with pytest.raises(DataError, match="is around a labelled person"):
        in_boxes(given, detections(labels, (7, (60, 30, 20, 20), 0.9)))
    with pytest.raises(DataError, match="is in image 9"):
        in_boxes(given, detections(labels, (9, LEFT, 0.9)))
    with pytest.raises(UsageError, match="speaks of images by COCO's image_id"):
        TASK.in_boxes(PersonImages(given.people), labels)
    with pytest.raises(UsageError, match="parsing takes no boxes"):
        Parsing(label_set("lip")).in_boxes(given, labels)
