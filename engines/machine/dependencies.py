"""Optional packages, looked for in one place, with the line to type where one is missing."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

from ...errors import MachineError

_PURPOSE = {
    "torch": ("PyTorch", "train"),
    "onnxslim": ("onnxslim", "train"),
    "safetensors": ("safetensors", "train"),
    "onnxruntime": ("ONNX Runtime", ""),
    "openvino": ("OpenVINO", "openvino"),
    "tensorrt_rtx_bindings": ("TensorRT-RTX", "rtx"),
    "tensorrt": ("TensorRT", ""),
    "pycuda": ("PyCUDA", ""),
    "cuda": ("cuda-python", ""),
    "pyarrow": ("PyArrow", "parquet"),
    "ray": ("Ray", "ray"),
    "aiohttp": ("aiohttp", "serve"),
    "faster_coco_eval": ("faster-coco-eval", "pose"),
    "scipy": ("SciPy", "pose"),
    "supervision": ("supervision", ""),
}

_INSTALL = {
    "supervision": "Install it: pip install supervision",
    "tensorrt": "Install it: pip install tensorrt. On a Jetson it comes with JetPack and never from pip: "
    "python3 -m venv --system-site-packages",
    "pycuda": "Install it: pip install pycuda. It is compiled on this machine: nvcc must be on the PATH.",
    "cuda": "Install it: pip install cuda-bindings, of the CUDA that the driver speaks.",
}
"""Where no extra of ours installs a package, because machines differ in how they get it."""


OLDEST_OPENVINO = (2025, 2)
"""The first version that was tested."""


def require(module: str) -> ModuleType:
    """Import an optional package, or a module in one.

    Raises:
        MachineError: it is not installed, or it is and cannot be loaded.
    """
    package = module.partition(".")[0]
    name, extra = _PURPOSE[package]
    wanted = f"trtparse[{extra}]" if extra else "trtparse"
    if not _is_installed(module):
        raise MachineError(f"{name} is not installed.", _INSTALL.get(package, f"Install it: pip install '{wanted}'"))
    try:
        with _silent(module):
            return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MachineError(
            f"{name} is installed and cannot be loaded: {error}.",
            _INSTALL.get(package, f"Install it again: pip install --force-reinstall '{wanted}'"),
        ) from error


@contextlib.contextmanager
def _silent(module: str) -> Iterator[None]:
    """Import OpenVINO as if its telemetry were not installed; else importing it writes under HOME and calls outside.

    Whoever imports it before trtparse does has OpenVINO's own ways.
    """
    if module != "openvino" or "openvino_telemetry" in sys.modules:
        yield
        return
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that the module should be in.
        return False
