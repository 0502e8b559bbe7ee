"""People drawn by the computer, with their class of every pixel: data that may be shipped and needs no download.

Every image is made from a seed and a number, so that a dataset is two integers. The people have LIP's 20
classes, or those of another label set that LIP's become, and are cropped as LIP crops them; :func:`write_lip_layout`
writes them as LIP lays out its files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..specs.label_set import label_set
from ..specs.relabelling import Relabelling
from ..storage.files import check_output_folder, replace_bytes
from .dataset import IGNORE_LABEL, Image, LabelMap, Sample
from .people.head import Skull, face_points
from .people.person import random_posed_person
from .people.renderer import Light, View, sampled
from .people.scenery import ground_shadow, paste, photograph, random_background, random_occluder
from .people.skeleton import Skeleton
from .people.surface import Floats, Patch, floats, rotation, unit
from .people.walking import WalkingFigure

__all__ = ["SyntheticPeople", "WalkingFigure", "write_lip_layout"]

_MAX_HEIGHT, _MIN_HEIGHT, _MAX_WIDTH, _MIN_WIDTH = 420, 160, 320, 72
_RENDERED_PIXELS = 100_000  # bounds the time of a close-up; 2 x 2 samples per pixel below 25,000 pixels


@dataclass(frozen=True)
class _Framing:
    """Where the crop lies: ``left``, ``top`` in pixels of a projection with ``scale`` pixels per metre."""

    left: float
    top: float
    scale: float
    size: tuple[int, int]


class SyntheticPeople:
    """A :class:`~trtparse.data.dataset.Dataset` of drawn people.

    Sample ``i`` depends on the seed and ``i`` alone. Between major versions of OpenCV, whose drawing differs
    in a few pixels, images are alike but not equal to the bit.

    Args:
        count: number of samples.
        seed: not negative.
        relabelling: what LIP's classes become; they stay where not given.

    Attributes:
        label_set: what the ids mean.

    Example:
        >>> people = SyntheticPeople(3, seed=1)
        >>> people[2].name
        'synthetic_1_000002'
    """

    labelled = True

    def __init__(self, count: int, seed: int = 0, relabelling: Relabelling | None = None) -> None:
        if count < 0 or seed < 0:
            raise ValueError(f"count and seed must not be negative, got {count} and {seed}")
        self.seed = seed
        self.label_set = label_set("lip") if relabelling is None else relabelling.target
        self._becomes = None if relabelling is None else relabelling.table()
        self._names = tuple(f"synthetic_{seed}_{index:06d}" for index in range(count))
        self._last: tuple[int, tuple[Image, LabelMap]] | None = None

    @property
    def description(self) -> str:
        """One line for reports."""
        return f"{len(self)} synthetic people, seed {self.seed}"

    @property
    def names(self) -> Sequence[str]:
        """Unique, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """The sample at ``index``: an image of 160 to 420 by 72 to 320 pixels.

        Raises:
            IndexError: ``index`` is past the end.
        """
        image, labels = self._drawn(index)
        return Sample(self._names[index], image.copy(), labels.copy())

    def labels(self, index: int) -> LabelMap:
        """(H, W) uint8, ids of the label set, and 255 where a pixel counts nowhere."""
        return np.array(self._drawn(index)[1], np.uint8)

    def _drawn(self, index: int) -> tuple[Image, LabelMap]:
        """Image and labels; the last pair is kept, so that asking for both parts draws once."""
        index = range(len(self))[index]
        last = self._last  # looked at once: other threads draw other samples
        if last is None or last[0] != index:
            image, labels = draw_person(np.random.default_rng((self.seed, index)))
            last = self._last = (index, (image, labels if self._becomes is None else self._becomes[labels]))
        return last[1]


JOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""COCO's, in its order: what :meth:`Scene.joints` gives."""


@dataclass(frozen=True)
class Scene:
    """A posed person before a camera, not yet drawn.

    Args:
        skeleton, patches: of the person.
        framing: where the crop lies.
        turn: (3, 3) float32, the camera's rotation.
        light: on the person.
    """

    skeleton: Skeleton
    patches: Sequence[Patch]
    framing: _Framing
    turn: Floats
    light: Light

    @property
    def view(self) -> View:
        """The camera."""
        return View(self.turn, self.framing.scale, (-self.framing.left, -self.framing.top))

    def joints(self) -> Floats:
        """(17, 2) float32: x and y of ``JOINTS`` in pixels, centres at whole numbers; also beyond the image."""
        limbs = [np.stack([arm.joints for arm in self.skeleton.arms], 1).reshape(-1, 3)]
        limbs.append(np.stack([leg.joints for leg in self.skeleton.legs], 1).reshape(-1, 3))
        points = np.concatenate([face_points(Skull(self.skeleton)), *limbs])
        return floats(self.view.project(floats(points))[:, :2] - 0.5)

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of what the image has of the person, as if nothing stood before them."""
        flat = self.view.project(np.concatenate([patch.points.reshape(-1, 3) for patch in self.patches]))[:, :2]
        height, width = self.framing.size
        left, top = (max(float(value), 0.0) for value in flat.min(0))
        right, bottom = (min(float(value), limit) for value, limit in zip(flat.max(0), (width, height)))
        return left, top, right - left, bottom - top

    def draw(self, rng: np.random.Generator, *, alone: bool = False) -> tuple[Image, LabelMap]:
        """(H, W, 3) uint8, BGR, and (H, W) uint8, 0 to 19. Further people in the image are background.

        Args:
            rng: of everything around the person.
            alone: nobody else is in the image.
        """
        framing, light = self.framing, self.light
        feet = (self.skeleton.lowest() * -framing.scale) - framing.top
        image = random_background(rng, framing.size, int(feet - rng.uniform(0.02, 0.35) * framing.size[0]))
        if feet < framing.size[0] * 1.05:
            image = ground_shadow(image, (-framing.left, feet), 0.28 * framing.scale, float(rng.uniform(0, 0.6)))
        if rng.random() < 0.18 and not alone:
            image = _passer_by(rng, image, None, framing, light)[0]
        image, labels = paste(image, None, *sampled(self.patches, self.view, framing.size, light, _RENDERED_PIXELS))
        if rng.random() < 0.07 and not alone:
            image, labels = _passer_by(rng, image, labels, framing, light)
        if rng.random() < 0.25:
            image, labels = random_occluder(rng, image, labels)
        return photograph(rng, image), labels


def random_scene(rng: np.random.Generator) -> Scene:
    """Anybody, seen from anywhere."""
    person, pose = random_posed_person(rng)
    skeleton, patches = person.patches(pose)
    turn = random_view(rng)
    return Scene(skeleton, patches, _random_framing(rng, skeleton, patches, turn), turn, random_light(rng))


def draw_person(rng: np.random.Generator) -> tuple[Image, LabelMap]:
    """One crop of one person; see :meth:`Scene.draw`."""
    return random_scene(rng).draw(rng)


def random_light(rng: np.random.Generator) -> Light:
    """A lamp or sun from above, warm or cool, hard or soft."""
    across, up = float(rng.uniform(-1.1, 1.1)), float(rng.uniform(0.15, 1.2))
    direction = unit(floats([across, up, rng.uniform(0.35, 1.1)]))
    hard = float(rng.uniform(0.25, 0.8))
    warmth = float(rng.normal(0, 0.06))
    lamp = floats([1 - warmth, 1, 1 + warmth]) * hard * float(rng.uniform(1.15, 1.4))
    ambient = floats([1 + warmth, 1, 1 - warmth]) * (1.28 - 0.95 * hard)
    return Light(direction, lamp, ambient)


def random_view(rng: np.random.Generator) -> Floats:
    """The camera's rotation: frontal, three-quarter, side or back, a little from above or below."""
    side = float(rng.choice([-1, 1]))
    kind = float(rng.random())
    if kind < 0.42:
        yaw = float(rng.normal(0, 0.2))
    elif kind < 0.72:
        yaw = side * float(rng.uniform(0.4, 1.1))
    elif kind < 0.86:
        yaw = side * float(rng.uniform(1.1, 2.0))
    else:
        yaw = side * float(rng.uniform(2.0, np.pi))
    roll = float(rng.normal(0, 0.05))
    return np.asarray(rotation("z", roll) @ rotation("x", rng.normal(0.08, 0.12)) @ rotation("y", yaw), np.float32)


def _random_framing(rng: np.random.Generator, skeleton: Skeleton, patches: Sequence[Patch], turn: Floats) -> _Framing:
    """LIP's crops: the whole person, or cut below the hips, knees or chest, or at a side."""
    flat = View(turn, 1.0, (0.0, 0.0)).project(np.concatenate([patch.points.reshape(-1, 3) for patch in patches]))
    left, top = (float(value) for value in flat[:, :2].min(0))
    right, bottom = (float(value) for value in flat[:, :2].max(0))
    kind, body = float(rng.random()), skeleton.body
    head = body.head * body.height
    if kind > 0.58:
        lengths = (2.2, 3.2) if kind < 0.66 else (3.2, 4.6) if kind < 0.85 else (4.6, 6.2)
        chin_up = top + head * float(rng.uniform(*lengths))
        bottom = min(bottom, max(chin_up, top + 0.35 * (bottom - top)))
        seen = flat[flat[:, 1] < bottom]
        left, right = float(seen[:, 0].min()), float(seen[:, 0].max())
    if rng.random() < 0.15:
        cut = float(rng.uniform(0.1, 0.35)) * (right - left)
        left, right = (left + cut, right) if rng.random() < 0.5 else (left, right - cut)
    margin = rng.uniform(-0.015, 0.09, 4) * (bottom - top)
    left, right = left - float(margin[0]), right + float(margin[1])
    top, bottom = top - abs(float(margin[2])), bottom + float(margin[3]) * (kind <= 0.58)
    return _fitted(rng, left, top, max(right - left, 0.1), max(bottom - top, 0.1))


def _fitted(rng: np.random.Generator, left: float, top: float, wide: float, high: float) -> _Framing:
    """Choose the resolution and widen the crop until the image has a size that LIP has."""
    height = float(rng.uniform(_MIN_HEIGHT + 20, _MAX_HEIGHT))
    scale = min(height / high, _MAX_WIDTH / wide)
    width = min(max(wide * scale, _MIN_WIDTH), _MAX_WIDTH)
    height = max(high * scale, _MIN_HEIGHT)
    left -= (width / scale - wide) / 2
    top -= (height / scale - high) * 0.6
    return _Framing(left * scale, top * scale, scale, (round(height), round(width)))


def _passer_by(
    rng: np.random.Generator, image: Image, labels: LabelMap | None, framing: _Framing, light: Light
) -> tuple[Image, LabelMap]:
    """Somebody else, at the border of the image: background, before or behind the person."""
    person, pose = random_posed_person(rng)
    _, patches = person.patches(pose)
    height, width = framing.size
    scale = framing.scale * float(rng.uniform(0.6, 1.0)) if labels is None else framing.scale * 1.1
    side = float(rng.choice([-0.1, 1.1])) + float(rng.normal(0, 0.08))
    view = View(random_view(rng), scale, (side * width, -framing.top + float(rng.normal(0, 0.03)) * height))
    layer = sampled(patches, view, framing.size, light, most=height * width * 2)
    return paste(image, labels, *layer, unlabelled=True)


def write_lip_layout(
    folder: Path,
    train: int,
    val: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    relabelling: Relabelling | None = None,
) -> None:
    """Write synthetic people in LIP's official layout.

    ``TrainVal_images/{train_images,val_images}/*.jpg`` with ``train_id.txt`` and ``val_id.txt``, and
    ``TrainVal_parsing_annotations/{train,val}_segmentations/*.png``. The two halves share no image.

    Args:
        train, val: numbers of images.
        progress: called with (images written, images in all) after each.
        relabelling: what LIP's classes become; they stay where not given.

    Raises:
        UsageError: the folder cannot be written.
        MachineError: the disk is full.
    """
    # Odd and even seeds keep the halves of all calls apart.
    halves = (
        ("train", SyntheticPeople(train, 2 * seed, relabelling)),
        ("val", SyntheticPeople(val, 2 * seed + 1, relabelling)),
    )
    done = 0
    for half, people in halves:
        if len(people) == 0:
            continue
        images = folder / "TrainVal_images" / f"{half}_images"
        masks = folder / "TrainVal_parsing_annotations" / f"{half}_segmentations"
        check_output_folder(images)
        check_output_folder(masks)
        for index, name in enumerate(people.names):
            _write_image(images / f"{name}.jpg", people[index].image)
            labels = people.labels(index)
            labels[labels == IGNORE_LABEL] = people.label_set.ignore
            _write_image(masks / f"{name}.png", labels)
            done += 1
            if progress is not None:
                progress(done, train + val)
        text = "".join(f"{name}\n" for name in people.names)
        replace_bytes(folder / "TrainVal_images" / f"{half}_id.txt", text.encode())


def _write_image(path: Path, pixels: Image | LabelMap) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    replace_bytes(path, cv2.imencode(path.suffix, pixels, options)[1].tobytes())
