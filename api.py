"""What ``import trtparse`` gives: :func:`load`, :func:`build` and :func:`validate`. Read when one of them is asked for.

Threads: what :func:`load` gives may be used from any of them; calls take turns. Processes: each loads its own, and
handing one to a spawned process does so by itself (it is pickled as what it was loaded from). A fork does not work: an
engine's threads do not come along, and a call in the child is an error that says so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from .answers import Drawn, Parsed, Posed
from .errors import UsageError
from .specs.label_set import LabelSet
from .tasks.base import Task
from .tasks.open import open_predictor
from .tasks.parsing.task import Parsing
from .tasks.pose.task import Pose

if TYPE_CHECKING:
    from .data.crops import Placement
    from .engines import Bundle
    from .tasks.people.person import Person
    from .validation.result import ValidationResult

DEFAULT_BUNDLE = "build/student"
BUNDLES = {Parsing.name: DEFAULT_BUNDLE, Pose.name: "build/pose"}
"""Where the networks that come along are built to, by their task."""

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR, as OpenCV reads it."""


Answer = TypeVar("Answer", bound=Parsed | Posed)


class Loaded(Generic[Answer]):
    """A bundle's engine, ready to look at pictures; a context manager. ``Answer`` is :class:`Parsed` or :class:`Posed`.

    Attributes:
        name: what runs.
        task: what it is for, ``parsing`` or ``pose``.
        spec: what its classes mean, a label set, or its joints, a skeleton.
    """

    def __init__(self, bundle: Path | str, target: str, precision: str | None, threads: int, task: str | None) -> None:
        self._loaded_from = (str(bundle), target, precision, threads, task)
        self._predictor = open_predictor(bundle, target, precision, threads=threads)
        self.name, found = self._predictor.name, self._predictor.task
        self.task, self.spec = found.name, found.spec
        self._turn, self._process = threading.Lock(), os.getpid()
        if not isinstance(found, (Parsing, Pose)) or task not in (None, self.task):
            self._predictor.engine.close()
            raise UsageError(
                f"{bundle} is for {found.name}, and load was asked for {task or 'parsing or pose'}.",
                "Leave the task out, or trtparse.tasks.open.open_predictor opens bundles of every task.",
            )

    def __call__(self, image: Path | str | Picture) -> Answer:
        """Look at one picture.

        Args:
            image: a file, or (H, W, 3) uint8, BGR.

        Raises:
            DataError: a file that cannot be read.
            UsageError: an array that is no picture, or a process that was forked from the one that loaded.
        """
        return self._look(_picture(image), 0.0, None)

    def stream(self, source: str | Path, people: Literal["whole", "auto"] = "whole") -> Iterator[Answer]:
        """Look at a video, a camera or a folder, frame by frame.

        Args:
            source: as ``trtparse demo`` takes it: a file, a folder, ``camera:0``, ``rtsp://...``.
            people: ``whole`` looks at whole frames; ``auto`` finds people and looks at each, by the detector that
                comes along.

        Raises:
            UsageError: it names no kind of source.
            DataError: it cannot be read.
        """
        from .demo.open_source import open_source

        if people not in ("whole", "auto"):
            raise UsageError(f"People cannot be {people!r}.", "Choose whole or auto.")
        with open_source(str(source)) as frames:
            finder = None
            if people == "auto":
                from .demo.people.finder import PeopleFinder
                from .tasks.people.detector import open_detector

                finder = PeopleFinder(open_detector(threads=1))
            for frame in frames:
                found = None if finder is None else finder.find(frame, frames.seconds)
                yield self._look(frame, frames.seconds, found)

    def close(self) -> None:
        """Free everything; closing twice is fine."""
        with self._turn:
            self._predictor.engine.close()

    def _look(self, image: Picture, seconds: float, people: tuple[Person, ...] | None) -> Answer:
        from .tasks.people.crops import placements_of

        self._check_process()
        predictor, size = self._predictor, (image.shape[0], image.shape[1])
        places = (predictor.place(size),) if people is None else placements_of(people, size, predictor)
        found = []
        with self._turn:
            for place in places:
                frames = np.repeat(place.apply(image)[None], predictor.engine.batch or 1, axis=0)
                found.append(predictor.infer(frames)[0])
        task = predictor.task
        if isinstance(task, Pose):
            return cast(Answer, _posed(task, image, seconds, people, places, found))
        return cast(Answer, _parsed(task, image, seconds, people, places, found))

    def _check_process(self) -> None:
        # Before the lock is waited for: another thread may have held it when the process was forked.
        if os.getpid() != self._process:
            raise UsageError(
                f"{self.name} was loaded in process {self._process}, before this one was forked from it.",
                "Load in each process, best in one that was spawned: trtparse.load() there.",
            )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Loaded, self._loaded_from

    def __enter__(self) -> Loaded[Answer]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@overload
def load(
    bundle: Path | str | None = None, target: str = "auto", precision: str | None = None, *, threads: int = 0
) -> Loaded[Any]: ...
@overload
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["parsing"],
) -> Loaded[Parsed]: ...
@overload
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["pose"],
) -> Loaded[Posed]: ...
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["parsing", "pose"] | None = None,
) -> Loaded[Any]:
    """Open a bundle for looking at pictures.

    Args:
        bundle: the folder that ``trtparse build`` wrote; by default where the task's weights that come along go,
            ``build/student`` or ``build/pose``.
        target, precision: as the command line's; by default what is fastest here.
        threads: of the CPU runtime; 0 for one per core.
        task: of the bundle, where its answers' type is to be known before it is opened.

    Raises:
        UsageError: no bundle, one that was not built for that, or one of another task.
        MachineError: this machine lacks what the target needs.

    >>> import trtparse
    >>> trtparse.load("nowhere")
    Traceback (most recent call last):
        ...
    trtparse.errors.UsageError: No bundle at nowhere.
    Build one: trtparse build --int8 --output nowhere
    """
    return Loaded(bundle or BUNDLES[task or Parsing.name], target, precision, threads, task)


def build(
    source: Path | str,
    output: Path | str = DEFAULT_BUNDLE,
    *,
    data: Path | str,
    precision: str = "int8",
    preset: str | None = None,
    labels: str | Path | LabelSet | None = None,
    input_size: tuple[int, int] | None = None,
    calibration_images: int = 256,
    min_agreement: float | None = None,
    max_drop: float | None = None,
    threads: int = 0,
) -> Bundle:
    """Build a bundle from a checkpoint or a graph, as ``trtparse build`` does.

    Args:
        source: a checkpoint or an ONNX file.
        output: the bundle's folder.
        data: images to calibrate on, and to compare on: a folder, or LIP's layout.
        precision: ``fp32``, ``fp16`` or ``int8``.
        preset: of a published network (``trtparse inspect`` says which fit a file); what else has to be said of
            networks of others, the command line says.
        labels: what its classes mean: a word, a TOML file or a value.
        input_size: (height, width), where it is open.
        calibration_images: how many of ``data``.
        min_agreement, max_drop: a budget, in points.
        threads: of the CPU runtime; 0 for one per core.

    Raises:
        TrtparseError: as the command line tells it.
    """
    from .calibration.int8 import Int8Spec
    from .graphs.conventions import Said
    from .specs.label_set import label_set
    from .trt_builder.build import BuildSpec, build_bundle
    from .trt_builder.source import task_of_source

    source, output = Path(source), Path(output)
    meant = label_set(labels) if isinstance(labels, (str, Path)) else labels
    said = Said(preset=preset, labels=meant, input_size=input_size) if preset is not None else None
    task = task_of_source(source, meant, said)
    dataset = task.open_data(str(data), None, "calibration", None, str(source))
    spec = BuildSpec(
        source,
        precision,
        input_size,
        labels=meant,
        said=said,
        calibration_images=calibration_images,
        int8=Int8Spec(min_agreement=min_agreement, max_drop=max_drop),
        threads=threads,
    )
    return build_bundle(spec, dataset, output).bundle


def validate(
    bundle: Path | str = DEFAULT_BUNDLE,
    *,
    data: Path | str,
    target: str = "auto",
    precision: str | None = None,
    limit: int | None = None,
    threads: int = 0,
) -> ValidationResult:
    """Compare an engine of a bundle with its reference: PyTorch, or the FP32 graph of a bundle that was built from one.

    Args:
        bundle: its folder.
        data: images, with label maps or without.
        target, precision: of the engine.
        limit: look at the first so many images only.
        threads: of the CPU runtime; 0 for one per core.

    Raises:
        TrtparseError: as the command line tells it.
    """
    from .engines import open_bundle
    from .engines.bundle import WEIGHTS_NAME
    from .tasks.protocol import Protocol
    from .validation.validate import validate as compare

    opened = open_bundle(bundle)
    own = ("pytorch", None) if WEIGHTS_NAME in opened.manifest.files else ("cpu", "fp32")
    with (
        open_predictor(opened, *own, threads=threads) as reference,
        open_predictor(opened, target, precision, threads=threads) as engine,
    ):
        dataset = reference.task.open_data(str(data), None, "validation", None, str(opened.path))
        protocol = Protocol(reference.task.usual_order(reference.framing))
        return compare(reference, engine, dataset, protocol=protocol, limit=limit, bundles=[opened, opened])


def _parsed(
    task: Task[Any],
    image: Picture,
    seconds: float,
    people: Sequence[Person] | None,
    places: Sequence[Placement],
    found: Sequence[Any],
) -> Parsed:
    from .data.crops import Window
    from .tasks.parsing.drawer import letterbox_of
    from .tasks.parsing.paste import paste

    boxes = [letterbox_of(place) for place in places]
    if people is None:
        labels = task.restore(found[0], boxes[0])
    else:
        windows = [place for place in places if isinstance(place, Window)]
        labels, _ = paste(windows, people, found, (image.shape[0], image.shape[1]), task.restore)
    return Parsed(labels, cast(LabelSet, task.spec), image, min((box.cell for box in boxes), default=1.0), seconds)


def _posed(
    task: Pose,
    image: Picture,
    seconds: float,
    people: Sequence[Person] | None,
    places: Sequence[Placement],
    found: Sequence[Any],
) -> Posed:
    poses = [task.restore(answer, place) for answer, place in zip(found, places)]
    keypoints = np.array(poses, np.float32).reshape(-1, len(task.skeleton), 3)
    ids = (1,) if people is None else tuple(person.id for person in people)
    return Posed(keypoints, task.skeleton, image, ids, seconds)


def _picture(image: Path | str | Picture) -> Picture:
    if isinstance(image, (str, Path)):
        from .data.images import read_image

        return read_image(image, upright=True)
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        told = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"A picture is (H, W, 3) uint8, BGR, or a file, not {told}.", "Read it with cv2.imread.")
    if min(image.shape[:2]) < 1:
        raise UsageError(f"A picture of {image.shape[1]}x{image.shape[0]} pixels has nothing to see.")
    return image


__all__ = ["Drawn", "Loaded", "Parsed", "Posed", "build", "load", "validate"]
