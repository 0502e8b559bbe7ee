"""What may be changed while frames run. Whoever draws reads it once per frame; whoever watches writes it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...tasks.drawing import OPACITY, Part
from ..pacing import POLICIES


@dataclass(frozen=True)
class Choice:
    """The settings at one moment; arguments as for :class:`LiveSettings`."""

    opacity: float
    classes: frozenset[int]
    policy: str

    def __post_init__(self) -> None:
        opacity: object = self.opacity
        number = isinstance(opacity, int | float) and not isinstance(opacity, bool)
        if not (number and 0 <= self.opacity <= 1):  # which no NaN is
            raise ValueError(f"opacity is between 0 and 1, not {self.opacity!r}")
        if self.policy not in POLICIES:
            raise ValueError(f"the policy is {' or '.join(POLICIES)}, not {self.policy!r}")


class LiveSettings:
    """Settings that several threads read and write; a change is seen whole or not yet.

    Args:
        parts: what can be drawn, by number; the task's.
        opacity: 0..1, how far drawings cover the frame.
        classes: numbers of the parts that are drawn; None for all.
        policy: of the source; one of :data:`~trtparse.demo.pacing.POLICIES`.

    Raises:
        ValueError: a value outside those; setting one raises the same and changes nothing.

    Example:
        >>> from trtparse.tasks.drawing import OPACITY, Part
        >>> settings = LiveSettings({5: Part("Coat", (0, 0, 255)), 9: Part("Pants", (0, 255, 0))}, classes=[5, 9])
        >>> settings.opacity = 0.25
        >>> settings.choice
        Choice(opacity=0.25, classes=frozenset({9, 5}), policy='all')
    """

    def __init__(
        self,
        parts: Mapping[int, Part],
        opacity: float = OPACITY,
        classes: Iterable[int] | None = None,
        policy: str = POLICIES[0],
    ) -> None:
        self._lock = threading.Lock()
        self.parts = parts
        drawn = parts if classes is None else classes
        self._choice = Choice(opacity, self._checked(drawn), policy)

    @property
    def choice(self) -> Choice:
        """All of them, of one moment."""
        return self._choice

    @property
    def opacity(self) -> float:
        return self._choice.opacity

    @opacity.setter
    def opacity(self, value: float) -> None:
        self.change(opacity=value)

    @property
    def classes(self) -> frozenset[int]:
        return self._choice.classes

    @classes.setter
    def classes(self, value: Iterable[int]) -> None:
        self.change(classes=value)

    @property
    def policy(self) -> str:
        return self._choice.policy

    @policy.setter
    def policy(self, value: str) -> None:
        self.change(policy=value)

    def _checked(self, classes: Iterable[int]) -> frozenset[int]:
        for index in (chosen := frozenset(classes)):
            if type(index) is not int or index not in self.parts:
                first, last = min(self.parts), max(self.parts)
                raise ValueError(f"a class is between {first}, {self.parts[first].name}, and {last}, not {index!r}")
        return chosen

    def change(
        self, *, opacity: float | None = None, classes: Iterable[int] | None = None, policy: str | None = None
    ) -> Choice:
        """Set those that are given, together.

        Returns:
            All of them afterwards.

        Raises:
            ValueError: a value that is not allowed; then none is set.
        """
        with self._lock:
            choice = self._choice
            if opacity is not None:
                choice = replace(choice, opacity=opacity)
            if classes is not None:
                choice = replace(choice, classes=self._checked(classes))
            if policy is not None:
                choice = replace(choice, policy=policy)
            self._choice = choice
        return choice
