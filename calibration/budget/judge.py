"""Judge many graphs on the same held-out images: what the reference says of them is looked at once.

A contract about accuracy is searched with dozens of graphs, and a validation of each would open, letterbox and label
every image anew for its reference. Here the reference's label maps stay in memory, one byte a pixel of the network's
input, and the frames as well while they are few.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ...data.dataset import Dataset, LabelMap
from ...data.reading import READERS, Frame, read_ahead, read_frame
from ...engines.base import Frames
from ...engines.cpu import CpuEngine
from ...errors import DataError, UsageError
from ...graphs.index import property_of
from ...graphs.raw import OLDER_RAW_OUTPUT, RAW_PROPERTY, find_raw, name_raw
from ...specs.label_set import check_same
from ...tasks.base import Predictor
from ...tasks.parsing.intervals import ClassCounts, class_counts, loss_interval
from ...tasks.parsing.metrics import ConfusionMatrix, Counts, mean_iou, no_pixels
from ...tasks.parsing.scoring import Prediction, against_truth
from ...tasks.parsing.task import Logits
from ...tasks.parsing.test_time import check_logits
from .score import Score

FRAMES_KEPT = 256 << 20
"""Bytes of frames and label maps that stay in memory; further ones are read again for every graph."""

LOGITS_STEP = 4
"""Rows and columns between the pixels at which logits are compared: the students' logits are bilinear between them."""

_MOST_DECIBELS = 200.0
"""Of logits without any error; float32 is far from it otherwise."""


@dataclass(frozen=True)
class _Expected:
    """What the reference says of a frame.

    Args:
        labels: (h, w) uint8, at the network's input size without borders.
        logits: (C, h / 4, w / 4) float32 of the whole frame, where logits are compared.
    """

    labels: LabelMap
    logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Answer:
    """What a graph says of a frame; as the reference."""

    labels: LabelMap
    logits: Logits | None


class GraphJudge:
    """Scores of graphs on held-out images, with a reference's label maps and the images' own as truths.

    Calling it with a graph in TensorRT's form runs it as the arithmetic that it stands for.

    Args:
        dataset: raw images, with label maps of the reference's label set, or without.
        indices: the images that were held out; never those that calibrated.
        reference: the network to match, usually PyTorch. It is needed here alone and can be closed afterwards.
        threads: of the CPU runtime; 0 for one per core.
        strict: an image that cannot be read is an error instead of being left out.
        logits: compare logits as well: 245 kB of memory for every image at 256x192.
        progress: called with (done, total) images while the reference labels them.

    Attributes:
        images: how many there are.
        label_set: what all label maps mean.
        key: sha256 over the images, their label maps and the reference's: scores with another one are not comparable.
        reference_mean_iou: of the reference, in points; None without label maps.
        skipped: (name, reason) of each image that cannot be read.

    Raises:
        DataError: no image can be read; with ``strict``, one cannot.
        UsageError: logits are to be compared, and the reference gives none; or the dataset's label maps are of another
            label set than the reference's.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        reference: Predictor[LabelMap],
        *,
        threads: int = 0,
        strict: bool = False,
        logits: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if logits:
            check_logits(reference.engine, "The SQNR of the logits")
        self.label_set = reference.task.spec
        if dataset.labelled:
            check_same(self.label_set, reference.name, dataset.label_set, dataset.description)
        self._dataset, self._threads = dataset, threads
        self._framing = reference.framing
        self._wants_logits = logits
        self._indices: list[int] = []
        self._expected: list[_Expected] = []
        self._kept: list[Frame] = []
        self.skipped: list[tuple[str, str]] = []
        truth = no_pixels(self.label_set)
        self._reference_counts: list[ClassCounts] = []
        digest = hashlib.sha256()
        memory = 0
        found = read_ahead(self._read, indices, dataset.names, 2 * READERS)
        with closing(found):
            for done, frame in enumerate(found, 1):
                if isinstance(frame, Frame):
                    labels, expected = self._ask(reference, frame)
                    self._indices.append(frame.index)
                    self._expected.append(expected)
                    _digest(digest, frame, labels)
                    counts = self._against_truth(frame, labels)
                    self._reference_counts.append(class_counts(counts))
                    truth += counts
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
        self.reference_mean_iou = _points(mean_iou(truth))

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
        truth, agreement = no_pixels(self.label_set), ConfusionMatrix(self.label_set)
        image_counts: list[ClassCounts] = []
        signal = noise = 0.0
        with open_graph(model, threads=self._threads, simulate=simulate, logits=self._wants_logits) as engine:
            if engine.input_size != self._framing.input_size:
                (height, width), (rows, columns) = engine.input_size, self._framing.input_size
                raise UsageError(f"The graph takes frames of {height}x{width}, its reference {rows}x{columns}.")
            with closing(self._answers(engine)) as answers:
                for frame, expected, answer in answers:
                    agreement.update(expected.labels, _inside(answer.labels, frame))
                    counts = self._against_truth(frame, answer.labels)
                    image_counts.append(class_counts(counts))
                    truth += counts
                    if expected.logits is not None and answer.logits is not None:
                        signal += float(np.square(expected.logits, dtype=np.float64).sum())
                        noise += float(np.square(answer.logits - expected.logits, dtype=np.float64).sum())
        agreed, measured = agreement.agreement(), _points(mean_iou(truth))
        interval = None if measured is None else loss_interval(self._reference_counts, image_counts)
        return Score(
            agreement=100 * agreed.mean_iou,
            pixel_agreement=100 * agreed.pixel_accuracy,
            mean_iou=measured,
            loss=None if interval is None else interval.points,
            images=self.images,
            loss_high=None if interval is None else interval.high,
            logits_sqnr=_decibels(signal, noise) if self._wants_logits else None,
            left_out=self.label_set.names(agreed.left_out),
            invented_pixels=agreed.invented_pixels,
            invented_classes=self.label_set.names(agreed.invented_classes),
        )

    def _answers(self, engine: GraphEngine) -> Generator[tuple[Frame, _Expected, _Answer], None, None]:
        """What the graph says of every frame; the next batch is in inference while one is being scored."""
        size = engine.batch or 1
        waiting: tuple[list[tuple[Frame, _Expected]], Future[list[_Answer]]] | None = None
        with ThreadPoolExecutor(1, "judged") as inference, closing(self._frames()) as frames:
            asked = zip(frames, self._expected)
            while batch := [pair for _, pair in zip(range(size), asked)]:
                # A graph of a fixed batch gets its last frame as often as need be.
                pixels = [frame.pixels for frame, _ in batch] + [batch[-1][0].pixels] * (size - len(batch))
                answers = inference.submit(engine.answers, np.stack(pixels))
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

    def _against_truth(self, frame: Frame, labels: LabelMap) -> Counts:
        """True class by found class, at the image's size; nothing without a label map."""
        counts = against_truth(frame, Prediction(labels), self.label_set)
        return no_pixels(self.label_set) if counts is None else counts

    def _ask(self, reference: Predictor[LabelMap], frame: Frame) -> tuple[LabelMap, _Expected]:
        frames = np.repeat(frame.pixels[None], reference.engine.batch or 1, axis=0)
        if not self._wants_logits:
            labels = reference.infer(frames)[0]
            return labels, _Expected(_inside(labels, frame), None)
        logits = reference.engine.raw(frames)[0]
        labels = logits.argmax(axis=0).astype(np.uint8)
        return labels, _Expected(_inside(labels, frame), _sampled(logits))


class GraphEngine(CpuEngine):
    """The CPU runtime, asked for labels and logits in one pass."""

    def answers(self, frames: Frames) -> list[_Answer]:
        """What the graph says of each frame."""
        if not self.gives_raw:
            return [_Answer(labels, None) for labels in self._run(frames)[0]]
        labels, logits = self._session.run([*self._names, self._raw], {"frames": frames})
        return [_Answer(one, _sampled(scores)) for one, scores in zip(labels, logits)]


def open_graph(
    model: onnx.ModelProto, *, threads: int = 0, simulate: bool = False, logits: bool = False
) -> GraphEngine:
    """An engine of a graph in memory; nothing of it is left on the disk once it is open.

    Args:
        model: ``frames`` (N, H, W, 3) uint8 to ``labels`` (N, H, W) uint8.
        threads: of the CPU runtime; 0 for one per core.
        simulate: run Q/DQ as the arithmetic it stands for.
        logits: give logits, whether the graph has them as an output or not.

    Raises:
        UsageError: the runtime refuses the graph, or its logits cannot be found.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    raw = property_of(copy, RAW_PROPERTY) or OLDER_RAW_OUTPUT
    has_logits = any(output.name == raw for output in copy.graph.output)
    if logits and not has_logits:
        _add_logits(copy)
    elif has_logits and not logits:
        kept = [output for output in copy.graph.output if output.name != raw]
        del copy.graph.output[:]
        copy.graph.output.extend(kept)
    with tempfile.TemporaryDirectory(prefix="trtparse-") as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(copy.SerializeToString())
        return GraphEngine(path, "int8", threads=threads, simulate=simulate)


def _add_logits(model: onnx.ModelProto) -> None:
    """Make the raw tensor one more output."""
    source = find_raw(model)
    if not source:
        raise UsageError(
            "The graph does not name its logits and has no ArgMax that reads them.", "Use a graph of trtparse build."
        )
    output = f"{source}_as_output"
    model.graph.node.append(onnx.helper.make_node("Cast", [source], [output], to=onnx.TensorProto.FLOAT))
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    name_raw(model, output)


def _sampled(logits: Logits) -> NDArray[np.float32]:
    return np.array(logits[:, ::LOGITS_STEP, ::LOGITS_STEP], np.float32)


def _inside(labels: LabelMap, frame: Frame) -> LabelMap:
    return np.ascontiguousarray(labels[frame.inside])


def _digest(digest: hashlib._Hash, frame: Frame, labels: LabelMap) -> None:
    digest.update(frame.name.encode("utf-8", "surrogateescape"))
    for array in (frame.pixels, labels, frame.labels):
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _decibels(signal: float, noise: float) -> float:
    if signal <= 0:
        return 0.0
    return min(10 * math.log10(signal / noise), _MOST_DECIBELS) if noise > 0 else _MOST_DECIBELS
