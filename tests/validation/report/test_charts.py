from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.validation.report import charts
from trtparse.validation.report.charts import Interval

NAMES = ("Background", "Hat", "Face & <hair>")
COUNTS = np.array([[90, 10, 0], [25, 75, 0], [0, 0, 0]])

finite = st.floats(-1e6, 1e6)
words = st.text(st.characters(min_codepoint=32, blacklist_categories=("Cs", "Cc")), max_size=30)


def parsed(chart: str) -> ElementTree.Element:
    """Well-formed, or an error."""
    return ElementTree.fromstring(chart)


def all_charts(label: str = "a") -> dict[str, str]:
    rows = [Interval(label, 1.0, 0.5, 1.5), Interval("b", -0.1, -0.5, 0.3), Interval("c", None)]
    described = {"title": f"Title {label}", "description": f"Description {label}"}
    return {
        "intervals": charts.intervals(rows, **described, limit=(label, 1.2)),
        "confusion_matrix": charts.confusion_matrix(COUNTS, NAMES, **described),
        "histogram": charts.histogram([1, 2, 3], [5, 7], [(label, 2.2)], **described),
        "shares": charts.shares([(label, 0.3), ("b", 0.7)], ("first", "second"), **described),
    }


def cells() -> dict[str, str]:
    return {
        "pair_of_bars": charts.pair_of_bars(0.5, None),
        "bar": charts.bar(0.3),
        "spans": charts.spans([(-3.0, 200.0)])[0],
        "dots": charts.dots([Interval("a", 1.0, 0.5, 1.5)], 1.0)[0],
    }


def numbers(chart: str, element: str, attribute: str, kind: str = "") -> list[float]:
    found = [e for e in parsed(chart).iter(element) if kind in e.get("class", "")]
    return [float(e.get(attribute, "0").rstrip("%")) for e in found]


class TestEveryChart:
    @pytest.mark.parametrize("name", all_charts())
    def test_is_an_image_with_a_name_and_a_description(self, name: str) -> None:
        root = parsed(all_charts()[name])
        assert root.get("role") == "img"
        assert (root[0].tag, root[0].text) == ("title", "Title a")
        assert (root[1].tag, root[1].text) == ("desc", "Description a")

    @pytest.mark.parametrize("name", cells())
    def test_beside_its_numbers_is_hidden_from_screen_readers(self, name: str) -> None:
        assert parsed(cells()[name]).get("aria-hidden") == "true"

    @given(words)
    def test_shows_words_from_outside_as_they_are(self, label: str) -> None:
        for chart in all_charts(label).values():
            root = parsed(chart)
            assert f"Title {label}" in [element.text for element in root.iter("title")]
            assert {element.tag for element in root.iter()} <= {
                "svg", "title", "desc", "g", "rect", "line", "circle", "text",
            }  # fmt: skip

    @pytest.mark.parametrize("chart", [*all_charts().values(), *cells().values()], ids=[*all_charts(), *cells()])
    def test_stays_inside_its_width_and_takes_its_colours_from_the_page(self, chart: str) -> None:
        for value in re.findall(r'\b(?:x|x1|x2|cx|width)="(-?[0-9.]+)%"', chart):
            assert 0 <= float(value) <= 100
        assert not re.search(r"#[0-9a-f]{3}|rgb|style=|fill=|stroke=", chart)


class TestAxis:
    @given(finite, finite)
    def test_holds_its_values_between_round_ends(self, one: float, other: float) -> None:
        low, high = min(one, other), max(one, other)
        first, last, ticks = charts.axis(low, high)
        slack = 1e-6 * max(last - first, 1e-9)
        assert first <= low + slack
        assert last >= high - slack
        assert 2 <= len(ticks) <= 12
        assert ticks == sorted(set(ticks))

    def test_has_ticks_that_people_count_in(self) -> None:
        assert charts.axis(0, 1) == (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1])
        assert charts.axis(-0.3, 0.3)[2] == [-0.4, -0.2, 0, 0.2, 0.4]
        assert charts.axis(0, 0)[:2] == (0, 1)


class TestIntervals:
    def test_a_dot_is_filled_where_the_interval_leaves_zero_out(self) -> None:
        rows = [Interval("a", 1, 0.5, 1.5), Interval("b", -1, -1.5, -0.5), Interval("c", 0.1, -1, 1), Interval("d", 1)]
        chart = charts.intervals(rows, title="", description="")
        dots = [element.get("class") for element in parsed(chart).iter("circle")]
        assert dots == ["sure", "sure", "unsure", "unsure"]

    def test_a_value_stands_inside_its_interval_and_right_of_a_smaller_one(self) -> None:
        rows = [Interval("a", 1.0, 0.5, 1.5), Interval("b", -0.5, -1.0, 0.0)]
        chart = charts.intervals(rows, title="", description="")
        starts, ends = numbers(chart, "line", "x1", "interval"), numbers(chart, "line", "x2", "interval")
        dots = numbers(chart, "circle", "cx")
        assert all(start < dot < end for start, dot, end in zip(starts, dots, ends))
        assert dots[0] > dots[1]

    def test_a_limit_beyond_all_values_is_inside_the_chart(self) -> None:
        chart = charts.intervals([Interval("a", 0.1, 0, 0.2)], title="", description="", limit=("tolerance 3", 3.0))
        assert numbers(chart, "line", "x1", "limit")[0] > numbers(chart, "circle", "cx")[0]

    def test_a_row_without_a_value_says_so(self) -> None:
        chart = charts.intervals([Interval("Scarf", None)], title="", description="")
        assert [e.text for e in parsed(chart).iter("text") if "absent" in e.get("class", "")] == ["Scarf", "n/a"]

    def test_says_value_and_interval_on_hover(self) -> None:
        chart = charts.intervals([Interval("Hat", 1.0, -0.5, 1.5)], title="", description="")
        assert "Hat: +1.00 points, 95 % interval −0.50 to +1.50" in chart


class TestConfusionMatrix:
    chart = charts.confusion_matrix(COUNTS, NAMES, title="", description="")

    def test_says_the_share_of_the_row_on_hover(self) -> None:
        told = [element.text for element in parsed(self.chart).iter("title")]
        assert "Hat as Background: 25.00 %" in told
        assert "Background as Background: 90.00 %" in told

    def test_is_denser_where_there_is_more(self) -> None:
        opacity = {
            element[0].text: float(element.get("fill-opacity", "nan"))
            for element in parsed(self.chart).iter("rect")
            if len(element)
        }
        assert list(opacity.values()) == pytest.approx([0.95, 0.32, 0, 0.5, 0.87, 0], abs=0.005)

    def test_leaves_the_row_of_a_class_without_pixels_empty_and_says_so(self) -> None:
        assert not re.search("Face &amp; &lt;hair&gt; as", self.chart)
        assert "Face &amp; &lt;hair&gt; n/a" in self.chart

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_density_orders_shares_as_they_are(self, one: float, other: float) -> None:
        assert (charts.density(one) < charts.density(other)) == (one < other) or abs(one - other) < 1e-12

    def test_the_key_shows_the_densities_of_the_chart(self) -> None:
        root = parsed(charts.density_key())
        shares = [float((item[0].tail or "").split()[0]) / 100 for item in root.iter("li")]
        drawn = [float(element.get("fill-opacity", "nan")) for element in root.iter("rect")]
        assert drawn == pytest.approx([charts.density(share) for share in shares], abs=0.005)
        assert shares[0] == 0
        assert shares[-1] == 1


class TestSmallCharts:
    def test_bars_are_as_long_as_their_values(self) -> None:
        assert numbers(charts.pair_of_bars(0.5, 0.25), "rect", "width", "reference") == [50]
        assert numbers(charts.pair_of_bars(0.5, 0.25), "rect", "width", "engine") == [25]
        assert numbers(charts.pair_of_bars(None, 0.25), "rect", "width", "reference") == []
        assert numbers(charts.bar(1.7), "rect", "width", "engine") == [100]

    def test_spans_share_a_scale_that_bends_beyond_one(self) -> None:
        wide, narrow = charts.spans([(-100.0, 100.0), (-1.0, 10.0)])
        assert (numbers(wide, "rect", "x"), numbers(wide, "rect", "width")) == ([0], [100])
        # -1 is a third of the way from zero to -100, and 10 two thirds of the way to 100.
        assert numbers(narrow, "rect", "x") == pytest.approx([100 / 3], abs=0.01)
        assert numbers(narrow, "rect", "width") == pytest.approx([50], abs=0.01)

    def test_dots_share_a_scale_with_the_limit(self) -> None:
        cells = charts.dots([Interval("a", 0.5), Interval("b", 2.0), Interval("c", None)], 1.0)
        limits = [numbers(cell, "line", "x1", "limit") for cell in cells]
        assert limits[0] == limits[1] == limits[2]
        assert numbers(cells[0], "circle", "cx") < limits[0] < numbers(cells[1], "circle", "cx")
        assert numbers(cells[2], "circle", "cx") == []

    def test_shares_split_every_bar_in_two(self) -> None:
        chart = charts.shares([("a", 0.3), ("b", 1.0)], ("in", "out"), title="", description="")
        assert numbers(chart, "rect", "width", "engine") == [30, 100]
        assert numbers(chart, "rect", "width", "reference") == [70, 0]
        assert "a: 30.0 % in, 70.0 % out" in chart

    def test_the_tallest_bin_fills_the_histogram_and_empty_ones_draw_nothing(self) -> None:
        chart = charts.histogram([0, 1, 2, 3], [2, 0, 8], [("p50", 2.5)], title="", description="")
        heights = numbers(chart, "rect", "height")
        assert heights == [30, 120]
        assert "2 to 3: 8" in chart
