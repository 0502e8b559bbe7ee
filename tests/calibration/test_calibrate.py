from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.calibration.calibrate import calibrate
from trtparse.calibration.ranges import RangeCollector, Ranges
from trtparse.calibration.selection import Selection, select
from trtparse.data.dataset import Image
from trtparse.data.letterbox import Letterbox
from trtparse.errors import BuildError, DataError

NewDataset = Callable[..., Any]
NewLadder = Callable[..., onnx.ModelProto]

BROKEN = DataError("broken.jpg cannot be decoded.")


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Six of six sizes."""
    rng = np.random.default_rng(8)
    return [rng.integers(0, 60 + 39 * n, (20 + 7 * n, 50 - 6 * n, 3)).astype(np.uint8) for n in range(6)]


def all_of(dataset: Any) -> Selection:
    return Selection(tuple(range(len(dataset))), {}, 0)


def assert_alike(ranges: Ranges, others: Ranges) -> None:
    assert ranges.limits.keys() == others.limits.keys()
    for name, pair in ranges.limits.items():
        np.testing.assert_allclose(pair, others.limits[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_ranges_are_those_of_the_letterboxed_images(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    model, dataset = new_ladder(), new_dataset(images)
    ranges = calibrate(model, dataset, all_of(dataset), threads=1)
    collector = RangeCollector(model, threads=1)
    for name, image in zip(dataset.names, images):
        collector.update(name, Letterbox.fit(image.shape[:2], (16, 16)).apply(image)[None])
    assert (ranges.limits, ranges.key) == (collector.limits(), collector.key())
    assert ranges.images == dataset.names
    assert ranges.skipped == ()


def test_only_the_chosen_images_are_used_in_their_order(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    dataset = new_dataset(images)
    ranges = calibrate(new_ladder(), dataset, Selection((4, 1), {3: 2}, 9), threads=1)
    assert ranges.images == ("image_4", "image_1")
    assert (ranges.seed, ranges.classes, ranges.dataset) == (9, {3: 2}, "small/, by hand")


def test_ranges_do_not_depend_on_the_order(new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]) -> None:
    model, dataset = new_ladder(), new_dataset(images)
    forwards = calibrate(model, dataset, Selection((0, 1, 2, 3, 4, 5), {}, 0), threads=1)
    backwards = calibrate(model, dataset, Selection((5, 4, 3, 2, 1, 0), {}, 0), threads=1)
    assert forwards.limits == backwards.limits


def test_the_same_again_gives_the_same_key_and_ranges(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    runs = [calibrate(new_ladder(), dataset, select(dataset, 4), threads=1) for dataset in [new_dataset(images)] * 2]
    assert runs[0] == runs[1]


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 4, 6, 8])
    def test_a_fixed_batch_gives_the_ranges_of_single_images(
        self, batch: int, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset(images)
        single = calibrate(new_ladder(), dataset, all_of(dataset), threads=1)
        several = calibrate(new_ladder(batch=batch), dataset, all_of(dataset), threads=1)
        assert_alike(several, single)
        assert several.images == single.images

    def test_the_frames_that_fill_up_a_batch_widen_nothing(
        self, new_ladder: NewLadder, new_dataset: NewDataset
    ) -> None:
        bright = [np.full((16, 16, 3), 150 + 10 * number, np.uint8) for number in range(6)]
        dataset = new_dataset(bright)
        ranges = calibrate(new_ladder(batch=4), dataset, all_of(dataset), threads=1)
        assert ranges.limits["float"] == (150, 200)
        assert_alike(ranges, calibrate(new_ladder(), dataset, all_of(dataset), threads=1))

    def test_an_unreadable_image_leaves_no_hole_in_a_batch(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        model = new_ladder(batch=4)
        damaged = new_dataset([images[0], BROKEN, *images[1:]])
        whole = new_dataset(images)
        assert_alike(
            calibrate(model, damaged, all_of(damaged), threads=1), calibrate(model, whole, all_of(whole), threads=1)
        )


class TestUnreadableImages:
    def test_one_among_many_is_skipped_and_listed_with_its_reason(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset([*images[:3], BROKEN, *images[3:]])
        ranges = calibrate(new_ladder(), dataset, all_of(dataset), threads=1)
        assert ranges.skipped == (("image_3", "broken.jpg cannot be decoded."),)
        assert ranges.images == tuple(name for name in dataset.names if name != "image_3")
        assert ranges.to_dict()["skipped"] == [["image_3", "broken.jpg cannot be decoded."]]
        whole = new_dataset(images)
        assert ranges.limits == calibrate(new_ladder(), whole, all_of(whole), threads=1).limits

    def test_one_is_an_error_where_that_is_asked_for(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset([*images, BROKEN])
        with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
            calibrate(new_ladder(), dataset, all_of(dataset), threads=1, strict=True)

    def test_nothing_but_those_is_an_error_that_says_why(self, new_ladder: NewLadder, new_dataset: NewDataset) -> None:
        dataset = new_dataset([BROKEN] * 3)
        with pytest.raises(DataError, match="none of small/, by hand could be read") as caught:
            calibrate(new_ladder(), dataset, all_of(dataset), threads=1)
        assert "broken.jpg cannot be decoded." in caught.value.hint

    def test_int8_without_images_is_refused(self, new_ladder: NewLadder, new_dataset: NewDataset) -> None:
        with pytest.raises(DataError, match="INT8 needs calibration images") as caught:
            calibrate(new_ladder(), new_dataset([]), Selection((), {}, 0), threads=1)
        assert "--data" in caught.value.hint


def test_an_activation_that_is_not_finite_names_the_image(
    new_graph: Callable[..., Any], new_dataset: NewDataset, images: list[Image]
) -> None:
    new = new_graph()
    new.node("Reciprocal", [new.image()], "reciprocal")
    model = new.labels(new.conv("reciprocal", "first", (3, 16)), 16)
    bright = np.full((16, 16, 3), 250, np.uint8)
    dataset = new_dataset([bright, np.zeros_like(bright), bright])
    with pytest.raises(BuildError, match="reciprocal is not finite on image_1"):
        calibrate(model, dataset, all_of(dataset), threads=1)


def test_each_image_is_told_to_the_listener_a_skipped_one_too(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    dataset = new_dataset([images[0], BROKEN, images[1]])
    told: list[tuple[int, int]] = []
    calibrate(
        new_ladder(), dataset, all_of(dataset), threads=1, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
