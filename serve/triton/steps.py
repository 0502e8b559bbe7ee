"""What Triton's Python backend runs: a photograph to a frame, a frame to arrays, answers back onto the photograph.

A repository's ``model.py`` names one of these classes ``TritonPythonModel`` and holds no more: a server that has this
package computes as ``trtparse parse`` does. ``triton_python_backend_utils`` exists in Triton's own processes alone.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.crops import place
from ...engines.base import Engine
from ...engines.raw import RawEngine
from ...errors import TrtparseError, UsageError
from ...specs.framing import Framing
from ...tasks.base import Task
from ...tasks.open import task_told
from ...tasks.people.detector import open_detector
from ..photographs import PEOPLE, finder, read_photograph
from ..tensors import INPUT

Tensors = dict[str, NDArray[Any]]

_ASKED_AT_ONCE = 16
"""Frames of a photograph that wait for Triton's answer side by side: it makes batches of them."""


DETECTOR = "detector.onnx"
"""What finds people, beside the ``model.py`` of :class:`PeopleStep`."""


def framing_parameter(framing: Framing) -> str:
    """What :class:`Step` reads a framing from."""
    return json.dumps({"input_size": list(framing.input_size), **framing.preprocessing()})


class Step(ABC):
    """A model of Triton's Python backend that answers each request by itself.

    The methods in small letters are Triton's; :meth:`answer` is ours.
    """

    def initialize(self, arguments: dict[str, str]) -> None:
        """Called once.

        Args:
            arguments: ``model_config`` in JSON, ``model_repository``, ``model_version`` and others.
        """
        self._triton = importlib.import_module("triton_python_backend_utils")
        config = json.loads(arguments["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.begin(told, Path(arguments["model_repository"]) / arguments["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Called with what waits; a response for each."""
        return [self._respond(request) for request in requests]

    @abstractmethod
    def begin(self, told: dict[str, str], folder: Path) -> None:
        """Read the configuration's parameters; ``folder`` holds the version's files."""

    @abstractmethod
    def answer(self, given: Tensors) -> Tensors:
        """The outputs of one request.

        Raises:
            TrtparseError: there are none; the client is told why.
        """

    def _respond(self, request: Any) -> Any:
        triton = self._triton
        given = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        try:
            found = self.answer(given)
        except TrtparseError as error:
            return triton.InferenceResponse(error=triton.TritonError(f"{error.message} {error.hint}"))
        return triton.InferenceResponse([triton.Tensor(name, found[name]) for name in self._outputs])


class _Framed(Step):
    def begin(self, told: dict[str, str], folder: Path) -> None:
        framing = json.loads(told["framing"])
        height, width = framing["input_size"]
        self._framing = Framing.of_preprocessing((height, width), framing)


class PhotographStep(_Framed):
    """``photograph`` (bytes,) uint8, a file's, to ``frames`` (1, H, W, 3) uint8 and ``image_size`` (2,) int32."""

    def begin(self, told: dict[str, str], folder: Path) -> None:
        super().begin(told, folder)
        self._most_pixels = int(told["most_pixels"])

    def answer(self, given: Tensors) -> Tensors:
        photograph = read_photograph(given["photograph"].tobytes(), self._framing, self._most_pixels)
        return {"frames": photograph.frames, "image_size": np.array(photograph.image_size, np.int32)}


class ParserStep(Step):
    """``frames`` (N, H, W, 3) uint8 to what goes back onto photographs, by ONNX Runtime on the CPU."""

    def begin(self, told: dict[str, str], folder: Path) -> None:
        from ...engines.cpu import CpuEngine

        engine = CpuEngine(folder / "model.onnx", told["precision"], threads=int(told["threads"]))
        self._engine: Engine = RawEngine(engine) if told["returns"] == "logits" else engine

    def answer(self, given: Tensors) -> Tensors:
        return dict(zip(self._outputs, self._engine.infer(given["frames"])))

    def finalize(self) -> None:
        """Called at the end, by Triton."""
        self._engine.close()


class AnswerStep(_Framed):
    """``answer`` and ``image_size`` (2,) int32 to the answer in the photograph's pixels.

    Labels (1, H, W) uint8 or logits (1, C, H, W) float32 become ``label_map`` (h, w) uint8, joints (1, K, 3) float32
    ``keypoints`` (K, 3) float32, boxes (1, M, 5) float32 ``people`` (n, 5) float32.
    """

    def begin(self, told: dict[str, str], folder: Path) -> None:
        super().begin(told, folder)
        self._task: Task[Any] = task_told(told["task"], json.loads(told["spec"]))

    def answer(self, given: Tensors) -> Tensors:
        height, width = (int(length) for length in given["image_size"])
        (answer,) = self._task.unpack((given["answer"],))
        return {self._outputs[0]: self._task.restore(answer, place(self._framing, (height, width)))}


class PeopleStep(_Framed):
    """``photograph`` (bytes,) uint8 to an answer about everybody in it, and ``people`` (P, 5) float32.

    People are found here, on the CPU; the network, another model of the repository, is asked about each of them in a
    request of its own. Answers are ``label_map`` (h, w) uint8 or ``keypoints`` (P, K, 3) float32; people are their
    boxes' left, top, right and bottom, and scores.
    """

    def begin(self, told: dict[str, str], folder: Path) -> None:
        super().begin(told, folder)
        self._task: Task[Any] = task_told(told["task"], json.loads(told["spec"]))
        self._most_pixels, self._frames = int(told["most_pixels"]), int(told["frames"])
        self._network, self._gives = told["network"], told["gives"]
        self._detector = open_detector(folder / DETECTOR, threads=int(told["threads"]))
        self._find = finder(self._detector)
        self._pool = ThreadPoolExecutor(_ASKED_AT_ONCE)

    def answer(self, given: Tensors) -> Tensors:
        photograph = read_photograph(given["photograph"].tobytes(), self._framing, self._most_pixels, self._find)
        frames = [np.repeat(frame[None], self._frames, axis=0) for frame in photograph.frames]
        answers = [self._task.unpack((array,))[0] for array in self._pool.map(self._ask, frames)]
        return {self._outputs[0]: photograph.answer(self._task, answers), PEOPLE: photograph.rows}

    def finalize(self) -> None:
        self._pool.shutdown()
        self._detector.close()

    def _ask(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """What the network says of (N, H, W, 3) frames.

        Raises:
            UsageError: why it says nothing, in Triton's words.
        """
        triton = self._triton
        request = triton.InferenceRequest(
            model_name=self._network,
            requested_output_names=[self._gives],
            inputs=[triton.Tensor(INPUT, frames)],
            preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise UsageError(f"{self._network} gave no answer: {response.error().message()}")
        return np.array(triton.get_output_tensor_by_name(response, self._gives).as_numpy())
