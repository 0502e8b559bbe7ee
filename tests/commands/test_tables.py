from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.sensitivity import LayerSensitivity, Sensitivity
from trtparse.commands import bench, sensitivity
from trtparse.commands.demo import _show as show_demo
from trtparse.commands.tables import print_table
from trtparse.commands.terminal import Terminal
from trtparse.demo.parsed_frame import StageTimes
from trtparse.demo.result import DemoResult
from trtparse.engines.latency import Speed, Times

NUMBERS = st.floats(0, 1e6).map("{:.2f}".format)
ROWS = st.lists(st.tuples(st.from_regex(r"[a-z.]{1,30}", fullmatch=True), *[NUMBERS] * 7), min_size=1, max_size=5)


def printed(table: Table, width: int) -> list[str]:
    stream = io.StringIO()
    print_table(Console(file=stream, width=width), table)
    return stream.getvalue().splitlines()


def table_of(rows: list[tuple[str, ...]], **look: object) -> Table:
    table = Table(**{"box": None, "pad_edge": False, **look})  # type: ignore[arg-type]
    table.add_column("layer", overflow="fold")
    for number in range(7):
        table.add_column(f"number\n{number}", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


@pytest.mark.parametrize("look", [{}, {"box": SIMPLE, "padding": (0, 1, 0, 0), "show_edge": False}])
@settings(max_examples=40)
@given(rows=ROWS, width=st.integers(28, 120))
def test_numbers_are_whole_and_each_there_once_however_narrow_the_terminal(
    look: dict[str, object], rows: list[tuple[str, ...]], width: int
) -> None:
    lines = printed(table_of(rows, **look), width)
    words = Counter(word for line in lines for word in line.split())
    expected = Counter(number for _, *numbers in rows for number in numbers)
    assert {word: words[word] for word in expected} == expected
    assert max(map(len, lines)) <= width


def test_a_table_that_fits_stands_in_one_block_and_one_that_does_not_names_its_rows_again() -> None:
    table = table_of([("stem", *["12345.00"] * 7)])
    assert sum(line.startswith("stem") for line in printed(table, 80)) == 1
    assert sum(line.startswith("stem") for line in printed(table, 60)) == 2


def test_no_line_ends_in_blanks() -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("short", "word " * 30)
    table.add_row("a longer name", "")
    for width in (40, 80):
        lines = printed(table, width)
        assert len(lines) > 2
        assert [line.rstrip() for line in lines] == lines


def show_speeds() -> None:
    times = Times(123.45, 134.56, 145.67, 125.0, 9)
    speeds = [("ONNX Runtime int8 of a long name", Speed("cpu", "cpu", "int8", 1, 1, times, times, 1234.5, 6))]
    document = {"input_size": (64, 48), "batch": 1, "warm_up_seconds": 1, "machine": {}, "clocks_after": {}}
    bench._show(Terminal(as_json=False), document, speeds, [])


def show_sensitivity() -> None:
    score = Score(87.65, 98.76, 45.67, 12.34, 6, 13.45, 23.4)
    layers = (LayerSensitivity("backbone.layer4.1.conv2", "3x3 convolution, 512 to 512 channels", 0.1234, score),)
    sensitivity._show(Sensitivity(layers, "agreement", score, score), 10, "pixels")


def show_stages() -> None:
    stages = StageTimes(1234.5, 2345.6, 3456.7, 4567.8, 5678.9)
    result = DemoResult(6, 1.0, 6.0, stages, 0, 0, None, {}, False, None, "ONNX Runtime", "int8")
    show_demo(Terminal(as_json=False), result, "of the pixels")


@pytest.mark.parametrize(
    ("show", "numbers"),
    [
        (show_speeds, ["123", "135", "146", "1234.5"]),
        (show_sensitivity, ["12.3 %", "12.35", "+12.34", "23.4"]),
        (show_stages, ["1234.5", "2345.6", "3456.7", "4567.8", "5678.9"]),
    ],
)
@pytest.mark.parametrize("width", [40, 60])
def test_commands_print_their_tables_so(
    show: Callable[[], None],
    numbers: list[str],
    width: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show()
    out = capsys.readouterr().out
    assert [number for number in numbers if number not in out] == []
    assert "…" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())
