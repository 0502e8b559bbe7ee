"""Other surroundings: people of a photograph on photographs of nobody, and parts of those by themselves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..data.dataset import IGNORE_LABEL, Box, Image, Images, LabelMap
from .limbs import BACKGROUND

_ROOM = (1.0, 1.7)
"""How many times as high and as wide as the photograph a scene is."""

_LEAST_PART = 0.3
"""Of a background's sides, that is seen of it."""

_SOFT = 1.2
"""Standard deviation in pixels of the seam between a person and another background."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph as training takes it.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) uint8.
        limbs: (H, W) uint8, a map of limbs.
        corner: (x, y) of the photograph that it was made of.
    """

    image: Image
    labels: LabelMap
    limbs: LabelMap
    corner: tuple[int, int] = (0, 0)


class Backgrounds:
    """Photographs with nobody in them, to stand behind people.

    Args:
        images: of nobody.
    """

    def __init__(self, images: Images) -> None:
        self._images = images

    def behind(self, scene: Scene, whole: LabelMap, rng: np.random.Generator) -> Scene:
        """The people of a scene before another background, in a larger image.

        Args:
            scene: a photograph.
            whole: (H, W) uint8: 0 is what is cut away; a label map, or a map of limbs.
            rng: all randomness comes from here.

        Returns:
            The scene; around and beside the people its labels are background where the scene's had any.
        """
        height, width = whole.shape
        rows, columns = (round(side * rng.uniform(*_ROOM)) for side in (height, width))
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        here = np.s_[top : top + height, left : left + width]
        canvas = self._part(rows, columns, rng)
        kept = (whole != BACKGROUND).astype(np.float32)
        soft = cv2.GaussianBlur(kept, (0, 0), _SOFT)[..., None]
        canvas[here] = np.rint(soft * scene.image + (1 - soft) * canvas[here]).astype(np.uint8)
        planes = []
        for plane in (scene.labels, scene.limbs):
            known = bool((plane != IGNORE_LABEL).any())
            around = np.full((rows, columns), BACKGROUND if known else IGNORE_LABEL, np.uint8)
            around[here] = np.where(kept > 0, plane, around[here])
            planes.append(around)
        return Scene(canvas, planes[0], planes[1], (left, top))

    def _part(self, rows: int, columns: int, rng: np.random.Generator) -> Image:
        """A part of some background, of (rows, columns) pixels."""
        image = self._images[int(rng.integers(len(self._images)))].image
        left, top, width, height = random_window((image.shape[0], image.shape[1]), columns / rows, rng)
        part = image[int(top) : int(top + height) + 1, int(left) : int(left + width) + 1]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        shrinks = part.shape[0] > rows or part.shape[1] > columns
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.array(cv2.resize(np.ascontiguousarray(part), (columns, rows), interpolation=how), np.uint8)


def random_window(image_size: tuple[int, int], shape: float, rng: np.random.Generator) -> Box:
    """Some part of an image: left, top, width, height.

    Args:
        image_size: (height, width).
        shape: width for one of height.
        rng: all randomness comes from here.
    """
    height, width = image_size
    high = min(height, width / shape) * float(np.exp(rng.uniform(np.log(_LEAST_PART), 0)))
    wide = high * shape
    return float(rng.uniform(0, width - wide)), float(rng.uniform(0, height - high)), wide, high
