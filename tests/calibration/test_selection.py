from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from trtparse.calibration.selection import LOOKED_AT, PER_CLASS, select
from trtparse.errors import DataError

NewDataset = Callable[..., Any]

BLANK = np.zeros((4, 4, 3), np.uint8)


def blanks(count: int) -> list[np.ndarray]:
    return [BLANK] * count


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
        assert (len(selection.indices), selection.classes) == (10, {})

    def test_the_first_images_are_not_simply_taken(self, new_dataset: NewDataset) -> None:
        assert set(select(new_dataset(blanks(1000)), 10).indices) != set(range(10))


class TestClasses:
    def test_a_class_in_one_image_of_300_is_found(self, new_dataset: NewDataset) -> None:
        classes = [[0, 5]] * 299 + [[0, 3]]
        selection = select(new_dataset(blanks(300), classes), 10)
        assert 299 in selection.indices
        assert selection.classes[3] == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_every_class_is_covered_where_there_is_one_image_for_each(self, seed: int, new_dataset: NewDataset) -> None:
        classes = [[index % 20] for index in range(200)]
        selection = select(new_dataset(blanks(200), classes), 20, seed)
        assert selection.classes == dict.fromkeys(range(20), 1)

    def test_rare_classes_come_first_where_there_is_no_room_for_all(self, new_dataset: NewDataset) -> None:
        classes = [[0]] * 90 + [[1]] * 6 + [[2]] * 4
        selection = select(new_dataset(blanks(100), classes), 2)
        assert selection.classes == {1: 1, 2: 1}

    def test_each_class_is_looked_for_up_to_its_share(self, new_dataset: NewDataset) -> None:
        classes = [[0]] * 300 + [[label] for label in (3, 9) for _ in range(20)]
        selection = select(new_dataset(blanks(340), classes), 24)
        assert min(selection.classes[label] for label in (0, 3, 9)) >= PER_CLASS

    def test_classes_are_counted_by_image(self, new_dataset: NewDataset) -> None:
        rng = np.random.default_rng(2)
        classes = [sorted(set(rng.integers(0, 20, 4).tolist())) for _ in range(120)]
        selection = select(new_dataset(blanks(120), classes), 50)
        assert selection.classes == counted(classes, selection.indices)

    def test_ids_outside_lip_s_are_no_classes(self, new_dataset: NewDataset) -> None:
        selection = select(new_dataset(blanks(10), [[0, 20, 255]] * 10), 4)
        assert selection.classes == {0: 4}


class TestLabelMaps:
    @pytest.mark.parametrize(("count", "looked_at"), [(1, 400), (100, 400), (150, 600), (400, 1000)])
    def test_no_more_are_read_than_needed_and_none_twice(
        self, count: int, looked_at: int, new_dataset: NewDataset
    ) -> None:
        dataset = new_dataset(blanks(1000), [[0]] * 1000)
        select(dataset, count)
        assert looked_at == min(1000, max(LOOKED_AT * count, 400))
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

    def test_each_is_told_to_the_listener(self, new_dataset: NewDataset) -> None:
        told: list[tuple[int, int]] = []
        select(new_dataset(blanks(30), [[0]] * 30), 5, progress=lambda done, total: told.append((done, total)))
        assert told == [(done, 30) for done in range(1, 31)]
