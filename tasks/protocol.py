"""How images become answers in a validation: what a person may ask for besides the usual way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How images become answers.

    Args:
        order: one of the task's ``orders``; empty for the first of them, the usual one.
        flip: the raw tensors of every frame were averaged with those of its mirror image, left and right swapped.
        scales: sizes of the person in the frame whose raw tensors were averaged; 1 is the frame as it is.
    """

    order: str = ""
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    @property
    def augmented(self) -> bool:
        """Whether there is test-time augmentation."""
        return self.flip or self.scales != (1.0,)

    @property
    def views(self) -> str:
        """The augmentation in words."""
        flip = "flipped as well" if self.flip else "no flip"
        scales = "one scale" if self.scales == (1.0,) else "scales " + ", ".join(f"{scale:g}" for scale in self.scales)
        return f"{flip}, {scales}"
