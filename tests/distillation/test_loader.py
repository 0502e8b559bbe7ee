from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.data.dataset import IGNORE_LABEL, LabelMap, Sample
from trtparse.data.images import write_png
from trtparse.distillation.limbs import LIMBS, LimbMaps
from trtparse.distillation.loader import UNLABELLED, Batch, Loader, Order, Part, repeat_factors
from trtparse.distillation.scenes import Backgrounds
from trtparse.errors import DataError
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.tasks.parsing.augmentation import Augmentation, Geometry
from trtparse.tasks.parsing.files import LipDataset
from trtparse.tests.predicting import LIP


class Plain:
    """Images of one class each."""

    description, label_set = "plain", LIP

    def __init__(self, classes: list[int], labelled: bool = True) -> None:
        self.classes, self.labelled = classes, labelled
        self.names = [f"{number}" for number in range(len(classes))]

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index: int) -> Sample:
        image = np.full((64, 64, 3), 100 + index, np.uint8)
        return Sample(self.names[index], image, self.labels(index) if self.labelled else None)

    def labels(self, index: int) -> LabelMap:
        return np.full((64, 64), self.classes[index], np.uint8)


def loader(*parts: Part, batch: int = 2, first: int = 0, last: int = 8) -> Loader:
    return Loader(parts, repeat_factors(parts, 0), Augmentation(), batch, Geometry((64, 64)), 3, first, last)


def test_with_equal_weights_every_image_comes_once_per_epoch_in_an_order_of_the_epoch() -> None:
    order = Order(np.ones(6), seed=0)
    epochs = [[order[6 * epoch + place] for place in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@given(st.lists(st.floats(0.2, 9), min_size=1, max_size=12), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_an_image_comes_as_often_as_its_weight_says(weights: list[float], seed: int) -> None:
    array = np.array(weights)
    order = Order(array, seed)
    length = order.epoch_length
    for epoch in range(3):
        counts = np.bincount([order[epoch * length + place] for place in range(length)], minlength=len(array))
        exact = array / array.sum() * length
        assert (np.abs(counts - exact) < 1 + 1e-9).all()


def test_the_order_is_the_same_from_whatever_position_it_is_read() -> None:
    order, again = Order(np.array([1, 2, 3.0]), 4), Order(np.array([1, 2, 3.0]), 4)
    forwards = [order[position] for position in range(20)]
    assert [again[position] for position in reversed(range(20))] == forwards[::-1]


def test_images_with_rare_classes_come_oftener() -> None:
    # Class 5 is in 9 of 10 images, class 3 in one: sqrt(0.4 / 0.1) = 2.
    part = Part(Plain([5] * 9 + [3]), weight=1.5)
    np.testing.assert_allclose(repeat_factors([part], 0.4), [1.5] * 9 + [3.0])
    np.testing.assert_allclose(repeat_factors([part], 0), [1.5] * 10)


def test_images_without_labels_keep_their_weight_and_do_not_count() -> None:
    labelled, bare = Part(Plain([5, 3])), Part(Plain([3] * 8, labelled=False), weight=0.5, labels=False)
    np.testing.assert_allclose(repeat_factors([labelled, bare], 0.98), [1.4, 1.4] + [0.5] * 8)
    np.testing.assert_allclose(repeat_factors([bare], 0.98), [0.5] * 8)


def test_a_resumed_loader_gives_the_batches_it_would_have_given() -> None:
    part = Part(Plain([1, 2, 3, 4, 5]))
    whole, later = loader(part), loader(part, first=3)
    batches = [whole.next() for _ in range(5)]
    for expected in batches[3:]:
        found = later.next()
        assert found.names == expected.names
        np.testing.assert_array_equal(found.frames, expected.frames)
        np.testing.assert_array_equal(found.labels, expected.labels)
    whole.close()
    later.close()


def test_pixels_without_labels_are_told_from_those_outside_of_the_photograph() -> None:
    both = loader(Part(Plain([7] * 4)), Part(Plain([7] * 4), labels=False), last=20)
    seen: set[frozenset[int]] = set()
    for _ in range(12):
        for labels in both.next().labels:
            seen.add(frozenset(np.unique(labels).tolist()))
    both.close()
    assert frozenset({7, IGNORE_LABEL}) in seen
    assert frozenset({UNLABELLED, IGNORE_LABEL}) in seen
    assert all(not {7, UNLABELLED} <= values for values in seen)


def test_a_label_that_is_no_class_is_an_error_that_names_file_and_value(tmp_path: Path) -> None:
    for folder in ("train_images", "train_segmentations"):
        (tmp_path / folder).mkdir()
    write_png(tmp_path / "train_images" / "a.png", np.zeros((64, 64, 3), np.uint8))
    labels = np.zeros((64, 64), np.uint8)
    labels[3, 4] = 33
    write_png(tmp_path / "train_segmentations" / "a.png", labels)
    broken = loader(Part(LipDataset(tmp_path, "train")))
    with pytest.raises(DataError, match=r"a\.png.*33"):
        broken.next()
    broken.close()


def test_mirrored_classes_change_places_as_their_label_set_says() -> None:
    other = Plain([1] * 4)
    other.label_set = LabelSet(
        "Two", ("Nothing", "Left", "Right"), ((0, 0, 0), (1, 0, 0), (2, 0, 0)), (("Left", "Right"),)
    )
    twice = loader(Part(other), last=8)
    seen = {value for _ in range(8) for value in np.unique(twice.next().labels).tolist()}
    twice.close()
    assert seen == {1, 2, IGNORE_LABEL}


def test_rare_classes_are_counted_up_to_the_last_of_their_set() -> None:
    bodies = Plain([24] * 1 + [3] * 9)
    bodies.label_set = label_set("bodypix")
    np.testing.assert_allclose(repeat_factors([Part(bodies)], 0.4), [2.0] + [1.0] * 9)


class Spotted(Plain):
    """A person, of class 5, in the middle of each image."""

    def labels(self, index: int) -> LabelMap:
        labels = np.zeros((64, 64), np.uint8)
        labels[20:44, 24:40] = self.classes[index]
        return labels


def of(part: Part, augmentation: Augmentation = Augmentation(), **options: Any) -> Batch:
    found = Loader((part,), np.ones(len(part.dataset)), augmentation, 4, Geometry((64, 64)), 3, 0, 1, **options)
    batch = found.next()
    found.close()
    return batch


def test_what_a_recipe_does_not_ask_for_changes_no_sample() -> None:
    part = Part(Spotted([5, 6]))
    assert of(part).limbs.min() == IGNORE_LABEL
    assert of(part).answers.size == 0
    np.testing.assert_array_equal(of(part).frames, of(part, backgrounds=Backgrounds(Plain([0]))).frames)


def test_images_of_nobody_are_background_all_over_and_shown_in_part() -> None:
    batch = of(Part(Plain([5, 6], labelled=False), labels=False, empty=True), Augmentation(rotation=0, aspect=1))
    assert set(np.unique(batch.labels)) == {0}
    assert set(np.unique(batch.limbs)) == {0}


def test_a_finder_s_box_fills_the_sample_whatever_the_size_of_the_person() -> None:
    near = Augmentation(boxes=1.0, loose=(0.0, 0.0), rotation=0, aspect=1, flip=0)
    for labels in of(Part(Spotted([5, 5])), near).labels:
        rows = np.flatnonzero((labels == 5).any(1))
        assert (rows.min(), rows.max()) == (0, 63)
    # From a third of a side cut off to as much as its length beside it: many sizes.
    far = Augmentation(boxes=1.0, loose=(-0.3, 1.0), rotation=0, aspect=1, flip=0)
    shares = [(labels == 5).mean() for labels in of(Part(Spotted([5] * 4)), far).labels]
    assert max(shares) > 1.5 * min(shares)


def test_limbs_go_with_their_image_and_change_sides_in_a_mirror(tmp_path: Path) -> None:
    limbs = np.full((64, 64), IGNORE_LABEL, np.uint8)
    limbs[20:44, 24:40] = LIMBS.id_of("Left-arm")
    write_png(tmp_path / "0.png", limbs)
    mirrored = Augmentation(flip=1.0)
    batch = of(Part(Spotted([5]), limbs=LimbMaps(tmp_path)), mirrored)
    assert set(np.unique(batch.limbs)) == {LIMBS.id_of("Right-arm"), IGNORE_LABEL}
    np.testing.assert_array_equal(batch.limbs != IGNORE_LABEL, batch.labels == 5)
