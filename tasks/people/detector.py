"""What finds the people in pictures: the finder that comes along, or a detector that somebody brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import onnx

from ...data.dataset import Image
from ...networks.weights import FINDER_GRAPH
from .boxes import Detections

MOST_PEOPLE = 40
"""Of a picture; the finder gives no more, and each costs a pass of the network."""


class PersonDetector(Protocol):
    """Finds people in frames.

    ``name`` is for messages; ``sure`` the score from which a detection counts without another one before it;
    ``at_once`` how many frames a pass of its network takes.
    """

    @property
    def name(self) -> str: ...

    @property
    def sure(self) -> float: ...

    @property
    def at_once(self) -> int: ...

    def detect(self, frames: Sequence[Image]) -> list[Detections]:
        """People in each of any number of (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        ...

    def close(self) -> None:
        """Let the runtime go."""
        ...


def detector_graph(path: Path | None = None) -> bytes:
    """The one ONNX file by which :func:`open_detector` opens the same detector elsewhere, on a CPU.

    Args:
        path: as of :func:`open_detector`.

    Raises:
        UsageError: as of :func:`open_detector`.
    """
    from .finder_detector import graph_of_bundle

    open_detector(path, threads=1).close()
    if path is not None and (path.is_dir() or path.name == "bundle.json"):
        path = graph_of_bundle(path)
    model = onnx.load(path or FINDER_GRAPH)  # with what lies in files beside it
    return bytes(model.SerializeToString(deterministic=True))


def open_detector(path: Path | None = None, *, threads: int = 0) -> PersonDetector:
    """The detector of a file or a folder, or the one that comes along.

    Args:
        path: a finder's bundle or graph, or what :class:`~trtparse.tasks.people.onnx_detector.OnnxDetector` takes; None
            takes the finder that comes along.
        threads: of a CPU runtime; 0 for one per core.

    Raises:
        UsageError: there is no such file, it finds nobody, or it is no detector of a known form.
    """
    from .finder_detector import of_bundle, of_graph, told_task

    if path is None:
        return of_graph(FINDER_GRAPH, threads=threads)
    if path.is_dir() or path.name == "bundle.json":
        return of_bundle(path, threads=threads)
    if path.is_file() and told_task(path):
        return of_graph(path, threads=threads)
    from .onnx_detector import OnnxDetector

    return OnnxDetector(path, threads=threads)
