"""The decodings by name."""

from __future__ import annotations

from ...specs.decoding import Decoding
from .cells import Decoder
from .dark import Dark
from .logits import Logits
from .second_highest import SecondHighest
from .sign_shift import SignShift

DECODERS: dict[str, type[Decoder]] = {
    "sign-shift": SignShift,
    "second-highest": SecondHighest,
    "dark": Dark,
    "logits": Logits,
}


def create_decoder(decoding: Decoding, joints: int, size: tuple[int, int]) -> Decoder:
    """The module of a decoding.

    Args:
        decoding: as a checkpoint says it.
        joints: how many heatmaps there are.
        size: (height, width) of the heatmaps.
    """
    return DECODERS[decoding.kind](decoding, joints, size)
