from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.engines import Bundle, open_engine
from trtparse.engines.base import Frames
from trtparse.engines.cpu import CpuEngine
from trtparse.engines.model_cache import MOST, ModelCache
from trtparse.engines.openvino import OpenVinoEngine, arithmetic
from trtparse.errors import MachineError, TrtparseError, UsageError
from trtparse.tests.engines.tiny_graphs import SIZE, joints_graph

# Not imported to find out: that would be with its telemetry.
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

AVX2 = ("FP32", "INT8", "BIN")
VNNI = ("WINOGRAD", "FP32", "INT8", "BIN")
AMX = ("WINOGRAD", "FP32", "INT8", "BIN", "BF16", "FP16")
ARM = ("FP32", "FP16", "INT8")
FRAMES = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), np.uint8)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    onnx.save(joints_graph(("joints", "maps")), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.mark.parametrize(
    ("precision", "capabilities", "between", "expected"),
    [
        *(("fp32", found, None, "f32") for found in (AVX2, VNNI, AMX, ARM)),
        *(("int8", found, None, "f32") for found in (AVX2, VNNI)),
        ("int8", AMX, None, "bf16"),
        ("int8", ARM, None, "f16"),
        ("int8", AMX, "f32", "f32"),
        ("bf16", AMX, None, "bf16"),
        ("fp16", AMX, None, "f16"),
        ("fp16", VNNI, None, "f32"),
    ],
)
def test_int8_has_bf16_between_where_the_processor_has_it_and_fp32_is_never_anything_else(
    precision: str, capabilities: tuple[str, ...], between: str | None, expected: str
) -> None:
    assert arithmetic(precision, capabilities, between) == expected


def test_bf16_on_a_processor_without_it_is_an_error_and_not_something_else() -> None:
    with pytest.raises(MachineError, match="has no BF16"):
        arithmetic("bf16", VNNI)
    with pytest.raises(MachineError, match="has no BF16"):
        arithmetic("int8", VNNI, "bf16")
    with pytest.raises(UsageError, match="is for INT8"):
        arithmetic("fp32", AMX, "bf16")


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has BF16."""
    monkeypatch.setattr("trtparse.engines.openvino.capabilities_of", lambda core: AMX)


@pytest.fixture
def computing_bf16(graph: Path, with_bf16: None) -> None:
    """The same, where OpenVINO does compute in it: with AVX-512 it does so slowly, with AVX2 not at all."""
    with OpenVinoEngine(graph, "bf16", threads=1) as engine:
        computed = engine._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if computed != "bf16":
        pytest.skip(f"asked for BF16, OpenVINO computes in {computed} on this processor")


def test_bf16_is_in_the_name_and_in_what_comes_out(graph: Path, computing_bf16: None) -> None:
    with OpenVinoEngine(graph, "fp32", threads=1) as engine:
        exact = engine.raw(FRAMES)
        assert "bf16" not in engine.name
    with OpenVinoEngine(graph, "bf16", threads=1) as engine:
        assert engine.precision == "bf16"
        assert "bf16, 1 thread" in engine.name
        assert "fp32" not in engine.name
        rough = engine.raw(FRAMES)
    error = np.abs(rough - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 2e-2, "BF16 has eight bits"


def test_int8_says_what_is_between(
    pristine_bundle: Bundle, frames: Frames, computing_bf16: None, tmp_path: Path
) -> None:
    graph = pristine_bundle.graph("int8-cpu")
    with OpenVinoEngine(graph, "int8", threads=1, between="f32") as engine:
        assert "int8 with f32 between" in engine.name
        expected = engine.infer(frames[:1])[0]
    with OpenVinoEngine(graph, "int8", threads=1) as engine:
        assert (engine.precision, engine.between) == ("int8", "bf16")
        assert "int8 with bf16 between" in engine.name
        found = engine.infer(frames[:1])[0]
    assert 0.98 < (found == expected).mean() < 1


@pytest.mark.parametrize(("threads", "streams", "in_flight"), [(1, 2, 2), (2, 2, 3), (2, 64, 3)])
def test_streams_answer_in_order_and_are_no_more_than_the_threads(
    threads: int, streams: int, in_flight: int, graph: Path
) -> None:
    with OpenVinoEngine(graph, "fp32", threads=threads, streams=streams) as engine:
        assert engine.in_flight == in_flight
        expected = [engine.infer(frame[None])[0] for frame in FRAMES]
        tickets = [engine.submit(frame[None]) for frame in FRAMES[:in_flight]]
        for ticket, wanted in zip(tickets, expected):
            np.testing.assert_array_equal(engine.collect(ticket)[0], wanted)


def test_frames_that_nobody_else_holds_live_until_they_are_read(graph: Path) -> None:
    with OpenVinoEngine(graph, "fp32", threads=1) as engine, CpuEngine(graph, "fp32", threads=1) as other:
        # Views of other strides are copied, and the copy is the request's alone.
        wide = np.repeat(FRAMES, 2, axis=2)[:, :, ::2]
        for _ in range(20):
            ticket = engine.submit(wide[:1])
            _ = np.full((1, *SIZE, 3), 255, np.uint8)
            np.testing.assert_allclose(engine.collect(ticket)[0], other.infer(FRAMES[:1])[0], rtol=1e-4)


def _cache_of(graph: Path) -> ModelCache:
    return ModelCache(graph.parent / "openvino", "ab" * 32)


def _refusing_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr("trtparse.engines.openvino._model", refuse)


def test_a_compiled_model_is_kept_and_taken_again(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = _cache_of(graph)
    with OpenVinoEngine(graph, "fp32", threads=1, cache=cache) as engine:
        expected, raw = engine.infer(FRAMES), engine.raw(FRAMES)
    assert len(list(cache.folder.glob("*.blob"))) == 2  # the answers, and the raw tensor
    _refusing_to_compile(monkeypatch)
    with OpenVinoEngine(graph, "fp32", threads=2, streams=2, cache=cache) as engine:
        assert (engine.input_size, engine.batch, engine.in_flight) == (SIZE, None, 3)
        np.testing.assert_array_equal(engine.infer(FRAMES)[0], expected[0])
        np.testing.assert_array_equal(engine.raw(FRAMES), raw)


@pytest.mark.parametrize("what", ["cut short", "changed", "of another graph", "of another version", "deleted"])
def test_a_cache_that_does_not_fit_is_made_again_and_never_believed(
    what: str, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = _cache_of(graph)
    with OpenVinoEngine(graph, "fp32", threads=1, cache=cache) as engine:
        expected = engine.infer(FRAMES)[0]
    (blob,) = cache.folder.glob("*.blob")
    content = blob.read_bytes()
    if what == "cut short":
        blob.write_bytes(content[: len(content) // 2])
    elif what == "changed":
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif what == "deleted":
        blob.unlink()
    elif what == "of another version":
        # A blob that is whole and that this OpenVINO refuses.
        monkeypatch.setattr(ModelCache, "read", lambda self, key: b"of a version that nobody has")
    else:
        cache = ModelCache(cache.folder, "cd" * 32)
    with OpenVinoEngine(graph, "fp32", threads=1, cache=cache) as engine:
        np.testing.assert_array_equal(engine.infer(FRAMES)[0], expected)
        assert "compiled anew" not in engine.name
    assert cache.folder.is_dir()


def test_the_key_holds_the_version_the_arithmetic_and_the_processor(graph: Path, with_bf16: None) -> None:
    cache = _cache_of(graph)
    for precision in ("fp32", "bf16"):
        with OpenVinoEngine(graph, precision, threads=1, cache=cache) as engine:
            assert set(engine._key) == {"openvino", "form", "hint", "processor"}
    assert len(list(cache.folder.glob("*.blob"))) == 2


def test_a_folder_that_cannot_be_written_is_told_and_costs_the_cache_alone(graph: Path) -> None:
    (graph.parent / "openvino").write_text("in the way")
    with OpenVinoEngine(graph, "fp32", threads=1, cache=_cache_of(graph)) as engine:
        assert "compiled anew each time" in engine.name
        assert str(graph.parent / "openvino") in engine.name
        assert len(engine.infer(FRAMES)[0]) == 3


def test_a_cache_keeps_so_many_models_and_leaves_no_half_ones(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "openvino", "ab" * 32)
    for number in range(MOST + 3):
        cache.write({"number": str(number)}, b"model")
        os.utime(cache._path({"number": str(number)}), (number, number))
    assert len(list(cache.folder.iterdir())) == MOST
    assert cache.read({"number": "0"}) is None
    assert cache.read({"number": str(MOST + 2)}) == b"model"


def test_the_cache_of_a_bundle_lies_beside_it(bundle: Bundle, frames: Frames) -> None:
    with open_engine(bundle, "openvino", "int8", threads=1) as engine:
        assert engine.target == "openvino"
        engine.infer(frames[:1])
    assert list((bundle.path.parent / "openvino").glob("*.blob"))
    assert not (bundle.path / "openvino").exists()


def _stand_in(version: str = "2026.4.1-1-x", devices: Callable[[], list[str]] = lambda: list(VNNI)) -> Any:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return devices()

    return SimpleNamespace(get_version=lambda: version, Core=Core)


def _without_plugin() -> list[str]:
    raise RuntimeError('Exception from core.cpp:1:\nDevice with "CPU" name is not registered in the OpenVINO Runtime\n')


def test_a_version_that_is_too_old_says_which_is_not(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtparse.engines.openvino.require", lambda _: _stand_in("2023.3.0-13775-x"))
    with pytest.raises(MachineError, match=r"OpenVINO 2023.3.0 is too old: 2025.2 is the oldest that works") as caught:
        OpenVinoEngine(graph, "fp32")
    assert "pip install --upgrade 'trtparse[openvino]'" in caught.value.hint


def test_without_its_cpu_plugin_it_says_so(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trtparse.engines.openvino.require", lambda _: _stand_in(devices=_without_plugin))
    with pytest.raises(MachineError, match="no CPU plugin here") as caught:
        OpenVinoEngine(graph, "fp32")
    assert "--target onnxruntime" in caught.value.hint


def test_without_openvino_it_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match="OpenVINO is not installed") as caught:
        open_engine(bundle, "openvino")
    assert "trtparse[openvino]" in caught.value.hint


def test_an_operator_that_openvino_lacks_is_named_and_onnx_runtime_offered(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Frobnicate", ["float"], ["labels"], "odd", domain="nobody.knows"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "odd",
            [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 4, 4, 3])],
            [helper.make_tensor_value_info("labels", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("nobody.knows", 1)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(UsageError, match=r"does not know nobody\.knows\.Frobnicate") as caught:
        OpenVinoEngine(tmp_path / "odd.onnx", "fp32")
    assert "--target onnxruntime" in caught.value.hint


def test_a_graph_of_another_interface_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    model = joints_graph()
    model.graph.input[0].name = "pictures"
    model.graph.node[0].input[0] = "pictures"
    onnx.save(model, tmp_path / "other.onnx")
    (tmp_path / "none.onnx").write_text("hello")
    with pytest.raises(UsageError, match="takes pictures u8"):
        OpenVinoEngine(tmp_path / "other.onnx", "fp32")
    with pytest.raises(UsageError, match="cannot load"):
        OpenVinoEngine(tmp_path / "none.onnx", "fp32")


def test_layers_have_kinds_and_times(graph: Path) -> None:
    with OpenVinoEngine(graph, "fp32", threads=1) as engine:
        layers = engine.layer_times(FRAMES[:1], 2)
    assert any(layer.kind == "Convolution" for layer in layers)
    assert all(layer.milliseconds > 0 for layer in layers)


def test_what_refuses_leaves_no_thread(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: OpenVinoEngine) -> None:
        raise TrtparseError("refused")

    before = threading.active_count()
    monkeypatch.setattr(OpenVinoEngine, "_set_interface", refuse)
    with pytest.raises(TrtparseError, match="refused"):
        OpenVinoEngine(graph, "fp32", threads=1)
    assert threading.active_count() == before
