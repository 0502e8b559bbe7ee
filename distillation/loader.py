"""Batches for training: which image comes when, augmented and prepared ahead of the step that needs it.

Every choice is a function of (seed, position), so a run that was killed and resumed sees the batches it would
have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import IGNORE_LABEL, Box, Dataset, Image, LabelMap
from ..data.reading import called_ahead
from ..engines.base import Frames
from ..tasks.parsing.augmentation import Augmentation, Geometry, Placing
from ..tasks.parsing.task import LabelMaps
from .kept_answers import STRIDE, KeptAnswers
from .limbs import BACKGROUND, LIMBS, LimbMaps, person_box
from .scenes import Backgrounds, Scene, random_window

UNLABELLED = IGNORE_LABEL - 1
"""What :class:`Batch` has for pixels of a photograph without labels, to tell them from those outside of it.

It is no class's id: a label set to train on has at most so many classes."""

_RARE_PIXELS = 30
"""A class with fewer pixels in a label map does not count as being in it."""


@dataclass(frozen=True)
class Part:
    """Images of one source.

    Args:
        dataset: where they are.
        weight: how often one of them comes, against one of weight 1.
        labels: whether their labels are used.
        empty: nobody is in them; everything is background.
        limbs: their maps of limbs; None where nobody made any.
        answers: a teacher's, of them; None where it was not asked.
    """

    dataset: Dataset
    weight: float = 1.0
    labels: bool = True
    empty: bool = False
    limbs: LimbMaps | None = None
    answers: KeptAnswers | None = None


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Args:
        names: of the images, for messages.
        frames: (N, H, W, 3) uint8, BGR.
        labels: (N, H, W) uint8: classes, 255 outside of the photograph and where its labels say ignore, and
            ``UNLABELLED`` where a photograph has no labels.
        limbs: (N, H, W) uint8: maps of limbs, 255 where they say nothing.
        answers: (N, C, H / 4, W / 4) uint8: a teacher's probabilities, 255 for 1; 0 for every class where it was not
            asked. C is 0 where nobody's answers were kept.
    """

    names: tuple[str, ...]
    frames: Frames
    labels: LabelMaps
    limbs: LabelMaps
    answers: NDArray[np.uint8]


class Order:
    """Which image comes at which position: all in one epoch, as often as their weights say, shuffled.

    With weights of 1 every image comes once per epoch.

    Args:
        weights: (n,) float, positive.
        seed: of the order; each epoch has its own.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int) -> None:
        # Normalised by the smallest weight: no image is left out of an epoch.
        self._ends = np.cumsum(weights / weights.min())
        self._seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def epoch_length(self) -> int:
        """Images in an epoch."""
        return max(round(float(self._ends[-1])), 1)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.epoch_length)
        if epoch != self._epoch:
            rng = np.random.default_rng((self._seed, epoch, 1))
            # Systematic sampling: each image comes floor or ceil of its share, at the right rate over the epochs.
            points = (np.arange(self.epoch_length) + rng.random()) * (self._ends[-1] / self.epoch_length)
            chosen = np.minimum(np.searchsorted(self._ends, points, side="right"), len(self._ends) - 1)
            self._epoch, self._order = epoch, rng.permutation(chosen)
        return int(self._order[place])


def repeat_factors(parts: Sequence[Part], share: float) -> NDArray[np.float64]:
    """Weight of every image: its part's, more where it shows a rare class.

    An image's factor is max(1, sqrt(share / f)) over its classes, f being the share of labelled images that show
    the class (Gupta, Dollár and Girshick, "LVIS", CVPR 2019). Reads every label map, unless ``share`` is 0. Where
    nobody labelled anything, all of a part's images weigh alike.

    Returns:
        (n,) float64, in the order of the parts.
    """
    weights = np.concatenate([np.full(len(part.dataset), part.weight) for part in parts])
    if share <= 0 or not any(part.labels for part in parts):
        return weights
    classes = max(len(part.dataset.label_set) for part in parts if part.labels)
    shown = np.zeros((len(weights), classes), np.bool_)
    labelled = np.zeros(len(weights), np.bool_)
    start = 0
    for part in parts:
        for index in range(len(part.dataset) if part.labels else 0):
            counts = np.bincount(part.dataset.labels(index).ravel(), minlength=256)[:classes]
            shown[start + index] = counts >= _RARE_PIXELS
            labelled[start + index] = True
        start += len(part.dataset)
    frequency = shown[labelled].mean(0)
    factors = np.sqrt(share / np.maximum(frequency, 1 / max(labelled.sum(), 1)))
    return weights * np.maximum(np.where(shown, factors, 0).max(1), 1)  # type: ignore[no-any-return]


class Loader:
    """Batches in order, prepared ahead on one thread.

    Args:
        parts: where the images are; those with labels are of one label set.
        weights: as of :func:`repeat_factors`.
        batch: images in one.
        geometry: of the samples.
        seed: of order and augmentation.
        first, last: the steps to prepare batches for, ``last`` excluded.
        backgrounds: what people may be put before.
        pasted: probability that they are.
    """

    ahead = 4

    def __init__(
        self,
        parts: Sequence[Part],
        weights: NDArray[np.float64],
        augmentation: Augmentation,
        batch: int,
        geometry: Geometry,
        seed: int,
        first: int,
        last: int,
        backgrounds: Backgrounds | None = None,
        pasted: float = 0.0,
    ) -> None:
        self._parts, self._augment = parts, augmentation
        self._backgrounds, self._pasted = backgrounds, pasted
        self._classes = max((len(part.answers.label_set) for part in parts if part.answers is not None), default=0)
        self._batch, self._geometry, self._seed = batch, geometry, seed
        self._flip_tables = [part.dataset.label_set.flip_table() for part in parts]
        self._starts = np.cumsum([0] + [len(part.dataset) for part in parts])
        self._order = Order(weights, seed)
        # One thread here and torch's own in the step: OpenCV's pool on top of both only gets in their way.
        cv2.setNumThreads(1)
        self._batches = called_ahead(self._prepare, range(first, last), self.ahead, readers=1)

    def next(self) -> Batch:
        """The next step's batch.

        Raises:
            DataError: an image or a label map cannot be read; the message names the file.
        """
        return next(self._batches)

    def _prepare(self, step: int) -> Batch:
        positions = range(step * self._batch, (step + 1) * self._batch)
        names, frames, labels, limbs, answers = zip(*(self._item(position) for position in positions))
        return Batch(names, np.stack(frames), np.stack(labels), np.stack(limbs), np.stack(answers))

    def _item(self, position: int) -> tuple[str, Image, LabelMap, LabelMap, NDArray[np.uint8]]:
        index = self._order[position]
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        part = self._parts[number]
        sample = part.dataset[index - int(self._starts[number])]
        size = (sample.image.shape[0], sample.image.shape[1])
        labels = sample.labels if part.labels else None
        limbs = np.full(size, IGNORE_LABEL, np.uint8) if part.limbs is None else part.limbs.read(sample.name, size)
        if part.empty:
            labels = limbs = np.full(size, BACKGROUND, np.uint8)
        known = labels if labels is not None else limbs if part.limbs is not None else None
        if labels is None:
            labels = np.full(size, UNLABELLED, np.uint8)
        scene = Scene(sample.image, labels, limbs)
        rng = np.random.default_rng((self._seed, position))
        # What a recipe does not ask for draws nothing, so its samples are those of versions that could not do it.
        behind = None if part.empty or self._pasted == 0 else self._backgrounds
        if behind is not None and known is not None and rng.random() < self._pasted:
            scene = behind.behind(scene, known, rng)
        window = self._window(part, scene, rng)
        placing = self._augment.place((scene.image.shape[0], scene.image.shape[1]), self._geometry, rng, window)
        answers = self._answers(part, sample.name, size, placing, scene.corner)
        frame = self._augment.colour(placing.frame(scene.image), rng)
        seen = placing.labels(scene.labels, self._flip_tables[number])
        return sample.name, frame, seen, placing.labels(scene.limbs, LIMBS.flip_table()), answers

    def _window(self, part: Part, scene: Scene, rng: np.random.Generator) -> Box | None:
        """What of a scene is to be seen, where it is not all of it."""
        height, width = self._geometry.sample_size
        if part.empty:
            return random_window((scene.image.shape[0], scene.image.shape[1]), width / height, rng)
        if self._augment.boxes == 0 or rng.random() >= self._augment.boxes:
            return None
        told = scene.limbs if (scene.labels == UNLABELLED).any() else scene.labels
        person = person_box(told)
        return None if person is None else self._augment.box(person, rng)

    def _answers(
        self, part: Part, name: str, size: tuple[int, int], placing: Placing, corner: tuple[int, int]
    ) -> NDArray[np.uint8]:
        if part.answers is None:
            height, width = self._geometry.sample_size
            return np.zeros(
                (self._classes, height // STRIDE, width // STRIDE) if self._classes else (0, 0, 0), np.uint8
            )
        return part.answers.placed(part.answers.read(name), size, placing, corner)

    def close(self) -> None:
        self._batches.close()
