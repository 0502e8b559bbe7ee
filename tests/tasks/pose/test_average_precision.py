from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed: pip install 'trtparse[pose]'")

from trtparse.errors import UsageError
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.pose.average_precision import NAMES, Evaluation, average_precision, result, results
from trtparse.tasks.pose.files import read_coco
from trtparse.tasks.pose.people import People

COCO = load_skeleton("coco17")


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    """Two people in the first image, one in the second, a crowd in the third."""
    rng = np.random.default_rng(0)
    annotations = []
    for number, (image, side) in enumerate(((1, 60), (1, 200), (2, 120), (3, 150)), 1):
        joints = np.column_stack([100 * number + rng.uniform(0, side, (17, 2)), np.full(17, 2)])
        joints[rng.random(17) < 0.2] = 0
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "iscrowd": int(image == 3),
                "area": 0.5 * side * side,
                "bbox": [100 * number, 100 * number, side, side],
                "num_keypoints": int((joints[:, 2] > 0).sum()),
                "keypoints": joints.ravel().tolist(),
            }
        )
    return {
        "info": {},
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (1, 2, 3)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}],
    }


def moved(table: dict[str, Any], by: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    found = []
    for annotation in table["annotations"]:
        joints = np.array(annotation["keypoints"], np.float32).reshape(-1, 3)
        joints[:, :2] += rng.normal(0, by, (17, 2))
        joints[:, 2] = rng.uniform(0.3, 1, 17)
        found.append(result(annotation["image_id"], joints, float(joints[:, 2].mean())))
    return found


def by_pycocotools(table: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float | None]:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    truth = coco.COCO()
    truth.dataset = table
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes([dict(entry) for entry in found]), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(NAMES, evaluation.stats)}


@pytest.mark.parametrize("by", [3.0, 12.0])
def test_the_figures_are_pycocotools_s(table: dict[str, Any], by: float, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(table))
    found = moved(table, by)
    expected = by_pycocotools(table, found)
    assert 0 < (expected["AP"] or 0) < 1
    assert average_precision(tmp_path / "labels.json", found, COCO).figures == pytest.approx(expected)


@pytest.mark.shared
def test_the_figures_are_pycocotools_s_on_coco_s_own_annotations(shared_data: Path) -> None:
    folder = shared_data / "pose" / "samples" / "coco"
    people = read_coco(folder / "test_coco.json", folder)
    rng = np.random.default_rng(0)
    answers = people.joints()
    answers[..., :2] += rng.normal(0, 6, answers[..., :2].shape)
    answers[..., 2] = rng.uniform(0.1, 1, answers.shape[:2])
    found = results(people.people, answers, COCO)
    expected = by_pycocotools(json.loads((folder / "test_coco.json").read_text()), found)
    assert 0.3 < (expected["AP"] or 0) < 0.7
    assert average_precision(folder / "test_coco.json", found, COCO).figures == pytest.approx(expected)


def test_nobody_is_found_twice_and_scores_are_the_box_s_times_the_joints(drawn: People) -> None:
    people = [replace(drawn.people[0], score=score) for score in (0.5, 0.8)] + [drawn.people[1]]
    answers = np.stack([person.joints for person in people])
    answers[..., 2] = 0.5
    answers[0, :, :2] += 0.1
    found = results(people, answers, COCO)
    assert [entry["score"] for entry in found] == [0.4, 0.5]
    assert found[0]["image_id"] == drawn.people[0].image_id
    assert found[0]["keypoints"][:2] == pytest.approx(people[1].joints[0, :2].tolist(), abs=1e-3)


def test_people_who_are_in_no_file_are_measured_as_well_and_what_area_they_have_is_said(drawn: People) -> None:
    answers = np.stack([person.joints for person in drawn.people])
    answers[..., 2] = 1
    found = results(drawn.people, answers, COCO)
    perfect = average_precision(drawn, found, COCO)
    assert perfect.value == pytest.approx(1)
    assert perfect.told == ("areas are 0.53 of the boxes",)
    assert average_precision(drawn, [], COCO).value == 0


def test_other_joints_than_the_labels_have_no_ap(drawn: People) -> None:
    with pytest.raises(UsageError, match="joints are those of coco17, the network's those of lsp14"):
        average_precision(drawn, [], load_skeleton("lsp14"))


def test_of_images_drawn_anew_it_is_what_their_own_people_give(table: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(table))
    found = moved(table, 12)
    evaluation = Evaluation(path, found, COCO)
    assert evaluation.images == (1, 2, 3)
    drawings = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 3], [0, 2, 1]])
    whole, first, others, crowd, twice = evaluation.drawn(drawings)
    assert whole == pytest.approx(evaluation.figures()["AP"])
    for value, images in ((first, [1]), (others, [2, 3])):
        assert value == pytest.approx(average_precision(path, found, COCO, images).value)
    assert twice == pytest.approx(others)
    assert 0 < first != others
    assert np.isnan(crowd)
