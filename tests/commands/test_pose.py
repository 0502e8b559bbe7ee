"""A pose network through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.engines import Bundle  # noqa: E402
from trtparse.tasks.pose.people import People  # noqa: E402
from trtparse.tasks.pose.rendered import rendered_people  # noqa: E402
from trtparse.tasks.pose.task import Pose  # noqa: E402
from trtparse.tests.engines.tiny_graphs import finder_graph  # noqa: E402

Run = Callable[..., tuple[int, str, str]]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))

pytestmark = pytest.mark.usefixtures("tiny_layout")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> People:
    """Commands take these four rendered people in place of dozens."""
    people = rendered_people(4, seed=6)  # others than calibrated the bundle
    monkeypatch.setattr("trtparse.tasks.pose.data.rendered_people", lambda count, seed: people)
    return people


@pytest.fixture
def bundle(pose_bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(pose_bundle, tmp_path / "pose")
    return tmp_path / "pose"


@pytest.mark.usefixtures("few")
def test_validate_measures_joints_and_writes_a_report_with_skeletons(bundle: Path, run: Run) -> None:
    code, out, err = run("validate", bundle, "--task", "pose", "--json", "--threads", "1", "--tolerance", "100")
    assert code == 0, err
    result = json.loads(out)
    jsonschema.validate(result, SCHEMA)
    assert (result["task"], result["spec"]["name"], result["images"]) == ("pose", "coco17", 4)
    assert len(result["reference"]["joints"]) == 17
    page = (bundle / "report.html").read_text("utf-8")
    assert "left_wrist" in page
    assert "PCK" in page
    assert page.count("data:image/") >= 4
    accuracy = json.loads((bundle / "bundle.json").read_text())["accuracy"]
    (name,) = accuracy
    assert name.endswith("-int8")
    assert "iou" not in json.dumps(accuracy).lower()
    assert accuracy[name]["unit"] == f"points of {Pose.figure.words}"


@pytest.mark.usefixtures("few")
def test_the_flip_test_goes_by_heatmaps_and_its_losses_by_what_was_asked_for(bundle: Path, run: Run) -> None:
    pytest.importorskip("faster_coco_eval")
    words = ("--flip", "--figure", "ap", "--json", "--no-report", "--threads", "1", "--tolerance", "100")
    code, out, err = run("validate", bundle, *words)
    assert code == 0, err
    result = json.loads(out)
    assert (result["protocol"]["flip"], result["figure"], result["reference"]["by"]) == (True, "AP", "AP")
    jsonschema.validate(result, SCHEMA)


def test_a_bundle_of_another_task_is_refused(bundle: Path, run: Run) -> None:
    code, _, err = run("validate", bundle, "--task", "parsing")
    assert code == 2
    assert "is for pose, and --task says parsing" in err


def test_without_a_bundle_the_task_names_its_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("validate", "--task", "pose")
    assert code == 2
    assert "No bundle at build/pose" in err.replace("\n", " ")


def test_inspect_names_the_skeleton(bundle: Path, run: Run) -> None:
    code, out, err = run("inspect", bundle)
    assert code == 0, err
    assert "coco17 (17 joints)" in " ".join(out.split())


@pytest.mark.usefixtures("few")
def test_sensitivity_ranks_its_layers(bundle: Path, run: Run) -> None:
    code, out, err = run("sensitivity", bundle, "--threads", "1", "--images", "2", "--json")
    assert code == 0, err
    assert json.loads(out)["layers"]


def test_parse_writes_overlays_joints_and_coco_s_results(bundle: Path, few: People, run: Run, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in (12, 5):
        cv2.imwrite(str(folder / f"im{number}.png"), few.people[0].read())
    output = tmp_path / "parsed"
    code, _, err = run("parse", folder, "--bundle", bundle, "--output", output, "--threads", "1")
    assert code == 0, err
    results = json.loads((output / "keypoints.json").read_text())
    assert [(entry["image_id"], entry["file_name"]) for entry in results] == [(12, "im12.png"), (5, "im5.png")]
    assert len(results[0]["keypoints"]) == 51
    assert (output / "im5_overlay.jpg").is_file()
    before = (output / "im5.json").read_bytes()

    annotations = tmp_path / "labels.json"
    images = [{"id": 100, "file_name": "im12.png"}, {"id": 200, "file_name": "im5.png"}]
    annotations.write_text(json.dumps({"images": images}))
    code, _, err = run(
        "parse", folder, "--bundle", bundle, "--output", output, "--threads", "1", "--annotations", annotations
    )
    assert code == 0, err
    assert [entry["image_id"] for entry in json.loads((output / "keypoints.json").read_text())] == [100, 200]
    assert (output / "im5.json").read_bytes() == before


def test_parse_finds_everybody_and_writes_all_of_their_joints(bundle: Path, run: Run, tmp_path: Path) -> None:
    import cv2
    import numpy as np
    import onnx

    folder, output = tmp_path / "photographs", tmp_path / "parsed"
    folder.mkdir()
    street = np.random.default_rng(3).integers(0, 256, (80, 120, 3), np.uint8)
    cv2.imwrite(str(folder / "7.png"), street)
    cv2.imwrite(str(folder / "8.png"), street // 9)  # where the finder sees nobody
    onnx.save(finder_graph(), tmp_path / "finder.onnx")
    words = ("parse", folder, "--bundle", bundle, "--output", output, "--threads", "1", "--index", tmp_path / "i.csv")
    code, out, err = run(*words, "--detector", tmp_path / "finder.onnx")
    assert code == 0, err
    assert "2 people found, nobody in 1 of 2" in " ".join(out.split())
    people = json.loads((output / "7.json").read_text())["people"]
    assert [(len(one["box"]), len(one["keypoints"])) for one in people] == [(4, 17), (4, 17)]
    assert json.loads((output / "8.json").read_text())["people"] == []
    results = json.loads((output / "keypoints.json").read_text())
    assert {(entry["image_id"], entry["file_name"]) for entry in results} == {(7, "7.png")}
    assert (output / "7_overlay.jpg").is_file()
    before = (output / "7.json").read_bytes()
    code, out, _ = run(*words, "--detector", tmp_path / "finder.onnx")
    assert (code, "2 there already" in out) == (0, True)
    code, _, err = run(*words)
    assert (code, (output / "7.json").read_bytes()) == (2, before)
    assert "with people found first, and now it is one person each" in " ".join(err.split())


def test_parse_takes_a_detector_s_boxes(bundle: Path, run: Run, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    folder, output = tmp_path / "photographs", tmp_path / "parsed"
    folder.mkdir()
    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.png"), np.random.default_rng(3).integers(0, 256, (80, 120, 3), np.uint8))
    boxes, images = tmp_path / "boxes.json", tmp_path / "labels.json"
    found = [{"image_id": 20, "category_id": 1, "bbox": box, "score": 0.5} for box in ([5, 5, 40, 70], [60, 5, 40, 70])]
    boxes.write_text(json.dumps(found))
    images.write_text(json.dumps({"images": [{"id": 20, "file_name": "a.png"}, {"id": 10, "file_name": "b.png"}]}))
    words = ("parse", folder, "--bundle", bundle, "--output", output, "--threads", "1", "--boxes", boxes)
    code, out, err = run(*words, "--annotations", images)
    assert code == 0, err
    assert "2 people found, nobody in 1 of 2" in " ".join(out.split())
    people = json.loads((output / "a.json").read_text())["people"]
    assert [(one["box"], one["score"]) for one in people] == [([5, 5, 45, 75], 0.5), ([60, 5, 100, 75], 0.5)]
    assert {entry["image_id"] for entry in json.loads((output / "keypoints.json").read_text())} == {20}
    for more, said in (
        ((), "calls images by their numbers"),
        (("--annotations", boxes), "A detector's list is for --boxes"),
        (("--annotations", images, "--people", "auto"), "--boxes says where the people are"),
    ):
        code, _, err = run(*words, *more)
        assert (code, said in " ".join(err.split())) == (2, True)
    table = {**json.loads(images.read_text()), "annotations": found}
    boxes.write_text(json.dumps(table))
    before = (output / "a.json").read_bytes()
    code, out, err = run(*words)
    assert (code, "2 there already" in out) == (0, True), err
    assert (output / "a.json").read_bytes() == before
    assert {entry["image_id"] for entry in json.loads((output / "keypoints.json").read_text())} == {20}


def test_demo_draws_skeletons(bundle: Path, few: People, run: Run, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"frame-{number:03}.png"), few.people[0].read()[::2, ::2])
    told = tmp_path / "w.jsonl"
    options = ("--bundle", bundle, "--task", "pose", "--threads", "1", "--smooth", "--jsonl", told)
    code, out, err = run("demo", folder, *options, "--output", tmp_path / "walk.mp4")
    assert code == 0, err
    assert (tmp_path / "walk.mp4").stat().st_size > 0
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [len(line["poses"][0]["keypoints"]) for line in lines] == [17, 17, 17]
    assert "joints move a frame" in " ".join(out.split())


def test_demo_draws_label_maps_and_skeletons_together(
    bundle: Path, pristine_bundle: Bundle, few: People, run: Run, tmp_path: Path
) -> None:
    import cv2

    folder, told = tmp_path / "frames", tmp_path / "both.jsonl"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"frame-{number:03}.png"), few.people[0].read()[::2, ::2])
    options = ("--bundle", bundle, "--bundle", pristine_bundle.path, "--threads", "1", "--people", "full")
    code, out, err = run("demo", folder, *options, "--jsonl", told, "--smooth", "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(len(line["poses"]), bool(line["pixels"])) for line in lines] == [(1, True)] * 2
    assert set(json.loads(out)["flicker"]) == {"parsing", "pose"}
