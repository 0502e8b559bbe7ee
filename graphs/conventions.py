"""How somebody else's network sees images and gives answers: by a preset, by hand, or both; nothing is guessed.

What is not said and cannot be read from the graph is refused, with the word that says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..specs.framing import Framing
from ..specs.label_set import LabelSet, label_set, label_sets
from ..specs.skeleton import Skeleton, load_skeleton
from .facts import GraphFacts, Value
from .published import INPUT_TYPES, Preset, channel_axis, misfits, preset, presets

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Said:
    """What somebody says of a network that is not ours; None where they say nothing.

    Args:
        preset: name of a published network.
        labels: what its classes mean.
        skeleton: what its joints are.
        order: of the channels that it computes with, ``RGB`` or ``BGR``.
        mean, std: of these channels, in their order, of values from 0 to 1.
        layout: ``NCHW`` or ``NHWC``.
        output: name of the output with its scores, or its labels.
        align_corners: of the resize that raises its scores to the input.
        returns: what goes back onto the image, ``labels`` or ``logits``.
        stretch: how far images' shapes are changed to fill its input.
        input_size: (height, width), where the graph leaves it open.
        batch: frames per call, where the graph leaves it open; None for any number.
    """

    preset: str | None = None
    labels: LabelSet | None = None
    skeleton: Skeleton | None = None
    order: str | None = None
    mean: Three | None = None
    std: Three | None = None
    layout: str | None = None
    output: str | None = None
    align_corners: bool | None = None
    returns: str | None = None
    stretch: float | None = None
    input_size: tuple[int, int] | None = None
    batch: int | None = 1

    def __post_init__(self) -> None:
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and any(value > 1.5 for value in values):
                told = ",".join(f"{value:g}" for value in values)
                scaled = ",".join(f"{value / 255:.6g}" for value in values)
                raise UsageError(
                    f"{name} {told} is of values from 0 to 255; it is given of values from 0 to 1.",
                    f"Give {name} {scaled}.",
                )

    @property
    def known(self) -> Preset | None:
        """The preset that was named.

        Raises:
            UsageError: there is none of the name.
        """
        return None if self.preset is None else preset(self.preset)

    @property
    def task(self) -> str:
        """``parsing``, ``pose`` or ``people``; by hand it is parsing.

        Raises:
            UsageError: there is no such preset.
        """
        return "parsing" if self.known is None else self.known.task

    def label_set(self, what: str) -> LabelSet:
        """What the classes mean.

        Args:
            what: the graph, for messages.

        Raises:
            UsageError: neither a preset nor anything else says it.
        """
        if self.labels is not None:
            return self.labels
        known = self.known
        if known is None:
            raise UsageError(
                f"{what} does not say what its classes mean.",
                f"Give --labels {'|'.join(label_sets())} or a TOML file, "
                f"or --preset {'|'.join(presets_of('parsing'))}.",
            )
        return label_set(known.labels)

    def spec(self, what: str) -> LabelSet | Skeleton:
        """What the classes mean, or what the joints are.

        Args:
            what: the graph, for messages.

        Raises:
            UsageError: nothing says it, or what was said is of another task.
        """
        known = self.known
        if known is not None and known.task == "people":
            joints = ("--labels", self.skeleton)
            self._refuse_of_maps(f"{what} finds people, as {known.name} does", joints, hint="Leave that out.")
            return label_set(known.labels)
        if known is not None and known.task == "pose":
            return self.joints(what)
        if self.skeleton is not None:
            raise UsageError(
                f"{what} tells classes apart, and {self.skeleton} has joints."
                if known is not None
                else f"How {what} gives joints nobody said.",
                f"Give --labels a label set, or --preset {'|'.join(presets_of('pose'))}.",
            )
        return self.label_set(what)

    def joints(self, what: str) -> Skeleton:
        """What the joints of a network with a preset for poses are.

        Args:
            what: the graph, for messages.

        Raises:
            UsageError: what was said is of label maps.
        """
        known = self.known
        assert known is not None, "the preset says that it is for poses"
        self._refuse_of_maps(
            f"{what} finds joints, as {known.name} does",
            ("--stretch", self.stretch),
            hint="Leave that out; --labels takes a skeleton, such as coco17.",
        )
        if known.decoding["kind"] == "heatmaps":
            raise UsageError(
                f"{what} gives heatmaps, as {known.name} does, and what decodes them is made of its checkpoint alone.",
                "Build the checkpoint that its authors released (.pth): trtparse build CHECKPOINT knows it by its "
                "tensors.",
            )
        return self.skeleton or load_skeleton(known.skeleton)

    def _refuse_of_maps(self, what: str, *more: tuple[str, object], hint: str) -> None:
        """Refuse what is about label maps, and ``more``, pairs of an option and its value."""
        about = (
            ("--labels with classes", self.labels),
            ("--align-corners", self.align_corners),
            ("--returns", self.returns),
            ("--output-name", self.output),
        )
        given = [word for word, value in (*about, *more) if value is not None]
        if given:
            raise UsageError(f"{what}, and {', '.join(given)} is about label maps.", hint)


@dataclass(frozen=True)
class Convention:
    """All that is needed to give a graph our input and outputs.

    Args:
        framing: how images become its frames.
        task: ``parsing``, ``pose`` or ``people``.
        spec: what its classes mean, or what its joints are.
        layout: of its input and of its scores, ``NCHW`` or ``NHWC``.
        output: name of the output with its scores or labels; empty where the graph has one that can be it.
        position: of that output among several that can be it.
        person: name of an output that says whether there is a person at all; empty for none.
        align_corners: of the resize that raises its scores to the input; None where nobody said.
        batch: frames per call; None for any number.
        preset: where it is from; empty by hand.
        decoding: how answers are read, where they are no label maps.
    """

    framing: Framing
    task: str
    spec: LabelSet | Skeleton
    layout: str
    output: str = ""
    position: int | None = None
    person: str = ""
    align_corners: bool | None = None
    batch: int | None = 1
    preset: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_set(self) -> LabelSet:
        """What its classes mean, of a network that has some."""
        assert isinstance(self.spec, LabelSet)
        return self.spec

    @property
    def skeleton(self) -> Skeleton:
        """What its joints are, of a network that finds some."""
        assert isinstance(self.spec, Skeleton)
        return self.spec


def convention_of(said: Said, facts: GraphFacts, path: Path) -> Convention:
    """Bring together what was said and what the graph tells.

    Args:
        said: by whoever builds.
        facts: of the graph.
        path: of the graph, for messages.

    Raises:
        UsageError: something is missing or does not fit; says all of it, and how to say it.
    """
    known, meant = said.known, said.spec(str(path))
    taken = check_input(facts, path)
    if known is not None:
        _check_fits(known, said, facts, len(meant), path)
    layout = said.layout or (known.layout if known is not None else _layout_of(taken))
    missing = [] if layout else ["--layout nchw|nhwc"]
    size = _size(said, known, taken, layout, path) if layout else (1, 1)
    if size is None:
        missing.append("--input-size HEIGHTxWIDTH")
    framing = None if known is None else known.framing
    order, mean, std = (
        getattr(said, name) or (getattr(framing, name) if framing is not None else None)
        for name in ("order", "mean", "std")
    )
    missing += [
        f"--{word}"
        for word, value in (("input-order rgb|bgr", order), ("mean R,G,B", mean), ("std R,G,B", std))
        if value is None
    ]
    if missing or size is None or order is None or mean is None or std is None or not layout:
        fitting = [name for name, reasons in fits(facts).items() if not reasons]
        preset_too = f"a preset that fits: --preset {'|'.join(fitting)}" if fitting else "the preset of a published one"
        raise UsageError(
            f"{path} takes {taken}, and how images become that nobody said: {', '.join(missing)}.",
            f"Give these, or {preset_too}.",
        )
    known_framing = framing or Framing(size)
    # A file whose output is named by hand may give no such output: then its scores have to say it.
    person = "" if known is None or known.person not in [one.name for one in facts.outputs] else known.person
    return Convention(
        framing=replace(
            known_framing,
            input_size=size,
            stretch=said.stretch or known_framing.stretch,
            order=order,
            mean=mean,
            std=std,
            returns=said.returns or known_framing.returns,
        ),
        task=said.task,
        spec=meant,
        layout=layout,
        output=said.output or ("" if known is None else known.output),
        position=None if known is None or said.output else known.position,
        person=person,
        align_corners=said.align_corners if said.align_corners is not None or known is None else known.align_corners,
        batch=_batch(said, taken, path),
        preset="" if known is None else known.name,
        decoding={} if known is None else known.decoding,
    )


def fits(facts: GraphFacts) -> dict[str, list[str]]:
    """Every preset, and why a graph is not what it describes; no reason where nothing speaks against it."""
    return {
        name: misfits(one, facts, len(label_set(one.labels)) if one.labels else None) for name, one in presets().items()
    }


def presets_of(task: str) -> list[str]:
    """The presets of a task."""
    return [name for name, one in presets().items() if one.task == task]


def check_input(facts: GraphFacts, path: Path) -> Value:
    """See that a graph takes one image or more, and nothing else.

    Raises:
        UsageError: it has several inputs, or one that is no image; or operators that nothing here sees into.
    """
    for operator, node in facts.foreign:
        raise UsageError(
            f"{path} holds {operator} ({node}), which is none of ONNX's own operators: neither calibration nor "
            "TensorRT knows it.",
            "Export the graph without a runtime's own optimisations and without custom operators.",
        )
    for operator, node in facts.control_flow:
        raise UsageError(
            f"{path} holds {operator} ({node}), which decides at run time what is computed: neither calibration nor "
            "TensorRT's INT8 sees into it.",
            "Export the graph by tracing, or fold its constants first, as onnxslim does.",
        )
    if facts.quantised:
        raise UsageError(
            f"{path} came quantised: {facts.quantised} of its nodes make, read or compute with integers.",
            "Give the FP32 graph that it was made from; INT8 is made of that, and measured.",
        )
    told = "; ".join(map(str, facts.inputs)) or "nothing"
    if len(facts.inputs) != 1:
        raise UsageError(f"{path} takes {told}: one input is wanted, of images.", "Export it with the image alone.")
    taken = facts.inputs[0]
    if taken.shape is None or len(taken.shape) != 4 or taken.dtype not in INPUT_TYPES:
        raise UsageError(
            f"{path} takes {told}: wanted are images, four axes of {', '.join(INPUT_TYPES)}.", "Export it so."
        )
    return taken


def _check_fits(known: Preset, said: Said, facts: GraphFacts, classes: int, path: Path) -> None:
    """See that a preset describes the graph, but for what is said otherwise."""
    if said.output is not None:
        known = replace(known, output="", person="")
    if said.layout is not None:
        known = replace(known, layout=said.layout)
    if said.input_size is not None:
        known = replace(known, framing=known.framing.resized(said.input_size))
    # How many classes there are is checked on the answers themselves, as files often leave shapes open.
    reasons = misfits(known, facts, classes)
    if reasons:
        outputs = "; ".join(map(str, facts.outputs))
        raise UsageError(
            f"{path} is not what the preset {known.name} describes: {'; '.join(reasons)}. It gives {outputs}.",
            "trtparse inspect says which presets fit. What differs can be said by hand: --output-name, --layout, "
            "--input-size, --labels.",
        )


def _layout_of(taken: Value) -> str:
    """Where the three channels are; empty where that cannot be told."""
    found = [layout for layout in ("NCHW", "NHWC") if taken.length(channel_axis(layout)) == 3]
    return found[0] if len(found) == 1 else ""


def _size(said: Said, known: Preset | None, taken: Value, layout: str, path: Path) -> tuple[int, int] | None:
    """(height, width) of the frames: the graph's own where it is fixed."""
    if taken.length(channel_axis(layout)) not in (3, None):
        raise UsageError(f"{path} takes {taken}, which is not {layout} with three channels.", "Give --layout.")
    first = 2 if layout == "NCHW" else 1
    own = taken.length(first), taken.length(first + 1)
    fixed = None if own[0] is None or own[1] is None else (own[0], own[1])
    free = known is not None and known.size_step > 0
    preferred = known.framing.input_size if known is not None and not (free and fixed) else fixed
    wanted = said.input_size or preferred
    if wanted is None:
        return None
    for have, want in zip(own, wanted):
        # The layers of a network whose sides are free slide over any image, whatever the file notes of its input; where
        # a constant of the file forbids it, a run tells.
        if have not in (None, want) and not free:
            raise UsageError(
                f"{path} takes {own[0] or '?'}x{own[1] or '?'} pixels (height x width), which are fixed, and not "
                f"{wanted[0]}x{wanted[1]}.",
                "Leave --input-size out, or export the graph at that size.",
            )
    if known is not None and not known.takes(wanted):
        near = known.near(wanted)
        raise UsageError(
            f"{known.name} takes sides of {known.sides} pixels, not {wanted[0]}x{wanted[1]}.",
            f"Give --input-size {near[0]}x{near[1]}.",
        )
    return wanted


def _batch(said: Said, taken: Value, path: Path) -> int | None:
    own = taken.length(0)
    if own is None:
        return said.batch
    if said.batch not in (own, 1):
        wanted = "any number of" if said.batch is None else said.batch
        raise UsageError(
            f"{path} takes {own} frame{'s' if own > 1 else ''} a call, which is fixed, and not {wanted}.",
            "Leave --batch out, or export the graph with its batch open.",
        )
    return own
