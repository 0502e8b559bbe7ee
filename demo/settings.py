"""What may be changed while frames go by."""

from __future__ import annotations

from typing import Protocol


class Settings(Protocol):
    """Read once per frame; :class:`~trtparse.demo.live.settings.LiveSettings` is one."""

    @property
    def opacity(self) -> float:
        """0..1, how far drawings cover the frame."""
        ...

    @property
    def classes(self) -> frozenset[int]:
        """Which of the task's parts are drawn, by their numbers."""
        ...

    @property
    def policy(self) -> str:
        """What the source does when the pipeline cannot follow: "all" or "latest"."""
        ...
