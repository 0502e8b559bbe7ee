"""What ``import trtparse`` gives: :func:`load`, :func:`build` and :func:`validate`. Read when one of them is asked for.

Threads: what :func:`load` gives may be used from any of them; calls take turns. Processes: each loads its own, and
handing one to a spawned process does so by itself (it is pickled as what it was loaded from). A fork does not work: an
engine's threads do not come along, and a call in the child is an error that says so.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from .answers import Drawn, Found, Parsed, Posed
from .errors import UsageError
from .networks.weights import BUNDLES
from .specs.label_set import LabelSet
from .tasks.base import Task
from .tasks.open import open_predictor
from .tasks.parsing.task import Parsing
from .tasks.people.task import People as Finding
from .tasks.pose.task import Pose

if TYPE_CHECKING:
    from .data.crops import Placement
    from .demo.people.finder import PeopleFinder
    from .engines import Bundle
    from .tasks.people.detector import PersonDetector
    from .tasks.people.person import Person
    from .validation.result import ValidationResult

DEFAULT_BUNDLE = BUNDLES[Parsing.name]

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR, as OpenCV reads it."""


Answer = TypeVar("Answer", bound=Parsed | Posed | Found)

People = Literal["whole", "auto"]
"""``whole`` looks at whole pictures; ``auto`` finds the people in them first, and looks at each."""


class Loaded(Generic[Answer]):
    """A bundle's engine, ready to look at pictures; a context manager.

    ``Answer`` is :class:`Parsed`, :class:`Posed` or :class:`Found`.

    Attributes:
        name: what runs.
        task: what it is for, ``parsing``, ``pose`` or ``people``.
        spec: what its classes mean, a label set, or its joints, a skeleton.
    """

    def __init__(
        self,
        bundle: Path | str,
        target: str,
        precision: str | None,
        threads: int,
        task: str | None,
        detector: Path | str | None,
    ) -> None:
        self._loaded_from = (str(bundle), target, precision, threads, task, detector)
        with contextlib.ExitStack() as stack:
            self._finds_by = None if detector is None else Path(detector)
            self._detector: PersonDetector | None = None
            if detector is not None:
                stack.callback(self._open_detector().close)
            self._predictor = stack.enter_context(open_predictor(bundle, target, precision, threads=threads))
            self.name, found = self._predictor.name, self._predictor.task
            self.task, self.spec = found.name, found.spec
            if self.task not in _MADE_OF or task not in (None, self.task):
                raise UsageError(
                    f"{bundle} is for {found.name}, and load was asked for {task or 'parsing, pose or people'}.",
                    "Leave the task out, or trtparse.tasks.open.open_predictor opens bundles of every task.",
                )
            if detector is not None:
                self._check_takes_people()
            self._turn, self._process = threading.Lock(), os.getpid()
            stack.pop_all()

    def __call__(self, image: Path | str | Picture, people: People = "whole") -> Answer:
        """Look at one picture.

        Args:
            image: a file, or (H, W, 3) uint8, BGR.
            people: ``whole`` takes it for one person; ``auto`` finds people and looks at each, as
                ``trtparse parse --people auto`` does.

        Raises:
            DataError: a file that cannot be read.
            UsageError: an array that is no picture, people in front of a finder, or a process that was forked from the
                one that loaded.
        """
        self._check_people(people)
        picture = _picture(image)
        if people == "whole":
            return self._look(picture, 0.0, None)
        return self._look(picture, 0.0, partial(self._people_in, picture))

    def stream(self, source: str | Path, people: People = "whole") -> Iterator[Answer]:
        """Look at a video, a camera or a folder, frame by frame.

        Args:
            source: as ``trtparse demo`` takes it: a file, a folder, ``camera:0``, ``rtsp://...``.
            people: as of a call; they are followed from frame to frame.

        Raises:
            UsageError: it names no kind of source, or people in front of a finder.
            DataError: it cannot be read.
        """
        from .demo.open_source import open_source

        self._check_people(people)
        with open_source(str(source)) as frames:
            finder: PeopleFinder | None = None
            if people == "auto":
                from .demo.people.finder import PeopleFinder

                with self._turn:
                    finder = PeopleFinder(self._open_detector())
            for frame in frames:
                seconds = frames.seconds
                yield self._look(frame, seconds, None if finder is None else partial(_next, finder, frame, seconds))

    def close(self) -> None:
        """Free everything; closing twice is fine."""
        with self._turn:
            self._predictor.engine.close()
            if self._detector is not None:
                self._detector.close()

    def _look(self, image: Picture, seconds: float, find: Callable[[], Sequence[Person]] | None) -> Answer:
        from .tasks.people.crops import placements_of

        self._check_process()
        predictor, size = self._predictor, (image.shape[0], image.shape[1])
        with self._turn:
            people = None if find is None else find()
            places = (predictor.place(size),) if people is None else placements_of(people, size, predictor.framing)
            found = [predictor.infer_one(place.apply(image)) for place in places]
        return cast(Answer, _MADE_OF[self.task](predictor.task, image, seconds, people, places, found))

    def _people_in(self, picture: Picture) -> tuple[Person, ...]:
        from .tasks.people.crops import people_of

        detector = self._open_detector()
        return people_of(detector.detect([picture])[0], detector.sure, (picture.shape[0], picture.shape[1]))

    def _open_detector(self) -> PersonDetector:
        if self._detector is None:
            from .tasks.people.detector import open_detector

            self._detector = open_detector(self._finds_by, threads=1)
        return self._detector

    def _check_people(self, people: str) -> None:
        if people not in ("whole", "auto"):
            raise UsageError(f"People cannot be {people!r}.", "Choose whole or auto.")
        if people == "auto":
            self._check_takes_people()

    def _check_takes_people(self) -> None:
        if self._predictor.task.finds_people:
            raise UsageError(
                f"{self._loaded_from[0]} finds people itself: nobody has to find them first.",
                "Load a parser's bundle, with this one as its detector.",
            )

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
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    detector: Path | str | None = None,
) -> Loaded[Any]: ...
@overload
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["parsing"],
    detector: Path | str | None = None,
) -> Loaded[Parsed]: ...
@overload
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["pose"],
    detector: Path | str | None = None,
) -> Loaded[Posed]: ...
@overload
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["people"],
) -> Loaded[Found]: ...
def load(
    bundle: Path | str | None = None,
    target: str = "auto",
    precision: str | None = None,
    *,
    threads: int = 0,
    task: Literal["parsing", "pose", "people"] | None = None,
    detector: Path | str | None = None,
) -> Loaded[Any]:
    """Open a bundle for looking at pictures.

    Args:
        bundle: the folder that ``trtparse build`` wrote; by default where the task's weights that come along go,
            ``build/student``, ``build/pose`` or ``build/people``.
        target, precision: as the command line's; by default what is fastest here.
        threads: of the CPU runtime; 0 for one per core.
        task: of the bundle, where its answers' type is to be known before it is opened.
        detector: what finds people for ``people="auto"``: a finder's bundle or graph, a YOLOX or an RT-DETR; by default
            the finder that comes along.

    Raises:
        UsageError: no bundle, one that was not built for that, or one of another task; a detector that is none, or in
            front of a finder.
        MachineError: this machine lacks what the target needs.

    >>> import trtparse
    >>> trtparse.load("nowhere")
    Traceback (most recent call last):
        ...
    trtparse.errors.UsageError: No bundle at nowhere.
    Build one: trtparse build --int8 --output nowhere
    """
    return Loaded(bundle or BUNDLES[task or Parsing.name], target, precision, threads, task, detector)


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
    from .tasks.parsing.drawer import letterbox_of

    if people is None:
        labels = task.restore(found[0], places[0])
    else:
        labels = task.together(found, places, people, (image.shape[0], image.shape[1]))
    cell = min((letterbox_of(place).cell for place in places), default=1.0)
    return Parsed(labels, cast(LabelSet, task.spec), image, cell, seconds)


def _posed(
    task: Pose,
    image: Picture,
    seconds: float,
    people: Sequence[Person] | None,
    places: Sequence[Placement],
    found: Sequence[Any],
) -> Posed:
    ids = (1,) if people is None else tuple(person.id for person in people)
    everybody = task.everybody(found, places, people or (), (image.shape[0], image.shape[1]))
    return Posed(everybody, task.skeleton, image, ids, seconds)


def _found(
    task: Finding,
    image: Picture,
    seconds: float,
    people: Sequence[Person] | None,
    places: Sequence[Placement],
    found: Sequence[Any],
) -> Found:
    rows = task.restore(found[0], places[0])
    sure = rows[rows[:, 4] >= task.sure]
    return Found(sure[:, :4], sure[:, 4], image, seconds)


_MADE_OF: Mapping[str, Callable[..., Parsed | Posed | Found]] = {
    Parsing.name: _parsed,
    Pose.name: _posed,
    Finding.name: _found,
}
"""What answers are made with, by the task."""


def _next(finder: PeopleFinder, frame: Picture, seconds: float) -> tuple[Person, ...]:
    return finder.find([frame], [seconds])[0]


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


__all__ = ["Drawn", "Found", "Loaded", "Parsed", "Posed", "build", "load", "validate"]
