"""``validate`` and ``compare`` from the command line, with engines that need no runtime."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from trtparse.cli import main
from trtparse.commands.terminal import Terminal, with_rate
from trtparse.data.images import write_png
from trtparse.engines import Bundle, open_bundle
from trtparse.engines.accuracy import Accuracy
from trtparse.engines.base import Arrays, Engine, Frames
from trtparse.engines.bundle import GRAPHS, WEIGHTS_NAME, Manifest, add_accuracy, finish, writing
from trtparse.errors import UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import LabelSet, label_set
from trtparse.tests.predicting import LIP
from trtparse.validation.result import ValidationResult

SIZE = (64, 48)
IMAGES = 6
REACHED = Accuracy("some", 7, "PyTorch", 0.99, value=50.0)
REPORT = ["report.html", "report.json", "report.md"]
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few images at a time as the engines allow: a handful of images then makes several batches."""
    monkeypatch.setattr("trtparse.validation.validate._BATCH", 1)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process and in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code: Any = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return Outcome(code, *capsys.readouterr())

    return call


class Painted(Engine):
    """Labels a pixel with a tenth of its blue value, and a share of the rows as background."""

    def __init__(self, target: str, precision: str, spoilt_rows: int) -> None:
        super().__init__()
        self.name, self.target, self.precision = f"{target} {precision}", target, precision
        self.input_size, self.batch = SIZE, 1
        self.spoilt_rows = spoilt_rows

    def _run(self, frames: Frames) -> Arrays:
        labels = frames[..., 0] // 10
        labels[:, : self.spoilt_rows] = 0
        return (labels,)


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Engines that paint; how many rows an INT8 one spoils stands in its graph. Names of those that were opened."""
    names: list[str] = []

    def open_engine(bundle: Bundle, target: str, precision: str | None, *, threads: int = 0, **_: object) -> Engine:
        precision = precision or ("fp32" if target == "pytorch" else "int8")
        target = "onnxruntime" if target in ("auto", "cpu") else target
        names.append(f"{bundle.path.name} {target} {precision}")
        return Painted(target, precision, int(bundle.graph("int8").read_text()) if precision == "int8" else 0)

    monkeypatch.setattr("trtparse.tasks.open.open_engine", open_engine)
    return names


def write_bundle(path: Path, spoilt_rows: int, labels: LabelSet = LIP) -> Path:
    manifest = Manifest(
        task="parsing",
        network="painted",
        options={},
        spec=labels,
        framing=Framing(SIZE),
        batch=1,
        precisions=("fp32", "fp16", "int8"),
        parity={},
        calibration={},
        versions={},
    )
    with writing(path) as folder:
        for name in GRAPHS.values():
            (folder / name).write_text(str(spoilt_rows))
        (folder / WEIGHTS_NAME).write_text("of a checkpoint, so PyTorch is the reference")
        finish(folder, manifest)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Its INT8 engine loses nothing."""
    return write_bundle(tmp_path / "student", 0)


@pytest.fixture
def poor_bundle(tmp_path: Path) -> Path:
    """Its INT8 engine does not see the upper half."""
    return write_bundle(tmp_path / "poor", 32)


@pytest.fixture
def lip(tmp_path: Path) -> Path:
    folder = tmp_path / "lip"
    for kind in ("val_images", "val_segmentations"):
        (folder / kind).mkdir(parents=True)
    for index in range(IMAGES):
        labels = np.zeros(SIZE, np.uint8)
        labels[8:56, 8:24], labels[8:56, 24:40] = 5, 9 + index % 2
        write_png(folder / "val_segmentations" / f"{index}.png", labels)
        write_png(folder / "val_images" / f"{index}.png", np.repeat(labels[..., None] * 10, 3, axis=2))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(outcome: Outcome, words: str) -> None:
    assert outcome.code == 2
    assert words in outcome.err.replace("\n", " ")
    assert "Traceback" not in outcome.err


def test_the_rate_of_a_run_that_goes_on_leaves_out_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    monkeypatch.setattr("trtparse.commands.terminal.time.monotonic", lambda: next(clock))
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(Terminal, "progress", lambda self, *values: told.append(values))
    terminal = Terminal.__new__(Terminal)
    anew = with_rate(terminal)
    anew(3, 9)
    anew(8, 9)
    goes_on = with_rate(terminal, resumed=True)
    goes_on(100, 109)
    goes_on(103, 109)
    assert told == [(3, 9, "3.0 images/s"), (8, 9, "4.0 images/s"), (100, 109, ""), (103, 109, "3.0 images/s")]


class TestLabelSets:
    def test_the_one_that_is_asked_for_is_the_data_s(self, run: Run, bundle: Path, lip: Path) -> None:
        outcome = run("validate", bundle, "--data", lip, "--labels", "lip", "--json")
        assert outcome.code == 0
        assert json.loads(outcome.out)["spec"]["name"] == "LIP-20"

    @pytest.mark.parametrize("command", ["validate", "compare"])
    def test_a_bundle_of_another_is_refused_with_both_named(
        self, command: str, run: Run, bundle: Path, lip: Path, opened: list[str]
    ) -> None:
        outcome = run(command, bundle, "--data", lip, "--labels", "atr")
        refused(outcome, f"{bundle} has the label set LIP-20 (20 classes), and --labels atr has ATR-18 (18 classes)")
        assert opened == []

    def test_one_that_is_none_is_refused(self, run: Run, bundle: Path) -> None:
        refused(run("validate", bundle, "--labels", "lipp"), "There is no label set 'lipp'")

    def test_bundles_of_two_are_not_compared(self, run: Run, bundle: Path, lip: Path, tmp_path: Path) -> None:
        other = write_bundle(tmp_path / "other", 0, label_set("cihp"))
        outcome = run("compare", bundle, other, "--data", lip)
        refused(outcome, "has the label set LIP-20 (20 classes), and")
        assert "CIHP" in outcome.err

    def test_label_maps_of_another_than_the_bundle_s_are_refused(
        self, run: Run, bundle: Path, lip: Path, tmp_path: Path
    ) -> None:
        other = write_bundle(tmp_path / "other", 0, label_set("cihp"))
        refused(run("validate", other, "--data", lip), "has LIP-20 (20 classes)")
        assert run("validate", other, "--data", lip, "--labels", "cihp").code == 0


class TestReport:
    def test_lies_in_the_bundle_which_opens_as_before(self, run: Run, bundle: Path, lip: Path) -> None:
        before = open_bundle(bundle)
        outcome = run("validate", bundle, "--data", lip)
        assert (outcome.code, outcome.out.strip().splitlines()[-1][:6]) == (0, "PASSED")
        assert f"Report: {bundle / 'report.html'}" in outcome.err
        assert [path.name for path in sorted(bundle.iterdir()) if path.name.startswith("report")] == REPORT
        after = open_bundle(bundle)
        assert (after.digest, after.manifest.files) == (before.digest, before.manifest.files)
        # Nothing of the run is left over.
        assert set(content(bundle)) == {*before.manifest.files, "bundle.json", *REPORT}

    def test_json_is_the_same_document_and_as_its_schema_says(self, run: Run, bundle: Path, lip: Path) -> None:
        outcome = run("validate", bundle, "--data", lip, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        values = json.loads((bundle / "report.json").read_text())
        assert json.loads(outcome.out) == values
        jsonschema.validate(values, SCHEMA)
        result = ValidationResult.from_dict(values)
        assert (result.images, result.total, result.input_size) == (IMAGES, IMAGES, SIZE)
        assert (result.reference_run.target, result.first.run.precision) == ("pytorch", "int8")
        assert result.first.run.bundle == str(bundle)
        assert {"trtparse", "Python", "NumPy", "OpenCV", "cores"} <= set(result.machine)

    def test_the_measured_accuracy_goes_into_the_manifest(self, run: Run, bundle: Path, lip: Path) -> None:
        run("validate", bundle, "--data", lip)
        run("validate", bundle, "--data", lip, "--precision", "fp16")
        accuracy = open_bundle(bundle).manifest.accuracy
        assert list(accuracy) == ["onnxruntime-fp16", "onnxruntime-int8"]
        assert (accuracy["onnxruntime-int8"].images, accuracy["onnxruntime-int8"].value) == (IMAGES, 100.0)
        assert accuracy["onnxruntime-int8"].loss == (0.0, 0.0, 0.0)
        assert accuracy["onnxruntime-int8"].dataset.startswith("lip/")

    def test_layers_that_an_earlier_version_ranked_are_left_out_and_told_of(
        self, run: Run, bundle: Path, lip: Path
    ) -> None:
        score = {"agreement": 97.5, "pixel_agreement": 99.1, "mean_iou": None, "loss": None, "images": 8}
        for added, told in (({}, True), ({"invented_pixels": 0}, False)):
            values = {**score, **added}
            document = {
                "graph_sha256": open_bundle(bundle).manifest.files[GRAPHS["fp32"]],
                "whole": values,
                "layers": [{"layer": "stem.conv", "score": values}],
            }
            (bundle / "sensitivity.json").write_text(json.dumps(document))
            outcome = run("validate", bundle, "--data", lip)
            assert ("was measured by an earlier version" in " ".join(outcome.err.split())) == told
            assert ("stem.conv" in (bundle / "report.html").read_text()) != told

    @pytest.mark.parametrize("damaged", ["{", "[]", '{"layers": []}'])
    def test_a_damaged_ranking_of_layers_is_left_out_and_told_of(
        self, damaged: str, run: Run, bundle: Path, lip: Path
    ) -> None:
        (bundle / "sensitivity.json").write_text(damaged)
        outcome = run("validate", bundle, "--data", lip)
        assert outcome.code == 0
        assert "sensitivity.json is none that trtparse sensitivity wrote" in " ".join(outcome.err.split())
        assert (bundle / "report.html").is_file()

    def test_says_how_to_get_the_same_again(self, run: Run, lip: Path, tmp_path: Path) -> None:
        bundle = write_bundle(tmp_path / "my student", 0)
        typed = (
            "validate",
            bundle,
            "--limit",
            "5",
            "--data",
            lip,
            "--strict",
            "--scales",
            "1",
            "--json",
            "--threads",
            "1",
        )
        run(*typed)
        again = f"trtparse validate '{bundle}' --data {lip} --scales 1 --limit 5 --strict --threads 1"
        page = html.unescape((bundle / "report.html").read_text())
        assert again in page
        # And so it does.
        before = json.loads((bundle / "report.json").read_text())
        assert run(*shlex.split(again)[1:]).code == 0
        after = json.loads((bundle / "report.json").read_text())
        assert after["engines"][0]["scores"] == before["engines"][0]["scores"]

    @pytest.mark.parametrize("elsewhere", [True, False])
    def test_elsewhere_or_not_at_all_leaves_the_bundle_as_it_is(
        self, elsewhere: bool, run: Run, bundle: Path, lip: Path, tmp_path: Path
    ) -> None:
        before = content(bundle)
        place = ("--report", tmp_path / "new" / "folder") if elsewhere else ("--no-report",)
        assert run("validate", bundle, "--data", lip, *place).code == 0
        assert content(bundle) == before
        if elsewhere:
            assert sorted(content(tmp_path / "new" / "folder")) == REPORT

    def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
        self, run: Run, bundle: Path, lip: Path, opened: list[str], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("here")
        refused(run("validate", bundle, "--data", lip, "--report", tmp_path / "file"), "is not a folder")
        refused(run("validate", bundle, "--data", lip, "--junit", tmp_path / "missing" / "a.xml"), "does not exist")
        (bundle / "report.html").mkdir()
        outcome = run("validate", bundle, "--data", lip)
        refused(outcome, "report.html is a folder")
        assert "--report DIR, or --no-report" in outcome.err
        assert opened == []
        assert (tmp_path / "file").read_text() == "here"

    def test_both_with_and_without_is_refused(self, run: Run, bundle: Path, tmp_path: Path) -> None:
        refused(run("validate", bundle, "--no-report", "--report", tmp_path), "--no-report and --report contradict")

    def test_of_a_bundle_that_was_built_anew_meanwhile_the_figures_are_not_kept(self, bundle: Path) -> None:
        before = open_bundle(bundle)
        write_bundle(bundle, 1)
        assert not add_accuracy(before, {"cpu-int8": REACHED})
        assert open_bundle(bundle).manifest.accuracy == {}


class TestVerdict:
    def test_a_loss_above_the_tolerance_exits_with_4_and_is_reported(
        self, run: Run, poor_bundle: Path, lip: Path, tmp_path: Path
    ) -> None:
        arguments = ("validate", poor_bundle, "--data", lip, "--junit", tmp_path / "junit.xml")
        outcome = run(*arguments)
        assert (outcome.code, outcome.out.strip().splitlines()[-1][:6]) == (4, "FAILED")
        assert "Error" not in outcome.err
        assert json.loads((poor_bundle / "report.json").read_text())["passed"] is False
        assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"
        assert open_bundle(poor_bundle).manifest.accuracy["onnxruntime-int8"].value < 90
        assert run(*arguments, "--tolerance", "100").code == 0
        assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "0"


class TestProtocol:
    def test_is_named_in_the_result(self, run: Run, bundle: Path, lip: Path) -> None:
        outcome = run("validate", bundle, "--data", lip, "--order", "hrnet-labels", "--json")
        assert json.loads(outcome.out)["protocol"] == {"order": "hrnet-labels", "flip": False, "scales": [1.0]}

    @pytest.mark.parametrize("option", [("--flip",), ("--scales", "0.75,1"), ("--order", "hrnet")])
    def test_that_needs_logits_is_refused_where_there_are_none(
        self, option: tuple[str, ...], run: Run, bundle: Path, lip: Path
    ) -> None:
        outcome = run("validate", bundle, "--data", lip, *option)
        refused(outcome, "pytorch fp32 gives label maps alone")
        assert "trtparse build --logits" in outcome.err

    @pytest.mark.parametrize(
        ("scales", "words"), [("big", "'big' is no list of scales"), ("1,9", "A scale of 9"), ("1,1", "scales 1, 1")]
    )
    def test_scales_that_are_none_are_refused(self, scales: str, words: str, run: Run, bundle: Path, lip: Path) -> None:
        refused(run("validate", bundle, "--data", lip, "--scales", scales), words)


class TestInterruption:
    @pytest.fixture
    def interrupt(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
        """Ctrl-C after so many images; None for never."""
        progress = Terminal.progress

        def after(images: int | None) -> None:
            def report(terminal: Terminal, done: int, total: int | None, note: str = "") -> None:
                progress(terminal, done, total, note)
                if images is not None and done >= images:
                    raise KeyboardInterrupt

            monkeypatch.setattr(Terminal, "progress", report)

        return after

    def test_gives_the_result_so_far_and_resume_goes_on(
        self, interrupt: Callable[[int | None], None], run: Run, poor_bundle: Path, lip: Path
    ) -> None:
        arguments = ("validate", poor_bundle, "--data", lip, "--tolerance", "100")
        interrupt(1)
        outcome = run(*arguments)
        assert outcome.code == 130
        partial = json.loads((poor_bundle / "report.json").read_text())
        assert partial["partial"] is True
        assert 1 <= partial["images"] < IMAGES
        told = f"Interrupted after {partial['images']} of {IMAGES} images; the same command with --resume goes on."
        assert told in outcome.err
        assert open_bundle(poor_bundle).manifest.accuracy == {}
        interrupt(None)
        assert run(*arguments, "--resume").code == 0
        result = json.loads((poor_bundle / "report.json").read_text())
        assert (result["partial"], result["images"]) == (False, IMAGES)
        assert not list(poor_bundle.glob("*.jsonl"))
        run(*arguments)
        whole = json.loads((poor_bundle / "report.json").read_text())
        for value in ("scores", "loss", "agreement", "disagreement", "worst"):
            assert result["engines"][0][value] == whole["engines"][0][value]

    def test_a_run_begun_anew_says_what_it_gives_up(
        self, interrupt: Callable[[int | None], None], run: Run, bundle: Path, lip: Path
    ) -> None:
        interrupt(1)
        run("validate", bundle, "--data", lip)
        interrupt(None)
        outcome = run("validate", bundle, "--data", lip)
        assert outcome.code == 0
        assert "is begun anew; --resume would have gone on with it" in outcome.err

    @pytest.mark.parametrize(
        ("change", "words"),
        [(("--limit", "3"), "its images is"), (("--precision", "fp16"), "its engines is"), ((), "its bundles is")],
    )
    def test_a_record_of_another_run_is_refused_by_the_field(
        self,
        change: tuple[str, ...],
        words: str,
        interrupt: Callable[[int | None], None],
        run: Run,
        bundle: Path,
        lip: Path,
        tmp_path: Path,
    ) -> None:
        arguments = ("validate", bundle, "--data", lip, "--report", tmp_path / "report")
        interrupt(1)
        run(*arguments)
        interrupt(None)
        if not change:
            write_bundle(bundle, 1)
        refused(run(*arguments, "--resume", *change), words)

    def test_without_a_record_there_is_nothing_to_resume(self, run: Run, bundle: Path, lip: Path) -> None:
        refused(run("validate", bundle, "--data", lip, "--resume"), "no run to go on with")
        refused(run("validate", bundle, "--data", lip, "--resume", "--no-report"), "--resume needs the record")


class TestCompare:
    def test_sets_bundles_and_precisions_side_by_side(
        self, run: Run, bundle: Path, poor_bundle: Path, lip: Path, opened: list[str]
    ) -> None:
        before = content(bundle), content(poor_bundle)
        arguments = ("compare", bundle, f"{poor_bundle}:fp16", f"{poor_bundle}:int8", "--data", lip)
        outcome = run(*arguments, "--json")
        assert opened == [
            "student pytorch fp32",
            "student onnxruntime int8",
            "poor onnxruntime fp16",
            "poor onnxruntime int8",
        ]
        assert outcome.code == 4
        values = json.loads(outcome.out)
        jsonschema.validate(values, SCHEMA)
        assert [engine["passed"] for engine in values["engines"]] == [True, True, False]
        assert [Path(engine["run"]["bundle"]).name for engine in values["engines"]] == ["student", "poor", "poor"]
        assert (content(bundle), content(poor_bundle)) == before
        table = run(*arguments, "--tolerance", "100")
        assert table.code == 0
        assert table.out.strip().splitlines()[-1].startswith("PASSED")

    def test_all_stands_for_every_precision_of_a_bundle(
        self, run: Run, bundle: Path, lip: Path, opened: list[str], tmp_path: Path
    ) -> None:
        outcome = run("compare", f"{bundle}:all", "--data", lip, "--report", tmp_path / "report")
        assert outcome.code == 0
        assert opened[1:] == ["student onnxruntime fp32", "student onnxruntime fp16", "student onnxruntime int8"]
        assert sorted(content(tmp_path / "report")) == REPORT

    def test_a_folder_with_a_colon_is_a_folder(self, run: Run, lip: Path, tmp_path: Path, opened: list[str]) -> None:
        write_bundle(tmp_path / "a:int8", 0)
        assert run("compare", tmp_path / "a:int8", "--data", lip, "--precision", "fp16").code == 0
        assert opened == ["a:int8 pytorch fp32", "a:int8 onnxruntime fp16"]

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (("{}:int4",), "Unknown precision 'int4'"),
            (("{}:int8", "{}:int8"), "names an engine that was named before"),
            (("{}:int8", "{}:all"), "names an engine that was named before"),
            (("nowhere",), "No bundle at nowhere"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(
        self, names: tuple[str, ...], words: str, run: Run, bundle: Path, lip: Path, opened: list[str]
    ) -> None:
        refused(run("compare", *(name.format(bundle) for name in names), "--data", lip), words)
        assert opened == []

    def test_nothing_is_refused(self, run: Run) -> None:
        refused(run("compare"), "BUNDLE[:PRECISION]")


def test_a_manifest_of_the_first_schema_is_read_and_written_as_the_newest(bundle: Path) -> None:
    path = bundle / "bundle.json"
    values = json.loads(path.read_text())
    del values["accuracy"], values["digest"]
    from trtparse.engines.bundle import SCHEMA
    from trtparse.engines.document import digest_of

    values["schema"] = 1
    path.write_text(json.dumps({**values, "digest": digest_of(values)}))
    assert add_accuracy(open_bundle(bundle), {"cpu-int8": REACHED})
    assert open_bundle(bundle).manifest.accuracy == {"cpu-int8": REACHED}
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_accuracy_cannot_be_written_into_a_bundle_that_is_gone(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / "bundle.json").unlink()
    with pytest.raises(UsageError, match=r"bundle\.json"):
        add_accuracy(opened, {})
