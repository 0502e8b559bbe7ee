from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.pose.recipe import Phase, PoseRecipe, PoseSource, load_pose_recipe, shipped_pose  # noqa: E402
from trtparse.distillation.pose.run import open_images, open_teacher, run_recipe  # noqa: E402
from trtparse.distillation.recipe import read_recipe  # noqa: E402
from trtparse.errors import DataError, UsageError  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.pose_checkpoint import load_pose_checkpoint  # noqa: E402
from trtparse.networks.registry import create_pose_network  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.skeleton import Skeleton, load_skeleton  # noqa: E402
from trtparse.tasks.pose.people import People  # noqa: E402

SMALL, COCO = Framing((64, 64)), load_skeleton("coco17")
SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "pose" / "samples"


def shipped_recipe(name: str) -> PoseRecipe:
    return load_pose_recipe(shipped_pose()[name], read_recipe(shipped_pose()[name]))


@pytest.mark.parametrize("name", list(shipped_pose()))
def test_a_shipped_recipe_survives_its_table_and_names_a_network_that_there_is(name: str) -> None:
    whole = shipped_recipe(name)
    assert PoseRecipe.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    with torch.device("meta"):
        create_pose_network(whole.network.kind, {**whole.network.options, "joints": len(load_skeleton(whole.skeleton))})


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no photographs beside the project")
@pytest.mark.parametrize("name", ["s-hrnet-coco", "h-hrnet-coco", "s-mspn-coco", "s-mspn-mpii"])
def test_a_paper_s_recipe_runs_two_steps_on_samples(name: str, tmp_path: Path) -> None:
    paper = shipped_recipe(name)
    form, images = ("mpii", "mpii") if "mpii" in name else ("coco", "coco")
    labels = f"{form}/test_{form}.json"
    data = replace(
        paper.data,
        root=str(SAMPLES),
        train=(PoseSource(labels, form, images=images),),
        validation=labels,
        validation_images=images,
    )
    phase = Phase((64, 64), 2, 2, paper.phases[0].sigma)
    # The smallest of each family: the state of the largest is half a gigabyte on disk.
    kind = {"s-hrnet-s1": "s-hrnet-s5", "h-hrnet-w32": "h-hrnet-w18"}.get(paper.network.kind, paper.network.kind)
    short = replace(
        paper, data=data, phases=(phase,), validate_every=2, network=replace(paper.network, kind=kind), precision="fp32"
    )

    best = run_recipe(short, tmp_path)

    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert entry["step"] == 2
    assert np.isfinite(entry["loss"])
    checkpoint = load_pose_checkpoint(best, load_skeleton(paper.skeleton))
    assert (checkpoint.network.kind, checkpoint.input_size) == (kind, phase.input_size)


SHORT: dict[str, Any] = {
    "phases": [{"input_size": "64x64", "batch": 2, "steps": 1}],
    "network": {"kind": "l-mspn"},
    "data": {"rendered": 2},
    "validate_every": 1,
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, drawn: People) -> None:
    monkeypatch.setattr("trtparse.distillation.pose.run.rendered_people", lambda count, seed: drawn)


@pytest.mark.usefixtures("few")
def test_two_teachers_of_coco_s_joints_teach_rendered_people(tmp_path: Path) -> None:
    teachers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        teachers.append(str(tmp_path / f"{seed}.safetensors"))
        save_checkpoint(create_pose_network("l-mspn", {}), Path(teachers[-1]), SMALL, COCO)

    alone = run_recipe(PoseRecipe.from_dict(SHORT), tmp_path / "alone")
    taught = {"teachers": teachers, "mse": 0.0, "kl": 1.0, "temperature": 1.0}
    with_both = run_recipe(PoseRecipe.from_dict({**SHORT, "distillation": taught}), tmp_path / "taught")

    losses = [json.loads((path.parent / "log.jsonl").read_text())["loss"] for path in (alone, with_both)]
    assert losses[0] != losses[1]


@pytest.mark.usefixtures("few")
def test_a_teacher_or_a_start_of_other_joints_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mpii.safetensors"
    save_checkpoint(create_pose_network("l-mspn", {"joints": 16}), path, SMALL, load_skeleton("mpii16"))
    teacher = {"teachers": [str(path)], "mse": 0.0}
    with pytest.raises(UsageError, match="cannot teach coco17: mpii16 has no nose"):
        run_recipe(PoseRecipe.from_dict({**SHORT, "distillation": teacher}), tmp_path / "run")
    start = {"kind": "l-mspn", "initial": str(path)}
    with pytest.raises(UsageError, match="answers 16 joints, where the 17 of coco17 are wanted"):
        run_recipe(PoseRecipe.from_dict({**SHORT, "network": start}), tmp_path / "run")


def test_a_teacher_of_more_joints_teaches_those_that_are_wanted_by_name(tmp_path: Path) -> None:
    path = tmp_path / "coco.safetensors"
    save_checkpoint(create_pose_network("l-mspn", {}), path, SMALL, COCO, lossless=True)
    names = ("right_wrist", "nose")
    few = Skeleton("few", names, (), (), ((0, 0, 0),) * 2, (0.1, 0.1))

    taught = open_teacher(path, few).eval()

    image = torch.randn(1, 3, 64, 64)
    everything = load_pose_checkpoint(path).network(image)
    torch.testing.assert_close(taught(image), everything[:, [COCO.index(name) for name in names]])
    assert taught.spec.joints == 2


@pytest.mark.usefixtures("few")
def test_a_start_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_checkpoint(create_pose_network("l-mspn", {"half_pixel": True}), path, SMALL, COCO)
    with pytest.raises(UsageError, match=r"network\.initial"):
        run_recipe(PoseRecipe.from_dict({**SHORT, "network": {"kind": "l-mspn", "initial": str(path)}}), tmp_path)


def coco_file(path: Path, numbers: list[int], joints: list[str]) -> None:
    people = [
        {"id": number, "image_id": 1, "bbox": [1, 1, 9, 9], "keypoints": [5, 5, 2] * len(joints)} for number in numbers
    ]
    image = {"id": 1, "file_name": path.name, "width": 20, "height": 20}
    table = {"images": [image], "annotations": people, "categories": [{"id": 1, "name": "p", "keypoints": joints}]}
    path.write_text(json.dumps(table))


def test_labels_that_the_teacher_s_file_lacks_are_told(tmp_path: Path) -> None:
    coco = load_skeleton("coco17")
    coco_file(tmp_path / "labels.json", [1, 2], list(load_skeleton("lsp14").joints))
    coco_file(tmp_path / "taught.json", [1], list(coco.joints))
    data = {"root": str(tmp_path), "train": [{"labels": "labels.json", "taught": "taught.json"}]}
    with pytest.raises(DataError, match=r"taught\.json lacks 1 of the 2 annotations"):
        open_images(PoseRecipe.from_dict({"data": data}), coco)


@pytest.mark.usefixtures("few")
def test_a_teacher_s_joints_are_matched_by_name_and_one_that_lacks_some_is_refused(tmp_path: Path) -> None:
    coco = load_skeleton("coco17")
    coco_file(tmp_path / "taught.json", [1], ["tail", *reversed(coco.joints)])
    table = json.loads((tmp_path / "taught.json").read_text())
    table["annotations"][0]["keypoints"] = [value for i in range(18) for value in (i, i, 2)]
    (tmp_path / "taught.json").write_text(json.dumps(table))
    recipe = PoseRecipe.from_dict({"data": {"root": str(tmp_path), "train": [{"taught": "taught.json"}]}})

    (example,) = open_images(recipe, coco).examples

    assert example.places[:, 1, 0].tolist() == list(range(17, 0, -1))
    coco_file(tmp_path / "taught.json", [1], list(coco.joints[1:]))
    with pytest.raises(UsageError, match="has no nose, which coco17 has"):
        open_images(recipe, coco)


def test_a_validation_without_shoulders_and_hips_is_refused_before_training(tmp_path: Path) -> None:
    coco_file(tmp_path / "labels.json", [1], ["head", "tail"])
    data = {"root": str(tmp_path), "train": [{"labels": "labels.json"}], "validation": "labels.json"}
    with pytest.raises(DataError, match="no left and right shoulder"):
        open_images(PoseRecipe.from_dict({"data": data}), load_skeleton("coco17"))


def test_a_validation_of_nobody_who_can_be_measured_is_refused_before_training(tmp_path: Path) -> None:
    """Else no step would have a score, and no checkpoint would be the best."""
    coco = load_skeleton("coco17")
    coco_file(tmp_path / "labels.json", [1], list(coco.joints))
    table = json.loads((tmp_path / "labels.json").read_text())
    for joint in ("left_hip", "right_hip"):
        table["annotations"][0]["keypoints"][3 * coco.joints.index(joint) + 2] = 0
    (tmp_path / "some.json").write_text(json.dumps(table))
    data = {"root": str(tmp_path), "train": [{"labels": "labels.json"}]}
    assert open_images(PoseRecipe.from_dict({"data": {**data, "validation": "labels.json"}}), coco)
    with pytest.raises(DataError, match=r"some\.json.*: of nobody are a shoulder"):
        open_images(PoseRecipe.from_dict({"data": {**data, "validation": "some.json"}}), coco)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"data": {"rendered": -1}}, "data.rendered is -1; it must be 0 or more"),
        ({"data": {"rendered_weight": 0}}, r"data.rendered_weight is 0.0; it must be more than 0"),
        ({"augmentation": {"scale": [0, 1]}}, r"scale is a range above 0, not \[0.0, 1.0\]"),
    ],
)
def test_numbers_that_cannot_be_are_refused_as_the_recipe_is_read(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        PoseRecipe.from_dict(values)
