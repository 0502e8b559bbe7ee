"""What the benchmarks share: commands with their time and peak memory, repeated timings, the machine's name."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; returns its wall time in seconds and its peak resident memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.decode()}")
    return time.perf_counter() - started, usage.ru_maxrss / 1e3


def milliseconds(call: Callable[[], object], repeats: int = 50, warm_up: int = 10) -> float:
    """Median wall time of a call."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * median(times)


def machine() -> str:
    name = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"
