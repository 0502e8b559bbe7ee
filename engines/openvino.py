"""OpenVINO, the other CPU runtime: faster than ONNX Runtime where its kernels fit the processor.

What it computes with between INT8 layers it would choose itself, by the processor. Here that is always asked for by
name and told in the engine's: BF16 is never called FP32.
"""

from __future__ import annotations

import io
import platform
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import MachineError, TrtparseError, UsageError
from ..graphs.raw import raw_output_of
from .base import Arrays, Engine, Frames, LayerTime, OutputSpec, Raw
from .machine.dependencies import OLDEST_OPENVINO, require
from .machine.facts import cores
from .model_cache import ModelCache
from .openvino_tail import lean_tail

FORM = "2"
"""Goes up when models are compiled of another form than before, so that what was kept, or measured, is not taken."""

_DTYPES = {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64", "u8": "uint8", "i8": "int8"}
"""What OpenVINO calls otherwise than numpy."""

_CAPABILITIES = {"bf16": "BF16", "f16": "FP16"}
"""Arithmetic to the word by which the CPU plugin says that the processor has it."""


def arithmetic(precision: str, capabilities: tuple[str, ...], between: str | None = None) -> str:
    """What is computed with where a graph is not in INT8: ``f32``, ``bf16`` or ``f16``.

    Args:
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        capabilities: of the processor, as OpenVINO's CPU plugin lists them.
        between: what is wanted between INT8 layers; by default BF16 where the processor has it, then FP16, then FP32.

    Raises:
        MachineError: the processor has none of what was asked for.
        UsageError: ``between`` with another precision than INT8.
    """
    if between is not None and precision != "int8":
        raise UsageError(f"{between} between layers is for INT8, and this is {precision}.", "Leave it out.")
    native = [name for name, word in _CAPABILITIES.items() if word in capabilities]
    if precision == "fp32":
        return "f32"
    if precision == "fp16":
        # Without FP16 in the processor the graph's FP16 numbers are computed with in FP32.
        return "f16" if "f16" in native else "f32"
    wanted = "bf16" if precision == "bf16" else between
    if wanted is None:
        return native[0] if native else "f32"
    if wanted not in ("f32", *native):
        raise MachineError(
            f"This processor has no {wanted.upper()}: OpenVINO lists {', '.join(capabilities)}.",
            "Take --precision fp32 or int8.",
        )
    return wanted


def betweens(capabilities: tuple[str, ...]) -> list[str]:
    """What INT8 layers can have between them on a processor; what rounds less comes first."""
    return ["f32", *[name for name, word in _CAPABILITIES.items() if word in capabilities][:1]]


class OpenVinoEngine(Engine):
    """A graph on OpenVINO's CPU plugin.

    Args:
        graph: ONNX file, ``frames`` (N, H, W, 3) uint8 to any outputs.
        precision: ``fp32``, ``fp16`` or ``int8``, what the graph is; or ``bf16``, an FP32 graph computed in BF16.
        threads: of the runtime; 0 for one per core.
        streams: requests that run side by side and share the threads, at most one per thread.
        between: what INT8 layers have between them; see :func:`arithmetic`.
        cache: where compiled models are kept; None compiles each time.

    Raises:
        MachineError: OpenVINO is missing, too old or without its CPU plugin, or the processor lacks the arithmetic.
        UsageError: a graph that OpenVINO cannot convert, with the operator, or of another interface.
    """

    def __init__(
        self,
        graph: Path,
        precision: str,
        *,
        threads: int = 0,
        streams: int = 1,
        between: str | None = None,
        cache: ModelCache | None = None,
    ) -> None:
        self._openvino = load_openvino()
        self._core = self._openvino.Core()
        capabilities = capabilities_of(self._core)
        hint = arithmetic(precision, capabilities, between)
        streams = min(streams, threads or cores())
        super().__init__(streams)
        self.in_flight = streams + 1
        self._graph, self._cache = graph, cache
        self._hint = hint
        self._config = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": str(streams),
            # Each process would pin its threads to the first cores, as if it were alone on the machine.
            "ENABLE_CPU_PINNING": False,
            **({"INFERENCE_NUM_THREADS": str(threads)} if threads else {}),
        }
        self._key = {
            "openvino": self._openvino.get_version(),
            "form": FORM,
            "hint": hint,
            "processor": f"{self._core.get_property('CPU', 'FULL_DEVICE_NAME')} {' '.join(sorted(capabilities))}",
        }
        self._not_kept = ""
        try:
            raw, names = _outputs_of(graph)
            self._names = [name for name in names if name != raw]
            self._compiled = self._compile("answers", self._names)
            self._set_interface()
        except TrtparseError:
            self._worker.shutdown()
            raise
        self._raw_name = raw if raw in names else ""
        self.gives_raw = bool(self._raw_name)
        self._raw_request: Any = None
        self._free = deque(self._compiled.create_infer_request() for _ in range(self.in_flight))
        self.precision, self.target = precision, "openvino"
        self.between = hint if precision == "int8" else ""
        told = f"{threads} threads" if threads > 1 else "1 thread" if threads else "all cores"
        self.name = f"OpenVINO {version_of(self._openvino)}, {_told_precision(precision, hint)}, {told}{self._not_kept}"

    def raw(self, frames: Frames) -> Raw:
        if not self.gives_raw:
            return super().raw(frames)
        self._check(frames)
        if self._raw_request is None:
            # An output more costs a third of the time of a call, so answers come from a model without it.
            self._raw_request = self._compile("raw", [self._raw_name]).create_infer_request()
        return np.array(self._infer(self._raw_request, frames).get_output_tensor(0).data)

    def layer_times(self, frames: Frames, calls: int) -> list[LayerTime]:
        """The times of every node that ran, in the runtime's order; measuring makes each a little slower."""
        self._check(frames)
        compiled = self._core.compile_model(
            _model(self._openvino, self._core, self._graph, self._names, self._hint),
            "CPU",
            {**self._config, "PERF_COUNT": True},
        )
        request = compiled.create_infer_request()
        self._infer(request, frames)  # the first call prepares the kernels
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(calls):
            for node in self._infer(request, frames).get_profiling_info():
                spent = 1e3 * node.real_time.total_seconds()
                if spent > 0:  # the rest was folded into others
                    found.setdefault((node.node_name, node.node_type), []).append(spent)
        return [LayerTime.of(name, times, kind) for (name, kind), times in found.items()]

    def _run(self, frames: Frames) -> Arrays:
        return self._start(frames)()

    def _start(self, frames: Frames) -> Callable[[], Arrays]:
        request = self._free.popleft()
        tensor, held = self._tensor(frames)
        request.set_input_tensor(tensor)
        request.start_async()
        return partial(self._finish, request, held)

    def _finish(self, request: Any, held: Frames) -> Arrays:
        """Wait for a request; ``held`` is what it reads, which must live until then."""
        try:
            request.wait()
            return tuple(
                np.array(request.get_output_tensor(position).data, dtype=spec.dtype)
                for position, spec in zip(self._positions, self.outputs)
            )
        finally:
            self._free.append(request)

    def _tensor(self, frames: Frames) -> tuple[Any, Frames]:
        """The frames where they lie, and what owns them; a view of other strides is copied."""
        held = np.ascontiguousarray(frames)
        return self._openvino.Tensor(held, shared_memory=True), held

    def _infer(self, request: Any, frames: Frames) -> Any:
        """One call, waited for; gives the request."""
        tensor, _held = self._tensor(frames)
        request.set_input_tensor(tensor)
        request.infer()
        return request

    def _compile(self, part: str, outputs: list[str]) -> Any:
        """The graph with some of its outputs, from the cache where it holds that."""
        key = {**self._key, "part": part}
        kept = None if self._cache is None else self._cache.read(key)
        if kept is not None:
            try:
                return self._core.import_model(io.BytesIO(kept), "CPU", self._config)
            except RuntimeError:
                # Its own check of versions and processors is finer than the key.
                kept = None
        try:
            model = _model(self._openvino, self._core, self._graph, outputs, self._hint)
            compiled = self._core.compile_model(model, "CPU", self._config)
        except RuntimeError as error:
            raise _not_converted(self._openvino, self._graph, error) from error
        if self._cache is not None:
            try:
                content = compiled.export_model()
                self._cache.write(key, content.getvalue() if isinstance(content, io.BytesIO) else bytes(content))
            except TrtparseError as error:
                self._not_kept = f" (compiled anew each time: {error.message.rstrip('.')})"
        return compiled

    def _set_interface(self) -> None:
        """Read sizes and outputs off the compiled model.

        Raises:
            UsageError: it takes something else than frames.
        """
        inputs = self._compiled.inputs
        shape = inputs[0].get_partial_shape()
        kind = inputs[0].get_element_type().get_type_name()
        if len(inputs) != 1 or "frames" not in inputs[0].get_names() or kind != "u8" or len(shape) != 4:
            raise UsageError(
                f"{self._graph} takes {inputs[0].get_any_name()} {kind} {shape}, not frames (N, H, W, 3) uint8.",
                "Use a graph that trtparse build wrote.",
            )
        count, height, width = shape[0], shape[1], shape[2]
        self.input_size = (height.get_length(), width.get_length())
        self.batch = count.get_length() if count.is_static else None
        # An output has the names of all tensors that are the same, such as what a Cast to its own type reads.
        outputs = self._compiled.outputs
        self._positions = [
            next(position for position, output in enumerate(outputs) if name in output.get_names())
            for name in self._names
        ]
        self.outputs = tuple(_spec(name, outputs[at]) for name, at in zip(self._names, self._positions))

    def _release(self) -> None:
        for request in self._free:
            request.cancel()
        self._free.clear()
        del self._raw_request, self._compiled, self._core


def write_ir(graph: Path, frames: int, place: Path) -> None:
    """Write a graph in OpenVINO's own form, for programs that run it without this package.

    Args:
        graph: ONNX file, as of :class:`OpenVinoEngine`.
        frames: of a pass; where the graph takes any number, it takes this one then.
        place: of the ``.xml``; the weights go into a ``.bin`` beside it.

    Raises:
        MachineError: OpenVINO is missing or too old.
        UsageError: a graph that it cannot convert.
    """
    openvino = load_openvino()
    _, names = _outputs_of(graph)
    try:
        # Of what it will be computed with nothing is known; this form is good in FP32, and in BF16 not the worst.
        model = _model(openvino, openvino.Core(), graph, names, "f32")
        model.reshape([frames, *list(model.input(0).get_partial_shape())[1:]])
    except RuntimeError as error:
        raise _not_converted(openvino, graph, error) from error
    for output in model.outputs:
        # What is the same tensor under several names would be called by any one of them.
        output.get_tensor().set_names(output.get_names() & set(names))
    openvino.save_model(model, place, compress_to_fp16=False)


def _model(openvino: Any, core: Any, graph: Path, outputs: list[str], hint: str) -> Any:
    """A graph as OpenVINO reads it, with some of its outputs, for what it is computed with.

    Raises:
        RuntimeError: OpenVINO's.
    """
    model = core.read_model(graph)
    for result in model.get_results():
        if not result.input_value(0).get_names() & set(outputs):
            model.remove_result(result)
    lean_tail(model, openvino, hint, platform.machine())
    return model


def _not_converted(openvino: Any, graph: Path, error: RuntimeError) -> UsageError:
    return UsageError(
        f"OpenVINO {version_of(openvino)} cannot run {graph}: {_reason(str(error))}.",
        "Run it on ONNX Runtime: --target onnxruntime",
    )


def load_openvino() -> Any:
    """The module.

    Raises:
        MachineError: it is missing, cannot be loaded, or is older than what was tested.
    """
    openvino = require("openvino")
    version = version_of(openvino)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_OPENVINO:
        oldest = ".".join(map(str, OLDEST_OPENVINO))
        raise MachineError(
            f"OpenVINO {version} is too old: {oldest} is the oldest that works.",
            "Update it: pip install --upgrade 'trtparse[openvino]'",
        )
    return openvino


def version_of(openvino: Any) -> str:
    """``2026.4.1``, without the number of its build."""
    return str(openvino.get_version()).partition("-")[0]


def capabilities_of(core: Any) -> tuple[str, ...]:
    """What the processor can compute with, as the CPU plugin lists it.

    Raises:
        MachineError: OpenVINO has no CPU plugin here.
    """
    try:
        return tuple(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as error:
        raise MachineError(
            f"OpenVINO has no CPU plugin here: {_reason(str(error))}.",
            "Install it again: pip install --force-reinstall openvino; or take --target onnxruntime.",
        ) from error


def _told_precision(precision: str, hint: str) -> str:
    if precision == "int8":
        return f"int8 with {hint} between"
    return "fp16 computed in f32" if (precision, hint) == ("fp16", "f32") else precision


def _outputs_of(graph: Path) -> tuple[str, list[str]]:
    """The name of the raw tensor, and those of all outputs.

    Raises:
        UsageError: no ONNX file.
    """
    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf's and the system's have no common base
        raise UsageError(f"OpenVINO cannot load {graph}: {error}", "Build the bundle again.") from error
    return raw_output_of(model), [output.name for output in model.graph.output]


def _spec(name: str, output: Any) -> OutputSpec:
    """What OpenVINO says of an output."""
    kind = output.get_element_type().get_type_name()
    shape = tuple(length.get_length() if length.is_static else None for length in output.get_partial_shape())
    return OutputSpec(name, _DTYPES.get(kind, kind), shape[1:])


def _reason(text: str) -> str:
    """The operator that a message of OpenVINO's names; else its last line, which says most."""
    unknown = re.search(r"No conversion rule found for operations: ([^\n]+)", text)
    if unknown:
        return f"it does not know {unknown.group(1).strip()}"
    found = re.search(r"ONNX node '<Node\((\w+)\): ([^>]*)>'[^\n]*\n?([^\n]*)", text)
    if found:
        operator, name, why = found.groups()
        return f"{operator} {name}" + (f": {why.strip().rstrip('.')}" if why.strip() else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it does not say why"
