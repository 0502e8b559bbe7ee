"""Graphs that are built by hand, as calibration and the builders are tested on."""

from trtparse.tests.calibration.conftest import new_graph, small_frames
from trtparse.tests.trt_builder.conftest import small

__all__ = ["new_graph", "small", "small_frames"]
