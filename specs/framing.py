"""A framing: how an image becomes what a network sees, and how its answers go back onto the image.

A network sees images as it was trained to see them. So a framing travels with the weights, into the graph's metadata,
the manifests of bundle and engine, and every result; two engines of different framings are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson

MOST_STRETCH = 100.0
"""Fills any input with any photograph; a number, as JSON has no infinity."""

SMALLEST_SIDE, LARGEST_SIDE = 1, 16384

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1: what torchvision's trunks are trained with."""

ORDERS = ("RGB", "BGR")

RETURNS = ("labels", "logits")
"""What goes back from a frame onto its image."""

PLACES = ("middle", "upper left")
"""Where an image lies in a frame that it does not fill."""


@dataclass(frozen=True)
class CropRule:
    """How much of an image around a box the network sees.

    The box is enlarged, then made as wide or as high as the input's shape asks for, so nothing is stretched.

    Args:
        across, down: factors of the box's width and height.
        half_pixel: map the box's middle to the middle of the input's pixels. HRNet's and MSPN's code maps it half a
            pixel further right and down, and weights that were trained so need that.

    Raises:
        UsageError: a factor that is not above 0.
    """

    across: float = 1.25
    down: float = 1.25
    half_pixel: bool = True

    def __post_init__(self) -> None:
        factors: tuple[object, ...] = (self.across, self.down)
        if not all(isinstance(factor, (int, float)) and 0 < factor <= MOST_STRETCH for factor in factors):
            raise UsageError(f"A crop of {factors} times a box makes no sense.", "Factors lie above 0, such as 1.25.")


@dataclass(frozen=True)
class Framing:
    """How an image becomes a frame, and a frame what the network computes with.

    Args:
        input_size: (height, width) of the frames.
        stretch: one side of an image may grow so many times as much as the other to fill the frame. 1 keeps the
            image's shape.
        order: of the channels that the network computes with, ``RGB`` or ``BGR``; frames are always BGR.
        mean, std: of these channels, in their order, of values from 0 to 1. They are part of the graph.
        returns: what goes back onto the image, ``labels``, by the nearest pixel, or ``logits``, bilinearly and before
            their argmax, as SCHP's and SegFormer's authors do it.
        crop: how much around a person's box makes a frame, where the network sees one person at a time; None where it
            sees whole images.
        place: where a whole image lies in a frame that it does not fill, one of ``PLACES``.
        fill: the grey of what is left there, from 0, black, to 255.

    Raises:
        UsageError: an impossible value; says which.
    """

    input_size: tuple[int, int]
    stretch: float = 1.0
    order: str = "RGB"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    returns: str = "labels"
    crop: CropRule | None = None
    place: str = "middle"
    fill: int = 0

    def __post_init__(self) -> None:
        if len(self.input_size) != 2 or not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in self.input_size):
            raise UsageError(f"An input of {self.input_size} makes no sense.", "It takes a height and a width.")
        stretch: object = self.stretch
        if not isinstance(stretch, (int, float)) or not 1 <= stretch <= MOST_STRETCH:
            raise UsageError(
                f"A stretch of {stretch!r} makes no sense.", f"1 keeps shapes, {MOST_STRETCH:g} is the most."
            )
        if self.order not in ORDERS:
            raise UsageError(f"There is no order of channels {self.order!r}.", f"Choose {' or '.join(ORDERS)}.")
        if self.returns not in RETURNS:
            raise UsageError(f"Nothing called {self.returns!r} goes back.", f"Choose {' or '.join(RETURNS)}.")
        if self.place not in PLACES:
            raise UsageError(f"There is no place {self.place!r} in a frame.", f"Choose {' or '.join(PLACES)}.")
        fill: object = self.fill
        if not isinstance(fill, int) or not 0 <= fill <= 255:
            raise UsageError(f"A fill of {fill!r} makes no sense.", "It is a grey from 0, black, to 255.")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise UsageError(f"A mean of {self.mean} and std of {self.std}: each has three numbers.")
        if not all(deviation > 0 for deviation in self.std):
            raise UsageError(f"A standard deviation of {self.std} makes no sense.", "Each lies above 0.")

    def __str__(self) -> str:
        height, width = self.input_size
        stretched = f", stretched up to {self.stretch:g} times" if self.stretch != 1 else ""
        return f"{height}x{width}{stretched}"

    def resized(self, input_size: tuple[int, int]) -> Framing:
        """The same for frames of another (height, width)."""
        return replace(self, input_size=input_size)

    def stretched(self, stretch: float) -> Framing:
        """The same with another stretch."""
        return replace(self, stretch=stretch)

    def preprocessing(self) -> JsonObject:
        """What a graph's metadata and a bundle's manifest say of it, in JSON's types; without the size."""
        return {
            "frames": "NHWC uint8 BGR",
            "stretch": self.stretch,
            "order": self.order,
            "mean": list(self.mean),
            "std": list(self.std),
            **({} if self.returns == "labels" else {"returns": self.returns}),
            "where": "in the graph",
            **({} if self.crop is None else {"crop": asdict(self.crop)}),
            **({} if self.place == "middle" else {"place": self.place}),
            **({} if self.fill == 0 else {"fill": self.fill}),
        }

    @classmethod
    def of_preprocessing(cls, input_size: tuple[int, int], told: ReadJson | str) -> Framing:
        """The inverse of :meth:`preprocessing`. What is not told, as in files of older versions, has its default.

        Args:
            input_size: (height, width).
            told: or JSON of it, as a graph's metadata has it; empty where it has none.

        Raises:
            UsageError: an impossible value, or no JSON.
        """
        if isinstance(told, str):
            try:
                told = dict(json.loads(told or "{}"))
            except (ValueError, TypeError) as error:
                raise UsageError(f"The preprocessing is no JSON object: {error}.", "Export the graph again.") from error
        names = ("stretch", "order", "mean", "std", "returns", "place", "fill")
        known = {name: told[name] for name in names if name in told}
        for name in ("mean", "std"):
            if name in known:
                known[name] = _three(name, known[name])
        if "crop" in told:
            known["crop"] = _crop(told["crop"])
        return cls((input_size[0], input_size[1]), **known)


def _crop(told: Any) -> CropRule | None:
    if told is None:
        return None
    if not isinstance(told, Mapping) or set(told) - {"across", "down", "half_pixel"}:
        raise UsageError(f"The crop is {told!r}; it has across, down and half_pixel.", "Export the graph again.")
    return CropRule(**told)


def _three(name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, (int, float)) for value in values):
        raise UsageError(f"The {name} is {values!r}; it has three numbers.", "Export the graph again.")
    return tuple(float(value) for value in values)
