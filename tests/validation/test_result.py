from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trtparse.engines.accuracy import Accuracy
from trtparse.errors import DataError
from trtparse.tasks.intervals import RowLoss
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.protocol import Protocol
from trtparse.tests.predicting import HANDS, LIP
from trtparse.validation.result import EngineRun, ValidationResult, measured_accuracy

MadeUp = Callable[..., ValidationResult]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))
PUBLISHED = jsonschema.Draft202012Validator(SCHEMA)


def through_json(result: ValidationResult) -> dict[str, Any]:
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert isinstance(values, dict)
    return values


def refusals(values: dict[str, Any]) -> list[str]:
    """What the published schema has against a document."""
    return sorted("/".join(str(part) for part in error.absolute_path) for error in PUBLISHED.iter_errors(values))


VARIANTS = {
    "one engine": {},
    "three engines": {"losses": (0.1, -0.2, 2.5)},
    "no labels": {"labelled": False},
    "interrupted": {"partial": True, "skipped": (("a.jpg", "is cut off"), ("b", "ü"))},
}


@pytest.mark.parametrize("variant", VARIANTS)
class TestJson:
    def test_a_result_comes_back_from_it_but_for_the_pictures(self, variant: str, made_up: MadeUp) -> None:
        result = made_up(**VARIANTS[variant], size=(64, 48))
        read = ValidationResult.from_dict(through_json(result))
        assert read == result
        assert all(image.picture is None for engine in read.engines for image in engine.worst)
        assert through_json(read) == through_json(result)

    def test_it_is_as_the_published_schema_says(self, variant: str, made_up: MadeUp) -> None:
        assert refusals(through_json(made_up(**VARIANTS[variant], pictures=False))) == []


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def set_at(values: dict[str, Any], path: str, value: object) -> None:
    place: Any = values
    *parents, last = path.split("/")
    for part in parents:
        place = place[int(part) if part.isdecimal() else part]
    assert last in place
    place[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 5),
        ("spec/classes", ["one"]),
        ("spec/ignore", 1),
        ("images", 0),
        ("tolerance", -1),
        ("protocol/order", "jppnet"),
        ("reference/mean_iou", 1.2),
        ("reference/class_iou", [0.5]),
        ("reference_confusion", [[1] * 20]),
        ("engines", []),
        ("engines/0/loss/points", None),
        ("engines/0/agreement/invented", [0]),
        ("engines/0/agreement/left_out", [10]),
        ("engines/0/run/latency/counts", [-1]),
        ("engines/0/worst/0/disagreement", "much"),
        ("machine", {"cores": 2}),
    ],
)
def test_the_schema_refuses_what_is_not_so(path: str, value: object, made_up: MadeUp) -> None:
    values = through_json(made_up(pictures=False))
    assert refusals(values) == []
    set_at(values, path, value)
    assert len(refusals(values)) == 1


def test_the_schema_knows_every_value_and_wants_it(made_up: MadeUp) -> None:
    def without_each(values: Any) -> list[Any]:
        """The document with one key, anywhere in it, left out; of lists in the first entry."""
        if isinstance(values, dict):
            shorter = [{k: v for k, v in values.items() if k != key} for key in values]
            deeper = [{**values, key: less} for key, value in values.items() for less in without_each(value)]
            return shorter + deeper
        return [[less, *values[1:]] for less in without_each(values[0])] if isinstance(values, list) and values else []

    values = through_json(made_up(skipped=(("a", "b"),), pictures=False))
    free = values.pop("machine")
    documents = [{**less, "machine": free} for less in without_each(values)]
    assert len(documents) > 80
    assert [document for document in documents if PUBLISHED.is_valid(document)] == []
    assert refusals({**values, "machine": free, "more": 1}) == [""]


class TestReading:
    def test_a_result_tells_its_label_set(self, made_up: MadeUp) -> None:
        result = made_up(labels=HANDS, pictures=False)
        values = through_json(result)
        assert refusals(values) == []
        assert values["spec"]["classes"] == list(HANDS.classes)
        assert ValidationResult.from_dict(values) == result

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("reference/class_iou", [0.5] * 19),
            ("reference_confusion", [[1] * 20] * 19),
            ("engines/0/agreement/invented", [0] * 19),
            ("engines/0/confusion", [[1] * 21] * 20),
            ("engines/0/loss/rows", [None] * 21),
            ("spec", HANDS.to_dict()),
        ],
    )
    def test_values_for_another_number_of_classes_than_its_label_set_has_are_refused(
        self, path: str, value: object, made_up: MadeUp
    ) -> None:
        values = through_json(made_up(pictures=False))
        set_at(values, path, value)
        with pytest.raises(DataError, match=r"values by class, of (LIP-20|Hands-4)"):
            ValidationResult.from_dict(values)

    @pytest.mark.parametrize("schema", [1, 2, 3, 4, 5, 99, None, "5"])
    def test_another_version_is_refused(self, schema: object, made_up: MadeUp) -> None:
        with pytest.raises(DataError, match="has schema"):
            ValidationResult.from_dict({**made_up(pictures=False).to_dict(), "schema": schema})

    def test_one_of_before_says_nothing_of_what_is_between(self, made_up: MadeUp) -> None:
        values = made_up(pictures=False).to_dict()
        for engine in values["engines"]:
            del engine["run"]["between"]
        assert {engine.run.between for engine in ValidationResult.from_dict(values).engines} == {""}

    @pytest.mark.parametrize("key", ["images", "engines", "protocol", "reference"])
    def test_a_result_that_lacks_something_is_refused_by_name(self, key: str, made_up: MadeUp) -> None:
        values = made_up(pictures=False).to_dict()
        del values[key]
        with pytest.raises(DataError, match=key):
            ValidationResult.from_dict(values)

    @pytest.mark.parametrize("values", [[], "text", None, {}])
    def test_what_is_no_result_is_refused(self, values: Any) -> None:
        with pytest.raises(DataError, match="has schema None"):
            ValidationResult.from_dict(values)


class TestVerdict:
    def test_every_engine_must_be_within_the_tolerance(self, made_up: MadeUp) -> None:
        result = made_up(losses=(0.9, 1.1), pictures=False)
        assert [engine.passes(result.tolerance) for engine in result.engines] == [True, False]
        assert not result.passed
        values = result.to_dict()
        assert ([engine["passed"] for engine in values["engines"]], values["passed"]) == ([True, False], False)
        assert dataclasses.replace(result, tolerance=1.1).passed

    def test_the_tolerance_itself_passes_but_for_the_last_bits(self, made_up: MadeUp) -> None:
        result = made_up(losses=(0.1 + 0.2,), pictures=False)
        assert dataclasses.replace(result, tolerance=0.3).passed
        assert not dataclasses.replace(result, tolerance=0.2999).passed

    def test_without_labels_there_is_nothing_to_lose(self, made_up: MadeUp) -> None:
        result = made_up(labelled=False, pictures=False)
        assert (result.labelled, result.passed) == (False, True)

    @pytest.mark.parametrize(
        ("low", "high", "significant"), [(-0.1, 0.5, False), (0.1, 0.5, True), (-0.5, -0.1, True), (0.0, 0.0, False)]
    )
    def test_a_loss_whose_interval_holds_0_is_noise(self, low: float, high: float, significant: bool) -> None:
        assert RowLoss(0.2, low, high).significant is significant


class TestProtocol:
    @pytest.mark.parametrize("order", Parsing.orders)
    def test_says_what_it_is(self, order: str, made_up: MadeUp) -> None:
        result = made_up(pictures=False)
        plain = dataclasses.replace(result, protocol=Protocol(order))
        assert plain.method == f"{Parsing.orders[order]}; no flip, one scale"
        assert plain.usual == (order == "ce2p")
        augmented = dataclasses.replace(result, protocol=Protocol(order, True, (0.75, 1.0, 1.25)))
        assert augmented.method.endswith("; flipped as well, scales 0.75, 1, 1.25")

    def test_is_augmented_where_it_looks_more_than_once(self) -> None:
        assert not Protocol().augmented
        assert Protocol(flip=True).augmented
        assert Protocol(scales=(0.75,)).augmented


def test_the_figures_for_a_bundle_are_by_target_and_precision(made_up: MadeUp) -> None:
    result = made_up(losses=(0.5, 0.1), pictures=False)
    reached = measured_accuracy(result)
    for one in reached.values():
        assert Accuracy.from_dict(json.loads(json.dumps(asdict(one), allow_nan=False))) == one
    assert list(reached) == ["cpu-int8", "cpu-fp16"]
    assert result.reference is not None
    int8 = reached["cpu-int8"]
    assert (int8.figure, int8.unit) == ("mIoU", "points of mean IoU")
    assert int8.reference_value == 100 * result.reference.mean_iou
    assert reached["cpu-fp16"].loss is not None
    assert reached["cpu-fp16"].loss[0] == 0.1
    assert int8.images == 10_000
    assert len(int8.rows or ()) == 20
    agreed = result.engines[0].agreement
    assert int8.left_out == ("Jumpsuits",) == tuple(LIP.classes[number] for number in agreed.left_out)
    assert (int8.invented, int8.invented_in) == (0, ())
    unlabelled = measured_accuracy(made_up(labelled=False, pictures=False))["cpu-int8"]
    assert (unlabelled.value, unlabelled.loss) == (None, None)
    assert unlabelled.share > 0.5
    agreement = made_up(labelled=False, pictures=False).engines[0].agreement
    assert unlabelled.agreement_value == 100 * agreement.mean_iou


def test_an_engine_may_have_no_bundle_and_no_latency() -> None:
    assert EngineRun("somewhere", "cpu", "int8") == EngineRun("somewhere", "cpu", "int8", 0.0, None, "")
