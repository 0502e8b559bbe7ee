"""Stand-in engines with what their label maps mean."""

from __future__ import annotations

from trtparse.data.dataset import LabelMap
from trtparse.engines.base import Engine, OutputSpec
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.predictor import Predictor

LIP = label_set("lip")

HANDS = LabelSet(
    "Hands-4",
    ("Nothing", "Head", "Left hand", "Right hand"),
    ((0, 0, 0), (250, 10, 20), (30, 240, 40), (50, 60, 230)),
    flip_pairs=(("Left hand", "Right hand"),),
)
"""A label set that is nobody's."""


def label_maps(size: tuple[int, int]) -> tuple[OutputSpec, ...]:
    """What an engine says that gives label maps of (height, width)."""
    return (OutputSpec("labels", "uint8", size),)


def predicting(engine: Engine, stretch: float = 1.0, label_set: LabelSet = LIP) -> Predictor[LabelMap]:
    """The engine, its label maps of a label set."""
    return Predictor(engine, Parsing(label_set), Framing(engine.input_size, stretch))
