"""A network's answers to people whose boxes are given."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.crops import apply, crop_matrix, cut, inverse
from ...networks.pose import PoseNetwork
from ...networks.preprocessing import normalise
from ...specs.decoding import Decoding
from ...specs.framing import Framing
from ...specs.skeleton import Skeleton
from ...tasks.pose.decoding import decode
from ...tasks.pose.people import People
from ..optimising import Precision
from .loader import Album


def answers(
    network: PoseNetwork,
    people: People,
    album: Album,
    framing: Framing,
    decoding: Decoding,
    precision: Precision,
    *,
    flip: Skeleton | None = None,
    batch: int = 25,
) -> NDArray[np.float32]:
    """What a network says of people whose boxes are given.

    Args:
        network: in evaluation mode.
        people: boxes and images.
        album: reads the images.
        framing: of the crops that the network sees.
        decoding: of its heatmaps.
        precision: of the forward pass.
        flip: the network's skeleton, to average with the answers to the mirror image; None: do not.
        batch: people at once.

    Returns:
        (N, K, 3) float32: x and y in pixels of the image, score.
    """
    device = next(network.parameters()).device
    assert framing.crop is not None, "a pose network sees people"
    size = framing.input_size
    results = []
    for start in range(0, len(people), batch):
        chosen = people.people[start : start + batch]
        matrices = [crop_matrix(person.box, size, framing.crop) for person in chosen]
        frames = np.stack([cut(album.read(p), matrix, size) for p, matrix in zip(chosen, matrices)])
        heatmaps = _heatmaps(network, torch.from_numpy(frames).to(device), precision)
        if flip is not None:
            mirrored = _heatmaps(network, torch.from_numpy(frames[:, :, ::-1].copy()).to(device), precision)
            heatmaps = (heatmaps + mirrored.flip(3)[:, list(flip.flip_order)]) / 2
        points = decode(heatmaps.cpu().numpy(), decoding)
        for matrix, found in zip(matrices, points):
            results.append(np.column_stack([apply(inverse(matrix), found[:, :2]), found[:, 2]]))
    return np.asarray(results, np.float32)


def _heatmaps(network: PoseNetwork, frames: Tensor, precision: Precision) -> Tensor:
    with torch.inference_mode(), precision.autocast():
        images = normalise(frames).contiguous(memory_format=torch.channels_last)
        return network.heatmaps(images).float()
