"""A bundle carries PyTorch's answers, and an engine is held to them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trtparse.engines.base import Engine, Frames, LabelMaps
from trtparse.errors import BuildError, UsageError
from trtparse.trt_builder.parity import (
    PARITY_IMAGES,
    PARITY_NAME,
    Agreement,
    compare,
    load_parity,
    save_parity,
)


class Brightness(Engine):
    """Labels a pixel by its blue value, and keeps the size of each call."""

    def __init__(self, batch: int | None, input_size: tuple[int, int] = (4, 6)) -> None:
        super().__init__()
        self.name, self.target, self.precision = "stand-in", "cpu", "fp32"
        self.input_size, self.batch = input_size, batch
        self.calls: list[int] = []

    def _run(self, frames: Frames) -> LabelMaps:
        self.calls.append(len(frames))
        return frames[..., 0] % 20


def some_frames(count: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 6, 3), np.uint8)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), height=st.integers(1, 9), width=st.integers(1, 9), data=st.data())
def test_what_is_stored_comes_back_bit_for_bit(
    count: int, height: int, width: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parity")
    frames = data.draw(arrays.arrays(np.uint8, (count, height, width, 3)))
    labels = data.draw(arrays.arrays(np.uint8, (count, height, width)))
    assert save_parity(folder, frames, labels) == folder / PARITY_NAME
    for path in (folder, folder / PARITY_NAME):
        again, answers = load_parity(path)
        assert np.array_equal(again, frames[:PARITY_IMAGES])
        assert np.array_equal(answers, labels[:PARITY_IMAGES])


def test_equal_answers_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in "ab":
        (tmp_path / name).mkdir()
        contents.append(save_parity(tmp_path / name, some_frames(3), some_frames(3)[..., 0]).read_bytes())
    assert contents[0] == contents[1]


def test_arrays_that_do_not_belong_together_are_not_stored(tmp_path: Path) -> None:
    for labels in (np.zeros((2, 4, 5), np.uint8), np.zeros((2, 4, 6), np.int64), np.zeros((3, 4, 6), np.uint8)):
        with pytest.raises(ValueError, match="frames"):
            save_parity(tmp_path, some_frames(2), labels)
    with pytest.raises(ValueError, match="frames"):
        save_parity(tmp_path, some_frames(0), np.zeros((0, 4, 6), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 50, 200, 400])
def test_a_cut_file_is_refused(length: int, tmp_path: Path) -> None:
    path = save_parity(tmp_path, some_frames(3), some_frames(3)[..., 0])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(path)


def test_a_changed_byte_of_the_data_is_refused(tmp_path: Path) -> None:
    path = save_parity(tmp_path, some_frames(3), some_frames(3)[..., 0])
    content = bytearray(path.read_bytes())
    content[150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(path)


def test_no_pickle_is_ever_read(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Exploit:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return marker.touch, ()

    evil = np.empty(1, object)
    evil[0] = Exploit()
    np.savez(tmp_path / PARITY_NAME, frames=evil, labels=evil)
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(tmp_path)
    assert not marker.exists()


def test_files_that_lack_an_array_or_hold_the_wrong_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / PARITY_NAME
    np.savez(path, frames=some_frames(2))
    with pytest.raises(UsageError, match="labels"):
        load_parity(path)
    np.savez(path, frames=some_frames(2).astype(np.float32), labels=some_frames(2)[..., 0])
    with pytest.raises(UsageError, match="float32"):
        load_parity(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frames", "words")
        archive.writestr("labels", "words")
    with pytest.raises(UsageError, match="parity"):
        load_parity(path)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.sampled_from([None, 1, 2, 4, 16]), st.integers(0, 2**31))
def test_agreement_is_the_share_of_equal_pixels_whatever_the_batch(count: int, batch: int | None, seed: int) -> None:
    frames = some_frames(count, seed)
    labels = frames[..., 0] % 20
    spoilt = np.random.default_rng(seed).random(labels.shape) < 0.3
    with Brightness(batch) as engine:
        found = compare(engine, frames, np.where(spoilt, labels ^ 1, labels))
        assert set(engine.calls) == {batch or 1}
        assert len(engine.calls) == -(-count // (batch or 1))
    assert found.pixel_agreement == pytest.approx(1 - spoilt.mean())
    assert found.worst_image == pytest.approx(1 - spoilt.mean(axis=(1, 2)).max())
    assert found.images == count


def test_progress_ends_at_the_number_of_images() -> None:
    told: list[tuple[int, int]] = []
    frames = some_frames(5)
    with Brightness(2) as engine:
        compare(engine, frames, frames[..., 0], lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_answers_for_another_input_size_are_an_error_of_the_engine() -> None:
    with Brightness(1, (8, 8)) as engine, pytest.raises(UsageError, match=r"8, 8, 3"):
        compare(engine, some_frames(1), some_frames(1)[..., 0])


@pytest.mark.parametrize(("name", "share"), [("fp32", 0.9994), ("fp16", 0.97), ("int8", 0.5), ("int8", float("nan"))])
def test_an_engine_that_is_broken_is_a_build_error(name: str, share: float) -> None:
    with pytest.raises(BuildError, match=name):
        Agreement(share, share, 4).check(name)


def test_an_engine_that_is_merely_less_accurate_passes() -> None:
    Agreement(0.985, 0.9, 4).check("fp16")
    Agreement(0.85, 0.7, 4).check("int8")
    Agreement(1.0, 1.0, 4).check("fp32")
