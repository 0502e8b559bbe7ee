from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.kept_answers import KeptAnswers, answered, logits_of  # noqa: E402
from trtparse.errors import DataError  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.tasks.parsing.augmentation import Augmentation, Geometry  # noqa: E402

LIP = label_set("lip")
LEFT, RIGHT = LIP.id_of("Left-arm"), LIP.id_of("Right-arm")
STILL = Augmentation(scale=(1.0, 1.0), rotation=0, shift=0, aspect=1, flip=0)


def by_colour(frames: torch.Tensor) -> torch.Tensor:
    """A teacher: the right half's white is a left arm, all else background, on a quarter of the side."""
    small = frames[:, 2::4, 2::4, 0]
    logits = torch.full((len(frames), 20, *small.shape[1:]), -9.0)
    logits[:, 0] = 0
    logits[:, LEFT] = torch.where(small > 127, 9.0, -9.0)
    return logits


@pytest.fixture
def kept(tmp_path: Path) -> KeptAnswers:
    answers = KeptAnswers(tmp_path / "answers", LIP, (64, 48), 1.0)
    answers.begin()
    return answers


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((128, 96, 3), np.uint8)
    image[:, 48:] = 255
    return image


def test_a_folder_says_whose_answers_it_has(kept: KeptAnswers, tmp_path: Path) -> None:
    assert KeptAnswers.open(kept.folder) == kept
    with pytest.raises(DataError, match="holds no answers"):
        KeptAnswers.open(tmp_path)
    (kept.folder / "answers.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        KeptAnswers.open(kept.folder)


def test_what_was_kept_is_what_the_teacher_said_to_half_of_a_byte(kept: KeptAnswers, image: np.ndarray) -> None:
    kept.write("a.jpg", image, by_colour)
    found = kept.read("a.jpg")
    assert found.shape == (20, 16, 12)
    chances = logits_of(torch.from_numpy(found)[None]).softmax(1)[0]
    assert chances[LEFT, :, 7:].min() > 0.97
    assert chances[0, :, :5].min() > 0.97


def test_answers_come_to_lie_where_their_image_does(kept: KeptAnswers, image: np.ndarray) -> None:
    kept.write("a", image, by_colour)
    answers, size, rng = kept.read("a"), (128, 96), np.random.default_rng(0)
    plain = STILL.place(size, Geometry((64, 48)), rng)
    np.testing.assert_array_equal(kept.placed(answers, size, plain), answers)

    # Every augmented answer to an image is the label of the image there, but for a cell along the seam and the edges.
    labels = np.where(image[..., 0] > 127, LEFT, 0).astype(np.uint8)
    much = Augmentation(rotation=30, shift=0.2, flip=0.5)
    for seed in range(6):
        placing = much.place(size, Geometry((64, 48)), np.random.default_rng(seed))
        found = torch.from_numpy(kept.placed(answers, size, placing)[None])
        wanted = placing.labels(labels, LIP.flip_table())[2::4, 2::4]
        there = answered(found)[0].numpy() & (wanted != 255)
        assert (found[0].argmax(0).numpy()[there] == wanted[there]).mean() > 0.9
        assert set(np.unique(wanted)) <= {0, RIGHT if placing.mirrored else LEFT, 255}


def test_beside_the_image_nobody_answered(kept: KeptAnswers, image: np.ndarray) -> None:
    kept.write("a", image, by_colour)
    # The image is the lower right quarter of a scene twice as high and wide.
    placing = STILL.place((256, 192), Geometry((64, 48)), np.random.default_rng(0))
    there = answered(torch.from_numpy(kept.placed(kept.read("a"), (128, 96), placing, (96.0, 128.0))[None]))
    assert there[0, 9:, 7:].all()
    assert not there[0, :7].any()
    assert not there[0, :, :5].any()
    assert answered(torch.zeros(2, 0, 0, 0, dtype=torch.uint8)) is None


def test_a_file_of_other_classes_is_refused(kept: KeptAnswers, image: np.ndarray) -> None:
    from trtparse.data.images import write_png

    write_png(kept.path("a"), np.zeros((21, 4), np.uint8))
    with pytest.raises(DataError, match="21 rows"):
        kept.read("a")
