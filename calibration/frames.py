"""From a dataset's images to the frames that a network sees, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..data.crops import place
from ..data.dataset import Image, Images
from ..errors import DataError
from ..specs.framing import Framing


def letterboxed(
    dataset: Images,
    indices: Iterable[int],
    framing: Framing,
    *,
    strict: bool = False,
    skipped: list[tuple[str, str]] | None = None,
) -> Iterator[tuple[str, Image]]:
    """(name, (H, W, 3) uint8 BGR frame) of each image, placed as for inference.

    Args:
        dataset: raw images.
        indices: of the images, in the order wanted.
        framing: how images become frames.
        strict: an unreadable image is an error.
        skipped: gets (name, reason) of each image that cannot be read, where it is not.

    Raises:
        DataError: an unreadable image with ``strict``.
    """
    for index in indices:
        try:
            sample = dataset[index]
        except DataError as error:
            if strict:
                raise
            if skipped is not None:
                skipped.append((dataset.names[index], error.message))
            continue
        placement = place(framing, (sample.image.shape[0], sample.image.shape[1]), sample.box)
        yield sample.name, placement.apply(sample.image)
