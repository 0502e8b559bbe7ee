"""A stand-in for TensorRT that has what a version's real bindings declare, and not a name more.

The names, and with how many arguments each can be called, are in ``declared/``, recorded from NVIDIA's wheels.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

DECLARED = Path(__file__).with_name("declared")

_KINDS = {
    "Conv": "CONVOLUTION",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "Cast": "IDENTITY",
    "Relu": "ACTIVATION",
}
_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 7: "INT64", 10: "HALF"}


class Strict:
    """An object of one of TensorRT's classes: reading, writing or calling what is not declared is an error."""

    def __init__(self, library: StandIn, kind: str, **attributes: Any) -> None:
        object.__setattr__(self, "_own", (library, kind, attributes))

    def __getattr__(self, name: str) -> Any:
        library, kind, attributes = self._own
        declared = library.api["classes"][kind]
        if name not in declared:
            raise AttributeError(f"{library.name}: {kind} has no {name}")
        if declared[name] is None:
            if name not in attributes:
                raise AssertionError(f"the stand-in was not told of {kind}.{name}")
            return attributes[name]

        def call(*arguments: Any) -> Any:
            fits = any(fewest <= len(arguments) <= most for fewest, most in declared[name])
            assert fits, f"{library.name}: {kind}.{name} takes {declared[name]} arguments, not {len(arguments)}"
            library.calls.append((kind, name, arguments))
            behaviour = attributes.get(name)
            return behaviour(*arguments) if callable(behaviour) else behaviour

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        library, kind, attributes = self._own
        declared = library.api["classes"][kind]
        if name not in declared or declared[name] is not None:
            raise AttributeError(f"{library.name}: {kind}.{name} cannot be set")
        library.calls.append((kind, name, (value,)))
        attributes[name] = value


class StandIn:
    """A module like ``tensorrt``. It parses an ONNX graph into layers and builds bytes.

    Attributes:
        calls: (class, method or attribute, arguments) of every call and assignment, in order.
        engine: what the builder returns; None refuses.
        refused: index of the node that the parser refuses.
        inspector: what the engine's inspector tells.
        dla_cores: of the machine.
        cache_fits: whether a timing cache is taken.
    """

    def __init__(self, file: Path) -> None:
        self.name, self.api = file.stem, json.loads(file.read_text())
        self.__version__ = self.api["version"]
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.engine: bytes | None = b"engine"
        self.refused: int | None = None
        self.inspector = '{"Layers": []}'
        self.dla_cores = 0
        self.cache_fits = True
        for enumeration, members in self.api["enums"].items():
            setattr(self, enumeration, enum.IntEnum(enumeration, members))

        class ILogger:
            ERROR = 1

        assert "ERROR" in self.api["classes"]["ILogger"]
        self.ILogger = ILogger

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.name} has no {name}")

    def did(self, kind: str, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of a method, or the values given to an attribute."""
        return [arguments for called, method, arguments in self.calls if (called, method) == (kind, name)]

    def flags(self) -> set[str]:
        return {flag.name for (flag,) in self.did("IBuilderConfig", "set_flag")}

    def Builder(self, logger: Any) -> Strict:
        self.network = Strict(
            self, "INetworkDefinition", num_inputs=0, num_layers=0, get_input=lambda n: self.inputs[n]
        )
        cache = Strict(self, "ITimingCache", serialize=lambda: b"measured")
        config = Strict(
            self, "IBuilderConfig", create_timing_cache=lambda _: cache, set_timing_cache=lambda *_: self.cache_fits
        )
        return Strict(
            self,
            "Builder",
            create_network=lambda *_: self.network,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: Strict(self, "IOptimizationProfile"),
            build_serialized_network=lambda *_: self.engine,
            num_DLA_cores=self.dla_cores,
        )

    def OnnxParser(self, network: Strict, logger: Any) -> Strict:
        def parse(content: bytes) -> bool:
            self.parsed = onnx.load_from_string(content)
            self._read(self.parsed)
            return self.refused is None

        node = self.refused
        error = Strict(
            self,
            "ParserError",
            node=lambda: node,
            node_name=lambda: self.parsed.graph.node[node].name,
            node_operator=lambda: self.parsed.graph.node[node].op_type,
            desc=lambda: "No importer registered",
        )
        return Strict(self, "OnnxParser", parse=parse, num_errors=1, get_error=lambda _: error)

    def Runtime(self, logger: Any) -> Strict:
        inspector = Strict(self, "EngineInspector", get_engine_information=lambda _: self.inspector)
        engine = Strict(
            self,
            "ICudaEngine",
            create_engine_inspector=lambda: inspector,
            create_execution_context=lambda: Strict(self, "IExecutionContext", set_input_shape=True),
        )
        return Strict(self, "Runtime", deserialize_cuda_engine=lambda _: engine)

    def _read(self, model: onnx.ModelProto) -> None:
        model = onnx.shape_inference.infer_shapes(model)
        values = {
            value.name: value for part in ("input", "output", "value_info") for value in getattr(model.graph, part)
        }
        types = {name: value.type.tensor_type.elem_type for name, value in values.items()}
        types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
        tensors: dict[str, Strict] = {}

        def tensor(name: str) -> Strict:
            if name not in tensors:
                shape = values[name].type.tensor_type.shape.dim if name in values else ()
                tensors[name] = Strict(
                    self,
                    "ITensor",
                    name=name,
                    dtype=getattr(self.DataType, _TYPES[types.get(name, 1)], self.DataType.INT32),
                    shape=tuple(length.dim_value or -1 for length in shape),
                )
            return tensors[name]

        def layer(node: onnx.NodeProto) -> Strict:
            return Strict(
                self,
                "ILayer",
                name=node.name,
                type=self.LayerType[_KINDS.get(node.op_type, "SHUFFLE")],
                num_inputs=len(node.input),
                num_outputs=len(node.output),
                get_input=lambda number: tensor(node.input[number]),
                get_output=lambda number: tensor(node.output[number]),
            )

        layers = [layer(node) for node in model.graph.node]
        self.inputs = [tensor(value.name) for value in model.graph.input]
        self.network._own[2].update(
            num_inputs=len(self.inputs), num_layers=len(layers), get_layer=lambda number: layers[number]
        )


@pytest.fixture
def declared() -> Callable[[str], StandIn]:
    """A stand-in by the name of a recorded version, such as ``tensorrt-8.6.0``."""
    return lambda name: StandIn(DECLARED / f"{name}.json")


def small_model(
    *, half: bool = False, quantised: bool = False, batch: int | None = 1, size: tuple[int, int] = (16, 24)
) -> onnx.ModelProto:
    """A graph with our input and output, convolutions ``first``, ``second`` and ``head``, and a mean over channels."""
    kind, number = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    random = np.random.default_rng(0)
    constants = {
        "w1": (random.normal(size=(16, 3, 3, 3)) / 5).astype(number),
        "w2": (random.normal(size=(16, 16, 3, 3)) / 10).astype(number),
        "w3": (random.normal(size=(20, 16, 1, 1)) / 4).astype(number),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "cast", to=kind),
        helper.make_node("Transpose", ["float"], ["images"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "w1"], ["one"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["one"], ["two"], "relu"),
        helper.make_node("ReduceMean", ["two", "axes"], ["mean"], "mean", keepdims=1),
        helper.make_node("Sub", ["two", "mean"], ["three"], "less"),
        helper.make_node("Conv", ["three", "w2"], ["four"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["four"], ["five"], "relu_2"),
        helper.make_node("Conv", ["five", "w3"], ["scores"], "head"),
        helper.make_node("ArgMax", ["scores"], ["best"], "argmax", axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["best_float"], "to_float", to=kind),
        helper.make_node("Cast", ["best_float"], ["labels"], "to_uint8", to=TensorProto.UINT8),
    ]
    if quantised:
        for tensor, convolution, position, scale in (
            ("images", "first", 0, np.array(2.0)),
            ("w1", "first", 1, np.full(16, 0.01)),
            ("three", "second", 0, np.array(3.0)),
            ("w2", "second", 1, np.full(16, 0.01)),
        ):
            constants[f"{tensor}_scale"] = scale.astype(number)
            constants[f"{tensor}_zero"] = np.zeros(scale.shape, np.int8)
            names = [f"{tensor}_scale", f"{tensor}_zero"]
            axis = {"axis": 0} if scale.ndim else {}
            pair = [
                helper.make_node("QuantizeLinear", [tensor, *names], [f"{tensor}_q"], f"{tensor}_q", **axis),
                helper.make_node("DequantizeLinear", [f"{tensor}_q", *names], [f"{tensor}_dq"], f"{tensor}_dq", **axis),
            ]
            place = next(index for index, node in enumerate(nodes) if node.name == convolution)
            nodes[place].input[position] = f"{tensor}_dq"
            nodes[place:place] = pair
    count: int | str = "batch" if batch is None else batch
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [count, *size, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, [count, *size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def small() -> SimpleNamespace:
    """``small.model(half=…, quantised=…, batch=…)``."""
    return SimpleNamespace(model=small_model)
