from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trtparse.calibration.key import CalibrationKey
from trtparse.calibration.quantise.placement import place
from trtparse.calibration.ranges import RangeCollector, Ranges, read_ranges, scale_of
from trtparse.errors import BuildError, DataError, UsageError

NewGraph = Callable[..., Any]
NewLadder = Callable[..., onnx.ModelProto]
Frames = NDArray[np.uint8]

LARGEST = 65504 * 127
"""The largest range with an FP16 scale."""


def collected(model: onnx.ModelProto, frames: Frames, batch: int = 1) -> RangeCollector:
    """A collector that has seen ``frames``, ``batch`` at a time."""
    collector = RangeCollector(model, threads=1)
    for start in range(0, len(frames), batch):
        collector.update(f"image_{start}", frames[start : start + batch])
    return collector


class TestScales:
    @given(st.floats(min_value=0, max_value=LARGEST, width=32))
    def test_each_covers_its_range_is_positive_and_exact_in_fp16(self, maximum: float) -> None:
        scale = scale_of(maximum, "x")
        assert 0 < scale <= 65504
        assert float(np.float16(scale)) == scale
        assert scale * 127 >= maximum

    @given(st.floats(min_value=2**-7, max_value=LARGEST, width=32))
    def test_each_is_the_smallest_in_fp16_that_does(self, maximum: float) -> None:
        below = float(np.nextafter(np.float16(scale_of(maximum, "x")), np.float16(0)))
        assert below * 127 < maximum

    def test_a_dead_channel_has_scale_1(self) -> None:
        assert scale_of(0.0, "x") == 1.0

    @pytest.mark.parametrize("maximum", [5e-324, 1e-45, 1e-12])
    def test_the_smallest_values_have_a_positive_scale(self, maximum: float) -> None:
        assert scale_of(maximum, "x") > 0

    @pytest.mark.parametrize("maximum", [np.inf, np.nan, -np.inf, -1.0])
    def test_what_is_no_range_is_refused_by_the_tensor_s_name(self, maximum: float) -> None:
        with pytest.raises(BuildError, match="no range for layer"):
            scale_of(maximum, "layer")

    # 65510 is past FP16's largest number and would still be rounded down to it.
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("maximum", [65510 * 127.0, 65520 * 127.0, 1e9, 3e38])
    def test_a_range_past_fp16_is_refused_by_the_tensor_s_name(self, maximum: float) -> None:
        with pytest.raises(BuildError, match="layer reaches") as caught:
            scale_of(maximum, "layer")
        assert "--fp32" in caught.value.hint

    @pytest.mark.filterwarnings("error")
    def test_the_largest_range_has_fp16_s_largest_scale(self) -> None:
        assert scale_of(float(LARGEST), "x") == 65504


class TestLimits:
    def test_they_are_the_extremes_of_every_activation_over_all_frames(
        self, new_ladder: NewLadder, small_frames: Frames
    ) -> None:
        model = new_ladder()
        limits = collected(model, small_frames).limits()
        open_model = onnx.ModelProto()
        open_model.CopyFrom(model)
        del open_model.graph.output[:]
        open_model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in limits)
        session = onnxruntime.InferenceSession(open_model.SerializeToString(), providers=["CPUExecutionProvider"])
        for name, values in zip(limits, session.run(None, {"frames": small_frames})):
            np.testing.assert_allclose(limits[name], (values.min(), values.max()), rtol=1e-5, atol=1e-6, err_msg=name)

    def test_every_placed_activation_has_them(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        assert set(place(model).activations) <= set(collected(model, small_frames[:1]).limits())

    def test_the_logits_and_what_follows_have_none(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        limits = collected(new_ladder(), small_frames[:1]).limits()
        assert not {"logits", "last_resize", "argmax", "argmax_float", "labels"} & set(limits)

    def test_constants_have_none(self, new_graph: NewGraph, small_frames: Frames) -> None:
        new = new_graph()
        new.node("Constant", [], "two", value=onnx.numpy_helper.from_array(np.float32(2)))
        new.node("Mul", [new.image(), "two"], "doubled")
        limits = collected(new.labels(new.conv("doubled", "first", (3, 16)), 16), small_frames[:1]).limits()
        assert set(limits) == {"float", "planes", "image", "doubled", "first"}

    def test_they_do_not_depend_on_the_order_of_the_images(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        expected = collected(model, small_frames).limits()
        for order in ([5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]):
            assert collected(model, small_frames[order]).limits() == expected

    @pytest.mark.parametrize("batch", [2, 4, 6])
    def test_they_do_not_depend_on_the_batch(self, batch: int, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        expected = collected(model, small_frames).limits()
        assert collected(model, small_frames, batch).limits() == expected
        assert collected(new_ladder(batch=batch), small_frames).limits() == expected

    def test_another_image_never_narrows_them(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        collector = collected(new_ladder(), small_frames[:3])
        before = collector.limits()
        collector.update("later", small_frames[5:])
        after = collector.limits()
        assert all(after[name][0] <= low and after[name][1] >= high for name, (low, high) in before.items())
        assert after != before

    def test_without_a_frame_there_are_none_and_int8_is_refused(self, new_ladder: NewLadder) -> None:
        with pytest.raises(DataError, match="INT8 needs calibration images") as caught:
            RangeCollector(new_ladder(), threads=1).limits()
        assert "--data" in caught.value.hint

    def test_the_model_is_left_as_it_was(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        model = new_ladder()
        before = model.SerializeToString(deterministic=True)
        collected(model, small_frames)
        assert model.SerializeToString(deterministic=True) == before


class TestMemory:
    def test_two_numbers_per_activation_are_kept_however_many_images(
        self, new_ladder: NewLadder, small_frames: Frames
    ) -> None:
        def kept(collector: RangeCollector) -> tuple[int, int]:
            arrays = [value for value in vars(collector).values() if isinstance(value, np.ndarray)]
            held = [value for value in vars(collector).values() if isinstance(value, (list, dict, set, tuple))]
            return sum(array.size for array in arrays), sum(len(value) for value in held)

        collector = collected(new_ladder(), small_frames[:1])
        before = kept(collector)
        assert before[0] == 2 * len(collector.limits())
        for number in range(20):
            collector.update(f"image_{number}", small_frames[number % 6][None])
        assert kept(collector) == before

    def test_no_activation_leaves_the_runtime_whole(self, new_ladder: NewLadder) -> None:
        collector = RangeCollector(new_ladder(), threads=1)
        assert {tuple(output.shape) for output in collector._observer._session.get_outputs()} == {()}


class TestNotFinite:
    @pytest.fixture
    def rooted(self, new_graph: NewGraph) -> onnx.ModelProto:
        """The square root of (value - 51) / 255: not a number where a frame is darker than that."""
        new = new_graph()
        shifted = new.node("Sub", [new.image(), new.constant("darkest", 0.2)], "shifted")
        new.conv(new.relu(new.node("Sqrt", [shifted], "root")), "first", (3, 16))
        model: onnx.ModelProto = new.labels(new.relu("first"), 16)
        return model

    @pytest.mark.parametrize("pixel", [(0, 0, 2), (0, 1, 0), (7, 9, 1), (15, 15, 0)])
    def test_one_value_that_is_no_number_is_an_error_that_names_tensor_and_image(
        self, pixel: tuple[int, int, int], rooted: onnx.ModelProto
    ) -> None:
        frames = np.full((2, 16, 16, 3), 200, np.uint8)
        collector = RangeCollector(rooted, threads=1)
        collector.update("bright.jpg", frames[:1])
        frames[1][pixel] = 10
        with pytest.raises(BuildError, match=r"Activation root is not finite on dark\.jpg"):
            collector.update("dark.jpg", frames[1:])

    def test_an_infinite_value_is_an_error_that_names_tensor_and_image(self, new_graph: NewGraph) -> None:
        new = new_graph()
        new.node("Reciprocal", [new.image()], "reciprocal")
        model = new.labels(new.conv("reciprocal", "first", (3, 16)), 16)
        frames = np.full((1, 16, 16, 3), 200, np.uint8)
        frames[0, 8, 8, 1] = 0
        with pytest.raises(BuildError, match=r"Activation reciprocal is not finite on black\.jpg"):
            RangeCollector(model, threads=1).update("black.jpg", frames)

    def test_the_damaged_image_leaves_the_ranges_as_they_were(self, rooted: onnx.ModelProto) -> None:
        frames = np.full((1, 16, 16, 3), 200, np.uint8)
        collector = collected(rooted, frames)
        before = collector.limits()
        with pytest.raises(BuildError):
            collector.update("dark.jpg", np.zeros_like(frames))
        assert (collector.limits(), collector.frames_seen) == (before, 1)


class TestFile:
    def test_ranges_come_back_from_their_file_as_they_were(
        self, new_ladder: NewLadder, ranges_for: Callable[..., Ranges], tmp_path: Path
    ) -> None:
        ranges = replace(
            ranges_for(new_ladder()),
            skipped=(("b", "broken"),),
            classes={3: 2},
            warnings=("Only 1 calibration image.",),
        )
        ranges = replace(ranges, unsigned=dict.fromkeys(ranges.limits, 1.5))
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(ranges.to_dict()))
        assert read_ranges(path) == ranges

    @given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2).map(sorted), min_size=1))
    def test_every_limit_comes_back_to_the_last_bit(self, pairs: list[list[float]]) -> None:
        limits = {f"tensor {number}": (low, high) for number, (low, high) in enumerate(pairs)}
        ranges = Ranges(limits, ("a",), (), "by hand", 0, {}, CalibrationKey("", "", ""))
        assert Ranges.from_dict(json.loads(json.dumps(ranges.to_dict()))) == ranges

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is no calibration file"),
            ("[]", "is no calibration file"),
            ('{"ranges": {}}', "is no calibration file"),
            ('{"key": {"schema": 1}}', "has schema 1, and this version of trtparse reads 3"),
            ('{"key": {"schema": 2}}', "has schema 2, and this version of trtparse reads 3"),
            ('{"key": {"schema": 3}}', "is damaged"),
        ],
    )
    def test_what_is_no_calibration_is_refused_by_its_name(self, content: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "calibration.json"
        path.write_text(content)
        with pytest.raises(UsageError, match=rf"calibration\.json {message}"):
            read_ranges(path)

    def test_a_missing_file_is_refused_by_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nothing\.json cannot be read"):
            read_ranges(tmp_path / "nothing.json")

    @pytest.mark.parametrize("pair", [[2.0, 1.0], [0.0, float("nan")], [float("-inf"), 0.0], [1.0], None])
    def test_a_range_that_is_none_is_refused(
        self, pair: Any, ranges_for: Callable[..., Ranges], tmp_path: Path
    ) -> None:
        model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
        content = {**ranges_for(model).to_dict(), "ranges": {"layer": pair}}
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=r"calibration\.json is damaged"):
            read_ranges(path)

    @pytest.mark.parametrize(("name", "high"), [("frames", -1.0), ("frames", float("inf")), ("elsewhere", 1.0)])
    def test_a_range_for_uint8_that_is_none_is_refused(
        self, name: str, high: float, ranges_for: Callable[..., Ranges], tmp_path: Path
    ) -> None:
        model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
        content = {**ranges_for(model).to_dict(), "ranges": {"frames": [0.0, 2.0]}, "unsigned": {name: high}}
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=r"calibration\.json is damaged"):
            read_ranges(path)
