"""The recipe of a pose training: every value in one TOML file that says ``task = "pose"``.

    task = "pose"
    [data]
    root = "coco"
    [[data.train]]
    labels = "annotations/person_keypoints_train2017.json"
    images = "train2017"
    [[phases]]
    input_size = "256x192"
    steps = 40000

Tables and errors are those of the parsing recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ...errors import UsageError
from ...specs.decoding import DARK, LOGITS, Decoding
from ...specs.origin import Origin
from ...storage.json_types import ReadJson
from ...tasks.pose.augmentation import PoseAugmentation
from ...tasks.pose.examples import Trust
from ..recipe import Network, Optimizer
from ..tables import RecipeTables, above, at_least_zero, from_table, impossible, to_table


def shipped_pose() -> dict[str, Path]:
    """The recipes of pose that come with the package, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_pose_recipe(path: Path, values: ReadJson) -> PoseRecipe:
    """The recipe of tables that were read; ``data.root`` and the checkpoints in it are relative to the file's folder.

    Args:
        path: where they were read.
        values: tables of a recipe.

    Raises:
        UsageError: as :meth:`PoseRecipe.from_dict`.
    """
    folder = path.resolve().parent
    recipe = PoseRecipe.from_dict(values)

    def placed(name: str) -> str:
        return str(folder / name) if name else ""

    return replace(
        recipe,
        data=replace(recipe.data, root=str(folder / recipe.data.root)),
        network=replace(
            recipe.network, initial=placed(recipe.network.initial), backbone=placed(recipe.network.backbone)
        ),
        distillation=replace(
            recipe.distillation, teachers=tuple(placed(teacher) for teacher in recipe.distillation.teachers)
        ),
    )


@dataclass(frozen=True)
class PoseSource:
    """People to learn from.

    Args:
        labels: annotations by hand; empty for people that a teacher alone has seen.
        format: of ``labels``: ``coco`` (also one's own skeleton), ``mpii`` as HRNet has it, or ``lip``.
        taught: COCO annotations that a teacher made, with scores and with the recipe's joints; empty: none.
        images: folder of the images.
        weight: how often one of these people comes, against one of weight 1.
    """

    labels: str = ""
    format: Literal["coco", "mpii", "lip"] = "coco"
    taught: str = ""
    images: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (self.labels or self.taught):
            raise UsageError("A source of the recipe has neither labels nor taught.", "Name a file of annotations.")
        if not self.weight > 0:
            raise UsageError(f"The recipe's data.train.weight is {self.weight}; it must be more than 0.")


@dataclass(frozen=True)
class PoseData:
    """What is learnt from, and what the checkpoint is chosen on.

    Args:
        root: folder that the other paths are in; empty: the recipe's own.
        train: sources.
        rendered: people drawn by the computer beside them, with their joints.
        rendered_weight: how often one of them comes.
        validation: annotations by hand; empty: 64 other rendered people.
        validation_format: as of a source.
        validation_images: folder of their images.
    """

    root: str = ""
    train: tuple[PoseSource, ...] = ()
    rendered: int = 0
    rendered_weight: float = 1.0
    validation: str = ""
    validation_format: Literal["coco", "mpii", "lip"] = "coco"
    validation_images: str = ""

    def __post_init__(self) -> None:
        at_least_zero(self, "data.", "rendered")
        above(self, "data.", rendered_weight=0)


@dataclass(frozen=True)
class Phase:
    """A part of a run at one input size: small inputs first are several times as many images in the same time.

    Args:
        input_size: (height, width), multiples of 32.
        batch: people a step.
        steps: of this phase.
        sigma: of the target's Gaussians, in cells of the finest heatmap.
    """

    input_size: tuple[int, int] = (256, 192)
    batch: int = 32
    steps: int = 1000
    sigma: float = 2.0

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 for side in self.input_size):
            size = "x".join(str(side) for side in self.input_size)
            raise UsageError(f"The recipe's phases.input_size is {size}; it must be of multiples of 32.")
        if self.batch < 1 or self.steps < 1 or not self.sigma > 0:
            raise UsageError("The recipe's phases need batch, steps and sigma above 0.")


@dataclass(frozen=True)
class PoseLoss:
    """What the targets ask for.

    Args:
        kind: ``cross-entropy`` over each heatmap's cells, for small data; ``mse``, HRNet's; ``ohkm``, MSPN's: MSE, and
            on the finest unit of the ``hardest`` joints alone.
        stage: weight of the stages before the last. Within a stage the network's own weights hold.
        finer: targets of coarser units are wider, as MSPN has them.
        hardest: joints a person that ``ohkm`` keeps.
    """

    kind: Literal["cross-entropy", "mse", "ohkm"] = "cross-entropy"
    stage: float = 1.0
    finer: bool = True
    hardest: int = 8

    def __post_init__(self) -> None:
        if self.stage < 0 or self.hardest < 1:
            raise UsageError("The recipe's loss needs a stage of 0 or more, and hardest of 1 or more.")


@dataclass(frozen=True)
class PoseDistillation:
    """What teachers' heatmaps ask for; without teachers, nothing.

    Args:
        teachers: checkpoints of pose networks with the recipe's joints: none, one or two.
        shares: of each teacher, in sum 1; empty: equal.
        alpha: the teachers' share of the loss.
        all_joints: let teachers speak about joints without a label as well.
        mse, kl: weights of the teachers' two terms.
        temperature: of the KL.
    """

    teachers: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    alpha: float = 0.5
    all_joints: bool = False
    mse: float = 1.0
    kl: float = 0.0
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.mse < 0 or self.kl < 0 or not self.temperature > 0:
            raise UsageError(
                "The recipe's distillation cannot be as it is.",
                "alpha lies from 0 to 1, mse and kl at 0 or more, temperature above 0.",
            )
        if self.shares and (len(self.shares) != len(self.teachers) or abs(sum(self.shares) - 1) > 1e-6):
            raise UsageError("The recipe's distillation.shares must be one a teacher, in sum 1.", "Or leave them out.")


@dataclass(frozen=True)
class PoseRecipe:
    """A whole run.

    Args:
        phases: one after the other under one schedule of the learning rate.
        skeleton: joints of the network: a name or a file, as :func:`~trtparse.specs.skeleton.load_skeleton` takes.
        task: always ``pose``.
        data, network, optimizer, loss, augmentation, distillation, trust: see there. ``network.backbone`` is the
            trunk of an HRNet under another head.
        crop: family whose crop rule is taken: ``trtparse``, ``hrnet`` or ``mspn``.
        origin: what the weights come from, for their header.
        seed: of weights, order and augmentation.
        validate_every, save_every: steps.
        precision: as of a parsing recipe.
    """

    phases: tuple[Phase, ...] = (Phase(),)
    skeleton: str = "coco17"
    task: Literal["pose"] = "pose"
    data: PoseData = field(default_factory=PoseData)
    network: Network = field(default_factory=lambda: Network("l-mspn"))
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: PoseLoss = field(default_factory=PoseLoss)
    augmentation: PoseAugmentation = field(default_factory=PoseAugmentation)
    distillation: PoseDistillation = field(default_factory=PoseDistillation)
    trust: Trust = field(default_factory=Trust)
    crop: Literal["trtparse", "hrnet", "mspn"] = "trtparse"
    origin: Origin = field(default_factory=Origin)
    seed: int = 0
    validate_every: int = 500
    save_every: int = 200
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    def __post_init__(self) -> None:
        if not self.phases:
            raise UsageError("The recipe has no phases.", "Add [[phases]] with input_size and steps.")
        if self.seed < 0:
            raise impossible("seed", self.seed, "0 or more")
        if self.validate_every < 1 or self.save_every < 1:
            raise UsageError("The recipe's validate_every and save_every must be 1 or more.")
        if self.loss.kind == "cross-entropy" and self.distillation.teachers and self.distillation.mse > 0:
            raise UsageError(
                "The recipe's distillation.mse compares heatmaps, and with loss.kind = cross-entropy there are logits.",
                "Take distillation.mse=0, kl=1 and temperature=1 with teachers that were trained so.",
            )

    @property
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def decoding(self) -> Decoding:
        """How the heatmaps of a network that was trained so become points."""
        return LOGITS if self.loss.kind == "cross-entropy" else DARK

    def at(self, step: int) -> tuple[Phase, int]:
        """The phase of a step, and how many people the steps before it have shown."""
        shown = 0
        for phase in self.phases:
            if step < phase.steps:
                return phase, shown + step * phase.batch
            step -= phase.steps
            shown += phase.steps * phase.batch
        return self.phases[-1], shown

    def to_dict(self) -> RecipeTables:
        """As JSON and TOML have it."""
        return to_table(self)

    @classmethod
    def from_dict(cls, values: ReadJson) -> PoseRecipe:
        """Read a table.

        Raises:
            UsageError: an unknown key or an impossible value; the message names the key.
        """
        return from_table(cls, values, "")
