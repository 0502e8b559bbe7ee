"""Does INT8 earn its place? It is less exact than FP16, and on a GPU it is not always faster.

Small networks, layers with few channels, and graphs whose precision changes often can lose by it: each change is a
pass over the tensor (NVIDIA/TensorRT#4554, #2067).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..engines.base import Frames
from ..engines.latency import Measurable

LEAST_GAIN = 0.02
"""Share of FP16's time that INT8 has to save: less would be within what two runs may differ by. How much that is on a
Jetson was not measured yet."""

_ROUNDS, _CALLS = 5, 40


@dataclass(frozen=True)
class Race:
    """Milliseconds of a call, of an INT8 and an FP16 engine on the same GPU at the same time.

    Args:
        int8, fp16: the medians, without copies.
        frames: of a call.
    """

    int8: float
    fp16: float
    frames: int = 1

    @property
    def int8_earns_its_place(self) -> bool:
        return self.int8 <= (1 - LEAST_GAIN) * self.fp16

    @property
    def verdict(self) -> str:
        """What to make of it, in a sentence."""
        times = f"INT8 takes {self.int8:.3f} ms and FP16 {self.fp16:.3f} ms a call of {self.frames}"
        if self.int8_earns_its_place:
            return f"{times}: INT8 is {self.fp16 / self.int8:.2f} × as fast."
        slower = "slower" if self.int8 > self.fp16 else "hardly faster"
        return f"{times}: INT8 is {slower} here, and less exact: ship FP16."

    def to_dict(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in asdict(self).items()}


def medians(engines: Sequence[Measurable], frames: Frames) -> tuple[float, ...]:
    """The median milliseconds of a call of each engine, as the GPU's own clock has them.

    They take turns, so that clocks that rise or fall do it to all alike; the first round does not count.
    """
    times: list[list[float]] = [[] for _ in engines]
    for number in range(_ROUNDS + 1):
        for engine, own in zip(engines, times):
            found = engine.engine_times(frames, _CALLS)
            own += found if number else []
    return tuple(float(np.median(own)) for own in times)
