from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from trtparse.commands.comparison import show_result
from trtparse.commands.terminal import Terminal
from trtparse.commands.validation_table import render
from trtparse.tasks.intervals import Loss, RowLoss
from trtparse.tests.predicting import HANDS, LIP
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]


def printed(result: ValidationResult, width: int = 80, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    render(result, Console(file=stream, width=width, color_system=None))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


def row(lines: list[str], name: str) -> list[str]:
    """The cells of the only line that begins with a name."""
    (found,) = [line for line in lines if line.strip().startswith(f"{name} ")]
    return found.replace(name, "", 1).split()


def tables(lines: list[str]) -> list[str]:
    """The lines without those that are sentences, which may be longer."""
    return [
        line
        for line in lines
        if not line.startswith(("Dataset", "Reference", "Engine", "FAILED", "PASSED", "No labels", "The "))
    ]


class TestOneEngine:
    @pytest.mark.parametrize("width", [80, 100, 200])
    @pytest.mark.parametrize("labelled", [True, False])
    def test_has_every_class_and_fits(self, width: int, labelled: bool, made_up: MadeUp) -> None:
        lines = [line for line in printed(made_up(labelled=labelled), width) if "class does" not in line]
        for name in LIP.classes:
            assert row(lines, name)
        assert max(map(len, tables(lines))) <= 80
        assert not any("…" in line for line in lines)

    def test_has_the_classes_of_the_label_set_and_no_other(self, made_up: MadeUp) -> None:
        lines = printed(made_up(labels=HANDS))
        assert [line.split("  ")[1] for line in lines if line.startswith("  ")][-4:] == list(HANDS.classes)
        assert not any(name in line for line in lines for name in ("Scarf", "Hat"))

    @pytest.mark.parametrize("width", [40, 60])
    def test_keeps_its_numbers_whole_where_it_does_not_fit(self, width: int, made_up: MadeUp) -> None:
        wide, narrow = (" ".join(tables(printed(made_up(), columns))).split() for columns in (80, width))
        assert {word for word in wide if any(map(str.isdigit, word))} <= set(narrow)

    def test_shows_percent_points_interval_and_support(self, made_up: MadeUp) -> None:
        result = made_up()
        engine, loss = result.first, result.first.loss.rows[1]
        assert row(printed(result), "Hat") == [
            str(result.reference.image_support[1]),
            f"{100 * result.reference.support[1] / sum(result.reference.support):.2f}",
            f"{100 * result.reference.class_iou[1]:.2f}",
            f"{100 * engine.scores.class_iou[1]:.2f}",
            f"{loss.points:+.2f}",
            f"{loss.low:+.2f}..{loss.high:+.2f}",
            f"{100 * engine.agreement.class_iou[1]:.2f}",
        ]
        mean = row(printed(result), "Mean IoU")
        assert mean[2:4] == ["+0.42", "+0.11..+0.75"]

    def test_marks_absent_classes_and_names_them(self, made_up: MadeUp) -> None:
        lines = printed(made_up())
        assert row(lines, "Jumpsuits") == ["0", "0.00", *["n/a"] * 5]
        note = " ".join(" ".join(lines).split())
        assert "1 class does not occur and is left out of the mean (reference, engine)" in note
        assert "which goes over 19 of 20 classes: Jumpsuits." in note
        assert "19 classes with at least 0.02 % of PyTorch's pixels, without Jumpsuits." in note

    def test_ends_with_the_verdict(self, made_up: MadeUp) -> None:
        assert printed(made_up((0.42,)))[-1].startswith("PASSED: 0.42 points of mean IoU lost, tolerance 1; ")
        assert printed(made_up((1.5,)))[-1].startswith("FAILED: 1.50 points of mean IoU lost, tolerance 1; ")
        assert printed(made_up((-0.5,)))[-1].startswith("PASSED: 0.50 points of mean IoU gained")

    def test_says_that_there_were_no_labels(self, made_up: MadeUp) -> None:
        lines = printed(made_up(labelled=False))
        assert lines[-1].startswith("PASSED: no labels, so no mean IoU to lose; ")
        assert any(line.startswith("No labels:") for line in lines)
        assert len(row(lines, "Hat")) == 3

    def test_says_that_it_is_partial(self, made_up: MadeUp) -> None:
        lines = printed(made_up(partial=True))
        assert "Partial    interrupted after 2500 of 10000 images" in lines
        assert lines[-1].startswith("PASSED (partial: 2500 of 10000 images): ")

    def test_names_are_not_taken_for_markup(self, made_up: MadeUp) -> None:
        skipped = tuple((f"image [red]{number}", f"{number}.jpg is cut off.") for number in range(5))
        lines = printed(made_up(skipped=skipped, dataset="[bold]LIP"))
        assert "Dataset    [bold]LIP" in lines
        assert "  skipped image [red]0: 0.jpg is cut off." in lines
        assert "  and 2 more" in lines

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
    @given(st.floats(-100, 100), st.floats(0, 100), st.text("ab-() ", max_size=40))
    def test_fits_whatever_the_numbers_and_names_are(
        self, made_up: MadeUp, points: float, width: float, target: str
    ) -> None:
        result = made_up()
        engine = result.first
        loss = RowLoss(points, max(points - width, -100), min(points + width, 100))
        loss = Loss(loss.points, loss.low, loss.high, (loss,) * 20)
        run = dataclasses.replace(engine.run, target=target)
        engine = dataclasses.replace(engine, loss=loss, run=run)
        for engines in ((engine,), (engine, engine, result.first)):
            lines = printed(dataclasses.replace(result, engines=engines))
            assert max(map(len, tables(lines))) <= 80
            assert not any("…" in line for line in lines)
            assert all(row(lines, name) for name in LIP.classes)


class TestSeveralEngines:
    def test_have_a_line_each_and_the_worst_has_the_classes(self, made_up: MadeUp) -> None:
        lines = printed(made_up((0.42, 1.7, -0.1)))
        assert row(lines, "INT8 (cpu)")[1:3] == ["+0.42", "+0.11..+0.75"]
        assert row(lines, "INT8 (cpu)")[-1] == "PASSED"
        assert row(lines, "FP16 (cpu)")[-1] == "FAILED"
        assert row(lines, "FP32 (cpu)")[1] == "-0.10"
        assert "The classes of FP16 (cpu), which loses most:" in lines
        assert row(lines, "Mean IoU")[2] == "+1.70"
        assert lines[-1].startswith("FAILED: 1 of 3 engines loses too much; at worst FP16 (cpu) loses 1.70 points")

    def test_without_labels_show_how_far_they_agree(self, made_up: MadeUp) -> None:
        result = made_up((0.1, 0.2), labelled=False)
        lines = printed(result)
        shares = [f"{100 * engine.agreement.pixel_accuracy:.2f}" for engine in result.engines]
        assert [row(lines, name)[0] for name in ("INT8 (cpu)", "FP16 (cpu)")] == shares


class TestColour:
    @pytest.fixture
    def shown(self, made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        """A function that shows a result on a stdout that is a terminal, or none."""

        def show(terminal: bool, **environment: str) -> str:
            for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
                monkeypatch.delenv(name, raising=False)
            for name, value in {"TERM": "xterm-256color", **environment}.items():
                monkeypatch.setenv(name, value)
            stream = io.StringIO()
            stream.isatty = lambda: terminal  # type: ignore[method-assign]
            monkeypatch.setattr("sys.stdout", stream)
            show_result(Terminal(as_json=False), made_up((1.5,)))
            return stream.getvalue()

        return show

    def test_is_used_on_a_terminal_only(self, shown: Callable[..., str]) -> None:
        assert "\x1b[1;31mFAILED" in shown(terminal=True)
        assert "\x1b" not in shown(terminal=False)

    def test_goes_with_no_color(self, shown: Callable[..., str]) -> None:
        text = shown(terminal=True, NO_COLOR="1")
        assert "FAILED: 1.50 points" in text
        assert "[1;31m" not in text
        assert "[33m" not in text

    def test_a_narrow_terminal_does_not_end_the_command(self, shown: Callable[..., str]) -> None:
        assert "FAILED: 1.50 points" in shown(terminal=True, COLUMNS="30")


def test_a_terminal_without_unicode_has_the_table_in_ascii(made_up: MadeUp) -> None:
    text = "\n".join(printed(made_up((0.42, -0.3)), encoding="ascii"))
    assert "\\" not in text
    assert "-0.30" in text


def test_json_is_one_document(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    result = made_up()
    show_result(Terminal(as_json=True), result)
    assert ValidationResult.from_dict(json.loads(capsys.readouterr().out)) == result
