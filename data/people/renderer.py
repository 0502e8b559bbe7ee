"""A small software renderer: patches to colours and class labels, exactly aligned.

Triangles are painted into a buffer of triangle numbers, the nearest on top; every covered pixel then gets its
class, texture and lighting from the one triangle that it shows, so that the label map and the image
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..dataset import Image, LabelMap
from .surface import Floats, Patch, floats, unit

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
        return View(
            self.rotation, self.scale * factor, (self.origin[0] * factor, self.origin[1] * factor), self.distance
        )


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
    numbers = _paint_numbers(triangles, size)
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


def sampled(
    patches: Sequence[Patch], view: View, size: tuple[int, int], light: Light, most: int
) -> tuple[Image, Floats, LabelMap]:
    """Render with up to four samples per pixel, and about ``most`` in all.

    Returns:
        (H, W, 3) uint8 colours times opacity, (H, W) float32 opacity, and (H, W) uint8 classes.
    """
    factor = min(2.0, max((most / (size[0] * size[1])) ** 0.5, 1.25))
    fine = (round(size[0] * factor), round(size[1] * factor))
    rendering = render(patches, view.zoomed(factor), fine, light)
    shape = size[::-1]
    colours = cv2.resize(rendering.colours, shape, interpolation=cv2.INTER_AREA)
    opacity = cv2.resize(rendering.mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(rendering.labels, shape, interpolation=cv2.INTER_NEAREST_EXACT)
    return colours.astype(np.uint8), np.asarray(opacity, np.float32), np.asarray(labels, np.uint8)


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
        faces = _most(data[..., 5].ravel()[index]) > _HIDDEN_NORMAL
        picked = data.reshape(-1, 8)[index[faces]]
        corners.append(picked[:, :, :3])
        attributes.append(picked[:, :, 3:])
        owners.append(np.full(len(picked), number, np.uint8))
    return _Triangles(np.concatenate(corners), np.concatenate(attributes), np.concatenate(owners))


def _most(values: Floats) -> Floats:
    """The largest of (T, 3) in each row; much faster than ``max`` on so short an axis."""
    return np.asarray(np.maximum(np.maximum(values[:, 0], values[:, 1]), values[:, 2]), np.float32)


def _least(values: Floats) -> Floats:
    return np.asarray(np.minimum(np.minimum(values[:, 0], values[:, 1]), values[:, 2]), np.float32)


def _visible(triangles: _Triangles, size: tuple[int, int]) -> _Triangles:
    """Drop what lies outside the image or has no area; sort each patch's far to near."""
    x, y, z = triangles.corners[..., 0], triangles.corners[..., 1], triangles.corners[..., 2]
    inside = (_most(x) > 0) & (_least(x) < size[1]) & (_most(y) > 0) & (_least(y) < size[0])
    keep = np.flatnonzero(inside & (np.abs(_double_area(triangles.corners)) > 0.02))
    keep = keep[np.lexsort((z[keep, 0] + z[keep, 1] + z[keep, 2], triangles.owner[keep]))]
    return _Triangles(triangles.corners[keep], triangles.attributes[keep], triangles.owner[keep])


def _double_area(corners: Floats) -> Floats:
    p, q, r = corners[:, 0], corners[:, 1], corners[:, 2]
    return np.asarray((q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (r[:, 0] - p[:, 0]) * (q[:, 1] - p[:, 1]), np.float32)


def _paint_numbers(triangles: _Triangles, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) int32: 1 + the number of the nearest triangle, 0 where there is none.

    Patches are painted one by one, each far to near, and compared with the others pixel by pixel.
    """
    numbers, nearest = np.zeros(size, np.int32), np.full(size, np.float32(-np.inf))
    if not len(triangles.owner):
        return numbers
    own = np.zeros(size, np.int32)
    # OpenCV's pixel centres have whole coordinates; ours end in .5.
    fixed = np.round((triangles.corners[..., :2] - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    fill, outlines = cv2.fillConvexPoly, list(fixed)
    planes = _depth_planes(triangles.corners)
    ends = [*np.flatnonzero(np.diff(triangles.owner)) + 1, len(outlines)]
    start = 0
    for end in ends:
        for number in range(start, end):
            fill(own, outlines[number], number + 1, 8, _SUBPIXEL_BITS)
        box = triangles.corners[start:end, :, :2].reshape(-1, 2)
        left, top = np.maximum(box.min(0).astype(int) - 1, 0)
        right, bottom = np.minimum(box.max(0).astype(int) + 3, (size[1], size[0]))
        window = (slice(top, bottom), slice(left, right))
        _keep_nearer(own[window], numbers[window], nearest[window], planes, (left, top))
        own[window] = 0
        start = end
    return numbers


def _keep_nearer(
    own: NDArray[np.int32], numbers: NDArray[np.int32], nearest: Floats, planes: Floats, corner: tuple[int, int]
) -> None:
    """Enter the pixels of one patch where it is nearer than what was painted before."""
    rows, columns = np.nonzero(own)
    mine = own[rows, columns]
    plane = planes[mine - 1]
    x, y = columns + np.float32(corner[0] + 0.5), rows + np.float32(corner[1] + 0.5)
    depth = np.clip(plane[:, 0] * x + plane[:, 1] * y + plane[:, 2], plane[:, 3], plane[:, 4])
    wins = depth > nearest[rows, columns]
    rows, columns = rows[wins], columns[wins]
    nearest[rows, columns], numbers[rows, columns] = depth[wins], mine[wins]


def _depth_planes(corners: Floats) -> Floats:
    """(T, 5) float32: depth = a x + b y + c within [lowest, highest]."""
    p, q, r = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _double_area(corners)
    first, second = q - p, r - p
    a = (first[:, 2] * second[:, 1] - second[:, 2] * first[:, 1]) / area
    b = (second[:, 2] * first[:, 0] - first[:, 2] * second[:, 0]) / area
    c = p[:, 2] - a * p[:, 0] - b * p[:, 1]
    return np.stack([a, b, c, _least(corners[..., 2]), _most(corners[..., 2])], axis=1)


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
    halfway = unit(light.direction + floats([0, 0, 1]))
    fourth = np.maximum(normals @ halfway, 0) ** 2
    fourth *= fourth
    eighth = fourth * fourth
    highlight = eighth * eighth * eighth * gloss * shadow * 255
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
