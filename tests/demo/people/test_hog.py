from __future__ import annotations

import cv2
import numpy as np
import pytest

from trtparse.data.synthetic import WalkingFigure
from trtparse.demo.people.hog import HogDetector, block_histograms
from trtparse.tasks.people.boxes import overlap

GOLDEN_PLACES = [96, 209, 1076, 1100, 1468, 1783, 1964, 2405, 2549, 3062, 3079, 3703]
GOLDEN = [0.02445, 0.238, 0.36367, 0.31433, 0.31391, 0.3417, 0.22171, 0.27274, 0.15034, 0.11862, 0.3232, 0.02847]
GOLDEN_SUM = 384.195


def scene(people: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(400, 260 each, 3): walking figures of some 270 pixels on grey ground; and their boxes."""
    frame = np.full((400, 260 * people, 3), (150, 160, 155), np.uint8)
    boxes = []
    for number, (seed, step) in enumerate(((5, 0), (3, 6))[:people]):
        image, labels = list(WalkingFigure(step + 1, (320, 240), seed=seed))[-1]
        left, top = 10 + 260 * number, 40
        frame[top : top + 320, left : left + 240][labels > 0] = image[labels > 0]
        x, y, width, height = cv2.boundingRect((labels > 0).astype(np.uint8))
        boxes.append((left + x, top + y, left + x + width, top + y + height))
    return cv2.GaussianBlur(frame, (3, 3), 0), np.array(boxes, float)


def test_the_histograms_are_those_that_the_weights_were_trained_on() -> None:
    """Against OpenCV 4.13's ``HOGDescriptor().compute`` of the same picture."""
    rows, columns = np.mgrid[:128, :64].astype(np.float64)
    waves = [128 + 100 * np.sin(rows / a + columns / b) for a, b in ((7, 5), (11, -6), (-5, 13))]
    image = np.stack(waves, axis=2).round().astype(np.uint8)
    blocks = block_histograms(image)
    assert blocks.shape == (15, 7, 36)
    window = blocks.transpose(1, 0, 2).ravel()
    assert window[GOLDEN_PLACES] == pytest.approx(GOLDEN, abs=2e-4)
    assert window.sum() == pytest.approx(GOLDEN_SUM, rel=1e-4)


@pytest.mark.parametrize("people", [1, 2])
def test_people_who_walk_are_found_where_they_are(people: int) -> None:
    frame, boxes = scene(people)
    found = HogDetector().detect(frame)
    sure = found.boxes[found.scores >= HogDetector.sure]
    assert len(sure) == people
    assert overlap(boxes, sure).max(axis=1).min() > 0.5


def test_the_same_person_is_found_in_a_frame_of_any_size() -> None:
    frame, boxes = scene()
    for factor in (0.8, 1.0, 2.5):
        large = cv2.resize(frame, None, fx=factor, fy=factor)
        found = HogDetector().detect(large)
        assert found.scores[0] >= HogDetector.sure
        assert overlap(boxes * factor, found.boxes[:1]).max() > 0.5


@pytest.mark.parametrize("size", [(1, 1), (90, 400), (97, 33), (96, 32), (300, 300)])
@pytest.mark.parametrize("shade", [0, 255])
def test_a_frame_with_nobody_in_it_has_nobody_whatever_its_size(size: tuple[int, int], shade: int) -> None:
    found = HogDetector().detect(np.full((*size, 3), shade, np.uint8))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_boxes_lie_in_the_frame_and_the_best_comes_first() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    street = cv2.resize(noise, (300, 400), interpolation=cv2.INTER_CUBIC)
    found = HogDetector().detect(np.hstack([street, scene()[0]]))
    assert len(found) > 0
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [560, 400, 560, 400]).all()
    assert list(found.scores) == sorted(found.scores, reverse=True)
