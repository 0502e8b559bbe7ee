"""Judge many graphs on the same held-out images: what the reference says of them is looked at once.

A contract about accuracy is searched with dozens of graphs, and a validation of each would open, place and ask the
reference about every image anew. Here the reference's answers stay in memory, of label maps one byte a pixel of the
network's input, and the frames as well while they are few.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ...data.dataset import Images
from ...data.reading import READERS, Frame, read_ahead, read_frame
from ...engines.base import Engine, Frames, Raw
from ...engines.cpu import CpuEngine
from ...errors import DataError, UsageError
from ...graphs.raw_output import with_raw_output
from ...tasks.figure import Figure
from ...tasks.predictor import Predictor
from .score import Score

FRAMES_KEPT = 256 << 20
"""Bytes of frames and their labels that stay in memory; further ones are read again for every graph."""

_MOST_DECIBELS = 200.0
"""Of a raw tensor without any error; float32 is far from it otherwise."""


@dataclass(frozen=True)
class _Said:
    """What the reference, or a graph, says of a frame.

    Args:
        answer: in the frame's pixels.
        raw: its raw tensor, where those are compared, at the places where the task compares them.
    """

    answer: Any
    raw: Raw | None


class GraphJudge:
    """Scores of graphs on held-out images, with a reference's answers and the images' labels as truths.

    Calling it with a graph in TensorRT's form runs it as the arithmetic that it stands for.

    Args:
        dataset: raw images, with labels of the reference's task, or without.
        indices: the images that were held out; never those that calibrated.
        reference: the network to match, usually PyTorch. It is needed here alone and can be closed afterwards.
        threads: of the CPU runtime; 0 for one per core.
        strict: an image that cannot be read is an error instead of being left out.
        raw: compare raw tensors as well, such as logits: of label maps 245 kB of memory for every image at 256x192.
        progress: called with (done, total) images while the reference looks at them.

    Attributes:
        images: how many there are.
        task: what all answers mean.
        key: sha256 over the images, their labels and the reference's answers: scores with another one are not
            comparable.
        reference_value: the reference's figure, in points; None without labels.
        skipped: (name, reason) of each image that cannot be read.

    Raises:
        DataError: no image can be read; with ``strict``, one cannot.
        UsageError: raw tensors are to be compared, and the reference gives none; or the dataset's labels are of
            something else than the reference's answers.
    """

    def __init__(
        self,
        dataset: Images,
        indices: Sequence[int],
        reference: Predictor[Any],
        *,
        threads: int = 0,
        strict: bool = False,
        raw: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if raw and not reference.engine.gives_raw:
            raise UsageError(
                f"The SQNR of the raw tensor needs it, and {reference.name} gives answers alone.",
                "Build the bundle with it as a second output: trtparse build --logits",
            )
        self.task = reference.task
        self._scorer = reference.task.scorer(dataset, reference.name)
        self._dataset, self._threads = dataset, threads
        self._framing = reference.framing
        self._wants_raw = raw
        self._indices: list[int] = []
        self._expected: list[_Said] = []
        self._kept: list[Frame] = []
        self.skipped: list[tuple[str, str]] = []
        self._reference = self._scorer.truth_tally()
        digest = hashlib.sha256()
        memory = 0
        found = read_ahead(self._read, indices, dataset.names, 2 * READERS)
        with closing(found):
            for done, frame in enumerate(found, 1):
                if isinstance(frame, Frame):
                    expected = self._ask(reference, frame)
                    self._indices.append(frame.index)
                    self._expected.append(expected)
                    _digest(digest, frame, expected.answer)
                    marks = self._scorer.against_truth(frame, expected.answer)
                    if marks is not None:
                        self._reference.add(marks)
                    memory += frame.pixels.nbytes + (0 if frame.labels is None else frame.labels.nbytes)
                    if memory <= FRAMES_KEPT:
                        self._kept.append(frame)
                elif strict:
                    raise frame.error
                else:
                    self.skipped.append((frame.name, frame.error.message))
                if progress is not None:
                    progress(done, len(indices))
        if not self._indices:
            first = f" {self.skipped[0][0]}: {self.skipped[0][1]}" if self.skipped else ""
            raise DataError(f"No usable held-out image in {dataset.description}.{first}", "Check the dataset.")
        self.images = len(self._indices)
        self.key = digest.hexdigest()
        self.reference_value = _points(self._reference.value)

    def __call__(self, model: onnx.ModelProto) -> Score:
        """The score of an FP32, FP16 or Q/DQ graph, simulated in float arithmetic.

        Raises:
            UsageError: the runtime refuses the graph, or it takes frames of another size.
        """
        return self._score(model, simulate=True)

    def score_cpu(self, model: onnx.ModelProto) -> Score:
        """The score of a graph in the CPU runtime's own form, run natively.

        Raises:
            UsageError: as a call.
        """
        return self._score(model, simulate=False)

    def _score(self, model: onnx.ModelProto, *, simulate: bool) -> Score:
        truth, agreement = self._scorer.truth_tally(), self._scorer.agreement_tally()
        signal = noise = 0.0
        with open_graph(model, threads=self._threads, simulate=simulate, raw=self._wants_raw) as engine:
            if engine.input_size != self._framing.input_size:
                (height, width), (rows, columns) = engine.input_size, self._framing.input_size
                raise UsageError(f"The graph takes frames of {height}x{width}, its reference {rows}x{columns}.")
            predictor = Predictor(engine, self.task, self._framing)
            with closing(self._answers(predictor)) as answers:
                for frame, expected, found in answers:
                    agreement.add(self._scorer.against_reference(frame, expected.answer, found.answer))
                    marks = self._scorer.against_truth(frame, found.answer)
                    if marks is not None:
                        truth.add(marks)
                    if expected.raw is not None and found.raw is not None:
                        signal += float(np.square(expected.raw, dtype=np.float64).sum())
                        noise += float(np.square(found.raw - expected.raw, dtype=np.float64).sum())
        agreed, measured = agreement.scores(), _points(truth.value)
        loss = None if measured is None else self._reference.loss_of(truth)
        return Score(
            agreement=100 * agreed.value,
            share=100 * agreed.share,
            value=measured,
            loss=None if loss is None else loss.points,
            images=self.images,
            loss_high=None if loss is None else loss.high,
            raw_sqnr=_decibels(signal, noise) if self._wants_raw else None,
            left_out=tuple(self.task.rows[row] for row in agreed.left_out),
            invented=agreed.invented_total,
            invented_in=tuple(self.task.rows[row] for row in agreed.invented_rows),
            figure=Figure(self.task.figure.name, self.task.figure.words),
        )

    def _answers(self, predictor: Predictor[Any]) -> Generator[tuple[Frame, _Said, _Said], None, None]:
        """What the graph says of every frame; the next batch is in inference while one is being scored."""
        size = predictor.engine.batch or 1
        waiting: tuple[list[tuple[Frame, _Said]], Future[list[_Said]]] | None = None
        with ThreadPoolExecutor(1, "judged") as inference, closing(self._frames()) as frames:
            asked = zip(frames, self._expected)
            while batch := [pair for _, pair in zip(range(size), asked)]:
                # A graph of a fixed batch gets its last frame as often as need be.
                pixels = [frame.pixels for frame, _ in batch] + [batch[-1][0].pixels] * (size - len(batch))
                answers = inference.submit(self._said, predictor, np.stack(pixels))
                if waiting is not None:
                    yield from ((*pair, answer) for pair, answer in zip(waiting[0], waiting[1].result()))
                waiting = batch, answers
            if waiting is not None:
                yield from ((*pair, answer) for pair, answer in zip(waiting[0], waiting[1].result()))

    def _frames(self) -> Generator[Frame, None, None]:
        """All frames, those that are not in memory read again."""
        yield from self._kept
        rest = self._indices[len(self._kept) :]
        with closing(read_ahead(self._read, rest, self._dataset.names, 2 * READERS)) as found:
            for frame in found:
                if not isinstance(frame, Frame):
                    raise frame.error
                yield frame

    def _read(self, index: int) -> Frame:
        return read_frame(self._dataset, index, self._framing)

    def _ask(self, reference: Predictor[Any], frame: Frame) -> _Said:
        return self._said(reference, np.repeat(frame.pixels[None], reference.engine.batch or 1, axis=0))[0]

    def _said(self, predictor: Predictor[Any], frames: Frames) -> list[_Said]:
        """What an engine says of each frame."""
        if not self._wants_raw:
            return [_Said(answer, None) for answer in predictor.infer(frames)]
        arrays, raw = predictor.engine.both(frames)
        step = self.task.raw_step
        places = (..., slice(None, None, step), slice(None, None, step))
        return [_Said(answer, np.array(one[places])) for answer, one in zip(predictor.unpack(arrays), raw)]


def open_graph(model: onnx.ModelProto, *, threads: int = 0, simulate: bool = False, raw: bool = False) -> Engine:
    """An engine of a graph in memory.

    Args:
        model: ``frames`` (N, H, W, 3) uint8 to a task's arrays.
        threads: of the CPU runtime; 0 for one per core.
        simulate: run Q/DQ as the arithmetic it stands for.
        raw: give the raw tensor, whether the graph has it as an output or not; several as one, of even lengths.

    Raises:
        UsageError: the runtime refuses the graph, or its raw tensor cannot be found.
    """
    return CpuEngine(with_raw_output(model, raw), "int8", threads=threads, simulate=simulate)


def _digest(digest: hashlib._Hash, frame: Frame, answer: Any) -> None:
    digest.update(frame.name.encode("utf-8", "surrogateescape"))
    for given in (frame.pixels, answer, frame.labels):
        if given is not None:
            array = np.asarray(given)
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _decibels(signal: float, noise: float) -> float:
    if signal <= 0:
        return 0.0
    return min(10 * math.log10(signal / noise), _MOST_DECIBELS) if noise > 0 else _MOST_DECIBELS
