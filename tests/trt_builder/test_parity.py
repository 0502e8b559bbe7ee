"""A bundle carries PyTorch's answers, and an engine is held to them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from trtparse.data.letterbox import Letterbox
from trtparse.engines.base import Arrays, Engine, Frames, OutputSpec
from trtparse.errors import BuildError, UsageError
from trtparse.specs.label_set import LabelSet
from trtparse.tasks.base import Task
from trtparse.tasks.figure import Closeness
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.predicting import LIP, label_maps
from trtparse.trt_builder.parity import (
    PARITY_IMAGES,
    PARITY_NAME,
    Parity,
    compare,
    load_parity,
    save_parity,
)

PARSING = Parsing(LIP)
SIZE = (4, 6)


class Brightness(Engine):
    """Labels a pixel by its blue value, and keeps the size of each call."""

    def __init__(self, batch: int | None, input_size: tuple[int, int] = SIZE) -> None:
        super().__init__()
        self.name, self.target, self.precision = "stand-in", "cpu", "fp32"
        self.input_size, self.batch, self.outputs = input_size, batch, label_maps(input_size)
        self.calls: list[int] = []

    def _run(self, frames: Frames) -> Arrays:
        self.calls.append(len(frames))
        return (frames[..., 0] % 20,)


class Points(Task[Any]):
    """A task of two outputs: points that may lie a quarter off, and their kinds."""

    name: ClassVar[str] = "points"
    closeness: ClassVar[Closeness] = Closeness("value_agreement", "values", {"fp32": 0.9}, tolerance=0.25)

    @property
    def spec(self) -> LabelSet:
        return LIP

    def unpack(self, arrays: Arrays) -> list[Any]:
        return list(zip(*arrays))

    def restore(self, answer: Any, letterbox: Letterbox) -> Any:
        return answer


class Pointing(Engine):
    """Gives the first column's values as points, so much off, and the kind of each."""

    def __init__(self, off: float = 0.0, kind: int = 1) -> None:
        super().__init__()
        self.name, self.target, self.precision, self.input_size, self.batch = "pointing", "cpu", "fp32", SIZE, None
        self.outputs = (OutputSpec("kinds", "int64", (4,)), OutputSpec("points", "float32", (4, 3)))
        self._off, self._kind = np.float32(off), kind

    def _run(self, frames: Frames) -> Arrays:
        points = frames[:, :, 0].astype(np.float32) + self._off
        return np.full(points.shape[:2], self._kind), points


def some_frames(count: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), np.uint8)


def labels_of(frames: Frames) -> dict[str, NDArray[Any]]:
    return {"labels": frames[..., 0] % 20}


def points_of(frames: Frames) -> dict[str, NDArray[Any]]:
    with Pointing() as engine:
        return dict(zip((spec.name for spec in engine.outputs), engine.infer(frames)))


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), height=st.integers(1, 9), width=st.integers(1, 9), data=st.data())
def test_what_is_stored_comes_back_bit_for_bit(
    count: int, height: int, width: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parity")
    frames = data.draw(arrays.arrays(np.uint8, (count, height, width, 3)))
    expected = {
        "labels": data.draw(arrays.arrays(np.uint8, (count, height, width))),
        "joints": data.draw(arrays.arrays(np.float32, (count, 5, 3))),
    }
    assert save_parity(folder, frames, expected) == folder / PARITY_NAME
    for path in (folder, folder / PARITY_NAME):
        again, answers = load_parity(path)
        assert np.array_equal(again, frames[:PARITY_IMAGES])
        assert list(answers) == ["labels", "joints"]
        for name, array in expected.items():
            assert answers[name].dtype == array.dtype
            assert answers[name].tobytes() == array[:PARITY_IMAGES].tobytes()


def test_files_of_older_bundles_are_read_and_those_of_label_maps_are_still_the_same_bytes(tmp_path: Path) -> None:
    frames = some_frames(3)
    np.savez_compressed(tmp_path / "older.npz", frames=frames, labels=labels_of(frames)["labels"])
    path = save_parity(tmp_path, frames, labels_of(frames))
    assert path.read_bytes() == (tmp_path / "older.npz").read_bytes()
    _, expected = load_parity(tmp_path / "older.npz")
    with Brightness(1) as engine:
        assert compare(engine, PARSING, frames, expected).share == 1


def test_equal_answers_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in "ab":
        (tmp_path / name).mkdir()
        contents.append(save_parity(tmp_path / name, some_frames(3), labels_of(some_frames(3))).read_bytes())
    assert contents[0] == contents[1]


def test_arrays_that_do_not_belong_together_are_not_stored(tmp_path: Path) -> None:
    for frames, expected in (
        (some_frames(2), {}),
        (some_frames(2), {"labels": np.zeros((3, 4, 6), np.uint8)}),
        (some_frames(2), {"labels": np.zeros((2, 4, 6), np.uint8), "score": np.array(1.0)}),
        (some_frames(2).astype(np.float32), {"labels": np.zeros((2, 4, 6), np.uint8)}),
        (some_frames(0), {"labels": np.zeros((0, 4, 6), np.uint8)}),
    ):
        with pytest.raises(ValueError, match="frames"):
            save_parity(tmp_path, frames, expected)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 50, 200, 400])
def test_a_cut_file_is_refused(length: int, tmp_path: Path) -> None:
    path = save_parity(tmp_path, some_frames(3), labels_of(some_frames(3)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match=r"parity\.npz"):
        load_parity(path)


def test_a_changed_byte_of_the_data_is_refused(tmp_path: Path) -> None:
    path = save_parity(tmp_path, some_frames(3), labels_of(some_frames(3)))
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
    with pytest.raises(UsageError, match="nothing else"):
        load_parity(path)
    np.savez(path, labels=some_frames(2)[..., 0])
    with pytest.raises(UsageError, match="frames"):
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
    labels = labels_of(frames)["labels"]
    spoilt = np.random.default_rng(seed).random(labels.shape) < 0.3
    with Brightness(batch) as engine:
        found = compare(engine, PARSING, frames, {"labels": np.where(spoilt, labels ^ 1, labels)})
        assert set(engine.calls) == {batch or 1}
        assert len(engine.calls) == -(-count // (batch or 1))
    assert found.share == pytest.approx(1 - spoilt.mean())
    assert found.worst_image == pytest.approx(1 - spoilt.mean(axis=(1, 2)).max())
    assert found.images == count


@pytest.mark.parametrize(
    ("engine", "share"),
    [
        ({}, 1.0),
        ({"off": 0.25}, 1.0),
        ({"off": -0.375}, 0.0),
        ({"off": float("nan")}, 0.0),
        ({"kind": 2}, 0.0),
    ],
    ids=["the same", "within the tolerance", "beyond it", "not a number", "another output differs"],
)
def test_floats_agree_within_what_the_task_tolerates_and_the_worst_output_counts(
    engine: dict[str, Any], share: float
) -> None:
    frames = some_frames(3)
    # In whatever order the file has them.
    expected = dict(reversed(points_of(frames).items()))
    with Pointing(**engine) as pointing:
        found = compare(pointing, Points(), frames, expected)
    assert (found.share, found.worst_image) == (share, share)
    assert found.to_dict() == {"value_agreement": share, "worst_image": share, "images": 3}


def test_other_outputs_than_pytorch_s_are_refused() -> None:
    frames = some_frames(2)
    with Brightness(1) as engine:
        with pytest.raises(UsageError, match="answers are kinds, points, and stand-in gives labels"):
            compare(engine, Points(), frames, points_of(frames))
        with pytest.raises(UsageError, match=r"labels as \(1, 4, 6\) uint8, and PyTorch gave \(1, 4, 6\) int64"):
            compare(engine, PARSING, frames, {"labels": np.zeros((2, *SIZE), np.int64)})
        with pytest.raises(UsageError, match=r"PyTorch gave \(1, 4, 1\) uint8"):
            compare(engine, PARSING, frames, {"labels": np.zeros((2, 4, 1), np.uint8)})


def test_progress_ends_at_the_number_of_images() -> None:
    told: list[tuple[int, int]] = []
    frames = some_frames(5)
    with Brightness(2) as engine:
        compare(engine, PARSING, frames, labels_of(frames), lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_answers_for_another_input_size_are_an_error_of_the_engine() -> None:
    with Brightness(1, (8, 8)) as engine, pytest.raises(UsageError, match=r"8, 8, 3"):
        compare(engine, PARSING, some_frames(1), labels_of(some_frames(1)))


@pytest.mark.parametrize(("name", "share"), [("fp32", 0.9994), ("fp16", 0.97), ("int8", 0.5), ("int8", float("nan"))])
def test_an_engine_that_is_broken_is_a_build_error(name: str, share: float) -> None:
    with pytest.raises(BuildError, match=f"The {name} graph agrees .* of the pixels of 4 images"):
        Parity(share, share, 4, Parsing.closeness).check(name)


def test_an_engine_that_is_merely_less_accurate_passes() -> None:
    Parity(0.985, 0.9, 4, Parsing.closeness).check("fp16")
    Parity(0.85, 0.7, 4, Parsing.closeness).check("int8")
    Parity(1.0, 1.0, 4, Parsing.closeness).check("fp32")
