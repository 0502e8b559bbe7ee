"""What Triton's Python backend runs: a photograph to a frame, a frame to arrays, answers back onto the photograph.

A repository's ``model.py`` names one of these classes ``TritonPythonModel`` and holds no more: a server that has this
package computes as ``trtparse parse`` does. ``triton_python_backend_utils`` exists in Triton's own processes alone.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Placement, place
from ...engines.base import Engine
from ...engines.raw import RawEngine
from ...errors import TrtparseError
from ...specs.framing import Framing
from ...tasks.base import Task
from ...tasks.open import task_told
from ..photographs import read_photograph

Tensors = dict[str, NDArray[Any]]


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

    def place(self, image_size: tuple[int, int]) -> Placement:
        return place(self._framing, image_size)


class PhotographStep(_Framed):
    """``photograph`` (bytes,) uint8, a file's, to ``frames`` (1, H, W, 3) uint8 and ``image_size`` (2,) int32."""

    def begin(self, told: dict[str, str], folder: Path) -> None:
        super().begin(told, folder)
        self._most_pixels = int(told["most_pixels"])

    def answer(self, given: Tensors) -> Tensors:
        photograph = read_photograph(given["photograph"].tobytes(), self.place, self._most_pixels)
        size = np.array(photograph.placement.image_size, np.int32)
        return {"frames": photograph.frames, "image_size": size}


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
    ``keypoints`` (K, 3) float32.
    """

    def begin(self, told: dict[str, str], folder: Path) -> None:
        super().begin(told, folder)
        self._task: Task[Any] = task_told(told["task"], json.loads(told["spec"]))

    def answer(self, given: Tensors) -> Tensors:
        height, width = (int(length) for length in given["image_size"])
        (answer,) = self._task.unpack((given["answer"],))
        return {self._outputs[0]: self._task.restore(answer, self.place((height, width)))}
