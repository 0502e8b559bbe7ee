from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed: pip install 'trtparse[pose]'")

from trtparse.data.crops import RULES  # noqa: E402
from trtparse.data.dataset import Subset  # noqa: E402
from trtparse.data.reading import read_frame  # noqa: E402
from trtparse.errors import DataError  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.skeleton import load_skeleton  # noqa: E402
from trtparse.tasks.pose.data import open_data  # noqa: E402
from trtparse.tasks.pose.images import PersonImages  # noqa: E402
from trtparse.tasks.pose.metrics import judge_by_heads  # noqa: E402
from trtparse.tasks.pose.mpii import read_heads  # noqa: E402
from trtparse.tasks.pose.people import People, Person  # noqa: E402
from trtparse.tasks.pose.scoring import Scores  # noqa: E402
from trtparse.tasks.pose.task import Pose  # noqa: E402

MPII = load_skeleton("mpii16")


@pytest.fixture
def two() -> People:
    joints = np.random.default_rng(0).uniform(10, 90, (2, 16, 3)).astype(np.float32)
    joints[..., 2] = 2
    scores = np.ones(16, np.float32)
    people = tuple(Person(Path("a.jpg"), n, n, (0, 0, 99, 99), joints[n], scores) for n in range(2))
    return People("two", MPII, people)


def write(path: Path, people: People, by: float = 0) -> None:
    boxes = np.zeros((2, 2, len(people)))
    boxes[1] = np.array([[30, 60], [40, 80]])[:, : len(people)]  # diagonals of 50 and 100
    missing = np.zeros((16, len(people)))
    joints = people.joints()[..., :2].transpose(1, 2, 0).astype(np.float64) + 1 + by
    scipy_io.savemat(path, {"headboxes_src": boxes, "pos_gt_src": joints, "jnt_missing": missing})


def test_a_head_is_six_tenths_of_its_box_s_diagonal(two: People, tmp_path: Path) -> None:
    write(tmp_path / "gt_valid.mat", two)
    assert read_heads(tmp_path / "gt_valid.mat", two).tolist() == pytest.approx([30, 60])


def test_half_a_head_is_right_and_pelvis_and_thorax_do_not_count(two: People) -> None:
    answers = two.joints().copy()
    answers[0, :, 0] += 16
    judged = judge_by_heads(two.joints(), answers, MPII, MPII, np.array([30.0, 60.0]))
    assert judged.right.sum(1).tolist() == [0, 14]
    assert judged.pooled().value == 0.5
    assert not {"pelvis", "thorax"} & set(judged.names)


def test_without_the_table_pckh_is_refused_and_so_is_one_of_other_people(two: People, tmp_path: Path) -> None:
    path = tmp_path / "gt_valid.mat"
    with pytest.raises(DataError, match="PCKh is measured by the head boxes"):
        read_heads(path, two)
    path.write_bytes(b"no table" * 40)
    with pytest.raises(DataError, match="is not MPII's table"):
        read_heads(path, two)
    write(path, People("one", MPII, two.people[:1]))
    with pytest.raises(DataError, match="is of 1 people, and the annotations have 2"):
        read_heads(path, two)
    write(path, two, by=20)
    with pytest.raises(DataError, match="has other people than the annotations"):
        read_heads(path, two)


@pytest.fixture
def hrnet(two: People, tmp_path: Path) -> Path:
    """HRNet's folder of two people."""
    for name in ("annot", "images"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.jpg"), np.full((100, 100, 3), 90, np.uint8))
    entries = [
        {
            "image": "a.jpg",
            "center": [50, 50],
            "scale": 0.5,
            "joints": (person.joints[:, :2] + 1).tolist(),
            "joints_vis": [1] * 16,
        }
        for person in two.people
    ]
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(entries))
    return tmp_path


def scored(images: PersonImages | Subset, by: dict[int, float], skeleton: str = "mpii16") -> Scores:
    """The labels as answers, those of some people moved to the right by so many pixels."""
    task = Pose(load_skeleton(skeleton))
    scorer = task.scorer(images)
    tally = scorer.truth_tally()
    for index in range(len(images)):
        frame = read_frame(images, index, Framing((128, 96), crop=RULES["trtparse"]))
        labels = np.asarray(frame.labels)
        points = np.zeros((len(task.skeleton), 3), np.float32)
        for row, name in enumerate(task.skeleton.joints):
            if name in MPII.joints:
                moved = labels[MPII.index(name), :2] + np.array([by.get(index, 0), 0])
                points[row] = (*frame.placement.to_frame(moved[None])[0], 1)
        marks = scorer.against_truth(frame, points)
        assert marks is not None
        tally.add(marks)
    return tally.scores()


def test_pckh_stands_beside_pck_where_the_head_boxes_lie_beside_the_annotations(two: People, hrnet: Path) -> None:
    write(hrnet / "annot" / "gt_valid.mat", two)
    images = open_data(str(hrnet), None, "validation")
    # Half of 30 pixels and half of 60: 16 is too far for the first head alone.
    scores = scored(images, {0: 16, 1: 16})
    assert scores.figures["PCKh@0.5"] == 0.5
    assert scores.figures["PCKh@0.5"] != scores.value == dict(scores.summary)["PCK@0.2"]
    assert "PCKh@0.5 is within half of 0.6 of the head box's diagonal." in scores.told
    # Of a choice of the people the heads are those of the chosen ones.
    assert scored(Subset(images, [1]), {0: 16}).figures["PCKh@0.5"] == 1
    told = scored(images, {}, "coco17").told
    assert any(line.endswith("the network has no neck, head_top.") for line in told), told


def test_without_the_head_boxes_pck_alone_is_told_and_why(
    two: People, hrnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = scored(open_data(str(hrnet), None, "validation"), {})
    assert scores.value == 1
    assert "PCKh@0.5" not in scores.figures
    assert "No PCKh: its head boxes would be in gt_valid.mat, which is not beside valid.json." in scores.told
    path = hrnet / "annot" / "gt_valid.mat"
    write(path, two, by=20)
    with pytest.raises(DataError, match="has other people than the annotations"):
        open_data(str(hrnet), None, "validation")
    # Calibration has no use for heads.
    assert open_data(str(hrnet), "val", "calibration").heads is None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else find(name))
    images = open_data(str(hrnet), None, "validation")
    assert images.told == ("No PCKh: to read gt_valid.mat takes SciPy, pip install 'trtparse[pose]'.",)
