from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from trtparse.tests.predicting import HANDS
from trtparse.validation.report.markdown import markdown
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]


def rows(text: str) -> list[list[str]]:
    """Cells of all tables; escaped bars are none of their borders."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|:")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_begins_with_the_verdict(made_up: MadeUp) -> None:
    assert markdown(made_up((0.42,))).startswith("## Validation: PASSED\n\nINT8 (cpu) loses 0.42 points of mean IoU.\n")
    assert markdown(made_up((1.42,))).startswith("## Validation: FAILED\n")
    assert markdown(made_up(partial=True)).startswith("## Validation: PASSED (partial: 2500 of 10000 images)\n")


def test_has_a_row_for_the_reference_and_every_engine(made_up: MadeUp) -> None:
    table = rows(markdown(made_up((0.42, 1.7))))
    assert [row[0] for row in table[1:4]] == ["PyTorch", "INT8 (cpu)", "FP16 (cpu)"]
    assert [row[-1] for row in table[1:4]] == ["reference", "**PASSED**", "**FAILED**"]
    assert table[2][2] == "+0.42 (+0.11 to +0.75)"
    assert {len(row) for row in table[:4]} == {7}


def test_has_the_agreement_and_what_it_leaves_out(made_up: MadeUp) -> None:
    result = made_up()
    text = markdown(result)
    assert rows(text)[2][3:5] == [
        f"{100 * result.first.agreement.pixel_accuracy:.2f} %",
        f"{100 * result.first.agreement.mean_iou:.2f}",
    ]
    assert "without Jumpsuits. The engine invents nothing." in text


def test_has_the_five_classes_that_lost_most_on_the_worst_engine(made_up: MadeUp) -> None:
    result = made_up((0.42, 1.7))
    table = rows(markdown(result))[4:]
    assert table[0][:3] == ["5 classes that lost most", "PyTorch", "FP16 (cpu)"]
    losses = sorted((loss.points for loss in result.engines[1].loss.rows if loss), reverse=True)
    assert [row[3].split()[0] for row in table[1:]] == [f"{points:+.2f}" for points in losses[:5]]


def test_without_a_loss_has_no_classes(made_up: MadeUp) -> None:
    assert len(rows(markdown(made_up((-9.0,))))) == 3
    text = markdown(made_up(labelled=False))
    assert len(rows(text)) == 3
    assert "AGREEMENT ONLY" in text
    assert "Tolerance" not in text


def test_is_compact(made_up: MadeUp) -> None:
    assert len(markdown(made_up()).splitlines()) < 30


@pytest.mark.parametrize(
    "name", ["a | b", "<script>alert(1)</script>", "*x* _y_ `z`", "[a](b)", "two\nlines", "@all #1"]
)
def test_names_from_outside_are_no_markdown(name: str, made_up: MadeUp) -> None:
    (line,) = [line for line in markdown(made_up(dataset=name)).splitlines() if line.startswith("- Dataset: ")]
    shown = line.removeprefix("- Dataset: ")
    assert not re.search(r"(?<!\\)[|<>*_`\[\]@#]", shown)
    assert re.sub(r"\\(.)", r"\1", shown) == " ".join(name.split())


def test_names_the_label_set_and_its_classes(made_up: MadeUp) -> None:
    text = markdown(made_up((1.2,), labels=HANDS))
    assert "- Label set: Hands-4 (4 classes)" in text
    assert {row[0] for row in rows(text)[4:]} <= set(HANDS.classes)
    assert len(rows(text)) > 4
