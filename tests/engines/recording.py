"""A GPU that is none: it records what is asked of it, does it as late as it may, and fails on what would be a race.

Real streams run behind the program's back, so a forgotten wait shows on some machines on some days. Here nothing
runs until somebody waits for it, and touching memory that a stream still has to work on is an error at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trtparse.engines.base import Frames, OutputSpec
from trtparse.engines.bundle import MANIFEST_NAME, Bundle, Manifest, add_files
from trtparse.engines.manifest import EngineManifest
from trtparse.engines.tensorrt.cuda import Cuda, CudaFailure, Device, DeviceMemory, Graph, HostMemory
from trtparse.engines.tensorrt.engine import TensorRTEngine
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import LabelMaps, Logits
from trtparse.tests.predicting import label_maps

POISON = 0xA5


class Race(AssertionError):
    """Something was used before it was there, or while something else used it."""


class Block:
    """Memory of the host or the GPU."""

    def __init__(self, address: int, size: int) -> None:
        self.address, self.content, self.freed = address, np.full(size, POISON, np.uint8), False


@dataclass
class Operation:
    """Work in a stream: what it does, and on what."""

    what: str
    run: Callable[[], None]
    uses: tuple[Any, ...]
    version: int = 0
    milliseconds: float = 1.0


@dataclass
class Stream:
    number: int
    waiting: deque[Operation] = field(default_factory=deque)
    capturing: list[Operation] | None = None
    destroyed: bool = False


@dataclass
class Event:
    timed: bool
    blocking: bool = False
    stream: Stream | None = None
    ahead: int = 0
    """How many operations of its stream must run before it happens."""
    time: float = 0.0
    destroyed: bool = False


class RecordedHostMemory(HostMemory):
    def __init__(self, cuda: RecordingCuda, block: Block, *, mapped: bool) -> None:
        super().__init__(block.content, block.address if mapped else None, block)
        self._cuda = cuda

    def view(self, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        self._cuda.check_idle(self.native, "the program looks at it")
        return super().view(dtype, shape)


class RecordingCuda(Cuda):
    """See the module.

    Args:
        integrated: as a Jetson.
        multiprocessors: of the GPU.
        fail: a call's name to which one of them fails, counted from 1.
    """

    def __init__(
        self, *, integrated: bool = False, multiprocessors: int = 8, fail: dict[str, int] | None = None
    ) -> None:
        self.name = "stand-in"
        self.device = Device("Stand-in GPU", "8.7", 8 << 30, integrated, "12.6", multiprocessors)
        self.calls: list[str] = []
        self.blocks: dict[int, Block] = {}
        self.streams: list[Stream] = []
        self.events: list[Event] = []
        self.graphs: list[Graph] = []
        self.clock = 0.0
        self._fail, self._counts = fail or {}, Counter[str]()
        self._depth = threading.local()
        self._next = 0x1000

    # What tests ask

    def left(self) -> list[Any]:
        """What was not given back."""
        live = [block for block in self.blocks.values() if not block.freed]
        return [
            *live,
            *(x for x in (*self.streams, *self.events) if not x.destroyed),
            *(g for g in self.graphs if g.handle),
        ]

    def depth(self) -> int:
        return getattr(self._depth, "value", 0)

    def check_idle(self, thing: Any, why: str) -> None:
        if getattr(thing, "freed", False):
            raise Race(f"{why}, and it is freed")
        for stream in self.streams:
            for operation in stream.waiting:
                if any(thing is used for used in operation.uses):
                    raise Race(f"{why}, and stream {stream.number} still has to {operation.what}")

    def put(self, stream: Stream, operation: Operation) -> None:
        """Enqueue, where no other stream works on the same."""
        if stream.destroyed or any(getattr(used, "freed", False) for used in operation.uses):
            raise Race(f"{operation.what} on what is freed")
        for other in self.streams:
            if other is not stream:
                for pending in other.waiting:
                    if any(used is theirs for used in operation.uses for theirs in pending.uses):
                        raise Race(f"{operation.what}, while stream {other.number} may {pending.what}")
        if stream.capturing is not None:
            stream.capturing.append(operation)
        else:
            stream.waiting.append(operation)

    def stream_of(self, handle: int) -> Stream:
        return next(stream for stream in self.streams if stream.number == handle)

    def block_at(self, address: int) -> Block:
        return self.blocks[address]

    # The calls

    def _note(self, call: str) -> None:
        if self.depth() == 0:
            raise Race(f"{call} without a current context")
        self.calls.append(call)
        self._counts[call] += 1
        if self._fail.get(call) == self._counts[call]:
            raise CudaFailure("CUDA_ERROR_OUT_OF_MEMORY (2)")

    def _not_captured(self, call: str) -> None:
        if any(stream.capturing is not None for stream in self.streams):
            raise Race(f"{call} during a capture")

    def _push(self) -> None:
        self._depth.value = self.depth() + 1

    def _pop(self) -> None:
        self._depth.value = self.depth() - 1

    def stream(self) -> Stream:
        self._note("stream")
        self.streams.append(Stream(len(self.streams) + 1))
        return self.streams[-1]

    def stream_handle(self, stream: Stream) -> int:
        return stream.number

    def synchronise(self, stream: Stream) -> None:
        self._note("synchronise")
        self._not_captured("synchronise")
        self._run(stream, len(stream.waiting))

    def event(self, *, timed: bool = False, blocking: bool = False) -> Event:
        self._note("event")
        self.events.append(Event(timed, blocking))
        return self.events[-1]

    def record(self, event: Event, stream: Stream) -> None:
        self._note("record")
        event.stream, event.ahead = stream, len(stream.waiting) + 1
        stream.waiting.append(Operation("reach an event", lambda: setattr(event, "time", self.clock), (event,)))

    def wait(self, event: Event) -> None:
        self._note("wait")
        self._not_captured("wait")
        if event.stream is None:
            raise Race("an event that was never recorded")
        pending = [number for number, operation in enumerate(event.stream.waiting, 1) if event in operation.uses]
        self._run(event.stream, pending[-1] if pending else 0)

    def milliseconds(self, start: Event, end: Event) -> float:
        self._note("milliseconds")
        for event in (start, end):
            self.check_idle(event, "the program asks for its time")
            assert event.timed
        return end.time - start.time

    def host_memory(self, size: int, *, mapped: bool = False) -> HostMemory:
        self._note("host_memory")
        self._not_captured("host_memory")
        return RecordedHostMemory(self, self._block(size), mapped=mapped)

    def device_memory(self, size: int) -> DeviceMemory:
        self._note("device_memory")
        self._not_captured("device_memory")
        block = self._block(size)
        return DeviceMemory(block.address, block)

    def copy_to_device(self, target: DeviceMemory, source: HostMemory, size: int, stream: Stream) -> None:
        self._copy("copy_to_device", target.native, source.native, size, stream)

    def copy_to_host(self, target: HostMemory, source: DeviceMemory, size: int, stream: Stream) -> None:
        self._copy("copy_to_host", target.native, source.native, size, stream)

    def free(self, thing: HostMemory | DeviceMemory) -> None:
        self._note("free")
        self.check_idle(thing.native, "it is freed")
        thing.native.freed = True

    def destroy(self, *things: Any) -> None:
        self._note("destroy")
        for thing in things:
            self.check_idle(thing, "it is destroyed")
            if isinstance(thing, Stream) and thing.waiting:
                raise Race("a stream is destroyed that has work")
            assert not thing.destroyed
            thing.destroyed = True

    @contextlib.contextmanager
    def capture(self, stream: Stream) -> Iterator[Graph]:
        self._note("capture")
        graph = Graph()
        stream.capturing = operations = []
        try:
            yield graph
        finally:
            stream.capturing = None
        graph.handle, graph.operations = len(self.graphs) + 1, operations  # type: ignore[attr-defined]
        self.graphs.append(graph)

    def launch(self, graph: Graph, stream: Stream) -> None:
        self._note("launch")
        if graph.handle is None:
            raise Race("a graph that is freed")
        for operation in graph.operations:  # type: ignore[attr-defined]
            for used in operation.uses:
                if isinstance(used, FakeContext) and used.version != operation.version:
                    raise Race("a graph whose execution context has changed since")
            uses = (*operation.uses, graph)
            self.put(stream, replace(operation, uses=uses))

    def free_graph(self, graph: Graph) -> None:
        self._note("free_graph")
        self.check_idle(graph, "it is freed")
        graph.handle = None

    def _block(self, size: int) -> Block:
        block = Block(self._next, size)
        self._next += size + 0x1000
        self.blocks[block.address] = block
        return block

    def _copy(self, what: str, target: Block, source: Block, size: int, stream: Stream) -> None:
        self._note(what)

        def run() -> None:
            target.content[:size] = source.content[:size]

        self.put(stream, Operation(what, run, (target, source)))

    def _run(self, stream: Stream, count: int) -> None:
        for _ in range(count):
            operation = stream.waiting.popleft()
            if any(getattr(used, "freed", False) for used in operation.uses):
                raise Race(f"{operation.what} on what is freed")
            self.clock += 0 if "event" in operation.what else operation.milliseconds
            operation.run()


def labels_of(frames: Frames) -> LabelMaps:
    """What the stand-in's engine makes of frames."""
    blue, green, red = (frames[..., channel].astype(int) for channel in range(3))
    return ((blue + 3 * green + 7 * red) % 20).astype(np.uint8)


def points_of(frames: Frames) -> NDArray[np.float32]:
    """(N, 4, 3) float32 that the stand-in's engine makes of frames: half of its first column's values."""
    return frames[:, :4, 0].astype(np.float32) / 2


def logits_of(frames: Frames) -> Logits:
    """(N, 20, H, W) float32 whose argmax is :func:`labels_of`."""
    return (labels_of(frames)[:, None] == np.arange(20)[None, :, None, None]).astype(np.float32)


ANSWERS = {"labels": labels_of, "points": points_of, "logits": logits_of}
"""What the stand-in's engine can give, by the outputs' names."""

POINTS = OutputSpec("points", "float32", (4, 3))


class FakeContext:
    """TensorRT's execution context over the stand-in."""

    def __init__(self, library: FakeTensorRT, facts: dict[str, Any], number: int) -> None:
        self._library, self._facts = library, facts
        self.count = facts["most"] if facts["count"] != -1 else 0
        self.addresses: dict[str, int] = {}
        self.profiler: Any = None
        self.version = 0
        self.active_optimization_profile = 0 if number == 0 or library.shares_profiles else -1

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._changes()
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._changes()
        self.count = shape[0]
        return self._library.refuses != "set_input_shape"

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        return False

    def execute_async_v3(self, stream: int) -> bool:
        cuda = self._library.cuda
        cuda._note("execute")
        if self._library.refuses == "execute":
            self._library.complain("the kernel would not start")
            return False
        height, width = self._facts["input_size"]
        assert self.count > 0, "no shape was set"
        assert set(self.addresses) == set(self._facts["outputs"]) | {"frames"}
        blocks = {name: cuda.block_at(address) for name, address in self.addresses.items()}
        count = self.count

        def run() -> None:
            size = count * height * width
            frames = blocks["frames"].content[: 3 * size].reshape(count, height, width, 3)
            for name, (dtype, _) in self._facts["outputs"].items():
                answer = np.ascontiguousarray(ANSWERS[name](frames), dtype)
                blocks[name].content[: answer.nbytes] = answer.reshape(-1).view(np.uint8)

        uses, milliseconds = (*blocks.values(), self), self._facts["milliseconds"]
        cuda.put(cuda.stream_of(stream), Operation("execute", run, uses, self.version, milliseconds))
        if self.profiler is not None:
            for name, time in self._facts["layers"]:
                self.profiler.report_layer_time(name, time)
        return True

    def _changes(self) -> None:
        self._library.cuda.check_idle(self, "the execution context is changed")
        self.version += 1


_TYPES = {"uint8": "UINT8", "int32": "INT32", "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}
"""TensorRT's words for numpy's."""


class FakeTensorRT:
    """TensorRT's module over the stand-in; an engine's bytes are the facts of it, in JSON.

    Args:
        refuses: what it refuses to do: ``load``, ``context``, ``execute``, ``set_input_shape``.
        shares_profiles: as TensorRT does from version 10 on.
    """

    __version__ = "10.3.0"

    class ILogger:
        ERROR = 1

    class IProfiler:
        pass

    class LayerInformationFormat:
        JSON = 1

    def __init__(self, cuda: RecordingCuda, refuses: str = "", shares_profiles: bool = True) -> None:
        self.cuda, self.refuses, self.shares_profiles = cuda, refuses, shares_profiles
        self.contexts: list[FakeContext] = []
        self.runtimes: list[Any] = []
        self._logger: Any = None

    def complain(self, text: str) -> None:
        self._logger.log(1, text)

    def Runtime(self, logger: Any) -> Any:
        self._logger = logger
        self.runtimes.append(SimpleNamespace(deserialize_cuda_engine=self._load, engine_host_code_allowed=False))
        return self.runtimes[-1]

    def _load(self, content: bytes) -> Any:
        if self.refuses == "load":
            self.complain("Version tag does not match")
            return None
        facts = json.loads(content)
        height, width = facts["input_size"]
        tensors = {"frames": ("uint8", (height, width, 3)), **facts["outputs"]}
        shapes = {name: (facts["count"], *shape) for name, (_, shape) in tensors.items()}
        dtypes = {name: _TYPES[dtype] for name, (dtype, _) in tensors.items()}
        names = list(shapes)
        return SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=lambda number: names[number],
            get_tensor_shape=lambda name: list(shapes[name]),
            get_tensor_dtype=lambda name: SimpleNamespace(name=dtypes[name]),
            create_execution_context=lambda: self._context(facts),
            create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda _: facts["inspector"]),
        )

    def _context(self, facts: dict[str, Any]) -> FakeContext | None:
        if self.refuses == "context":
            self.complain("out of memory")
            return None
        self.contexts.append(FakeContext(self, facts, len(self.contexts)))
        return self.contexts[-1]


@dataclass
class StandIn:
    """An engine over the stand-in, and what is under it."""

    engine: TensorRTEngine
    cuda: RecordingCuda
    library: FakeTensorRT

    def frames(self, count: int = 1, seed: int = 0) -> Frames:
        height, width = self.engine.input_size
        return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def fake_engine(
    batch: tuple[int, int, int] = (1, 1, 1),
    *,
    logits: bool = False,
    outputs: tuple[OutputSpec, ...] = label_maps((6, 4)),
    types: dict[str, str] | None = None,
    milliseconds: float = 1.0,
    layers: tuple[tuple[str, float], ...] = (("first", 0.25), ("second", 0.5)),
    input_size: tuple[int, int] = (6, 4),
    inspector: str = '{"Layers": [], "Bindings": []}',
    **fields: Any,
) -> tuple[bytes, EngineManifest]:
    """Bytes and manifest of an engine that the stand-in's TensorRT runs.

    Args:
        batch: as the manifest's.
        logits: give them as the raw output.
        outputs: of those that the stand-in can give.
        types: of outputs that the engine has in another type than the manifest, by name.
        milliseconds: that a call takes.
        layers: of the engine, and what a profiler is told of them.
        input_size: (height, width).
        inspector: what TensorRT's tells of its layers.
        fields: of the manifest.
    """
    raw = OutputSpec("logits", "float32", (20, *input_size)) if logits else None
    every = [*outputs, *([raw] if raw is not None else [])]
    facts = {
        "input_size": input_size,
        "count": batch[2] if batch[0] == batch[2] else -1,
        "most": batch[2],
        "milliseconds": milliseconds,
        "layers": layers,
        "inspector": inspector,
        "outputs": {spec.name: ((types or {}).get(spec.name, spec.dtype), spec.shape) for spec in every},
    }
    content = json.dumps(facts).encode()
    values: dict[str, Any] = {
        "engine": "engines/tensorrt-10.3.0-sm87-int8.engine",
        "engine_sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "target": "tensorrt",
        "precision": "int8",
        "graph": "student.int8.onnx",
        "graph_sha256": "0" * 64,
        "spec": label_set("lip"),
        "framing": Framing(input_size),
        "batch": batch,
        "tensorrt": "10.3.0",
        "compute_capability": "8.7",
        "gpu": "Stand-in GPU",
        "outputs": outputs,
        "raw": raw,
    }
    return content, EngineManifest(**{**values, **fields})


def bundle_with(path: Path, *engines: tuple[bytes, EngineManifest]) -> Bundle:
    """A bundle that holds engines and nothing else, its graphs by name alone."""
    manifest = Manifest(
        task="parsing",
        network="student",
        options={},
        spec=label_set("lip"),
        framing=engines[0][1].framing if engines else Framing((6, 4)),
        batch=1,
        precisions=("fp32", "fp16", "int8"),
        parity={},
        calibration={},
        versions={},
        files={"student.int8.onnx": "0" * 64},
    )
    contents = {}
    for content, facts in engines:
        contents[facts.engine] = content
        contents[facts.engine.replace(".engine", ".json")] = facts.to_json().encode()
    path.mkdir(parents=True, exist_ok=True)
    (path / MANIFEST_NAME).write_text(manifest.to_json())
    return add_files(Bundle(path, manifest), contents)
