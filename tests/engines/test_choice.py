from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtparse.engines import Bundle, choice, open_engine
from trtparse.engines.bundle import GRAPHS, Manifest, finish
from trtparse.engines.choice import NOTES_NAME, Choice, difference, noted
from trtparse.errors import MachineError, UsageError
from trtparse.specs.framing import Framing
from trtparse.tests.engines.tiny_graphs import SIZE, joints_graph
from trtparse.tests.predicting import LIP

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

Choose = Callable[..., Choice]


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    """A bundle of one small FP32 graph."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    onnx.save(joints_graph(("labels",)), folder / GRAPHS["fp32"])
    manifest = Manifest("parsing", "tiny", {}, LIP, Framing(SIZE), None, ("fp32",), {}, {}, {})
    return Bundle(folder, finish(folder, manifest))


@pytest.fixture
def tiny_int8(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that says it has INT8 as well, on a processor that says it has BF16; what is timed is the same graph."""
    for place in ("openvino", "choice"):
        monkeypatch.setattr(f"trtparse.engines.{place}.capabilities_of", lambda core: ("FP32", "INT8", "BF16"))
    onnx.save(joints_graph(("labels",)), tiny.path / GRAPHS["int8-cpu"])
    manifest = replace(tiny.manifest, precisions=("fp32", "int8"))
    return Bundle(tiny.path, finish(tiny.path, manifest))


@pytest.fixture
def choose(measured_for_real: Choose, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """What chooses, in place of what the tests record."""
    monkeypatch.setattr(choice, "choose", measured_for_real)
    monkeypatch.setattr(choice, "SECONDS", 0.0)
    return measured_for_real


def _recorded(monkeypatch: pytest.MonkeyPatch, *choices: Choice) -> list[tuple[Any, ...]]:
    """Make measurements give these, one after the other; the arguments of each."""
    asked: list[tuple[Any, ...]] = []

    def measure(*arguments: Any) -> Choice:
        asked.append(arguments)
        return choices[len(asked) - 1]

    monkeypatch.setattr(choice, "measure_ways", measure)
    return asked


@pytest.mark.parametrize(
    ("milliseconds", "faster", "between", "told"),
    [
        ({"onnxruntime": 5.6, "openvino": 3.4}, "openvino", None, "OpenVINO, 1.65 × as fast as ONNX Runtime here"),
        ({"onnxruntime": 26.5, "openvino": 28.0}, "onnxruntime", None, "ONNX Runtime, 1.06 × as fast as OpenVINO here"),
        ({"onnxruntime": 5.0, "openvino": 5.0}, "onnxruntime", None, "1.00 ×"),
        ({}, "onnxruntime", None, "ONNX Runtime"),
        (
            {"onnxruntime": 5.6, "openvino-f32": 4.8, "openvino-bf16": 3.4},
            "openvino",
            "bf16",
            "OpenVINO with bf16 between, 1.41 × as fast as OpenVINO with f32 between and 1.65 × as fast as ONNX "
            "Runtime here (3.40 ms a call, not 4.80 and 5.60)",
        ),
        (
            {"onnxruntime": 10.1, "openvino-f32": 3.9, "openvino-bf16": 6.9},
            "openvino",
            "f32",
            "OpenVINO with f32 between, 1.77 × as fast as OpenVINO with bf16 between and 2.59 × as fast as ONNX",
        ),
        ({"onnxruntime": 9.0, "openvino-f32": 5.0, "openvino-bf16": 5.0}, "openvino", "f32", "1.00 ×"),
        ({"onnxruntime": 3.0, "openvino-f32": 5.0, "openvino-bf16": 4.0}, "onnxruntime", None, "ONNX Runtime, 1.33 ×"),
    ],
)
def test_the_fastest_is_taken_and_says_by_how_much(
    milliseconds: dict[str, float], faster: str, between: str | None, told: str
) -> None:
    found = Choice(milliseconds)
    assert (found.runtime, found.between) == (faster, between)
    assert told in found.told()
    assert found.remark == ""


def test_what_is_refused_is_not_taken() -> None:
    found = Choice({"onnxruntime": 5.0}, {"openvino": "OpenVINO runs it wrongly"})
    assert found.runtime == "onnxruntime"
    assert found.told() == "ONNX Runtime; OpenVINO runs it wrongly"
    assert found.remark == " (OpenVINO runs it wrongly)"
    assert found.ratio is None


def test_cpu_opens_the_faster_one_and_measures_once(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _recorded(monkeypatch, Choice({"onnxruntime": 5.0, "openvino": 4.0}))
    for target in ("cpu", "auto", "cpu"):
        with open_engine(tiny, target, threads=1) as engine:
            assert engine.target == "openvino"
            assert "OpenVINO" in engine.name
    assert len(asked) == 1
    note = json.loads((tiny.path / NOTES_NAME).read_text())["notes"][0]
    assert (note["faster"], note["ratio"]) == ("openvino", 1.25)
    assert {"graph", "processor", "cores", "onnxruntime", "openvino", "threads"} <= note["of"].keys()
    assert noted(tiny)["fp32, 1 thread"].told() == Choice({"onnxruntime": 5.0, "openvino": 4.0}).told()


@pytest.mark.parametrize(("faster", "slower"), [("f32", "bf16"), ("bf16", "f32")])
def test_int8_opens_with_what_was_measured_to_be_faster_between(
    faster: str, slower: str, tiny_int8: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _recorded(monkeypatch, Choice({"onnxruntime": 9.0, f"openvino-{slower}": 5.0, f"openvino-{faster}": 4.0}))
    for target in ("cpu", "auto", "openvino"):
        with open_engine(tiny_int8, target, threads=1) as engine:
            assert (engine.target, engine.precision, engine.between) == ("openvino", "int8", faster)
            assert f"int8 with {faster} between" in engine.name
    with open_engine(tiny_int8, "openvino", threads=1, between=slower) as engine:
        assert engine.between == slower
    assert len(asked) == 1
    assert json.loads((tiny_int8.path / NOTES_NAME).read_text())["notes"][0]["between"] == faster
    assert noted(tiny_int8)["int8, 1 thread"].between == faster


def test_openvino_by_name_has_the_faster_of_its_own_where_onnx_runtime_is_faster_still(
    tiny_int8: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    _recorded(monkeypatch, Choice({"onnxruntime": 2.0, "openvino-f32": 5.0, "openvino-bf16": 4.0}))
    with open_engine(tiny_int8, "cpu", threads=1) as engine:
        assert engine.target == "onnxruntime"
    with open_engine(tiny_int8, "openvino", threads=1) as engine:
        assert engine.between == "bf16"


def test_both_hints_are_timed_and_one_that_errs_is_refused_alone(
    tiny_int8: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtparse.engines.openvino import OpenVinoEngine

    assert set(choose(tiny_int8, "int8-cpu", "int8", 1).milliseconds) == {
        "onnxruntime",
        "openvino-f32",
        "openvino-bf16",
    }
    finish_right = OpenVinoEngine._finish

    def finish(self: Any, *arguments: Any) -> tuple[Any, ...]:
        arrays = finish_right(self, *arguments)
        return tuple(array + 1 for array in arrays) if self.between == "bf16" else arrays

    monkeypatch.setattr(OpenVinoEngine, "_finish", finish)
    found = choose(tiny_int8, "int8-cpu", "int8", 2)
    assert set(found.milliseconds) == {"onnxruntime", "openvino-f32"}
    assert set(found.refused) == {"openvino-bf16"}
    assert "OpenVINO with bf16 between runs student.int8-cpu.onnx wrongly: 100.0 %" in found.told()
    with open_engine(tiny_int8, "openvino", threads=2) as engine:
        assert engine.between == "f32"
    with pytest.raises(UsageError, match=r"bf16 between runs .* wrongly"):
        open_engine(tiny_int8, "openvino", threads=2, between="bf16")


def test_a_processor_without_bf16_has_fp32_between_alone(
    tiny_int8: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("openvino", "choice"):
        monkeypatch.setattr(f"trtparse.engines.{place}.capabilities_of", lambda core: ("FP32", "INT8"))
    assert set(choose(tiny_int8, "int8-cpu", "int8", 1).milliseconds) == {"onnxruntime", "openvino-f32"}


def test_between_is_openvino_s_alone(tiny_int8: Bundle) -> None:
    with pytest.raises(UsageError, match="between INT8 layers"):
        open_engine(tiny_int8, "onnxruntime", between="f32")


def test_notes_of_a_version_that_knew_one_way_of_openvino_are_made_again(
    tiny_int8: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _recorded(monkeypatch, *[Choice({"onnxruntime": 9.0, "openvino-f32": 4.0})] * 2)
    choose(tiny_int8, "int8-cpu", "int8", 1)
    notes = json.loads((tiny_int8.path / NOTES_NAME).read_text())
    older = {**notes["notes"][0], "milliseconds": {"onnxruntime": 9.0, "openvino": 4.0}, "refused": ""}
    del older["between"]
    (tiny_int8.path / NOTES_NAME).write_text(json.dumps({**notes, "notes": [older]}))
    assert noted(tiny_int8) == {}
    assert choose(tiny_int8, "int8-cpu", "int8", 1).between == "f32"
    assert len(asked) == 2


def test_another_number_of_threads_another_graph_and_another_machine_are_measured_again(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster, slower = (
        Choice({"onnxruntime": 5.0, "openvino": 4.0}),
        Choice({"onnxruntime": 4.0, "openvino": 5.0}),
    )
    asked = _recorded(monkeypatch, faster, slower, slower, faster)
    assert choose(tiny, "fp32", "fp32", 1).runtime == "openvino"
    assert choose(tiny, "fp32", "fp32", 2).runtime == "onnxruntime"
    other = Bundle(tiny.path, replace(tiny.manifest, files={GRAPHS["fp32"]: "ab" * 32}))
    assert choose(other, "fp32", "fp32", 1).runtime == "onnxruntime"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(choice, "processor_name", lambda: "another")
        assert choose(tiny, "fp32", "fp32", 2).runtime == "openvino"
    assert len(asked) == 4
    assert choose(tiny, "fp32", "fp32", 1).runtime == "openvino"
    assert choose(tiny, "fp32", "fp32", 2).runtime == "onnxruntime"
    assert len(asked) == 4


@pytest.mark.parametrize("notes", ["", "[]", '{"notes": 3}', '{"notes": [{}, 5]}', "\udcff"])
def test_notes_that_are_none_are_made_again(
    notes: str, tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny.path / NOTES_NAME).write_bytes(notes.encode("utf-8", "surrogateescape"))
    _recorded(monkeypatch, Choice({"onnxruntime": 5.0, "openvino": 4.0}))
    assert choose(tiny, "fp32", "fp32").runtime == "openvino"
    assert choose(tiny, "fp32", "fp32").runtime == "openvino"


def test_two_that_measure_at_the_same_time_are_not_in_each_other_s_way(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def measure(*_: Any) -> Choice:
        both.wait(60)
        return Choice({"onnxruntime": 5.0, "openvino": 4.0})

    monkeypatch.setattr(choice, "measure_ways", measure)
    with ThreadPoolExecutor(2) as runs:
        for round_ in range(10):
            threads = (2 * round_ + 1, 2 * round_ + 2)
            found = list(runs.map(lambda count: choose(tiny, "fp32", "fp32", count), threads))
            assert [one.not_noted for one in found] == ["", ""]
    assert [path.name for path in tiny.path.iterdir() if path.name.startswith(".")] == []


def test_a_bundle_that_cannot_be_written_is_measured_each_time_and_says_so(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UsageError(f"{tiny.path} cannot be written to.")

    monkeypatch.setattr(choice, "replace_shared", refuse)
    asked = _recorded(monkeypatch, *[Choice({"onnxruntime": 5.0, "openvino": 4.0})] * 2)
    for _ in range(2):
        with open_engine(tiny, "cpu", threads=1) as engine:
            assert "measured anew each time" in engine.name
    assert len(asked) == 2


def test_both_are_timed_and_compared_on_people(tiny: Bundle, choose: Choose) -> None:
    found = choose(tiny, "fp32", "fp32", 1)
    assert set(found.milliseconds) == {"onnxruntime", "openvino"}
    assert all(value > 0 for value in found.milliseconds.values())
    assert found.refused == {}


def test_what_openvino_runs_wrongly_it_does_not_run(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtparse.engines.openvino import OpenVinoEngine

    finish_right = OpenVinoEngine._finish

    def finish_wrongly(self: Any, *arguments: Any) -> tuple[Any, ...]:
        return tuple(
            np.where(np.arange(array.shape[2]) % 8, array, array + 1) for array in finish_right(self, *arguments)
        )

    monkeypatch.setattr(OpenVinoEngine, "_finish", finish_wrongly)
    with open_engine(tiny, "cpu", threads=1) as engine:
        assert engine.target == "onnxruntime"
        assert "OpenVINO runs student.fp32.onnx wrongly: 12.5 % of what it gives differs" in engine.name
    with pytest.raises(UsageError, match=r"wrongly: 12\.5 %") as caught:
        open_engine(tiny, "openvino", threads=1)
    assert "--target onnxruntime" in caught.value.hint


def test_what_differs_is_what_the_task_says_of_both(tiny: Bundle, choose: Choose) -> None:
    asked: list[tuple[int, ...]] = []

    def alike(found: Any, expected: Any, share: float = 0.99) -> Any:
        asked.append((len(found), *found[0].shape))
        return np.full(len(expected[0]), share)

    assert choice.measure_ways(tiny, "fp32", "fp32", 1, alike).refused == {}
    assert asked == [(1, 2, *SIZE)]
    refused = choice.measure_ways(tiny, "fp32", "fp32", 1, lambda *both: alike(*both, share=0.9)).refused["openvino"]
    assert "wrongly: 10.0 % of what it gives differs" in refused
    assert (
        "wrongly: 100.0 %"
        in choice.measure_ways(tiny, "fp32", "fp32", 1, lambda *both: alike(*both, np.nan)).refused["openvino"]
    )


def test_what_openvino_cannot_convert_runs_on_onnx_runtime_and_says_why(
    tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UsageError("OpenVINO 1 cannot run it: it does not know Frobnicate.")

    monkeypatch.setattr(choice, "OpenVinoEngine", refuse)
    with open_engine(tiny, "cpu", threads=1) as engine:
        assert engine.target == "onnxruntime"
        assert "it does not know Frobnicate" in engine.name
    with pytest.raises(UsageError, match="does not know Frobnicate"):
        open_engine(tiny, "openvino", threads=1)


@pytest.mark.parametrize("message", ["OpenVINO is not installed.", "OpenVINO 2023.3.0 is too old.", "no CPU plugin."])
def test_without_a_working_openvino_it_is_onnx_runtime_and_nothing_is_measured(
    message: str, tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MachineError(message)

    monkeypatch.setattr(choice, "load_openvino", missing)
    asked = _recorded(monkeypatch)
    with open_engine(tiny, "cpu", threads=1) as engine:
        assert engine.target == "onnxruntime"
        assert ("OpenVINO" in engine.name) == ("too old" in message)
    assert asked == []


def test_bf16_is_openvino_s_alone(tiny: Bundle, choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="does not compute in BF16"):
        open_engine(tiny, "onnxruntime", "bf16")
    capabilities = ("FP32", "INT8")
    for place in ("openvino", "choice"):
        monkeypatch.setattr(f"trtparse.engines.{place}.capabilities_of", lambda core: capabilities)
    with pytest.raises(MachineError, match="has no BF16"):
        open_engine(tiny, "cpu", "bf16", threads=1)
    capabilities = ("FP32", "INT8", "BF16")
    with open_engine(tiny, "cpu", "bf16", threads=1) as engine:
        assert (engine.target, engine.precision) == ("openvino", "bf16")


def test_a_difference_is_of_what_is_equal_or_close() -> None:
    whole = np.arange(100, dtype=np.uint8).reshape(1, 10, 10)
    turned = whole.copy()
    turned[0, 0, :7] += 1
    assert difference([(whole,)], [(whole,)]) == 0
    assert difference([(turned,)], [(whole,)]) == pytest.approx(0.07)
    smooth = np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 100)
    assert difference([(smooth + 0.04,)], [(smooth,)]) == 0
    assert difference([(smooth + 0.06,)], [(smooth,)]) == 1
    assert difference([(whole, smooth)], [(whole, -smooth)]) > 0.9
    assert difference([(smooth,)], [(np.zeros_like(smooth),)]) > 0.9
    assert difference([(whole,)], [(whole[:, :5],)]) == 1
    assert difference([(np.full((1, 3), np.nan, np.float32),)], [(np.zeros((1, 3), np.float32),)]) == 1
