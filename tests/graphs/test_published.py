"""Presets are data that hold together, and say of a graph why it is not theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trtparse.errors import UsageError
from trtparse.graphs.conventions import fits
from trtparse.graphs.facts import facts_of
from trtparse.graphs.interface import read_onnx
from trtparse.graphs.published import LAYOUTS, misfits, preset, presets, read_preset
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tests.graphs.foreign_graphs import foreign

MODELS = {
    "bodypix_mobilenet050_stride8.onnx": {"bodypix"},
    "light_weight_person_detector_192.onnx": {"yolox"},
    "movenet_thunder_256.onnx": {"movenet"},
    "yolox_nano.onnx": {"yolox"},
}


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_says_all_that_its_task_needs(name: str) -> None:
    one = preset(name)
    assert one.layout in LAYOUTS
    assert one.about
    assert one.source
    assert one.takes(one.framing.input_size)
    if one.task == "parsing":
        assert len(label_set(one.labels)) >= 7
        assert one.align_corners is not None
        assert not one.decoding
    else:
        assert one.decoding["kind"] in ("keypoints", "simcc", "heatmaps", "yolox")
        assert (len(load_skeleton(one.skeleton)) > 10) if one.task == "pose" else one.labels == "person"


def test_what_the_authors_say_of_their_networks_is_there() -> None:
    lip, ce2p, clothes = preset("schp-lip"), preset("ce2p"), preset("segformer-clothes")
    # Channels and means of SCHP are both turned round; CE2P's channels alone.
    assert (lip.framing.order, lip.framing.mean) == ("BGR", (0.406, 0.456, 0.485))
    assert (ce2p.framing.order, ce2p.framing.mean) == ("BGR", (0.485, 0.456, 0.406))
    assert (lip.align_corners, clothes.align_corners) == (True, False)
    assert {preset(f"schp-{word}").framing.input_size for word in ("atr", "pascal")} == {(512, 512)}
    assert [len(label_set(preset(f"schp-{word}").labels)) for word in ("lip", "atr", "pascal")] == [20, 18, 7]


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(MODELS))
def test_of_networks_that_nobody_here_made_those_fit_that_should(name: str, shared_data: Path) -> None:
    path = shared_data.parent / "models" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = fits(facts_of(read_onnx(path)))
    assert {one for one, reasons in found.items() if not reasons} == MODELS[name]
    assert all(reason for reasons in found.values() for reason in reasons)


def test_what_differs_is_named() -> None:
    facts = facts_of(foreign(18, size=(512, 512), outputs=("scores",)))
    assert fits(facts)["schp-atr"] == []
    assert fits(facts)["segformer-clothes"] == ["it has no output logits"]
    assert "its input is not NHWC" in fits(facts)["bodypix"]
    assert misfits(replace(preset("segformer-clothes"), output="scores"), facts, 18) == []


def test_sides_that_may_be_several_are_told_with_their_nearest() -> None:
    bodypix, yolox = preset("bodypix"), preset("yolox")
    assert (bodypix.sides, yolox.sides) == ("16k + 1", "32k")
    assert (bodypix.near((32, 50)), yolox.near((3, 640))) == ((33, 49), (32, 640))
    assert (bodypix.takes((33, 49)), bodypix.takes((32, 48)), yolox.takes((32, 64)), yolox.takes((33, 65))) == (
        *(True, False),
        *(True, False),
    )


@pytest.mark.parametrize(
    "text", ["task = 3 4", 'task = "parsing"', 'task = "parsing"\nspeed = 1\n[framing]\ninput_size = [4, 4]\n[graph]\n']
)
def test_a_file_that_is_no_preset_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.toml is no preset"):
        read_preset(tmp_path / "mine.toml")
