"""Somebody else's detector gives boxes in pixels of the frame, of people alone, decoded in FP32 in every precision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from trtparse.calibration.quantise.placement import place
from trtparse.errors import UsageError
from trtparse.graphs.adapt import adapt
from trtparse.graphs.computed import run
from trtparse.graphs.conventions import Said
from trtparse.graphs.front import made_up_frames
from trtparse.graphs.half import to_half
from trtparse.graphs.index import property_of
from trtparse.graphs.interface import check_interface, read_onnx
from trtparse.graphs.observe import framing_of
from trtparse.graphs.raw import raw_tensors
from trtparse.graphs.tails.people import CANDIDATES, cells_of, is_decoded
from trtparse.specs.framing import Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.tests.graphs.foreign_graphs import foreign_boxes

HERE = Path("theirs.onnx")
SIZE = (64, 96)
YOLOX = Said(preset="yolox")


def rows_of(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    """What their own program computes with."""
    pixels = frames.transpose(0, 3, 1, 2).astype(np.float32)
    return np.asarray(run(model, {"pixels": np.ascontiguousarray(pixels)})["output"])


def boxes_of(rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, cells, 5) from the definition of undecoded rows, the best first."""
    grid = [(x, y, side) for side in (8, 16, 32) for y in range(size[0] // side) for x in range(size[1] // side)]
    x, y, side = np.array(grid, np.float64).T
    middle = np.stack([(rows[..., 0] + x) * side, (rows[..., 1] + y) * side], -1)
    half = np.exp(rows[..., 2:4]) * side[:, None] / 2
    score = rows[..., 4] * rows[..., 5]
    every = np.concatenate([middle - half, middle + half, score[..., None]], -1)
    order = np.argsort(-score, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(every, order[..., None], axis=1))


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("classes", [1, 80])
def test_rows_become_boxes_of_people_the_best_first(decoded: bool, classes: int) -> None:
    frames = made_up_frames(1, SIZE)
    wanted = boxes_of(rows_of(foreign_boxes(classes=classes), frames), SIZE)
    made = adapt(foreign_boxes(classes=classes, decoded=decoded), YOLOX, HERE)
    found = run(made, {"frames": frames})["boxes"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert np.ptp(wanted[..., 4]) > 0.1


def test_the_best_rows_alone_leave_the_graph() -> None:
    made = adapt(foreign_boxes(), replace(YOLOX, input_size=(160, 160)), HERE)
    frames = made_up_frames(1, (160, 160))
    found = run(made, {"frames": frames})["boxes"]
    assert found.shape == (1, CANDIDATES, 5)
    assert len(cells_of((160, 160))) > CANDIDATES
    np.testing.assert_allclose(found, boxes_of(rows_of(sized(160, 160), frames), (160, 160))[:, :CANDIDATES], atol=2e-3)


def sized(height: int, width: int) -> onnx.ModelProto:
    return foreign_boxes(size=(height, width))


def test_a_fixed_size_gives_way_where_no_constant_of_the_file_hangs_on_it() -> None:
    made = adapt(foreign_boxes(), replace(YOLOX, input_size=(32, 64)), HERE)
    frames = made_up_frames(1, (32, 64))
    np.testing.assert_allclose(
        run(made, {"frames": frames})["boxes"], boxes_of(rows_of(sized(32, 64), frames), (32, 64)), atol=2e-3
    )
    assert framing_of(adapt(foreign_boxes(), YOLOX, HERE)).input_size == SIZE
    with pytest.raises(UsageError, match=r"cannot be run on pixels \(1, 3, 32, 64\)") as caught:
        adapt(foreign_boxes(fits_any_size=False), replace(YOLOX, input_size=(32, 64)), HERE)
    assert "--input-size" in caught.value.hint
    with pytest.raises(UsageError, match="takes sides of 32k pixels, not 60x100") as caught:
        adapt(foreign_boxes(), replace(YOLOX, input_size=(60, 100)), HERE)
    assert "--input-size 64x96" in caught.value.hint


@pytest.mark.parametrize("batch", [2, None])
def test_an_open_batch_is_fixed_or_stays_open(batch: int | None) -> None:
    made = adapt(foreign_boxes(batch="n"), replace(YOLOX, batch=batch), HERE)
    assert check_interface(made, HERE) == batch
    frames = made_up_frames(2, SIZE)
    np.testing.assert_allclose(
        run(made, {"frames": frames})["boxes"], boxes_of(rows_of(foreign_boxes(batch="n"), frames), SIZE), atol=2e-3
    )


def test_it_says_of_itself_what_it_is() -> None:
    made = adapt(foreign_boxes(), YOLOX, HERE)
    assert check_interface(made, HERE) == 1
    framing = framing_of(made)
    assert (framing.order, framing.place, framing.fill) == ("BGR", "upper left", 114)
    assert framing == replace(
        Framing(SIZE), order="BGR", mean=(0, 0, 0), std=(1 / 255,) * 3, place="upper left", fill=114
    )
    assert (property_of(made, "task"), property_of(made, "label_set")) == ("people", "")
    assert json.loads(property_of(made, "adapted"))["preset"] == "yolox"


def test_every_head_is_raw_and_what_comes_after_them_is_fp32_in_fp16_and_in_int8() -> None:
    made = adapt(foreign_boxes(), YOLOX, HERE)
    heads = {f"{head}{side}" for head in ("box", "something", "class") for side in (8, 16, 32)}
    assert set(raw_tensors(made)) == {f"{head}_out" for head in heads}
    assert raw_tensors(made)[0].startswith("something")
    placement = place(made)
    assert set(placement.layers) == {"stem", "down16", "down32"}
    assert set(placement.higher_precision) == heads
    frames = made_up_frames(1, SIZE)
    half = to_half(made)
    whole, found = (run(graph, {"frames": frames})["boxes"] for graph in (made, half))
    assert found.dtype == np.float32
    # Whole pixels beyond 64 and a fraction: FP16 would stand on a grid of a sixteenth.
    right = found[0, :, 2].astype(np.float64)
    assert np.abs(right * 16 - np.round(right * 16)).max() > 0.05
    np.testing.assert_allclose(np.sort(found[..., 4]), np.sort(whole[..., 4]), atol=2e-3)


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(onnx.helper.make_tensor_value_info("columns", onnx.TensorProto.FLOAT, [None] * 3))


def no_classes(model: onnx.ModelProto) -> None:
    (last,) = [node for node in model.graph.node if node.output[0] == "output"]
    last.output[0] = "all"
    for name, value in (("from", 0), ("to", 5), ("axis", 2)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))
    model.graph.node.append(onnx.helper.make_node("Slice", ["all", "from", "to", "axis"], ["output"], "cut"))


def other_grids(model: onnx.ModelProto) -> None:
    (last,) = [node for node in model.graph.node if node.name == "columns"]
    del last.input[2]


@pytest.mark.parametrize(
    ("said", "spoil", "told"),
    [
        (replace(YOLOX, labels=label_set("person")), None, "finds people, as yolox does, and --labels with classes is"),
        (replace(YOLOX, skeleton=load_skeleton("coco17")), None, "and --labels is about label maps"),
        (replace(YOLOX, returns="logits", output="output"), None, "--returns, --output-name is about label maps"),
        (YOLOX, two_outputs, "it gives 2 outputs, not one"),
        (YOLOX, no_classes, r"gives \(1, 126, 5\) float32: 126 rows are wanted"),
        (
            YOLOX,
            other_grids,
            r"gives \(1, 120, 85\) float32: 126 rows are wanted, one for each cell of grids of 8, 16, 32",
        ),
    ],
)
def test_what_does_not_fit_is_told(said: Said, spoil: Any, told: str) -> None:
    model = foreign_boxes()
    if spoil is not None:
        spoil(model)
    with pytest.raises(UsageError, match=told) as caught:
        adapt(model, said, HERE)
    assert caught.value.hint


def test_scores_that_are_no_probabilities_and_cells_that_are_no_map_are_refused() -> None:
    with pytest.raises(UsageError, match=r"gives scores from -.* and probabilities are wanted"):
        adapt(foreign_boxes(probabilities=False), YOLOX, HERE)
    with pytest.raises(UsageError, match="boxes of several grids, and no one map of cells") as caught:
        adapt(foreign_boxes(), YOLOX, HERE, logits=True)
    assert "--logits" in caught.value.hint


def test_whether_rows_are_decoded_their_centres_tell() -> None:
    frames, cells = made_up_frames(1, SIZE), cells_of(SIZE)
    assert [is_decoded(rows_of(foreign_boxes(decoded=one), frames)[0], cells) for one in (False, True)] == [False, True]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "size"), [("yolox_nano.onnx", (416, 416)), ("light_weight_person_detector_192.onnx", (192, 192))]
)
def test_a_trained_detector_finds_whom_it_finds_by_itself(name: str, size: tuple[int, int], shared_data: Path) -> None:
    from trtparse.data.image_files import is_image
    from trtparse.data.images import read_image
    from trtparse.engines.cpu import CpuEngine
    from trtparse.tasks.people.boxes import overlap
    from trtparse.tasks.people.onnx_detector import OnnxDetector
    from trtparse.tasks.people.rows import detections
    from trtparse.tasks.people.task import People
    from trtparse.tasks.predictor import Predictor

    path = shared_data.parent / "models" / name
    photographs = sorted(file for file in (shared_data / "person_masks" / "images").glob("*") if is_image(file.name))
    if not path.is_file() or not photographs:
        pytest.skip(f"no {path}, or no photographs")
    made = adapt(read_onnx(path), YOLOX, path)
    assert framing_of(made).input_size == size
    theirs = OnnxDetector(path, threads=1)
    found = 0
    with Predictor(CpuEngine(made, "fp32", threads=1), People(), framing_of(made)) as predictor:
        for file in photographs[:4]:
            # Of the input's size, as the two resize photographs by other means.
            image = np.asarray(cv2.resize(read_image(file), size[::-1]))
            ours, people = detections(predictor.look_at(image)), theirs.detect([image])[0]
            likely = ours.boxes[ours.scores >= 0.3]
            shares = overlap(likely, people.boxes)
            # They take a double for one from 0.65 on, and we from 0.6 on.
            assert (shares.max(axis=1, initial=0) > 0.999).all()
            assert (shares[:, people.scores >= 0.31].max(axis=0, initial=0) > 0.6).all()
            found += len(likely)
    theirs.close()
    assert found >= 4
