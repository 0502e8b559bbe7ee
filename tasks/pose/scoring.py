"""Poses scored: PCK@0.2, MPII's PCKh@0.5 and COCO's figures against labels, the OKS against a reference's answers.

Answers are (K, 3) float32 in the frame's pixels: x, y and a score. The marks of a person against the truth are how many
joints are right and how many count, (2, K) int64, the number of the person, and the answer in the image's pixels;
against the reference how many joints it is sure of and how many of these are alike, (2, K) int64, and how alike they
are in sum, (K,) float64.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...data.dataset import Images
from ...data.reading import Frame
from ...errors import DataError
from ...specs.skeleton import Skeleton
from .. import scoring
from ..intervals import Loss, Weights, loss_over_images
from ..scoring import Disagreement, Marks
from .average_precision import Evaluation, results
from .images import PersonImages, people_of
from .metrics import LIMB_JOINTS, NOT_IN_PCKH, has_diagonals, judge, judge_by_heads
from .oks import AREA_OF_BOX, LEAST_SCORE, SAME_PERSON, of_joints, similarity
from .people import People, Person
from .pictures import Picture

Keypoints = NDArray[np.float32]
"""(K, 3): x, y and a score."""

PCK, AP = "PCK@0.2", "AP"
"""What budgets, tolerances and intervals may go by."""

PCKH = "PCKh@0.5"


@dataclass(frozen=True)
class Scores(scoring.Scores):
    """How well poses match labels. Everything is a fraction of 1.

    Args:
        pck: over all limb joints of all people who have a shoulder-hip diagonal.
        joints: the same of each joint of the network's skeleton; None of those that do not count.
        figures: COCO's AP and AR with their parts, the mean OKS and MPII's PCKh, where they could be measured.
        told: what a reader has to know of them.
        support: joints counted.
        image_support: people in whom each joint counts.
        images: people.
        by: ``PCK`` or ``AP``, what ``value`` is.
    """

    pck: float
    joints: tuple[float | None, ...]
    figures: dict[str, float]
    told: tuple[str, ...]
    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int
    by: str = PCK

    @property
    def value(self) -> float:
        return self.pck if self.by == PCK else self.figures[self.by]

    @property
    def rows(self) -> tuple[float | None, ...]:
        return self.joints

    @property
    def summary(self) -> tuple[tuple[str, float], ...]:
        return ((PCK, self.pck), *self.figures.items())


@dataclass(frozen=True)
class Agreement(scoring.Agreement):
    """How well poses match those of a reference, over the joints that it scores at 0.2 or more.

    Args:
        oks: mean over people.
        joints: mean similarity of each joint; None of those that it is never sure of.
        alike: share of the joints that are alike by 0.9.
        support: joints that it is sure of.
        image_support: people in whom it is sure of each joint.
        images: people.
    """

    oks: float
    joints: tuple[float | None, ...]
    alike: float
    support: tuple[int, ...]
    image_support: tuple[int, ...]
    images: int

    @property
    def value(self) -> float:
        return self.oks

    @property
    def rows(self) -> tuple[float | None, ...]:
        return self.joints

    @property
    def share(self) -> float:
        return self.alike

    @property
    def summary(self) -> tuple[tuple[str, float], ...]:
        return (("Mean OKS", self.oks), ("Joints alike", self.alike))


class Scorer(scoring.Scorer[Keypoints]):
    """Scores poses of a dataset's people.

    Args:
        skeleton: of the answers.
        dataset: whose people they are of.
        by: ``PCK`` or ``AP``.
    """

    def __init__(self, skeleton: Skeleton, dataset: Images, by: str = PCK) -> None:
        self._skeleton, self._by = skeleton, by
        self._people = people_of(dataset)

    def against_truth(self, frame: Frame, answer: Keypoints) -> Marks | None:
        if frame.labels is None or self._people is None:
            return None
        found = self._in_image(frame, answer)
        judged = judge(frame.labels[None], found[None], self._people.skeleton, self._skeleton)
        counts = np.zeros((2, len(self._skeleton)), np.int64)
        rows = [self._skeleton.index(name) for name in judged.names]
        counts[:, rows] = judged.right[0], judged.counts[0]
        return counts, np.array([frame.index], np.int64), found.astype(np.float64)

    def against_reference(self, frame: Frame, reference: Keypoints, answer: Keypoints) -> Marks:
        sure = reference[:, 2] >= LEAST_SCORE
        area = AREA_OF_BOX * float(np.prod(frame.placement.image_size if frame.box is None else frame.box[2:]))
        expected, found = (self._in_image(frame, one)[None] for one in (reference, answer))
        alike = of_joints(expected, found, np.array(self._skeleton.sigmas), np.array([area]))[0]
        return np.stack([sure, sure & (alike >= SAME_PERSON)]).astype(np.int64), np.where(sure, alike, 0)

    def disagreement(self, marks: Marks) -> tuple[float, float | None]:
        sure = int(marks[0][0].sum())
        return (1 - float(marks[1].sum()) / sure if sure else 0.0), None

    def value(self, marks: Marks) -> float | None:
        right, counted = marks[0].sum(1)
        return float(right / counted) if counted else None

    def truth_tally(self) -> TruthTally:
        return (TruthTally if self._by == PCK else ApTally)(self._skeleton, self._people)

    def agreement_tally(self) -> AgreementTally:
        return AgreementTally(len(self._skeleton))

    def picture(self, frame: Frame, reference: Keypoints, answer: Keypoints) -> Picture:
        truth = None if self._people is None else self._people.skeleton
        labels = None if frame.labels is None else np.asarray(frame.labels)
        if labels is not None:
            labels = np.column_stack([frame.placement.to_frame(labels[:, :2]), labels[:, 2]])
        return Picture(frame.pixels.copy(), labels, truth, reference.copy(), answer.copy(), self._skeleton)

    @staticmethod
    def _in_image(frame: Frame, answer: Keypoints) -> Keypoints:
        return np.column_stack([frame.placement.to_image(answer[:, :2]), answer[:, 2]])


class TruthTally(scoring.TruthTally):
    """Joints that are right and joints that count, and of each person the answer, for COCO's figures."""

    def __init__(self, skeleton: Skeleton, people: PersonImages | None) -> None:
        self._skeleton, self._people = skeleton, people
        self._counts: list[NDArray[np.int64]] = []
        self._answers: dict[int, NDArray[np.float64]] = {}

    def add(self, marks: Marks) -> None:
        counts, number, answer = marks
        self._counts.append(counts)
        self._answers[int(number[0])] = answer
        self.images = len(self._counts)

    @property
    def value(self) -> float | None:
        return self._pck

    @property
    def _pck(self) -> float | None:
        if not self._counts:
            return None
        right, counted = np.sum(self._counts, axis=(0, 2))
        return float(right / counted) if counted else None

    def scores(self) -> Scores:
        value = self._pck
        if value is None:
            raise DataError(
                "No joint could be counted: nobody has a labelled shoulder and the hip across from it.",
                "Give images of people with labelled joints.",
            )
        right, counted = np.sum(self._counts, axis=0)
        by_heads, of_heads = self._by_heads()
        figures, told = self._coco()
        of_people = () if self._people is None else self._people.told
        return Scores(
            value,
            tuple(float(r / c) if c else None for r, c in zip(right, counted)),
            by_heads | figures,
            of_people + of_heads + told,
            tuple(map(int, counted)),
            tuple(map(int, np.sum(self._counts, axis=0)[1])),
            self.images,
        )

    def _by_heads(self) -> tuple[dict[str, float], tuple[str, ...]]:
        """MPII's figure, where the people's heads are known."""
        whole = self._people
        if whole is None or whole.heads is None:
            return {}, ()
        people, answers = self._answered(whole)
        truth = np.stack([person.joints for person in people])
        judged = judge_by_heads(truth, answers, whole.skeleton, self._skeleton, whole.heads[sorted(self._answers)])
        value = judged.pooled().value
        if value is None:
            return {}, (f"No {PCKH}: none of its joints is labelled.",)
        absent = [name for name in whole.skeleton.joints if name not in (*judged.names, *NOT_IN_PCKH)]
        without = f"; the network has no {', '.join(absent)}" if absent else ""
        return {PCKH: value}, (f"{PCKH} is within half of 0.6 of the head box's diagonal{without}.",)

    def _coco(self) -> tuple[dict[str, float], tuple[str, ...]]:
        """COCO's figures, where the labels have the network's joints."""
        whole = self._people
        if whole is None or whole.skeleton.joints != self._skeleton.joints:
            return {}, ("No AP: the labels have other joints than the network.",)
        people, answers = self._answered(whole)
        truth = np.stack([person.joints for person in people])
        areas = np.array([person.area or AREA_OF_BOX * person.box[2] * person.box[3] for person in people])
        oks = similarity(truth, answers, np.array(self._skeleton.sigmas), areas)
        figures = {"Mean OKS": float(np.nanmean(oks))} if np.isfinite(oks).any() else {}
        if importlib.util.find_spec("faster_coco_eval") is None:
            return figures, ("No AP: it takes faster-coco-eval, pip install 'trtparse[pose]'.",)
        evaluation = self._evaluation(whole)
        figures |= {name: value for name, value in evaluation.figures().items() if value is not None}
        return figures, evaluation.told

    def _answered(self, whole: PersonImages) -> tuple[list[Person], Keypoints]:
        """The people that were counted, and the answer for each."""
        numbers = sorted(self._answers)
        answers = np.stack([self._answers[number] for number in numbers]).astype(np.float32)
        return [whole.people[number] for number in numbers], answers

    def _evaluation(self, whole: PersonImages) -> Evaluation:
        """COCO's, of the people that were counted."""
        people, answers = self._answered(whole)
        shown = People(whole.description, whole.skeleton, tuple(people))
        found = results(people, answers, self._skeleton)
        images = [*(person.image_id for person in people), *(whole.unboxed or ())]
        return Evaluation(whole.file or shown, found, self._skeleton, images)

    def loss_of(self, engine: TruthTally) -> Loss:
        reference, other = np.array(self._counts, np.float64), np.array(engine._counts, np.float64)

        def losses(weights: Weights) -> NDArray[np.float64]:
            return 100 * (_shares(weights, reference) - _shares(weights, other))

        return loss_over_images(losses, len(reference))


class ApTally(TruthTally):
    """The same, with COCO's AP as the figure; drawn anew are images, with all of their people.

    The rows stay the joints' PCK, as AP has none of its own.
    """

    @property
    def value(self) -> float | None:
        if not self._counts or self._people is None:
            return None
        return self._evaluation(self._people).figures()[AP]

    def scores(self) -> Scores:
        found = super().scores()
        if AP not in found.figures:
            raise DataError("No AP could be measured: nobody has labelled joints.", "Go by PCK.")
        return replace(found, by=AP)

    def loss_of(self, engine: TruthTally) -> Loss:
        whole = self._people
        assert whole is not None, "what has no people has no truth"
        ours, theirs = self._evaluation(whole), engine._evaluation(whole)
        place = {number: position for position, number in enumerate(ours.images)}
        # In the order in which people were counted.
        of_image = np.array([place[whole.people[number].image_id] for number in self._answers])
        reference, other = (
            np.stack([np.sum(np.array(counts)[of_image == i], axis=0) for i in range(len(ours.images))])
            for counts in (self._counts, engine._counts)
        )

        def losses(weights: Weights) -> NDArray[np.float64]:
            points = 100 * (_shares(weights, reference) - _shares(weights, other))
            points[:, -1] = 100 * (ours.drawn(weights) - theirs.drawn(weights))
            return points

        return loss_over_images(losses, len(ours.images))


class AgreementTally(scoring.AgreementTally):
    """How alike the joints are that the reference is sure of."""

    def __init__(self, joints: int) -> None:
        self._counts = np.zeros((2, joints), np.int64)
        self._sums = np.zeros(joints)
        self._people: list[float] = []
        self._images = 0

    def add(self, marks: Marks) -> None:
        counts, sums = marks
        self._counts += counts
        self._sums += sums
        self._images += 1
        if counts[0].any():
            self._people.append(float(sums.sum() / counts[0].sum()))

    def scores(self) -> Agreement:
        if not self._people:
            raise DataError(
                f"There is nothing to agree on: the reference scores no joint at {LEAST_SCORE:g} or more.",
                "Give images of people, or a network that was trained.",
            )
        sure, alike = self._counts
        support = tuple(map(int, sure))
        return Agreement(
            float(np.mean(self._people)),
            tuple(float(total / number) if number else None for total, number in zip(self._sums, sure)),
            float(alike.sum() / sure.sum()),
            support,
            support,
            self._images,
        )

    def disagreement(self) -> Disagreement:
        return Disagreement(1 - float(np.mean(self._people)) if self._people else 0.0)


def check_measurable(people: PersonImages) -> None:
    """See that PCK can be measured on people.

    Raises:
        DataError: their skeleton has no shoulders and hips, or no limb joints.
    """
    if not has_diagonals(people.skeleton) or not set(LIMB_JOINTS) & set(people.skeleton.joints):
        raise DataError(
            f"{people.description}: PCK cannot be measured on {people.skeleton.name}, which has no left and right "
            "shoulder and hip.",
            "Give people that have them.",
        )


def _shares(weights: Weights, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, K + 1) of (N, 2, K) counts: each joint's share of what counts, and last that of all; NaN where none does."""
    totals = np.tensordot(weights, counts, 1)
    totals = np.concatenate([totals, totals.sum(2, keepdims=True)], 2)
    with np.errstate(invalid="ignore"):
        return np.where(totals[:, 1] > 0, totals[:, 0] / totals[:, 1], np.nan)
