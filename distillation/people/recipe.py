"""The recipe of a finder's training: every value in one TOML file that says ``task = "people"``.

    task = "people"
    [data]
    root = "people"
    [[data.train]]
    boxes = "street.json"
    images = "street"

Tables and errors are those of the parsing recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ...errors import UsageError
from ...networks.finder import MULTIPLE
from ...specs.origin import Origin
from ...storage.json_types import ReadJson
from ..recipe import Network, Optimizer
from ..tables import RecipeTables, from_table, impossible, to_table
from .mosaics import Mosaics


def shipped_people() -> dict[str, Path]:
    """The recipes of finders that come with the package, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_people_recipe(path: Path, values: ReadJson) -> PeopleRecipe:
    """The recipe of tables that were read; ``data.root`` and ``network.initial`` are relative to the file's folder.

    Args:
        path: where they were read.
        values: tables of a recipe.

    Raises:
        UsageError: as :meth:`PeopleRecipe.from_dict`.
    """
    folder = path.resolve().parent
    recipe = PeopleRecipe.from_dict(values)
    initial = str(folder / recipe.network.initial) if recipe.network.initial else ""
    return replace(
        recipe,
        data=replace(recipe.data, root=str(folder / recipe.data.root)),
        network=replace(recipe.network, initial=initial),
    )


@dataclass(frozen=True)
class PeopleSource:
    """Images with people to learn from.

    Args:
        boxes: COCO's detection annotations, with scores or without, as ``trtparse find`` writes them.
        images: folder of the images.
        weight: how often one of these images comes, against one of weight 1.
        empty: images in which nobody was found show nobody. Where every image is known to show somebody, a detector
            that finds nobody has missed them: without ``empty`` such images are left out.
    """

    boxes: str
    images: str = ""
    weight: float = 1.0
    empty: bool = False

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise UsageError(f"The recipe's data.train.weight is {self.weight}; it must be more than 0.")


@dataclass(frozen=True)
class PeopleData:
    """What is learnt from, and what the checkpoint is chosen on.

    Args:
        root: folder that the other paths are in; empty: the recipe's own.
        train: sources.
        rendered: people drawn by the computer beside them.
        rendered_weight: how often one of them comes.
        scenery: scenes drawn by the computer without anybody, for backgrounds.
        validation: sources; of none, other rendered people.
        mosaics: of the validation's images, on which it is measured.
    """

    root: str = ""
    train: tuple[PeopleSource, ...] = ()
    rendered: int = 0
    rendered_weight: float = 1.0
    scenery: int = 100
    validation: tuple[PeopleSource, ...] = ()
    mosaics: int = 256

    def __post_init__(self) -> None:
        if self.scenery < 1 or self.mosaics < 1 or self.rendered < 0 or not self.rendered_weight > 0:
            raise UsageError("The recipe's data needs scenery and mosaics of 1 or more, and rendered of 0 or more.")


@dataclass(frozen=True)
class PeopleLoss:
    """What the targets ask for.

    Args:
        boxes: weight of the generalised intersection over union (Rezatofighi et al., CVPR 2019).
        distances: weight of the difference between logarithms of distances.
    """

    boxes: float = 2.0
    distances: float = 0.5

    def __post_init__(self) -> None:
        if self.boxes < 0 or self.distances < 0 or self.boxes + self.distances == 0:
            raise UsageError("The recipe's loss.boxes and loss.distances must be 0 or more, and not both 0.")


@dataclass(frozen=True)
class PeopleRecipe:
    """A whole run.

    Args:
        steps: optimiser steps in all.
        batch: mosaics a step.
        input_size: (height, width), multiples of 32.
        task: always ``people``.
        data, network, optimizer, loss, mosaics: see there.
        seed: of weights, order and mosaics.
        validate_every, save_every: steps.
        precision: as of a parsing recipe.
        origin: what the weights come from, for their header; it has no part in how they become.
    """

    steps: int = 4000
    batch: int = 32
    input_size: tuple[int, int] = (192, 320)
    task: Literal["people"] = "people"
    data: PeopleData = field(default_factory=PeopleData)
    network: Network = field(default_factory=lambda: Network("finder"))
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: PeopleLoss = field(default_factory=PeopleLoss)
    mosaics: Mosaics = field(default_factory=Mosaics)
    seed: int = 0
    validate_every: int = 250
    save_every: int = 100
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if any(side < MULTIPLE or side % MULTIPLE for side in self.input_size):
            size = "x".join(str(side) for side in self.input_size)
            raise UsageError(f"The recipe's input_size is {size}; it must be of multiples of {MULTIPLE}.")
        if min(self.steps, self.batch, self.validate_every, self.save_every) < 1:
            raise UsageError("The recipe's steps, batch, validate_every and save_every must be 1 or more.")
        if self.seed < 0:
            raise impossible("seed", self.seed, "0 or more")
        if self.network.backbone:
            raise UsageError("A finder has no trunk of its own: network.backbone is not for it.", "Take initial.")

    def to_dict(self) -> RecipeTables:
        """As JSON and TOML have it."""
        return to_table(self)

    @classmethod
    def from_dict(cls, values: ReadJson) -> PeopleRecipe:
        """Read a table.

        Raises:
            UsageError: an unknown key or an impossible value; the message names the key.
        """
        return from_table(cls, values, "")
