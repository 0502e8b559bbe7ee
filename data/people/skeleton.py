"""Bodies, poses and where they put the joints.

The frame is the person's: x to their left, y up, z forward, metres; the origin lies midway between the
hip joints. In a pose of zeros the person stands straight with hanging arms.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .surface import Floats, floats, rotation, smooth_step

SPINE_BOTTOM = -0.05
"""Crotch, in body heights above the hip joints."""

SPINE_TOP = 0.29
"""Base of the neck, in body heights above the hip joints."""


@dataclass(frozen=True)
class Body:
    """Proportions. Factors are 1 for an average adult.

    Args:
        height: metres.
        head: height of the head from chin to crown, in body heights.
        shoulders, hips, waist, chest_depth: factors of the trunk's widths and depth.
        belly, bust: how far they bulge, 0 to 1.
        limbs: factor of the thickness of arms and legs.
        legs: factor of the length of the legs.
        neck: factor of the neck's thickness.
        female, old: appearance that proportions alone do not give (hair, clothing).
    """

    height: float = 1.72
    head: float = 0.132
    shoulders: float = 1.0
    hips: float = 1.0
    waist: float = 1.0
    chest_depth: float = 1.0
    belly: float = 0.0
    bust: float = 0.0
    limbs: float = 1.0
    legs: float = 1.0
    neck: float = 1.0
    female: bool = False
    old: bool = False

    @property
    def age_scale(self) -> float:
        """How much larger than an adult's the head is for the height: 1 for adults, up to 1.7 for toddlers."""
        return self.head / 0.132


@dataclass(frozen=True)
class ArmPose:
    """Angles in radians: forward and sideways from hanging, about the arm's own axis, elbow, wrist, fingers."""

    forward: float = 0.0
    sideways: float = 0.12
    twist: float = 0.0
    elbow: float = 0.2
    wrist: float = 0.0
    curl: float = 0.4


@dataclass(frozen=True)
class LegPose:
    """Angles in radians: forward and sideways from straight down, turned out, knee, foot (toes up)."""

    forward: float = 0.0
    sideways: float = 0.05
    twist: float = 0.12
    knee: float = 0.03
    foot: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians.

    Args:
        lean: of the pelvis: forward.
        bend, side_bend, turn: of the chest against the pelvis: forward, to the left, to the left.
        head_turn, head_nod, head_tilt: to the left, down, to the left.
        left_arm, right_arm, left_leg, right_leg: the person's own left and right.
        shrug: how much both shoulders are raised, 0 to 1.
    """

    lean: float = 0.0
    bend: float = 0.0
    side_bend: float = 0.0
    turn: float = 0.0
    head_turn: float = 0.0
    head_nod: float = 0.0
    head_tilt: float = 0.0
    left_arm: ArmPose = field(default_factory=ArmPose)
    right_arm: ArmPose = field(default_factory=ArmPose)
    left_leg: LegPose = field(default_factory=LegPose)
    right_leg: LegPose = field(default_factory=LegPose)
    shrug: float = 0.0


@dataclass(frozen=True)
class Limb:
    """An arm or a leg.

    Args:
        joints: (3, 3) float32, metres: shoulder, elbow, wrist, or hip, knee, ankle.
        upper, lower, end: (3, 3) float32 rotations of the two bones and of the hand or foot.
        side: +1 for the person's left, -1 for their right.
        curl: bend of the fingers, radians per joint; 0 for legs.
    """

    joints: Floats
    upper: Floats
    lower: Floats
    end: Floats
    side: int
    curl: float = 0.0


@dataclass(frozen=True)
class Skeleton:
    """Joints of a posed body.

    Args:
        spine: (n, 3) float32, metres, from crotch to neck base, at ``spine_at`` (n,) from 0 to 1.
        spine_frames: (n, 3, 3) float32 rotations along the spine.
        neck: (3,) base of the neck; ``head`` (3,) bottom of the chin's ring, ``head_frame`` (3, 3).
        arms, legs: left first.
    """

    body: Body
    spine_at: Floats
    spine: Floats
    spine_frames: Floats
    neck: Floats
    head: Floats
    head_frame: Floats
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]

    def along_spine(self, at: Floats) -> tuple[Floats, Floats]:
        """Points (n, 3) and rotations (n, 3, 3) at ``at`` (n,), 0 the crotch and 1 the base of the neck."""
        index = np.clip(np.asarray(at) * (len(self.spine_at) - 1), 0, len(self.spine_at) - 1.001)
        left = index.astype(int)
        rest = (index - left).astype(np.float32)[:, None]
        points = self.spine[left] * (1 - rest) + self.spine[left + 1] * rest
        return points, self.spine_frames[left]

    def lowest(self) -> float:
        """Height of the lower foot's sole, metres (negative: below the hips)."""
        return min(float(leg.joints[2, 1]) for leg in self.legs) - 0.045 * self.body.height


def pose_body(body: Body, pose: Pose) -> Skeleton:
    """Where the joints of ``body`` lie in ``pose``."""
    pelvis = rotation("x", pose.lean)
    at = np.linspace(0, 1, 33, dtype=np.float32)
    share = smooth_step(at, 0.15, 0.75)
    frames = (
        pelvis
        @ rotation("y", pose.turn * share)
        @ rotation("z", -pose.side_bend * share)
        @ rotation("x", pose.bend * share)
    )
    step = (SPINE_TOP - SPINE_BOTTOM) * body.height / (len(at) - 1)
    spine = np.cumsum(frames[:, :, 1] * step, axis=0) + pelvis[:, 1] * (SPINE_BOTTOM * body.height - step)
    chest = frames[-1]
    shoulders = _shoulders(body, pose, spine, chest)
    head_frame = (
        chest
        @ rotation("x", -pose.bend * 0.5 - pose.lean * 0.5)
        @ rotation("y", pose.head_turn)
        @ rotation("z", -pose.head_tilt)
        @ rotation("x", pose.head_nod)
    )
    neck = spine[-1]
    neck_up = chest[:, 1] + head_frame[:, 1]
    chin = neck + neck_up * (0.021 * body.height) + head_frame[:, 2] * 0.014 * body.height
    hip = 0.052 * body.height * body.hips
    hips = [pelvis @ floats([sign * hip, 0, 0]) for sign in (1, -1)]
    return Skeleton(
        body=body,
        spine_at=at,
        spine=spine.astype(np.float32),
        spine_frames=frames.astype(np.float32),
        neck=neck.astype(np.float32),
        head=chin.astype(np.float32),
        head_frame=head_frame.astype(np.float32),
        arms=(
            _arm(body, pose.left_arm, shoulders[0], chest, 1),
            _arm(body, pose.right_arm, shoulders[1], chest, -1),
        ),
        legs=(_leg(body, pose.left_leg, hips[0], pelvis, 1), _leg(body, pose.right_leg, hips[1], pelvis, -1)),
    )


def _shoulders(body: Body, pose: Pose, spine: Floats, chest: Floats) -> list[Floats]:
    """The two shoulder joints; a raised arm lifts its shoulder and brings it inwards."""
    centre = spine[int(0.862 * (len(spine) - 1))]
    joints = []
    for sign, arm in ((1, pose.left_arm), (-1, pose.right_arm)):
        raised = float(smooth_step(max(abs(arm.forward), abs(arm.sideways)), 0.8, 2.8))
        out = (0.096 - 0.016 * raised) * body.height * body.shoulders
        up = (0.004 + 0.035 * raised + 0.02 * pose.shrug) * body.height
        forward = 0.012 * body.height * float(np.sin(arm.forward))
        joints.append(centre + chest @ floats([sign * out, up, forward]))
    return joints


def _arm(body: Body, pose: ArmPose, shoulder: Floats, chest: Floats, side: int) -> Limb:
    upper = (
        chest @ rotation("x", -pose.forward) @ rotation("z", side * pose.sideways) @ rotation("y", -side * pose.twist)
    )
    lower = upper @ rotation("x", -pose.elbow)
    hand = lower @ rotation("y", side * 0.9) @ rotation("z", side * pose.wrist)
    elbow = shoulder - upper[:, 1] * (0.172 * body.height)
    wrist = elbow - lower[:, 1] * (0.148 * body.height)
    joints = np.stack([shoulder, elbow, wrist]).astype(np.float32)
    return Limb(joints, floats(upper), floats(lower), floats(hand), side, pose.curl)


def _leg(body: Body, pose: LegPose, hip: Floats, pelvis: Floats, side: int) -> Limb:
    upper = (
        pelvis @ rotation("x", -pose.forward) @ rotation("z", side * pose.sideways) @ rotation("y", side * pose.twist)
    )
    lower = upper @ rotation("x", pose.knee)
    foot = lower @ rotation("x", -pose.foot)
    knee = hip - upper[:, 1] * (0.242 * body.height * body.legs)
    ankle = knee - lower[:, 1] * (0.238 * body.height * body.legs)
    return Limb(np.stack([hip, knee, ankle]).astype(np.float32), floats(upper), floats(lower), floats(foot), side)


def random_body(rng: np.random.Generator) -> Body:
    """A toddler, child, adolescent or adult, slim to heavy."""
    female = bool(rng.random() < 0.45)
    age = float(rng.choice([0.1, 0.35, 0.65, 1.0], p=[0.05, 0.1, 0.09, 0.76]))
    child = 1 - age
    weight = float(np.clip(rng.normal(0.05, 0.5), -0.9, 1.6))
    heavy = max(weight, 0.0)
    grown = female and age > 0.6
    return Body(
        height=(0.75 + 0.98 * age - 0.09 * grown) * float(rng.uniform(0.93, 1.08)),
        head=(0.134 + 0.072 * child) * float(rng.uniform(0.95, 1.07)),
        shoulders=(0.91 if grown else 1.0) * float(rng.uniform(0.94, 1.08)) * (1 + 0.1 * child),
        hips=(1.07 if grown else 0.99) * float(rng.uniform(0.95, 1.05)) * (1 + 0.16 * weight),
        waist=(0.88 if grown else 1.0) * (1 + 0.18 * weight + 0.22 * child),
        chest_depth=float(rng.uniform(0.93, 1.07)) * (1 + 0.1 * weight),
        belly=float(np.clip(heavy * rng.uniform(0.2, 0.8) + 0.2 * child, 0, 1)),
        bust=float(rng.uniform(0.25, 0.9)) if grown else 0.0,
        limbs=(0.9 if grown else 1.02) * (1 + 0.13 * weight) * (1 + 0.1 * child) * float(rng.uniform(0.94, 1.07)),
        legs=float(rng.uniform(0.96, 1.05)) * (1 - 0.13 * child),
        neck=(0.86 if grown else 1.02) * (1 + 0.08 * weight),
        female=female,
        old=bool(age == 1.0 and rng.random() < 0.15),
    )
