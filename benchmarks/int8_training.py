"""Question: does INT8 agree better with FP32 after a training with INT8 in the loop than after calibration?

    trtparse distill --int8 --data PHOTOGRAPHS --output runs/int8
    python benchmarks/int8_training.py CCP LIP --trained all=runs/int8/best.safetensors [--judged 96] [--threads 0]

Agreement, the mean IoU with FP32's label maps as the truth over the classes that have 0.02 % of its pixels, and pixels
alike, of both INT8 forms: TensorRT's in the arithmetic that Q/DQ stands for, the CPU's as ONNX Runtime runs it. FP32 is
always the network *before* the training. Judged on CCP's val split and on images of LIP's test split: their last, which
a training must not see, such as one on a folder of the first.

Beside the calibrated network: what the stem costs, whose pooled output is the tensor that INT8 rounds worst, by every
way around it: left in FP16; a scale of each channel, folded into the convolutions around it; all 255 steps for it, as
if int8 had a zero point; frames that are not rounded, as if the stem took their whole numbers. And every checkpoint of
``--trained``, in FP32 as well. Learned clipping alone, with the weights as they were:

    trtparse distill --int8 --data PHOTOGRAPHS --output runs/clipping --set optimizer.learning_rate=1e-9 --set pace=2e6
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from measure import machine
from onnx import numpy_helper

from trtparse.calibration.budget.judge import GraphJudge
from trtparse.calibration.budget.score import Score
from trtparse.calibration.calibrate import calibrate
from trtparse.calibration.frames import letterboxed
from trtparse.calibration.methods import Method
from trtparse.calibration.quantise.cpu import quantise_for_cpu
from trtparse.calibration.quantise.equalisation import channel_groups, equalise
from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.ranges import Ranges
from trtparse.calibration.selection import Selection
from trtparse.calibration.training.carried import carried_ranges
from trtparse.data.dataset import Dataset, Image
from trtparse.engines.reference import PyTorchEngine
from trtparse.graphs.index import GraphIndex
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.networks.weights import DEFAULT_WEIGHTS
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.predictor import Predictor
from trtparse.trt_builder.export import export_onnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ccp", help="LIP's layout with a val split, to judge on")
    parser.add_argument("lip", help="LIP's layout with a test split: the first images calibrate, the last judge")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_WEIGHTS, help="before the training")
    parser.add_argument("--trained", action="append", default=[], metavar="NAME=FILE", help="may be repeated")
    parser.add_argument("--images", type=int, default=128, help="that calibrate")
    parser.add_argument("--judged", type=int, default=0, help="of each set; 0 for all of CCP and 1,000 of LIP")
    parser.add_argument("--no-stem", action="store_true", help="leave the stem's rows out")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    study = Study(
        options.checkpoint,
        open_dataset(options.ccp, "val"),
        open_dataset(options.lip, "test"),
        options.images,
        options.judged,
        options.threads,
    )
    study.calibrated()
    if not options.no_stem:
        study.stem()
    for named in options.trained:
        name, _, path = named.partition("=")
        study.trained(name, Path(path))


class Study:
    """Rows of one network, judged on the same images."""

    def __init__(self, checkpoint: Path, ccp: Dataset, lip: Dataset, images: int, judged: int, threads: int) -> None:
        loaded = load_checkpoint(checkpoint)
        self._threads, self._framing, self._lip = threads, loaded.framing, lip
        self._model = export_onnx(loaded)
        self._placement = place(self._model)
        self._selection = Selection(tuple(range(images)), {}, 0)
        self._ranges = self._calibrate(self._model)
        last = range(len(lip) - min(judged or 1000, len(lip) - images), len(lip))
        count = min(judged or len(ccp), len(ccp))
        spaced = [len(ccp) * number // count for number in range(count)]
        engine = PyTorchEngine(loaded.network, loaded.framing.input_size, threads=threads)
        with Predictor(engine, Parsing(loaded.spec), loaded.framing) as reference:
            self._judges = {
                f"{len(spaced)} of CCP": GraphJudge(ccp, spaced, reference, threads=threads),
                f"{len(last)} of LIP": GraphJudge(lip, last, reference, threads=threads),
            }
        print(f"{images} images of LIP calibrate, by mse; agreement (pixels alike), %, and mIoU lost where labelled")

    def calibrated(self) -> None:
        self._tell("calibrated", self._model, self._placement, self._ranges)

    def stem(self) -> None:
        """The ways around the tensor that costs most."""
        index = GraphIndex(self._model.graph)
        pools = [node for node in index.nodes if node.op_type == "MaxPool"]
        tensors = {node.output[0] for node in pools}
        readers = {name for tensor in tensors for name, _ in self._placement.activations.get(tensor, ())}
        rest = [name for name in self._placement.layers if name not in readers]
        self._tell("the stem's readers in FP16", self._model, restrict(self._placement, rest), self._ranges)
        groups = [group for group in channel_groups(self._model) if group.tensors & tensors]
        for strength in (0.5, 1.0):
            model = equalise(self._model, self._frames(), strength=strength, groups=groups, threads=self._threads)
            self._tell(
                f"the stem's channels scaled, strength {strength:g}", model, place(model), self._calibrate(model)
            )
        frames = next(index.convolutions()).input[0]
        for title, fine, exact in (
            ("the pooled output in 255 steps", tensors, set()),
            ("frames not rounded", set(), {frames}),
            ("both", tensors, {frames}),
        ):
            graph = _finer(quantise(self._model, self._placement, self._ranges), self._ranges, fine, exact)
            for words, judge in self._judges.items():
                print(f"{title:44} {'TensorRT':9} {words}: {_told(judge(graph))}", flush=True)

    def trained(self, name: str, path: Path) -> None:
        """A checkpoint with its ranges; calibrated; and in FP32."""
        loaded = load_checkpoint(path)
        model = export_onnx(loaded)
        placement = place(model)
        self._tell(f"trained: {name}", model, placement, carried_ranges(loaded.int8, model, placement, str(path)))
        for words, judge in self._judges.items():
            print(f"{f'trained: {name}, FP32':44} {'':9} {words}: {_told(judge(model))}", flush=True)

    def _tell(self, title: str, model: onnx.ModelProto, placement: Placement, ranges: Ranges) -> None:
        for_gpu, for_cpu = quantise(model, placement, ranges), quantise_for_cpu(model, placement, ranges)
        for words, judge in self._judges.items():
            for form, score in (("TensorRT", judge(for_gpu)), ("CPU", judge.score_cpu(for_cpu))):
                print(f"{title:44} {form:9} {words}: {_told(score)}", flush=True)

    def _calibrate(self, model: onnx.ModelProto) -> Ranges:
        return calibrate(model, self._lip, self._selection, method=Method("mse"), threads=self._threads)

    def _frames(self) -> Iterator[Image]:
        return (frame for _, frame in letterboxed(self._lip, self._selection.indices[:64], self._framing))


def _finer(graph: onnx.ModelProto, ranges: Ranges, fine: set[str], exact: set[str]) -> onnx.ModelProto:
    """Give some tensors of a Q/DQ graph all 255 steps above 0, and leave others as they are."""
    index = GraphIndex(graph.graph)
    for node in [node for node in index.nodes if node.op_type == "QuantizeLinear"]:
        tensor = node.input[0]
        ((back, _),) = index.consumers(node.output[0])
        if tensor in fine:
            scale = ranges.unsigned.get(tensor, ranges.limits[tensor][1]) / 255
            index.initializers[node.input[1]].CopyFrom(numpy_helper.from_array(np.float32(scale), node.input[1]))
            index.initializers[node.input[2]].CopyFrom(numpy_helper.from_array(np.uint8(0), node.input[2]))
        elif tensor in exact:
            for reader, position in index.consumers(back.output[0]):
                reader.input[position] = tensor
    return graph


def _told(score: Score) -> str:
    lost = "" if score.loss is None else f"   {score.loss:+.2f}"
    return f"{score.agreement:6.2f} ({score.share:6.2f}){lost}"


if __name__ == "__main__":
    main()
