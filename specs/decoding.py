"""How raw tensors become answers, as weights were trained for it.

The decoding of a pose network's heatmaps travels with the weights and into the graph's metadata, as another than its
own costs a network accuracy: the logits of a spatial cross-entropy have no peak of 1, and HRNet counts cells from
another place than MSPN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson

KINDS = ("sign-shift", "second-highest", "dark", "logits")


@dataclass(frozen=True)
class Decoding:
    """How heatmaps become points.

    Args:
        kind: ``sign-shift``, HRNet's: the highest cell, and a quarter of one towards its higher neighbours;
            ``second-highest``, MSPN's: of the blurred map, a quarter towards the second-highest cell; ``dark``: a
            Newton step on the logarithm of the blurred map; ``logits``: one on the map itself, for a cross-entropy.
        blur: width of the Gaussian before it, in cells; odd, and 1 for none.
        stride: input pixels a cell.
        offset: input pixels from the first pixel's centre to the first cell's.

    Raises:
        UsageError: an impossible value; says which.
    """

    kind: str = "logits"
    blur: int = 1
    stride: int = 4
    offset: float = 1.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"There is no decoding {self.kind!r} of heatmaps.", f"Known are {', '.join(KINDS)}.")
        whole = all(type(value) is int and value > 0 for value in (self.blur, self.stride))
        placed = isinstance(self.offset, (int, float)) and math.isfinite(self.offset)
        if not (whole and placed and self.blur % 2):
            told = f"a blur of {self.blur!r}, a stride of {self.stride!r} and an offset of {self.offset!r}"
            raise UsageError(
                f"A decoding with {told} makes no sense.",
                "The blur is an odd number of cells, stride and offset are pixels, the stride whole and above 0.",
            )

    def to_dict(self) -> JsonObject:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: ReadJson) -> Decoding:
        """Read what :meth:`to_dict` gives; what is not said has its default.

        Raises:
            UsageError: an unknown key, or an impossible value.
        """
        if not isinstance(values, Mapping):
            raise UsageError(f"The decoding is {values!r}; it should be a table.", "Train or export again.")
        unknown = [key for key in values if key not in asdict(cls())]
        if unknown:
            raise UsageError(f"The decoding of heatmaps has no {unknown[0]!r}.", "Update trtparse.")
        return cls(**values)


SURE = 0.5
"""The score from which a box is somebody, where nothing was chosen for a finder's weights."""

LOGITS = Decoding()
"""Of what is trained here with a cross-entropy over cells."""

DARK = Decoding("dark", 11)
"""Of what is trained here with Gaussians at sub-pixel centres."""

HRNET = Decoding("sign-shift", offset=0.0)
"""Of the checkpoints that HRNet's authors released."""

MSPN = Decoding("second-highest", 5, offset=2.0)
"""Of those of MSPN's authors, trained on COCO; on MPII they blur by 9."""


def refuse_sure(sure: float | None, source: str) -> None:
    """See that nobody chooses the score from which a box is somebody, of what has no boxes.

    Raises:
        UsageError: somebody does.
    """
    if sure is not None:
        raise UsageError(f"{source} finds nobody: --sure is about a finder's scores.", "Leave --sure out.")
