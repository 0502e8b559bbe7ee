"""What a repository says of itself to whoever starts Triton on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import Message
    from .repository import Exported


_IMAGE = "nvcr.io/nvidia/tritonserver"
_OURS = "trtparse-triton"


def dockerfile(image: str | None) -> str:
    """How Triton's image gets this package; built with trtparse's own folder as context.

    Args:
        image: the tag of Triton's image, where it was named.
    """
    tag = f"ARG TAG={image}" if image else "# Of any release: 24.08-py3, for one.\nARG TAG"
    return (
        f"{tag}\nFROM {_IMAGE}:${{TAG}}\n"
        "# OpenCV's wheel needs the two libraries.\n"
        "RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0\n"
        "COPY . /tmp/trtparse\n"
        "RUN pip install --no-cache-dir --constraint /tmp/trtparse/constraints.txt /tmp/trtparse\n"
    )


def readme(exported: Sequence[Exported], tensorrt: str, image: str | None) -> str:
    """The README of a repository.

    Args:
        exported: what it holds.
        tensorrt: the version that its engines need; empty where it has none.
        image: the tag of Triton's image, where it was named.
    """
    ours = any(one.needs_us for one in exported)
    gpus = any(one.parser.tensorrt for one in exported)
    lines = ["# A model repository for Triton", "", "| model | takes | gives | runs on |", "|---|---|---|---|"]
    for one in exported:
        height, width = one.parser.input_size
        on = f"{one.parser.config['backend']}, {one.parser.precision}"
        if one.parser.compute_capabilities:
            on += f", compute capability {' or '.join(one.parser.compute_capabilities)}"
        outputs = ", ".join(f"`{tensor['name']}`" for tensor in one.parser.config["output"])
        lines.append(f"| `{one.name}` | `frames` (N, {height}, {width}, 3) UINT8, BGR | {outputs} | {on} |")
        for model, words in ((one.photograph, ""), (one.people, "; people are found in it")):
            if model is not None:
                gives = ", ".join(_tensor(tensor) for tensor in model.gives)
                lines.append(
                    f"| `{model.name}` | `photograph` (bytes) UINT8: a JPEG's or PNG's file{words} | {gives} | "
                    f"the Python backend, and `{one.name}` |"
                )
    tag = image or "YY.MM-py3"
    server = _OURS if ours else f"{_IMAGE}:{tag}"
    lines += ["", "## Start it", ""]
    if tensorrt:
        lines += [
            f"The engines were built by TensorRT {tensorrt} and run where Triton has the same one: in `{tag}`, as was "
            "said at the export.",
            "",
        ]
    if ours:
        build = "" if image else f"--build-arg TAG={tag} "
        lines += [
            "Photographs become frames, and answers go back onto them, in trtparse, which Triton's image lacks:",
            "",
            "```sh",
            f"docker build {build}--tag {_OURS} --file Dockerfile PATH/TO/TRTPARSE",
            "```",
            "",
        ]
    gpu_words = "--gpus all " if gpus else ""
    if any(one.parser.config["backend"] == "openvino" for one in exported):
        lines += [
            "Where the processor has BF16, OpenVINO's backend computes in it between INT8 layers, and the whole of an "
            "FP32 graph; it has no setting against that.",
            "",
        ]
    if any(one.parser.overflows_without_vnni for one in exported):
        lines += [
            "On x86 processors without VNNI (`grep -c vnni /proc/cpuinfo` says 0) the kernels of ONNX Runtime and "
            "OpenVINO for INT8 overflow: label maps get a little worse, and a finder can miss everybody. `trtparse` "
            "tells ONNX Runtime to take others there (`session.x64quantprecision`); Triton's backends pass no such "
            "setting on. There export with `--backend python`, which answers as `trtparse` does, or with "
            "`--precision fp32`.",
            "",
        ]
    lines += [
        "```sh",
        f"docker run --rm {gpu_words}--shm-size 256m --publish 8000:8000 --publish 8001:8001 --publish 8002:8002 \\",
        f'    --volume "$PWD":/models:ro {server} tritonserver --model-repository /models',
        "```",
        "",
        "## What was checked",
        "",
        "Triton's own `ModelConfig` parses every configuration. The models of the Python backend and the ensembles ran "
        "in Triton 2.51 on a CPU, and with the same versions of OpenCV and ONNX Runtime the answers were those of "
        "`trtparse parse`, bit for bit. The backends `tensorrt`, `onnxruntime` and `openvino` and the image were not "
        "run.",
        "",
    ]
    return "\n".join(lines)


def _tensor(told: Message) -> str:
    dims = ", ".join("any" if length < 0 else str(length) for length in told["dims"])
    return f"`{told['name']}` ({dims}) {told['data_type'].removeprefix('TYPE_')}"
