from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.engines import Bundle, Engine, open_engine
from trtparse.engines.base import Arrays, Frames
from trtparse.errors import UsageError
from trtparse.tasks.parsing.task import LabelMaps, Logits
from trtparse.tasks.parsing.test_time import AugmentedEngine, scaled
from trtparse.tests.predicting import LIP, label_maps

SIZE = (24, 16)
SCALES = (0.75, 1.0, 1.25)


class Lopsided(Engine):
    """Logits of a frame's own that a mirror image does not share: colours, and where a pixel lies."""

    name, target, precision, input_size, batch, gives_raw = "lopsided", "fake", "fp32", SIZE, None, True
    outputs = label_maps(SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[Frames] = []
        rng = np.random.default_rng(0)
        self._weights = rng.normal(size=(3, 20)).astype(np.float32)
        self._place = rng.normal(size=(*SIZE, 20)).astype(np.float32)

    def raw(self, frames: Frames) -> Logits:
        self._check(frames)
        self.looked.append(frames.copy())
        logits = (frames.astype(np.float32) / 255) @ self._weights + self._place
        return np.ascontiguousarray(logits.transpose(0, 3, 1, 2))

    def _run(self, frames: Frames) -> Arrays:
        return (self.raw(frames).argmax(axis=1).astype(np.uint8),)


class Silent(Lopsided):
    name, gives_raw = "silent", False


def some_frames(seed: int, number: int = 2) -> Frames:
    small = np.random.default_rng(seed).integers(0, 256, (number, 6, 4, 3), np.uint8)
    return np.kron(small, np.ones((1, 4, 4, 1), np.uint8))


def mirrored(frames: Frames) -> Frames:
    return np.ascontiguousarray(frames[:, :, ::-1])


class TestFlip:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 500), st.sampled_from([(1.0,), (0.75,), SCALES, (0.5, 2.0)]))
    def test_a_mirror_image_gets_the_mirrored_labels_with_left_and_right_swapped(
        self, seed: int, scales: tuple[float, ...]
    ) -> None:
        frames = some_frames(seed)
        with Lopsided() as engine, AugmentedEngine(engine, LIP, flip=True, scales=scales) as augmented:
            here, there = augmented.raw(frames), augmented.raw(mirrored(frames))
            np.testing.assert_allclose(there, here[:, LIP.flip_table()[:20], :, ::-1], atol=1e-4)
            if scales == (1.0,):
                expected = LIP.flip_table()[augmented.infer(frames)[0][:, :, ::-1]]
                np.testing.assert_array_equal(augmented.infer(mirrored(frames))[0], expected)

    def test_without_it_a_mirror_image_gets_other_labels(self) -> None:
        frames = some_frames(0)
        with Lopsided() as engine:
            assert (engine.infer(mirrored(frames))[0] != LIP.flip_table()[engine.infer(frames)[0][:, :, ::-1]]).any()

    def test_left_and_right_are_swapped_before_the_mean(self) -> None:
        class LeftOfMiddle(Lopsided):
            """Left-arm in the left half of whatever it is shown."""

            def raw(self, frames: Frames) -> Logits:
                logits = np.zeros((len(frames), 20, *SIZE), np.float32)
                logits[:, 14, :, : SIZE[1] // 2] = 1
                return logits

        with LeftOfMiddle() as engine, AugmentedEngine(engine, LIP, flip=True) as augmented:
            (labels,) = augmented.infer(some_frames(0))
        assert (labels[:, :, :8] == 14).all()
        assert (labels[:, :, 8:] == 15).all()


class TestScales:
    def test_one_scale_of_1_is_the_engine_itself(self) -> None:
        frames = some_frames(3)
        with Lopsided() as engine, AugmentedEngine(engine, LIP) as augmented:
            np.testing.assert_array_equal(augmented.raw(frames), engine.raw(frames))
            np.testing.assert_array_equal(augmented.infer(frames)[0], engine.infer(frames)[0])

    def test_a_small_scale_lies_in_the_middle_of_black(self) -> None:
        with Lopsided() as engine, AugmentedEngine(engine, LIP, scales=(0.5,)) as augmented:
            augmented.infer(np.full((1, *SIZE, 3), 255, np.uint8))
        (seen,) = engine.looked
        assert (seen[0, 6:18, 4:12] == 255).all()
        assert seen.sum() == 255 * 3 * 12 * 8

    def test_a_large_scale_is_covered_by_windows(self) -> None:
        frames = some_frames(1)
        with Lopsided() as engine, AugmentedEngine(engine, LIP, scales=(2.0,)) as augmented:
            augmented.infer(frames)
        assert len(engine.looked) == 4
        # Twice as large, without overlap: the windows are the quarters.
        top = np.concatenate([engine.looked[0][0], engine.looked[1][0]], axis=1)
        bottom = np.concatenate([engine.looked[2][0], engine.looked[3][0]], axis=1)
        small = np.concatenate([top, bottom])[::2, ::2].astype(int)
        assert np.abs(small - frames[0]).mean() < 40
        assert np.abs(small - frames[1]).mean() > 40

    @pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0])
    def test_whatever_the_scale_a_uniform_frame_keeps_its_labels_inside(self, scale: float) -> None:
        class Colours(Lopsided):
            def raw(self, frames: Frames) -> Logits:
                self.looked.append(frames)
                face = (frames[..., 0] > 100).astype(np.float32)
                return np.stack([1 - face if label == 0 else face * (label == 13) for label in range(20)], axis=1)

        with Colours() as engine, AugmentedEngine(engine, LIP, scales=(scale,)) as augmented:
            assert (augmented.infer(np.full((1, *SIZE, 3), 200, np.uint8))[0] == 13).all()
        assert len(engine.looked) == (4 if scale > 1 else 1)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(64, 600), st.floats(0.25, 2.0))
    def test_lengths_change_by_an_even_number(self, length: int, scale: float) -> None:
        assert (scaled(length, scale) - length) % 2 == 0
        assert scaled(length, scale) == pytest.approx(scale * length, abs=1.01)

    @pytest.mark.parametrize(
        ("scales", "told"),
        [
            ((), "(none)"),
            ((1.0, 1.0), "1, 1"),
            ((0.1,), "scale of 0.1"),
            ((3.0,), "scale of 3"),
            ((float("nan"),), "scale of nan"),
        ],
    )
    def test_that_make_no_sense_are_refused(self, scales: tuple[float, ...], told: str) -> None:
        with Lopsided() as engine, pytest.raises(UsageError) as caught:
            AugmentedEngine(engine, LIP, scales=scales)
        assert told in caught.value.message


class TestEngine:
    def test_one_that_gives_no_logits_is_refused_with_what_to_do(self) -> None:
        with Silent() as engine, pytest.raises(UsageError, match=r"silent gives label maps alone") as caught:
            AugmentedEngine(engine, LIP, flip=True)
        assert "trtparse build --logits" in caught.value.hint

    def test_closing_it_leaves_the_engine_open(self) -> None:
        with Lopsided() as engine:
            AugmentedEngine(engine, LIP).close()
            engine.infer(some_frames(0))

    def test_it_is_known_by_the_engine_s_name(self) -> None:
        with Lopsided() as engine, AugmentedEngine(engine, LIP, flip=True) as augmented:
            assert (augmented.name, augmented.target, augmented.precision) == ("lopsided", "fake", "fp32")
            assert (augmented.input_size, augmented.batch) == (SIZE, None)

    def test_frames_of_another_size_are_refused(self) -> None:
        with (
            Lopsided() as engine,
            AugmentedEngine(engine, LIP) as augmented,
            pytest.raises(UsageError, match="frames must"),
        ):
            augmented.raw(np.zeros((1, 8, 8, 3), np.uint8))


class TestRealEngines:
    """The reference, and a bundle's graphs that were built with logits."""

    @pytest.mark.parametrize("kind", ["pytorch-fp32", "cpu-fp32", "cpu-int8"])
    def test_labels_are_argmax_of_the_logits(self, kind: str, pristine_bundle: Bundle, frames: Frames) -> None:
        target, precision = kind.split("-")
        with open_engine(pristine_bundle, target, precision, threads=1) as engine:
            logits = engine.raw(frames[:2])
            assert (logits.dtype, logits.shape) == (np.float32, (2, 20, 256, 192))
            np.testing.assert_array_equal(logits.argmax(axis=1), engine.infer(frames[:2])[0])

    def test_a_mirrored_person_gets_the_mirrored_labels(self, pristine_bundle: Bundle, frames: Frames) -> None:
        with (
            open_engine(pristine_bundle, "cpu", "fp32", threads=1) as engine,
            AugmentedEngine(engine, LIP, flip=True) as augmented,
        ):
            expected = LIP.flip_table()[augmented.infer(frames[:2])[0][:, :, ::-1]]
            np.testing.assert_array_equal(augmented.infer(mirrored(frames[:2]))[0], expected)
            assert (
                engine.infer(mirrored(frames[:2]))[0] != LIP.flip_table()[engine.infer(frames[:2])[0][:, :, ::-1]]
            ).any()

    def test_reference_and_engine_agree_on_augmented_frames_as_well(
        self, pristine_bundle: Bundle, frames: Frames
    ) -> None:
        def labels(target: str) -> LabelMaps:
            with (
                open_engine(pristine_bundle, target, "fp32", threads=1) as engine,
                AugmentedEngine(engine, LIP, flip=True, scales=(0.75, 1.25)) as augmented,
            ):
                return augmented.infer(frames[:1])[0]

        assert (labels("pytorch") == labels("cpu")).mean() > 0.999

    def test_a_graph_without_logits_says_so(self, bundle: Bundle, without_logits: Callable[[Bundle], None]) -> None:
        without_logits(bundle)
        with open_engine(bundle, "cpu", "fp32", threads=1) as engine:
            assert not engine.gives_raw
            with pytest.raises(UsageError, match="gives answers alone") as caught:
                engine.raw(np.zeros((1, 256, 192, 3), np.uint8))
        assert "trtparse build --logits" in caught.value.hint


@pytest.fixture
def without_logits() -> Callable[[Bundle], None]:
    def drop(bundle: Bundle) -> None:
        import onnx

        path = bundle.graph("fp32")
        model = onnx.load(path)
        del model.graph.output[1:]
        onnx.save(model, path)

    return drop
