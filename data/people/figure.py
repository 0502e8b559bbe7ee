"""The body's own surfaces: trunk, neck, arms, hands, legs and feet, each with the cloth it wears.

Lengths in the tables are in body heights. ``along`` runs from the trunk outwards on limbs (0 to 1), and
from the crotch to the neck on the trunk (0 to 1); ``around`` is the angle from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .skeleton import Body, Limb, Skeleton
from .surface import Floats, Material, Patch, Rings, cross, floats, smooth_curve, smooth_step, tube, unit

# Cross-sections of an average adult: common figure-drawing proportions, then adjusted by eye.
_TRUNK_AT = (0.0, 0.05, 0.12, 0.20, 0.30, 0.42, 0.55, 0.68, 0.79, 0.87, 0.93, 0.97, 1.0)
_TRUNK_WIDTH = (0.050, 0.080, 0.098, 0.099, 0.089, 0.079, 0.085, 0.094, 0.099, 0.097, 0.083, 0.058, 0.037)
_TRUNK_AHEAD = (0.040, 0.052, 0.058, 0.058, 0.055, 0.053, 0.058, 0.065, 0.060, 0.048, 0.037, 0.031, 0.028)
_TRUNK_BEHIND = (0.045, 0.068, 0.078, 0.075, 0.059, 0.051, 0.056, 0.063, 0.065, 0.060, 0.051, 0.041, 0.034)

ELBOW = 0.5375
"""Where the elbow lies on an arm, as a share of its length to the wrist."""

KNEE = 0.504
"""Where the knee lies on a leg, as a share of its length to the ankle."""

_ARM_AT = (0.0, 0.10, 0.25, 0.45, 0.54, 0.62, 0.74, 0.90, 1.0)
_ARM_RADIUS = (0.0290, 0.0305, 0.0285, 0.0250, 0.0245, 0.0250, 0.0225, 0.0175, 0.0155)
_LEG_AT = (0.0, 0.12, 0.30, 0.44, 0.504, 0.56, 0.68, 0.85, 0.95, 1.0)
_LEG_RADIUS = (0.0560, 0.0550, 0.0470, 0.0380, 0.0350, 0.0340, 0.0350, 0.0260, 0.0220, 0.0215)

_FOOT = np.array(  # distance ahead of the ankle, half-width, height of the top, all in body heights
    [
        (-0.0445, 0.001, -0.030),
        (-0.044, 0.009, -0.018),
        (-0.038, 0.017, -0.004),
        (-0.020, 0.020, 0.012),
        (0.000, 0.0205, 0.014),
        (0.020, 0.0215, 0.004),
        (0.045, 0.0245, -0.011),
        (0.070, 0.0270, -0.019),
        (0.092, 0.0250, -0.024),
        (0.104, 0.0180, -0.028),
        (0.110, 0.0070, -0.032),
        (0.1105, 0.0010, -0.037),
    ],
    np.float32,
)
_SOLE = -0.042  # the sole below the ankle, in body heights


@dataclass(frozen=True)
class Cover:
    """Cloth on a part of a limb.

    Args:
        start, end: along the limb, 0 to 1.
        thickness: metres outside the skin.
        flare: metres more at ``end``, as in wide sleeves and trouser legs.
        folds: metres of waviness, where cloth piles up.
    """

    start: float
    end: float
    thickness: float
    flare: float = 0.0
    folds: float = 0.0

    def extra(self, along: Floats) -> Floats:
        """Metres to add to the limb's radius at ``along`` (n,)."""
        share = np.clip((along - self.start) / max(self.end - self.start, 1e-3), 0, 1)
        on = (along >= self.start) & (along <= self.end)
        wave = self.folds * np.sin(share * 41) * np.sin(share * 17 + 1)
        return np.asarray(np.where(on, self.thickness + self.flare * share**2 + wave, 0), np.float32)


def trunk_rings(skeleton: Skeleton, at: Floats, thickness: Floats | float) -> Rings:
    """Cross-sections of the trunk.

    Args:
        at: (n,), 0 at the crotch, 1 at the base of the neck.
        thickness: metres of cloth, a number or (n,).
    """
    body = skeleton.body
    height = body.height
    factor = smooth_curve(
        at, (0, 0.2, 0.44, 0.72, 0.9, 1), (body.hips, body.hips, body.waist, body.shoulders, body.shoulders, body.neck)
    )
    depth = smooth_curve(at, (0, 0.2, 0.45, 0.75, 1), (body.hips, body.hips, body.waist, body.chest_depth, body.neck))
    belly = body.belly * 0.06 * np.exp(-(((at - 0.40) / 0.17) ** 2))
    bust = body.bust * 0.026 * np.exp(-(((at - 0.69) / 0.075) ** 2))
    centres, frames = skeleton.along_spine(at)
    return Rings(
        centres=centres,
        side=frames[:, :, 0],
        front=frames[:, :, 2],
        width=smooth_curve(at, _TRUNK_AT, _TRUNK_WIDTH) * factor * height + thickness,
        ahead=np.asarray(
            (smooth_curve(at, _TRUNK_AT, _TRUNK_AHEAD) * depth + belly + bust) * height + thickness, np.float32
        ),
        behind=smooth_curve(at, _TRUNK_AT, _TRUNK_BEHIND) * depth * height + thickness,
        roundness=2.35,
    )


def trunk(skeleton: Skeleton, material: Material, thickness: float) -> Patch:
    """The trunk from the crotch to the base of the neck, in cloth of ``thickness`` metres."""
    at = np.linspace(0, 1, 24, dtype=np.float32)
    loose = thickness * (1 - smooth_step(at, 0.88, 1.0))
    return trunk_rings(skeleton, at, loose).patch(material, at, columns=22)


def neck(skeleton: Skeleton, material: Material) -> Patch:
    """The neck, from inside the trunk to inside the head; ``along`` rises from 0 to 1."""
    body = skeleton.body
    height, up = body.height, skeleton.spine_frames[-1][:, 1]
    head_length = body.head * height
    top = skeleton.head + skeleton.head_frame @ floats([0, 0.32 * head_length, -0.13 * head_length])
    low = skeleton.neck - up * (0.03 * height)
    knots = np.stack([low, skeleton.neck + up * (0.006 * height), 0.5 * (skeleton.neck + top), top])
    path = smooth_curve(np.linspace(0, 1, 9), (0, 0.3, 0.62, 1), knots)
    child = 1 + 0.25 * (body.age_scale - 1)
    radius = smooth_curve(np.linspace(0, 1, 9), (0, 0.3, 0.5, 1), (0.054, 0.0405, 0.035, 0.035))
    side = skeleton.spine_frames[-1][:, 0]
    # Sunk a little, so that the trunk is drawn over the neck's lower end.
    return replace(tube(path, side, radius * height * body.neck * child, material, columns=14), lift=-0.02)


def _limb_rings(limb: Limb, along: Floats, bend_at: float) -> tuple[Floats, Floats, Floats]:
    """Centres, side and front vectors (n, 3) along a limb, rounded at the elbow or knee."""

    def on_bones(at: Floats) -> Floats:
        first = (at / bend_at)[:, None]
        second = ((at - bend_at) / (1 - bend_at))[:, None]
        a, b, c = limb.joints
        return np.asarray(np.where(first < 1, a + (b - a) * first, b + (c - b) * second), np.float32)

    reach = np.clip(np.minimum(along, 1 - along), 0, 0.06)
    centres = (on_bones(along - reach) + 2 * on_bones(along) + on_bones(along + reach)) / 4
    share = smooth_step(along, bend_at - 0.12, bend_at + 0.12)[:, None]
    side = unit(limb.upper[:, 0] * (1 - share) + limb.lower[:, 0] * share)
    front = unit(limb.upper[:, 2] * (1 - share) + limb.lower[:, 2] * share)
    return centres.astype(np.float32), side, front


def _limb_stations(count: int, covers: Sequence[Cover]) -> Floats:
    """Where the rings lie: even, and twice at each edge of the cloth, so that the edge is a step."""
    edges = [edge + shift for cover in covers for edge in (cover.start, cover.end) for shift in (-1e-3, 1e-3)]
    return np.unique(np.clip(np.array([*np.linspace(0, 1, count), *edges], np.float32), 0, 1))


def _thickness(along: Floats, covers: Sequence[Cover]) -> Floats:
    extra = np.zeros_like(along)
    for cover in covers:
        extra = np.maximum(extra, cover.extra(along))
    return extra


def arm(limb: Limb, body: Body, material: Material, covers: Sequence[Cover]) -> Patch:
    """An arm from the shoulder to the wrist; the deltoid closes it at the top."""
    along = _limb_stations(20, covers)
    centres, side, front = _limb_rings(limb, along, ELBOW)
    # Sleeves are sewn to fit at the shoulder.
    extra = _thickness(along, covers) * (0.35 + 0.65 * smooth_step(along, 0.0, 0.2))
    radius = smooth_curve(along, _ARM_AT, _ARM_RADIUS) * body.height * body.limbs
    cap = np.array([0.015, 0.0105, 0.005], np.float32)[:, None] * body.height
    centres = np.concatenate([limb.joints[0] + limb.upper[:, 1] * cap, centres])
    share = np.array([0.35, 0.75, 0.93], np.float32)
    radius = np.concatenate([share * radius[0], radius])
    extra = np.concatenate([share * extra[0], extra])
    along = np.concatenate([np.zeros(3, np.float32), along])
    side = np.concatenate([np.repeat(side[:1], 3, 0), side])
    front = np.concatenate([np.repeat(front[:1], 3, 0), front])
    flat = smooth_curve(along, (0, 0.75, 1), (1.0, 0.97, 0.8))
    rings = Rings(centres, side, front, radius * flat + extra, radius + extra, radius + extra)
    return rings.patch(material, along, columns=12)


def leg(limb: Limb, body: Body, material: Material, covers: Sequence[Cover]) -> Patch:
    """A leg from inside the trunk to the ankle, with calf and knee."""
    along = _limb_stations(24, covers)
    centres, side, front = _limb_rings(limb, along, KNEE)
    extra = _thickness(along, covers)
    hips = smooth_curve(along, (0, 0.5, 1), (0.5 * (body.hips + body.limbs), body.limbs, body.limbs))
    radius = smooth_curve(along, _LEG_AT, _LEG_RADIUS) * body.height * hips
    calf = radius * (0.32 * np.exp(-(((along - 0.68) / 0.09) ** 2)))
    knee = radius * (0.10 * np.exp(-(((along - KNEE) / 0.04) ** 2)))
    rings = Rings(centres, side, front, radius + extra, radius + knee + extra, radius + calf + extra)
    return rings.patch(material, along, columns=14)


def hand(limb: Limb, body: Body, material: Material, thickness: float = 0.0) -> list[Patch]:
    """A palm, four fingers and a thumb; ``thickness`` metres of glove."""
    height = body.height * (1 + 0.15 * (body.age_scale - 1))
    frame, wrist = limb.end, limb.joints[2]
    thick, long, broad = frame[:, 0] * -limb.side, -frame[:, 1], frame[:, 2]
    at = np.linspace(0, 1, 7, dtype=np.float32)
    centres = wrist + (at * 0.056 * height)[:, None] * long
    width = smooth_curve(at, (0, 0.3, 0.8, 1), (0.0155, 0.0205, 0.0235, 0.0205)) * height + thickness
    depth = smooth_curve(at, (0, 0.5, 1), (0.0125, 0.0115, 0.0075)) * height + thickness
    count = len(at)
    rings = Rings(
        centres, np.broadcast_to(broad, (count, 3)), np.broadcast_to(thick, (count, 3)), width, depth, depth, 2.4
    )
    patches = [rings.patch(material, at, columns=10)]
    fingers = ((0.0165, 0.046), (0.0057, 0.052), (-0.0055, 0.049), (-0.016, 0.038))
    for offset, length in fingers:
        start = wrist + long * (0.052 * height) + broad * (offset * height)
        path = _finger(start, long, thick, length * height, limb.curl)
        patches.append(tube(path, broad, (0.0056 * height + thickness * 0.6) * _TAPER, material, columns=6))
    start = wrist + long * (0.012 * height) + broad * (0.013 * height)
    outward = unit(np.asarray(long * 0.75 + broad * 0.62 + thick * 0.3 * limb.curl, np.float32))
    path = _finger(start, outward, thick, 0.046 * height, 0.35 * limb.curl)
    patches.append(tube(path, broad, (0.0068 * height + thickness * 0.6) * _TAPER, material, columns=6))
    return patches


_TAPER = np.array([1.0, 1.0, 0.95, 0.85], np.float32)


def _finger(start: Floats, along: Floats, inward: Floats, length: float, curl: float) -> Floats:
    """(4, 3) points of a finger that bends towards ``inward`` by ``curl`` radians per joint."""
    angles = np.array([0.5, 1.5, 2.3], np.float32) * curl
    steps = np.cos(angles)[:, None] * along + np.sin(angles)[:, None] * inward
    return np.asarray(np.concatenate([start[None], start + np.cumsum(steps, 0) * (length / 3)]), np.float32)


def foot(limb: Limb, body: Body, material: Material, thickness: float = 0.0) -> Patch:
    """A foot or shoe; ``along`` runs from heel to toe, ``around`` is 0 on the instep and pi on the sole."""
    height = body.height * (1 + 0.12 * (body.age_scale - 1))
    ahead, width, top = _FOOT.T * height
    sole = _SOLE * height - thickness
    top = top + thickness
    frame, count = limb.end, len(_FOOT)
    middle, half = (top + sole) / 2, (top - sole) / 2
    centres = limb.joints[2] + frame[:, 2] * (ahead * (1 + thickness * 2))[:, None] + frame[:, 1] * middle[:, None]
    rings = Rings(
        centres=centres.astype(np.float32),
        side=np.broadcast_to(frame[:, 0], (count, 3)),
        front=np.broadcast_to(frame[:, 1], (count, 3)),
        width=width * body.limbs**0.5 + thickness,
        ahead=half,
        behind=half,
        roundness=2.5,
    )
    return rings.patch(material, np.linspace(0, 1, count, dtype=np.float32), columns=14)


@dataclass(frozen=True)
class Drape:
    """Cloth that hangs from the trunk around both legs: skirts, coats, hems.

    Args:
        top: where it starts on the trunk, 0 (crotch) to 1 (neck).
        hem: where it ends on the legs, 0 (hip) to 1 (ankle); below 0.05 it ends on the trunk.
        thickness: metres outside the trunk.
        flare: metres more at the hem.
        gap: half-angle of the opening in front, radians; 0 is closed.
        folds: metres of waviness at the hem; ``fold_count`` waves around.
    """

    top: float
    hem: float
    thickness: float
    flare: float = 0.02
    gap: float = 0.0
    folds: float = 0.0
    fold_count: int = 9


def drape(skeleton: Skeleton, shape: Drape, material: Material, lift: float = 0.004) -> Patch:
    """The cloth of ``shape``; ``along`` falls from 1 at the top to 0 at the hem."""
    angles = np.linspace(shape.gap, 2 * np.pi - shape.gap, 29, dtype=np.float32)
    bottom = 0.14 if shape.hem > 0.05 else 0.14 - shape.hem
    at = np.linspace(shape.top, bottom, max(int((shape.top - bottom) * 26), 4), dtype=np.float32)
    loose = shape.thickness * (1 - smooth_step(at, 0.9, 1.0) * 0.8)
    if shape.top < 0.9:  # the upper edge lies close, so that it does not stand out as a ledge
        loose = loose * (0.45 + 0.55 * smooth_step(shape.top - at, 0.0, 0.16))
    rings = trunk_rings(skeleton, at, loose)
    points, centres = [rings.points(angles)], [rings.centres]
    if shape.hem > 0.05:
        hem = _lifted_hem(skeleton, shape.hem)
        below = np.linspace(0.03, hem, max(int(hem * 26), 3), dtype=np.float32)
        around_legs, middles = _around_legs(skeleton, below, angles, shape.thickness)
        points.append(around_legs)
        centres.append(middles)
    grid, middle = _smoothed(np.concatenate(points)), np.concatenate(centres)
    share = np.linspace(0, 1, len(grid), dtype=np.float32)
    outward = unit(grid - middle[:, None])
    wave = shape.folds * np.sin(angles * shape.fold_count + 2 * np.sin(angles * 2))
    grid = grid + outward * ((share**1.5)[:, None] * (shape.flare + wave))[..., None]
    columns = np.broadcast_to(angles, grid.shape[:2])
    return Patch(
        points=grid.astype(np.float32),
        along=np.broadcast_to(1 - share[:, None], grid.shape[:2]),
        around=columns,
        centres=middle,
        material=material,
        closed=shape.gap == 0,
        two_sided=True,
        lift=lift,
    )


def _lifted_hem(skeleton: Skeleton, hem: float) -> float:
    """Where a long hem ends when the thighs are raised: sitting and crouching pull it up."""
    raised = float(np.mean([1 - leg.upper[1, 1] for leg in skeleton.legs]))
    return min(hem, 0.25) + max(hem - 0.25, 0) * float(np.clip(1 - 0.8 * raised, 0.2, 1))


def _smoothed(grid: Floats) -> Floats:
    """The rows of a grid, smoothed downwards, with the first and last unchanged."""
    for _ in range(2):
        grid = np.concatenate([grid[:1], (grid[:-2] + 2 * grid[1:-1] + grid[2:]) / 4, grid[-1:]])
    return grid


def _around_legs(skeleton: Skeleton, along: Floats, angles: Floats, thickness: float) -> tuple[Floats, Floats]:
    """Rings that enclose both legs at ``along`` (n,): points (n, S, 3) and centres (n, 3)."""
    body = skeleton.body
    left, right = (_limb_rings(leg, along, KNEE)[0] for leg in skeleton.legs)
    middle = (left + right) / 2
    pelvis = skeleton.spine_frames[0]
    down = unit(np.gradient(middle, axis=0).astype(np.float32))
    side = np.broadcast_to(pelvis[:, 0], down.shape).astype(np.float32)
    front = unit(cross(down, side))
    radius = smooth_curve(along, _LEG_AT, _LEG_RADIUS) * body.height * 0.5 * (body.hips + body.limbs)
    outward = side[:, None] * np.sin(angles)[:, None] + front[:, None] * np.cos(angles)[:, None]
    spread = np.abs(np.einsum("rk,rsk->rs", (left - right) / 2, outward))
    # Cloth does not shrink below the hips: it hangs from their widest place.
    reach = (spread + radius[:, None]) * (0.88 + 0.12 * smooth_step(along, 0.0, 0.25))[:, None] + thickness
    reach = np.maximum(reach, 0.72 * np.maximum.accumulate(reach, axis=0))
    return np.asarray(middle[:, None] + outward * reach[..., None], np.float32), middle.astype(np.float32)
