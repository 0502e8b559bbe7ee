"""The head: skull, nose, ears, and a face painted on it.

Heights ``y`` are in head lengths, 0 at the chin and 1 at the crown; azimuths are 0 at the nose and
positive to the person's left, radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .fabric import Colour, Fabric, plain
from .skeleton import Body, Skeleton
from .surface import Floats, Material, Paint, Patch, ellipsoid, floats, full_turn, smooth_curve, tube

FACE, SUNGLASSES = 13, 4

_PROFILE = np.array(  # height, half-width, front, back, in head lengths
    [
        (-0.03, 0.030, 0.330, 0.240),
        (0.00, 0.115, 0.385, 0.120),
        (0.06, 0.190, 0.400, -0.020),
        (0.14, 0.250, 0.400, -0.140),
        (0.24, 0.290, 0.400, -0.250),
        (0.36, 0.322, 0.400, -0.340),
        (0.50, 0.345, 0.398, -0.420),
        (0.62, 0.352, 0.405, -0.455),
        (0.75, 0.335, 0.380, -0.450),
        (0.86, 0.282, 0.305, -0.390),
        (0.94, 0.195, 0.195, -0.290),
        (0.985, 0.100, 0.070, -0.170),
        (1.00, 0.002, -0.058, -0.062),
    ]
)

_FACE_SIDE = 192  # texels of the painted face
_EYE = 0.42  # azimuth of the left eye's middle, radians
_FACE_REACH = 1.8  # azimuth at the edge of the painted face, radians


@dataclass(frozen=True)
class Skull:
    """Where the surface of the head lies in the world."""

    skeleton: Skeleton
    jaw: float = 1.0

    @property
    def length(self) -> float:
        """Chin to crown, metres."""
        return self.skeleton.body.head * self.skeleton.body.height

    def place(self, local: Floats) -> Floats:
        """(..., 3) head lengths (left, up from the chin, forward) to metres in the person's frame."""
        return np.asarray(local @ self.skeleton.head_frame.T * self.length + self.skeleton.head, np.float32)

    def surface(self, y: Floats, azimuth: Floats, thickness: Floats | float = 0.0) -> Floats:
        """Points above the skin.

        Args:
            y, azimuth: of the same shape; heights are kept within the head.
            thickness: head lengths above the skin.

        Returns:
            (..., 3) head lengths.
        """
        shape = smooth_curve(y.ravel(), _PROFILE[:, 0], _PROFILE[:, 1:]).reshape(*y.shape, 3)
        width, front, back = shape[..., 0], shape[..., 1], shape[..., 2]
        child = self.skeleton.body.age_scale - 1
        width = floats(width * (1 + (self.jaw - 1) * np.clip(1 - y * 2, 0, 1)) * (1 + 0.12 * child))
        sin, cos = np.sin(azimuth), np.cos(azimuth)
        sin, cos = np.sign(sin) * np.abs(sin) ** 0.9, np.sign(cos) * np.abs(cos) ** 0.9
        top = np.clip((y - 0.6) / 0.4, 0, 1)
        beside = thickness * (1 - 0.5 * top - 0.5 * top**12)  # nothing at the crown itself, where the surface closes
        x = (width + beside) * sin
        z = (front + back) / 2 + ((front - back) / 2 + beside) * cos
        return np.stack([x, y + thickness * top**2, z], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class FaceMaterial:
    """A painted face.

    Args:
        tile: (side, side, 3) float32, BGR; columns are azimuths, the first row is the crown.
        labels: (side, side) uint8, LIP-20.
    """

    tile: Floats
    labels: NDArray[np.uint8]
    gloss: float

    def paint(self, along: Floats, around: Floats) -> Paint:
        """Colours and classes; ``along`` is the height, ``around`` the azimuth."""
        column, row = _texel(around, along)
        column = np.clip(column, 0, _FACE_SIDE - 1).astype(np.int32)
        row = np.clip(row, 0, _FACE_SIDE - 1).astype(np.int32)
        relief = np.zeros(len(along), np.float32)
        return Paint(self.tile[row, column], self.labels[row, column], relief, self.gloss)


def _texel(azimuth: Floats, y: Floats) -> tuple[Floats, Floats]:
    return (azimuth / (2 * _FACE_REACH) + 0.5) * _FACE_SIDE, (1 - y) * _FACE_SIDE


def ear(skull: Skull, side: int) -> Floats:
    """(3,) metres: the middle of an ear; ``side`` is +1 for the person's left."""
    wide = 0.345 * (1 + 0.12 * (skull.skeleton.body.age_scale - 1))
    return skull.place(floats([side * wide, 0.43, -0.05]))


def face_points(skull: Skull) -> Floats:
    """(5, 3) metres: the nose's tip, left eye, right eye, left ear, right ear."""
    y = np.full(2, eye_height(skull.skeleton.body), np.float32)
    eyes = skull.place(skull.surface(y, floats([_EYE, -_EYE])))
    nose = skull.place(floats([0, 0.345, 0.47]))
    return np.stack([nose, *eyes, ear(skull, 1), ear(skull, -1)])


def head_patches(skull: Skull, face: Material, skin: Fabric) -> list[Patch]:
    """The head with nose and ears; the neck and hair are others' work."""
    y = np.concatenate([[-0.03, 0.0], np.linspace(0.05, 0.9, 15), [0.95, 0.98, 1.0]]).astype(np.float32)
    angles = full_turn(24)
    along, around = (np.asarray(grid, np.float32) for grid in np.meshgrid(y, angles, indexing="ij"))
    centres = np.stack([np.zeros_like(y), y, np.full_like(y, 0.05)], axis=1)
    centres[:2, 2] = (0.28, 0.25)
    head = Patch(skull.place(skull.surface(along, around)), along, around, skull.place(centres), face)
    flesh = plain(FACE, skin, girth=0.05)
    nose = floats([(0, 0.53, 0.375), (0, 0.45, 0.405), (0, 0.36, 0.445), (0, 0.325, 0.41)])
    radius = floats([0.026, 0.033, 0.046, 0.042]) * skull.length
    side = skull.skeleton.head_frame[:, 0]
    patches = [head, tube(skull.place(nose), side, radius, flesh, columns=8)]
    for sign in (1, -1):
        centre = ear(skull, sign)
        radii = (0.028 * skull.length, 0.105 * skull.length, 0.065 * skull.length)
        patches.append(ellipsoid(centre, skull.skeleton.head_frame, radii, flesh))
    return patches


@dataclass(frozen=True)
class FaceLook:
    """What is painted on a face.

    Args:
        skin, hair: colours.
        lips: how red the lips are, 0 to 1.
        smile: -1 sad to 1 laughing; above 0.5 the teeth show.
        stubble: 0 to 1, a beard's density.
        brow: thickness of the eyebrows, 0 to 1.
        glasses: "none", "clear" or "sun".
        eyes: height of the eyes, 0.5 for adults, lower for children.
        aged: depth of the lines, 0 to 1.
    """

    skin: Colour
    hair: Colour
    lips: float = 0.3
    smile: float = 0.0
    stubble: float = 0.0
    brow: float = 0.5
    glasses: str = "none"
    eyes: float = 0.5
    aged: float = 0.0


def random_face(rng: np.random.Generator, skin: Colour, hair: Colour, skeleton: Skeleton, glasses: str) -> FaceLook:
    """A face that suits the body."""
    body = skeleton.body
    grown_man = not body.female and body.age_scale < 1.15
    bearded = grown_man and rng.random() < 0.4
    return FaceLook(
        skin=skin,
        hair=hair,
        lips=float(rng.uniform(0.3, 1.0) if body.female else rng.uniform(0.1, 0.35)),
        smile=float(rng.uniform(-0.4, 1.0)),
        stubble=float(rng.uniform(0.15, 1.0)) if bearded else 0.0,
        brow=float(rng.uniform(0.2, 0.7) if body.female else rng.uniform(0.4, 1.0)),
        glasses=glasses,
        eyes=eye_height(body),
        aged=float(rng.uniform(0.5, 1.0)) if body.old else float(rng.uniform(0, 0.25)),
    )


def eye_height(body: Body) -> float:
    """Head lengths above the chin: the middle for adults, lower for children."""
    return 0.5 - 0.1 * float(np.clip(body.age_scale - 1, 0, 0.6))


class _Canvas:
    """Draws on a face in azimuth and height; soft strokes are blended in."""

    def __init__(self, skin: Colour) -> None:
        self.tile = np.full((_FACE_SIDE, _FACE_SIDE, 3), skin, np.float32)
        self._skin = np.asarray(skin, np.float32)

    def shade(self, factor: float) -> Floats:
        """The skin's colour, darker or lighter."""
        return floats(np.clip(self._skin * factor, 0, 255))

    def blend(self, mask: NDArray[np.uint8], colour: Floats | Colour, amount: float, soft: float) -> None:
        """Lay a colour over the mask, blurred by ``soft`` texels."""
        left, top, width, height = cv2.boundingRect(mask)
        pad = int(3 * soft) + 1
        window = (slice(max(top - pad, 0), top + height + pad), slice(max(left - pad, 0), left + width + pad))
        weight = mask[window].astype(np.float32) * np.float32(amount / 255)
        if soft > 0:
            weight = floats(cv2.GaussianBlur(weight, (0, 0), soft))
        self.tile[window] += (np.asarray(colour, np.float32) - self.tile[window]) * weight[..., None]

    @staticmethod
    def ellipse(azimuth: float, y: float, wide: float, high: float, angle: float = 0.0) -> NDArray[np.uint8]:
        """A filled ellipse of half-axes ``wide`` (radians) and ``high`` (head lengths)."""
        mask = np.zeros((_FACE_SIDE, _FACE_SIDE), np.uint8)
        column, row = _texel(floats(azimuth), floats(y))
        axes = (max(round(wide / (2 * _FACE_REACH) * _FACE_SIDE * 16), 8), max(round(high * _FACE_SIDE * 16), 8))
        centre = (round(float(column) * 16), round(float(row) * 16))
        cv2.ellipse(mask, centre, axes, angle, 0, 360, 255, -1, cv2.LINE_AA, 4)
        return mask

    @staticmethod
    def stroke(points: list[tuple[float, float]], thickness: int) -> NDArray[np.uint8]:
        """A polyline through (azimuth, height) points; ``thickness`` in texels."""
        mask = np.zeros((_FACE_SIDE, _FACE_SIDE), np.uint8)
        azimuths, heights = floats(points).T
        column, row = _texel(azimuths, heights)
        line = np.round(np.stack([column, row], 1) * 16).astype(np.int32)
        cv2.polylines(mask, [line], False, 255, thickness, cv2.LINE_AA, 4)
        return mask


def paint_face(look: FaceLook, gloss: float) -> FaceMaterial:
    """Paint a face's features."""
    canvas = _Canvas(look.skin)
    blush = (look.skin[0] * 0.78, look.skin[1] * 0.78, min(look.skin[2] * 1.02, 255.0))
    for sign in (1, -1):
        canvas.blend(canvas.ellipse(sign * 0.62, 0.34, 0.28, 0.07), blush, 0.45, 5)
        canvas.blend(canvas.ellipse(sign * 0.42, look.eyes + 0.015, 0.3, 0.055), canvas.shade(0.72), 0.5, 4)
        lines = canvas.stroke([(sign * 0.2, 0.36), (sign * 0.36, 0.22)], 2)
        canvas.blend(lines, canvas.shade(0.6), 0.25 + 0.5 * look.aged, 1.5)
        canvas.blend(canvas.ellipse(sign * 0.10, 0.315, 0.05, 0.014), canvas.shade(0.4), 0.8, 1)
        _paint_eye(canvas, look, sign)
    for k in range(3):
        forehead = canvas.stroke([(-0.45, 0.68 + 0.04 * k), (0.45, 0.68 + 0.04 * k)], 1)
        canvas.blend(forehead, canvas.shade(0.7), 0.5 * look.aged, 1)
    _paint_beard(canvas, look)
    _paint_mouth(canvas, look)
    labels = np.full((_FACE_SIDE, _FACE_SIDE), FACE, np.uint8)
    if look.glasses != "none":
        _paint_glasses(canvas, look, labels)
    return FaceMaterial(np.clip(canvas.tile, 0, 255), labels, gloss)


def _paint_eye(canvas: _Canvas, look: FaceLook, sign: int) -> None:
    y = look.eyes
    canvas.blend(canvas.ellipse(sign * _EYE, y, 0.19, 0.026), (225.0, 228.0, 232.0), 0.85, 0.5)
    canvas.blend(canvas.ellipse(sign * 0.41, y + 0.002, 0.085, 0.026), (25.0, 35.0, 45.0), 0.95, 0.5)
    lid = [(sign * 0.22, y - 0.004), (sign * 0.32, y + 0.026), (sign * 0.48, y + 0.03), (sign * 0.63, y + 0.002)]
    canvas.blend(canvas.stroke(lid, 2), (20.0, 20.0, 25.0), 0.8, 0.5)
    arch = [(sign * 0.17, y + 0.075), (sign * 0.42, y + 0.105), (sign * 0.68, y + 0.075)]
    dark = np.minimum(np.asarray(look.hair, np.float32) * 0.8, canvas.shade(0.55))
    canvas.blend(canvas.stroke(arch, 2 + round(2.5 * look.brow)), dark, 0.5 + 0.45 * look.brow, 0.8)


def _paint_mouth(canvas: _Canvas, look: FaceLook) -> None:
    red = floats([look.skin[0] * 0.62, look.skin[1] * 0.58, look.skin[2] * 0.9])
    red = red * (1 - 0.4 * look.lips) + floats([60, 40, 165]) * (0.4 * look.lips)
    wide, curve = 0.3 + 0.08 * look.smile, 0.022 * look.smile
    canvas.blend(canvas.ellipse(0, 0.195, wide * 0.85, 0.026), red, 0.85, 1)
    if look.smile > 0.5:
        canvas.blend(canvas.ellipse(0, 0.197, wide * 0.75, 0.016), (40.0, 35.0, 90.0), 0.9, 0.5)
        canvas.blend(canvas.ellipse(0, 0.202, wide * 0.66, 0.010), (225.0, 232.0, 236.0), 0.95, 0.5)
    else:
        line = [(-wide, 0.197 + curve), (0.0, 0.195), (wide, 0.197 + curve)]
        canvas.blend(canvas.stroke(line, 1), canvas.shade(0.4), 0.8, 0.5)
    canvas.blend(canvas.ellipse(0, 0.145, 0.22, 0.012), canvas.shade(0.75), 0.4, 2)


def _paint_beard(canvas: _Canvas, look: FaceLook) -> None:
    if look.stubble <= 0:
        return
    mask = canvas.ellipse(0, 0.02, 1.15, 0.24)
    mask = np.maximum(mask, canvas.ellipse(0, 0.255, 0.36, 0.02))
    mask[canvas.ellipse(0, 0.195, 0.27, 0.03) > 0] = 0
    for sign in (1, -1):
        mask = np.maximum(mask, canvas.stroke([(sign * 1.15, 0.1), (sign * 1.35, 0.5)], 12))
    dark = np.minimum(np.asarray(look.hair, np.float32), canvas.shade(0.7))
    canvas.blend(mask, dark, 0.25 + 0.65 * look.stubble, 2.5)


def _paint_glasses(canvas: _Canvas, look: FaceLook, labels: NDArray[np.uint8]) -> None:
    y, dark = look.eyes, look.glasses == "sun"
    frame = canvas.stroke([(-1.6, y + 0.03), (-0.6, y + 0.04), (0.6, y + 0.04), (1.6, y + 0.03)], 3)
    lenses = np.zeros_like(frame)
    for sign in (1, -1):
        lenses = np.maximum(lenses, canvas.ellipse(sign * 0.43, y, 0.36, 0.075))
    canvas.blend(frame, (20.0, 20.0, 22.0), 0.9, 0.4)
    if dark:
        canvas.blend(lenses, (22.0, 20.0, 20.0), 0.95, 0.4)
        glint = canvas.stroke([(0.25, y + 0.03), (0.5, y + 0.045)], 2)
        canvas.blend(glint | canvas.stroke([(-0.6, y + 0.03), (-0.35, y + 0.045)], 2), (190.0, 180.0, 170.0), 0.5, 1)
        labels[(lenses > 127) | (frame > 127)] = SUNGLASSES
        return
    hollow = cv2.erode(lenses, np.ones((5, 5), np.uint8))
    rims = np.where(hollow > 127, 0, lenses).astype(np.uint8)
    canvas.blend(rims, (25.0, 25.0, 28.0), 0.9, 0.4)
