from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import onnx
import pytest

from trtparse.calibration.cache import calibration_cache
from trtparse.calibration.quantise.placement import Placement, place
from trtparse.calibration.quantise.qdq import activation_scales
from trtparse.calibration.ranges import Ranges
from trtparse.errors import UsageError

NewLadder = Callable[..., onnx.ModelProto]
RangesFor = Callable[..., Ranges]

NOTHING = Placement({}, (), {}, ())


def test_it_is_in_tensorrts_words(ranges_for: RangesFor, new_ladder: NewLadder) -> None:
    ranges = replace(ranges_for(new_ladder()), limits={"image": (-1.0, 63.5), "/conv: 1": (-254.0, 2.0)})
    text = calibration_cache(ranges, NOTHING, "8.6.0")
    assert text == "TRT-8600-EntropyCalibration2\nimage: 3f000000\n/conv: 1: 40000000\n"


def test_its_scales_are_those_of_the_graph_shared_ones_too(ranges_for: RangesFor, new_ladder: NewLadder) -> None:
    model = new_ladder()
    placement, ranges = place(model), ranges_for(model)
    lines = calibration_cache(ranges, placement, "10.3.0").splitlines()[1:]
    read = {
        name: struct.unpack(">f", bytes.fromhex(digits))[0] for name, digits in (line.split(": ") for line in lines)
    }
    assert read.keys() == ranges.limits.keys()
    scales = activation_scales(placement, ranges)
    assert scales, "nothing is placed"
    assert {name: read[name] for name in scales} == scales
    assert any(len({read[name] for name in group}) == 1 for group in placement.shared)


@pytest.mark.parametrize(
    ("version", "number"),
    [("8.5.2", 8502), ("8.6.1", 8601), ("8.6.1.6", 8601), ("10.3.0", 100300), ("10.16.1", 101601)],
)
def test_the_version_is_numbered_as_tensorrt_does(
    version: str, number: int, ranges_for: RangesFor, new_ladder: NewLadder
) -> None:
    text = calibration_cache(ranges_for(new_ladder()), NOTHING, version)
    assert text.startswith(f"TRT-{number}-EntropyCalibration2\n")


@pytest.mark.parametrize("version", ["", "8.6", "ten", "8.6.x"])
def test_what_is_no_version_is_refused(version: str, ranges_for: RangesFor, new_ladder: NewLadder) -> None:
    with pytest.raises(UsageError, match="no version of TensorRT"):
        calibration_cache(ranges_for(new_ladder()), NOTHING, version)


def test_a_version_without_calibrators_is_refused_and_the_way_to_int8_named(
    ranges_for: RangesFor, new_ladder: NewLadder
) -> None:
    with pytest.raises(UsageError, match=r"TensorRT 11\.0\.0 reads no calibration cache") as caught:
        calibration_cache(ranges_for(new_ladder()), NOTHING, "11.0.0")
    assert "--target tensorrt" in caught.value.hint
