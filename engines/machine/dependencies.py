"""Optional packages, looked for in one place, with the line to type where one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ...errors import MachineError

_PURPOSE = {
    "torch": ("PyTorch", "train"),
    "onnxslim": ("onnxslim", "train"),
    "safetensors": ("safetensors", "train"),
    "onnxruntime": ("ONNX Runtime", ""),
    "tensorrt_rtx_bindings": ("TensorRT-RTX", "rtx"),
    "tensorrt": ("TensorRT", ""),
    "pycuda": ("PyCUDA", ""),
    "cuda": ("cuda-python", ""),
    "pyarrow": ("PyArrow", "parquet"),
    "ray": ("Ray", "ray"),
    "aiohttp": ("aiohttp", "serve"),
    "faster_coco_eval": ("faster-coco-eval", "pose"),
    "scipy": ("SciPy", "pose"),
}

_INSTALL = {
    "tensorrt": "Install it: pip install tensorrt. On a Jetson it comes with JetPack and never from pip: "
    "python3 -m venv --system-site-packages",
    "pycuda": "Install it: pip install pycuda. It is compiled on this machine: nvcc must be on the PATH.",
    "cuda": "Install it: pip install cuda-bindings, of the CUDA that the driver speaks.",
}
"""Where no extra of ours installs a package, because machines differ in how they get it."""


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
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MachineError(
            f"{name} is installed and cannot be loaded: {error}.",
            _INSTALL.get(package, f"Install it again: pip install --force-reinstall '{wanted}'"),
        ) from error


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that the module should be in.
        return False
