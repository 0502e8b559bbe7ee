"""Materials: skin, hair and cloth with woven, printed and creased surfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .surface import Floats, Paint, floats

TILE = 128
"""Side of a repeating texture tile, in texels; a power of two, so that wrapping is a bit mask."""

Colour = tuple[float, float, float]
"""BGR, 0 to 255."""

Region = Callable[[Floats, Floats], NDArray[np.bool_]]
"""(along, around) of n points to (n,) bool: where a layer lies."""


@lru_cache(maxsize=64)
def noise_tile(cells: int, variant: int) -> Floats:
    """(TILE, TILE) float32 smooth noise that repeats without seams; mean about 0, spread about 1."""
    rng = np.random.default_rng((cells, variant))
    total = np.zeros((TILE, TILE), np.float32)
    weight = 1.0
    while cells <= TILE:
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        step = TILE // cells
        fine = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += weight * fine[2 * step : 2 * step + TILE, 2 * step : 2 * step + TILE]
        weight, cells = weight * 0.5, cells * 2
    return np.asarray(total / (total.std() + 1e-6), np.float32)


@lru_cache(maxsize=16)
def crease_tile(variant: int) -> Floats:
    """(TILE, TILE) float32: wrinkles of cloth under a lamp, about -1 to 1."""
    sharp = np.pad(-np.abs(noise_tile(4, variant) + 0.35 * noise_tile(8, variant + 50)), 8, mode="wrap")
    ridges = floats(cv2.GaussianBlur(sharp, (0, 0), 2.0)[8:-8, 8:-8])
    slope = np.roll(ridges, 2, axis=0) - np.roll(ridges, -1, axis=0) + np.roll(ridges, 2, axis=1) - ridges
    return np.asarray(np.clip(slope / (2.2 * slope.std()), -1.2, 1.2), np.float32)


@lru_cache(maxsize=16)
def strand_tile(variant: int) -> Floats:
    """(TILE, TILE) float32: strands of hair, which run along the columns."""
    white = np.random.default_rng((7, variant)).standard_normal((TILE, TILE)).astype(np.float32)
    grain = cv2.blur(np.pad(white, ((20, 20), (0, 0)), mode="wrap"), (1, 41))[20:-20]
    broad = cv2.blur(np.pad(grain, ((0, 0), (4, 4)), mode="wrap"), (7, 1))[:, 4:-4]
    return np.asarray(np.clip((grain / grain.std() + 1.5 * broad / broad.std()) * 0.5, -2, 2), np.float32)


def _look_up(tile: Floats, u: Floats, v: Floats) -> Floats:
    """The tile at texel coordinates, which wrap."""
    column = u.astype(np.int32) & (TILE - 1)
    row = v.astype(np.int32) & (TILE - 1)
    return np.asarray(tile.reshape(TILE * TILE, -1)[row * TILE + column], np.float32)


@dataclass(frozen=True)
class Fabric:
    """A surface that repeats in two directions.

    Args:
        tile: (TILE, TILE, 3) float32, BGR, 0 to 255.
        texels: texels of ``tile`` per metre.
        relief: (TILE, TILE) float32 wrinkles or strands.
        relief_size: metres covered by the relief tile, along and around.
        depth: strength of the relief.
        gloss: strength of the highlight, 0 to about 0.5.
    """

    tile: Floats
    texels: float
    relief: Floats
    relief_size: tuple[float, float] = (0.5, 0.35)
    depth: float = 0.1
    gloss: float = 0.0

    def sample(self, v: Floats, u: Floats) -> tuple[Floats, Floats]:
        """Colours (n, 3) and relief (n,) at ``v`` metres along and ``u`` metres around the surface."""
        offset = np.float32(8.0)  # keeps texel numbers positive, so that truncation does not mirror them
        colours = _look_up(self.tile, (u + offset) * self.texels, (v + offset) * self.texels)
        along, around = TILE / self.relief_size[0], TILE / self.relief_size[1]
        relief = _look_up(self.relief, (u + offset) * around, (v + offset) * along)[:, 0]
        return colours, np.asarray(relief * self.depth, np.float32)


@dataclass(frozen=True)
class Layer:
    """A fabric, its class, and where on the patch it lies (everywhere where no region is given)."""

    label: int
    fabric: Fabric
    region: Region | None = None


@dataclass(frozen=True)
class Layered:
    """A material of layers, later ones on top.

    Args:
        layers: bottom first.
        length: metres along the surface per unit of the patch's ``along``.
        girth: metres around the surface per unit of ``around``.
        offset: metres added in both directions, so that two patches do not share their wrinkles.
    """

    layers: tuple[Layer, ...]
    length: float
    girth: float
    offset: float = 0.0

    def paint(self, along: Floats, around: Floats) -> Paint:
        """Colours, classes and relief of n points."""
        colours = np.empty((len(along), 3), np.float32)
        labels = np.empty(len(along), np.uint8)
        relief = np.empty(len(along), np.float32)
        v, u = along * self.length + self.offset, around * self.girth + self.offset
        for layer in self.layers:
            where = slice(None) if layer.region is None else np.flatnonzero(layer.region(along, around))
            colours[where], relief[where] = layer.fabric.sample(v[where], u[where])
            labels[where] = layer.label
        return Paint(colours, labels, relief, self.layers[-1].fabric.gloss)


def band(start: float, end: float, wave: float = 0.0) -> Region:
    """The part of a patch between two values of ``along``; ``wave`` makes the edge uneven."""

    def region(along: Floats, around: Floats) -> NDArray[np.bool_]:
        shifted = along + np.float32(wave) * np.sin(around * 2 + 1) if wave else along
        return np.asarray((shifted >= start) & (shifted < end))

    return region


def plain(label: int, fabric: Fabric, length: float = 1.0, girth: float = 0.1, offset: float = 0.0) -> Layered:
    """A material of one layer."""
    return Layered((Layer(label, fabric),), length, girth, offset)


def _flat(colour: Colour) -> Floats:
    return np.full((TILE, TILE, 3), colour, np.float32)


def _mix(below: Floats, above: Colour | Floats, amount: Floats) -> Floats:
    return np.asarray(below + (np.asarray(above, np.float32) - below) * amount[..., None], np.float32)


def _stripes(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    period = int(rng.choice([8, 16, 32, 64]))
    share = float(rng.uniform(0.15, 0.6))
    ramp = (np.arange(TILE) % period) < max(period * share, 1)
    on = np.broadcast_to(ramp[:, None], (TILE, TILE)).astype(np.float32)
    if rng.random() < 0.35:
        on = on.T
    return _mix(tile, second, np.ascontiguousarray(on))


def _checks(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    period = int(rng.choice([16, 32, 64]))
    ramp = ((np.arange(TILE) % period) < period * float(rng.uniform(0.25, 0.5))).astype(np.float32)
    on = np.asarray((ramp[:, None] + ramp[None]) * 0.5, np.float32)
    return _mix(tile, second, on)


def _dots(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    period = int(rng.choice([16, 32]))
    ramp = np.cos(np.arange(TILE) * (2 * np.pi / period)).astype(np.float32)
    on = np.clip((ramp[:, None] + ramp[None] - float(rng.uniform(0.4, 1.3))) * 4, 0, 1)
    return _mix(tile, second, np.asarray(on, np.float32))


def _blotches(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    """Camouflage, flowers and other printed shapes, by the size of the noise."""
    cells = int(rng.choice([4, 8, 16]))
    for _ in range(int(rng.integers(1, 4))):
        noise = noise_tile(cells, int(rng.integers(6)))
        tile = _mix(tile, second, np.clip((np.roll(noise, int(rng.integers(TILE)), 0) - 0.5) * 6, 0, 1))
        second = random_cloth_colour(rng)
    return tile


def _heather(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    grain = np.random.default_rng(int(rng.integers(1 << 30))).standard_normal((TILE, TILE)).astype(np.float32)
    return np.asarray(np.clip(tile * (1 + 0.12 * grain[..., None]), 0, 255), np.float32)


def _washed(rng: np.random.Generator, tile: Floats, second: Colour) -> Floats:
    """Denim: grain with worn, paler areas."""
    worn = np.clip(noise_tile(2, int(rng.integers(6))) * 0.12 + 0.1, 0, 0.4)
    return _heather(rng, _mix(tile, (200.0, 190.0, 180.0), worn), second)


_PATTERNS = (_stripes, _checks, _dots, _blotches, _heather)


def random_cloth_colour(rng: np.random.Generator) -> Colour:
    """A garment's colour: often black, white, grey or navy, else any hue."""
    kind = rng.random()
    if kind < 0.2:
        level = float(rng.uniform(12, 55))
    elif kind < 0.36:
        level = float(rng.uniform(185, 250))
    elif kind < 0.46:
        level = float(rng.uniform(60, 180))
    else:
        # Blues, reds and browns are worn more than the other hues.
        hue = rng.choice([rng.normal(110, 8), rng.normal(4, 7), rng.normal(15, 5), rng.uniform(0, 180)]) % 180
        saturation = rng.uniform(30, 110) if kind > 0.72 else rng.uniform(90, 230)
        return _from_hsv(float(hue), float(saturation), float(rng.uniform(40, 235)))
    tint = rng.uniform(-8, 8, 3)
    return (level + float(tint[0]), level + float(tint[1]), level + float(tint[2]))


def _from_hsv(hue: float, saturation: float, value: float) -> Colour:
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    blue, green, red = (float(channel) for channel in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])
    return (blue, green, red)


def random_cloth(rng: np.random.Generator, pattern: float = 0.4) -> Fabric:
    """Any cloth; ``pattern`` is the probability that it is not of one colour."""
    tile = _flat(random_cloth_colour(rng))
    if rng.random() < pattern:
        draw = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
        tile = draw(rng, tile, random_cloth_colour(rng))
    return Fabric(
        tile=np.clip(tile, 0, 255),
        texels=float(rng.uniform(200, 900)),
        relief=crease_tile(int(rng.integers(8))),
        relief_size=(float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.2, 0.45))),
        depth=float(rng.uniform(0.05, 0.26)),
        gloss=float(rng.choice([0.0, 0.0, 0.0, 0.05, 0.15])),
    )


def random_denim(rng: np.random.Generator) -> Fabric:
    """Blue, black or grey denim."""
    value = float(rng.uniform(45, 190))
    tile = _flat(_from_hsv(float(rng.uniform(103, 118)), float(rng.uniform(15, 170)), value))
    cloth = random_cloth(rng, pattern=0)
    return replace(cloth, tile=_washed(rng, tile, (0, 0, 0)), texels=float(rng.uniform(250, 500)))


def random_leather(rng: np.random.Generator) -> Fabric:
    """Leather, rubber and other glossy stuff of dull or bright colours, for shoes, gloves and jackets."""
    colours: Sequence[Colour] = ((25, 25, 28), (40, 60, 95), (60, 95, 150), (235, 235, 235), (30, 30, 40))
    colour = colours[int(rng.integers(len(colours)))] if rng.random() < 0.75 else random_cloth_colour(rng)
    cloth = random_cloth(rng, pattern=0)
    return replace(cloth, tile=_flat(colour), gloss=float(rng.uniform(0.05, 0.4)), relief_size=(0.2, 0.15))


def random_skin(rng: np.random.Generator) -> tuple[Colour, Fabric]:
    """A skin tone, and skin of it."""
    tones: tuple[Colour, ...] = (
        (165, 190, 235),
        (150, 178, 226),
        (130, 160, 212),
        (105, 140, 196),
        (80, 114, 170),
        (58, 86, 136),
        (44, 62, 100),
        (34, 46, 76),
    )
    position = float(rng.beta(1.1, 1.7)) * (len(tones) - 1)
    left = min(int(position), len(tones) - 2)
    mixed = np.asarray(tones[left]) + (np.asarray(tones[left + 1]) - np.asarray(tones[left])) * (position - left)
    mixed = np.clip(mixed * rng.uniform(0.94, 1.06) + rng.uniform(-7, 7, 3), 0, 255)
    colour: Colour = (float(mixed[0]), float(mixed[1]), float(mixed[2]))
    blotches = noise_tile(4, int(rng.integers(6)))[..., None] * floats([-3.0, -1.5, 3.0])
    tile = np.clip(_flat(colour) + blotches, 0, 255).astype(np.float32)
    skin = Fabric(tile, 300.0, noise_tile(8, 3), (0.4, 0.3), 0.015, float(rng.uniform(0.02, 0.14)))
    return colour, skin


def random_hair(rng: np.random.Generator, old: bool) -> Fabric:
    """Hair of a natural colour, sometimes dyed."""
    colours: tuple[Colour, ...] = (
        (18, 18, 22),
        (22, 28, 40),
        (28, 42, 66),
        (40, 62, 96),
        (62, 96, 140),
        (95, 140, 188),
        (120, 170, 212),
        (30, 62, 130),
    )
    colour = colours[int(rng.integers(len(colours)))]
    if old and rng.random() < 0.75:
        level = float(rng.uniform(120, 215))
        colour = (level, level, level)
    elif rng.random() < 0.03:
        colour = random_cloth_colour(rng)
    strands = strand_tile(int(rng.integers(8)))
    tile = np.clip(_flat(colour) * (1 + 0.13 * strands[..., None]), 0, 255).astype(np.float32)
    return Fabric(tile, float(rng.uniform(350, 700)), strands, (0.35, 0.2), float(rng.uniform(0.06, 0.16)), 0.08)
