"""trtparse: from a human-parsing network in PyTorch to a proven INT8 TensorRT engine."""

import os as _os

__version__ = "0.1.0"

# Since 1.29 importing ONNX Runtime writes a device's id under HOME and looks up an address outside, unless told not to
# before. Here, because every import of ours comes after this one, and processes that we start inherit it.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
