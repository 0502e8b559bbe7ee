from __future__ import annotations

import numpy as np
import pytest

from trtparse.engines import Bundle
from trtparse.engines.base import Frames
from trtparse.engines.cpu import CpuEngine


@pytest.mark.parametrize(("threads", "streams", "in_flight"), [(1, 2, 2), (2, 2, 3), (4, 2, 3), (3, 3, 4)])
def test_streams_answer_in_order_as_one_does_and_are_no_more_than_the_threads(
    threads: int, streams: int, in_flight: int, pristine_bundle: Bundle, frames: Frames
) -> None:
    graph = pristine_bundle.graph("int8-cpu")
    with CpuEngine(graph, "int8", threads=1) as engine:
        assert engine.in_flight == 2
        expected = [engine.infer(frame[None]) for frame in frames]
    with CpuEngine(graph, "int8", threads=threads, streams=streams) as engine:
        assert engine.in_flight == in_flight
        found = []
        for first in range(0, len(frames), in_flight):
            tickets = [engine.submit(frame[None]) for frame in frames[first : first + in_flight]]
            found += [engine.collect(ticket) for ticket in tickets]
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one[0], other[0])
