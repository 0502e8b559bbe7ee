"""A bundle of three nodes, and a server over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtparse.data.crops import RULES
from trtparse.engines.bundle import GRAPHS, Manifest, finish, writing
from trtparse.graphs.raw import name_raw
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.specs.skeleton import Skeleton
from trtparse.tests.engines.tiny_graphs import JOINTS, finder_graph, joints_graph
from trtparse.tests.engines.tiny_graphs import SIZE as JOINTS_SIZE
from trtparse.tests.predicting import HANDS, LIP

SIZE = (48, 32)

FIVE = Skeleton("five", tuple("abcde"), (("a", "b"),), (), ((9, 9, 9),) * JOINTS, (0.05,) * JOINTS)


def brightness_graph(batch: int | str = "N", *, logits: bool = False) -> onnx.ModelProto:
    """``frames`` (N, 48, 32, 3) uint8 to ``labels`` (N, 48, 32) uint8: a quarter of the green, 0 to 3.

    ``logits`` (N, 4, 48, 32) are 1 at that class and 0 elsewhere.
    """
    height, width = SIZE
    nodes = [
        helper.make_node("Gather", ["frames", "green"], ["levels"], "green", axis=3),
        helper.make_node("Cast", ["levels"], ["floats"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "step"], ["quarters"], "quarters"),
        helper.make_node("Floor", ["quarters"], ["whole"], "whole"),
        helper.make_node("Cast", ["whole"], ["labels"], "to_uint8", to=TensorProto.UINT8),
    ]
    one_hot = [
        helper.make_node("Cast", ["whole"], ["places"], "to_int64", to=TensorProto.INT64),
        helper.make_node("OneHot", ["places", "four", "off_on"], ["logits"], "one_hot", axis=1),
    ]
    constants = {"four": np.array(4, np.int64), "off_on": np.array([0, 1], np.float32)} if logits else {}
    constants |= {"green": np.array(1, np.int64), "step": np.array(64, np.float32)}
    graph = helper.make_graph(
        nodes + one_hot if logits else nodes,
        "brightness",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, height, width, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, [batch, height, width])]
        + [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 4, height, width])] * logits,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_bundle(path: Path, batch: int | None = None, returns: str = "labels") -> Path:
    """A bundle of :func:`brightness_graph`, whose labels or logits go back onto images."""
    manifest = Manifest(
        task="parsing",
        network="brightness",
        options={},
        spec=HANDS,
        framing=Framing(SIZE, 1.5, returns=returns),
        batch=batch,
        precisions=("fp32",),
        parity={},
        calibration={},
        versions={},
    )
    with writing(path) as folder:
        onnx.save(brightness_graph(batch or "N", logits=returns == "logits"), folder / GRAPHS["fp32"])
        finish(folder, manifest)
    return path


def write_joints(path: Path, *, raw: bool = False) -> Path:
    """A bundle whose answers are joints, with the maps that they are decided from where ``raw``."""
    graph = joints_graph(("joints", "maps") if raw else ("joints",))
    if raw:
        name_raw(graph, "maps")
    return _write(path, "pose", FIVE, Framing(JOINTS_SIZE, crop=RULES["trtparse"]), graph)


def write_finder(path: Path) -> Path:
    """A bundle whose answers are boxes around people."""
    return _write(path, "people", label_set("person"), Framing((32, 32)), finder_graph(), {"sure": 0.5})


def _write(
    path: Path, task: str, spec: LabelSet | Skeleton, framing: Framing, graph: onnx.ModelProto, options: Any = None
) -> Path:
    manifest = Manifest(
        task=task,
        network=task,
        options=options or {},
        spec=spec,
        framing=framing,
        batch=None,
        precisions=("fp32",),
        parity={},
        calibration={},
        versions={},
    )
    with writing(path) as folder:
        onnx.save(graph, folder / GRAPHS["fp32"])
        finish(folder, manifest)
    return path


def write_student(path: Path, graph: onnx.ModelProto) -> Path:
    """A bundle of the student that was exported at 64x64."""
    manifest = Manifest(
        task="parsing",
        network="lsfa-r18",
        options={},
        spec=LIP,
        framing=Framing((64, 64), 1.5),
        batch=1,
        precisions=("fp32",),
        parity={},
        calibration={},
        versions={},
    )
    with writing(path) as folder:
        onnx.save(graph, folder / GRAPHS["fp32"])
        finish(folder, manifest)
    return path


def labels_of(frames: np.ndarray) -> np.ndarray:
    """What the bundle says of (..., 3) uint8."""
    return frames[..., 1] // 64


@pytest.fixture
def hands(tmp_path: Path) -> Path:
    """A bundle's folder."""
    return write_bundle(tmp_path / "hands")


Serve = Callable[..., Any]


@pytest.fixture
def serve(hands: Path) -> Iterator[Serve]:
    """``serve(batch=BatchSpec(…))`` serves the bundle until the test ends; what was said is in its ``said``."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed, so nothing is served")
    from trtparse.serve.model import Opening, named_bundles
    from trtparse.serve.serving import Serving

    with ExitStack() as stack:

        def call(*bundles: str, token: str = "", **options: Any) -> Serving:
            said: list[str] = []
            options.setdefault("engine", Opening("onnxruntime", threads=1))
            named = named_bundles(bundles or (str(hands),))
            serving = Serving(named, "127.0.0.1:0", token, version="test", say=said.append, **options)
            serving.said = said
            return stack.enter_context(serving)

        yield call


@pytest.fixture
def frames() -> np.ndarray:
    """(5, 48, 32, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)
