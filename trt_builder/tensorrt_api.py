"""TensorRT's versions behind one face; nothing else asks for a version.

Built for 8.6 (precision by flags beside the graph), 10.x and 11.x (strongly typed: precision is in the graph) and
TensorRT-RTX (typed as well, no GPU needed). What each version declares is recorded under ``tests/trt_builder/declared``
and every name that is used here is checked against it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx

from ..engines.machine.dependencies import require
from ..engines.tensorrt.engine import LIBRARIES, NAMES
from ..engines.tensorrt.log import library_logger
from ..errors import BuildError, MachineError, UsageError
from ..graphs.weakly_typed import float_graph, implicit_graph
from .engine_spec import EngineSpec

OLDEST = (8, 6)

_LAST_FLAGGED_DLA, _FIRST_TYPED_DLA = (10, 7), (11, 4, 1)
"""Between the two TensorRT has no deep-learning accelerator (NVIDIA's "Working with DLA", TensorRT 11.4.1)."""


_EXPERIMENTAL = (
    "Experimental: precision by flags beside the graph, as TensorRT 8 and its accelerators need it, has not run on a "
    "GPU yet."
)


class NoEngine(BuildError):
    """The builder read the graph and made no engine of it: another form of the graph may do."""


@dataclass(frozen=True)
class NetworkLayer:
    """A layer as the parser read it: its name, TensorRT's kind ("CONVOLUTION") and the precision it is typed in."""

    name: str
    kind: str
    precision: str


@dataclass(frozen=True)
class Built:
    """A serialised engine and what is known of it without running it.

    Args:
        content: the plain engine, no header in front.
        layers: of the network as parsed.
        inspector: the engine's layers as TensorRT's inspector lists them, in JSON; None where that needs a GPU that
            is not there.
        timing_cache: to keep for the next build; None where the target times nothing.
        notes: what happened that a person should know.
    """

    content: bytes
    layers: tuple[NetworkLayer, ...]
    inspector: str | None = None
    timing_cache: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Construction:
    """What lives while one engine is built. TensorRT's objects refer to each other, so all are kept to the end."""

    logger: Any
    builder: Any
    network: Any
    config: Any
    notes: list[str] = field(default_factory=list)


class TensorRT:
    """One installed TensorRT.

    Args:
        module: the bindings.
        target: ``tensorrt`` or ``tensorrt-rtx``.

    Raises:
        MachineError: older than 8.6.
    """

    def __init__(self, module: Any, target: str) -> None:
        self._trt, self.target = module, target
        self.version = str(module.__version__)
        self.numbers = tuple(int(part) for part in self.version.split(".") if part.isdecimal())
        self.name = f"{NAMES[target]} {self.version}"
        if target == "tensorrt" and self.numbers < OLDEST:
            raise MachineError(
                f"{self.name} is too old: 8.6 is the first that this can use.",
                "Update JetPack to 6 or later; the first Jetson Nano ends at TensorRT 8.2 and cannot be used.",
            )

    @classmethod
    def load(cls, target: str) -> TensorRT:
        """The installed one.

        Raises:
            MachineError: it is not installed, or too old.
        """
        return cls(require(LIBRARIES[target]), target)

    @property
    def short_version(self) -> str:
        """``10.3``, as engines are named."""
        return ".".join(map(str, self.numbers[:2]))

    @property
    def times_tactics(self) -> bool:
        """Whether a timing cache serves it; to TensorRT-RTX it means nothing."""
        return self.target == "tensorrt"

    def log_to(self, write: Callable[[str], None], *, verbose: bool) -> None:
        """Have each of TensorRT's messages written as a line; ``verbose``: every kernel that it tries as well."""
        library_logger(self._trt).log_to(write, verbose=verbose)

    def is_typed(self, spec: EngineSpec) -> bool:
        """Whether precision is in the graph alone, and not in flags."""
        if self.target == "tensorrt" and self.numbers < (10,):
            return False
        # The accelerator of 10.0 to 10.7 takes ranges of tensors, which strongly typed networks refuse.
        return spec.dla_core is None or self.numbers >= _FIRST_TYPED_DLA

    def check(self, spec: EngineSpec) -> None:
        """Refuse what this version lacks, before anything is built.

        Raises:
            UsageError: names what it lacks and what has it.
        """
        if spec.target != self.target:
            raise ValueError(f"{self.name} cannot build for {spec.target}")
        if spec.dla_core is not None and self.numbers[:2] > _LAST_FLAGGED_DLA and self.numbers < _FIRST_TYPED_DLA:
            raise UsageError(
                f"{self.name} does not run on the deep-learning accelerator: 10.7 was the last that did, until 11.4.1.",
                "Leave --dla out, or use the TensorRT 10.3 of JetPack 6 or JetPack 7.2.2 or later on an AGX Orin.",
            )

    def build(
        self,
        model: onnx.ModelProto,
        spec: EngineSpec,
        capability: str | None = None,
        timing_cache: bytes | None = None,
        *,
        inspect: bool = False,
        built: Callable[[bytes], object] = lambda _: None,
    ) -> Built:
        """Parse a graph and build one engine.

        Args:
            model: typed as ``spec.precision`` says; what a version needs besides is made of it here.
            spec: what to build.
            capability: the GPU generation; TensorRT-RTX's alone.
            timing_cache: what an earlier build left.
            inspect: read the engine's own layers afterwards, on the GPU.
            built: given the engine before it is inspected, which may fail.

        Raises:
            UsageError: this version, or this graph, lacks what is asked for.
            MachineError: TensorRT cannot start here.
            BuildError: the parser refuses a node (named).
            NoEngine: the builder gives no engine.
        """
        self.check(spec)
        ranges: dict[str, float] = {}
        typed = self.is_typed(spec)
        if not typed:
            model = float_graph(model)
            if spec.dla_core is not None and spec.precision == "int8":
                model, ranges = implicit_graph(model)
        work = self._start(typed)
        if not typed:
            work.notes.append(_EXPERIMENTAL)
        self._parse(work, model, spec)
        self._configure(work, spec, capability)
        if not typed:
            self._set_precision(work, spec, ranges)
        self._set_profile(work, spec)
        cache = self._set_timing_cache(work, timing_cache)
        serialised = work.builder.build_serialized_network(work.network, work.config)
        if serialised is None:
            raise NoEngine(
                f"{self.name} built no engine: {work.logger.told()}.",
                "Where it says out of memory, lower --workspace or --optimization-level.",
            )
        content = bytes(serialised)
        built(content)
        return Built(
            content,
            self._layers(work.network),
            self._inspect(content, spec, work) if inspect else None,
            None if cache is None else bytes(cache.serialize()),
            tuple(work.notes),
        )

    def _start(self, typed: bool) -> _Construction:
        trt = self._trt
        logger = library_logger(trt)
        logger.forget()
        flag = trt.NetworkDefinitionCreationFlag
        # 8.6 needs the batch named as a dimension; 10 and 11 know no other way, and 11 has no word for it.
        flags = 1 << int(flag.STRONGLY_TYPED) if typed else 1 << int(flag.EXPLICIT_BATCH) if self.numbers < (10,) else 0
        try:
            builder = trt.Builder(logger)
        except (TypeError, RuntimeError) as error:
            raise MachineError(
                f"{self.name} cannot start: {logger.told()} ({error}).",
                "See what this machine lacks: trtparse doctor",
            ) from error
        return _Construction(logger, builder, builder.create_network(flags), builder.create_builder_config())

    def _parse(self, work: _Construction, model: onnx.ModelProto, spec: EngineSpec) -> None:
        trt = self._trt
        parser = trt.OnnxParser(work.network, work.logger)
        if spec.dla_core is not None and self.is_typed(spec):
            parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
        if parser.parse(model.SerializeToString()):
            return
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        told = "; ".join(self._refusal(error, model) for error in errors[:3])
        raise BuildError(
            f"{self.name}'s parser refuses the graph: {told or work.logger.told()}.",
            "Another version of TensorRT may know that node; or export the graph without it.",
        )

    @staticmethod
    def _refusal(error: Any, model: onnx.ModelProto) -> str:
        """A parser's complaint with its node; 8.6 tells a number where later versions tell a name."""
        if hasattr(error, "node_name"):
            node = f"{error.node_operator()} {error.node_name()}"
        elif 0 <= error.node() < len(model.graph.node):
            found = model.graph.node[error.node()]
            node = f"{found.op_type} {found.name or ', '.join(found.output)}"
        else:
            node = ""
        return f"{node}: {error.desc()}" if node.strip() else str(error.desc())

    def _configure(self, work: _Construction, spec: EngineSpec, capability: str | None) -> None:
        trt, config = self._trt, work.config
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.builder_optimization_level = spec.optimization_level
        if spec.workspace_mb is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mb << 20)
        if self.target == "tensorrt-rtx":
            config.num_compute_capabilities = 1
            wanted = getattr(trt.ComputeCapability, f"SM{(capability or '8.6').replace('.', '')}")
            config.set_compute_capability(wanted, 0)
        if spec.precision == "fp32":
            # TF32 has FP16's mantissa: fast, and not what FP32 says.
            config.clear_flag(trt.BuilderFlag.TF32)
        flags = {
            "GPU_FALLBACK": spec.gpu_fallback,
            "VERSION_COMPATIBLE": spec.version_compatible,
            "SPARSE_WEIGHTS": spec.sparsity,
            "REFIT": spec.refit,
        }
        for name, asked in flags.items():
            if asked:
                config.set_flag(getattr(trt.BuilderFlag, name))
        if spec.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if spec.dla_core is not None:
            self._use_accelerator(work, spec.dla_core)
        if self.target == "tensorrt" and self.numbers < (10,):
            # cuBLAS and cuDNN need not be installed: none of these networks gains from them, and 10 is without.
            sources = trt.TacticSource
            kept = (sources.EDGE_MASK_CONVOLUTIONS, sources.JIT_CONVOLUTIONS)
            config.set_tactic_sources(sum(1 << int(source) for source in kept))
            # Two contexts of one engine, a slot each, may use one profile at a time; 10 needs no word for it.
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)

    def _use_accelerator(self, work: _Construction, core: int) -> None:
        cores = int(work.builder.num_DLA_cores)
        if core >= cores:
            raise MachineError(
                f"This machine has {cores or 'no'} deep-learning accelerators; --dla {core} is none of them.",
                "Leave --dla out." if not cores else f"Give --dla 0 to {cores - 1}.",
            )
        work.config.default_device_type = self._trt.DeviceType.DLA
        work.config.DLA_core = core

    def _set_precision(self, work: _Construction, spec: EngineSpec, ranges: dict[str, float]) -> None:
        """Flags beside the graph, and the ranges of tensors that no Q/DQ tells any more."""
        flags = self._trt.BuilderFlag
        if spec.precision in ("fp16", "int8"):
            work.config.set_flag(flags.FP16)
        if spec.precision != "int8":
            return
        work.config.set_flag(flags.INT8)
        if spec.dla_core is None:
            return
        network, given = work.network, 0
        inputs = [network.get_input(number) for number in range(network.num_inputs)]
        layers = [network.get_layer(number) for number in range(network.num_layers)]
        outputs = [layer.get_output(number) for layer in layers for number in range(layer.num_outputs)]
        for tensor in (*inputs, *outputs):
            if tensor.name in ranges:
                tensor.set_dynamic_range(-ranges[tensor.name], ranges[tensor.name])
                given += 1
        if not given:
            # Without a range TensorRT 8 and 10 would quantise with none, and say nothing.
            raise BuildError("The INT8 graph holds no range that the deep-learning accelerator could use.")
        work.notes.append(f"{given} of {len(inputs) + len(outputs)} tensors have an INT8 range; the others stay FP16.")

    def _set_profile(self, work: _Construction, spec: EngineSpec) -> None:
        frames = work.network.get_input(0)
        shape = tuple(int(length) for length in frames.shape)
        batch = spec.profile(None if shape[0] == -1 else shape[0])
        if shape[0] != -1:
            return
        if spec.dla_core is not None and batch[0] != batch[2]:
            raise UsageError(
                "The deep-learning accelerator needs a fixed batch, and the graph's is free.",
                "Give --batch-profile three times the same, such as 1,1,1.",
            )
        profile = work.builder.create_optimization_profile()
        profile.set_shape(frames.name, *((count, *shape[1:]) for count in batch))
        work.config.add_optimization_profile(profile)

    def _set_timing_cache(self, work: _Construction, content: bytes | None) -> Any:
        """Attach the earlier cache, or a new one where that is damaged or another machine's."""
        if not self.times_tactics:
            return None
        config = work.config
        if content:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    earlier = config.create_timing_cache(content)
                except (TypeError, RuntimeError):
                    earlier = None
            # Never another device's: its timings would choose this one's kernels.
            if earlier is not None and config.set_timing_cache(earlier, False):
                return earlier
            work.notes.append("The timing cache is damaged or of another GPU or version; a new one takes its place.")
        fresh = config.create_timing_cache(b"")
        config.set_timing_cache(fresh, False)
        return fresh

    def _layers(self, network: Any) -> tuple[NetworkLayer, ...]:
        layers = [network.get_layer(number) for number in range(network.num_layers)]
        dequantised = {layer.get_output(0).name for layer in layers if layer.type.name == "DEQUANTIZE"}
        return tuple(NetworkLayer(layer.name, layer.type.name, _precision(layer, dequantised)) for layer in layers)

    def _inspect(self, content: bytes, spec: EngineSpec, work: _Construction) -> str:
        """The engine's layers, in JSON. Where the batch is free, as they are at its most likely size."""
        trt = self._trt
        runtime = trt.Runtime(work.logger)
        if spec.version_compatible:
            runtime.engine_host_code_allowed = True
        if spec.dla_core is not None:
            runtime.DLA_core = spec.dla_core
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BuildError(f"{self.name} cannot load the engine that it built: {work.logger.told()}.")
        inspector = engine.create_engine_inspector()
        frames = work.network.get_input(0)
        shape = tuple(int(length) for length in frames.shape)
        if shape[0] == -1:
            context = engine.create_execution_context()
            context.set_input_shape(frames.name, (spec.profile(None)[1], *shape[1:]))
            inspector.execution_context = context
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _precision(layer: Any, dequantised: set[str]) -> str:
    """What a layer is typed in: of a convolution that reads dequantised tensors alone, INT8, as it will be fused."""
    inputs = [layer.get_input(number) for number in range(layer.num_inputs)]
    read = [tensor for tensor in inputs if tensor is not None]
    if layer.type.name in ("CONVOLUTION", "DECONVOLUTION") and read:
        # Its kernel is its second input where that is a tensor; a constant kernel is no input in weakly typed networks.
        if all(tensor.name in dequantised for tensor in read[:2]):
            return "int8"
        return _typed_in(read[0])
    if layer.num_outputs == 0:
        return ""
    return _typed_in(layer.get_output(0))


def _typed_in(tensor: Any) -> str:
    name = str(tensor.dtype.name)
    return {"FLOAT": "fp32", "HALF": "fp16"}.get(name, name.lower())
