"""Presets: what graphs and checkpoints of published networks do not say of themselves, as data (``presets/*.toml``).

A preset has the framing, how the graph takes images and gives answers, what its classes or joints mean, and where all
of it was read. A new one is one file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..specs.framing import CropRule, Framing
from .facts import GraphFacts, Value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).with_name("presets")

LAYOUTS = ("NCHW", "NHWC")

INPUT_TYPES = ("float", "float16", "int32", "uint8")
"""Of an image that can be brought to a graph."""

_LEAST_ROW = 6
"""Numbers that YOLOX gives of a cell at the least: a box, whether there is something, one class."""


@dataclass(frozen=True)
class Preset:
    """What is known of one published network.

    Args:
        name: the word of ``--preset``.
        task: ``parsing``, ``pose`` or ``people``.
        about: what it is, in words for a person.
        source: where it was read.
        framing: how images become its frames, and answers go back.
        layout: of its input, one of ``LAYOUTS``.
        labels: word of its label set; empty for a network with joints.
        skeleton: word of its skeleton; empty for one with classes.
        family: of checkpoints that are the same network, as :mod:`~trtparse.networks.ce2p` names it; or empty.
        output: name of the output with its scores; empty where exporters differ.
        position: of that output, where the network gives several of one shape.
        person: name of an output that says whether there is a person at all; empty where the scores say it.
        align_corners: of the resize that raises its scores to the input.
        size_step: the sides of its input are multiples of it and ``size_rest`` more; 0 where they are as they are.
        size_rest: what is left of them.
        decoding: how answers are read, for tasks that do more than take an argmax.
    """

    name: str
    task: str
    about: str
    source: str
    framing: Framing
    layout: str
    labels: str = ""
    skeleton: str = ""
    family: str = ""
    output: str = ""
    position: int | None = None
    person: str = ""
    align_corners: bool | None = None
    size_step: int = 0
    size_rest: int = 0
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether its input may be of (height, width)."""
        return not self.size_step or all(side % self.size_step == self.size_rest for side in size)

    @property
    def sides(self) -> str:
        """Of its input, where they may be several: ``16k + 1``."""
        return f"{self.size_step}k" + (f" + {self.size_rest}" if self.size_rest else "")

    def near(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) that its input may be of, near another one."""
        height, width = (
            max(1, round((side - self.size_rest) / self.size_step)) * self.size_step + self.size_rest for side in size
        )
        return height, width


@lru_cache(maxsize=1)
def presets() -> dict[str, Preset]:
    """All presets by name."""
    return {path.stem: read_preset(path) for path in sorted(FOLDER.glob("*.toml"))}


def preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        UsageError: there is none; names those there are.
    """
    known = presets()
    if name not in known:
        raise UsageError(f"There is no preset {name!r}.", f"Choose of {', '.join(known)}.")
    return known[name]


def read_preset(path: Path) -> Preset:
    """Read a preset.

    Raises:
        UsageError: it cannot be read, or lacks or has an unknown entry.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        framing, graph = values.pop("framing"), values.pop("graph")
        framing |= {name: tuple(framing[name]) for name in ("input_size", "mean", "std")}
        if "crop" in framing:
            framing["crop"] = CropRule(**framing["crop"])
        return Preset(name=path.stem, framing=Framing(**framing), **graph, **values)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no preset that can be read: {error}.", "Those beside it show how.") from error


def misfits(of: Preset, facts: GraphFacts, classes: int | None = None) -> list[str]:
    """Why a graph is not what a preset describes; empty where nothing speaks against it.

    Args:
        of: the preset.
        facts: of the graph.
        classes: how many its label set has; None where it has none.
    """
    reasons = []
    if len(facts.inputs) != 1:
        return [f"it takes {len(facts.inputs)} inputs, not one"]
    taken = facts.inputs[0]
    if taken.shape is None or len(taken.shape) != 4:
        return [f"it takes {taken}, not images"]
    if taken.dtype not in INPUT_TYPES:
        reasons.append(f"it takes {taken.dtype}, not {', '.join(INPUT_TYPES)}")
    other = "NHWC" if of.layout == "NCHW" else "NCHW"
    channels = taken.length(channel_axis(of.layout))
    if channels not in (3, None) or (channels is None and taken.length(channel_axis(other)) == 3):
        reasons.append(f"its input is not {of.layout}")
        return reasons
    reasons += _wrong_size(of, taken)
    reasons += _wrong_answers(of, facts) if of.decoding else _wrong_scores(of, facts, classes)
    return reasons


def _wrong_size(of: Preset, taken: Value) -> list[str]:
    first = 2 if of.layout == "NCHW" else 1
    height, width = of.framing.input_size
    found = taken.length(first), taken.length(first + 1)
    if None in found:
        return []
    if of.size_step:
        return [] if of.takes((found[0] or 0, found[1] or 0)) else [f"its sides are not {of.sides}"]
    if found != (height, width):
        return [f"it takes {found[0]}x{found[1]} pixels, not {height}x{width} (height x width)"]
    return []


def _wrong_scores(of: Preset, facts: GraphFacts, classes: int | None) -> list[str]:
    names = {value.name: value for value in facts.outputs}
    reasons = [f"it has no output {name}" for name in (of.output, of.person) if name and name not in names]
    if reasons or classes is None:
        return reasons
    # What says whether there is a person at all adds the background.
    wanted = classes - 1 if of.person else classes
    candidates = [names[of.output]] if of.output else list(facts.outputs)
    axis = channel_axis(of.layout)
    counts = [value.length(axis) for value in candidates if value.shape is not None and len(value.shape) == 4]
    if counts and None not in counts and wanted not in counts:
        found = ", ".join(str(count) for count in counts)
        reasons.append(f"its outputs tell {found} classes apart, not {wanted}")
    return reasons


def _wrong_answers(of: Preset, facts: GraphFacts) -> list[str]:
    wanted = [str(name) for name in of.decoding.get("outputs", ())]
    names = [value.name for value in facts.outputs]
    if wanted:
        return [f"it has no output {name}" for name in wanted if name not in names]
    if len(names) != 1:
        return [f"it gives {len(names)} outputs, not one"]
    axes = {"yolox": 3}.get(str(of.decoding.get("kind")), 4)
    shape = facts.outputs[0].shape
    # A file may leave out the shape of an output altogether.
    if shape and len(shape) != axes:
        return [f"its output has {len(shape)} axes, not {axes}"]
    if of.decoding.get("kind") == "yolox" and shape and (facts.outputs[0].length(2) or _LEAST_ROW) < _LEAST_ROW:
        return [f"it gives {facts.outputs[0]}, not a box, whether there is something, and classes"]
    if of.decoding.get("kind") == "heatmaps" and facts.outputs[0].length(1) not in (None, _joints(of)):
        return [f"it gives {facts.outputs[0].length(1)} heatmaps, not {_joints(of)}"]
    if of.decoding.get("kind") == "keypoints" and shape and facts.outputs[0].length(3) not in (None, 3):
        return [f"it gives {facts.outputs[0]}, not y, x and score of joints"]
    return []


def _joints(of: Preset) -> int:
    from ..specs.skeleton import load_skeleton

    return len(load_skeleton(of.skeleton))


def channel_axis(layout: str) -> int:
    """Where the channels are."""
    return 1 if layout == "NCHW" else 3
