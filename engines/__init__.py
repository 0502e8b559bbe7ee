"""How do frames become arrays: one protocol over ONNX Runtime, OpenVINO, TensorRT and PyTorch.

Heavy imports wait until an engine is opened.
"""

from .base import Engine, OutputSpec, Ticket
from .bundle import Bundle, open_bundle
from .open import TARGETS, open_engine

__all__ = ["TARGETS", "Bundle", "Engine", "OutputSpec", "Ticket", "open_bundle", "open_engine"]
