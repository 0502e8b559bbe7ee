"""What a model has done: counted by its worker and by the server, told as KServe's statistics and as metrics."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict

from ..storage.json_types import JsonObject

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper ends of the histogram's bars."""


class Statistics:
    """Counts of one model, since the server began. Read and written by several threads.

    Attributes:
        revivals: how often the engine was opened anew.
        last_end: when the last pass ended, of the monotonic clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.revivals = 0
        self.last_end = 0.0
        self._last_request = 0
        self._passes: Counter[int] = Counter()
        self._pass_seconds: defaultdict[int, float] = defaultdict(float)
        self._waits, self._wait_seconds = 0, 0.0
        self._answers: Counter[int] = Counter()
        self._seconds: defaultdict[bool, float] = defaultdict(float)
        self._bars = [0] * (len(BUCKETS) + 1)

    def passed(self, frames: int, waits: list[float], seconds: float, ended: float) -> None:
        """A pass has ended.

        Args:
            frames: in it.
            waits: seconds that each request in it waited.
            seconds: that it took.
            ended: when, of the monotonic clock.
        """
        with self._lock:
            self._passes[frames] += 1
            self._pass_seconds[frames] += seconds
            self._waits += len(waits)
            self._wait_seconds += sum(waits)
            self.last_end = ended

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered with an HTTP status, so many seconds after its headers came."""
        with self._lock:
            self._last_request = time.time_ns() // 1_000_000
            self._answers[status] += 1
            self._seconds[status == 200] += seconds
            if status == 200:
                self._bars[next((n for n, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))] += 1

    @property
    def requests(self) -> int:
        """That were answered, however."""
        with self._lock:
            return self._answers.total()

    @property
    def frames(self) -> int:
        """That went through the engine."""
        with self._lock:
            return self._frames

    @property
    def _frames(self) -> int:
        return sum(frames * count for frames, count in self._passes.items())

    def to_kserve(self, name: str, version: str) -> JsonObject:
        """As the protocol's statistics extension has it; times in nanoseconds."""
        with self._lock:
            success = self._answers[200]
            passes = self._passes.total()
            inferring = sum(self._pass_seconds.values())
            times = {
                "success": _times(success, self._seconds[True]),
                "fail": _times(self._answers.total() - success, self._seconds[False]),
                "queue": _times(self._waits, self._wait_seconds),
                "compute_input": _times(passes, 0.0),
                "compute_infer": _times(passes, inferring),
                "compute_output": _times(passes, 0.0),
            }
            batches = [
                {
                    "batch_size": frames,
                    "compute_input": _times(count, 0.0),
                    "compute_infer": _times(count, self._pass_seconds[frames]),
                    "compute_output": _times(count, 0.0),
                }
                for frames, count in sorted(self._passes.items())
            ]
            return {
                "name": name,
                "version": version,
                "last_inference": self._last_request,
                "inference_count": self._frames,
                "execution_count": passes,
                "inference_stats": times,
                "batch_stats": batches,
            }

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """(name, labels, value) of each metric."""
        with self._lock:
            found: list[tuple[str, dict[str, str], float]] = [
                ("requests_total", {"status": str(status)}, count) for status, count in sorted(self._answers.items())
            ]
            found += [
                ("frames_total", {}, self._frames),
                ("passes_total", {}, self._passes.total()),
                ("pass_seconds_total", {}, sum(self._pass_seconds.values())),
                ("queue_seconds_total", {}, self._wait_seconds),
                ("engine_reopened_total", {}, self.revivals),
            ]
            total = 0
            for end, count in zip((*BUCKETS, float("inf")), self._bars):
                total += count
                told = "+Inf" if end == float("inf") else f"{end:g}"
                found.append(("request_seconds_bucket", {"le": told}, total))
            found += [("request_seconds_sum", {}, self._seconds[True]), ("request_seconds_count", {}, total)]
            return found


def _times(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}


_HELP = {
    "requests_total": ("counter", "Requests that were answered, by HTTP status."),
    "frames_total": ("counter", "Frames that the engine looked at."),
    "passes_total": ("counter", "Passes of the engine, each over one batch."),
    "pass_seconds_total": ("counter", "Seconds that passes took."),
    "queue_seconds_total": ("counter", "Seconds that requests waited for their pass."),
    "engine_reopened_total": ("counter", "How often the engine died and was opened anew."),
    "request_seconds": ("histogram", "Seconds from a request's headers to its answer, of those that succeeded."),
    "waiting_frames": ("gauge", "Frames that wait."),
    "ready": ("gauge", "Whether the engine is there."),
    "bundle_changed": ("gauge", "Whether the bundle on disk is another one than the server opened."),
}


def prometheus(models: dict[str, list[tuple[str, dict[str, str], float]]]) -> str:
    """Samples of each model in Prometheus' text format, version 0.0.4.

    Args:
        models: their names to what :meth:`Statistics.samples` gives, and more samples of the same form.
    """
    lines = []
    for metric, (kind, told) in _HELP.items():
        lines += [f"# HELP trtparse_{metric} {told}", f"# TYPE trtparse_{metric} {kind}"]
        for model, samples in models.items():
            for name, labels, value in samples:
                if name == metric or (kind == "histogram" and name.rpartition("_")[0] == metric):
                    told_labels = ",".join(f'{key}="{text}"' for key, text in {"model": model, **labels}.items())
                    lines.append(f"trtparse_{name}{{{told_labels}}} {value:.17g}")
    return "\n".join(lines) + "\n"
