"""On what a validation ran: the processor, the system and the version of every package that took part."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from .. import __version__

PACKAGES = {
    "numpy": "NumPy",
    "cv2": "OpenCV",
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
}
"""Modules whose version bears on labels or times, with their names."""


def machine() -> dict[str, str]:
    """Names and versions; of packages only those that were imported."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count() or "unknown"),
        "system": platform.platform(),
        "trtparse": __version__,
        "Python": platform.python_version(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["GPU"] = str(torch.cuda.get_device_name(0))
    for module, name in PACKAGES.items():
        if module in sys.modules:
            facts[name] = str(getattr(sys.modules[module], "__version__", "unknown"))
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
