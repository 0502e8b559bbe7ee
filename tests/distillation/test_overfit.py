from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.cli import main
from trtparse.data.dataset import Image, LabelMap, Sample
from trtparse.data.images import write_png
from trtparse.data.letterbox import Letterbox
from trtparse.data.synthetic import SyntheticPeople

SIZE, STRIDE = (128, 96), 4

STILL = "{scale=[1.0, 1.0], rotation=0, shift=0, aspect=1, flip=0, brightness=0, contrast=0, saturation=0, tint=0, "
STILL += "grey=0, soften=0, noise=0, erase=0}"


def drawable(sample: Sample) -> tuple[Image, LabelMap]:
    """A person at the network's size, labelled with what logits at a quarter of it can draw.

    Outlines finer than that would cap the score: with them the same run ends at a mIoU of 77.
    """
    assert sample.labels is not None
    box = Letterbox.fit((sample.image.shape[0], sample.image.shape[1]), SIZE, 1.0)
    labels = np.zeros(SIZE, np.uint8)
    inside = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    labels[inside] = cv2.resize(sample.labels, (box.width, box.height), interpolation=cv2.INTER_NEAREST)
    cells = cv2.resize(labels, (SIZE[1] // STRIDE, SIZE[0] // STRIDE), interpolation=cv2.INTER_NEAREST_EXACT)
    planes = [
        cv2.resize((cells == number).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        for number in range(20)
    ]
    return box.apply(sample.image), np.argmax(planes, axis=0).astype(np.uint8)


@pytest.mark.slow
def test_eight_images_are_learnt_by_heart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = SyntheticPeople(8, seed=5)
    for split in ("train", "val"):
        for kind in ("images", "segmentations"):
            (tmp_path / f"{split}_{kind}").mkdir()
        for index in range(8):
            image, labels = drawable(people[index])
            write_png(tmp_path / f"{split}_images" / f"{index}.png", image)
            write_png(tmp_path / f"{split}_segmentations" / f"{index}.png", labels)
    options = ["--input-size", "128x96", "--batch", "8", "--steps", "160", "--validate-every", "40"]
    options += ["--learning-rate", "3e-3", "--output", str(tmp_path / "run"), "--json"]
    settings = [f"augmentation={STILL}", "optimizer.warm_up=10", "optimizer.average=0.9", "optimizer.weight_decay=0"]
    settings += ["loss.lovasz=1"]
    main(["train", "--data", str(tmp_path), *options, *(word for value in settings for word in ("--set", value))])
    assert json.loads(capsys.readouterr().out)["mean_iou"] > 0.95
