"""People by a finder of ours: the one that comes along, another's graph, or a bundle on whatever engine it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from ...data.dataset import Image
from ...engines.cpu import CpuEngine
from ...errors import UsageError
from ...graphs.index import property_of
from ...graphs.interface import graph_precision
from ...graphs.observe import framing_of
from ..predictor import Predictor
from .boxes import Detections
from .rows import Rows, detections
from .task import People

_LEAST_SCORE = 0.1  # ByteTrack's, for a weak detection

_FINDERS = "Give a finder's bundle or graph, as trtparse build --task people makes them, a YOLOX or an RT-DETR."


class FinderDetector:
    """A finder as a detector.

    Args:
        predictor: open; of people.
        name: for messages.

    Attributes:
        name: for messages.
        sure: the score from which a detection counts without another one before it.
        at_once: how many frames a pass takes: the engine's batch. One where it takes any number: such an engine is a
            processor's, on which a batch takes as long as its parts.
    """

    def __init__(self, predictor: Predictor[Rows], name: str) -> None:
        assert isinstance(predictor.task, People)
        self._predictor = predictor
        self.name, self.sure = name, predictor.task.sure
        self._fewest, most = predictor.engine.batch_range
        self.at_once = most or 1

    def detect(self, frames: Sequence[Image]) -> list[Detections]:
        """People in each of (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        starts = range(0, len(frames), self.at_once)
        return [found for start in starts for found in self._pass(frames[start : start + self.at_once])]

    def _pass(self, frames: Sequence[Image]) -> list[Detections]:
        """Of no more frames than the engine takes; one that takes no fewer has the last of them several times."""
        placements = [self._predictor.place((frame.shape[0], frame.shape[1])) for frame in frames]
        inputs = np.zeros((max(len(frames), self._fewest), *self._predictor.engine.input_size, 3), np.uint8)
        for placement, frame, out in zip(placements, frames, inputs):
            placement.apply(frame, out)
        inputs[len(frames) :] = inputs[len(frames) - 1]
        answers = zip(self._predictor.infer(inputs), placements)
        found = [self._predictor.task.restore(*one) for one in answers]
        return [detections(rows[rows[:, 4] >= _LEAST_SCORE]) for rows in found]

    def close(self) -> None:
        """Let the engine go."""
        self._predictor.engine.close()


def told_task(path: Path) -> str:
    """The task that a graph of ours says it is for; empty of another's, and of what is no graph at all."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's exceptions have no common base but this
        return ""
    return property_of(model, "task") or ""


def of_graph(path: Path, *, threads: int = 0) -> FinderDetector:
    """A finder's graph on ONNX Runtime.

    Args:
        path: of it: ``frames`` (N, H, W, 3) uint8 BGR to ``boxes`` (N, M, 5) float32.
        threads: of the runtime; 0 for one per core.

    Raises:
        UsageError: it is for something else, cannot be loaded, or gives something else.
    """
    task = told_task(path)
    if task != People.name:
        raise UsageError(f"{path} is for {task}: it finds nobody.", _FINDERS)
    model = onnx.load(path)
    engine = CpuEngine(model, graph_precision(model), threads=threads)
    shapes = [output.shape for output in engine.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] != 5:
        engine.close()
        raise UsageError(f"{path} gives {shapes} instead of boxes (N, M, 5).", "Export the finder again.")
    task_of = People.of_graph(model, None, path)
    return FinderDetector(Predictor(engine, task_of, framing_of(model)), f"the finder {path.name}")


def graph_of_bundle(path: Path) -> Path:
    """The graph of a finder's bundle that a CPU runs, in the lowest precision that there is."""
    from ...engines import open_bundle
    from ...engines.open import graph_of

    bundle = open_bundle(path)
    return bundle.graph(graph_of("cpu", "int8" if "int8" in bundle.manifest.precisions else "fp32"))


def of_bundle(path: Path, *, threads: int = 0) -> FinderDetector:
    """A finder's bundle, on the engine that fits this machine best.

    Raises:
        UsageError: as :func:`~trtparse.tasks.open.open_predictor`, or it is for something else.
    """
    from ...engines import open_bundle
    from ..open import open_predictor

    bundle = open_bundle(path)
    if bundle.manifest.task != People.name:
        raise UsageError(f"{path} is for {bundle.manifest.task}: it finds nobody.", _FINDERS)
    predictor = open_predictor(bundle, threads=threads)
    return FinderDetector(predictor, f"{path} on {predictor.name}")
