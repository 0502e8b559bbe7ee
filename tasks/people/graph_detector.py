"""People by a finder's graph: the one that comes along, or one that was exported of a network trained with ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from ...data.dataset import Image
from ...data.letterbox import Letterbox
from ...engines.cpu import CpuEngine
from ...errors import UsageError
from ...graphs.index import property_of
from ...graphs.interface import graph_precision
from ...graphs.observe import framing_of
from .boxes import Detections
from .task import PEOPLE, without_doubles

_LEAST_SCORE = 0.1  # ByteTrack's, for a weak detection


def is_finder(path: Path) -> bool:
    """Whether a file is a finder's graph; of what is no graph at all others speak."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's exceptions have no common base but this
        return False
    return property_of(model, "task") == PEOPLE


class GraphDetector:
    """A finder on ONNX Runtime.

    Args:
        path: of its graph: ``frames`` (N, H, W, 3) uint8 BGR to ``boxes`` (N, M, 5) float32.
        threads: of the runtime; 0 for one per core.
        sure: the score from which a detection counts without another one before it.

    Attributes:
        name: for messages.
        most: people in a frame, at the most.

    Raises:
        UsageError: it cannot be loaded, or gives something else.
    """

    def __init__(self, path: Path, *, threads: int = 0, sure: float = 0.5) -> None:
        model = onnx.load(path)
        self._framing = framing_of(model)
        self._engine = CpuEngine(model, graph_precision(model), threads=threads)
        self.name, self.sure = f"the finder {path.name}", sure
        shapes = [output.shape for output in self._engine.outputs]
        if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] != 5:
            self.close()
            raise UsageError(f"{path} gives {shapes} instead of boxes (N, M, 5).", "Export the finder again.")
        self.most = shapes[0][0] or 0
        self._frames = np.zeros((self._engine.batch or 1, *self._engine.input_size, 3), np.uint8)

    def detect(self, frame: Image) -> Detections:
        """People in (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        letterbox = Letterbox.fit((frame.shape[0], frame.shape[1]), self._framing.input_size, self._framing.stretch)
        letterbox.apply(frame, out=self._frames[0])
        (rows,) = self._engine.infer(self._frames)
        found = without_doubles(rows[0], _LEAST_SCORE)
        across, down = letterbox.width / frame.shape[1], letterbox.height / frame.shape[0]
        boxes = (found.boxes - [letterbox.left, letterbox.top] * 2) / [across, down, across, down]
        limits = [frame.shape[1], frame.shape[0]] * 2
        return Detections(np.clip(boxes, 0, limits), found.scores)

    def close(self) -> None:
        """Let the runtime go."""
        self._engine.close()
