"""ONNX detectors that need no weights: their answers are constants, or one bright spot of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

MakeGraph = Callable[..., Path]


@pytest.fixture
def make_constant_graph(tmp_path: Path) -> MakeGraph:
    """A graph that gives the same arrays for any picture; inputs are (name, type, shape)."""

    def make(
        outputs: dict[str, np.ndarray],
        inputs: Sequence[tuple[str, int, Sequence[Any]]] = (("images", TensorProto.FLOAT, (1, 3, 64, 96)),),
    ) -> Path:
        nodes = [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ascontiguousarray(value)))
            for name, value in outputs.items()
        ]
        graph = helper.make_graph(
            nodes,
            "detector",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in outputs.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "detector.onnx"
        onnx.save(model, path)
        return path

    return make
