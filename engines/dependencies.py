"""Optional packages, looked for in one place, with the line to type where one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ..errors import MachineError

_PURPOSE = {
    "torch": ("PyTorch", "train"),
    "onnxslim": ("onnxslim", "train"),
    "safetensors": ("safetensors", "train"),
    "onnxruntime": ("ONNX Runtime", ""),
    "tensorrt_rtx_bindings": ("TensorRT-RTX", "rtx"),
    "pyarrow": ("PyArrow", "parquet"),
    "ray": ("Ray", "ray"),
}


def require(module: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MachineError: it is not installed, or it is and cannot be loaded.
    """
    name, extra = _PURPOSE[module]
    wanted = f"trtparse[{extra}]" if extra else "trtparse"
    if importlib.util.find_spec(module) is None:
        raise MachineError(f"{name} is not installed.", f"Install it: pip install '{wanted}'")
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise MachineError(
            f"{name} is installed and cannot be loaded: {error}.",
            f"Install it again: pip install --force-reinstall '{wanted}'",
        ) from error
