from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtparse.errors import UsageError
from trtparse.specs.skeleton import Skeleton, load_skeleton, shipped_skeletons


@pytest.fixture
def table() -> dict[str, Any]:
    joints = [
        {"name": name, "colour": [0, 128, 255], "sigma": 0.05} for name in ("head", "left_hand", "right_hand", "tail")
    ]
    return {"name": "cat", "flip": [["left_hand", "right_hand"]], "limbs": [["head", "tail"]], "joints": joints}


@pytest.mark.parametrize(("name", "count"), [("coco17", 17), ("lsp14", 14), ("mpii16", 16)])
def test_a_shipped_skeleton_survives_json_and_its_mirror_is_its_own_inverse(name: str, count: int) -> None:
    skeleton = load_skeleton(name)

    assert len(skeleton) == count
    assert skeleton.name == name
    assert Skeleton.from_json(skeleton.to_json()) == skeleton
    order = skeleton.flip_order
    assert [order[order[i]] for i in range(count)] == list(range(count))
    for here, there in enumerate(order):
        swapped = skeleton.joints[here].replace("left", "?").replace("right", "left").replace("?", "right")
        assert skeleton.joints[there] == swapped


def test_coco_has_the_sigmas_of_its_metric() -> None:
    nose, eye, _, ear, _, shoulder, _, elbow, _, wrist, _, hip, _, knee, _, ankle, _ = load_skeleton("coco17").sigmas
    assert (nose, eye, ear, shoulder, elbow, wrist) == (0.026, 0.025, 0.035, 0.079, 0.072, 0.062)
    assert (hip, knee, ankle) == (0.107, 0.087, 0.089)


def test_the_shipped_skeletons_are_those_of_the_folder() -> None:
    assert list(shipped_skeletons()) == ["coco17", "lsp14", "mpii16"]


def test_joints_are_matched_by_name(table: dict[str, Any]) -> None:
    cat = Skeleton.from_dict(table)
    tail_first = Skeleton.from_dict({**table, "name": "tac", "joints": table["joints"][::-1]})

    assert cat.channels_in(tail_first) == (3, 2, 1, 0)
    assert cat.limb_indices == ((0, 3),)
    with pytest.raises(UsageError, match="coco17 has no head, left_hand, right_hand, tail, which cat has"):
        cat.channels_in(load_skeleton("coco17"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": []}, "no joints"),
        ({"joints": "head"}, "no list of joints"),
        ({"joints": [{"name": "head", "colour": [0, 0, 0]}]}, "joint 1 is"),
        ({"limbs": [["head", "tial"]]}, "names 'tial'.*\nDid you mean tail"),
        ({"limbs": [["head", "head"]]}, "is no limb"),
        ({"limbs": [["head"]]}, "is no limb"),
        ({"limbs": "head"}, "limbs is 'head'"),
        ({"flip": [["left_hand", "rigth_hand"]]}, "flip pair .*'rigth_hand'"),
        ({"flip": [["left_hand", "right_hand"], ["tail", "left_hand"]]}, "left_hand is in two flip pairs"),
        ({"name": ""}, "no name"),
        ({"schema": 9}, "schema 9"),
        ({"lims": []}, "'lims' is unknown.*\nDid you mean limbs"),
    ],
)
def test_a_skeleton_that_cannot_be_is_refused(table: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){said}"):
        Skeleton.from_dict({**table, **change})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", "tail", "two joints are named tail"),
        ("name", 7, "a joint's name is 7"),
        ("colour", [0, 0, 256], r"colour of head is \[0, 0, 256\]"),
        ("colour", [0, 0], r"colour of head is \[0, 0\]"),
        ("colour", "red", "colour of head is 'red'"),
        ("sigma", 0, "sigma of head is 0"),
        ("sigma", float("nan"), "sigma of head is nan"),
        ("sigma", "wide", "sigma of head is 'wide'"),
    ],
)
def test_a_joint_that_cannot_be_is_refused(table: dict[str, Any], key: str, value: object, said: str) -> None:
    table["joints"][0][key] = value
    with pytest.raises(UsageError, match=said):
        Skeleton.from_dict(table)


def test_a_joint_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean left_elbow"):
        load_skeleton("coco17").index("left_elbo")


def test_one_s_own_skeleton_is_read_from_a_file_and_its_faults_name_it(tmp_path: Path) -> None:
    path = tmp_path / "cat.toml"
    path.write_text('name = "cat"\n[[joints]]\nname = "head"\ncolour = [1, 2, 3]\nsigma = 0.1\n')
    assert load_skeleton(path).joints == ("head",)

    path.write_text("name = ")
    with pytest.raises(UsageError, match=r"cat\.toml is not TOML"):
        load_skeleton(path)
    with pytest.raises(UsageError, match=r"There is no skeleton coco.*\n.*coco17, lsp14, mpii16"):
        load_skeleton("coco")
    with pytest.raises(UsageError, match="not JSON"):
        Skeleton.from_json("{")
