"""Claim: learned rounding takes most of the error of INT8 weights, and no correction costs accuracy.

    python benchmarks/calibration_corrections.py CCP LIP [--images 256] [--few 64] [--threads 0]

Calibrates the student that ships on images of LIP's test split and judges every graph on CCP's val split: agreement
mIoU with the FP32 graph, pixels that agree, and mIoU lost against the labels. TensorRT's graphs are simulated, the CPU
runtime's run on it. ``weights alone`` leaves the activations in float, which shows what a correction of weights is
worth before the activations' rounding covers it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
from measure import machine

from trtparse.calibration.budget.judge import GraphJudge
from trtparse.calibration.budget.score import Score
from trtparse.calibration.calibrate import Statistics, collect, ranges_of
from trtparse.calibration.frames import letterboxed
from trtparse.calibration.methods import Method
from trtparse.calibration.quantise.bias_correction import correct_biases
from trtparse.calibration.quantise.cpu import quantise_for_cpu
from trtparse.calibration.quantise.equalisation import equalise
from trtparse.calibration.quantise.placement import Placement, place, restrict
from trtparse.calibration.quantise.qdq import quantise
from trtparse.calibration.quantise.rounding import learn_rounding
from trtparse.calibration.quantise.weights import Int8Weights
from trtparse.calibration.ranges import Ranges
from trtparse.calibration.selection import Selection, select
from trtparse.data.dataset import Dataset, Image
from trtparse.engines.reference import PyTorchEngine
from trtparse.networks.checkpoint import load_checkpoint
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.files import open_dataset
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.predictor import Predictor
from trtparse.trt_builder.export import export_onnx

LIP = label_set("lip")

WEIGHTS = Path(__file__).parent.parent / "networks" / "weights" / "student.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ccp", help="LIP's layout with a labelled val split, to judge on")
    parser.add_argument("lip", help="LIP's layout with a test split, to calibrate on")
    parser.add_argument("--checkpoint", type=Path, default=WEIGHTS)
    parser.add_argument("--images", type=int, default=256, help="of the ranges")
    parser.add_argument("--few", type=int, default=64, help="of the corrections, the first of those")
    parser.add_argument("--judged", type=int, default=0, help="images to judge on; 0 for all")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    study = Study(
        open_dataset(options.lip, "test"), open_dataset(options.ccp, "val"), options.checkpoint, options.images,
        options.few, options.judged, options.threads,
    )  # fmt: skip
    study.run()


class Study:
    """Every correction on one student, on the same images."""

    def __init__(
        self, lip: Dataset, ccp: Dataset, checkpoint: Path, images: int, few: int, judged: int, threads: int
    ) -> None:
        loaded = load_checkpoint(checkpoint)
        self._size, self._stretch = loaded.input_size, loaded.stretch
        self._lip, self._threads, self._few = lip, threads, few
        self._model = export_onnx(loaded)
        self._placement = place(self._model)
        self._selection = select(lip, images, 0)
        held_out = range(min(judged, len(ccp)) or len(ccp))
        engine = PyTorchEngine(loaded.network, self._size, threads=threads)
        with Predictor(engine, Parsing(loaded.spec), loaded.framing) as reference:
            self._judge = GraphJudge(ccp, list(held_out), reference, threads=threads)

    def run(self) -> None:
        """Print a line for each."""
        statistics = self._collect(self._model)
        for name in ("max", "mse"):
            self._corrections(statistics, name)
        self._equalisation()
        self._stem(statistics)

    def _corrections(self, statistics: Statistics, name: str) -> None:
        ranges = ranges_of(statistics, Method(name))
        alone = Placement({}, self._placement.weights, self._placement.higher_precision, ())
        plain, clipped = Int8Weights(), Int8Weights("mse")
        rounded = self._timed("learned rounding", lambda: self._learn(ranges, plain))
        corrected = self._timed("bias correction", lambda: self._correct(ranges, plain))
        both = self._correct(ranges, rounded)
        for title, weights in (
            ("no correction", plain),
            ("weights by mse", clipped),
            ("bias correction", corrected),
            ("learned rounding", rounded),
            ("learned rounding, bias correction", both),
        ):
            if name == "max":
                self._tell(f"{title}; weights alone", quantise(self._model, alone, ranges, weights=weights))
            self._tell(f"{name}, {title}", quantise(self._model, self._placement, ranges, weights=weights))
            cpu = quantise_for_cpu(self._model, self._placement, ranges, weights=weights)
            self._tell(f"{name}, {title}; CPU", cpu, on_cpu=True)

    def _equalisation(self) -> None:
        for strength in (0.5, 1.0):
            model = equalise(self._model, self._frames(), strength=strength, threads=self._threads)
            statistics = self._collect(model)
            for name in ("max", "mse"):
                graph = quantise(model, place(model), ranges_of(statistics, Method(name)))
                self._tell(f"{name}, equalised with strength {strength:g}", graph)

    def _stem(self, statistics: Statistics) -> None:
        """The tensor that costs most is the first pool's: what the layers that read it cost."""
        tensors = {node.output[0] for node in self._model.graph.node if node.op_type == "MaxPool"}
        readers = {name for tensor in tensors for name, _ in self._placement.activations.get(tensor, ())}
        rest = restrict(self._placement, [name for name in self._placement.layers if name not in readers])
        ranges = ranges_of(statistics, Method("mse"))
        self._tell(f"mse, without {', '.join(sorted(readers))}", quantise(self._model, rest, ranges))

    def _collect(self, model: onnx.ModelProto) -> Statistics:
        return collect(model, self._lip, self._selection, histograms=True, threads=self._threads)

    def _frames(self) -> Iterator[Image]:
        chosen = Selection(self._selection.indices[: self._few], {}, 0)
        return (frame for _, frame in letterboxed(self._lip, chosen.indices, Framing(self._size, self._stretch)))

    def _learn(self, ranges: Ranges, weights: Int8Weights) -> Int8Weights:
        return learn_rounding(
            self._model, self._placement, ranges, self._frames, weights=weights, threads=self._threads
        )

    def _correct(self, ranges: Ranges, weights: Int8Weights) -> Int8Weights:
        return correct_biases(
            self._model, self._placement, ranges, self._frames(), weights=weights, threads=self._threads
        )

    @staticmethod
    def _timed(what: str, call: Callable[[], Int8Weights]) -> Int8Weights:
        started = time.perf_counter()
        result = call()
        print(f"{what}: {time.perf_counter() - started:.0f} s")
        return replace(result)

    def _tell(self, title: str, graph: onnx.ModelProto, on_cpu: bool = False) -> None:
        score: Score = self._judge.score_cpu(graph) if on_cpu else self._judge(graph)
        loss = "" if score.loss is None else f"   mIoU lost {score.loss:+6.2f}"
        print(f"{title:64} agreement {score.agreement:6.2f}   pixels {score.share:7.3f}{loss}", flush=True)


if __name__ == "__main__":
    main()
