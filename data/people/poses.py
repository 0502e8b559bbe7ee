"""How people stand, walk, run, sit and reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .skeleton import ArmPose, LegPose, Pose


def gait(phase: float, stride: float = 1.0, running: bool = False) -> Pose:
    """One moment of a walk or run.

    The curves are simple ones set by eye: the knee yields a little under load and bends most in mid-swing;
    the arms swing against the legs.

    Args:
        phase: 0 to 1 over two steps; the left heel strikes at 0.
        stride: factor of all swings.
    """
    left, right = _gait_leg(phase, stride, running), _gait_leg(phase + 0.5, stride, running)
    swing = float(np.cos(2 * np.pi * phase)) * stride
    elbow = 1.5 if running else 0.25
    reach = 0.75 if running else 0.42

    def arm(sign: float) -> ArmPose:
        return ArmPose(
            forward=-sign * reach * swing - (0.15 if running else 0.02),
            sideways=0.13,
            elbow=elbow + 0.18 * max(-sign * swing, 0.0),
            curl=0.9 if running else 0.5,
        )

    return Pose(
        lean=0.18 if running else 0.03,
        bend=0.05,
        turn=-0.14 * swing,
        side_bend=0.03 * float(np.sin(2 * np.pi * phase)),
        left_arm=arm(1),
        right_arm=arm(-1),
        left_leg=left,
        right_leg=right,
    )


def _gait_leg(phase: float, stride: float, running: bool) -> LegPose:
    turn = 2 * np.pi * phase
    hip = 0.10 + (0.62 if running else 0.40) * np.cos(turn)
    swing = np.exp(-((((phase % 1.0) - 0.73) / 0.12) ** 2))
    load = np.exp(-((((phase % 1.0) - 0.12) / 0.09) ** 2))
    knee = (0.25 if running else 0.06) + (1.55 if running else 1.0) * swing + 0.22 * load
    push = np.exp(-((((phase % 1.0) - 0.58) / 0.08) ** 2))
    strike = np.exp(-((np.minimum(phase % 1.0, 1 - phase % 1.0) / 0.06) ** 2))
    foot = 0.28 * strike - 0.45 * push
    return LegPose(
        forward=float(hip * stride),
        sideways=0.02,
        twist=0.08,
        knee=float(knee * stride),
        foot=float(foot * stride - 0.1 * hip),
    )


def _hanging(rng: np.random.Generator) -> ArmPose:
    return ArmPose(
        forward=rng.normal(0.0, 0.16),
        sideways=rng.uniform(0.06, 0.3),
        twist=rng.uniform(0.0, 0.4),
        elbow=rng.uniform(0.08, 0.6),
        curl=rng.uniform(0.1, 0.9),
    )


def _on_hip(rng: np.random.Generator) -> ArmPose:
    return ArmPose(
        forward=rng.uniform(-0.45, -0.1),
        sideways=rng.uniform(0.6, 0.9),
        twist=rng.uniform(1.1, 1.5),
        elbow=rng.uniform(1.5, 1.9),
        curl=0.5,
    )


def _holding(rng: np.random.Generator) -> ArmPose:
    """The forearm in front of the trunk, as with a phone, a plate or a handlebar."""
    return ArmPose(
        forward=rng.uniform(0.1, 0.8),
        sideways=rng.uniform(0.05, 0.4),
        twist=rng.uniform(0.1, 0.9),
        elbow=rng.uniform(0.9, 2.0),
        curl=rng.uniform(0.7, 1.2),
    )


def _forward(rng: np.random.Generator) -> ArmPose:
    return ArmPose(
        forward=rng.uniform(0.8, 1.9),
        sideways=rng.uniform(0.0, 0.5),
        elbow=rng.uniform(0.1, 0.8),
        curl=rng.uniform(0.2, 1.2),
    )


def _sideways(rng: np.random.Generator) -> ArmPose:
    return ArmPose(
        forward=rng.uniform(-0.3, 0.4),
        sideways=rng.uniform(0.7, 1.7),
        twist=rng.uniform(-0.8, 0.4),
        elbow=rng.uniform(0.1, 1.0),
        curl=rng.uniform(0.1, 1.0),
    )


def _raised(rng: np.random.Generator) -> ArmPose:
    return ArmPose(
        forward=rng.uniform(0.0, 0.5),
        sideways=rng.uniform(1.8, 2.9),
        twist=rng.uniform(-1.8, -0.8),
        elbow=rng.uniform(0.1, 1.3),
        curl=rng.uniform(0.1, 1.0),
    )


_ArmStyle = Callable[[np.random.Generator], ArmPose]
_ARM_STYLES: tuple[_ArmStyle, ...] = (_hanging, _on_hip, _holding, _forward, _sideways, _raised)


def _random_arm(rng: np.random.Generator, hanging: float) -> ArmPose:
    rest = 1 - hanging
    shares = [hanging, rest * 0.14, rest * 0.36, rest * 0.2, rest * 0.14, rest * 0.16]
    return _ARM_STYLES[int(rng.choice(len(_ARM_STYLES), p=shares))](rng)


def _standing(rng: np.random.Generator) -> Pose:
    shift = float(rng.normal(0, 0.06))
    relaxed = float(rng.uniform(0, 0.35))
    legs = [
        LegPose(
            forward=rng.normal(0.04, 0.07) + bend * 0.5,
            sideways=rng.uniform(0.0, 0.13) + sign * shift * 0.5,
            twist=rng.uniform(0.0, 0.4),
            knee=rng.uniform(0, 0.08) + bend,
        )
        for sign, bend in ((1, max(relaxed - 0.15, 0)), (-1, 0.0))
    ]
    if rng.random() < 0.5:
        legs.reverse()
    return Pose(bend=rng.normal(0.05, 0.07), side_bend=shift, left_leg=legs[0], right_leg=legs[1])


def _walking(rng: np.random.Generator) -> Pose:
    return gait(float(rng.random()), float(rng.uniform(0.6, 1.25)))


def _running(rng: np.random.Generator) -> Pose:
    return gait(float(rng.random()), float(rng.uniform(0.7, 1.2)), running=True)


def _sitting(rng: np.random.Generator) -> Pose:
    lean = float(rng.uniform(-0.3, 0.25))
    legs = [
        LegPose(
            forward=rng.uniform(1.25, 1.65) + lean,
            sideways=rng.uniform(0.02, 0.35),
            twist=rng.uniform(-0.1, 0.3),
            knee=rng.uniform(0.8, 1.75),
        )
        for _ in range(2)
    ]
    return Pose(lean=lean, bend=rng.uniform(0, 0.35), left_leg=legs[0], right_leg=legs[1])


def _crouching(rng: np.random.Generator) -> Pose:
    lean = float(rng.uniform(0.3, 0.8))
    deep = float(rng.uniform(0.5, 1.0))
    legs = [
        LegPose(
            forward=lean + deep * rng.uniform(1.1, 1.4),
            sideways=rng.uniform(0.1, 0.5),
            twist=rng.uniform(0.1, 0.4),
            knee=deep * rng.uniform(1.7, 2.2),
            foot=deep * 0.45,
        )
        for _ in range(2)
    ]
    return Pose(lean=lean, bend=rng.uniform(0, 0.3), head_nod=-0.3, left_leg=legs[0], right_leg=legs[1])


def _lunging(rng: np.random.Generator) -> Pose:
    """Sport: legs wide, trunk bent and turned."""
    legs = [
        LegPose(
            forward=rng.uniform(-0.5, 1.0),
            sideways=rng.uniform(0.15, 0.65),
            twist=rng.uniform(0.0, 0.5),
            knee=rng.uniform(0.15, 1.2),
            foot=rng.uniform(-0.3, 0.2),
        )
        for _ in range(2)
    ]
    return Pose(
        lean=rng.uniform(0.0, 0.5),
        bend=rng.uniform(-0.1, 0.4),
        side_bend=rng.normal(0, 0.15),
        turn=rng.normal(0, 0.3),
        head_nod=-0.15,
        left_leg=legs[0],
        right_leg=legs[1],
    )


def random_pose(rng: np.random.Generator) -> Pose:
    """A whole pose: stance, arms and head."""
    stances = (_standing, _walking, _running, _sitting, _crouching, _lunging)
    which = int(rng.choice(len(stances), p=[0.42, 0.2, 0.08, 0.12, 0.05, 0.13]))
    pose = stances[which](rng)
    swinging = which in (1, 2) and rng.random() < 0.75
    if not swinging:
        hanging = 0.5 if which == 0 else 0.15
        left, right = _random_arm(rng, hanging), _random_arm(rng, hanging)
        if rng.random() < 0.25:
            right = left
        pose = replace(pose, left_arm=left, right_arm=right)
    return replace(
        pose,
        turn=pose.turn + rng.normal(0, 0.08),
        head_turn=rng.normal(0, 0.3),
        head_nod=pose.head_nod + rng.normal(0.06, 0.17),
        head_tilt=rng.normal(0, 0.09),
        shrug=max(rng.normal(0, 0.3), 0.0),
    )
