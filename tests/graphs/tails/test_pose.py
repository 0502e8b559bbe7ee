"""Somebody else's network for poses gives keypoints in pixels of the frame, decoded in FP32 in every precision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtparse.calibration.quantise.placement import place
from trtparse.errors import UsageError
from trtparse.graphs.adapt import adapt
from trtparse.graphs.computed import run
from trtparse.graphs.conventions import Said
from trtparse.graphs.front import made_up_frames
from trtparse.graphs.half import to_half
from trtparse.graphs.index import property_of
from trtparse.graphs.interface import check_interface, skeleton_of
from trtparse.graphs.observe import framing_of
from trtparse.graphs.raw import raw_tensors
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tests.graphs.foreign_graphs import foreign_joints

HERE = Path("theirs.onnx")
SIZE = (32, 24)
MOVENET, RTMPOSE = (Said(preset=name, input_size=SIZE) for name in ("movenet", "rtmpose"))


def test_shares_of_the_frame_become_pixels_with_centres_at_whole_numbers() -> None:
    model = foreign_joints()
    made = adapt(model, MOVENET, HERE)
    frames = made_up_frames(1, SIZE)
    (theirs,) = run(model, {"pixels": np.ascontiguousarray(frames[..., ::-1]).astype(np.int32)}).values()
    y, x, score = np.moveaxis(theirs[:, 0], -1, 0)
    wanted = np.stack([x * 24 - 0.5, y * 32 - 0.5, score], -1)
    found = run(made, {"frames": frames})["keypoints"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.ptp(wanted[..., 0]) > 4


def test_it_says_of_itself_what_it_is() -> None:
    made = adapt(foreign_joints(), MOVENET, HERE)
    assert check_interface(made, HERE) == 1
    assert skeleton_of(made, None, HERE) == load_skeleton("coco17")
    framing = framing_of(made)
    assert framing.crop is not None
    assert (framing.order, framing.crop.across) == ("RGB", 1.0)
    assert (property_of(made, "task"), json.loads(property_of(made, "adapted"))["preset"]) == ("pose", "movenet")


def test_both_heads_are_raw_and_what_comes_after_them_is_fp32_in_fp16_and_in_int8() -> None:
    made = adapt(foreign_joints(), MOVENET, HERE)
    assert set(raw_tensors(made)) == {"maps", "offsets"}
    placement = place(made)
    assert placement.layers == ("conv1", "conv2")
    assert set(placement.higher_precision) == {"head", "offsets"}
    frames = made_up_frames(1, SIZE)
    whole, half = (run(graph, {"frames": frames})["keypoints"] for graph in (made, to_half(made)))
    np.testing.assert_allclose(half, whole, atol=0.05)
    # A sum of cells with an offset, in FP16, would stand on its grid.
    y = half[0, :, 1].astype(np.float64) + 0.5
    assert (np.abs(y / 4 - (y / 4).astype(np.float16).astype(np.float64)) > 1e-5).any()


def test_two_distributions_become_joints_at_their_highest_cells() -> None:
    model = foreign_joints("simcc")
    made = adapt(model, RTMPOSE, HERE)
    frames = made_up_frames(1, SIZE)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = ((frames[..., ::-1] / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    theirs = run(model, {"pixels": np.ascontiguousarray(pixels)})
    x, y = (theirs[name].argmax(2) / 2 for name in ("simcc_x", "simcc_y"))
    score = np.minimum(theirs["simcc_x"].max(2), theirs["simcc_y"].max(2))
    found = run(made, {"frames": frames})["keypoints"]
    np.testing.assert_allclose(found, np.stack([x, y, score], -1), atol=1e-3)
    assert set(raw_tensors(made)) == {"simcc_x", "simcc_y"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (replace(MOVENET, labels=label_set("atr")), "--labels with classes is about label maps"),
        (replace(MOVENET, returns="logits", align_corners=True), "--align-corners, --returns is about label maps"),
        (replace(MOVENET, skeleton=load_skeleton("lsp14")), r"\(1, 1, 17, 3\) float32: y, x, score of 14 joints"),
        (replace(MOVENET, input_size=None), "it takes 32x24 pixels, not 256x256"),
        (RTMPOSE, "its input is not NCHW"),
        (Said(preset="hrnet-pose"), "theirs.onnx gives heatmaps, as hrnet-pose does"),
        (Said(skeleton=load_skeleton("coco17")), "How theirs.onnx gives joints nobody said"),
        (Said(preset="bodypix", skeleton=load_skeleton("coco17")), "tells classes apart, and coco17"),
    ],
)
def test_what_does_not_fit_is_told(said: Said, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        adapt(foreign_joints(), said, HERE)
    assert caught.value.hint


def test_heatmaps_that_it_does_not_give_cannot_follow() -> None:
    with pytest.raises(UsageError, match="gives joints alone, and no heatmaps"):
        adapt(foreign_joints(), MOVENET, HERE, logits=True)


def test_distributions_along_the_other_axis_are_refused() -> None:
    model = foreign_joints("simcc")
    swapped = {"simcc_x": "simcc_y", "simcc_y": "simcc_x"}
    for value in (*model.graph.node, *model.graph.output):
        if value.name in swapped:
            value.name = swapped[value.name]
    for node in model.graph.node:
        node.output[:] = [swapped.get(name, name) for name in node.output]
    with pytest.raises(UsageError, match=r"gives \(1, 17, 64\): 48 cells of 17 joints are wanted"):
        adapt(model, RTMPOSE, HERE)
