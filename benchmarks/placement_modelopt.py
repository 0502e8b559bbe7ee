"""Claim: our Q/DQ is NVIDIA ModelOpt's, less what costs accuracy and fuses into no INT8 kernel.

Node by node over the same graph: every place that we quantise ModelOpt quantises as well, and what it quantises
besides is of a kind that is explained here. Anything else is an error.

    python benchmarks/placement_modelopt.py PYTHON [GRAPH.onnx ...]

PYTHON is the interpreter of an environment that has ModelOpt (``calibration_peers.py`` says how to make one). Graphs
are FP32 ones, as ``trtparse build`` writes them; without any, the weights that ship and one example of every other
network (random weights, 64x64) are exported first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trtparse.calibration.quantise.placement import place
from trtparse.graphs.index import GraphIndex
from trtparse.graphs.raw import end_of
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set

LIP = label_set("lip")

QUANTISERS = Path(__file__).with_name("peer_quantisers.py")
WEIGHTS = Path(__file__).parent.parent / "networks" / "weights" / "student.safetensors"
NETWORKS: dict[str, dict[str, Any]] = {
    "lsfa-r18": {"context": "psp", "fusion": "channel_attention", "separable": True},
    "lsfa-efficientnet-lite0": {},
    "c-dlinknet": {"backbone": "resnet34"},
}

Site = tuple[str, int]
"""The name of a node, and which of its inputs reads a quantised value."""

_BLEND = "attention's blend, pointwise: it costs agreement and fuses into no INT8 kernel"
AT_THE_END = {"Conv": "the logits", "Resize": "the last resize"}
EXPLAINED = {
    "the logits": "they decide the label of a pixel: of all of these they cost the most agreement",
    "the last resize": "of the logits, and like them",
    "AveragePool": "of a tensor that no convolution reads: float, like what it averages",
    "ReduceMean": "attention's descriptors, of a tensor that is float otherwise",
    "ReduceMax": "attention's descriptors, of a tensor that is float otherwise",
    "Resize": "all that read it are float: it would dequantise what it made at once",
    "Mul": _BLEND,
    "Sub": _BLEND,
    "Add": "no bare convolution on either side to fuse with: attention's blend, or a sum behind a ReLU",
    "Concat": "a copy: TensorRT moves the quantisation of its result before it, as the parts share one scale",
}
"""What ModelOpt quantises and we do not: the operator to the reason."""


def quantised_sites(model: onnx.ModelProto) -> set[Site]:
    """Where a Q/DQ graph reads dequantised values."""
    index = GraphIndex(model.graph)
    return {
        (node.name, position)
        for node in index.nodes
        if node.op_type != "QuantizeLinear"
        for position, tensor in enumerate(node.input)
        if (maker := index.producer(tensor)) is not None and maker.op_type == "DequantizeLinear"
    }


def our_sites(model: onnx.ModelProto) -> set[Site]:
    placement = place(model)
    activations = {site for sites in placement.activations.values() for site in sites}
    return activations | {(name, 1) for site in placement.weights for name in site.layers}


def compare(model: onnx.ModelProto, theirs: set[Site]) -> list[str]:
    """Prints the table of one graph; returns what is not explained."""
    index, end = GraphIndex(model.graph), end_of(model)
    nodes = {node.name: node for node in index.nodes}
    ours = our_sites(model)

    def kind(site: Site) -> str:
        node = nodes.get(site[0])
        if node is None:
            return "a node that the graph does not have"
        operator = str(node.op_type)
        return AT_THE_END.get(operator, operator) if node.output[0] in end else operator

    both, mine, other = (Counter(map(kind, sites)) for sites in (ours & theirs, ours - theirs, theirs - ours))
    print(f"{'reads int8':15} {'both':>5} {'ours':>5} {'ModelOpt':>9}")
    for name in sorted({*both, *mine, *other}, key=lambda name: (-both[name], name)):
        print(
            f"{name:15} {both[name]:5} {mine[name]:5} {other[name]:9}   {EXPLAINED.get(name, '') * (other[name] > 0)}"
        )
    print(f"{'all':15} {both.total():5} {mine.total():5} {other.total():9}")
    problems = [f"only we quantise input {position} of {name}" for name, position in sorted(ours - theirs)]
    return problems + [
        f"ModelOpt quantises input {position} of {name}, and there is no reason here why we do not"
        for name, position in sorted(theirs - ours)
        if kind((name, position)) not in EXPLAINED
    ]


def export(folder: Path) -> list[Path]:
    import torch

    from trtparse.networks.checkpoint import Checkpoint, load_checkpoint
    from trtparse.networks.registry import create_network
    from trtparse.trt_builder.export import export_onnx

    checkpoint = load_checkpoint(WEIGHTS)
    models = {"student": export_onnx(checkpoint)}
    for name, options in NETWORKS.items():
        torch.manual_seed(0)
        models[name] = export_onnx(Checkpoint(create_network(name, options), Framing((64, 64)), LIP))
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    return [folder / f"{name}.onnx" for name in models]


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    problems = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for graph in [Path(name) for name in sys.argv[2:]] or export(folder):
            model = onnx.load(graph)
            shape = [dimension.dim_value or 1 for dimension in model.graph.input[0].type.tensor_type.shape.dim]
            frames, output = folder / "frames.npy", folder / "quantised"
            # Where it places does not depend on what it sees.
            np.save(frames, np.random.default_rng(0).integers(0, 256, (2, *shape[1:])).astype(np.uint8))
            command = [sys.argv[1], str(QUANTISERS), "modelopt", "max", str(graph), str(frames), "2", str(output)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"ModelOpt does not work with {sys.argv[1]}:\n{done.stderr}")
            print(f"\n{graph.stem}")
            problems += compare(model, quantised_sites(onnx.load(output.with_suffix(".onnx"))))
    print("\n".join(["", *problems]) if problems else "\nEvery difference is explained.")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
