"""The model of a repository that is a bundle's network: its files, and the configuration that they decide."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from ...engines import Bundle
from ...engines.base import OutputSpec
from ...engines.manifest import EngineManifest, check_is_of, engine_manifests
from ...engines.outputs import output_specs
from ...errors import UsageError
from ..tensors import DATATYPES, INPUT
from .config import Message, Word, entries

BACKENDS = ("auto", "tensorrt", "onnxruntime", "openvino", "python")
"""``auto``: TensorRT where the bundle has engines of it, else ONNX Runtime. ``python``: ONNX Runtime as this package
runs it, for servers that come with the Python backend alone."""

Content = Path | str | bytes
"""Of a file: where it is copied from, or what is written into it."""

_FRAMES_OF_A_FREE_BATCH = 8


@dataclass(frozen=True)
class ParserSpec:
    """What a repository is to hold of a bundle.

    Args:
        backend: one of :data:`BACKENDS`.
        precision: ``fp32``, ``fp16`` or ``int8``; by default the lowest that there is.
        most_frames: of a pass, where the network takes any number.
        delay: microseconds that a batch waits to fill.
        most_waiting: requests that wait.
        instances: how many run side by side, on each GPU or on the CPU.
        threads: of the CPU, of each instance; 0 for one per core.
    """

    backend: str = "auto"
    precision: str | None = None
    most_frames: int = _FRAMES_OF_A_FREE_BATCH
    delay: int = 2000
    most_waiting: int = 64
    instances: int = 1
    threads: int = 0


@dataclass(frozen=True)
class ParserModel:
    """A network as a model of a repository.

    Args:
        files: what lies in the version's folder, by its name.
        config: its configuration, but for the name.
        input_size: (height, width) of the frames.
        batch: the fewest and the most frames of a call.
        answer: the output that answers on photographs are made from.
        precision: of what runs.
        tensorrt: the version that built its engines; empty where it has none.
        compute_capabilities: of the GPUs that they are for.
    """

    files: dict[str, Content]
    config: Message
    input_size: tuple[int, int]
    batch: tuple[int, int]
    answer: OutputSpec
    precision: str
    tensorrt: str = ""
    compute_capabilities: tuple[str, ...] = ()

    @property
    def overflows_without_vnni(self) -> bool:
        """Whether what runs it adds products of INT8 in 16 bits on x86 processors without VNNI.

        Of a session's settings Triton's backend for ONNX Runtime passes on threads, memory and the level of
        optimisation, and ``session.use_device_allocator_for_initializers`` (its ``src/onnxruntime.cc``, to r26.06); not
        :data:`~trtparse.engines.cpu.EXACT_INT8`.
        """
        return self.precision == "int8" and self.config["backend"] in ("onnxruntime", "openvino")

    @property
    def takes_one(self) -> bool:
        """Whether a call may bring one frame, as an ensemble does."""
        return self.batch[0] == 1


def parser_model(bundle: Bundle, spec: ParserSpec) -> ParserModel:
    """A bundle's network as a model.

    Raises:
        UsageError: it was not built as asked for, or its engines do not go together.
    """
    engines = [manifest for manifest in engine_manifests(bundle, spec.precision) if manifest.target == "tensorrt"]
    backend = spec.backend if spec.backend != "auto" else "tensorrt" if engines else "onnxruntime"
    if backend == "tensorrt":
        return _of_engines(bundle, spec, engines)
    return _of_graph(bundle, spec, backend)


def _of_engines(bundle: Bundle, spec: ParserSpec, engines: list[EngineManifest]) -> ParserModel:
    if not engines:
        words = f"--{spec.precision or 'int8'} --target tensorrt"
        raise UsageError(
            f"The bundle {bundle.path} has no TensorRT engine"
            + (f" in {spec.precision.upper()}." if spec.precision else "."),
            f"Build one on the GPU that it is for: trtparse build {bundle.path} {words}",
        )
    lowest = [manifest for manifest in engines if manifest.precision == engines[0].precision]
    first = lowest[0]
    by_capability: dict[str, EngineManifest] = {}
    for manifest in lowest:
        if manifest.compute_capability in by_capability:
            other = by_capability[manifest.compute_capability].engine
            raise UsageError(
                f"{manifest.engine} and {other} of {bundle.path} are both for "
                f"compute capability {manifest.compute_capability}; Triton tells GPUs apart by that alone.",
                "Export from a bundle that holds one of them.",
            )
        by_capability[manifest.compute_capability] = manifest
        check_is_of(bundle, manifest)
        if (manifest.tensorrt, manifest.batch) != (first.tensorrt, first.batch):
            raise UsageError(
                f"{_told(manifest)}, and {_told(first)}; one model cannot hold both.",
                "Build the engines alike, or export from a bundle that holds one of them.",
            )
    fewest, likely, most = first.batch
    names = {capability: f"cc{capability}.engine" for capability in sorted(by_capability)}
    outputs = [*first.outputs, *([] if first.raw is None else [first.raw])]
    preferred = sorted({frames for frames in (likely, most) if frames > 1})
    config = {
        "backend": "tensorrt",
        **_tensors(first.input_size, outputs, (fewest, most), spec, preferred),
        "cc_model_filenames": entries(names),
        "instance_group": [{"count": spec.instances, "kind": Word("KIND_GPU")}],
        "optimization": {
            "cuda": {"graphs": True},
            "input_pinned_memory": {"enable": True},
            "output_pinned_memory": {"enable": True},
        },
        **_warmup(first.input_size, (fewest, most)),
    }
    files: dict[str, Content] = {
        names[capability]: bundle.path / manifest.engine for capability, manifest in by_capability.items()
    }
    answer = _answer(bundle, first.outputs, first.raw)
    capabilities = tuple(sorted(by_capability))
    return ParserModel(
        files, config, first.input_size, (fewest, most), answer, first.precision, first.tensorrt, capabilities
    )


def _of_graph(bundle: Bundle, spec: ParserSpec, backend: str) -> ParserModel:
    precision = spec.precision or ("int8" if "int8" in bundle.manifest.precisions else "fp32")
    graph = bundle.graph("int8-cpu" if precision == "int8" else precision)
    batch = bundle.manifest.batch
    # OpenVINO's backend compiles for max_batch_size frames and refuses or fills up passes that have fewer.
    several = 1 if backend == "openvino" else spec.most_frames
    fewest, most = (1, several) if batch is None else (batch, batch)
    size = bundle.manifest.input_size
    outputs, raw = output_specs(onnx.load(graph, load_external_data=False))
    answer = _answer(bundle, outputs, raw)
    # The Python backend gives what goes back onto photographs, as an engine does; others give all that a graph has.
    given = [answer] if backend == "python" else [*outputs, *([] if raw is None else [raw])]
    config = {
        "backend": backend,
        **_tensors(size, given, (fewest, most), spec, [], fixed=batch is not None),
        "instance_group": [{"count": spec.instances, "kind": Word("KIND_CPU")}],
        **_warmup(size, (fewest, most), fixed=batch is not None),
    }
    files: dict[str, Content] = {"model.onnx": graph}
    if backend == "openvino":
        files = _openvino_files(graph, fewest)
        threads = {"INFERENCE_NUM_THREADS": str(spec.threads * spec.instances)} if spec.threads else {}
        config["parameters"] = parameters(NUM_STREAMS=str(spec.instances), **threads)  # which all instances share
    elif backend == "python":
        files["model.py"] = step_file("ParserStep")
        returns = bundle.manifest.framing.returns
        config["parameters"] = parameters(precision=precision, threads=str(spec.threads), returns=returns)
    elif spec.threads:
        config["parameters"] = parameters(intra_op_thread_count=str(spec.threads))
    return ParserModel(files, config, size, (fewest, most), answer, precision)


def _openvino_files(graph: Path, frames: int) -> dict[str, Content]:
    """A graph as OpenVINO keeps it: of an ONNX file the backend would sort where labels need a maximum alone."""
    from ...engines.openvino import write_ir

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.xml"
        write_ir(graph, frames, place)
        return {file.name: file.read_bytes() for file in (place, place.with_suffix(".bin"))}


def _answer(bundle: Bundle, outputs: Sequence[OutputSpec], raw: OutputSpec | None) -> OutputSpec:
    """Which output goes back onto photographs."""
    if bundle.manifest.framing.returns != "logits":
        return outputs[0]
    if raw is None:
        raise UsageError(
            f"The bundle {bundle.path} gives labels alone, and its framing has logits go back onto the image.",
            "Build it with them as one more output: trtparse build --logits",
        )
    return raw


def _told(manifest: EngineManifest) -> str:
    fewest, _, most = manifest.batch
    return f"{manifest.engine} is of TensorRT {manifest.tensorrt} and takes {fewest} to {most} frames"


def step_file(name: str) -> str:
    """The ``model.py`` of one of :mod:`.steps`."""
    return (
        f'"""Written by trtparse, which has to be installed where Triton runs."""\n\n'
        f"from trtparse.serve.triton.steps import {name} as TritonPythonModel\n\n"
        f'__all__ = ["TritonPythonModel"]\n'
    )


def parameters(**told: str) -> list[Message]:
    """Of a configuration."""
    return entries({name: {"string_value": value} for name, value in told.items()})


def tensor(name: str, dtype: str, shape: tuple[int | None, ...], **more: object) -> Message:
    """An input or output of a configuration."""
    dims = [-1 if length is None else length for length in shape]
    return {"name": name, "data_type": Word(f"TYPE_{DATATYPES[dtype]}"), "dims": dims, **more}


def _tensors(
    size: tuple[int, int],
    outputs: list[OutputSpec],
    batch: tuple[int, int],
    spec: ParserSpec,
    preferred: list[int],
    *,
    fixed: bool = False,
) -> Message:
    """Inputs, outputs and batching. Where the batch is fixed, it is a dimension like others, and Triton makes none."""
    fewest, most = batch
    fixed = fixed or fewest == most
    front: tuple[int, ...] = (fewest,) if fixed else ()
    if not fixed and fewest > 1:
        raise UsageError(
            f"The engine takes {fewest} to {most} frames, and Triton also brings one.",
            "Build it for 1 and more.",
        )
    told: Message = {
        "max_batch_size": 0 if fixed else most,
        "input": [tensor(INPUT, "uint8", (*front, *size, 3))],
        "output": [tensor(one.name, one.dtype, (*front, *one.shape)) for one in outputs],
    }
    if not fixed:
        told["dynamic_batching"] = {
            "preferred_batch_size": preferred or None,
            "max_queue_delay_microseconds": spec.delay,
            "default_queue_policy": {"max_queue_size": spec.most_waiting},
        }
    return told


def _warmup(size: tuple[int, int], batch: tuple[int, int], *, fixed: bool = False) -> Message:
    fewest, most = batch
    fixed = fixed or fewest == most
    front: tuple[int, ...] = (fewest,) if fixed else ()
    frames = {"data_type": Word("TYPE_UINT8"), "dims": [*front, *size, 3], "zero_data": True}
    counts = (0,) if fixed else tuple(sorted({1, most}))
    return {
        "model_warmup": [
            {"name": f"black, {count or fewest} frames", "batch_size": count, "inputs": entries({INPUT: frames})}
            for count in counts
        ]
    }
