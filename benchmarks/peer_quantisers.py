"""One quantiser at work in a process of its own, for the benchmarks that compare them: time, peak memory, graphs.

    PYTHON benchmarks/peer_quantisers.py PROGRAM METHOD MODEL FRAMES IMAGES OUTPUT [MEMORY_LIMIT_GB]

PYTHON is the interpreter of the environment that PROGRAM lives in: the peers are no dependencies of trtparse, and
some cannot share an environment. So nothing is imported before it is known who works. FRAMES is an ``.npy`` file,
(N, H, W, 3) uint8, letterboxed; every program reads the first IMAGES of it, in the same order. OUTPUT has no
extension: the program writes ``OUTPUT.onnx`` (or ``.xml``), and this script ``OUTPUT.json`` with the seconds that
the call took, imports left out, and the peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Work = Callable[[], str]
"""Quantises and writes; returns the program's version."""


def onnxruntime(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """``quantize_static`` as its documentation has it for CPUs with VNNI: uint8 activations, int8 weights."""
    return _quantize_static(method, model, frames, output, {}, unsigned=True)


def onnxruntime_tensorrt(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """``quantize_static`` as it has to be called for TensorRT: symmetric int8, pairs on weights, a float bias."""
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": True,
        "QuantizeBias": False,
    }
    return _quantize_static(method, model, frames, output, options, unsigned=False)


def _quantize_static(
    method: str, model: Path, frames: Frames, output: Path, options: dict[str, Any], *, unsigned: bool
) -> Work:
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._frames = iter(frames)

        def get_next(self) -> dict[str, Frames] | None:
            frame = next(self._frames, None)
            return None if frame is None else {"frames": frame[None]}

    def work() -> str:
        quantize_static(
            model,
            output.with_suffix(".onnx"),
            Reader(),
            QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
            extra_options=options,
        )
        return str(onnxruntime.__version__)

    return work


def modelopt(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """NVIDIA ModelOpt, INT8 in an FP32 graph."""
    from importlib.metadata import version

    from modelopt.onnx.quantization import quantize  # type: ignore[import-not-found,unused-ignore]

    def work() -> str:
        quantize(
            str(model),
            quantize_mode="int8",
            calibration_data={"frames": np.ascontiguousarray(frames)},
            calibration_method=method,
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(output.with_suffix(".onnx")),
            log_level="ERROR",
        )
        return version("nvidia-modelopt")

    return work


def nncf(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """NNCF; ``onnx`` or ``openvino`` says whose graph it quantises and writes."""
    import nncf as library  # type: ignore[import-not-found,unused-ignore]

    if method == "onnx":
        import onnx as reader
    else:
        import openvino as reader  # type: ignore[import-not-found,no-redef,unused-ignore]

    def work() -> str:
        read = reader.load if method == "onnx" else reader.Core().read_model
        dataset = library.Dataset(range(len(frames)), lambda index: {"frames": np.array(frames[index][None])})
        quantised = library.quantize(read(str(model)), dataset, subset_size=len(frames))
        if method == "onnx":
            reader.save(quantised, str(output.with_suffix(".onnx")))
        else:
            reader.save_model(quantised, str(output.with_suffix(".xml")), compress_to_fp16=False)
        return str(library.__version__)

    return work


def openvino_labels(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """Quantises nothing: runs an OpenVINO graph and writes its label maps to ``OUTPUT.npy``; ``method``: threads."""
    import openvino

    def work() -> str:
        compiled = openvino.Core().compile_model(str(model), "CPU", {"INFERENCE_NUM_THREADS": int(method)})
        request = compiled.create_infer_request()
        labels = [np.array(request.infer({"frames": np.array(frame[None])})["labels"][0]) for frame in frames]
        np.save(output.with_suffix(".npy"), np.stack(labels))
        return str(openvino.__version__)

    return work


def trtparse(method: str, model: Path, frames: Frames, output: Path) -> Work:
    """Ours: one calibration, ``OUTPUT.onnx`` for TensorRT and ``OUTPUT.cpu.onnx`` for the CPU runtime."""
    import onnx

    from trtparse import __version__
    from trtparse.calibration.calibrate import calibrate
    from trtparse.calibration.methods import Method
    from trtparse.calibration.quantise.cpu import quantise_for_cpu
    from trtparse.calibration.quantise.placement import place
    from trtparse.calibration.quantise.qdq import quantise
    from trtparse.calibration.selection import Selection
    from trtparse.data.dataset import Sample
    from trtparse.specs.label_set import label_sets

    class FrameDataset:
        description, labelled, label_set = "the benchmark's frames", False, label_sets()["lip"]
        names = tuple(f"frame {index}" for index in range(len(frames)))

        def __len__(self) -> int:
            return len(frames)

        def __getitem__(self, index: int) -> Sample:
            return Sample(self.names[index], np.array(frames[index]), None)

        def labels(self, index: int) -> Frames:
            raise IndexError(index)

    def work() -> str:
        graph = onnx.load(model)
        placement, everything = place(graph), Selection(tuple(range(len(frames))), {}, 0)
        ranges = calibrate(graph, FrameDataset(), everything, method=Method.parse(method))
        onnx.save(quantise(graph, placement, ranges), output.with_suffix(".onnx"))
        onnx.save(quantise_for_cpu(graph, placement, ranges), output.with_suffix(".cpu.onnx"))
        return __version__

    return work


PROGRAMS = {
    "onnxruntime": onnxruntime,
    "onnxruntime-tensorrt": onnxruntime_tensorrt,
    "modelopt": modelopt,
    "nncf": nncf,
    "openvino-labels": openvino_labels,
    "trtparse": trtparse,
}


def peak_memory() -> float:
    """Peak resident memory of this process in MB.

    ``getrusage`` will not do: what the parent had resident when it started this process counts as this one's.
    """
    lines: Iterator[str] = iter(Path("/proc/self/status").read_text().splitlines())
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    program, method, model, frames, images, output, *limit = sys.argv[1:]
    if limit:
        most = int(float(limit[0]) * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    chosen = np.load(frames, mmap_mode="r")[: int(images)]
    work = PROGRAMS[program](method, Path(model), chosen, Path(output))
    before = peak_memory()
    started = time.perf_counter()
    version = work()
    seconds = time.perf_counter() - started
    facts = {"seconds": seconds, "peak_mb": peak_memory(), "imports_mb": before, "version": version}
    Path(f"{output}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
