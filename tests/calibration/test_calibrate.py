from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.calibration import calibrate as module
from trtparse.calibration.calibrate import Statistics, calibrate, collect, expected_key, ranges_of
from trtparse.calibration.histograms import BINS
from trtparse.calibration.methods import METHODS, UNSIGNED, Method, threshold
from trtparse.calibration.ranges import RangeCollector
from trtparse.calibration.selection import Selection, select
from trtparse.data.dataset import Image
from trtparse.data.letterbox import Letterbox
from trtparse.errors import BuildError, DataError, UsageError

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


def assert_alike(found: Statistics, expected: Statistics) -> None:
    """To the last bit and count."""
    assert found.limits == expected.limits
    assert found.histograms.keys() == expected.histograms.keys()
    assert found.histograms, "nothing was counted"
    for name, histogram in found.histograms.items():
        assert histogram.maximum == expected.histograms[name].maximum
        np.testing.assert_array_equal(histogram.counts, expected.histograms[name].counts, err_msg=name)
    assert (found.images, found.skipped) == (expected.images, expected.skipped)


def test_ranges_are_those_of_the_letterboxed_images(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    model, dataset = new_ladder(), new_dataset(images)
    ranges = calibrate(model, dataset, all_of(dataset), threads=1)
    collector = RangeCollector(model, threads=1)
    for name, image in zip(dataset.names, images):
        collector.update(name, Letterbox.fit(image.shape[:2], (16, 16), 1.0).apply(image)[None])
    assert ranges.limits == collector.limits()
    assert ranges.images == dataset.names
    assert ranges.skipped == ()


def test_only_the_chosen_images_are_used(new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]) -> None:
    dataset = new_dataset(images)
    ranges = calibrate(new_ladder(), dataset, Selection((4, 1), {3: 2}, 9), threads=1)
    assert ranges.images == ("image_1", "image_4")
    assert (ranges.seed, ranges.classes, ranges.dataset) == (9, {3: 2}, "small/, by hand")


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_images_changes_nothing_at_all(
    method: str, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    model, dataset = new_ladder(), new_dataset([*images, BROKEN])
    orders = [(0, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0), (3, 6, 0, 5, 2, 4, 1)]
    ranges = [calibrate(model, dataset, Selection(order, {}, 0), method=Method(method), threads=1) for order in orders]
    assert ranges[0] == ranges[1] == ranges[2]
    assert len({json.dumps(each.to_dict()) for each in ranges}) == 1


def test_the_same_again_gives_the_same_key_and_ranges(
    new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
) -> None:
    runs = [calibrate(new_ladder(), dataset, select(dataset, 4), threads=1) for dataset in [new_dataset(images)] * 2]
    assert runs[0] == runs[1]


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 4, 6, 8])
    def test_a_fixed_batch_gives_the_very_same_statistics(
        self, batch: int, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset([images[0], BROKEN, *images[1:]])
        single = collect(new_ladder(), dataset, all_of(dataset), histograms=True, threads=1)
        several = collect(new_ladder(batch=batch), dataset, all_of(dataset), histograms=True, threads=1)
        assert_alike(several, single)
        assert several.key.images == single.key.images


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
            collect(new_ladder(), dataset, all_of(dataset), histograms=False, threads=1, strict=True)

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
    collect(
        new_ladder(),
        dataset,
        all_of(dataset),
        histograms=False,
        threads=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


class TestStatistics:
    def test_every_value_of_every_image_is_counted_once(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        model, dataset = new_ladder(), new_dataset(images)
        statistics = collect(model, dataset, all_of(dataset), histograms=True, threads=1)
        assert statistics.histograms.keys() == statistics.limits.keys()
        frames = np.stack([Letterbox.fit(image.shape[:2], (16, 16), 1.0).apply(image) for image in images])
        counts = statistics.histograms["float"].counts
        expected, _ = np.histogram(frames, BINS, (0, int(frames.max())))
        assert counts.sum() == frames.size
        # A value on the edge of two bins may fall to either side.
        np.testing.assert_array_equal(counts.nonzero()[0], expected.nonzero()[0])
        np.testing.assert_array_equal(counts[counts > 0], expected[expected > 0])

    def test_none_are_counted_where_none_are_asked_for(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        statistics = collect(new_ladder(), new_dataset(images), Selection((0,), {}, 0), histograms=False, threads=1)
        assert statistics.histograms == {}
        assert ranges_of(statistics).limits == statistics.limits
        with pytest.raises(ValueError, match="mse needs histograms"):
            ranges_of(statistics, Method("mse"))

    @pytest.mark.parametrize("method", [Method("percentile", 90), Method("entropy"), Method("mse")])
    def test_limits_are_those_of_the_data_within_the_threshold(
        self, method: Method, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset(images)
        statistics = collect(new_ladder(), dataset, all_of(dataset), histograms=True, threads=1)
        ranges = ranges_of(statistics, method)
        clipped = 0
        for name, (low, high) in ranges.limits.items():
            reach = threshold(statistics.histograms[name], method)
            before = statistics.limits[name]
            assert low == max(before[0], -reach), name
            assert high == min(before[1], reach), name
            clipped += (low, high) != before
        assert clipped > 5
        assert ranges.key.method == str(method)

    def test_what_is_nowhere_negative_has_a_range_of_its_own_for_uint8(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset(images)
        statistics = collect(new_ladder(), dataset, all_of(dataset), histograms=True, threads=1)
        ranges = ranges_of(statistics, Method("mse"))
        assert set(ranges.unsigned) == {name for name, (low, _) in statistics.limits.items() if low >= 0}
        wider = 0
        for name, high in ranges.unsigned.items():
            reach = threshold(statistics.histograms[name], Method("mse"), UNSIGNED)
            assert high == min(statistics.limits[name][1], reach), name
            wider += high > ranges.limits[name][1]
        assert wider > 3
        assert ranges_of(statistics, Method("max")).unsigned == {}

    def test_calibrate_is_both_in_one(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        model, dataset = new_ladder(), new_dataset(images)
        statistics = collect(model, dataset, all_of(dataset), histograms=True, threads=1)
        for method in (Method(), Method("mse")):
            expected = ranges_of(statistics, method)
            assert calibrate(model, dataset, all_of(dataset), method=method, threads=1) == expected

    def test_the_key_is_known_without_running_the_images(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        model, dataset = new_ladder(), new_dataset([*images, BROKEN])
        ranges = calibrate(model, dataset, all_of(dataset), method=Method("entropy"), threads=1)
        assert expected_key(model, dataset, all_of(dataset), Method("entropy")) == ranges.key
        assert (
            expected_key(model, new_dataset(images[:5]), Selection((0, 1, 2, 3, 4), {}, 0)).images != ranges.key.images
        )

    def test_progress_runs_over_both_passes(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset([images[0], BROKEN, images[1]])
        told: list[tuple[int, int]] = []
        collect(
            new_ladder(),
            dataset,
            all_of(dataset),
            histograms=True,
            threads=1,
            progress=lambda done, total: told.append((done, total)),
        )
        assert told == [(1, 6), (2, 6), (3, 6), (5, 6), (6, 6)]

    def test_an_image_that_changes_between_the_passes_is_named(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset(list(images))

        def change(done: int, total: int) -> None:
            if done == 6:
                dataset.images[2] = dataset.images[2] // 2

        with pytest.raises(DataError, match="image_2 of small/, by hand has changed"):
            collect(new_ladder(), dataset, all_of(dataset), histograms=True, threads=1, progress=change)


class TestDoubtfulImages:
    def test_nothing_but_black_ones_is_an_error(self, new_ladder: NewLadder, new_dataset: NewDataset) -> None:
        dataset = new_dataset([np.zeros((20, 30, 3), np.uint8)] * 3)
        with pytest.raises(DataError, match="All 3 calibration images of small/, by hand are black"):
            calibrate(new_ladder(), dataset, all_of(dataset), threads=1)

    def test_black_ones_among_others_are_images_like_any(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        dataset = new_dataset([np.zeros((20, 30, 3), np.uint8), *images])
        assert len(calibrate(new_ladder(), dataset, all_of(dataset), threads=1).images) == 7

    @pytest.mark.parametrize(("count", "warned"), [(1, True), (15, True), (16, False)])
    def test_fewer_than_16_are_a_warning(
        self, count: int, warned: bool, new_ladder: NewLadder, new_dataset: NewDataset
    ) -> None:
        dataset = new_dataset([np.full((16, 16, 3), 100 + number, np.uint8) for number in range(count)])
        warnings = calibrate(new_ladder(), dataset, all_of(dataset), threads=1).warnings
        assert any(f"Only {count} calibration image" in warning for warning in warnings) == warned

    @pytest.mark.parametrize("method", METHODS)
    def test_an_activation_that_is_always_0_is_named_and_has_a_finite_range(
        self, method: str, new_graph: Callable[..., Any], new_dataset: NewDataset, images: list[Image]
    ) -> None:
        new = new_graph()
        dead = new.relu(new.node("Sub", [new.image(), new.constant("ten", 10)], "shifted"))
        model = new.labels(new.conv(dead, "first", (3, 16), bias=False), 16)
        dataset = new_dataset(images)
        ranges = calibrate(model, dataset, all_of(dataset), method=Method(method), threads=1)
        assert ranges.limits[dead] == ranges.limits["first"] == (0, 0)
        warning = next(each for each in ranges.warnings if "is 0 on every" in each)
        assert warning.startswith(f"Activation {dead} ")
        assert "2 activations in all" in warning

    def test_a_graph_without_a_frame_size_is_refused(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image]
    ) -> None:
        model = new_ladder()
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
        with pytest.raises(BuildError, match="input frames takes N x height x 16 x 3"):
            calibrate(model, new_dataset(images), Selection((0,), {}, 0), threads=1)


class Killed(Exception):
    """Stands for the end of the process."""


class TestRecord:
    @pytest.fixture(autouse=True)
    def written_after_every_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "SECONDS_BETWEEN_RECORDS", 0.0)

    @staticmethod
    def killed_after(count: int, model: onnx.ModelProto, dataset: Any, record: Path, **options: Any) -> None:
        def kill(done: int, total: int) -> None:
            if done >= count:
                raise Killed

        with pytest.raises(Killed):
            collect(
                model, dataset, all_of(dataset), histograms=True, threads=1, progress=kill, record=record, **options
            )

    @pytest.mark.parametrize("count", [1, 3, 6, 7, 8, 11])
    def test_a_killed_run_goes_on_to_the_very_same_statistics(
        self, count: int, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image], tmp_path: Path
    ) -> None:
        model, record = new_ladder(), tmp_path / "calibration.partial.npz"
        dataset = new_dataset([*images[:2], BROKEN, *images[2:]])
        expected = collect(model, dataset, all_of(dataset), histograms=True, threads=1)
        self.killed_after(count, model, dataset, record)
        told: list[int] = []
        found = collect(
            model,
            dataset,
            all_of(dataset),
            histograms=True,
            threads=1,
            record=record,
            progress=lambda done, _: told.append(done),
        )
        assert_alike(found, expected)
        assert found.key == expected.key
        assert min(told) > count, "images were run once more"

    def test_a_whole_record_needs_no_image_any_more(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image], tmp_path: Path
    ) -> None:
        model, dataset, record = new_ladder(), new_dataset(images), tmp_path / "record.npz"
        first = collect(model, dataset, all_of(dataset), histograms=True, threads=1, record=record)
        gone = new_dataset([BROKEN] * 6)
        assert_alike(collect(model, gone, all_of(gone), histograms=True, threads=1, record=record), first)

    def test_ranges_alone_go_on_to_histograms(
        self, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image], tmp_path: Path
    ) -> None:
        model, dataset, record = new_ladder(), new_dataset(images), tmp_path / "record.npz"
        collect(model, dataset, all_of(dataset), histograms=False, threads=1, record=record)
        found = collect(model, dataset, all_of(dataset), histograms=True, threads=1, record=record)
        assert_alike(found, collect(model, dataset, all_of(dataset), histograms=True, threads=1))

    @pytest.mark.parametrize("other", ["model", "images", "strict"])
    def test_a_record_of_another_calibration_is_passed_over(
        self, other: str, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image], tmp_path: Path
    ) -> None:
        model, dataset, record = new_ladder(), new_dataset(images), tmp_path / "record.npz"
        self.killed_after(9, model, dataset, record)
        selection, strict = all_of(dataset), other == "strict"
        if other == "model":
            model.graph.initializer[1].raw_data = bytes(len(model.graph.initializer[1].raw_data))
        elif other == "images":
            selection = Selection((0, 1, 2), {}, 0)
        expected = collect(model, dataset, selection, histograms=True, threads=1, strict=strict)
        found = collect(model, dataset, selection, histograms=True, threads=1, strict=strict, record=record)
        assert_alike(found, expected)
        assert found.key == expected.key

    @pytest.mark.parametrize("content", [b"", b"my thesis", b"PK\x03\x04 and no more"])
    def test_a_file_that_is_no_record_is_refused_and_left_alone(
        self, content: bytes, new_ladder: NewLadder, new_dataset: NewDataset, images: list[Image], tmp_path: Path
    ) -> None:
        record = tmp_path / "thesis.npz"
        record.write_bytes(content)
        with pytest.raises(UsageError, match=r"thesis\.npz is no record of a calibration"):
            collect(new_ladder(), new_dataset(images), Selection((0,), {}, 0), histograms=True, record=record)
        assert record.read_bytes() == content

    def test_a_record_in_a_missing_folder_is_refused_before_any_image_is_read(
        self, new_ladder: NewLadder, new_dataset: NewDataset, tmp_path: Path
    ) -> None:
        record = tmp_path / "missing" / "record.npz"
        with pytest.raises(UsageError, match="does not exist"):
            collect(new_ladder(), new_dataset([BROKEN]), Selection((0,), {}, 0), histograms=True, record=record)
