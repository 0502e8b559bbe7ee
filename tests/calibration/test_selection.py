from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.calibration.selection import (
    LEAST_LOOKED_AT,
    LOOKED_AT,
    LOOKED_AT_PREDICTING,
    SPREADS,
    Predictions,
    Selection,
    predictions_of,
    read_selection,
    select,
    write_selection,
)
from trtparse.data.dataset import Image, Sample
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.errors import DataError, UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.skeleton import load_skeleton
from trtparse.tasks.people.task import People
from trtparse.tasks.pose.task import Pose
from trtparse.tasks.predictor import Predictor
from trtparse.tests.predicting import HANDS, LIP, predicting

NewDataset = Callable[..., Any]

BLANK = np.zeros((4, 4, 3), np.uint8)


def blanks(count: int) -> list[Image]:
    return [BLANK] * count


def patterns(count: int, seed: int = 0) -> list[Image]:
    """Images of which no two are alike."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(count)]


def counted(classes: Sequence[Sequence[int]], indices: Sequence[int]) -> dict[int, int]:
    """Class to the number of chosen images it occurs in, counted anew."""
    present = {label for index in indices for label in classes[index]}
    return {label: sum(label in classes[index] for index in indices) for label in sorted(present)}


class TestAnyDataset:
    @pytest.mark.parametrize("labelled", [False, True])
    def test_the_same_seed_chooses_the_same_images(self, labelled: bool, new_dataset: NewDataset) -> None:
        dataset = new_dataset(blanks(100), [[index % 20] for index in range(100)] if labelled else None)
        assert select(dataset, 30, seed=4) == select(dataset, 30, seed=4)

    @pytest.mark.parametrize("labelled", [False, True])
    def test_another_seed_chooses_others(self, labelled: bool, new_dataset: NewDataset) -> None:
        dataset = new_dataset(blanks(100), [[index % 20] for index in range(100)] if labelled else None)
        assert set(select(dataset, 30, seed=4).indices) != set(select(dataset, 30, seed=5).indices)

    @pytest.mark.parametrize("labelled", [False, True])
    @pytest.mark.parametrize("count", [0, 1, 7, 40, 41, 500])
    def test_as_many_are_chosen_as_asked_for_or_there_are_and_none_twice(
        self, count: int, labelled: bool, new_dataset: NewDataset
    ) -> None:
        classes = [[0, index % 20] for index in range(40)] if labelled else None
        indices = select(new_dataset(blanks(40), classes), count).indices
        assert len(indices) == len(set(indices)) == min(count, 40)
        assert set(indices) <= set(range(40))

    def test_one_without_label_maps_reads_none(self, new_dataset: NewDataset) -> None:
        dataset = new_dataset(blanks(50))
        selection = select(dataset, 10)
        assert dataset.labels_read == []
        assert (len(selection.indices), selection.classes, selection.classes_from) == (10, {}, "")

    def test_the_first_images_are_not_simply_taken(self, new_dataset: NewDataset) -> None:
        assert set(select(new_dataset(blanks(1000)), 10).indices) != set(range(10))

    def test_an_empty_one_gives_an_empty_selection(self, new_dataset: NewDataset) -> None:
        assert select(new_dataset([]), 10).indices == ()

    @pytest.mark.parametrize(("count", "looked_at"), [(1, 400), (100, 400), (150, 600), (400, 1000)])
    def test_no_more_images_are_looked_at_than_needed(
        self, count: int, looked_at: int, new_dataset: NewDataset
    ) -> None:
        told: list[tuple[int, int]] = []
        selection = select(new_dataset(blanks(1000)), count, progress=lambda *steps: told.append(steps))
        assert looked_at == min(1000, max(LOOKED_AT * count, LEAST_LOOKED_AT))
        assert selection.looked_at == looked_at
        assert told == [(done, looked_at) for done in range(1, looked_at + 1)]


class TestClasses:
    def test_a_class_in_one_image_of_300_is_found(self, new_dataset: NewDataset) -> None:
        classes = [[0, 5]] * 299 + [[0, 3]]
        selection = select(new_dataset(blanks(300), classes), 10)
        assert 299 in selection.indices
        assert selection.classes[3] == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_every_class_is_covered_where_there_is_one_image_for_each(self, seed: int, new_dataset: NewDataset) -> None:
        classes = [[index % 20] for index in range(200)]
        selection = select(new_dataset(patterns(200), classes), 20, seed)
        assert selection.classes == dict.fromkeys(range(20), 1)

    def test_rare_classes_come_first_where_there_is_no_room_for_all(self, new_dataset: NewDataset) -> None:
        classes = [[0]] * 90 + [[1]] * 6 + [[2]] * 4
        selection = select(new_dataset(patterns(100), classes), 2)
        assert selection.classes == {1: 1, 2: 1}

    def test_classes_are_chosen_evenly_however_rare(self, new_dataset: NewDataset) -> None:
        classes = [[0]] * 300 + [[label] for label in (3, 9) for _ in range(20)]
        selection = select(new_dataset(patterns(340), classes), 24)
        assert selection.classes == {0: 8, 3: 8, 9: 8}

    def test_classes_are_counted_by_image(self, new_dataset: NewDataset) -> None:
        rng = np.random.default_rng(2)
        classes = [sorted(set(rng.integers(0, 20, 4).tolist())) for _ in range(120)]
        selection = select(new_dataset(blanks(120), classes), 50)
        assert selection.classes == counted(classes, selection.indices)
        assert selection.classes_from == "label maps"

    def test_ids_outside_lip_s_are_no_classes(self, new_dataset: NewDataset) -> None:
        selection = select(new_dataset(blanks(10), [[0, 20, 255]] * 10), 4)
        assert selection.classes == {0: 4}

    def test_a_few_pixels_are_no_class(self, new_dataset: NewDataset) -> None:
        classes = [[0] * 3990 + [4] * 1 + [7] * 2] * 3
        assert select(new_dataset(blanks(3), classes), 3).classes == {0: 3, 7: 3}

    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    def test_each_choice_adds_as_much_as_any_would(self, data: st.DataObject, new_dataset: NewDataset) -> None:
        """Against a greedy choice written out, over images that differ in nothing but their classes."""
        images = data.draw(st.integers(2, 12))
        classes = [sorted(data.draw(st.sets(st.integers(0, 5), min_size=1))) for _ in range(images)]
        count = data.draw(st.integers(1, images))
        chosen = select(new_dataset(same_but_unlike(images), classes), count, data.draw(st.integers(0, 9))).indices

        def worth(indices: Iterable[int]) -> float:
            return sum(number**0.5 for number in counted(classes, list(indices)).values())

        for position, index in enumerate(chosen):
            rest = set(range(images)) - set(chosen[:position])
            best = max(worth([*chosen[:position], other]) for other in rest)
            # What is rare weighs at most a hundredth more.
            assert worth([*chosen[:position], index]) >= best - 0.01 * 6


def same_but_unlike(count: int) -> list[Image]:
    """Images of one size and one brightness, of which no two are alike."""
    return [image // 2 + np.uint8(40) for image in patterns(count, seed=1)]


class TestSpread:
    def test_an_odd_size_aspect_or_brightness_is_found_among_300(self, new_dataset: NewDataset) -> None:
        images = same_but_unlike(300)
        images[17] = np.repeat(np.repeat(images[17], 9, axis=0), 9, axis=1)
        images[120] = np.ascontiguousarray(images[120][:, :10])
        images[230] = images[230] // 8
        selection = select(new_dataset(images), 8)
        assert {17, 120, 230} <= set(selection.indices)

    def test_the_odd_does_not_become_the_rule(self, new_dataset: NewDataset) -> None:
        images = [image // 8 if index < 40 else image for index, image in enumerate(same_but_unlike(400))]
        chosen = select(new_dataset(images), 100).indices
        dark = sum(index < 40 for index in chosen)
        # A tenth at random, a half if every interval were worth the same.
        assert 20 <= dark <= 30

    def test_counts_are_those_of_the_chosen_images(self, new_dataset: NewDataset) -> None:
        images = [np.full((40, 100, 3), 20, np.uint8), np.full((300, 100, 3), 250, np.uint8)]
        assert select(new_dataset(images), 2).spread == {
            "size": {"< 64": 1, "128–192": 1},
            "aspect": {"< 0.5": 1, "3–4": 1},
            "brightness": {"< 32": 1, "≥ 224": 1},
        }

    @given(st.sampled_from(SPREADS), st.floats(0, 1e4))
    def test_every_value_lies_in_one_interval(self, spread: Any, value: float) -> None:
        number = spread.interval(value)
        edges = (float("-inf"), *spread.edges, float("inf"))
        assert edges[number] <= value < edges[number + 1]
        assert len(spread.intervals) == len(spread) == len(edges) - 1


class TestNearDuplicates:
    def test_of_several_copies_one_is_chosen(self, new_dataset: NewDataset) -> None:
        distinct = patterns(20)
        dataset = new_dataset([image for image in distinct for _ in range(5)])
        selection = select(dataset, 20)
        assert sorted(index // 5 for index in selection.indices) == list(range(20))
        assert len(selection.near_duplicates) == 80
        for name, like in selection.near_duplicates:
            assert dataset.names.index(name) // 5 == dataset.names.index(like) // 5
            assert dataset.names.index(like) in selection.indices

    def test_persons_of_one_photograph_are_near_duplicates(self, new_dataset: NewDataset) -> None:
        dataset = new_dataset(patterns(20))
        dataset.names = tuple(f"{index // 2}_{index}" for index in range(20))
        chosen = select(dataset, 10).indices
        assert sorted(index // 2 for index in chosen) == list(range(10))

    def test_they_come_last_where_nothing_else_is_left(self, new_dataset: NewDataset) -> None:
        distinct = patterns(5)
        dataset = new_dataset([*distinct, *distinct])
        chosen = select(dataset, 8).indices
        assert sorted(index % 5 for index in chosen[:5]) == list(range(5))
        assert len(set(chosen)) == 8

    def test_a_rare_class_does_not_outweigh_them(self, new_dataset: NewDataset) -> None:
        same = patterns(1)[0]
        dataset = new_dataset([*[same] * 4, *patterns(4, seed=9)], [[label] for label in (1, 2, 3, 4, 0, 0, 0, 0)])
        chosen = select(dataset, 5).indices
        assert len([index for index in chosen if index < 4]) == 1


class TestPredictions:
    def test_they_tell_the_classes_where_there_are_no_label_maps(self, new_dataset: NewDataset) -> None:
        images = patterns(60)
        seen: list[Image] = []

        def predict(sample: Sample) -> Sequence[int]:
            seen.append(sample.image)
            return np.eye(len(LIP), dtype=int)[9 if sample.image is images[33] else 1]

        selection = select(new_dataset(images), 2, predict=Predictions(predict, LIP))
        assert len(seen) == 60
        assert selection.classes == {1: 1, 9: 1}
        assert selection.classes_from == "predictions"

    def test_nothing_is_predicted_where_there_are_label_maps(self, new_dataset: NewDataset) -> None:
        def predict(sample: Sample) -> Sequence[int]:
            raise AssertionError("asked for a prediction")

        selection = select(new_dataset(blanks(5), [[1]] * 5), 2, predict=Predictions(predict, LIP))
        assert selection.classes_from == "label maps"

    def test_fewer_images_are_looked_at_as_each_costs_a_forward_pass(self, new_dataset: NewDataset) -> None:
        selection = select(new_dataset(blanks(2000)), 300, predict=Predictions(lambda sample: [0] * len(LIP), LIP))
        assert selection.looked_at == 300 * LOOKED_AT_PREDICTING == 600

    @pytest.mark.parametrize("batch", [None, 3])
    def test_an_engine_s_are_those_of_the_image_without_the_borders(self, batch: int | None) -> None:
        class Bright(Engine):
            """What is not black is Face."""

            def __init__(self) -> None:
                super().__init__()
                self.name, self.target, self.precision = "bright", "fake", "fp32"
                self.input_size, self.batch = (32, 32), batch

            def _run(self, frames: Frames) -> Arrays:
                return (np.where(frames[..., 0] > 0, 13, 0).astype(np.uint8),)

        with predicting(Bright(), label_set=LIP) as predictor:
            predictions = predictions_of(predictor)
            amounts = predictions.of(Sample("a", np.full((64, 16, 3), 200, np.uint8), None))
        assert predictions.spec == LIP
        assert amounts == [32 * 8 if number == 13 else 0 for number in range(len(LIP))]

    def test_of_a_network_for_pose_they_are_the_joints_that_are_seen(
        self, new_dataset: NewDataset, tmp_path: Path
    ) -> None:
        coco = load_skeleton("coco17")

        class Bright(Engine):
            """Sees the left wrist in whatever is bright, and nothing else."""

            def __init__(self) -> None:
                super().__init__()
                self.name, self.target, self.precision = "bright", "fake", "fp32"
                self.input_size, self.batch = (32, 32), 1

            def _run(self, frames: Frames) -> Arrays:
                found = np.zeros((len(frames), len(coco), 3), np.float32)
                found[:, coco.joints.index("left_wrist"), 2] = frames.mean(axis=(1, 2, 3)) > 100
                return (found,)

        dataset = new_dataset([np.full((32, 32, 3), 200 if number == 3 else 20, np.uint8) for number in range(9)])
        with Predictor(Bright(), Pose(coco), Framing((32, 32))) as predictor:
            selection = select(dataset, 2, predict=predictions_of(predictor))
        assert 3 in selection.indices
        document = write_selection(tmp_path / "set.json", selection, dataset)
        assert document["classes"] == {"left_wrist": 1}
        assert read_selection(tmp_path / "set.json", dataset) == selection

    def test_of_a_finder_they_are_the_people_and_no_background(self) -> None:
        class One(Engine):
            """Sees somebody in every frame."""

            def __init__(self) -> None:
                super().__init__()
                self.name, self.target, self.precision = "one", "fake", "fp32"
                self.input_size, self.batch = (32, 32), 1

            def _run(self, frames: Frames) -> Arrays:
                found = np.zeros((len(frames), 2, 5), np.float32)
                found[:, 0] = (4, 4, 20, 28, 0.9)
                return (found,)

        with Predictor(One(), People(), Framing((32, 32))) as predictor:
            predictions = predictions_of(predictor)
            amounts = predictions.of(Sample("a", np.zeros((32, 32, 3), np.uint8), None))
        assert dict(zip(predictions.spec.classes, amounts)) == {"Background": 0, "Person": 1}


class TestLabelMaps:
    @pytest.mark.parametrize(("count", "looked_at"), [(1, 400), (100, 400), (150, 600), (400, 1000)])
    def test_no_more_are_read_than_needed_and_none_twice(
        self, count: int, looked_at: int, new_dataset: NewDataset
    ) -> None:
        dataset = new_dataset(blanks(1000), [[0]] * 1000)
        select(dataset, count)
        assert len(dataset.labels_read) == len(set(dataset.labels_read)) == looked_at

    def test_those_that_are_read_are_a_sample_of_all(self, new_dataset: NewDataset) -> None:
        dataset = new_dataset(blanks(4000), [[0]] * 4000)
        select(dataset, 10)
        assert max(dataset.labels_read) > 3000

    def test_one_that_cannot_be_read_gives_no_classes_and_no_error(self, new_dataset: NewDataset) -> None:
        classes: list[Any] = [[0, 1]] * 9 + [DataError("mask.png is damaged.")]
        selection = select(new_dataset(blanks(10), classes), 10)
        assert set(selection.indices) == set(range(10))
        assert selection.classes == {0: 9, 1: 9}

    def test_where_none_can_be_read_images_are_chosen_all_the_same(self, new_dataset: NewDataset) -> None:
        selection = select(new_dataset(blanks(10), [DataError("damaged")] * 10), 4)
        assert (len(selection.indices), selection.classes) == (4, {})


class TestUnreadableImages:
    def broken(self, new_dataset: NewDataset) -> Any:
        images: list[Any] = patterns(10)
        images[3] = images[7] = DataError("photo.jpg is cut off.")
        return new_dataset(images)

    def test_they_are_not_chosen_while_there_are_others(self, new_dataset: NewDataset) -> None:
        selection = select(self.broken(new_dataset), 8)
        assert set(selection.indices) == set(range(10)) - {3, 7}
        assert sorted(selection.unreadable) == [
            ("image_3", "photo.jpg is cut off."),
            ("image_7", "photo.jpg is cut off."),
        ]

    def test_they_come_last_where_everything_is_asked_for(self, new_dataset: NewDataset) -> None:
        selection = select(self.broken(new_dataset), 20)
        assert set(selection.indices[-2:]) == {3, 7}
        assert len(selection.indices) == 10

    def test_strict_refuses_the_first_one(self, new_dataset: NewDataset) -> None:
        with pytest.raises(DataError, match=r"photo\.jpg is cut off"):
            select(self.broken(new_dataset), 2, strict=True)

    def test_the_file_leaves_them_out_of_its_images(self, new_dataset: NewDataset) -> None:
        dataset = self.broken(new_dataset)
        document = select(dataset, 10).to_dict(dataset)
        assert set(document["images"]) == {f"image_{index}" for index in range(10)} - {"image_3", "image_7"}


class TestFile:
    @pytest.fixture
    def written(self, new_dataset: NewDataset, tmp_path: Path) -> tuple[Path, Selection, Any]:
        dataset = new_dataset([*patterns(30), *patterns(5)], [[index % 20, 3] for index in range(35)])
        selection = select(dataset, 12, seed=5)
        assert selection.near_duplicates
        write_selection(tmp_path / "set.json", selection, dataset)
        return tmp_path / "set.json", selection, dataset

    def test_what_was_written_is_read(self, written: tuple[Path, Selection, Any]) -> None:
        path, selection, dataset = written
        assert read_selection(path, dataset) == selection

    def test_images_are_found_by_name_in_another_order(
        self, written: tuple[Path, Selection, Any], new_dataset: NewDataset
    ) -> None:
        path, selection, dataset = written
        turned = new_dataset(blanks(35))
        turned.names = tuple(reversed(dataset.names))
        assert read_selection(path, turned).indices == tuple(34 - index for index in selection.indices)

    def test_an_image_that_the_dataset_does_not_hold_is_an_error(
        self, written: tuple[Path, Selection, Any], new_dataset: NewDataset
    ) -> None:
        path, selection, dataset = written
        last = max(selection.indices)
        with pytest.raises(DataError, match=rf"1 of 12 images .* does not hold: {dataset.names[last]}\.") as error:
            read_selection(path, new_dataset(blanks(last)))
        assert dataset.description in error.value.hint

    def test_its_classes_are_those_of_its_label_set(self, new_dataset: NewDataset, tmp_path: Path) -> None:
        dataset = new_dataset(patterns(8), [[index % 4, 0, 200] for index in range(8)])
        dataset.label_set = HANDS
        selection = select(dataset, 8)
        assert selection.spec == HANDS
        assert set(selection.classes) == {0, 1, 2, 3}
        document = write_selection(tmp_path / "set.json", selection, dataset)
        assert document["classes"] == {"Nothing": 8, "Head": 2, "Left hand": 2, "Right hand": 2}
        assert read_selection(tmp_path / "set.json", dataset) == selection
        dataset.label_set = LIP
        with pytest.raises(UsageError, match=r"set\.json has the label set Hands-4 .* by hand has LIP-20"):
            read_selection(tmp_path / "set.json", dataset)

    def test_one_of_an_earlier_version_is_of_lip(self, written: tuple[Path, Selection, Any]) -> None:
        path, selection, dataset = written
        document = json.loads(path.read_text("utf-8"))
        del document["label_set"]
        path.write_text(json.dumps({**document, "schema": 1}))
        assert selection.spec == LIP
        assert read_selection(path, dataset) == selection

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"schema": 9}, "schema 9"),
            ({"label_set": {"name": "Half"}}, "a label set needs classes"),
            ({"images": []}, "names no images"),
            ({"images": ["image_1", 7]}, "names no images"),
            ({"images": ["image_1", "image_2", "image_1"]}, "names image_1 twice"),
            ({"seed": None}, "'seed' is missing"),
            ({"near_duplicates": [["a"]]}, "'near_duplicates' are no pairs"),
        ],
    )
    def test_a_spoilt_one_is_refused(
        self, change: dict[str, Any], message: str, written: tuple[Path, Selection, Any]
    ) -> None:
        path, _, dataset = written
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}))
        with pytest.raises(DataError, match=message):
            read_selection(path, dataset)

    @pytest.mark.parametrize("text", ["", "[]", "7", "{", "\udcff"])
    def test_what_is_no_such_file_is_refused(self, text: str, tmp_path: Path, new_dataset: NewDataset) -> None:
        path = tmp_path / "set.json"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match=r"set\.json"):
            read_selection(path, new_dataset(blanks(1)))

    def test_a_missing_file_is_named(self, tmp_path: Path, new_dataset: NewDataset) -> None:
        with pytest.raises(DataError, match=r"nowhere\.json cannot be read"):
            read_selection(tmp_path / "nowhere.json", new_dataset(blanks(1)))
