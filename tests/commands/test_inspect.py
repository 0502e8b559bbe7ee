from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from trtparse.calibration.budget.score import Score
from trtparse.calibration.budget.search import Search
from trtparse.engines import Bundle
from trtparse.engines.accuracy import Accuracy
from trtparse.engines.bundle import add_accuracy, add_files, open_bundle

Run = Callable[..., tuple[int, str, str]]


def test_it_says_what_a_bundle_holds(bundle: Bundle, run: Run) -> None:
    reached = Accuracy("some", 7, "PyTorch 2.13.0, fp32", 0.99, "mIoU", value=46.27, loss=(0.05, -0.1, 0.2))
    engine = {"engine": "engines/a.engine", "precision": "int8", "multiprocessors": 16, "unverified": ["agrees on 3 %"]}
    add_accuracy(bundle, {"cpu-int8": reached})
    add_files(open_bundle(bundle.path), {"engines/a.json": json.dumps(engine).encode()})
    code, out, _ = run("inspect", str(bundle.path))
    assert code == 0
    for text in (
        bundle.manifest.network,
        "fp32, fp16, int8",
        "key: images",
        "cpu-int8",
        "46.27",
        "engines/a.engine",
        "multiprocessors 16",
    ):
        assert text in out
    assert "accepted unverified" in out
    assert "agrees on 3 %" in out
    for value in bundle.manifest.calibration["key"].values():
        assert str(value)[:16] in out


@pytest.mark.parametrize(("figures", "told"), [({"agreement_value": 98.03}, "98.03"), ({}, None)])
def test_agreement_is_told_by_pixels_and_by_classes_where_the_bundle_has_both(
    bundle: Bundle, run: Run, figures: dict[str, float], told: str | None
) -> None:
    add_accuracy(bundle, {"cpu-int8": Accuracy("some", 7, "PyTorch", 0.9961, **figures)})
    _, out, _ = run("inspect", str(bundle.path))
    line = next(line for line in out.splitlines() if "99.61 % of the pixels" in line)
    assert (", agreement " in " ".join(out.split())) == (told is not None)
    assert told is None or told in out
    assert "some" in line


def test_a_budget_says_its_unit_and_what_was_reached_and_a_reason_is_told_once(bundle: Bundle, run: Run) -> None:
    score = Score(agreement=98.03, share=99.6, value=None, loss=None, images=5, invented=0)
    search = Search(("a",), score, ("stem", "head"), 2.0, ())
    higher = {"stem": "given back", "logits": "it makes them", "head": "given back"}
    calibration = {**bundle.manifest.calibration, "search": search.to_dict(), "higher_precision": higher}
    manifest = replace(bundle.manifest, calibration=calibration)
    (bundle.path / "bundle.json").write_text(manifest.to_json())
    _, out, _ = run("inspect", str(bundle.path))
    told = " ".join(out.split())
    assert "at most 2 points of agreement: 1.97 are lost; in FP16 for it: stem, head" in told
    assert "given back (stem, head); it makes them (logits)" in told


def test_figures_of_an_earlier_version_are_said_to_be_others(bundle: Bundle, run: Run) -> None:
    older = Accuracy("some", 7, "PyTorch", 0.99, value=46.0, loss=(0.05, -0.1, 0.2))
    now = replace(older, agreement_value=98.0, left_out=("Scarf",), invented=34, invented_in=("Scarf",))
    score = Score(agreement=98.03, share=99.6, value=None, loss=None, images=5)
    for reached, told in ((older, True), (now, False)):
        add_accuracy(bundle, {"cpu-int8": reached})
        _, out, _ = run("inspect", str(bundle.path))
        words = " ".join(out.split())
        assert ("by an earlier version, over other classes" in words) == told
        assert ("invents 34 pixels of Scarf" in words) == (not told)
    search = Search(("a",), score, ("stem",), 2.0, ()).to_dict()
    calibration = {**bundle.manifest.calibration, "search": search, "methods": {"max": score.to_dict()}}
    (bundle.path / "bundle.json").write_text(replace(bundle.manifest, calibration=calibration).to_json())
    words = " ".join(run("inspect", str(bundle.path))[1].split())
    assert "1.97 are lost (by an earlier version, over other classes)" in words
    assert "max 98.03 (measured by an earlier version, over other classes)" in words


def test_json_is_the_manifest(bundle: Bundle, run: Run) -> None:
    code, out, _ = run("inspect", str(bundle.path), "--json")
    assert code == 0
    document = json.loads(out)
    assert document["manifest"]["files"] == bundle.manifest.files
    assert document["engines"] == []


def test_a_changed_file_is_named(bundle: Bundle, run: Run) -> None:
    bundle.graph("fp16").write_bytes(b"something else")
    code, _, err = run("inspect", str(bundle.path))
    assert code == 2
    assert "student.fp16.onnx is damaged" in err


def test_it_says_what_the_weights_come_from_and_under_which_licence_they_are(bundle: Bundle, run: Run) -> None:
    code, out, _ = run("inspect", str(bundle.path))
    assert code == 0
    words = " ".join(out.split())
    assert "training data Clothing Co-Parsing" in words
    assert "licence Apache-2.0" in words
    assert "LIP-20 (20 classes)" in words
