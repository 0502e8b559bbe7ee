from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from trtparse.data.crops import RULES, Crop, cut, place_around
from trtparse.errors import UsageError
from trtparse.specs.decoding import HRNET, LOGITS
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import Skeleton, load_skeleton
from trtparse.tasks.open import spec_named, task_named
from trtparse.tasks.people.person import Person
from trtparse.tasks.pose.task import Pose
from trtparse.tasks.predictor import Predictor
from trtparse.tasks.protocol import Protocol

COCO = load_skeleton("coco17")
TASK = Pose(COCO)


def test_keypoints_are_unpacked_and_what_is_none_is_refused() -> None:
    found = np.zeros((2, 17, 3), np.float32)
    assert [answer.shape for answer in TASK.unpack((found,))] == [(17, 3), (17, 3)]
    for arrays, said in (
        ((found[:, :16],), "instead of \\(N, 17, 3\\) float32 keypoints"),
        ((found.astype(np.float64),), "float64"),
        ((), "returned nothing"),
        ((found * np.nan,), "not a number"),
    ):
        with pytest.raises(UsageError, match=said):
            TASK.unpack(arrays)


def test_joints_go_back_onto_the_image_by_the_inverse_of_the_crop() -> None:
    crop = Crop((200, 300), (128, 96), (40.0, 30.0, 60.0, 120.0), RULES["trtparse"])
    image = np.zeros((200, 300, 3), np.uint8)
    image[90, 70] = 255
    frame = cut(image, crop.matrix, crop.input_size)
    y, x = np.unravel_index(frame[..., 0].argmax(), frame.shape[:2])
    answer = np.tile(np.array([x, y, 0.5], np.float32), (17, 1))
    restored = TASK.restore(answer, crop)
    assert restored[0] == pytest.approx([70, 90, 0.5], abs=1)
    np.testing.assert_allclose(crop.to_frame(restored[:, :2]), answer[:, :2], atol=1e-3)


def test_everybody_is_drawn_and_counted_where_they_are() -> None:
    image = np.full((120, 200, 3), 90, np.uint8)
    people = [Person(1, (0.0, 0.0, 60.0, 120.0), 0.9), Person(2, (140.0, 0.0, 200.0, 120.0), 0.8)]
    crops = [place_around(Framing((64, 48), crop=RULES["trtparse"]), (120, 200), person.box) for person in people]
    answer = np.tile(np.array([24, 32, 0.9], np.float32), (17, 1))  # the frame's middle
    other = answer * np.float32([1, 1, 0.1])
    drawn = TASK.drawn_together(image, [answer, other], crops, people)
    assert image.max() == 90
    assert [bool((drawn[57:64, left : left + 7] != 90).any()) for left in (27, 97, 167)] == [True, False, False]
    together = TASK.together([answer, other], crops, people, (120, 200))
    np.testing.assert_allclose(together.joints[0, 0, :2], [30, 60], atol=1)
    np.testing.assert_allclose(together.people, [[0, 0, 60, 120, 0.9], [140, 0, 200, 120, 0.8]])
    assert TASK.amounts(together) == (1,) * 17
    assert TASK.amounts(other) == (0,) * 17


def test_two_engines_agree_by_the_oks_and_where_neither_is_sure() -> None:
    expected = np.zeros((1, 17, 3), np.float32)
    expected[..., :2] = np.random.default_rng(0).uniform(0, 200, (17, 2))
    expected[..., 2] = 0.9
    assert TASK.agreement((expected.copy(),), (expected,)) == pytest.approx([1])
    moved = expected.copy()
    moved[0, :4, :2] += 500
    assert TASK.agreement((moved,), (expected,)) == pytest.approx([13 / 17])
    expected[0, :4, 2] = 0.1
    moved[0, :4, 2] = 0.3
    assert TASK.agreement((moved,), (expected,)) == pytest.approx([1])
    moved[0, 0, 2] = 0.9
    assert TASK.agreement((moved,), (expected,)) == pytest.approx([16 / 17])


class Mirror:
    """An engine whose heatmaps have a peak where the frame is brightest, for the one left and the one right joint."""

    name, gives_raw = "mirror", True

    def raw(self, frames: np.ndarray) -> np.ndarray:
        cells = frames[:, 2::4, 2::4, 0].astype(np.float32)
        # The left joint shines in red, the right one in green; a mirror image has them on the other side.
        return np.stack([cells, frames[:, 2::4, 2::4, 1].astype(np.float32)], 1)


def test_the_flip_test_averages_with_the_mirror_image_of_exchanged_joints() -> None:
    pair = Skeleton("pair", ("left", "right"), (("left", "right"),), (), ((0, 0, 0),) * 2, (0.1, 0.1))
    task = Pose(pair)
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, 30, 6, 0] = frame[0, 30, 57, 1] = 255
    predictor = cast(Predictor[Any], SimpleNamespace(engine=Mirror(), name="mirror"))
    with task.asking(predictor, Protocol(flip=True)) as ask:
        (found,) = ask(frame)
    # Alone the left joint is at cell 1; in the mirror image the right one is, so both agree about it.
    assert found[0, 0] == pytest.approx(1 * 4 + 1.5)


def test_where_cells_are_not_counted_by_their_centres_the_mirror_moves_them_by_one() -> None:
    maps = np.zeros((1, 17, 4, 6), np.float32)
    maps[..., 2] = 1
    assert TASK.mirrored(maps)[0, 0, 0].tolist() == [0, 0, 0, 1, 0, 0]
    assert Pose(COCO, HRNET).mirrored(maps)[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 0]


def test_scales_and_engines_without_heatmaps_are_refused() -> None:
    with pytest.raises(UsageError, match="one scale"):
        TASK.check_protocol(Protocol(scales=(0.5, 1.0)), [])
    alone = cast(Predictor[Any], SimpleNamespace(engine=SimpleNamespace(gives_raw=False), name="alone"))
    with pytest.raises(UsageError, match="needs heatmaps, and alone gives joints alone"):
        TASK.check_protocol(Protocol(flip=True), [alone])
    TASK.check_protocol(Protocol(), [alone])


def test_a_task_is_opened_by_its_name_its_skeleton_and_its_decoding() -> None:
    assert task_named("pose", COCO, {"decoding": HRNET.to_dict()}) == Pose(COCO, HRNET)
    assert task_named("pose", COCO) == Pose(COCO, LOGITS)
    with pytest.raises(UsageError, match="none that this trtparse knows"):
        task_named("pose", label_set("lip"))


def test_a_word_names_a_label_set_or_a_skeleton() -> None:
    assert spec_named("coco17") == COCO
    assert spec_named("lip") == label_set("lip")


def test_a_framing_without_a_crop_sees_whole_images() -> None:
    predictor = Predictor(cast(Any, None), TASK, Framing((64, 64)))
    assert predictor.place((100, 200), (0, 0, 10, 10)).image_size == (100, 200)
