"""A network that trains, held against a Q/DQ graph node by node."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from trtparse.calibration.training.network import FakeQuantNetwork, Form
from trtparse.graphs.index import fresh_graph_copy

TIPPED = 0.01
"""Of a tensor's values: sums in another order tip one over the edge between two integers now and then."""


def assert_every_step_agrees(
    network: FakeQuantNetwork, graph: onnx.ModelProto, form: Form, frames: NDArray[np.uint8]
) -> None:
    """Every node, given what the graph's node reads, makes what that makes.

    A whole network would not tell: what a value that tips over does to all layers after it, with random weights, is as
    large as what a quantiser at the wrong place does.
    """
    steps = network.steps[form]
    theirs = values_of(graph, [step.output for step in steps], frames)
    inputs = {**theirs, "frames": frames}
    made: dict[str, torch.Tensor] = {name: getattr(network, buffer) for name, buffer in network.constants.items()}
    roundings = 0
    for step in steps:
        given = [made[name] if name in made else torch.from_numpy(inputs[name]) for name in step.inputs]
        with torch.no_grad():
            ours = step.run(network, *given)
        wanted = theirs[step.output]
        if wanted.dtype in (np.int8, np.uint8):  # integers, which the next node turns into what they stand for
            made[step.output] = ours
            roundings += 1
            continue
        far = np.abs(ours.numpy() - wanted) > 1e-4 * (np.abs(wanted).max() + 1e-6)
        assert ours.shape == wanted.shape
        assert far.mean() <= TIPPED, step.output
    assert (roundings > 0) == (form != "fp32")
    activations = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    weights = {tensor.name for tensor in graph.graph.initializer}
    assert roundings == sum(node.input[0] not in weights for node in activations)


def values_of(model: onnx.ModelProto, names: list[str], frames: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    """Tensors of a graph, with Q/DQ as the arithmetic that it stands for; frames go singly."""
    observed = fresh_graph_copy(model)
    del observed.graph.output[:]
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"frames": frame[None]}) for frame in frames]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*found))}
