"""A person: a posed body in an outfit, as patches ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .clothing import GLOVE, SCARF, SOCKS, Bottom, Outfit, Top, random_outfit
from .fabric import Colour, Fabric, Layer, Layered, Region, band, plain, random_hair, random_skin
from .figure import Cover, arm, drape, foot, hand, leg, neck, trunk, trunk_rings
from .hair import HairStyle, hair_patches, hat_patches, random_hair_style
from .head import FACE, Skull, head_patches, paint_face, random_face
from .poses import random_pose
from .skeleton import Body, Pose, Skeleton, pose_body, random_body
from .surface import Floats, Patch, floats, full_turn, tube

_ARM_LABEL = {1: 14, -1: 15}
_LEG_LABEL = {1: 16, -1: 17}
_SHOE_LABEL = {1: 18, -1: 19}


@dataclass(frozen=True)
class Person:
    """Everything about a person that does not move.

    Args:
        skin_colour, skin: tone and surface.
        hair: style and surface; no style is bald.
        seed: of the face.
    """

    body: Body
    outfit: Outfit
    skin_colour: Colour
    skin: Fabric
    hair_style: HairStyle | None
    hair: Fabric
    seed: int

    def patches(self, pose: Pose) -> tuple[Skeleton, list[Patch]]:
        """The person in a pose: the joints and all surfaces, in the person's frame."""
        skeleton = pose_body(self.body, pose)
        patches = [*_trunk_patches(self, skeleton), *_scarf_patches(self, skeleton)]
        for limb in skeleton.arms:
            patches += _arm_patches(self, skeleton, limb.side)
        for limb in skeleton.legs:
            patches += _leg_patches(self, skeleton, limb.side)
        return skeleton, patches + _head_patches(self, skeleton)


def random_person(rng: np.random.Generator) -> Person:
    """Anybody."""
    body = random_body(rng)
    colour, skin = random_skin(rng)
    return Person(
        body=body,
        outfit=random_outfit(rng, body),
        skin_colour=colour,
        skin=skin,
        hair_style=random_hair_style(rng, body.female, body.old),
        hair=random_hair(rng, body.old),
        seed=int(rng.integers(1 << 31)),
    )


def _neckline(top: Top) -> Region:
    """Bare skin at the top of the trunk, deepest in front; sleeveless tops have straps."""
    depth = 0.03 + 0.2 * top.neckline
    pointed = top.collar or top.neckline > 0.5

    def region(along: Floats, around: Floats) -> NDArray[np.bool_]:
        away = np.abs(around) / 0.85
        front = np.clip(1 - away, 0, 1) if pointed else np.sqrt(np.clip(1 - away**2, 0, 1))
        bare = along > 0.97 - depth * front
        if top.sleeve <= 0:
            strap = np.abs(np.abs(around) - 0.95) < 0.28
            strap |= np.abs(np.abs(around) - 2.2) < 0.28
            bare |= (along > 0.84) & ~strap
        return np.asarray(bare)

    return region


def _bib(along: Floats, around: Floats) -> NDArray[np.bool_]:
    away = np.abs(around)
    strap = (np.abs(away - 0.5) < 0.11) | (np.abs(away - 2.6) < 0.13)
    return np.asarray(((along < 0.74) & (away < 0.62)) | (strap & (along > 0.3)))


def _buttons(along: Floats, around: Floats) -> NDArray[np.bool_]:
    """The edge where a shirt or coat closes."""
    return np.asarray(np.abs(around - 0.10) < 0.018)


def _emblem(along: Floats, around: Floats) -> NDArray[np.bool_]:
    """A print on the chest."""
    return np.asarray((np.abs(around) < 0.45) & (np.abs(along - 0.68) < 0.07))


def _darker(fabric: Fabric, factor: float = 0.55) -> Fabric:
    return replace(fabric, tile=fabric.tile * np.float32(factor))


def _cloth_layers(top: Top, bottom: Bottom) -> list[Layer]:
    """The trunk's cloth, with a waistband, a print and the edge of a shirt front."""
    layers = [
        Layer(bottom.label, bottom.fabric),
        Layer(bottom.label, _darker(bottom.fabric, 0.7), band(bottom.waist - 0.05, bottom.waist, 0.006)),
        Layer(top.label, top.fabric, band(bottom.waist, 2, 0.006)),
    ]
    if top.emblem is not None:
        layers.append(Layer(top.label, top.emblem, _emblem))
    elif top.buttons:
        layers.append(Layer(top.label, _darker(top.fabric), lambda t, a: _buttons(t, a) & (t > bottom.waist)))
    if bottom.bib:
        layers.append(Layer(bottom.label, bottom.fabric, _bib))
    return layers


def _trunk_patches(person: Person, skeleton: Skeleton) -> list[Patch]:
    outfit, body = person.outfit, person.body
    top, bottom = outfit.top, outfit.bottom
    layers = _cloth_layers(top, bottom)
    if top.neckline > 0:
        layers.append(Layer(FACE, person.skin, _neckline(top)))
    length, girth = 0.34 * body.height, 0.085 * body.height
    material = Layered(tuple(layers), length, girth, 0.1)
    loose = min(top.loose, 0.012)
    patches = [trunk(skeleton, material, loose), neck(skeleton, _neck_material(person))]
    # Each layer lies outside the one beneath it, and is drawn a little nearer, so that none pokes through.
    below = max(bottom.loose, loose) + 0.004
    if bottom.drape is not None:
        shape = replace(bottom.drape, thickness=max(bottom.drape.thickness, below))
        patches.append(drape(skeleton, shape, plain(bottom.label, bottom.fabric, 0.7, girth, 0.3), 0.004))
        below = shape.thickness + 0.4 * shape.flare
    if top.drape is not None:
        shape = replace(top.drape, thickness=max(top.drape.thickness, below + 0.004))
        patches.append(drape(skeleton, shape, plain(top.label, top.fabric, length * 0.6, girth, 0.1), 0.006))
        below = shape.thickness + shape.flare
    if outfit.coat is not None and outfit.coat.drape is not None:
        shape = replace(outfit.coat.drape, thickness=max(outfit.coat.drape.thickness, below + 0.006))
        coat = [Layer(outfit.coat.label, outfit.coat.fabric)]
        if outfit.coat.buttons:
            coat.append(Layer(outfit.coat.label, _darker(outfit.coat.fabric), _buttons))
        material = Layered(tuple(coat), length * (1 + shape.hem), girth, 0.2)
        patches.append(drape(skeleton, shape, material, 0.012))
    return patches + _collar_patches(person, skeleton)


def _neck_material(person: Person) -> Layered:
    layers = [Layer(FACE, person.skin)]
    if person.outfit.top.neckline == 0:
        layers.append(Layer(person.outfit.top.label, person.outfit.top.fabric, band(-1, 0.55)))
    return Layered(tuple(layers), 0.12, 0.06, 0.4)


def _collar_patches(person: Person, skeleton: Skeleton) -> list[Patch]:
    """A collar of the outermost garment that has one: a ring that stands around the neck, open in front."""
    garment = person.outfit.coat or person.outfit.top
    if not garment.collar:
        return []
    height = person.body.height
    angles = np.linspace(0.3, 2 * np.pi - 0.3, 25, dtype=np.float32)
    rows = []
    for at, wide, up in ((0.95, 0.030, 0.0), (1.0, 0.026, 0.018), (1.0, 0.020, 0.034), (0.96, 0.034, 0.016)):
        rings = trunk_rings(skeleton, floats([at]), wide * height * 0.5)
        ring = rings.points(angles)[0]
        drop = 0.022 * (np.cos(angles) + 1) / 2
        rows.append(ring + skeleton.spine_frames[-1][:, 1] * ((up - drop) * height)[:, None])
    grid = np.stack(rows).astype(np.float32)
    shape = grid.shape[:2]
    along = np.broadcast_to(np.linspace(0, 1, 4, dtype=np.float32)[:, None], shape)
    centres = np.repeat(skeleton.neck[None], 4, 0)
    material = plain(garment.label, garment.fabric, 0.1, 0.06, 0.5)
    around = np.broadcast_to(angles, shape)
    return [Patch(grid, along, around, centres, material, closed=False, two_sided=True, lift=0.02)]


def _scarf_patches(person: Person, skeleton: Skeleton) -> list[Patch]:
    fabric = person.outfit.scarf
    if fabric is None:
        return []
    height, frame = person.body.height, skeleton.spine_frames[-1]
    angles = full_turn(20)
    thick = 0.021 * height
    reach = 0.036 * height * person.body.neck + thick * 0.7
    local = np.stack([reach * np.sin(angles), -0.018 * height * np.cos(angles), reach * 1.1 * np.cos(angles)], 1)
    loop = skeleton.neck + frame[:, 1] * (0.012 * height) + local.astype(np.float32) @ frame.T
    material = plain(SCARF, fabric, 0.4, 0.03, 0.6)
    patches = [tube(loop.astype(np.float32), frame[:, 1], thick, material, columns=10, flatness=0.75)]
    if person.outfit.scarf_tail:
        at = np.linspace(0.96, 0.5, 8, dtype=np.float32)
        rings = trunk_rings(skeleton, at, 0.035)
        path = rings.points(floats([0.35]))[:, 0]
        patches.append(tube(path, frame[:, 0], 0.028 * height, material, columns=10, flatness=0.3))
    return patches


def _arm_patches(person: Person, skeleton: Skeleton, side: int) -> list[Patch]:
    limb = skeleton.arms[0 if side > 0 else 1]
    outfit, body, label = person.outfit, person.body, _ARM_LABEL[side]
    length, girth = 0.32 * body.height, 0.028 * body.height
    sleeve_label, cloth, cover = outfit.sleeve()
    layers, covers = [Layer(label, person.skin)], []
    if outfit.coat is not None and cover is None and outfit.top.sleeve > 0:
        # A sleeveless coat shows the sleeve beneath it.
        sleeve_label, cloth = outfit.top.label, outfit.top.fabric
        cover = Cover(0.0, outfit.top.sleeve, outfit.top.loose)
    if cover is not None:
        layers.append(Layer(sleeve_label, cloth, band(-1, cover.end)))
        covers.append(cover)
    glove = 0.004 * body.height
    if outfit.gloves is not None:
        layers.append(Layer(GLOVE, outfit.gloves, band(0.92, 2)))
        covers.append(Cover(0.92, 1.0, glove))
    arm_material = Layered(tuple(layers), length, girth, 0.2 + 0.3 * side)
    hand_skin = plain(label, person.skin, 0.1, 0.02)
    if outfit.gloves is not None:
        hand_skin = plain(GLOVE, outfit.gloves, 0.15, 0.03)
    return [
        arm(limb, body, arm_material, covers),
        *hand(limb, body, hand_skin, glove if outfit.gloves is not None else 0.0),
    ]


def _leg_patches(person: Person, skeleton: Skeleton, side: int) -> list[Patch]:
    limb = skeleton.legs[0 if side > 0 else 1]
    body, bottom, feet = person.body, person.outfit.bottom, person.outfit.feet
    layers, covers = [Layer(_LEG_LABEL[side], person.skin)], []
    if feet.socks is not None:
        layers.append(Layer(SOCKS, feet.socks, band(feet.sock_top, 2, 0.003)))
        covers.append(Cover(feet.sock_top, 1.0, 0.0025))
    if bottom.leg_end > 0:
        layers.append(Layer(bottom.label, bottom.fabric, band(-1, bottom.leg_end)))
        folds = 0.0025 if bottom.leg_end > 0.8 else 0.0
        covers.append(Cover(0.0, bottom.leg_end, bottom.loose, bottom.flare, folds))
    shoe = feet.fabric
    if shoe is not None:
        start = 0.965 - 0.44 * feet.boot
        if feet.boot > 0 and (bottom.leg_end < 0.6 or bottom.loose < 0.01):
            layers.append(Layer(_SHOE_LABEL[side], shoe, band(start, 2)))
            covers.append(Cover(start, 1.0, 0.008 + 0.5 * bottom.loose))
    material = Layered(tuple(layers), 0.48 * body.height, 0.045 * body.height, 0.7 + 0.3 * side)
    return [leg(limb, body, material, covers), foot(limb, body, _foot_material(person, side), 0.003 if shoe else 0.0)]


def _foot_material(person: Person, side: int) -> Layered:
    feet = person.outfit.feet
    if feet.fabric is None:
        if feet.socks is not None:
            return plain(SOCKS, feet.socks, 0.25, 0.04)
        return plain(_LEG_LABEL[side], person.skin, 0.25, 0.04)

    def sole(along: Floats, around: Floats) -> NDArray[np.bool_]:
        return np.asarray(np.abs(around) > 2.15)

    label = _SHOE_LABEL[side]
    return Layered((Layer(label, feet.fabric), Layer(label, feet.sole, sole)), 0.25, 0.04)


def _head_patches(person: Person, skeleton: Skeleton) -> list[Patch]:
    rng = np.random.default_rng(person.seed)
    skull = Skull(skeleton, float(rng.uniform(0.9, 1.1)) * (0.95 if person.body.female else 1.04))
    hair_colour = person.hair.tile.reshape(-1, 3).mean(0)
    tint: Colour = (float(hair_colour[0]), float(hair_colour[1]), float(hair_colour[2]))
    face = paint_face(random_face(rng, person.skin_colour, tint, skeleton, person.outfit.glasses), person.skin.gloss)
    patches = head_patches(skull, face, person.skin)
    hat, cloth = person.outfit.hat, person.outfit.hat_fabric
    if person.hair_style is not None:
        patches += hair_patches(skull, person.hair_style, person.hair, under_hat=hat is not None)
    if hat is not None and cloth is not None:
        patches += hat_patches(skull, hat, cloth)
    return patches


def random_posed_person(rng: np.random.Generator) -> tuple[Person, Pose]:
    """Anybody, doing anything."""
    return random_person(rng), random_pose(rng)
