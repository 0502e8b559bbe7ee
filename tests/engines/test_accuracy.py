from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from trtparse.engines.accuracy import Accuracy

NOW = Accuracy("some", 7, "PyTorch", 0.99, "AP", "points of AP", 46.0, 47.0, 98.0, (0.5, None), loss=(1.0, 0.5, 1.5))


def test_it_comes_back_from_json_as_it_was() -> None:
    assert Accuracy.from_dict(json.loads(json.dumps(asdict(NOW)))) == NOW


def test_what_earlier_versions_named_after_the_iou_is_read() -> None:
    earlier = {
        "dataset": "some",
        "images": 7,
        "protocol": "",
        "engine": "",
        "reference": "PyTorch",
        "reference_mean_iou": 0.47,
        "reference_class_iou": None,
        "mean_iou": 0.46,
        "class_iou": [0.5, None],
        "loss": [1.0, 0.5, 1.5],
        "agreement": 0.99,
        "agreement_mean_iou": 0.98,
        "left_out": ["Scarf"],
        "invented_pixels": 34,
        "invented_classes": ["Scarf"],
    }
    read = Accuracy.from_dict(earlier)
    assert (read.value, read.reference_value, read.agreement_value) == pytest.approx((46.0, 47.0, 98.0))
    assert (read.share, read.rows, read.loss) == (0.99, NOW.rows, NOW.loss)
    assert (read.left_out, read.invented, read.invented_in) == (("Scarf",), 34, ("Scarf",))
    # Before the classes were so counted, nothing was said of what is invented.
    del earlier["invented_pixels"], earlier["invented_classes"]
    assert Accuracy.from_dict(earlier).invented is None


def test_what_lacks_a_value_is_none() -> None:
    with pytest.raises(TypeError, match="images"):
        Accuracy.from_dict({"dataset": "some", "reference": "PyTorch", "share": 1.0})
