from __future__ import annotations

import re
from xml.etree import ElementTree

from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.search import Point, Search, pareto
from trtparse.calibration.budget.sensitivity import LayerSensitivity, Sensitivity
from trtparse.validation.report.contract_charts import pareto_chart, sensitivity_chart

EVIL = '<script>alert(1)</script>"&'
SVG = "{http://www.w3.org/2000/svg}"


def score(loss: float | None, agreement: float = 97.0) -> Score:
    return Score(agreement, 99.0, None if loss is None else 50 - loss, loss, 64, loss, 33.0)


def outcome(*points: tuple[str, float, float]) -> Search:
    """Points by layers, share and loss; the last is what was found."""
    found = [Point(tuple(layers.split()), share, share, score(loss)) for layers, share, loss in points]
    return Search(found[-1].int8, found[-1].score, ("c",), 0.3, tuple(found))


def texts(chart: str, kind: str = "text") -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(chart).iter(SVG + kind)]


def test_every_layer_has_a_row_and_the_worst_the_longest_bar() -> None:
    layers = tuple(
        LayerSensitivity(f"layer{number}", "Conv 3×3 8→8", 0.1, score(0.01 * number, 90 + number))
        for number in range(4)
    )
    chart = str(sensitivity_chart(Sensitivity(layers, "agreement", score(0.5), score(0.0))))
    assert [name for name in texts(chart) if name.startswith("layer")] == [f"layer{number}" for number in range(4)]
    widths = [
        float(node.get("width", "0"))
        for node in ElementTree.fromstring(chart).iter(SVG + "rect")
        if node.get("class") == "bar"
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] > 0


def test_what_was_not_measured_is_said_to_be_so() -> None:
    bare = Score(99.0, 99.0, None, None, 3)
    chart = str(sensitivity_chart(Sensitivity((LayerSensitivity("a", "Conv", 0, bare),), "agreement", bare, bare)))
    assert texts(chart).count("n/a") == 2


def test_names_from_a_graph_are_no_markup() -> None:
    layers = (LayerSensitivity(EVIL, EVIL, 0.1, score(0.1)),)
    chart = str(sensitivity_chart(Sensitivity(layers, "miou", score(0.5), score(0.0))))
    assert "<script" not in chart
    assert ElementTree.fromstring(chart) is not None


def test_a_chart_holds_no_address_but_that_of_svg() -> None:
    for chart in (
        sensitivity_chart(Sensitivity((), "sqnr", score(0.5), score(0.0))),
        pareto_chart(outcome(("a b c", 1.0, 0.8), ("a b", 0.7, 0.2))),
    ):
        assert re.findall(r"https?://[^\"' ]+", str(chart)) == ["http://www.w3.org/2000/svg"]


def test_the_curve_shows_every_graph_and_marks_the_one_found() -> None:
    shown = outcome(("a b c", 1.0, 0.8), ("a", 0.5, 0.4), ("b c", 0.6, 0.1), ("a b", 0.7, 0.2))
    circles = [node.get("class") for node in ElementTree.fromstring(str(pareto_chart(shown))).iter(SVG + "circle")]
    assert sorted(str(kind) for kind in circles) == ["beaten", "dot", "dot", "dot", "found"]
    assert [point.share for point in pareto(shown.points)] == [1.0, 0.7, 0.6]
    assert "budget: 0.3 points" in texts(str(pareto_chart(shown)))


def test_a_search_that_ended_at_once_can_be_drawn() -> None:
    for loss in (0.0, -0.2):
        chart = str(pareto_chart(outcome(("a b", 0.9, loss)), saved=True))
        assert "nan" not in chart
        assert ElementTree.fromstring(chart) is not None


def test_a_search_that_was_written_down_is_drawn_alike() -> None:
    shown = outcome(("a b c", 1.0, 0.8), ("a b", 0.7, 0.2))
    assert pareto_chart(Search.from_dict(shown.to_dict())) == pareto_chart(shown)
