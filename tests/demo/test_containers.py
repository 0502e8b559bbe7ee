from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.demo.containers import Container, rate_of, usual_rate

MakeVideo = Callable[..., Path]


def box(kind: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


Steps = tuple[tuple[int, int], ...]


def track(handler: bytes, ticks: int = 1000, steps: Steps = ((10, 40),), version: int = 0) -> bytes:
    head = words(version << 24, *([0] * (4 if version else 2)), ticks, 0)
    durations = words(0, len(steps), *(number for step in steps for number in step))
    return box(
        b"trak",
        box(b"tkhd", bytes(84)),
        box(
            b"mdia",
            box(b"mdhd", head),
            box(b"hdlr", bytes(8), handler, bytes(13)),
            box(b"minf", box(b"stbl", box(b"stts", durations))),
        ),
    )


def mp4(path: Path, *tracks: bytes) -> Path:
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100)), *tracks) + box(b"mdat", bytes(99)))
    return path


def test_an_mp4_says_whether_it_has_sound_and_when_its_pictures_come(tmp_path: Path) -> None:
    video = track(b"vide", 600, ((2, 20), (1, 300), (2, 20)))
    silent = Container.of(mp4(tmp_path / "silent.mp4", video))
    heard = Container.of(mp4(tmp_path / "heard.mp4", track(b"soun", 44100, ((50, 1024),)), video))
    assert (silent.has_audio, heard.has_audio) == (False, True)
    for container in (silent, heard):
        assert container.times is not None
        assert container.times * 600 == pytest.approx([0, 20, 40, 340, 360])
        assert container.counts_frames
        assert not container.cut_off


def test_the_header_of_64_bits_is_read_too(tmp_path: Path) -> None:
    times = Container.of(mp4(tmp_path / "a.mp4", track(b"vide", 50, version=1))).times
    assert times is not None
    assert times[-1] == pytest.approx(9 * 40 / 50)


def test_matroska_and_avi_say_whether_they_have_sound(tmp_path: Path, make_video: MakeVideo) -> None:
    for name, codec in (("walk.mkv", "mp4v"), ("walk.avi", "MJPG")):
        plain = make_video(name, codec=codec)
        assert not Container.of(plain).has_audio
        data = plain.read_bytes()
        added = b"\xae\x8a\xd7\x81\x02\x86\x86A_OPUS" if name.endswith("mkv") else b"strh8\x00\x00\x00auds"
        plain.write_bytes(data[:200] + added + data[200:])
        assert Container.of(plain).has_audio


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"ftyp", b"moov", b"stts", b"\x1a\x45\xdf\xa3", b"RIFF"]))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mp4"
    path.write_bytes(data[:4] + kind + data[4:])
    assert Container.of(path) is not None
    path.write_bytes(box(b"moov", box(b"trak", box(b"mdia", box(b"mdhd", data), box(kind or b"free", data)))))
    assert Container.of(path) is not None


def test_a_real_file_has_the_times_that_opencv_shows(make_video: MakeVideo) -> None:
    path = make_video(frames=12, fps=29.97)
    times = Container.of(path).times
    capture = cv2.VideoCapture(str(path))
    shown = []
    while capture.read()[0]:
        shown.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
    assert times is not None
    assert times == pytest.approx(shown, abs=1e-4)


@given(st.floats(1, 120), st.integers(2, 400), st.integers(0, 2**32 - 1))
def test_a_constant_rate_is_found_through_the_rounding_of_containers(rate: float, frames: int, seed: int) -> None:
    jitter = np.random.default_rng(seed).uniform(-0.2, 0.2, frames) / rate
    found = rate_of(np.arange(frames) / rate + jitter)
    assert found is not None
    assert found[1]
    # The first and the last picture lie up to a fifth of a frame beside their places.
    assert 1 / found[0] == pytest.approx(1 / rate, rel=0.4 / (frames - 1) + 1e-6)


def test_a_variable_rate_gives_the_rate_of_its_densest_part() -> None:
    dense = np.arange(30) / 30.1
    pauses = np.concatenate([dense, dense + 5, dense + 11])
    assert rate_of(pauses) == (30.0, False)
    assert rate_of(np.asarray([0.0, 1e-5, 2e-5, 100.0])) == (120.0, False)


def test_one_picture_has_no_rate() -> None:
    assert rate_of(np.zeros(1)) is None
    assert rate_of(np.zeros(4)) is None


def test_measured_rates_become_those_that_cameras_have() -> None:
    assert [usual_rate(rate) for rate in (29.8, 30.2, 24.6, 25.2, 59.5, 7.3)] == [
        pytest.approx(30000 / 1001),
        30.0,
        pytest.approx(24.6, rel=0.02),
        25.0,
        pytest.approx(60000 / 1001),
        7.3,
    ]


def test_files_of_sound_alone_are_known(tmp_path: Path, make_video: MakeVideo) -> None:
    sound, video = track(b"soun", 44100, ((50, 1024),)), track(b"vide")
    assert Container.of(mp4(tmp_path / "a.m4a", sound)).only_audio
    assert not Container.of(mp4(tmp_path / "b.mp4", sound, video)).only_audio
    assert not Container.of(mp4(tmp_path / "c.mp4", video)).only_audio
    heads = {
        b"ID3\x04": True,
        b"\xff\xfb\x90d": True,
        b"\xff\xf1\x50": True,
        b"fLaC": True,
        b"RIFF\0\1\0\0WAVE": True,
        b"OggS" + bytes(24) + b"OpusHead": True,
        b"OggS" + bytes(24) + b"\x80theora" + bytes(90) + b"\x01vorbis": False,
        b"OggS" + bytes(24) + b"OVP80": False,
        b"\x1a\x45\xdf\xa3" + bytes(9) + b"\x86\x86A_OPUS": True,
        b"\x1a\x45\xdf\xa3" + bytes(9) + b"\x86\x85V_VP8\x86\x86A_OPUS": False,
        b"\x47" + bytes(187): False,
        b"GIF89a": False,
        b"\xff\xd8\xff\xe0": False,
    }
    for head, only_audio in heads.items():
        (tmp_path / "any").write_bytes(head + bytes(40))
        assert Container.of(tmp_path / "any").only_audio == only_audio, head
    for name, codec in (("walk.mkv", "mp4v"), ("walk.avi", "MJPG"), ("walk.mp4", "mp4v")):
        assert not Container.of(make_video(name, codec=codec)).only_audio
