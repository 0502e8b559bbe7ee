from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trtparse.errors import UsageError
from trtparse.tests.predicting import HANDS
from trtparse.validation.report.junit import junit_xml, write_junit
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]


def suite_of(result: ValidationResult) -> ElementTree.Element:
    return ElementTree.fromstring(junit_xml(result))


def case(suite: ElementTree.Element, name: str, position: int = 0) -> ElementTree.Element:
    found = [one for one in suite if name in one.get("name", "")]
    return found[position]


def test_there_is_a_testcase_for_every_engine_and_gate(made_up: MadeUp) -> None:
    suite = suite_of(made_up(losses=(0.2, 1.7, 0.1), pictures=False))
    assert suite.tag == "testsuite"
    assert [(one.get("classname"), one.get("name")) for one in suite] == [
        (f"trtparse.{number}.cpu-{precision}", gate)
        for number, precision in ((1, "int8"), (2, "fp16"), (3, "fp32"))
        for gate in ("mean IoU loss of at most 1", "compares every image")
    ]
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    assert float(suite.get("time", "")) == 690.0
    assert suite.get("timestamp") == "2026-11-21T10:00:00"


def test_a_loss_within_the_tolerance_passes_and_is_told(made_up: MadeUp) -> None:
    gate = case(suite_of(made_up(losses=(0.42,), pictures=False)), "loss of at most")
    assert gate.get("classname") == "trtparse.cpu-int8"
    assert gate.find("failure") is None
    assert "0.42 points lost, 95 % interval 0.11 to 0.75" in (gate.findtext("system-out") or "")


def test_the_gate_tells_the_agreement(made_up: MadeUp) -> None:
    result = made_up(pictures=False)
    told = case(suite_of(result), "loss of at most").findtext("system-out") or ""
    agreement = result.first.agreement
    assert f"{100 * agreement.pixel_accuracy:.2f} % of pixels agree, agreement {100 * agreement.mean_iou:.2f}" in told


def test_a_loss_above_it_fails_with_figures(made_up: MadeUp) -> None:
    failure = case(suite_of(made_up(losses=(1.7,), pictures=False)), "loss of at most").find("failure")
    assert failure is not None
    assert failure.get("type") == "AccuracyError"
    assert "1.70 points lost" in failure.get("message", "")


def test_without_labels_the_gate_is_skipped(made_up: MadeUp) -> None:
    suite = suite_of(made_up(labelled=False, pictures=False))
    assert suite.get("skipped") == "1"
    skipped = case(suite, "loss of at most").find("skipped")
    assert skipped is not None
    assert "no labels" in skipped.get("message", "")


def test_an_interrupted_run_fails(made_up: MadeUp) -> None:
    suite = suite_of(made_up(losses=(0.1,), partial=True, pictures=False))
    failure = case(suite, "every image").find("failure")
    assert failure is not None
    assert failure.get("message") == "interrupted: 2500 of 10000 images were compared"
    assert suite.get("failures") == "1"


def test_images_that_could_not_be_read_are_listed_whatever_they_are_called(made_up: MadeUp) -> None:
    skipped = (("<a&b>.jpg", 'is "cut" off'), ("bell\x07\x00.jpg", "is broken"), ("not text \udce4.jpg", "ends\nearly"))
    told = case(suite_of(made_up(skipped=skipped, pictures=False)), "every image").findtext("system-out") or ""
    assert '<a&b>.jpg: is "cut" off' in told
    assert "bell\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.jpg: is broken" in told
    assert "not text \N{REPLACEMENT CHARACTER}.jpg: ends\nearly" in told


def test_the_file_appears_whole_and_only_where_it_can(tmp_path: Path, made_up: MadeUp) -> None:
    result = made_up(pictures=False)
    write_junit(result, tmp_path / "junit.xml")
    assert (tmp_path / "junit.xml").read_bytes() == junit_xml(result)
    assert junit_xml(result).startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite ')
    with pytest.raises(UsageError, match="missing"):
        write_junit(result, tmp_path / "missing" / "junit.xml")


def test_what_is_invented_has_the_label_set_s_names(made_up: MadeUp) -> None:
    result = made_up(labels=HANDS, pictures=False)
    invented = dataclasses.replace(result.first.agreement, invented=(0, 0, 7, 0))
    result = dataclasses.replace(result, engines=(dataclasses.replace(result.first, agreement=invented),))
    told = case(suite_of(result), "loss of at most").find("system-out")
    assert told is not None
    assert "invents 7 pixels of Left hand" in str(told.text)
