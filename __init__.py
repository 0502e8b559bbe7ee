"""trtparse: from a human-parsing network in PyTorch to a proven INT8 TensorRT engine."""

__version__ = "0.1.0"
