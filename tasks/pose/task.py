"""Poses as a task: where the joints of one person are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ...data.crops import Placement
from ...data.dataset import Images
from ...engines.base import Arrays, Frames, OutputSpec
from ...engines.machine.dependencies import require
from ...errors import UsageError
from ...specs.decoding import LOGITS, Decoding
from ...specs.label_set import LabelSet
from ...specs.skeleton import Skeleton
from ...specs.spec import Spec, joints_meant
from ...storage.json_types import JsonObject, ReadJson
from .. import scoring
from ..base import Ask, Task
from ..coco import Results
from ..drawing import Part
from ..figure import Closeness, Figure
from ..people.person import Person
from ..people.rows import rows_of_people
from ..predictor import Predictor
from ..protocol import Protocol
from .data import open_data
from .decoding import decode
from .detected import in_boxes
from .draw import draw_pose
from .drawer import PoseDrawer, PoseSight
from .images import PersonImages, people_of
from .keypoint_file import Everybody, coco_results, decode_joints, encode_joints, told_joints
from .metrics import LIMB_JOINTS
from .oks import AREA_OF_BOX, LEAST_SCORE, of_joints, person_scores
from .pictures import DIFFERS_RGB
from .scoring import AP, PCK, Agreement, Keypoints, Scorer, Scores, check_measurable

if TYPE_CHECKING:
    import onnx

_BOX_OF_FRAME = 1.25
"""Sides of a frame over those of the person's box in it, roughly: what parity takes for the person's area."""


_MEASURE = (
    "a joint is right within 0.2 of the person's longer shoulder\N{EN DASH}hip diagonal, 10 pixels at the least; "
    "over the twelve limb joints of the people who have one, boxes given, all joints alike. The agreement is the "
    f"mean OKS with {{reference}}'s answers over the joints that it scores at {LEAST_SCORE:g} or more"
)


@dataclass(frozen=True)
class Pose(Task[Keypoints]):
    """The joints of one person: (K, 3) float32, x and y in pixels and a score.

    Args:
        skeleton: the joints.
        decoding: how raw heatmaps become joints; engines do it themselves, but for test-time augmentation.
    """

    skeleton: Skeleton
    decoding: Decoding = LOGITS
    name: ClassVar[str] = "pose"
    figure: ClassVar[Figure] = Figure(PCK, PCK, "PCK", "joint", "joints", "joints", _MEASURE)
    scores_class: ClassVar[type[Scores]] = Scores
    agreement_class: ClassVar[type[Agreement]] = Agreement
    closeness: ClassVar[Closeness] = Closeness(
        "keypoint_agreement", "joints", {"fp32": 0.9995, "fp16": 0.98, "int8": 0.80, "int8-cpu": 0.80}
    )
    spec_class: ClassVar[type[Skeleton]] = Skeleton
    spec_words: ClassVar[str] = "skeleton"
    ending: ClassVar[str] = ".json"
    results: ClassVar[Results] = Results("keypoints.json", coco_results)
    flicker_words: ClassVar[str] = "of their height that people's joints move a frame where the picture stands still"
    covers: ClassVar[bool] = False

    @classmethod
    def of_manifest(cls, spec: Spec, options: ReadJson) -> Pose:
        return cls(cast(Skeleton, spec), Decoding.from_dict(options.get("decoding", {})))

    @classmethod
    def of_graph(cls, model: onnx.ModelProto, meant: Spec | None, path: Path) -> Pose:
        from ...graphs.interface import skeleton_of

        return cls.of_manifest(skeleton_of(model, joints_meant(meant, path), path), _told(model))

    def options_of(self, model: onnx.ModelProto) -> JsonObject:
        return _told(model)

    @property
    def spec(self) -> Skeleton:
        return self.skeleton

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the joints."""
        return self.skeleton.joints

    @property
    def legend(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        return (*zip(self.skeleton.joints, self.skeleton.colours), ("differs", DIFFERS_RGB))

    @property
    def parts(self) -> Mapping[int, Part]:
        """The joints."""
        joints = zip(self.skeleton.joints, self.skeleton.colours)
        return {number: Part(name, colour, "joints") for number, (name, colour) in enumerate(joints)}

    def drawer(self, frame_size: tuple[int, int], fps: float, *, smooth: bool = False) -> PoseDrawer:
        return PoseDrawer(self.skeleton, frame_size, smooth=smooth)

    def drawn(self, image: NDArray[np.uint8], answer: Keypoints, placement: Placement) -> NDArray[np.uint8]:
        canvas: NDArray[np.uint8] = image.copy()
        draw_pose(canvas, answer, self.skeleton)
        return canvas

    def together(
        self,
        answers: Sequence[Keypoints],
        placements: Sequence[Placement],
        people: Sequence[Person],
        image_size: tuple[int, int],
    ) -> Everybody:
        """Everybody's joints, with the boxes that they were looked for in."""
        return Everybody(rows_of_people(people), self.everybody(answers, placements, people, image_size), self.skeleton)

    def drawn_together(
        self,
        image: NDArray[np.uint8],
        answers: Sequence[Keypoints],
        placements: Sequence[Placement],
        people: Sequence[Person],
    ) -> NDArray[np.uint8]:
        canvas: NDArray[np.uint8] = image.copy()
        size = (image.shape[0], image.shape[1])
        poses = self.everybody(answers, placements, people, size)
        sight = PoseSight({person.id: joints for person, joints in zip(people, poses)}, self.skeleton)
        PoseDrawer(self.skeleton, size).draw(canvas, sight, people=tuple(people))
        return canvas

    def encode(self, answer: Keypoints | Everybody, record: str = "") -> bytes:
        """JSON with x, y and score of every joint; of everybody with their boxes."""
        return encode_joints(answer, self.skeleton, record)

    def decode(self, data: bytes, path: str) -> tuple[str | None, Keypoints | Everybody | None]:
        return decode_joints(data, self.skeleton)

    def tensor(self, *, people: bool = False) -> OutputSpec:
        """(K, 3) float32, of everybody (P, K, 3)."""
        each = (len(self.skeleton), 3)
        return OutputSpec("keypoints", "float32", (None, *each) if people else each)

    def in_words(self, answer: Keypoints, *, people: bool = False) -> JsonObject:
        """The person's score, and x, y and score of each joint by its name; of everybody, in ``poses``."""
        if people:
            return {"poses": [self.in_words(one) for one in answer]}
        score = round(float(person_scores(answer[None], np.ones(1))[0]), 4)
        return {"score": score, "keypoints": told_joints(answer, self.skeleton)}

    def amounts(self, answer: Keypoints | Everybody, path: str = "") -> tuple[int, ...]:
        """In how many people each joint is seen."""
        joints = answer.joints if isinstance(answer, Everybody) else answer[None]
        return tuple(int(number) for number in (joints[..., 2] >= LEAST_SCORE).sum(axis=0))

    def unpack(self, arrays: Arrays) -> list[Keypoints]:
        """(K, 3) float32 of each frame, of the ``keypoints`` (N, K, 3) that an engine gives.

        Raises:
            UsageError: arrays of another kind, of another number of joints, or a joint that is nowhere.
        """
        found = arrays[0] if arrays else None
        wanted = f"(N, {len(self.skeleton)}, 3) float32 keypoints"
        if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape[1:] != (len(self.skeleton), 3):
            told = f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else "nothing"
            hint = f"Use a graph of {self.skeleton.name} that trtparse build wrote."
            raise UsageError(f"returned {told} instead of {wanted}.", hint)
        if not np.isfinite(found).all():
            raise UsageError("placed joints nowhere: not a number.", "Build it again with --fp32, and look there.")
        return list(found)

    def restore(self, answer: Keypoints, placement: Placement) -> Keypoints:
        """(K, 3) in pixels of the image."""
        return np.column_stack([placement.to_image(answer[:, :2]), answer[:, 2]]).astype(np.float32)

    def everybody(
        self,
        answers: Sequence[Keypoints],
        placements: Sequence[Placement],
        people: Sequence[Person],
        image_size: tuple[int, int],
    ) -> NDArray[np.float32]:
        """(P, K, 3): the joints of each of several people, in pixels of their image."""
        restored = [self.restore(answer, placement) for answer, placement in zip(answers, placements)]
        return np.array(restored, np.float32).reshape(-1, len(self.skeleton), 3)

    def scorer(self, dataset: Images, whose: str = "the network") -> Scorer:
        people = people_of(dataset)
        if dataset.labelled:
            if people is None:
                raise UsageError(
                    f"The labels of {dataset.description} are no joints.", "Give --data people with their joints."
                )
            check_measurable(people)
            if not set(LIMB_JOINTS) & set(people.skeleton.joints) & set(self.skeleton.joints):
                raise UsageError(
                    f"{whose} finds the joints of {self.skeleton.name}, and {dataset.description} has those of "
                    f"{people.skeleton.name}: no limb joint is in both.",
                    "Joints go together by their names, such as left_wrist.",
                )
            self._check_figure(people, whose)
        return Scorer(self.skeleton, dataset, self.figure.name)

    def _check_figure(self, people: PersonImages, whose: str) -> None:
        """See that what budgets go by can be measured on people."""
        if people.unboxed is not None:
            raise UsageError(
                "PCK is measured in given boxes: with a detector's it would leave out whom the detector missed.",
                f"Give --figure {AP}, or leave --boxes out.",
            )

    def open_data(
        self,
        data: str | None,
        split: str | None,
        purpose: str,
        labels: str | Spec | None = None,
        whose: str = "the network",
    ) -> Images:
        if isinstance(labels, LabelSet):
            raise UsageError(f"{labels} is no skeleton.", "Give --labels the joints of the annotations.")
        return open_data(data, split, purpose, labels)

    def in_boxes(self, dataset: Images, boxes: Path) -> Images:
        people = people_of(dataset)
        if people is None:
            raise UsageError(f"{dataset.description} has no people.", "Leave --boxes out.")
        return in_boxes(people, boxes)

    def measured_by(self, word: str) -> Pose:
        known: dict[str, type[Pose]] = {PCK: Pose, AP: PoseByAp}
        found = next((kind for name, kind in known.items() if word.lower() in (name.lower(), name[:3].lower())), None)
        if found is None:
            raise UsageError(f"Poses have no figure {word!r}.", f"Give --figure {' or '.join(known)}.")
        return found(self.skeleton, self.decoding)

    def notes(
        self, reference: scoring.Scores | None, scores: scoring.Scores | None, agreement: scoring.Agreement, whose: str
    ) -> Sequence[str]:
        found = cast("Scores | None", scores)
        lines = [] if found is None else [f"{line}." if not line.endswith(".") else line for line in found.told]
        unsure = [self.skeleton.joints[number] for number in agreement.left_out]
        over = f"The agreement goes over the joints that {whose} scores at {LEAST_SCORE:g} or more"
        return [*lines, f"{over}; it is never sure of {', '.join(unsure)}." if unsure else f"{over}."]

    def check_protocol(self, protocol: Protocol, predictors: Sequence[Predictor[Any]]) -> None:
        self.order_of(protocol)
        if protocol.scales != (1.0,):
            raise UsageError("Poses are looked at in one scale.", "Leave --scales out; --flip is for poses as well.")
        for predictor in predictors:
            if protocol.flip and not predictor.engine.gives_raw:
                raise UsageError(
                    f"The flip test needs heatmaps, and {predictor.name} gives joints alone.",
                    "Build the bundle with its heatmaps as a second output: trtparse build --logits",
                )

    @contextlib.contextmanager
    def asking(self, predictor: Predictor[Any], protocol: Protocol) -> Iterator[Ask]:
        def flipped(frames: Frames) -> list[Keypoints]:
            plain = predictor.engine.raw(frames)
            mirrored = predictor.engine.raw(np.ascontiguousarray(frames[:, :, ::-1]))
            return list(decode((plain + self.mirrored(mirrored)) / np.float32(2), self.decoding))

        yield flipped if protocol.flip else predictor.infer

    def mirrored(self, heatmaps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Heatmaps of mirror images, as those of the images: columns turned round, left and right joints exchanged.

        Where cells are not counted by their centres the mirror moves them, as far as a whole cell; HRNet's by one.
        """
        turned = heatmaps[:, list(self.skeleton.flip_order), :, ::-1]
        step = round((self.decoding.stride - 1 - 2 * self.decoding.offset) / self.decoding.stride)
        if step > 0:
            turned = np.concatenate([turned[..., :step], turned[..., :-step]], -1)
        return np.ascontiguousarray(turned)

    def agreement(self, found: Arrays, expected: Arrays) -> NDArray[np.float64]:
        """(N,) how alike two engines' joints are: the OKS over those that the other is sure of.

        A joint of which ``expected`` is not sure counts as alike where ``found`` is not sure of it either.
        """
        one, other = found[0], expected[0]
        # The person's area is not known here; in a frame it is about as large for everybody.
        side = np.percentile(np.abs(other[..., :2]), 99) / _BOX_OF_FRAME if other.size else 1.0
        areas = np.full(len(other), AREA_OF_BOX * max(float(side), 1.0) ** 2)
        alike = of_joints(other, one, np.array(self.skeleton.sigmas), areas)
        sure = other[..., 2] >= LEAST_SCORE
        neither = np.where(one[..., 2] < 2 * LEAST_SCORE, 1.0, 0.0)
        return np.asarray(np.where(sure, alike, neither).mean(1))


def _told(model: onnx.ModelProto) -> ReadJson:
    """How a graph says that it has decoded its heatmaps; nothing of one that never had any."""
    from ...graphs.index import property_of

    decoding = property_of(model, "decoding")
    return {"decoding": json.loads(decoding)} if decoding else {}


@dataclass(frozen=True)
class PoseByAp(Pose):
    """The same, with COCO's AP as the figure that budgets, tolerances and intervals go by."""

    figure: ClassVar[Figure] = Figure(
        AP,
        AP,
        "PCK",
        "joint",
        "joints",
        "joints",
        "COCO's average precision over similarities (OKS) of 0.50 to 0.95, boxes given, by faster-coco-eval; its "
        f"interval draws images anew. Of each joint stands the PCK: {_MEASURE}",
    )

    def _check_figure(self, people: PersonImages, whose: str) -> None:
        require("faster_coco_eval")
        if people.skeleton.joints != self.skeleton.joints:
            raise UsageError(
                f"AP cannot be measured: the labels of {people.description} have the joints of {people.skeleton.name}, "
                f"{whose} those of {self.skeleton.name}.",
                f"Give --figure {PCK}, which goes by the joints that both have.",
            )
