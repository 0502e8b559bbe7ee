"""A finder that needs no training, and pictures in which it finds whom it should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trtparse.tasks.people.boxes import Detections
from trtparse.tasks.people.found import Found, write_found

SIZE = (64, 96)
WIDE, HIGH = 16, 32
"""Pixels of a bright figure."""


def bright_finder() -> Any:
    """A finder whose one channel that is not 0 carries brightness, and whose boxes are all of 16 x 32 pixels."""
    import torch

    from trtparse.networks.finder import STRIDE, ConvNorm, Finder, FinderSpec

    network = Finder(FinderSpec(people=6, widths=(4, 4, 4, 4, 4), neck=4)).eval()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            if parameter.ndim == 4:
                parameter.fill_(1e-6 * number)  # next to nothing, and no two alike: equal weights become one tensor
        for layer in (network.conv1, network.level4[0], network.level8[0]):
            layer[0].weight[0, : 3 if layer is network.conv1 else 1] = 1 / 9
        for layer in (network.side8, network.merge8, network.head):
            assert isinstance(layer, ConvNorm)
            side = layer[0].weight.shape[-1] // 2
            layer[0].weight[0, 0, side, side] = 1.0
        network.answer.weight[0, 0] = 1.2
        across, down = math.log(WIDE / 2 / STRIDE), math.log(HIGH / 2 / STRIDE)
        network.answer.bias.copy_(torch.tensor([-4.0, across, down, across, down]))
    return network


def street(*middles: tuple[int, int]) -> np.ndarray:
    """(64, 96, 3) uint8: a bright figure around each (x, y), on dark ground."""
    frame = np.full((*SIZE, 3), 40, np.uint8)
    for x, y in middles:
        frame[y - HIGH // 2 : y + HIGH // 2, x - WIDE // 2 : x + WIDE // 2] = 235
    return frame


def boxes_around(*middles: tuple[int, int]) -> np.ndarray:
    """(n, 4) float64."""
    found = [(x - WIDE / 2, y - HIGH / 2, x + WIDE / 2, y + HIGH / 2) for x, y in middles]
    return np.array(found, np.float64).reshape(-1, 4)


PLACES = [[(20, 36)], [(28, 28), (68, 36)], [(44, 36)], [], [(20, 28), (76, 28)], [(52, 44)]]


def write_streets(folder: Path) -> Path:
    """Six pictures with COCO's boxes of the people in them; the file of boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, middles in enumerate(PLACES):
        path = folder / f"street-{number}.png"
        path.write_bytes(cv2.imencode(".png", street(*middles))[1].tobytes())
        found.append(Found(path, SIZE, Detections(boxes_around(*middles), np.ones(len(middles)))))
    write_found(folder / "boxes.json", found, folder, "bright figures")
    return folder / "boxes.json"
