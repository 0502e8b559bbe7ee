from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trtparse.data.images import png_chunks, read_label_map
from trtparse.engines import Bundle, open_engine
from trtparse.errors import UsageError
from trtparse.parse.provenance import MadeBy, answer_file, digest, find_answer
from trtparse.tasks.parsing.draw import encode_label_png
from trtparse.tasks.parsing.task import Parsing
from trtparse.tasks.people.box_file import decode_people
from trtparse.tasks.people.task import People
from trtparse.tests.predicting import LIP

PARSING = Parsing(LIP)
NETWORK = MadeBy("ab" * 32, "onnxruntime", "int8", (256, 192))
PHOTOGRAPH = digest(b"a photograph")


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 20, (37, 23), dtype=np.uint8)


def test_a_record_does_not_change_what_a_label_map_says(labels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(answer_file(PARSING, labels, NETWORK, PHOTOGRAPH))
    assert np.array_equal(read_label_map(path), labels)
    found = find_answer(path.read_bytes(), PARSING, NETWORK, PHOTOGRAPH, str(path))
    assert found is not None
    assert np.array_equal(found, labels)
    assert answer_file(PARSING, labels, None, "") == encode_label_png(labels, LIP)


def test_what_onnx_runtime_made_while_it_was_called_cpu_is_its_own(labels: np.ndarray) -> None:
    older = replace(NETWORK, target="cpu")
    found = find_answer(answer_file(PARSING, labels, older, PHOTOGRAPH), PARSING, NETWORK, PHOTOGRAPH, "a.png")
    assert found is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"graph": "cd" * 32}, "another graph: abababababab, not cdcdcdcdcdcd"),
        ({"target": "pytorch"}, "another target: onnxruntime, not pytorch"),
        ({"precision": "fp32"}, "another precision: int8, not fp32"),
        ({"input_size": (473, 473)}, "another input size: 256x192, not 473x473"),
        ({"method": 2}, "another method: 1, not 2"),
    ],
)
def test_what_something_else_made_is_refused_and_the_difference_named(
    labels: np.ndarray, change: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        find_answer(
            answer_file(PARSING, labels, NETWORK, PHOTOGRAPH),
            PARSING,
            replace(NETWORK, **change),
            PHOTOGRAPH,
            "out/a.png",
        )
    assert "out/a.png" in caught.value.message
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize("data", [b"words", b"\x89PNG\r\n\x1a\n", "plain"])
def test_what_does_not_say_what_made_it_is_refused(labels: np.ndarray, data: bytes | str) -> None:
    data = encode_label_png(labels, LIP) if isinstance(data, str) else data
    with pytest.raises(UsageError, match=r"out/a\.png is there already and does not say what made it"):
        find_answer(data, PARSING, NETWORK, PHOTOGRAPH, "out/a.png")


@pytest.mark.parametrize("change", ["filter", "depth", "palette"])
def test_a_label_map_that_another_program_packed_anew_is_made_again(labels: np.ndarray, change: str) -> None:
    parts = list(png_chunks(answer_file(PARSING, labels, NETWORK, PHOTOGRAPH), "a.png"))
    made = dict(parts)
    if change == "filter":  # each byte as its distance from the one to its left
        moved = np.diff(labels.astype(np.int16), prepend=0, axis=1).astype(np.uint8)
        made[b"IDAT"] = zlib.compress(np.insert(moved, 0, 1, axis=1).tobytes())
    elif change == "depth":
        made[b"IHDR"] = made[b"IHDR"][:8] + b"\x04" + made[b"IHDR"][9:]
        made[b"IDAT"] = zlib.compress(bytes(37 * 13))
    else:
        made[b"PLTE"] = made[b"PLTE"][:60][::-1]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(made[kind]).to_bytes(4, "big") + kind + made[kind] + zlib.crc32(kind + made[kind]).to_bytes(4, "big")
        for kind, _ in parts
    )
    assert find_answer(data, PARSING, NETWORK, PHOTOGRAPH, "out/a.png") is None


def test_a_label_map_of_another_photograph_is_none(labels: np.ndarray) -> None:
    assert (
        find_answer(answer_file(PARSING, labels, NETWORK, PHOTOGRAPH), PARSING, NETWORK, digest(b"another"), "a.png")
        is None
    )


def test_what_lies_between_int8_layers_counts_and_records_of_all_else_are_as_before(labels: np.ndarray) -> None:
    exact, rough = (replace(NETWORK, target="openvino", arithmetic=between) for between in ("f32", "bf16"))
    data = answer_file(PARSING, labels, rough, PHOTOGRAPH)
    assert find_answer(data, PARSING, rough, PHOTOGRAPH, "a.png") is not None
    with pytest.raises(UsageError, match="another arithmetic: bf16, not f32"):
        find_answer(data, PARSING, exact, PHOTOGRAPH, "a.png")
    assert b"arithmetic" not in answer_file(PARSING, labels, NETWORK, PHOTOGRAPH)


def test_a_damaged_label_map_is_none(labels: np.ndarray) -> None:
    data = answer_file(PARSING, labels, NETWORK, PHOTOGRAPH)
    record_ends = data.index(b"IDAT") - 4
    for end in range(record_ends, len(data)):
        assert find_answer(data[:end], PARSING, NETWORK, PHOTOGRAPH, "a.png") is None
    for position in range(record_ends + 8, len(data) - 12, 7):
        spoilt = bytearray(data)
        spoilt[position] ^= 1
        assert find_answer(bytes(spoilt), PARSING, NETWORK, PHOTOGRAPH, "a.png") is None


def test_a_label_map_whose_pixels_cannot_be_unpacked_is_none(labels: np.ndarray) -> None:
    data = answer_file(PARSING, labels, NETWORK, PHOTOGRAPH)
    begin = data.index(b"IDAT")
    length = int.from_bytes(data[begin - 4 : begin], "big")
    pixels = b"IDAT" + bytes(length)
    spoilt = data[:begin] + pixels + zlib.crc32(pixels).to_bytes(4, "big") + data[begin + length + 8 :]
    assert find_answer(spoilt, PARSING, NETWORK, PHOTOGRAPH, "a.png") is None


def test_engines_of_a_bundle_are_told_apart_by_the_graph_that_runs(bundle: Bundle) -> None:
    made = []
    for target, precision in (
        ("onnxruntime", "int8"),
        ("simulated", "int8"),
        ("onnxruntime", "fp32"),
        ("pytorch", None),
    ):
        with open_engine(bundle, target, precision, threads=1) as engine:
            made.append(MadeBy.of(bundle, engine))
            assert MadeBy.of(bundle, engine) == made[-1]
    assert len({item.graph for item in made}) == 4
    assert [item.input_size for item in made] == [(256, 192)] * 4


@pytest.mark.parametrize("record", [5, [1], {}, "[" * 100_000], ids=["number", "list", "table", "deep"])
def test_a_record_that_is_none_says_nothing(record: object) -> None:
    data = json.dumps({"schema": 1, "people": [], "record": record}).encode()
    with pytest.raises(UsageError, match="does not say what made it"):
        find_answer(data, People(), NETWORK, PHOTOGRAPH, "a.json")


@pytest.mark.parametrize("side", ["1" + "0" * 400, "[" * 100_000])
def test_people_of_no_numbers_are_damaged(side: str) -> None:
    data = f'{{"schema": 1, "people": [{{"box": [1, 2, 3, {side}], "score": 1}}]}}'
    assert decode_people(data.encode())[1] is None
