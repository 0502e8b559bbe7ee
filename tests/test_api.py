"""``import trtparse`` gives what the README promises, to threads and processes, and reads nothing before."""

from __future__ import annotations

import ast
import doctest
import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest

import trtparse
from trtparse import answers, api
from trtparse.errors import DataError, MachineError, UsageError
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.open import open_predictor
from trtparse.tasks.people.boxes import Detections
from trtparse.tests.engines.tiny_graphs import BOXES, finder_graph
from trtparse.tests.serve.conftest import FIVE, write_bundle, write_finder, write_joints
from trtparse.trt_builder.source import bundle_of_onnx

from .trt_builder.test_rehearsal import old_graph

ROOT = Path(trtparse.__file__).resolve().parent
PEOPLE = np.array([[5.0, 5, 25, 75], [30.0, 10, 55, 70]])


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    onnx.save(old_graph(opset=20), folder / "ours.onnx")
    return bundle_of_onnx(folder / "ours.onnx", folder / "bundle", "fp16").path


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs") / "a.png"
    small = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (60, 80)))
    return path


def test_importing_reads_neither_numpy_nor_a_runtime() -> None:
    program = (
        "import sys, trtparse; assert 'load' in dir(trtparse);"
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'cv2', 'torch', 'trtparse.api'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert told.stdout.strip() == "[]"


def test_every_name_is_there_and_no_other() -> None:
    for name in trtparse.__all__:
        assert getattr(trtparse, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        trtparse.lode  # noqa: B018


def test_a_picture_is_parsed_drawn_and_saved(small_bundle: Path, photograph: Path, tmp_path: Path) -> None:
    with trtparse.load(small_bundle, "cpu", "fp32", threads=1) as parse:
        person = parse(photograph)
        again = parse(cv2.imread(str(photograph)))
    assert person.labels.shape == (80, 60)
    np.testing.assert_array_equal(person.labels, again.labels)
    assert person.label_set == label_set("lip")
    assert sum(person.shares().values()) == pytest.approx((person.labels > 0).mean())
    drawn = person.draw(legend=False)
    assert (drawn.pixels.shape, drawn.pixels.dtype) == (person.image.shape, np.uint8)
    assert (drawn.pixels != person.image).any()
    assert cv2.imread(str(drawn.save(tmp_path / "drawn.png"))).shape == (80, 60, 3)
    found = cv2.imread(str(person.save(tmp_path / "labels.png")), cv2.IMREAD_UNCHANGED)
    from trtparse.data.images import read_label_map

    np.testing.assert_array_equal(read_label_map(tmp_path / "labels.png"), person.labels)
    assert found is not None
    with pytest.raises(UsageError, match="no ending of a picture"):
        drawn.save(tmp_path / "drawn.pict")


def test_a_stream_gives_an_answer_for_every_frame(small_bundle: Path, photograph: Path) -> None:
    with trtparse.load(small_bundle, "cpu", "fp32", threads=1) as parse:
        (one,) = parse.stream(photograph)
        np.testing.assert_array_equal(one.labels, parse(photograph).labels)
        (found,) = parse.stream(photograph, people="auto")
        assert found.labels.shape == (80, 60)  # nobody is in it
        with pytest.raises(UsageError, match="Choose whole or auto"):
            next(parse.stream(photograph, people="all"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros((4, 4), np.uint8), r"not \(4, 4\) uint8"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels"),
        (3, "not int"),
    ],
)
def test_what_is_no_picture_is_refused(given: object, told: str, small_bundle: Path) -> None:
    with trtparse.load(small_bundle, "cpu", threads=1) as parse:
        with pytest.raises(UsageError, match=told):
            parse(given)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"none\.jpg"):
            parse("none.jpg")


def test_threads_take_turns(small_bundle: Path, photograph: Path) -> None:
    image = cv2.imread(str(photograph))
    pictures = [np.roll(image, number, 0) for number in range(12)]
    with trtparse.load(small_bundle, "cpu", "fp32", threads=1) as parse:
        expected = [parse(picture).labels for picture in pictures]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda picture: parse(picture).labels, pictures))
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def test_it_is_pickled_as_what_it_was_loaded_from(small_bundle: Path, photograph: Path) -> None:
    with trtparse.load(small_bundle, "cpu", "fp32", threads=1) as parse, pickle.loads(pickle.dumps(parse)) as other:
        np.testing.assert_array_equal(other(photograph).labels, parse(photograph).labels)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_it_says_so_instead_of_hanging(small_bundle: Path, photograph: Path) -> None:
    with trtparse.load(small_bundle, "cpu", "fp32", threads=1) as parse:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                parse(photograph)
            except UsageError as error:
                os.write(writing, error.message.encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading) as told:
            assert "before this one was forked from it" in told.read()
        assert parse(photograph).labels.shape == (80, 60)


def test_masks_and_boxes_for_supervision() -> None:
    labels = np.zeros((4, 5), np.uint8)
    labels[1:3, 2:5], labels[0, 0] = 13, 5
    person = trtparse.Parsed(labels, label_set("lip"), np.zeros((4, 5, 3), np.uint8))
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    found = person.to_supervision()
    assert isinstance(found, supervision.Detections)
    assert list(found.data["class_name"]) == ["Upper-clothes", "Face"]
    np.testing.assert_array_equal(found.xyxy, [[0, 0, 1, 1], [2, 1, 5, 3]])
    np.testing.assert_array_equal(found.mask[1], labels == 13)
    assert supervision.MaskAnnotator().annotate(person.image.copy(), found).any()


def test_without_supervision_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    person = trtparse.Parsed(np.zeros((2, 2), np.uint8), label_set("lip"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(MachineError, match="supervision") as caught:
        person.to_supervision()
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize("module", [answers, api])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    ran = doctest.testmod(module, optionflags=flags)  # type: ignore[arg-type]
    assert ran.attempted > 0
    assert ran.failed == 0


def test_readme_s_example_runs_as_it_stands(
    small_bundle: Path, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ROOT / "README.md").is_file():
        pytest.skip("README.md does not come along where the package is installed")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    ast.parse(example)
    for name in ("person.jpg", "street.mp4"):
        # A still picture stands in for the video: what is read is told by its bytes or its ending.
        example = example.replace(name, str(photograph))
    monkeypatch.chdir(tmp_path)
    exec(example.replace("build/student", str(small_bundle)), {})
    assert (tmp_path / "drawn.png").is_file()


def test_a_bundle_of_poses_answers_with_joints_in_the_picture_s_pixels(photograph: Path, tmp_path: Path) -> None:
    bundle = write_joints(tmp_path / "joints")
    with trtparse.load(bundle, "cpu", "fp32", threads=1) as find, open_predictor(bundle, "cpu", "fp32") as predictor:
        assert (find.task, find.spec) == ("pose", FIVE)
        person = find(photograph)
        expected = predictor.look_at(cv2.imread(str(photograph)))
        (whole,) = find.stream(photograph)
    assert isinstance(person, trtparse.Posed)
    np.testing.assert_array_equal(person.keypoints, expected[None])
    np.testing.assert_array_equal(whole.keypoints, person.keypoints)
    assert person.ids == (1,)
    np.testing.assert_array_equal(person.joint("c"), expected[None, 2])
    assert (person.draw().pixels != person.image).any() or (expected[:, 2] < 0.2).all()
    (told,) = json.loads(person.save(tmp_path / "joints.json").read_text())["poses"]
    assert told["score"] == pytest.approx(float(person.scores[0]), abs=1e-3)
    np.testing.assert_allclose([told["keypoints"][name] for name in "abcde"], expected, atol=0.006)


def test_people_are_each_looked_at_in_a_picture_and_in_a_stream(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    both, none = Detections(PEOPLE, np.array([0.9, 0.8])), Detections(PEOPLE[:0], np.zeros(0))
    detector = SimpleNamespace(
        sure=0.5, at_once=1, detect=lambda frames: [both for _ in frames], close=lambda: opened.append("closed")
    )
    monkeypatch.setattr(
        "trtparse.tasks.people.detector.open_detector", lambda path, threads: opened.append(path) or detector
    )
    bundle = write_joints(tmp_path / "joints")
    with trtparse.load(bundle, "cpu", "fp32", threads=1, task="pose") as find:
        assert opened == []  # before anybody is looked for
        pictured = find(photograph, people="auto")
        (seen,) = find.stream(photograph, people="auto")
        detector.detect = lambda frames: [none for _ in frames]
        (nobody,) = find.stream(photograph, people="auto")
    assert opened == [None, "closed"]
    assert (nobody.ids, nobody.keypoints.shape) == ((), (0, 5, 3))
    with open_predictor(bundle, "cpu", "fp32") as predictor:
        image = cv2.imread(str(photograph))
        expected = [
            predictor.look_at(image, (left, top, right - left, bottom - top)) for left, top, right, bottom in PEOPLE
        ]
    for found in (pictured, seen):
        assert found.ids == (1, 2)
        np.testing.assert_array_equal(found.keypoints, expected)


def test_people_parsed_each_are_those_of_parse(photograph: Path, tmp_path: Path) -> None:
    from trtparse.data.images import read_label_map
    from trtparse.parse.images import parse_images
    from trtparse.tasks.people.detector import open_detector
    from trtparse.tests.predicting import HANDS

    onnx.save(finder_graph(), tmp_path / "finder.onnx")
    finder = write_finder(tmp_path / "finder")
    bundle = write_bundle(tmp_path / "hands")
    with open_predictor(bundle, "onnxruntime", threads=1) as predictor:
        detector = open_detector(tmp_path / "finder.onnx", threads=1)
        parse_images([photograph], predictor, tmp_path / "parsed", detector=detector)
        detector.close()
    expected = read_label_map(tmp_path / "parsed/a.png", HANDS)
    for given in (tmp_path / "finder.onnx", finder):
        with trtparse.load(bundle, "onnxruntime", threads=1, task="parsing", detector=given) as parse:
            again = pickle.loads(pickle.dumps(parse))
            np.testing.assert_array_equal(parse(photograph, people="auto").labels, expected)
            np.testing.assert_array_equal(again(photograph, people="auto").labels, expected)
            assert (parse(photograph).labels != expected).any()
            again.close()


def test_a_finder_answers_with_boxes_in_the_picture_s_pixels(photograph: Path, tmp_path: Path) -> None:
    from trtparse.tasks.people.box_file import decode_people

    with trtparse.load(write_finder(tmp_path / "finder"), "cpu", "fp32", threads=1) as find:
        found = find(photograph)
        assert find.task == "people"
        with pytest.raises(UsageError, match="finds people itself"):
            find(photograph, people="auto")
        with pytest.raises(UsageError, match="finds people itself"):
            next(find.stream(photograph, people="auto"))
    assert isinstance(found, trtparse.Found)
    assert len(found.boxes) == 2  # the third is nobody to be sure of
    # The picture of 80x60 lies in a frame of 32x32: scaled by 0.4, 4 columns from the left.
    in_picture = ((BOXES[:2, :4] - [4, 0, 4, 0]) / 0.4).clip(0, [60, 80, 60, 80])
    np.testing.assert_allclose(found.boxes, in_picture, atol=1e-3)
    assert (found.draw().pixels != found.image).any()
    rows = decode_people(found.save(tmp_path / "people.json").read_bytes())[1]
    assert rows is not None
    np.testing.assert_allclose(rows[:, :4], found.boxes, atol=0.006)
    np.testing.assert_allclose(rows[:, 4], found.scores, atol=6e-5)


def test_a_detector_that_is_none_or_has_nothing_to_do_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        trtparse.load(small_bundle, "cpu", threads=1, detector=tmp_path / "nowhere.onnx")
    with pytest.raises(UsageError, match="is for parsing: it finds nobody"):
        trtparse.load(small_bundle, "cpu", threads=1, detector=small_bundle)
    onnx.save(finder_graph(), tmp_path / "finder.onnx")
    with pytest.raises(UsageError, match="finds people itself"):
        trtparse.load(write_finder(tmp_path / "finder"), "cpu", threads=1, detector=tmp_path / "finder.onnx")


def test_boxes_for_supervision() -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    boxes = np.array([[1, 2, 3, 8]], np.float32)
    image = np.zeros((9, 9, 3), np.uint8)
    found = trtparse.Found(boxes, np.array([0.9], np.float32), image).to_supervision()
    assert isinstance(found, supervision.Detections)
    assert (list(found.class_id), list(found.data["class_name"])) == ([0], ["person"])
    assert supervision.BoxAnnotator().annotate(image.copy(), found).any()
    np.testing.assert_array_equal(found.xyxy, boxes)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("people", [0, 2])
def test_joints_for_supervision(people: int) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    joints = np.random.default_rng(0).uniform(0, 9, (people, 17, 3)).astype(np.float32)
    image, ids = np.zeros((9, 9, 3), np.uint8), tuple(range(people))
    found = trtparse.Posed(joints, load_skeleton("coco17"), image, ids).to_supervision()
    assert (isinstance(found, supervision.KeyPoints), len(found)) == (True, people)
    assert supervision.VertexAnnotator().annotate(image.copy(), found).any() == (people > 0)
    if people:
        np.testing.assert_array_equal(found.xy, joints[..., :2])
        scores = found.keypoint_confidence if hasattr(found, "keypoint_confidence") else found.confidence
        np.testing.assert_array_equal(scores, joints[..., 2])


def test_a_bundle_of_another_task_is_refused_by_name(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for parsing, and load was asked for pose"):
        trtparse.load(small_bundle, "cpu", threads=1, task="pose")
    with pytest.raises(UsageError, match=r"No bundle at build.pose"):
        trtparse.load(task="pose")


def test_build_and_validate_do_what_the_commands_do(photograph: Path, tmp_path: Path) -> None:
    from trtparse.tests.graphs.foreign_graphs import foreign

    onnx.save(foreign(opset=17, size=("h", "w"), outputs=("coarse", "scores"), classes=18), tmp_path / "theirs.onnx")
    for number in range(4):
        image = cv2.imread(str(photograph))
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.roll(image, 11 * number, 0))
    built = trtparse.build(
        tmp_path / "theirs.onnx",
        tmp_path / "bundle",
        data=tmp_path,
        precision="fp16",
        preset="schp-atr",
        input_size=(64, 48),
        threads=1,
    )
    assert built.manifest.options["preset"] == "schp-atr"
    result = trtparse.validate(built.path, data=tmp_path, target="cpu", precision="fp16", threads=1)
    assert (result.images, result.first.agreement.share > 0.9) == (4, True)
