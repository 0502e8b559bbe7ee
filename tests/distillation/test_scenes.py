from __future__ import annotations

import numpy as np

from trtparse.data.dataset import Sample
from trtparse.distillation.scenes import Backgrounds, Scene, random_window


class Red:
    """One red photograph of nobody."""

    description, names, labelled = "red", ("red",), False

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("red", np.full((40, 60, 3), (0, 0, 255), np.uint8), None)


def test_people_keep_their_pixels_and_labels_before_another_background() -> None:
    image = np.full((30, 20, 3), (0, 255, 0), np.uint8)
    labels = np.zeros((30, 20), np.uint8)
    labels[8:24, 6:14], labels[0:2, 0:2] = 5, 255
    unknown = np.full((30, 20), 255, np.uint8)
    for seed in range(4):
        scene = Backgrounds(Red()).behind(Scene(image, labels, unknown), labels, np.random.default_rng(seed))
        left, top = scene.corner
        here = np.s_[top : top + 30, left : left + 20]
        assert scene.image.shape[0] >= 30
        assert scene.image.shape[1] >= 20
        np.testing.assert_array_equal(scene.labels[here], labels)
        assert (scene.labels == 5).sum() == (labels == 5).sum()
        assert (scene.limbs == 255).all()
        assert (scene.image[here][12:20, 9:11] == (0, 255, 0)).all()
        assert (scene.image[here][14, 19] == (0, 0, 255)).all()


def test_an_unlabelled_photograph_is_background_only_where_its_own_was_cut_away() -> None:
    image, unlabelled = np.full((30, 20, 3), 9, np.uint8), np.full((30, 20), 254, np.uint8)
    limbs = np.zeros((30, 20), np.uint8)
    limbs[8:24, 6:14], limbs[4:8, 6:14] = 1, 255
    scene = Backgrounds(Red()).behind(Scene(image, unlabelled, limbs), limbs, np.random.default_rng(0))
    assert (scene.labels == 254).sum() == (limbs != 0).sum()
    assert ((scene.labels == 0) == (scene.limbs == 0)).all()


def test_a_window_lies_in_its_image_and_has_the_shape_asked_for() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, width, height = random_window((300, 500), 0.75, rng)
        assert 0 <= left <= left + width <= 500
        assert 0 <= top <= top + height <= 300
        assert abs(width / height - 0.75) < 1e-9
