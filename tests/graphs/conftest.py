"""Graphs that are built by hand, as calibration and the builders are tested on."""

from trtparse.tests.calibration.conftest import new_graph, new_ladder, ranges_for, small_frames
from trtparse.tests.trt_builder.conftest import small

__all__ = ["new_graph", "new_ladder", "ranges_for", "small", "small_frames"]
