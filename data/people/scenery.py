"""What surrounds the people: rooms, streets, meadows, clutter, and things in front of them.

Images are (H, W, 3) uint8, BGR.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..dataset import Image, LabelMap
from .fabric import TILE, Colour, noise_tile, random_cloth, random_cloth_colour
from .surface import Floats, floats

Size = tuple[int, int]
"""(height, width) in pixels."""


def _shade(colour: Colour, factor: float) -> Colour:
    blue, green, red = (float(np.clip(channel * factor, 0, 255)) for channel in colour)
    return (blue, green, red)


def _muted(rng: np.random.Generator) -> Colour:
    """A colour of walls, roads and furniture."""
    level, spread = float(rng.uniform(30, 225)), float(rng.choice([4, 10, 22]))
    mixed = np.clip(level + rng.normal(0, spread, 3), 5, 250)
    return (float(mixed[0]), float(mixed[1]), float(mixed[2]))


def _texture(rng: np.random.Generator, size: Size, cells: int, stretch: float = 1.0) -> Floats:
    """(H, W) float32 noise, spread about 1."""
    tile = noise_tile(cells, int(rng.integers(6)))
    row, column = (int(offset) for offset in rng.integers(0, TILE // 2, 2))
    height = int(np.clip(TILE // 2 * stretch, 8, TILE // 2))
    part = tile[row : row + height, column : column + TILE // 2]
    return np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _fill(rng: np.random.Generator, size: Size, top: Colour, bottom: Colour, rough: float, cells: int) -> Floats:
    """A vertical gradient with texture."""
    ramp = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]
    plain = floats(top) * (1 - ramp) + floats(bottom) * ramp
    return np.asarray(plain + rough * _texture(rng, size, cells)[..., None], np.float32)


def _polygon(image: Image, points: NDArray[np.float32], colour: Colour) -> None:
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _box(image: Image, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
    _polygon(image, floats([(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]), colour)


def _finished(values: Floats) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, image: Image, strength: float, cells: int = 16) -> Image:
    texture = _texture(rng, (image.shape[0], image.shape[1]), cells)
    return _finished(image + strength * texture[..., None])


def _ground_below(rng: np.random.Generator, image: Image, horizon: int, colour: Colour, rough: float) -> None:
    """Ground with noise that is flattened by perspective."""
    height, width = image.shape[:2]
    if horizon >= height - 2:
        return
    size = (height - horizon, width)
    ground = _fill(rng, size, _shade(colour, 0.9), _shade(colour, 1.08), rough, 16)
    ground += rough * 0.7 * _texture(rng, size, 32, 0.6)[..., None]
    image[horizon:] = _finished(ground)


def _room(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """A wall with things on it, furniture before it and a floor."""
    height, width = size
    wall = _muted(rng)
    image = _finished(_fill(rng, size, _shade(wall, 1.08), _shade(wall, 0.85), float(rng.uniform(1, 6)), 4))
    for _ in range(int(rng.integers(1, 6))):
        wide, high = rng.uniform(0.1, 0.5) * width, rng.uniform(0.05, 0.35) * height
        x, y = rng.uniform(-0.2, 1.0) * width, rng.uniform(-0.1, 0.6) * height
        inner = _muted(rng) if rng.random() < 0.8 else random_cloth_colour(rng)
        _box(image, x, y, wide, high, _shade(inner, 0.5))
        edge = min(wide, high) * rng.uniform(0.03, 0.12)
        _box(image, x + edge, y + edge, wide - 2 * edge, high - 2 * edge, inner)
    floor = _muted(rng)
    _ground_below(rng, image, horizon, floor, float(rng.uniform(2, 9)))
    for _ in range(int(rng.integers(0, 4))):
        wide, high = rng.uniform(0.15, 0.6) * width, rng.uniform(0.12, 0.45) * height
        x, y = rng.uniform(-0.3, 1.0) * width, horizon - high * rng.uniform(0.4, 0.95)
        colour = _muted(rng)
        _box(image, x, y, wide, high, colour)
        _box(image, x, y, wide, high * 0.12, _shade(colour, 1.25))
    return image


def _facade(rng: np.random.Generator, image: Image, x: float, wide: float, base: int) -> None:
    """A house front with rows of windows."""
    height = image.shape[0]
    colour = _muted(rng)
    top = rng.uniform(-0.3, 0.35) * height
    _box(image, x, top, wide, base - top, colour)
    rows, columns = int(rng.integers(2, 7)), int(rng.integers(1, 5))
    pane = _shade(_muted(rng), 0.6)
    for row in range(rows):
        for column in range(columns):
            left = x + wide * (column + 0.2) / columns
            upper = top + (base - top) * (row + 0.15) / rows
            _box(image, left, upper, wide * 0.55 / columns, (base - top) * 0.6 / rows, pane)


def _street(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """House fronts, a pavement, cars and poles."""
    height, width = size
    image = _finished(_fill(rng, size, (235, 215, 190), (240, 235, 228), 3, 4))
    x = float(rng.uniform(-0.4, 0.0)) * width
    while x < width:
        wide = float(rng.uniform(0.3, 1.0)) * max(width, height * 0.4)
        _facade(rng, image, x, wide, horizon)
        x += wide
    image = _grain(rng, image, float(rng.uniform(2, 8)))
    road = float(rng.uniform(70, 175))
    _ground_below(rng, image, horizon, (road, road, road), float(rng.uniform(3, 10)))
    if rng.random() < 0.5:
        y = horizon + (height - horizon) * rng.uniform(0.2, 0.8)
        _box(image, 0, y, width, max(height * 0.012, 1), (225, 225, 225))
    if rng.random() < 0.45:
        _car(image, rng.uniform(-0.3, 0.9) * width, horizon, height * rng.uniform(0.12, 0.25), random_cloth_colour(rng))
    for _ in range(int(rng.integers(0, 3))):
        _box(image, rng.uniform(0, 1) * width, -5, max(width * rng.uniform(0.01, 0.04), 2), horizon + 8, _muted(rng))
    return image


def _car(image: Image, x: float, ground: float, high: float, colour: Colour) -> None:
    long = high * 2.8
    body = floats([(0, -0.25), (0, -0.6), (0.2, -0.65), (0.33, -1), (0.75, -1), (0.9, -0.62), (1, -0.55), (1, -0.2)])
    outline = body * floats([long, high]) + floats([x, ground + 0.12 * high])
    _polygon(image, outline, colour)
    glass = floats([(0.25, -0.66), (0.36, -0.93), (0.72, -0.93), (0.83, -0.66)])
    _polygon(image, glass * floats([long, high]) + floats([x, ground + 0.12 * high]), (60, 55, 50))
    for at in (0.2, 0.8):
        centre = (round(x + at * long), round(ground - 0.08 * high))
        cv2.circle(image, centre, max(round(high * 0.2), 1), (25, 25, 25), -1, cv2.LINE_AA)


def _meadow(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """Sky, trees and grass, sand, snow or water."""
    image = _finished(_fill(rng, size, (225, 180, 130), (240, 225, 205), 4, 2))
    height, width = size
    greens: tuple[Colour, ...] = ((45, 95, 70), (35, 75, 55), (60, 120, 95), (50, 70, 80))
    for _ in range(int(rng.integers(3, 14))):
        centre = (int(rng.uniform(-0.1, 1.1) * width), int(horizon - rng.uniform(-0.02, 0.3) * height))
        axes = (int(rng.uniform(0.08, 0.35) * width) + 2, int(rng.uniform(0.05, 0.22) * height) + 2)
        colour = _shade(greens[int(rng.integers(len(greens)))], float(rng.uniform(0.6, 1.3)))
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    image = _grain(rng, image, float(rng.uniform(6, 16)))
    grounds: tuple[Colour, ...] = ((50, 130, 95), (60, 110, 110), (60, 160, 90), (150, 190, 215), (240, 238, 235))
    _ground_below(rng, image, horizon, grounds[int(rng.integers(len(grounds)))], float(rng.uniform(4, 14)))
    return image


def _clutter(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """Shapes of all colours, as a crowd or a shop is when out of focus."""
    height, width = size
    image = _finished(_fill(rng, size, _muted(rng), _muted(rng), 12, 4))
    for _ in range(int(rng.integers(8, 30))):
        colour = random_cloth_colour(rng) if rng.random() < 0.3 else _muted(rng)
        x, y = rng.uniform(0, 1) * width, rng.uniform(0, 1) * height
        wide, high = rng.uniform(0.04, 0.35) * width, rng.uniform(0.03, 0.3) * height
        shape = float(rng.random())
        if shape < 0.4:
            cv2.ellipse(
                image, (int(x), int(y)), (int(wide) + 1, int(high) + 1), rng.uniform(0, 180), 0, 360, colour, -1
            )
        elif shape < 0.85:
            corners = cv2.boxPoints(((x, y), (wide * 2, high * 2), float(rng.normal(0, 12))))
            _polygon(image, np.asarray(corners, np.float32), colour)
        else:
            end = (int(rng.uniform(0, 1) * width), int(rng.uniform(0, 1) * height))
            cv2.line(image, (int(x), int(y)), end, colour, int(rng.integers(1, 9)), cv2.LINE_AA)
    return _grain(rng, image, float(rng.uniform(2, 14)), 8)


def _studio(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """A gradient and little else."""
    colour = _muted(rng)
    rough = float(rng.uniform(0, 4))
    return _finished(_fill(rng, size, _shade(colour, 1.1), _shade(colour, float(rng.uniform(0.6, 1.0))), rough, 4))


_Scene = Callable[[np.random.Generator, Size, int], Image]
_SCENES: tuple[_Scene, ...] = (_room, _street, _meadow, _clutter, _studio)


def random_background(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """A background whose ground begins at row ``horizon``."""
    scene = _SCENES[int(rng.choice(len(_SCENES), p=[0.28, 0.24, 0.22, 0.2, 0.06]))]
    image = scene(rng, size, int(np.clip(horizon, size[0] * 0.2, size[0])))
    blur = float(rng.choice([0.0, 0.7, 1.5, 3.0])) * size[0] / 300
    return cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.3 else image  # type: ignore[return-value]


def street_background(rng: np.random.Generator, size: Size, horizon: int) -> Image:
    """A street, as in the videos."""
    return cv2.GaussianBlur(_street(rng, size, horizon), (0, 0), 1.2)  # type: ignore[return-value]


def paste(
    image: Image, under: LabelMap | None, colours: Image, opacity: Floats, labels: LabelMap, unlabelled: bool = False
) -> tuple[Image, LabelMap]:
    """Lay a rendering over an image and its labels (``under``; none is background).

    ``unlabelled`` turns what is covered into background.
    """
    base = np.zeros(opacity.shape, np.uint8) if under is None else under
    blended = np.clip(image * (1 - opacity)[..., None] + colours, 0, 255).astype(np.uint8)
    own = np.zeros_like(labels) if unlabelled else labels
    return blended, np.where(labels > 0, own, base)


def ground_shadow(image: Image, feet: tuple[float, float], wide: float, strength: float) -> Image:
    """Darken the ground under somebody; ``feet`` is (x, y), ``wide`` the half-width, pixels."""
    shade = np.zeros(image.shape[:2], np.float32)
    centre = (round(feet[0]), round(feet[1]))
    cv2.ellipse(shade, centre, (max(round(wide), 1), max(round(wide * 0.2), 1)), 0, 0, 360, 1.0, -1)
    soft = floats(cv2.blur(shade, (max(round(wide * 0.35) | 1, 3), max(round(wide * 0.15) | 1, 3))))
    return _finished(floats(image * (1 - strength * soft[..., None])))


def random_occluder(rng: np.random.Generator, image: Image, labels: LabelMap) -> tuple[Image, LabelMap]:
    """Put a thing before the person: furniture, a pole, a ball, a bat. Its pixels become background."""
    height, width = labels.shape
    mask = np.zeros((height, width), np.uint8)
    kind = float(rng.random())
    if kind < 0.35:
        x = rng.uniform(-0.4, 0.7) * width
        _box(mask, x, rng.uniform(0.68, 0.92) * height, rng.uniform(0.4, 1.2) * width, height, (255, 255, 255))
    elif kind < 0.5:
        _box(mask, rng.uniform(0, 0.95) * width, -2, rng.uniform(0.03, 0.12) * width, height + 4, (255, 255, 255))
    elif kind < 0.75:
        centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.3, 0.95) * height))
        radius = rng.uniform(0.03, 0.13) * height
        axes = (int(radius * rng.uniform(0.7, 1.3)) + 2, int(radius) + 2)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        start = (int(rng.uniform(0, 1) * width), int(rng.uniform(0.2, 1) * height))
        end = (int(rng.uniform(0, 1) * width), int(rng.uniform(0.2, 1) * height))
        cv2.line(mask, start, end, 255, max(int(height * rng.uniform(0.008, 0.03)), 2), cv2.LINE_AA)
    cloth = random_cloth(rng, pattern=0.4)
    rows, columns = np.arange(height) * TILE // max(height, TILE), np.arange(width) * TILE // max(height, TILE)
    surface = cloth.tile[rows[:, None] & (TILE - 1), columns[None] & (TILE - 1)]
    shading = np.linspace(float(rng.uniform(0.6, 1.1)), float(rng.uniform(0.6, 1.1)), width, dtype=np.float32)
    weight = (mask.astype(np.float32) / 255)[..., None]
    painted = _finished(image * (1 - weight) + surface * shading[None, :, None] * weight)
    return painted, np.where(mask > 127, np.uint8(0), labels)


def photograph(rng: np.random.Generator, image: Image) -> Image:
    """What a camera does: exposure, white balance, blur, noise and JPEG."""
    values = image.astype(np.float32)
    values *= np.float32(rng.normal(1, 0.05, 3)) * np.float32(np.exp(rng.normal(0.0, 0.16)))
    contrast = float(rng.uniform(0.75, 1.25))
    values = (values - 115) * contrast + 115 + float(rng.normal(0, 8))
    if rng.random() < 0.03:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    softness = float(rng.choice([0.0, 0.5, 0.8, 1.3], p=[0.4, 0.3, 0.2, 0.1]))
    if softness > 0:
        values = floats(cv2.GaussianBlur(values, (0, 0), softness))
    if rng.random() < 0.06:
        length = int(rng.integers(3, 8))
        shape = (length, 1) if rng.random() < 0.7 else (1, length)
        values = floats(cv2.blur(values, shape))
    noise = float(rng.choice([0.0, 2.0, 5.0, 9.0], p=[0.35, 0.35, 0.2, 0.1]))
    if noise > 0:
        values += noise * rng.standard_normal(values.shape, dtype=np.float32)
    out = _finished(np.asarray(values, np.float32))
    if rng.random() < 0.7:
        quality = int(rng.integers(35, 95))
        packed = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        out = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return out


def photograph_film(rng: np.random.Generator, image: Image) -> Image:
    """The little noise of a video frame."""
    noise = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    return _finished(np.asarray(image + 2.0 * noise, np.float32))
