"""An engine that gives what its answers are decided from in their place."""

from __future__ import annotations

from ..errors import UsageError
from .base import Arrays, Engine, Frames, OutputSpec, Raw


class RawEngine(Engine):
    """An engine whose answers are those of another one's :meth:`Engine.raw`: for logits that go back onto the image.

    It owns the other engine: closing it closes both.

    Args:
        engine: gives the raw tensor.

    Raises:
        UsageError: it gives answers alone.
    """

    def __init__(self, engine: Engine) -> None:
        if not engine.gives_raw:
            raise UsageError(
                f"{engine.name} gives labels alone, and its framing has logits go back onto the image.",
                "Build the bundle again, or open it for labels.",
            )
        super().__init__()
        self.engine = engine
        self.name, self.target, self.precision = engine.name, engine.target, engine.precision
        self.between = engine.between
        self.input_size, self.batch = engine.input_size, engine.batch
        self.outputs = (OutputSpec("logits", "float32", (None, *engine.input_size)),)
        self.gives_raw = True

    @property
    def batch_range(self) -> tuple[int, int | None]:
        return self.engine.batch_range

    def raw(self, frames: Frames) -> Raw:
        return self.engine.raw(frames)

    def _run(self, frames: Frames) -> Arrays:
        return (self.engine.raw(frames),)

    def _release(self) -> None:
        self.engine.close()
