"""A small software renderer: patches to colours and class labels, exactly aligned.

Triangles are painted far to near into a buffer of triangle numbers; every covered pixel then gets its
class, texture and lighting from the one triangle that it shows, so that the label map and the image
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .dataset import LabelMap
from .surface import Floats, Patch, unit

_SUBPIXEL_BITS = 4
_HIDDEN_NORMAL = -0.1  # a triangle whose normals all look away by more than this cannot be seen


@dataclass(frozen=True)
class View:
    """A camera with mild perspective.

    Args:
        rotation: (3, 3) float32, from the person's frame to the camera's: x right, y up, z to the camera.
        scale: pixels per metre at the person's origin.
        origin: (x, y) pixel of the person's origin.
        distance: metres from the camera to the person's origin.
    """

    rotation: Floats
    scale: float
    origin: tuple[float, float]
    distance: float = 5.0

    def project(self, points: Floats) -> Floats:
        """(..., 3) metres to (..., 3): pixel x, pixel y and depth in metres towards the camera."""
        seen = np.asarray(points @ self.rotation.T, np.float32)
        zoom = self.scale / (1 - np.minimum(seen[..., 2] / self.distance, 0.8))
        seen[..., 0] = self.origin[0] + seen[..., 0] * zoom
        seen[..., 1] = self.origin[1] - seen[..., 1] * zoom
        return seen

    def zoomed(self, factor: float) -> View:
        """The same picture with ``factor`` times as many pixels."""
        return View(self.rotation, self.scale * factor, (self.origin[0] * factor, self.origin[1] * factor), self.distance)


@dataclass(frozen=True)
class Light:
    """One lamp and a soft surrounding light.

    Args:
        direction: (3,) float32, unit, towards the lamp in the camera's frame.
        lamp, ambient: (3,) float32, BGR factors.
    """

    direction: Floats
    lamp: Floats
    ambient: Floats


@dataclass(frozen=True)
class Rendering:
    """Patches seen by a camera.

    Args:
        colours: (H, W, 3) float32, BGR, 0 to 255, 0 where nothing is.
        labels: (H, W) uint8, 0 where nothing is.
        mask: (H, W) bool, where something is.
    """

    colours: Floats
    labels: LabelMap
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class _Triangles:
    """``corners`` (T, 3, 3): x, y, depth; ``attributes`` (T, 3, 5): normal, along, around; ``owner`` (T,)."""

    corners: Floats
    attributes: Floats
    owner: NDArray[np.uint8]


def render(patches: Sequence[Patch], view: View, size: tuple[int, int], light: Light) -> Rendering:
    """Draw patches into an image of ``size`` (height, width)."""
    triangles = _visible(_collect(patches, view), size)
    numbers = _paint_numbers(triangles.corners, size)
    covered = np.flatnonzero(numbers)
    shown = numbers.ravel()[covered] - 1
    weights = _weights(triangles.corners, shown, covered, size[1])
    values = np.einsum("nk,nka->na", weights, triangles.attributes[shown])
    heights = np.einsum("nk,nk->n", weights, triangles.corners[shown, :, 2])

    colours, labels, relief, gloss = _materials(patches, triangles.owner[shown], values[:, 3], values[:, 4])
    depth = np.full(size, np.float32(-1e3))
    depth.ravel()[covered] = heights
    shadow = _shadow(depth, view.scale, light.direction).ravel()[covered]
    lit = _lighting(unit(values[:, :3]), relief, gloss, shadow, light)
    lit[0] *= _ambient_occlusion(depth, view.scale).ravel()[covered][:, None]

    image = np.zeros((*size, 3), np.float32)
    image.reshape(-1, 3)[covered] = np.clip(colours * lit[0] + lit[1], 0, 255)
    label_map = np.zeros(size, np.uint8)
    label_map.ravel()[covered] = labels
    return Rendering(image, label_map, numbers > 0)


def _collect(patches: Sequence[Patch], view: View) -> _Triangles:
    corners, attributes, owners = [], [], []
    for number, patch in enumerate(patches):
        rows, columns = patch.along.shape
        normals = patch.normals() @ view.rotation.T
        if patch.two_sided:
            normals = np.where(normals[..., 2:] < 0, -normals, normals)
        data = np.concatenate(
            [view.project(patch.points), normals, patch.along[..., None], patch.around[..., None]], axis=2
        ).astype(np.float32)
        data[..., 2] += patch.lift
        grid = np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
        index = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        picked = data.reshape(-1, 8)[index]
        picked = picked[picked[:, :, 5].max(1) > _HIDDEN_NORMAL]
        corners.append(picked[:, :, :3])
        attributes.append(picked[:, :, 3:])
        owners.append(np.full(len(picked), number, np.uint8))
    return _Triangles(np.concatenate(corners), np.concatenate(attributes), np.concatenate(owners))


def _visible(triangles: _Triangles, size: tuple[int, int]) -> _Triangles:
    """Drop what lies outside the image or has no area; sort far to near."""
    x, y, z = triangles.corners[..., 0], triangles.corners[..., 1], triangles.corners[..., 2]
    inside = (x.max(1) > 0) & (x.min(1) < size[1]) & (y.max(1) > 0) & (y.min(1) < size[0])
    keep = np.flatnonzero(inside & (np.abs(_double_area(triangles.corners)) > 0.02))
    keep = keep[np.argsort(z[keep].sum(1), kind="stable")]
    return _Triangles(triangles.corners[keep], triangles.attributes[keep], triangles.owner[keep])


def _double_area(corners: Floats) -> Floats:
    p, q, r = corners[:, 0], corners[:, 1], corners[:, 2]
    return np.asarray((q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (r[:, 0] - p[:, 0]) * (q[:, 1] - p[:, 1]), np.float32)


def _paint_numbers(corners: Floats, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) int32: 1 + the number of the nearest triangle, 0 where there is none."""
    numbers = np.zeros(size, np.int32)
    # OpenCV's pixel centres have whole coordinates; ours end in .5.
    fixed = np.round((corners[..., :2] - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    fill = cv2.fillConvexPoly
    for number, triangle in enumerate(list(fixed), start=1):
        fill(numbers, triangle, number, 8, _SUBPIXEL_BITS)  # type: ignore[call-overload]
    return numbers


def _weights(corners: Floats, shown: NDArray[np.int32], covered: NDArray[np.int64], width: int) -> Floats:
    """(n, 3) float32: how much each corner of its triangle counts in each pixel."""
    p, q, r = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _double_area(corners)
    coefficients = np.stack(
        [
            (r[:, 1] - p[:, 1]) / area,
            (p[:, 0] - r[:, 0]) / area,
            (p[:, 1] - q[:, 1]) / area,
            (q[:, 0] - p[:, 0]) / area,
            p[:, 0],
            p[:, 1],
        ],
        axis=1,
    )[shown]
    x = (covered % width + 0.5).astype(np.float32) - coefficients[:, 4]
    y = (covered // width + 0.5).astype(np.float32) - coefficients[:, 5]
    second = np.clip(coefficients[:, 0] * x + coefficients[:, 1] * y, 0, 1)
    third = np.clip(coefficients[:, 2] * x + coefficients[:, 3] * y, 0, 1)
    total = np.maximum(second + third, 1)
    second, third = second / total, third / total
    return np.stack([1 - second - third, second, third], axis=1)


def _materials(
    patches: Sequence[Patch], owner: NDArray[np.uint8], along: Floats, around: Floats
) -> tuple[Floats, NDArray[np.uint8], Floats, Floats]:
    colours = np.zeros((len(owner), 3), np.float32)
    labels = np.zeros(len(owner), np.uint8)
    relief, gloss = np.zeros(len(owner), np.float32), np.zeros(len(owner), np.float32)
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(len(patches) + 1))
    for number, patch in enumerate(patches):
        mine = order[ends[number] : ends[number + 1]]
        if len(mine):
            paint = patch.material.paint(along[mine], around[mine])
            colours[mine], labels[mine], relief[mine], gloss[mine] = (
                paint.colours,
                paint.labels,
                paint.relief,
                paint.gloss,
            )
    return colours, labels, relief, gloss


def _lighting(normals: Floats, relief: Floats, gloss: Floats, shadow: Floats, light: Light) -> list[Floats]:
    """(n, 3) factors for the colours and (n, 3) highlights to add."""
    facing = normals @ light.direction
    diffuse = np.clip(facing * 0.8 + 0.2, 0, 1) * shadow
    sky = 0.75 + 0.25 * normals[:, 1] - 0.18 * (1 - normals[:, 2])
    factor = diffuse[:, None] * light.lamp + sky[:, None] * light.ambient
    factor *= np.clip(1 + relief, 0.3, 1.6)[:, None]
    halfway = unit(light.direction + np.float32([0, 0, 1]))
    highlight = np.maximum(normals @ halfway, 0) ** 24 * gloss * shadow * 255
    return [factor.astype(np.float32), highlight[:, None].astype(np.float32) * light.lamp]


def _shadow(depth: Floats, scale: float, direction: Floats) -> Floats:
    """(H, W) float32, 0.35 where something nearer lies towards the lamp, 1 elsewhere."""
    shadow = np.zeros(depth.shape, np.uint8)
    height, width = depth.shape
    for reach in (0.03, 0.055, 0.09, 0.14, 0.2, 0.27):
        dx, dy = round(float(direction[0]) * reach * scale), round(-float(direction[1]) * reach * scale)
        if abs(dx) >= width or abs(dy) >= height or (dx == 0 and dy == 0):
            continue
        here = (slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0)))
        there = (slice(max(dy, 0), height - max(-dy, 0)), slice(max(dx, 0), width - max(-dx, 0)))
        above = depth[there] - depth[here] - np.float32(float(direction[2]) * reach + 0.012)
        shadow[here] |= ((above > 0) & (above < 0.25)).view(np.uint8)
    blur = max(int(scale * 0.02) | 1, 3)
    soft = cv2.blur(shadow * np.uint8(255), (blur, blur))
    return np.asarray(1 - soft * np.float32(0.65 / 255), np.float32)


def _ambient_occlusion(depth: Floats, scale: float) -> Floats:
    """(H, W) float32, below 1 in hollows: under the chin, between arm and trunk, between the legs."""
    inside = (depth > -100).astype(np.float32)
    window = max(int(scale * 0.14) | 1, 5)
    size = (window, window)
    share = cv2.blur(inside, size)
    around = cv2.blur(np.where(inside > 0, depth, np.float32(0)), size) / np.maximum(share, 1e-3)
    hollow = np.clip((around - depth) / 0.12, 0, 1)
    return np.asarray(1 - 0.45 * hollow, np.float32)
