"""People by an ONNX detector that the user brings: the output forms of YOLOX and of RT-DETR.

YOLOX: one input (1, 3, H, W), BGR of 0..255, the picture in the upper left corner of a grey (114) canvas; one output of
rows that :mod:`~trtparse.graphs.tails.people` knows. Whether they are decoded, one look at a grey picture tells.

RT-DETR (Zhao et al., CVPR 2024, arXiv:2304.08069): RGB of 0..1, the picture stretched to the input's size, in two
forms. As its authors' ``tools/export_onnx.py`` writes it, inputs ``images`` and ``orig_target_sizes`` (width, height),
and outputs ``labels``, ``boxes`` in pixels of the frame and ``scores``. As Hugging Face's ``RTDetrForObjectDetection``
is exported, an input ``pixel_values`` and outputs ``logits`` and ``pred_boxes``, centre and size as shares of the
picture.

A person is class 0, as in COCO's 80.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Image
from ...errors import UsageError
from ...graphs.tails.people import LARGEST, PERSON, cells_of, is_decoded
from .boxes import Boxes, Detections, overlap, suppress

_FREE_SIDE = 640  # where a graph takes any size
_GREY = 114
_LEAST_SCORE = 0.1  # ByteTrack's, for a weak detection
_MOST_OVERLAP = 0.65  # YOLOX's own evaluation
_FORMS = (
    "Give a YOLOX (images to one output of N x (5 + classes)) or an RT-DETR (labels, boxes, scores; or logits, "
    "pred_boxes), exported by the tools of its authors."
)

Arrays = Mapping[str, NDArray[Any]]


class OnnxDetector:
    """A detector on ONNX Runtime.

    Args:
        path: of the graph.
        threads: of the runtime; 0 for one per core.

    Attributes:
        name: for messages.
        sure: the score from which a detection counts without another one before it.
        at_once: one frame: their authors export them so.
        form: "yolox" or "rt-detr".

    Raises:
        UsageError: there is no such file, it is no ONNX graph, or its inputs and outputs are of no known form.
    """

    sure, at_once = 0.5, 1

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        import onnxruntime

        from ...engines.cpu import EXACT_INT8

        if not path.is_file():
            raise UsageError(f"There is no detector {path}.", "Check the path for typing mistakes.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry(*EXACT_INT8)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions have no common base
            raise UsageError(f"ONNX Runtime cannot load {path}: {error}", _FORMS) from error
        self.name = path.name
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._pixels, self._sizes = self._inputs(path)
        self._type = np.float16 if "float16" in self._pixels.type else np.float32
        height, width = self._pixels.shape[2:]
        self._size = (
            height if isinstance(height, int) else _FREE_SIDE,
            width if isinstance(width, int) else _FREE_SIDE,
        )
        self._cells = cells_of(self._size)
        self._decoded = False
        self.form = self._known_form(path)

    def detect(self, frames: Sequence[Image]) -> list[Detections]:
        """People in each of (H, W, 3) uint8, BGR; with weak ones, whose scores are below ``sure``."""
        return [self._detected(frame) for frame in frames]

    def _detected(self, frame: Image) -> Detections:
        height, width = frame.shape[:2]
        if self.form == "yolox":
            scale = min(self._size[0] / height, self._size[1] / width)
            boxes, scores = _of_yolox(self._run_yolox(frame, scale), self._cells, self._decoded)
            boxes /= scale
        else:
            shown = cv2.cvtColor(cv2.resize(frame, self._size[::-1]), cv2.COLOR_BGR2RGB)
            boxes, scores = _of_rt_detr(self._run(shown / np.float32(255), (width, height)), (width, height))
        likely = (scores >= _LEAST_SCORE) & np.isfinite(boxes).all(axis=1)
        boxes, scores = np.clip(boxes[likely], 0, [width, height, width, height]), scores[likely]
        return suppress(boxes, scores, overlap(boxes, boxes), _MOST_OVERLAP)

    def close(self) -> None:
        """Let the runtime go."""
        del self._session

    def _inputs(self, path: Path) -> tuple[Any, Any]:
        """The input for the picture, and the one for its size where there is one."""
        inputs = self._session.get_inputs()
        pixels = next((one for one in inputs if len(one.shape) == 4 and one.shape[1] == 3), None)
        others = [one for one in inputs if one is not pixels]
        known = pixels is not None and pixels.type in ("tensor(float)", "tensor(float16)")
        if not known or len(others) > 1 or (others and others[0].type != "tensor(int64)"):
            raise self._unknown(path)
        return pixels, others[0] if others else None

    def _known_form(self, path: Path) -> str:
        names = set(self._outputs)
        if {"labels", "boxes", "scores"} <= names or {"logits", "pred_boxes"} <= names:
            return "rt-detr"
        if len(names) == 1 and self._sizes is None:
            grey = np.full((*self._size, 3), _GREY, np.uint8)
            try:
                rows = self._run_yolox(grey, 1.0)
            except Exception as error:  # the runtime's exceptions have no common base
                raise self._unknown(path) from error
            if rows.ndim == 3 and rows.shape[1] == len(self._cells) and rows.shape[2] > 5:
                self._decoded = is_decoded(rows[0], self._cells)
                return "yolox"
        raise self._unknown(path)

    def _unknown(self, path: Path) -> UsageError:
        described = [
            ", ".join(f"{one.name} {one.shape}" for one in side)
            for side in (self._session.get_inputs(), self._session.get_outputs())
        ]
        return UsageError(
            f"{path.name} is a detector of no known form: it makes {described[1]} of {described[0]}.", _FORMS
        )

    def _run_yolox(self, frame: Image, scale: float) -> NDArray[Any]:
        canvas = np.full((*self._size, 3), _GREY, np.uint8)
        height = min(max(1, int(frame.shape[0] * scale)), self._size[0])
        width = min(max(1, int(frame.shape[1] * scale)), self._size[1])
        canvas[:height, :width] = cv2.resize(frame, (width, height))
        return next(iter(self._run(canvas, (0, 0)).values()))

    def _run(self, picture: NDArray[Any], size: tuple[int, int]) -> Arrays:
        fed = {self._pixels.name: np.ascontiguousarray(picture.transpose(2, 0, 1)[None], self._type)}
        if self._sizes is not None:
            fed[self._sizes.name] = np.array([size], np.int64)
        return dict(zip(self._outputs, self._session.run(self._outputs, fed)))


def _of_yolox(rows: NDArray[Any], cells: NDArray[np.float64], decoded: bool) -> tuple[Boxes, NDArray[np.float64]]:
    found = rows[0].astype(np.float64)
    centres, sizes = found[:, :2], found[:, 2:4]
    if not decoded:
        centres = (centres + cells[:, :2]) * cells[:, 2:]
        sizes = np.exp(np.minimum(sizes, LARGEST)) * cells[:, 2:]
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1), found[:, 4] * found[:, 5 + PERSON]


def _of_rt_detr(outputs: Arrays, size: tuple[int, int]) -> tuple[Boxes, NDArray[np.float64]]:
    if "boxes" in outputs:
        people = outputs["labels"][0] == PERSON
        return outputs["boxes"][0][people].astype(np.float64), outputs["scores"][0][people].astype(np.float64)
    logits, shares = (outputs[name][0].astype(np.float64) for name in ("logits", "pred_boxes"))
    centres, sizes = shares[:, :2], shares[:, 2:4]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1) * np.tile(np.asarray(size), 2)
    return boxes, 1 / (1 + np.exp(-np.clip(logits[:, PERSON], -50, 50)))
