from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.data.dataset import LabelMap
from trtparse.data.letterbox import Letterbox
from trtparse.data.reading import Frame
from trtparse.tasks.parsing.metrics import count_pixels
from trtparse.tasks.parsing.scoring import Prediction, Scorer, boundary_band
from trtparse.tasks.scoring import mark_image
from trtparse.tests.predicting import LIP

SIZE = (24, 16)

SCORER = Scorer(LIP)


def blocks(seed: int, size: tuple[int, int] = SIZE) -> LabelMap:
    """A label map of blocks of 3 by 3 pixels."""
    small = np.random.default_rng(seed).integers(0, 5, (size[0] // 3 + 1, size[1] // 3 + 1), np.uint8)
    return np.kron(small, np.ones((3, 3), np.uint8))[: size[0], : size[1]]


def frame(image_size: tuple[int, int], labels: LabelMap | None) -> Frame:
    letterbox = Letterbox.fit(image_size, SIZE, 1.0)
    pixels = letterbox.apply(np.full((*image_size, 3), 200, np.uint8))
    return Frame(3, "somebody", pixels, letterbox, labels)


def test_the_band_is_what_lies_within_two_pixels_of_another_label() -> None:
    labels = np.zeros((9, 12), np.uint8)
    labels[:, 6:] = 7
    expected = np.zeros((9, 12), bool)
    expected[:, 4:8] = True
    np.testing.assert_array_equal(boundary_band(labels), expected)


def test_a_pixel_in_a_corner_has_a_band_of_its_own() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[0, 0] = 1
    assert boundary_band(labels).sum() == 9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200))
def test_the_band_is_that_of_the_definition(seed: int) -> None:
    labels = blocks(seed)
    padded = np.pad(labels, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    np.testing.assert_array_equal(boundary_band(labels), (windows != labels[..., None, None]).any(axis=(2, 3)))


def test_one_label_has_no_band() -> None:
    assert not boundary_band(np.full(SIZE, 4, np.uint8)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_the_areas_are_those_of_the_definition(one: int, other: int) -> None:
    reference, engine = blocks(one), blocks(other)
    counts, areas = SCORER.against_reference(frame(SIZE, None), reference, engine)
    band, differs = boundary_band(reference), reference != engine
    assert tuple(areas) == (band.sum(), (~band).sum(), (band & differs).sum(), (~band & differs).sum())
    assert SCORER.disagreement((counts, areas))[0] == pytest.approx(differs.mean())
    assert counts.sum() == reference.size
    np.testing.assert_array_equal(counts, count_pixels(reference, engine, LIP))


def test_labels_are_compared_at_the_image_s_own_size_and_with_the_reference_inside_the_letterbox() -> None:
    truth = blocks(1, (48, 20))
    item = frame((48, 20), truth)
    found = np.full(SIZE, 9, np.uint8)
    found[item.inside] = 2
    marks = mark_image(SCORER, item, found, [Prediction(found)])
    assert marks.reference is not None
    assert marks.engines[0].truth is not None
    assert marks.reference[0].sum() == marks.engines[0].truth[0].sum() == 48 * 20
    # Nothing of the border counts, neither here nor there.
    assert marks.reference[0][:, 9].sum() == marks.engines[0].agreement[0][9].sum() == 0
    assert marks.engines[0].agreement[0].sum() == 24 * 10
    assert (marks.index, marks.name) == (3, "somebody")


def test_logits_are_resized_before_argmax() -> None:
    logits = np.zeros((20, *SIZE), np.float32)
    logits[1, :, :8], logits[11, :, 8:], logits[2] = 1, 1, 0.9
    found = Prediction(logits.argmax(axis=0).astype(np.uint8), logits)
    assert set(np.unique(found.labels)) == {1, 11}
    large = found.at_image_size(frame((48, 32), None))
    assert large.shape == (48, 32)
    assert large.dtype == np.uint8
    assert set(np.unique(large)) == {1, 2, 11}
    assert set(np.unique(Prediction(found.labels).at_image_size(frame((48, 32), None)))) == {1, 11}


def test_of_two_labels_the_surer_one_spreads_when_logits_are_resized() -> None:
    # Left Hat with a logit of 4, right Scarf with a logit of 1. Resized themselves, they would meet in the middle
    # between the two pixels at x = 0.8; their exps meet where 54.6 (1 - x) + x = (1 - x) + 2.7 x, at x = 0.97.
    logits = np.zeros((20, *SIZE), np.float32)
    logits[1, :, :8], logits[11, :, 8:] = 4, 1
    wide = Prediction(logits.argmax(axis=0).astype(np.uint8), logits).at_image_size(
        Frame(0, "wide", np.zeros((*SIZE, 3), np.uint8), Letterbox((24, 160), SIZE, 0, 0, *SIZE), None)
    )
    # The pixels' centres lie at 75 and 85 of 160 columns.
    assert set(np.flatnonzero(wide[0] == 11)) == set(range(85, 160))


def test_logits_of_an_image_of_the_network_s_size_stay_as_they_are() -> None:
    logits = np.random.default_rng(0).random((20, *SIZE), np.float32)
    labels = logits.argmax(axis=0).astype(np.uint8)
    np.testing.assert_array_equal(Prediction(labels, logits).at_image_size(frame(SIZE, None)), labels)


def test_a_picture_keeps_its_arrays_when_those_of_the_batch_change() -> None:
    item = frame((48, 20), blocks(1, (48, 20)))
    labels = np.full(SIZE, 3, np.uint8)
    shown = SCORER.picture(item, labels, labels)
    labels[:] = 0
    item.pixels[:] = 0
    assert (shown.reference == 3).all()
    assert (shown.engine == 3).all()
    assert (shown.photo == 200).all()
    assert shown.truth is not None
    assert shown.photo.shape[:2] == shown.truth.shape == shown.engine.shape == (24, 10)
