"""A validation result as JUnit XML, which continuous integration shows beside its tests.

The form is the common one of Jenkins and GitLab: one ``testsuite``, one ``testcase`` per engine and gate.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from ...storage.files import replace_bytes
from ..result import EngineComparison, EngineRun, ValidationResult

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped; file names can."""


def write_junit(result: ValidationResult, path: Path) -> None:
    """Write the XML of a result, whole or not at all.

    Raises:
        UsageError: the folder is missing or not writable.
        MachineError: the disk is full.
    """
    replace_bytes(path, junit_xml(result))


def junit_xml(result: ValidationResult) -> bytes:
    """UTF-8 XML with two gates for every engine: the loss is within the tolerance, and every image was compared.

    The first is skipped where there are no labels, the second fails in a run that was interrupted. Images that could
    not be read are listed in its output.
    """
    suite = ElementTree.Element("testsuite", name="trtparse validate", timestamp=result.created.partition("+")[0])
    for position, engine in enumerate(result.engines):
        name = _class_name(engine.run, position if len(result.engines) > 1 else None)
        seconds = f"{engine.run.seconds:.3f}"
        loss = ElementTree.SubElement(
            suite,
            "testcase",
            classname=name,
            name=f"{result.figure.words} loss of at most {result.tolerance:g}",
            time=seconds,
        )
        _judge_loss(loss, engine, result)
        complete = ElementTree.SubElement(suite, "testcase", classname=name, name="compares every image", time="0")
        _judge_images(complete, result)
    for outcome, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(outcome, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("errors", "0")
    suite.set("tests", str(len(suite)))
    suite.set("time", f"{result.seconds:.3f}")
    ElementTree.indent(suite)
    text: str = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _class_name(run: EngineRun, position: int | None) -> str:
    """``trtparse.cpu-int8``; numbered where there are several engines, two of which may be alike but for the bundle."""
    number = "" if position is None else f".{position + 1}"
    return f"trtparse{number}.{run.word}"


def _judge_loss(case: ElementTree.Element, engine: EngineComparison, result: ValidationResult) -> None:
    agreement = result.task.told(engine.agreement)
    if engine.loss is None:
        ElementTree.SubElement(
            case, "skipped", message=_xml(f"no labels, so no {result.figure.words} to lose; {agreement}")
        )
        return
    loss = engine.loss
    low, points, high = (f"{round(value, 2) + 0.0:.2f}" for value in (loss.low, loss.points, loss.high))
    words = f"{points} points lost, 95 % interval {low} to {high}; {agreement}"
    if not engine.passes(result.tolerance):
        ElementTree.SubElement(case, "failure", type="AccuracyError", message=_xml(words))
    else:
        ElementTree.SubElement(case, "system-out").text = _xml(f"{engine.run.name}: {words}")


def _judge_images(case: ElementTree.Element, result: ValidationResult) -> None:
    if result.partial:
        words = f"interrupted: {result.images} of {result.total} images were compared"
        ElementTree.SubElement(case, "failure", type="Interrupted", message=words)
    lines = [f"{result.images} images of {result.dataset}"]
    lines += [f"not read: {image.name}: {image.reason}" for image in result.skipped]
    ElementTree.SubElement(case, "system-out").text = _xml("\n".join(lines))


def _xml(text: str) -> str:
    """Text without what XML cannot hold; a file name that is no text comes in surrogates."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
