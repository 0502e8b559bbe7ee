"""Curved surfaces as grids of points: the clay that the synthetic people are made of.

Coordinates are metres in the person's own frame: x to the person's left, y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Paint:
    """What a material looks like at n points of its surface.

    Args:
        colours: (n, 3) float32, BGR, 0 to 255, before lighting.
        labels: (n,) uint8, LIP-20.
        relief: (n,) float32 around 0; creases and strands, added to the lighting.
        gloss: strength of the highlight.
    """

    colours: Floats
    labels: NDArray[np.uint8]
    relief: Floats
    gloss: float


class Material(Protocol):
    """Gives each point of a patch its class and colour."""

    def paint(self, along: Floats, around: Floats) -> Paint: ...


@dataclass(frozen=True)
class Patch:
    """A grid of points on a surface.

    Args:
        points: (R, S, 3) float32, metres.
        along, around: (R, S) float32; the patch's own coordinates, which its material understands.
        centres: (R, 3) float32; points inside the surface, which tell the outside from the inside.
        closed: the last column repeats the first.
        two_sided: the inside can be seen as well (hems, open coats).
        lift: metres by which the patch is drawn nearer to the camera than it is.
    """

    points: Floats
    along: Floats
    around: Floats
    centres: Floats
    material: Material
    closed: bool = True
    two_sided: bool = False
    lift: float = 0.0

    def normals(self) -> Floats:
        """(R, S, 3) float32, unit length, pointing outwards."""
        points = self.points
        down = np.empty_like(points)
        down[1:-1] = points[2:] - points[:-2]
        down[0], down[-1] = points[1] - points[0], points[-1] - points[-2]
        across = np.empty_like(points)
        across[:, 1:-1] = points[:, 2:] - points[:, :-2]
        if self.closed:
            across[:, 0] = across[:, -1] = points[:, 1] - points[:, -2]
        else:
            across[:, 0], across[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
        normals = cross(down, across)
        outward = points - self.centres[:, None]
        if float((normals * outward).sum()) < 0:
            normals = -normals
        normals += outward * 1e-7
        return unit(normals)


def floats(values: ArrayLike) -> Floats:
    """Numbers as a float32 array."""
    return np.asarray(values, np.float32)


def unit(vectors: Floats) -> Floats:
    """Scale vectors in the last axis to length 1."""
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, 1e-12)[..., None], np.float32)


def cross(a: Floats, b: Floats) -> Floats:
    """The cross product along the last axis; faster than ``np.cross`` on small arrays."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.float32)
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def rotation(axis: str, angle: ArrayLike) -> Floats:
    """Rotation about ``"x"``, ``"y"`` or ``"z"``.

    Args:
        angle: radians, a number or (n,).

    Returns:
        (3, 3) or (n, 3, 3) float32, to multiply column vectors.
    """
    angle = np.asarray(angle, np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.zeros((*angle.shape, 3, 3), np.float32)
    out[..., 3 - first - second, 3 - first - second] = 1
    out[..., first, first] = out[..., second, second] = cos
    out[..., first, second], out[..., second, first] = -sin, sin
    return out


def smooth_curve(at: ArrayLike, knots: ArrayLike, values: ArrayLike) -> Floats:
    """A smooth curve through knots (cubic Hermite; slopes are the mean of the neighbours').

    Args:
        at: (n,), where to evaluate; clamped to the knots' range.
        knots: (k,), increasing.
        values: (k,) or (k, d).

    Returns:
        (n,) or (n, d) float32.
    """
    x, knot = np.asarray(at, np.float64), np.asarray(knots, np.float64)
    value = np.asarray(values, np.float64)
    x = np.clip(x, knot[0], knot[-1])
    gaps = np.diff(knot)
    rises = np.diff(value, axis=0) / (gaps[:, None] if value.ndim > 1 else gaps)
    slope = np.concatenate([rises[:1], (rises[1:] + rises[:-1]) / 2, rises[-1:]])
    left = np.clip(np.searchsorted(knot, x, side="right") - 1, 0, len(knot) - 2)
    step = knot[left + 1] - knot[left]
    t = (x - knot[left]) / step
    if value.ndim > 1:
        t, step = t[:, None], step[:, None]
    keep, rise = 1 - t, t * t * (3 - 2 * t)
    bend = t * keep * step * (slope[left] * keep - slope[left + 1] * t)
    return np.asarray(value[left] * (1 - rise) + value[left + 1] * rise + bend, np.float32)


def smooth_step(at: ArrayLike, start: float, end: float) -> Floats:
    """0 before ``start``, 1 after ``end``, smooth between."""
    t = np.clip((np.asarray(at, np.float32) - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def full_turn(columns: int) -> Floats:
    """(columns + 1,) angles from -pi to pi; 0 is the front, pi/2 the person's left."""
    return np.linspace(-np.pi, np.pi, columns + 1, dtype=np.float32)


@dataclass(frozen=True)
class Rings:
    """Cross-sections threaded on a curve.

    Args:
        centres: (R, 3) float32, metres.
        side, front: (R, 3) float32, unit vectors; the planes of the cross-sections.
        width: (R,) float32; half-width along ``side``, metres.
        ahead, behind: (R,) float32; half-depth along ``front`` and against it, metres.
        roundness: 2 is an ellipse, more is boxier.
    """

    centres: Floats
    side: Floats
    front: Floats
    width: Floats
    ahead: Floats
    behind: Floats
    roundness: float = 2.0

    def points(self, angles: Floats) -> Floats:
        """The surface at ``angles`` (S,), radians: (R, S, 3) float32."""
        sin, cos = np.sin(angles), np.cos(angles)
        if self.roundness != 2.0:
            power = 2 / self.roundness
            sin, cos = np.sign(sin) * np.abs(sin) ** power, np.sign(cos) * np.abs(cos) ** power
        depth = np.where(cos > 0, self.ahead[:, None], self.behind[:, None]) * cos
        lateral = self.width[:, None] * sin
        out = self.centres[:, None] + self.side[:, None] * lateral[..., None] + self.front[:, None] * depth[..., None]
        return np.asarray(out, np.float32)

    def patch(
        self, material: Material, along: Floats, columns: int = 14, two_sided: bool = False, lift: float = 0.0
    ) -> Patch:
        """A closed tube through the cross-sections; ``along`` (R,) is the coordinate of each."""
        angles = full_turn(columns)
        shape = (len(self.centres), len(angles))
        return Patch(
            points=self.points(angles),
            along=np.broadcast_to(along.astype(np.float32)[:, None], shape),
            around=np.broadcast_to(angles, shape),
            centres=self.centres,
            material=material,
            two_sided=two_sided,
            lift=lift,
        )


def tube(
    path: Floats, side: Floats, radius: ArrayLike, material: Material, columns: int = 8, flatness: float = 1.0
) -> Patch:
    """A round tube with capped ends along a path.

    Args:
        path: (R, 3) float32, metres.
        side: (3,), roughly across the path.
        radius: a number or (R,), metres.
        flatness: depth of the cross-section divided by its width.
    """
    tangent = unit(np.gradient(path, axis=0).astype(np.float32))
    front = unit(cross(np.broadcast_to(side, path.shape).astype(np.float32), tangent))
    across = unit(cross(tangent, front))
    width = np.broadcast_to(np.asarray(radius, np.float32), (len(path),))
    centres = np.concatenate(
        [path[:1] - tangent[:1] * width[0] * 0.5, path, path[-1:] + tangent[-1:] * width[-1] * 0.5]
    )
    pad = [0, *range(len(path)), len(path) - 1]
    width = np.concatenate([width[:1] * 0.35, width, width[-1:] * 0.35])
    rings = Rings(centres, across[pad], front[pad], width, width * flatness, width * flatness)
    return rings.patch(material, np.linspace(0, 1, len(width), dtype=np.float32), columns)


def ellipsoid(centre: Floats, frame: Floats, radii: tuple[float, float, float], material: Material) -> Patch:
    """An ellipsoid with ``radii`` (metres) along the columns of ``frame`` (3, 3)."""
    height = np.linspace(-0.995, 0.995, 9, dtype=np.float32)
    scale = np.sqrt(1 - height**2)
    count = len(height)
    rings = Rings(
        centres=centre + frame[:, 1] * (height * radii[1])[:, None],
        side=np.broadcast_to(frame[:, 0], (count, 3)),
        front=np.broadcast_to(frame[:, 2], (count, 3)),
        width=floats(scale * radii[0]),
        ahead=floats(scale * radii[2]),
        behind=floats(scale * radii[2]),
    )
    return rings.patch(material, height, 12)
