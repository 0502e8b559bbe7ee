"""Parsing and pose in one run: people found once, frames seen by both engines, answers drawn over one another."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.data.crops import RULES, Window
from trtparse.demo.layers import all_parts, layers_of
from trtparse.demo.live.settings import LiveSettings
from trtparse.demo.parsed_frame import ParsedFrame
from trtparse.demo.people.finder import PeopleFinder
from trtparse.demo.pipeline import run_demo
from trtparse.demo.records import AnswerRecorder, JsonlRecorder
from trtparse.demo.sources import ArraySource
from trtparse.engines.base import Arrays, Frames
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.skeleton import Skeleton
from trtparse.tasks.pose.task import Pose
from trtparse.tasks.predictor import Predictor
from trtparse.tests.demo.conftest import BrightEngine
from trtparse.tests.demo.test_pipeline_people import SIZE, BrightPeople, street
from trtparse.tests.predicting import predicting

STICK = Skeleton(
    "stick",
    ("head", "left_hand", "right_hand"),
    (("left_hand", "right_hand"),),
    (("head", "left_hand"), ("head", "right_hand")),
    ((255, 255, 255), (255, 0, 0), (0, 0, 255)),
    (0.1, 0.05, 0.05),
)


class BrightJoints(BrightEngine):
    """The top of what is bright is a head, and its lower corners are hands."""

    def _run(self, frames: Frames) -> Arrays:
        super()._run(frames)
        found = np.zeros((len(frames), 3, 3), np.float32)
        for frame, joints in zip(frames, found):
            rows, columns = np.nonzero(frame[..., 1] > 60)
            if len(rows):
                left, right, low = columns.min(), columns.max(), rows.max()
                joints[:] = [[(left + right) / 2, rows.min(), 0.9], [left, low, 0.8], [right, low, 0.7]]
        return (found,)


def posing(engine: BrightEngine, *, crops: bool = True) -> Predictor[Any]:
    return Predictor(engine, Pose(STICK), Framing(engine.input_size, crop=RULES["trtparse"] if crops else None))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("demo ")]


def run(predictors: Any, counts: list[int], **options: Any) -> list[ParsedFrame]:
    seen: list[ParsedFrame] = []
    source = ArraySource([street(count) for count in counts], SIZE, 25.0)
    result = run_demo(source, predictors, [], observers=[seen.append], **options)
    assert result.frames == len(counts)
    return seen


@pytest.mark.parametrize(("parsers", "posers"), [(None, None), (1, 4), (4, 1), (3, 2)])
@pytest.mark.parametrize("with_people", [True, False])
def test_together_they_answer_what_each_answers_alone(
    parsers: int | None, posers: int | None, with_people: bool
) -> None:
    counts = [0, 1, 3, 5, 0, 2, 4, 0]

    def people() -> dict[str, Any]:
        return {"people": PeopleFinder(BrightPeople(), track=False)} if with_people else {}

    with BrightEngine(parsers) as parser, BrightJoints(posers) as poser:
        both = run([posing(poser), predicting(parser)], counts, **people())
        assert (parser.flying, poser.flying) == (0, 0)
        assert max(parser.most_flying, poser.most_flying) <= 2
        labels = run(predicting(parser), counts, **people())
        joints = run(posing(poser), counts, **people())
    assert [frame.number for frame in both] == list(range(len(counts)))
    for together, one, other in zip(both, labels, joints):
        assert [layer.task.name for layer in together.layers] == ["parsing", "pose"]
        assert together.people == one.people == other.people
        assert np.array_equal(together.sights[0].labels, one.sights[0].labels)
        assert together.sights[1].told() == other.sights[0].told()


def test_people_are_found_once_and_a_crop_that_both_see_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = Window.apply
    monkeypatch.setattr(Window, "apply", lambda self, *rest: made.append(self) or original(self, *rest))
    detector = BrightPeople()
    with BrightEngine(None) as parser, BrightJoints(None) as poser:
        run([predicting(parser), posing(poser, crops=False)], [3, 3], people=PeopleFinder(detector))
        assert (len(made), detector.looks) == (6, 2)
        assert (parser.passes, poser.passes) == (2, 2)
        run([predicting(parser), posing(poser)], [3, 3], people=PeopleFinder(detector))
    assert len(made) == 12  # the other crops are no windows


def test_skeletons_lie_over_label_maps_and_each_is_switched_off_alone() -> None:
    layers = layers_of([predicting(BrightEngine()).task, Pose(STICK)])
    parts = all_parts(layers)
    assert [parts[number].kind for number in (19, 20, 22)] == ["parts", "joints", "joints"]
    drawn = {}
    with BrightEngine() as parser, BrightJoints() as poser:
        for chosen in ("both", "parts", "joints", "none"):
            numbers = [number for number, part in parts.items() if chosen in ("both", part.kind)]
            settings = LiveSettings(parts, classes=numbers)
            (frame,) = run(
                [posing(poser), predicting(parser)], [1], people=PeopleFinder(BrightPeople()), settings=settings
            )
            drawn[chosen] = frame.drawn
            assert frame.shares().keys() == {5, 20, 21, 22}
    plain = street(1)
    body = 74, 12  # between the limbs
    assert (drawn["parts"][body] != plain[body]).any()
    assert (drawn["joints"][body] == plain[body]).all()
    assert (drawn["both"][body] == drawn["parts"][body]).all()
    head = slice(18, 26), slice(10, 15)
    white = {chosen: (frame[head] > 230).all(-1).any() for chosen, frame in drawn.items()}
    assert white == {"both": True, "parts": False, "joints": True, "none": False}
    outside = np.ones(SIZE, bool)
    outside[:84, :100] = False  # where the person, their skeleton and what is said of them are
    assert np.array_equal(drawn["none"][outside], plain[outside])


def test_records_hold_the_answers_of_both(tmp_path: Path) -> None:
    with (
        BrightEngine() as parser,
        BrightJoints() as poser,
        AnswerRecorder(tmp_path / "answers") as files,
        JsonlRecorder(tmp_path / "lines.jsonl") as lines,
    ):
        source = ArraySource([street(2)] * 2, SIZE, 25.0)
        people = PeopleFinder(BrightPeople())
        result = run_demo(
            source, [predicting(parser), posing(poser)], [], observers=[files, lines], people=people, smooth=True
        )
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == [
        f"frame-00000{number}{ending}" for number in (0, 1) for ending in (".json", ".png")
    ]
    line = json.loads((tmp_path / "lines.jsonl").read_text().splitlines()[1])
    assert [person["id"] for person in line["people"]] == [person["id"] for person in line["poses"]] == [1, 2]
    assert line["pixels"]["Upper-clothes"] > 0
    assert result.flicker.keys() == {"parsing", "pose"}
    assert (result.engine, result.precision) == ("brightness", "fp32")  # each once


def test_two_of_one_task_are_refused() -> None:
    told = "Two bundles are for parsing; of each task one is drawn"
    with BrightEngine() as one, BrightEngine() as other, pytest.raises(UsageError, match=told) as caught:
        run([predicting(one), predicting(other)], [1])
    assert "--bundle PARSER --bundle POSE" in caught.value.hint


@pytest.mark.parametrize("breaks", ["parser", "poser"])
def test_an_engine_that_breaks_ends_the_run_and_leaves_the_other_as_it_was_found(breaks: str) -> None:
    with (
        BrightEngine(1, 0.001, fail_at=9 if breaks == "parser" else 0) as parser,
        BrightJoints(4, 0.001, fail_at=9 if breaks == "poser" else 0) as poser,
    ):
        with pytest.raises(RuntimeError, match="the engine broke"):
            run([predicting(parser), posing(poser)], [3] * 60, people=PeopleFinder(BrightPeople()))
        assert (parser.flying, poser.flying) == (0, 0)
        parser.infer(np.zeros((1, 48, 32, 3), np.uint8))
        poser.infer(np.zeros((4, 48, 32, 3), np.uint8))
