"""Hair and hats: shells over the skull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fabric import Fabric, Layer, Layered, plain
from .head import Skull
from .surface import Floats, Patch, ellipsoid, floats, full_turn, smooth_curve, smooth_step, tube

HAT, HAIR = 1, 2

_AZIMUTHS = (0.0, 0.55, 0.85, 1.1, 1.3, 1.6, 2.0, 2.5, np.pi)


@dataclass(frozen=True)
class HairStyle:
    """A haircut.

    Args:
        edge: (9,) heights of the hair's lower edge at azimuths from the front to the back, head lengths;
            below 0 it hangs.
        thickness: above the skull, head lengths.
        crown: more thickness on the top.
        knot: "none", "bun" or "tail".
        ragged: unevenness of the lower edge, head lengths.
        parting: how much the fringe falls to one side, -1 to 1.
    """

    edge: tuple[float, ...]
    thickness: float = 0.06
    crown: float = 0.03
    knot: str = "none"
    ragged: float = 0.03
    parting: float = 0.0


def _short(rng: np.random.Generator) -> HairStyle:
    front = float(rng.uniform(0.70, 0.84))
    edge = (front, front - 0.02, 0.70, 0.58, 0.46, 0.52, 0.36, 0.14, 0.10)
    return HairStyle(edge, float(rng.uniform(0.03, 0.09)), float(rng.uniform(0.0, 0.09)), parting=rng.uniform(-1, 1))


def _buzz(rng: np.random.Generator) -> HairStyle:
    return HairStyle((0.84, 0.82, 0.74, 0.62, 0.5, 0.55, 0.4, 0.2, 0.15), 0.012, 0.0, ragged=0.01)


def _balding(rng: np.random.Generator) -> HairStyle:
    return HairStyle((0.995, 0.99, 0.96, 0.72, 0.5, 0.5, 0.3, 0.14, 0.12), 0.03, -0.03, ragged=0.01)


def _long(rng: np.random.Generator) -> HairStyle:
    low = -float(rng.uniform(0.1, 1.7))
    front = float(rng.choice([0.62, 0.8, 0.83]))
    side = -float(rng.uniform(0.0, 1.0)) * abs(low) if rng.random() < 0.6 else 0.15
    edge = (front, front - 0.04, 0.62, side, side, low * 0.9, low, low, low)
    return HairStyle(edge, float(rng.uniform(0.06, 0.12)), 0.02, ragged=0.07, parting=rng.uniform(-1, 1))


def _bob(rng: np.random.Generator) -> HairStyle:
    low = float(rng.uniform(-0.12, 0.2))
    edge = (float(rng.choice([0.62, 0.78])), 0.66, 0.55, low, low, low, low, low, low)
    return HairStyle(edge, float(rng.uniform(0.07, 0.13)), 0.03, ragged=0.03, parting=rng.uniform(-1, 1))


def _tied(rng: np.random.Generator) -> HairStyle:
    knot = "tail" if rng.random() < 0.55 else "bun"
    return HairStyle((0.83, 0.80, 0.73, 0.60, 0.52, 0.56, 0.36, 0.16, 0.12), 0.035, 0.0, knot=knot, ragged=0.01)


def _afro(rng: np.random.Generator) -> HairStyle:
    size = float(rng.uniform(0.12, 0.34))
    return HairStyle((0.80, 0.77, 0.68, 0.5, 0.36, 0.36, 0.22, 0.1, 0.06), size, size * 0.5, ragged=0.05)


def random_hair_style(rng: np.random.Generator, female: bool, old: bool) -> HairStyle | None:
    """A haircut; None is bald."""
    draw = float(rng.random())
    if female:
        return (_long if draw < 0.5 else _tied if draw < 0.75 else _bob if draw < 0.9 else _short)(rng)
    if draw < (0.25 if old else 0.06):
        return None
    if old and draw < 0.5:
        return _balding(rng)
    style = (
        _short if draw < 0.76 else _buzz if draw < 0.86 else _bob if draw < 0.91 else _long if draw < 0.95 else _afro
    )
    return style(rng)


def hair_patches(skull: Skull, style: HairStyle, fabric: Fabric, under_hat: bool) -> list[Patch]:
    """The hair; under a hat it lies flat."""
    material = Layered((Layer(HAIR, fabric),), skull.length * 1.3, skull.length * 0.4)
    azimuth = full_turn(34)
    wave = np.sin(azimuth * 9 + 1) + np.sin(azimuth * 17 + 2)
    edge = smooth_curve(np.abs(azimuth), _AZIMUTHS, style.edge) + style.ragged * 0.5 * wave
    edge += 0.10 * style.parting * np.sin(azimuth) * np.exp(-((azimuth / 0.6) ** 2))
    share = np.linspace(0, 1, 14, dtype=np.float32)[:, None]
    y = 1.0 - (1.0 - edge[None]) * share**0.8
    thickness = (style.thickness + style.crown * smooth_step(y, 0.6, 1.0)) * (1 - 0.75 * share**6 * (edge > 0.2))
    if under_hat:
        thickness = np.minimum(thickness, 0.02 + 0.1 * smooth_step(-y, -0.55, -0.2))
    grid = _hanging(skull, y.astype(np.float32), np.broadcast_to(azimuth, y.shape), thickness.astype(np.float32))
    centres = np.stack([np.zeros(14), np.maximum(y.mean(1), 0.2), np.zeros(14)], axis=1).astype(np.float32)
    around = np.broadcast_to(azimuth, y.shape)
    patches = [
        Patch(
            skull.place(grid), y.astype(np.float32), around, skull.place(centres), material, two_sided=True, lift=0.002
        )
    ]
    if style.knot != "none":
        patches.append(_knot(skull, style, material))
    return patches


def _hanging(skull: Skull, y: Floats, azimuth: Floats, thickness: Floats) -> Floats:
    """Head-length points of hair that follows the skull and hangs straight below it."""
    grid = skull.surface(np.maximum(y, 0.34), azimuth, thickness)
    fall = np.minimum(y - 0.34, 0)
    grid[..., 1] += fall
    body = np.clip(-fall - 0.3, 0, 0.6)
    grid[..., 2] += body * np.where(np.cos(azimuth) > -0.2, 0.28, -0.16)
    grid[..., 0] *= 1 + 0.22 * body
    return grid


def _knot(skull: Skull, style: HairStyle, material: Layered) -> Patch:
    if style.knot == "bun":
        centre = skull.place(floats([0, 0.86, -0.42]))
        size = 0.16 * skull.length
        return ellipsoid(centre, skull.skeleton.head_frame, (size, size, size), material)
    local = floats([(0, 0.74, -0.46), (0, 0.76, -0.62), (0, 0.5, -0.72), (0, 0.1, -0.68), (0, -0.35, -0.62)])
    path = smooth_curve(np.linspace(0, 1, 10), np.linspace(0, 1, 5), local)
    radius = smooth_curve(np.linspace(0, 1, 10), (0, 0.15, 0.5, 1), (0.05, 0.09, 0.12, 0.04)) * skull.length
    return tube(skull.place(path), skull.skeleton.head_frame[:, 0], radius, material, columns=10)


@dataclass(frozen=True)
class Hat:
    """A hat.

    Args:
        edge: (9,) heights of the lower edge, as in :class:`HairStyle`.
        thickness, crown: above the skull, head lengths.
        brim: reach of the brim, head lengths; 0 is none.
        brim_half_angle: radians; pi goes all around.
        brim_at: azimuth of the brim's middle.
        pompon: a ball on the top.
    """

    edge: tuple[float, ...]
    thickness: float
    crown: float
    brim: float = 0.0
    brim_half_angle: float = 1.15
    brim_at: float = 0.0
    pompon: bool = False


def random_hat(rng: np.random.Generator) -> Hat:
    """A cap, a woollen hat, a helmet or a hat with a brim."""
    kind = float(rng.random())
    if kind < 0.45:
        back = np.pi if rng.random() < 0.15 else 0.0
        edge = (0.74, 0.74, 0.73, 0.70, 0.68, 0.66, 0.62, 0.58, 0.58)
        brim = float(rng.uniform(0.3, 0.45))
        return Hat(edge, float(rng.uniform(0.05, 0.09)), float(rng.uniform(0.02, 0.1)), brim, 1.05, back)
    if kind < 0.7:
        low = float(rng.uniform(0.58, 0.7))
        edge = (low, low, low - 0.04, low - 0.1, low - 0.2, low - 0.24, 0.38, 0.34, 0.32)
        crown = float(rng.uniform(0.04, 0.25))
        return Hat(edge, float(rng.uniform(0.05, 0.09)), crown, pompon=bool(rng.random() < 0.25))
    if kind < 0.85:
        edge = (0.7, 0.69, 0.66, 0.58, 0.5, 0.48, 0.42, 0.36, 0.34)
        return Hat(edge, float(rng.uniform(0.12, 0.17)), float(rng.uniform(0.03, 0.1)))
    edge = (0.72, 0.72, 0.72, 0.71, 0.7, 0.7, 0.69, 0.68, 0.68)
    return Hat(edge, 0.06, float(rng.uniform(0.1, 0.25)), float(rng.uniform(0.25, 0.6)), np.pi)


def hat_patches(skull: Skull, hat: Hat, fabric: Fabric) -> list[Patch]:
    """The hat's dome, brim and pompon."""
    material = plain(HAT, fabric, skull.length, skull.length * 0.4)
    azimuth = full_turn(30)
    edge = smooth_curve(np.abs(azimuth), _AZIMUTHS, hat.edge)
    share = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    y = np.asarray(1.0 - (1.0 - edge[None]) * share**0.75, np.float32)
    thickness = hat.thickness + hat.crown * smooth_step(y, 0.7, 0.95)
    around = np.broadcast_to(azimuth, y.shape)
    grid = skull.surface(y, around, thickness)
    centres = np.stack([np.zeros(10), y.mean(1) - 0.1, np.full(10, -0.03)], axis=1).astype(np.float32)
    patches = [Patch(skull.place(grid), y, around, skull.place(centres), material, two_sided=True, lift=0.012)]
    if hat.brim > 0:
        patches.append(_brim(skull, hat, material))
    if hat.pompon:
        size = 0.13 * skull.length
        centre = skull.place(floats([0, 1.06 + hat.crown, -0.05]))
        patches.append(ellipsoid(centre, skull.skeleton.head_frame, (size, size, size), material))
    return patches


def _brim(skull: Skull, hat: Hat, material: Layered) -> Patch:
    spread = np.linspace(-hat.brim_half_angle, hat.brim_half_angle, 25, dtype=np.float32)
    azimuth = spread + hat.brim_at
    wrapped = np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi)
    edge = smooth_curve(wrapped, _AZIMUTHS, hat.edge) + 0.01
    whole = hat.brim_half_angle > 3
    reach = np.full_like(spread, hat.brim) if whole else hat.brim * np.cos(spread * (1.5 / hat.brim_half_angle)) ** 0.6
    out = np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    y = np.broadcast_to(edge, (5, 25)).astype(np.float32)
    grid = skull.surface(y, np.broadcast_to(azimuth, y.shape), (hat.thickness + out * reach).astype(np.float32))
    # The surface rises with the thickness near the crown; a brim goes level and a little down.
    grid[..., 1] = y - out**1.5 * (0.10 if whole else 0.14) * np.where(reach > 0.02, 1, 0)
    centres = np.stack([np.zeros(5), np.full(5, 0.2), np.zeros(5)], axis=1).astype(np.float32)
    return Patch(
        skull.place(grid),
        np.broadcast_to(out, y.shape).astype(np.float32),
        np.broadcast_to(azimuth, y.shape).astype(np.float32),
        skull.place(centres),
        material,
        closed=whole,
        two_sided=True,
        lift=0.01,
    )
