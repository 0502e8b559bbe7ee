"""trtparse: from a human-parsing network in PyTorch to a proven INT8 TensorRT engine."""

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__version__ = "0.1.0"

# Since 1.29 importing ONNX Runtime writes a device's id under HOME and looks up an address outside, unless told not to
# before. Here, because every import of ours comes after this one, and processes that we start inherit it.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if _TYPE_CHECKING:
    from .answers import Drawn, Found, Parsed, Posed
    from .api import Loaded, build, load, validate

__all__ = ["Drawn", "Found", "Loaded", "Parsed", "Posed", "build", "load", "validate"]


def __getattr__(name: str) -> _Any:
    """What is asked for is read then (PEP 562): ``import trtparse`` alone stays at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
