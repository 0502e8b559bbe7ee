"""The synthetic people: pure functions of seed and number, labelled as LIP labels, written as LIP lays out."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.data.dataset import Dataset
from trtparse.data.people.person import random_person
from trtparse.data.people.poses import gait
from trtparse.data.people.renderer import Light, View, render
from trtparse.data.people.skeleton import Pose, pose_body
from trtparse.data.people.surface import rotation, unit
from trtparse.data.synthetic import SyntheticPeople, WalkingFigure, write_lip_layout
from trtparse.errors import UsageError
from trtparse.specs.label_set import label_set
from trtparse.specs.relabelling import Relabelling, relabelling
from trtparse.tasks.parsing.files import LipDataset
from trtparse.tests.predicting import LIP

LEFT_ARM, RIGHT_ARM, LEFT_SHOE, RIGHT_SHOE = 14, 15, 18, 19


@pytest.fixture(scope="module")
def samples() -> list[tuple[np.ndarray, np.ndarray]]:
    people = SyntheticPeople(150, seed=3)
    return [(sample.image, sample.labels) for sample in (people[index] for index in range(len(people)))]


def render_facing(yaw: float, pose: Pose, seed: int) -> np.ndarray:
    """The label map of somebody whose body is turned by ``yaw`` from the camera."""
    person = random_person(np.random.default_rng(seed))
    _, patches = person.patches(pose)
    light = Light(unit(np.float32([0, 1, 1])), np.ones(3, np.float32) * 0.7, np.ones(3, np.float32) * 0.4)
    view = View(rotation("y", yaw), 150 / person.body.height, (100.0, 110.0))
    return render(patches, view, (220, 200), light).labels


def mean_column(labels: np.ndarray, label: int) -> float:
    return float(np.nonzero(labels == label)[1].mean())


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    backwards = SyntheticPeople(6, seed=5)
    later, earlier = backwards[4], backwards[1]
    fresh = SyntheticPeople(9, seed=5)
    for index, sample in ((1, earlier), (4, later)):
        assert np.array_equal(fresh[index].image, sample.image)
        assert np.array_equal(fresh[index].labels, sample.labels)
    assert not np.array_equal(earlier.labels, SyntheticPeople(6, seed=6)[1].labels)


def test_it_is_a_dataset_with_unique_names() -> None:
    people: Dataset = SyntheticPeople(3, seed=2)
    assert list(people.names) == ["synthetic_2_000000", "synthetic_2_000001", "synthetic_2_000002"]
    assert people.description == "3 synthetic people, seed 2"
    assert people.labelled
    assert len(people) == 3


def test_labels_are_those_of_the_sample() -> None:
    people = SyntheticPeople(2)
    labels = people.labels(1)
    assert np.array_equal(labels, people[1].labels)


def test_writing_into_a_sample_does_not_change_the_dataset() -> None:
    people = SyntheticPeople(1)
    before = people[0].image.copy()
    people[0].image[:] = 0
    assert np.array_equal(people[0].image, before)


def test_an_index_past_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        SyntheticPeople(2)[2]
    assert SyntheticPeople(2)[-1].name == "synthetic_0_000001"


def test_negative_counts_and_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        SyntheticPeople(-1)


def test_images_have_the_sizes_of_lip_crops(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for image, labels in samples:
        assert image.dtype == labels.dtype == np.uint8
        assert image.shape == (*labels.shape, 3)
        assert 160 <= labels.shape[0] <= 420
        assert 70 <= labels.shape[1] <= 320


def test_labels_are_lip_classes_and_every_class_occurs(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    images_with = np.zeros(256, int)
    for _, labels in samples:
        images_with[np.unique(labels)] += 1
    assert images_with[len(LIP) :].sum() == 0
    assert images_with[: len(LIP)].min() >= 2, images_with[: len(LIP)]


def test_nearly_every_image_shows_a_person_of_some_size(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    shares = np.array([(labels > 0).mean() for _, labels in samples])
    assert (shares > 0.05).mean() > 0.97
    assert 0.2 < np.median(shares) < 0.7


def test_the_outline_in_the_image_lies_where_the_labels_change(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    on, off = [], []
    for image, labels in samples:
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (0, 0), 1).astype(np.float32)
        steps = np.abs(np.diff(grey, axis=1))
        edge = np.diff((labels > 0).astype(np.int8), axis=1) != 0
        far = np.roll(edge, 6, axis=1) & ~edge
        on.append(steps[edge].mean())
        off.append(steps[far].mean())
    assert np.mean(on) > 1.5 * np.mean(off)


@pytest.mark.parametrize("seed", range(4))
def test_left_is_the_persons_own(seed: int) -> None:
    front = render_facing(0.0, Pose(), seed)
    back = render_facing(np.pi, Pose(), seed)
    for left, right in ((LEFT_ARM, RIGHT_ARM), (LEFT_SHOE, RIGHT_SHOE)):
        for labels, sign in ((front, 1), (back, -1)):
            if (labels == left).any() and (labels == right).any():
                assert sign * (mean_column(labels, left) - mean_column(labels, right)) > 0


def test_the_left_heel_leads_when_the_gait_begins() -> None:
    person = random_person(np.random.default_rng(0))
    skeleton = pose_body(person.body, gait(0.0))
    left, right = (leg.joints[2] for leg in skeleton.legs)
    assert left[0] > right[0]
    assert left[2] > right[2] + 0.2


def test_the_lip_layout_reads_back(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_lip_layout(tmp_path, train=3, val=2, seed=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 5) for k in range(1, 6)]
    ids = {}
    for half, count in (("train", 3), ("val", 2)):
        ids[half] = (tmp_path / "TrainVal_images" / f"{half}_id.txt").read_text().split()
        assert len(ids[half]) == count
        for name in ids[half]:
            image = cv2.imread(str(tmp_path / "TrainVal_images" / f"{half}_images" / f"{name}.jpg"))
            masks = tmp_path / "TrainVal_parsing_annotations" / f"{half}_segmentations"
            labels = cv2.imread(str(masks / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            assert labels is not None
            assert image.shape[:2] == labels.shape
            assert labels.max() < len(LIP)
            _, seed, number = name.split("_")
            assert np.array_equal(labels, SyntheticPeople(3, int(seed)).labels(int(number)))
    assert not set(ids["train"]) & set(ids["val"])
    assert not list(tmp_path.rglob("*.part"))


def test_train_and_val_differ(tmp_path: Path) -> None:
    write_lip_layout(tmp_path, train=2, val=2)
    images = [path.read_bytes() for path in sorted(tmp_path.rglob("*.jpg"))]
    assert len(set(images)) == 4


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UsageError, match="is not a folder"):
        write_lip_layout(blocked, train=1, val=0)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder_is_a_usage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="could not be written"):
        write_lip_layout(tmp_path / "lip", train=1, val=0)


def test_the_walking_figure_fills_its_frames_and_the_street_passes_by() -> None:
    film = WalkingFigure(frames=24, size=(216, 160), seed=1)
    assert len(film) == film.frames == 24
    frames = list(film)
    assert len(frames) == 24
    for image, labels in frames:
        assert image.shape == (216, 160, 3)
        assert labels.shape == (216, 160)
        assert labels.max() < len(LIP)
        rows, columns = np.nonzero(labels)
        assert np.ptp(rows) > 0.7 * 216
        assert abs(columns.mean() - 80) < 16
    street = [image[:, :40] for image, _ in frames]
    assert np.abs(street[0].astype(int) - street[-1]).mean() > 3
    again = next(iter(WalkingFigure(frames=24, size=(216, 160), seed=1)))
    assert np.array_equal(frames[0][0], again[0])
    changes = [int((a[1] != b[1]).sum()) for a, b in pairwise(frames)]
    assert min(changes) > 50
    assert abs(np.diff(changes)).max() < 8 * np.median(changes)


def test_people_of_another_label_set_are_the_same_people(tmp_path: Path) -> None:
    becomes = relabelling("atr")
    plain, atr = SyntheticPeople(2, seed=3)[1], SyntheticPeople(2, seed=3, relabelling=becomes)
    assert atr.label_set == label_set("atr")
    assert np.array_equal(atr[1].image, plain.image)
    assert np.array_equal(atr[1].labels, becomes.table()[plain.labels])


def test_written_people_keep_the_value_that_their_set_ignores(tmp_path: Path) -> None:
    own = replace(label_set("person"), ignore=200)
    gone = Relabelling(own, (0, *[255] * 19))
    write_lip_layout(tmp_path, train=1, val=0, relabelling=gone)
    path = next(tmp_path.rglob("*.png"))
    assert set(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))) == {0, 200}
    assert set(np.unique(LipDataset(tmp_path, "train", labels=own).labels(0))) == {0, 255}


def test_a_thread_gets_the_sample_that_it_asked_for_whatever_others_draw_meanwhile() -> None:
    class Shared(SyntheticPeople):
        """Another thread draws sample 1 as soon as sample 0 is kept."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if isinstance(value, tuple) and name == "_last" and value[0] == 0:
                self._drawn(1)

    assert np.array_equal(Shared(2)[0].image, SyntheticPeople(2)[0].image)
