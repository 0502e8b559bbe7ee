"""Stand-in engines with what their label maps mean."""

from __future__ import annotations

from trtparse.data.dataset import LabelMap
from trtparse.engines.base import Engine, OutputSpec
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.base import Predictor
from trtparse.tasks.parsing.task import Parsing

LIP = label_set("lip")


def label_maps(size: tuple[int, int]) -> tuple[OutputSpec, ...]:
    """What an engine says that gives label maps of (height, width)."""
    return (OutputSpec("labels", "uint8", size),)


def predicting(engine: Engine, stretch: float = 1.0) -> Predictor[LabelMap]:
    """The engine, its label maps LIP's."""
    return Predictor(engine, Parsing(LIP), Framing(engine.input_size, stretch))
