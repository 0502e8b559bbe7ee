from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed: pip install 'trtparse[pose]'")

from trtparse.errors import DataError  # noqa: E402
from trtparse.specs.skeleton import load_skeleton  # noqa: E402
from trtparse.tasks.pose.metrics import judge_by_heads  # noqa: E402
from trtparse.tasks.pose.mpii import read_heads  # noqa: E402
from trtparse.tasks.pose.people import People, Person  # noqa: E402

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
