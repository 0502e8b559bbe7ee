"""How the latencies of one engine are distributed, over a validation's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 40
"""Of the latencies' histogram."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image, from the calls of one engine while no other was at work.

    Args:
        p50, p90, p99: percentiles over the calls, the first of which is left out where there are more.
        batch: frames per call; times are divided by it.
        calls: how many were timed.
        edges: of the histogram's bins, one more than ``counts``; from the shortest time to about ``p99``.
        counts: calls in every bin.
        beyond: calls that took longer than the last edge.
    """

    p50: float
    p90: float
    p99: float
    batch: int
    calls: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    beyond: int


def latency(seconds: Sequence[float], batch: int) -> Latency | None:
    """How long calls of ``batch`` frames took, in ``seconds`` per frame; None of no call.

    The first call, in which runtimes allocate and choose kernels, is left out where there are more.
    """
    timed = seconds[1:] if len(seconds) > 1 else seconds
    if not timed:
        return None
    times = 1e3 * np.asarray(timed, np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    shortest = float(times.min())
    # One call, or calls of one length, make a bin of some width all the same.
    edges = np.linspace(shortest, max(p99, shortest + 1e-3), BINS + 1)
    counts, _ = np.histogram(times, edges)
    return Latency(
        p50=p50,
        p90=p90,
        p99=p99,
        batch=batch,
        calls=len(timed),
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        beyond=int((times > edges[-1]).sum()),
    )
