from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import trtparse
from trtparse.calibration.key import METHOD, SCHEMA, CalibrationKey, check_key, frame_digest, key_of
from trtparse.calibration.methods import Method
from trtparse.errors import UsageError

NewLadder = Callable[..., onnx.ModelProto]
Frames = NDArray[np.uint8]

NAMES = ("a", "b", "c", "d")


def key(model: onnx.ModelProto, frames: Frames, names: tuple[str, ...] = NAMES, method: str = "max") -> CalibrationKey:
    return key_of(model, [frame_digest(*pair) for pair in zip(names, frames)], Method.parse(method))


class TestWhatChangesIt:
    @pytest.fixture
    def changed(self, new_ladder: NewLadder, small_frames: Frames) -> Callable[..., set[str]]:
        """The fields that differ from those of the first four frames, called a to d."""
        plain = asdict(key(new_ladder(), small_frames[:4]))

        def compare(
            model: onnx.ModelProto | None = None,
            frames: Frames = small_frames[:4],
            names: tuple[str, ...] = NAMES,
            method: str = "max",
        ) -> set[str]:
            other = asdict(key(model or new_ladder(), frames, names, method))
            return {field for field in plain if plain[field] != other[field]}

        return compare

    def test_the_same_again_changes_nothing(self, changed: Callable[..., set[str]]) -> None:
        assert changed() == set()

    def test_one_weight_changes_the_model(self, changed: Callable[..., set[str]], new_ladder: NewLadder) -> None:
        model = new_ladder()
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "mix.weight")
        values = numpy_helper.to_array(weight).copy()
        values[0, 0] += 1e-6
        weight.CopyFrom(numpy_helper.from_array(values, "mix.weight"))
        assert changed(model) == {"model"}

    def test_one_bit_changes_the_images(self, changed: Callable[..., set[str]], small_frames: Frames) -> None:
        frames = small_frames[:4].copy()
        frames[2, 5, 5, 1] ^= 1
        assert changed(frames=frames) == {"images"}

    def test_a_name_changes_the_images(self, changed: Callable[..., set[str]]) -> None:
        assert changed(names=("a", "b", "c", "e")) == {"images"}

    def test_names_that_are_exchanged_change_the_images(
        self, changed: Callable[..., set[str]], small_frames: Frames
    ) -> None:
        assert changed(frames=small_frames[[1, 0, 2, 3]]) == {"images"}

    def test_the_order_of_the_images_changes_nothing(
        self, changed: Callable[..., set[str]], small_frames: Frames
    ) -> None:
        assert changed(frames=small_frames[[1, 0, 3, 2]], names=("b", "a", "d", "c")) == set()

    def test_one_image_less_or_twice_changes_the_images(
        self, changed: Callable[..., set[str]], small_frames: Frames
    ) -> None:
        assert changed(frames=small_frames[:3]) == {"images"}
        assert changed(frames=small_frames[[0, 1, 2, 3, 3]], names=(*NAMES, "d")) == {"images"}

    def test_another_shape_of_the_same_bytes_is_another_image(self) -> None:
        frame = np.zeros((4, 2, 3), np.uint8)
        assert frame_digest("a", frame) != frame_digest("a", frame.reshape(2, 4, 3))

    def test_preprocessing_changes_the_preprocessing(
        self, changed: Callable[..., set[str]], new_ladder: NewLadder
    ) -> None:
        model = new_ladder()
        helper.set_model_props(model, {"preprocessing": json.dumps({"order": "BGR"})})
        # It is written in the model, which therefore changes as well.
        assert changed(model) == {"model", "preprocessing"}

    @pytest.mark.parametrize("method", ["entropy", "percentile:99.9"])
    def test_the_method_changes_the_method(self, method: str, changed: Callable[..., set[str]]) -> None:
        assert changed(method=method) == {"method"}

    def test_an_option_of_the_method_changes_the_method(self, new_ladder: NewLadder, small_frames: Frames) -> None:
        keys = [key(new_ladder(), small_frames, method=f"percentile:{value}") for value in (99.9, 99.99)]
        assert keys[0].method != keys[1].method


def test_it_says_preprocessing_method_version_and_schema_in_words(new_ladder: NewLadder, small_frames: Frames) -> None:
    found = key(new_ladder(), small_frames)
    assert json.loads(found.preprocessing) == {"order": "RGB"}
    assert (found.method, found.version, found.schema) == (METHOD, trtparse.__version__, SCHEMA) == ("max", "0.1.0", 3)


class TestCheck:
    PATH = Path("student/calibration.json")
    KEY = CalibrationKey("a" * 64, "b" * 64, '{"order": "RGB"}')

    def test_the_same_key_passes(self) -> None:
        check_key(self.KEY, replace(self.KEY), self.PATH)

    @pytest.mark.parametrize("name", [field.name for field in fields(CalibrationKey)])
    def test_each_field_that_differs_is_refused_by_its_name(self, name: str) -> None:
        other = 1 if name == "schema" else "c" * 64
        with pytest.raises(UsageError, match=rf"student/calibration\.json is stale: .*\({name} ") as caught:
            check_key(replace(self.KEY, **{name: other}), self.KEY, self.PATH)
        assert "trtparse build --int8" in caught.value.hint

    def test_hashes_are_shortened(self) -> None:
        with pytest.raises(UsageError, match=r"another graph \(model cccccccccccc, not aaaaaaaaaaaa\)"):
            check_key(replace(self.KEY, model="c" * 64), self.KEY, self.PATH)
