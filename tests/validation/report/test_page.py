from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.errors import UsageError
from trtparse.specs.origin import Origin
from trtparse.tests.predicting import HANDS
from trtparse.validation.report import page as report
from trtparse.validation.report.page import check_report_folder, html, write_report
from trtparse.validation.result import ValidationResult

MadeUp = Callable[..., ValidationResult]

RANGES = {f"/layer{number}/Conv_output_0": (-float(number), 3.0 * number) for number in range(30)}
SENSITIVITY = {f"layer{number}": 0.01 * number for number in range(30)}

VOID = {"meta", "img", "br", "link", "hr", "input"}


@dataclasses.dataclass
class Node:
    """An element of a page, as html.parser saw it."""

    tag: str
    attributes: dict[str, str]
    parent: Node | None = dataclasses.field(default=None, repr=False)
    parts: list[Node | str] = dataclasses.field(default_factory=list, repr=False)

    @property
    def children(self) -> list[Node]:
        return [part for part in self.parts if isinstance(part, Node)]

    def all(self, *tags: str) -> list[Node]:
        """It and every element in it, or those with one of the tags."""
        found = [self] if not tags or self.tag in tags else []
        return found + [node for child in self.children for node in child.all(*tags)]

    @property
    def text(self) -> str:
        """All text in it, in single blanks; titles of charts included."""
        return " ".join(" ".join(part if isinstance(part, str) else part.text for part in self.parts).split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()


class Page(HTMLParser):
    """Builds a tree, and knows of elements that are not closed as they should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self.now = Node("", {})
        self.feed(text)
        self.close()
        assert self.now is self.root, f"<{self.now.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs}, self.now)
        self.now.parts.append(node)
        if tag not in VOID:
            self.now = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.now = self.now.parent

    def handle_endtag(self, tag: str) -> None:
        assert self.now.tag == tag, f"</{tag}> closes <{self.now.tag}>"
        self.now = self.now.parent

    def handle_data(self, data: str) -> None:
        self.now.parts.append(data)


def page(text: str) -> Node:
    return Page(text).root


VARIANTS: dict[str, Callable[[MadeUp], str]] = {
    "one engine": lambda made_up: html(made_up(), ranges=RANGES, sensitivity=SENSITIVITY, command="trtparse validate"),
    "three engines": lambda made_up: html(made_up((0.4, 1.7, -0.1))),
    "without labels": lambda made_up: html(made_up(labelled=False)),
    "partial, images left out": lambda made_up: html(made_up(partial=True, skipped=(("a.jpg", "a.jpg is cut off."),))),
    "without pictures": lambda made_up: html(made_up(pictures=False)),
}


_MADE: dict[str, str] = {}


@pytest.fixture(params=[*VARIANTS, "hostile names"])
def any_page(request: pytest.FixtureRequest, made_up: MadeUp, hostile: ValidationResult) -> str:
    """A page of every kind; each is made once."""
    if request.param not in _MADE:
        make = VARIANTS.get(request.param, lambda _: hostile_page(hostile))
        _MADE[request.param] = make(made_up)
    return _MADE[request.param]


def hostile_page(hostile: ValidationResult) -> str:
    return html(hostile, ranges={hostile.dataset: (0, 1)}, sensitivity={hostile.dataset: 1}, command=hostile.dataset)


class TestStructure:
    def test_nothing_comes_from_elsewhere_and_nothing_runs(self, any_page: str) -> None:
        root = page(any_page)
        assert not root.all("script", "link", "iframe", "object", "embed", "base", "form", "use", "foreignobject")
        for node in root.all():
            assert not [name for name in node.attributes if name.startswith("on")]
            for name in ("src", "srcset", "href", "xlink:href", "poster", "action", "background"):
                value = node.attributes.get(name, "#")
                assert re.match(r"#[\w-]*$|data:image/(png|jpeg);base64,[\w+/=]+$", value), value[:80]
        styles = " ".join(node.text for node in root.all("style"))
        assert not re.search(r"url\(|@import|@font-face|expression", styles)

    def test_the_page_forbids_itself_to_load_anything(self, any_page: str) -> None:
        policies = [
            node.attributes["content"]
            for node in page(any_page).all("meta")
            if node.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]

    def test_headings_go_down_one_step_at_a_time_from_a_single_first(self, any_page: str) -> None:
        levels = [int(node.tag[1]) for node in page(any_page).all("h1", "h2", "h3", "h4", "h5", "h6")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels))

    def test_every_picture_and_chart_has_words_instead(self, any_page: str) -> None:
        root = page(any_page)
        for image in root.all("img"):
            assert image.attributes["alt"].strip()
        charts = root.all("svg")
        assert charts
        for chart in charts:
            if chart.parent is not None and chart.parent.tag == "svg":
                continue  # a label inside a chart
            if chart.attributes.get("aria-hidden") == "true":
                # What is hidden from screen readers has its numbers in the same row of a table, or its words beside it.
                row = chart.parent.parent if chart.parent.tag == "td" else chart.parent
                assert re.search(r"\d|n/a", row.text)
            else:
                assert chart.attributes["role"] == "img"
                assert [child.tag for child in chart.children[:2]] == ["title", "desc"]
                assert all(len(child.text) > 10 for child in chart.children[:2])

    def test_tables_name_their_columns_and_rows(self, any_page: str) -> None:
        tables = page(any_page).all("table")
        assert tables
        for table in tables:
            assert table.all("caption")[0].text
            assert {node.attributes.get("scope") for node in table.all("th")} == {"col", "row"}
            widths = {len(row.all("th", "td")) for row in table.all("tr")}
            assert len(widths) == 1

    def test_keys_reach_links_and_summaries_in_the_order_of_the_page(self, any_page: str) -> None:
        root = page(any_page)
        assert not [node for node in root.all() if "tabindex" in node.attributes]
        assert not root.all("button", "input", "select", "textarea")
        places = {node.attributes["id"] for node in root.all() if "id" in node.attributes}
        links = root.all("a")
        assert links
        assert all(link.attributes["href"][1:] in places and link.text for link in links)
        assert root.all("summary")

    def test_ids_are_unique(self, any_page: str) -> None:
        ids = [node.attributes["id"] for node in page(any_page).all() if "id" in node.attributes]
        assert len(ids) == len(set(ids))

    def test_language_title_and_viewport_are_given(self, any_page: str) -> None:
        root = page(any_page)
        assert root.all("html")[0].attributes["lang"] == "en"
        assert root.all("title")[0].text
        viewport = [node for node in root.all("meta") if node.attributes.get("name") == "viewport"]
        assert viewport[0].attributes["content"] == "width=device-width, initial-scale=1"


class TestWords:
    def test_names_from_outside_are_shown_as_they_are(self, hostile: ValidationResult) -> None:
        name = hostile.dataset
        assert "<script>" in name
        text = page(hostile_page(hostile)).all("main")[0].text
        # Dataset (twice), machine, both engines, bundle (twice), command, range, layer and the eight images.
        assert text.count(name) >= 20

    def test_the_verdict_comes_first(self, made_up: MadeUp) -> None:
        heading = page(html(made_up((0.42,)))).all("h1")[0]
        assert heading.text == "PASSED INT8 (cpu) loses 0.42 points of mean IoU"
        heading = page(html(made_up((1.01,)))).all("h1")[0]
        assert heading.text == "FAILED INT8 (cpu) loses 1.01 points of mean IoU"
        assert page(html(made_up((-0.2,)))).all("h1")[0].text.endswith("gains 0.20 points of mean IoU")

    def test_the_verdict_has_precision_loss_interval_and_tolerance(self, made_up: MadeUp) -> None:
        facts = page(html(made_up((0.42,)))).all("dl")[0].text
        assert "Precision INT8 cpu" in facts
        assert "Loss of mean IoU +0.42 +0.11 to +0.75" in facts
        assert "Tolerance 1 points of mean IoU" in facts
        assert "Images 10,000 none left out" in facts

    def test_the_verdict_has_the_agreement_and_over_how_many_classes_it_goes(self, made_up: MadeUp) -> None:
        result = made_up()
        root = page(html(result))
        agreement = f"{100 * result.first.agreement.mean_iou:.2f}"
        assert f"agreement over 19 classes: {agreement}" in root.all("dl")[0].text
        assert "without Jumpsuits. The engine invents nothing." in root.text
        table = next(node for node in page(html(made_up((0.4, 1.7)))).all("table") if "engines" in node.classes)
        assert agreement in [cell.text for cell in table.all("tr")[2].all("td")]

    def test_methods_that_an_earlier_version_measured_are_said_to_be(self, made_up: MadeUp) -> None:
        score = {"agreement": 97.5, "pixel_agreement": 99.1, "mean_iou": None, "loss": None, "images": 8}
        for added, told in (({}, True), ({"invented_pixels": 0}, False)):
            calibration = {"method": "max", "images": 5, "dataset": "some", "methods": {"max": {**score, **added}}}
            text = page(html(made_up(), calibration=calibration)).text
            assert ("Measured by an earlier version, over other classes." in text) == told

    def test_without_labels_it_says_agreement_only(self, made_up: MadeUp) -> None:
        text = html(made_up(labelled=False))
        assert page(text).all("h1")[0].text.startswith("AGREEMENT ONLY INT8 (cpu) agrees with PyTorch on")
        assert "The images have no labels" in text
        assert "Tolerance" not in text

    def test_a_partial_result_is_stamped(self, made_up: MadeUp) -> None:
        text = page(html(made_up(partial=True))).text
        assert "PARTIAL The run was interrupted: everything here is about the first 2,500 of 10,000 images." in text
        assert "PARTIAL" not in html(made_up())

    def test_a_class_that_does_not_occur_is_grey_and_not_in_the_mean(self, made_up: MadeUp) -> None:
        root = page(html(made_up()))
        assert "mean over 19 of 20 classes" in root.text
        table = next(node for node in root.all("table") if "classes" in node.classes)
        rows = {row.all("th")[0].text: row for row in table.all("tr")}
        assert "absent" in rows["Jumpsuits"].classes
        assert "does not occur" in rows["Jumpsuits"].text
        assert rows["Jumpsuits"].text.count("n/a") == 5
        assert "absent" not in rows["Hat"].classes

    def test_names_and_colours_are_those_of_the_label_set(self, made_up: MadeUp) -> None:
        root = page(html(made_up(labels=HANDS)))
        table = next(node for node in root.all("table") if "classes" in node.classes)
        assert [row.all("th")[0].text for row in table.all("tr")[1:]] == list(HANDS.classes)
        palette = next(node for node in root.all("ul") if "palette" in node.classes)
        assert "Left hand" in palette.text
        assert f"background: rgb{HANDS.colours[2]}" in html(made_up(labels=HANDS))
        assert "Label set Hands-4 (4 classes)" in root.text
        assert "of 4 classes" in root.text
        assert not any(name in root.text for name in ("Scarf", "Left-arm", "LIP-20"))

    def test_it_says_what_the_weights_come_from_where_somebody_said(self, made_up: MadeUp) -> None:
        text = page(html(made_up(), origin=Origin("images of <mine>", "CC BY 4.0"))).text
        assert "Training data images of <mine>" in text
        assert "Licence of the weights CC BY 4.0" in text
        assert "Training data" not in html(made_up())

    def test_the_class_table_has_the_figures_of_the_result(self, made_up: MadeUp) -> None:
        result = made_up()
        table = next(node for node in page(html(result)).all("table") if "classes" in node.classes)
        hat = [cell.text for cell in table.all("tr")[2].all("td")][1:]
        loss = result.first.loss.rows[1]
        expected = [
            *(f"{100 * scores.class_iou[1]:.2f}" for scores in (result.reference, result.first.scores)),
            f"{loss.points:+.2f}",
            f"{loss.low:+.2f} to {loss.high:+.2f}",
            f"{100 * result.first.agreement.class_iou[1]:.2f}",
            f"{result.reference.image_support[1]:,}",
        ]
        assert [cell.replace("−", "-") for cell in hat[:-1]] == expected

    def test_several_engines_have_a_table_and_a_section_each(self, made_up: MadeUp) -> None:
        root = page(html(made_up((0.4, 1.7, -0.1))))
        sections = [heading.text for heading in root.all("h2")]
        assert sections[:4] == ["Engines", "INT8 (cpu) PASSED", "FP16 (cpu) FAILED", "FP32 (cpu) PASSED"]
        table = next(node for node in root.all("table") if "engines" in node.classes)
        assert [row.all("th")[0].text for row in table.all("tr")[1:]] == [
            "PyTorch", "INT8 (cpu)", "FP16 (cpu)", "FP32 (cpu)",
        ]  # fmt: skip
        assert root.all("h1")[0].text.startswith("FAILED 1 of 3 engines loses too much; at worst FP16 (cpu)")

    def test_what_is_not_known_has_no_section(self, made_up: MadeUp) -> None:
        def sections(text: str) -> set[str]:
            return {heading.text for heading in page(text).all("h2")}

        known = sections(html(made_up(), ranges=RANGES, sensitivity=SENSITIVITY))
        assert known - sections(html(made_up())) == {"Ranges", "Sensitivity"}
        result = made_up()
        untimed = dataclasses.replace(
            result,
            reference_run=dataclasses.replace(result.reference_run, latency=None),
            engines=(dataclasses.replace(result.first, run=dataclasses.replace(result.first.run, latency=None)),),
        )
        assert sections(html(result)) - sections(html(untimed)) == {"Latency"}
        assert "Images left out" in sections(html(made_up(skipped=(("a", "b"),)))) - sections(html(made_up()))

    def test_the_widest_ranges_and_most_sensitive_layers_come_first(self, made_up: MadeUp) -> None:
        root = page(html(made_up(), ranges=RANGES, sensitivity=SENSITIVITY))
        tables = [node for node in root.all("table") if "layers" in node.classes]
        names = [[row.all("th")[0].text for row in table.all("tr")[1:]] for table in tables]
        assert names[0][:2] == ["/layer29/Conv_output_0", "/layer28/Conv_output_0"]
        assert names[1][:2] == ["layer29", "layer28"]
        assert len(names[0]) == len(names[1]) == 20
        assert "20 of 30" in root.text

    def test_the_machine_every_version_and_the_command_are_there(self, made_up: MadeUp) -> None:
        result = made_up()
        text = page(html(result, command="trtparse validate 'build/a b' --data LIP")).text
        for name, value in result.machine.items():
            assert f"{name} {value}" in text
        assert "trtparse validate 'build/a b' --data LIP" in text
        assert result.method in text
        assert "build/student0" in text

    def test_the_matrix_is_also_there_in_numbers(self, made_up: MadeUp) -> None:
        result = made_up()
        table = page(html(result)).all("details")[0].all("table")[0]
        shares = np.asarray(result.first.confusion)
        row = [float(cell.text) for cell in table.all("tr")[3].all("td")]
        assert row == pytest.approx(100 * shares[2] / shares[2].sum(), abs=0.051)

    def test_an_engine_that_agrees_everywhere_has_a_report(self, made_up: MadeUp) -> None:
        result = made_up()
        same = dataclasses.replace(
            result.first.disagreement, share=0.0, boundary_share=None, boundary_rate=None, interior_rate=None
        )
        result = dataclasses.replace(result, engines=(dataclasses.replace(result.first, disagreement=same, worst=()),))
        text = page(html(result)).text
        assert "differ on 0.00 % of the pixels" in text
        assert "Worst images" not in text


def themes() -> tuple[dict[str, str], dict[str, str]]:
    """The style sheet's colours, light and dark."""
    style = (Path(report.__file__).parent / "report.css.jinja").read_text()
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)", 1)
    colours = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part.split("* {")[0])) for part in (light, dark)]
    return colours[0], {**colours[0], **colours[1]}


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class TestColours:
    def test_the_measure_is_that_of_wcag(self) -> None:
        assert contrast("#000000", "#ffffff") == pytest.approx(21)
        assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)

    @pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
    def test_letters_stand_out_from_what_is_behind_them(self, theme: int) -> None:
        colours = themes()[theme]
        for letters in ("text", "muted", "accent", "passed", "failed", "partial"):
            for behind in ("page", "panel"):
                assert contrast(colours[letters], colours[behind]) >= 4.5, (letters, behind)

    @pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
    def test_bars_and_dots_stand_out_from_what_is_behind_them(self, theme: int) -> None:
        colours = themes()[theme]
        for drawn in ("accent", "reference", "failed"):
            for behind in ("page", "panel", "track"):
                assert contrast(colours[drawn], colours[behind]) >= 3, (drawn, behind)

    def test_both_themes_name_every_colour(self) -> None:
        style = (Path(report.__file__).parent / "report.css.jinja").read_text()
        dark = style.split("prefers-color-scheme: dark", 1)[1].split("* {")[0]
        assert set(re.findall(r"--([\w-]+):", dark)) == set(themes()[0])
        assert set(re.findall(r"var\(--([\w-]+)\)", style)) <= {*themes()[0], "tone"}


class TestFiles:
    def test_are_three_and_the_json_is_the_result(self, made_up: MadeUp, tmp_path: Path) -> None:
        result = made_up((0.4, 0.5))
        paths = write_report(result, tmp_path / "new" / "folder")
        assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
        assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["report.html", "report.json", "report.md"]
        assert ValidationResult.from_dict(json.loads(paths[2].read_text())) == result
        assert paths[1].read_text().startswith("## Validation: PASSED")

    def test_are_the_same_for_the_same_result(self, made_up: MadeUp, tmp_path: Path) -> None:
        first = [path.read_bytes() for path in write_report(made_up(), tmp_path / "a", ranges=RANGES)]
        assert first == [path.read_bytes() for path in write_report(made_up(), tmp_path / "b", ranges=RANGES)]

    def test_with_names_that_are_no_unicode_are_written_all_the_same(self, made_up: MadeUp, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.jpg")
        paths = write_report(made_up(skipped=((name, "cut off"),)), tmp_path)
        assert "caf\\udce9.jpg" in paths[0].read_text("utf-8")

    @pytest.mark.slow
    def test_of_ten_thousand_images_stay_below_5_mb(self, made_up: MadeUp, tmp_path: Path) -> None:
        skipped = tuple((f"image-{number}.jpg", "cut off " * 10) for number in range(10_000))
        result = made_up(skipped=skipped, size=(473, 473))
        result = dataclasses.replace(result, engines=result.engines * 8)
        path = write_report(result, tmp_path, ranges={f"tensor {n}": (-1.0, n) for n in range(2000)})[0]
        assert 1_000_000 < path.stat().st_size < 5_000_000
        text = page(path.read_text()).text
        assert text.count("image-") == 20
        assert "And 9980 more, in report.json." in text

    @pytest.mark.parametrize("name", ["report.html", "report.md", "report.json"])
    def test_that_cannot_be_written_are_refused_before_any_work(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).mkdir()
        with pytest.raises(UsageError, match=rf"{re.escape(name)} is a folder"):
            check_report_folder(tmp_path)

    def test_into_a_file_are_refused(self, made_up: MadeUp, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(UsageError, match="is not a folder"):
                check_report_folder(folder)
            with pytest.raises(UsageError, match="is not a folder"):
                write_report(made_up(), folder)
        assert (tmp_path / "file").read_text() == "mine"

    def test_into_a_folder_without_permission_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("trtparse.storage.files.os.access", lambda path, mode: False)
        with pytest.raises(UsageError, match="cannot be written to"):
            check_report_folder(tmp_path)

    def test_leave_the_old_report_whole_when_one_cannot_be_replaced(
        self, made_up: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = write_report(made_up((0.1,)), tmp_path)[0].read_bytes()

        def fail(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("trtparse.storage.files.os.replace", fail)
        with pytest.raises(Exception, match="No space left"):
            write_report(made_up((0.9,)), tmp_path)
        assert (tmp_path / "report.html").read_bytes() == old
        assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json", "report.md"]
