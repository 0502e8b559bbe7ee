from __future__ import annotations

import numpy as np
import pytest

from trtparse.tasks.parsing.smoothing import FlickerMeter, StillPixels, TemporalSmoothing

SIZE = (60, 80)
STILL = np.full(SIZE, 255, np.uint8)


def picture(left: int = 20) -> np.ndarray:
    """A bright block on a dark ground."""
    frame = np.full((*SIZE, 3), 40, np.uint8)
    frame[10:50, left : left + 20] = 200
    return frame


def body(left: int = 20, label: int = 5) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:50, left : left + 20] = label
    return labels


def test_flicker_is_the_share_of_a_persons_still_pixels_that_change() -> None:
    meter = FlickerMeter()
    other = body()
    other[10:20, 20:40] = 7  # a quarter of the person
    for labels in (body(), other, other, body()):
        meter.add(STILL, labels)
    assert meter.share == pytest.approx((0.25 + 0 + 0.25) / 3)


def test_what_moves_is_no_flicker() -> None:
    meter, still = FlickerMeter(), StillPixels()
    for left in range(10, 50, 4):
        meter.add(still.update(picture(left)), body(left))
    assert meter.share == 0
    meter = FlickerMeter()
    for left in range(10, 50, 4):
        meter.add(STILL, body(left))
    assert meter.share > 0.2


def test_noise_of_a_camera_is_not_movement() -> None:
    random, still = np.random.default_rng(0), StillPixels()
    still.update(picture())
    noisy = np.clip(picture() + random.normal(0, 6, (*SIZE, 3)), 0, 255).astype(np.uint8)
    assert (still.update(noisy) > 0).mean() > 0.98
    assert (still.update(picture(40)) == 0)[20:40, 44:58].all()


def test_a_label_that_flickers_where_nothing_moves_is_held() -> None:
    random, smoothing = np.random.default_rng(0), TemporalSmoothing()
    for frame in range(40):
        labels = body()
        labels[(labels > 0) & (random.random(SIZE) < 0.2)] = 6
        shown, _ = smoothing.apply(picture(), labels, frame / 25)
    assert (shown != body()).mean() < 0.06
    flicker = smoothing.flicker
    assert flicker.before == pytest.approx(2 * 0.2 * 0.8, abs=0.03)
    assert flicker.after < 0.1 * flicker.before


@pytest.mark.parametrize(
    ("rate", "labels"), [(25, [5, 5, 5, 9, 9, 9]), (12.5, [5, 5, 9, 9, 9, 9]), (8, [5, 9, 9, 9, 9, 9]), (3, [9] * 6)]
)
def test_a_label_that_lasts_comes_through_after_its_frames_or_a_fifth_of_a_second(
    rate: float, labels: list[int]
) -> None:
    smoothing = TemporalSmoothing(frames=4)
    for frame in range(6):
        smoothing.apply(picture(), body(label=5), frame / rate)
    shown = [smoothing.apply(picture(), body(label=9), frame / rate)[0][30, 30] for frame in range(6, 12)]
    assert shown == labels


def test_nothing_trails_behind_somebody_who_moves() -> None:
    smoothing = TemporalSmoothing()
    for left in range(5, 55, 5):
        shown, _ = smoothing.apply(picture(left), body(left), left / 125)
        assert np.array_equal(shown, body(left))


def test_whose_a_pixel_is_is_held_together_with_its_label() -> None:
    smoothing = TemporalSmoothing(frames=3)
    mine = np.where(body() > 0, 4, 0).astype(np.uint8)
    for frame in range(4):
        smoothing.apply(picture(), body(), frame / 25, mine)
    nobody = np.zeros(SIZE, np.uint8)
    for frame in range(4):
        labels, instances = smoothing.apply(picture(), nobody, (4 + frame) / 25, nobody)
        assert instances is not None
        assert np.array_equal(labels > 0, instances > 0)
        assert labels.any() == (frame < 2)


def test_what_goes_in_stays_as_it_was() -> None:
    smoothing = TemporalSmoothing()
    first, second = body(label=5), body(label=6)
    for frame, (labels, label) in enumerate(((first, 5), (second, 6), (body(), 5))):
        smoothing.apply(picture(), labels, frame / 25)
        assert np.array_equal(labels, body(label=label))
