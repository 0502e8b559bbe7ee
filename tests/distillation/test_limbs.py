from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.data.images import write_png
from trtparse.distillation.limbs import LIMBS, BodyPix, LimbMaps, limb_map, person_box
from trtparse.errors import DataError, UsageError

LEFT_LOWER_ARM, RIGHT_HAND, TORSO, RIGHT_FOOT = 6, 11, 12, 23


def cells(*values: tuple[float, dict[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """A row of cells: somebody's logit, and those of parts that are not -9."""
    parts = np.full((24, 1, len(values)), -9, np.float32)
    for place, (_, heights) in enumerate(values):
        for part, height in heights.items():
            parts[part, 0, place] = height
    return np.array([[person for person, _ in values]], np.float32), parts


def test_only_what_is_sure_is_said() -> None:
    person, parts = cells(
        (-3.0, {LEFT_LOWER_ARM: 5.0}),
        (0.5, {LEFT_LOWER_ARM: 5.0}),
        (3.0, {LEFT_LOWER_ARM: 5.0}),
        (3.0, {LEFT_LOWER_ARM: 5.0, RIGHT_HAND: 4.5}),
        (3.0, {RIGHT_HAND: 2.0}),
        (3.0, {TORSO: 2.0, RIGHT_HAND: 1.0}),
        (3.0, {RIGHT_FOOT: 0.0}),
    )
    found = [LIMBS.classes[value] if value != 255 else "-" for value in limb_map(person, parts, 2.0, 1.0)[0]]
    assert found == ["Background", "-", "Left-arm", "Person", "Right-arm", "Person", "Right-shoe"]


def body_pix(path: Path) -> Path:
    """A network of BodyPix's form: somebody is where it is bright, and all of them are a left hand."""
    floats = TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=1),
        helper.make_node("Mul", ["grey", "eight"], ["segments"]),
        helper.make_node("Mul", ["segments", "parts"], ["part_heatmaps"]),
    ]
    hand = np.zeros((1, 1, 1, 24), np.float32)
    hand[..., 10] = 1
    values = [
        onnx.numpy_helper.from_array(np.float32(8), "eight"),
        onnx.numpy_helper.from_array(hand, "parts"),
    ]
    inputs = [helper.make_tensor_value_info("x", floats, [1, "h", "w", 3])]
    outputs = [helper.make_tensor_value_info(name, floats, None) for name in ("segments", "part_heatmaps")]
    model = helper.make_model(
        helper.make_graph(nodes, "body", inputs, outputs, values), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_an_image_s_map_lies_on_its_pixels(tmp_path: Path) -> None:
    image = np.zeros((90, 60, 3), np.uint8)
    image[:, 30:] = 255
    found = BodyPix(body_pix(tmp_path / "body.onnx"), longest=90).limbs(image)
    assert found.shape == (90, 60)
    assert set(np.unique(found[:, :27])) == {LIMBS.id_of("Background")}
    assert set(np.unique(found[:, 33:])) == {LIMBS.id_of("Left-arm")}


def test_a_file_that_is_no_body_pix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no"):
        BodyPix(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(UsageError, match="no ONNX file that runs"):
        BodyPix(tmp_path / "text.onnx")


def test_a_map_of_another_image_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.ones((4, 6), np.uint8))
    maps = LimbMaps.open(tmp_path)
    assert maps.read("a.jpg", (4, 6)).shape == (4, 6)
    with pytest.raises(DataError, match="6x4 pixels, and its image has 4x6"):
        maps.read("a.jpg", (6, 4))
    with pytest.raises(DataError, match="does not exist"):
        maps.read("b.jpg", (4, 6))
    write_png(tmp_path / "b.png", np.full((4, 6), 9, np.uint8))
    with pytest.raises(DataError, match="9, which is no class of Limbs"):
        maps.read("b.jpg", (4, 6))
    with pytest.raises(DataError, match="There is no folder"):
        LimbMaps.open(tmp_path / "none")


def test_a_person_s_box_is_of_all_that_is_known_to_be_of_them() -> None:
    labels = np.full((10, 12), 255, np.uint8)
    labels[:, :2] = 0
    assert person_box(labels) is None
    labels[3:7, 4:9] = 5
    assert person_box(labels) == (4, 3, 5, 4)
