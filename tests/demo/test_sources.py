from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtparse.demo.sources import ArraySource, VideoSource
from trtparse.errors import DataError


def boxes(data: bytes) -> dict[bytes, bytes]:
    found, offset = {}, 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        found[data[offset + 4 : offset + 8]] = data[offset : offset + size]
        offset += size
    return found


def index_first(data: bytes) -> bytes:
    """The same mp4 with ``moov`` before ``mdat``, as for streaming, so that a cut leaves a playable beginning."""
    parts = boxes(data)
    moov = bytearray(parts[b"moov"])
    start = moov.index(b"stco") + 8
    count = int.from_bytes(moov[start : start + 4], "big")
    for entry in range(start + 4, start + 4 + 4 * count, 4):
        moved = int.from_bytes(moov[entry : entry + 4], "big") + len(moov)
        moov[entry : entry + 4] = moved.to_bytes(4, "big")
    before = data[: data.index(b"mdat") - 4]
    return before + bytes(moov) + parts[b"mdat"]


def test_a_video_yields_all_its_frames_and_says_its_size_rate_and_count(make_video: Callable[..., Path]) -> None:
    with VideoSource(make_video(frames=20, fps=29.97)) as source:
        assert (source.size, source.fps, source.frame_count, source.name) == ((96, 128), 29.97, 20, "walk.mp4")
        frames = list(source)
    assert len(frames) == 20
    assert all(frame.shape == (96, 128, 3) and frame.dtype == np.uint8 for frame in frames)
    assert source.frames_missing == 0


def test_frames_are_the_takers_own(make_video: Callable[..., Path]) -> None:
    with VideoSource(make_video()) as source:
        first = next(source)
        kept = first.copy()
        for frame in source:
            frame[:] = 0
    assert np.array_equal(first, kept)


def test_a_name_with_spaces_umlauts_and_percent_signs_opens(make_video: Callable[..., Path]) -> None:
    with VideoSource(make_video("größer 100% %03d.mp4")) as source:
        assert len(list(source)) == 20


@pytest.mark.parametrize("address", ["rtsp://camera/1", "https://example.org/a.mp4", "file:///tmp/a.mp4"])
def test_an_address_is_refused_as_text_and_as_path(address: str) -> None:
    for given in (address, Path(address)):
        with pytest.raises(DataError, match="is an address") as caught:
            VideoSource(given)
        assert "local files" in caught.value.hint


def test_a_missing_file_a_folder_a_text_and_an_empty_file_are_told_apart(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("these are words\n" * 50)
    empty.touch()
    cases = {tmp_path / "none.mp4": "no file", tmp_path: "is a folder", text: "is not a video", empty: "is empty"}
    for path, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            VideoSource(path)
        assert caught.value.hint


def test_a_container_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    writer.release()
    with pytest.raises(DataError, match=r"none\.avi"):
        VideoSource(path)


def test_an_mp4_cut_off_before_its_index_says_so(make_video: Callable[..., Path]) -> None:
    path = make_video()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"The file is cut off: walk\.mp4 .*moov"):
        VideoSource(path)


def test_an_mp4_cut_off_after_its_index_plays_what_is_there_and_counts_the_rest(
    make_video: Callable[..., Path],
) -> None:
    path = make_video(frames=40)
    whole = index_first(path.read_bytes())
    path.write_bytes(whole)
    with VideoSource(path) as source:
        assert len(list(source)) == 40
        assert (source.frames_missing, source.cut_off) == (0, False)
    path.write_bytes(whole[: len(whole) - len(boxes(whole)[b"mdat"]) // 2])
    with VideoSource(path) as source:
        assert source.frames_missing == 0
        decoded = len(list(source))
        assert (source.frame_count, source.cut_off) == (40, True)
    assert 5 < decoded < 35
    assert source.frames_missing == 40 - decoded


QUIET = """
import sys
from trtparse.demo.sinks import VideoSink
from trtparse.demo.sources import VideoSource
from trtparse.errors import TrtparseError
for path in sys.argv[1:]:
    try:
        with VideoSource(path) as source:
            print(len(list(source)), "frames")
    except TrtparseError as error:
        print(error.message)
try:
    with VideoSink("out.mp4", 25, (20000, 20000)):
        pass
except TrtparseError as error:
    print(error.message)
"""


def test_opencv_and_ffmpeg_do_not_talk_over_our_messages(make_video: Callable[..., Path], tmp_path: Path) -> None:
    whole = index_first(make_video(frames=40).read_bytes())
    half, headless, text = tmp_path / "half.mp4", tmp_path / "headless.mp4", tmp_path / "text.mp4"
    half.write_bytes(whole[: len(whole) - len(boxes(whole)[b"mdat"]) // 2])
    headless.write_bytes(make_video().read_bytes()[:2000])
    text.write_text("these are words")
    command = [sys.executable, "-c", QUIET, half, headless, text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)  # FFmpeg is set up once
    assert done.stderr == ""
    told = done.stdout.splitlines()
    assert len(told) == 4
    for wanted, line in zip(("frames", "cut off", "not a video", "cannot write"), told):
        assert wanted in line


def test_an_mp4_of_which_only_the_index_is_left_is_cut_off(make_video: Callable[..., Path]) -> None:
    path = make_video()
    whole = index_first(path.read_bytes())
    path.write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(DataError, match="The file is cut off"):
        VideoSource(path)


def test_stopping_early_is_not_frames_missing(make_video: Callable[..., Path]) -> None:
    with VideoSource(make_video()) as source:
        next(source)
    assert source.frames_missing == 0
    assert list(source) == []


def test_a_container_that_only_estimates_its_frames_has_no_count(make_video: Callable[..., Path]) -> None:
    with VideoSource(make_video("walk.mkv")) as source:
        assert source.frame_count is None
        assert len(list(source)) == 20
        assert source.frames_missing == 0


def test_closing_while_another_thread_reads_is_safe(make_video: Callable[..., Path]) -> None:
    source = VideoSource(make_video(frames=60))
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_arrays_are_handed_out_as_copies(make_frame: Callable[..., np.ndarray]) -> None:
    frames = [make_frame(index) for index in range(3)]
    source = ArraySource(frames, (96, 128), fps=12.5)
    for frame in source:
        frame[:] = 0
    assert source.frame_count == 3
    assert frames[0].any()


def test_arrays_of_another_size_name_the_frame(make_frame: Callable[..., np.ndarray]) -> None:
    source = ArraySource([make_frame(0), make_frame(1, (50, 60))], (96, 128), name="the walker")
    with pytest.raises(DataError, match="Frame 1 of the walker"):
        list(source)


def test_a_generator_that_ends_early_is_counted(make_frame: Callable[..., np.ndarray]) -> None:
    source = ArraySource((make_frame(index) for index in range(3)), (96, 128), frame_count=5)
    assert len(list(source)) == 3
    assert source.frames_missing == 2


@pytest.mark.shared
def test_a_gif_has_the_rate_of_its_delays_and_its_count(shared_data: Path) -> None:
    with VideoSource(shared_data / "videos" / "worker-zone-detection.gif") as source:
        # 70, 60, 70 ms and so on; FFmpeg tells the fastest of them, 16.7
        assert (source.fps, source.constant_rate) == (15.0, True)
        assert source.frame_count == len(list(source)) == 71


@pytest.mark.shared
def test_a_real_video_cut_in_half_reports_what_is_missing(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "videos" / "one-by-one-person-detection.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 8])
    with VideoSource(cut) as source:
        assert source.frame_count == 1394
        decoded = len(list(source))
    assert 0 < decoded < 700
    assert source.frames_missing == 1394 - decoded


def changed(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The same mp4 with the inside of one box changed, and the sizes of those around it."""
    out, offset = b"", 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + size]
        if kind == path[0]:
            body = changed(body, path[1:], change) if len(path) > 1 else change(body)
        out += (len(body) + 8).to_bytes(4, "big") + kind + body
        offset += size
    return out


def lasting(path: Path, steps: list[int]) -> Path:
    """The same mp4 with each frame shown as many times as long, at most, as before."""
    media = (b"moov", b"trak", b"mdia")
    data = path.read_bytes()
    durations = b""

    def vary(body: bytes) -> bytes:
        nonlocal durations
        step = int.from_bytes(body[12:16], "big")
        durations = b"".join((1).to_bytes(4, "big") + (step * times).to_bytes(4, "big") for times in steps)
        return body[:4] + len(steps).to_bytes(4, "big") + durations

    data = changed(data, (*media, b"minf", b"stbl", b"stts"), vary)
    path.write_bytes(data.replace(b"edts", b"free"))  # the edit list would end it where it ended before
    return path


STEPS = [1, 1, 1, 5, 1, 1, 1, 1, 8, 1, 1, 1]


def test_a_variable_rate_is_told_and_each_frame_has_its_own_second(make_video: Callable[..., Path]) -> None:
    path = lasting(make_video(frames=len(STEPS), fps=25.0), STEPS)
    with VideoSource(path) as source:
        assert (source.fps, source.constant_rate, source.frame_count) == (25.0, False, len(STEPS))
        seconds = [source.seconds for _ in source]
    assert seconds == pytest.approx([sum(STEPS[:index]) / 25 for index in range(len(STEPS))])


def test_a_constant_rate_gives_seconds_without_the_container_s_rounding(make_video: Callable[..., Path]) -> None:
    for name in ("walk.mp4", "walk.mkv", "walk.avi"):
        with VideoSource(make_video(name, fps=29.97, codec="MJPG" if name.endswith("avi") else "mp4v")) as source:
            assert source.constant_rate
            assert [source.seconds for _ in source] == [index / source.fps for index in range(20)]


def test_a_video_from_a_phone_comes_upright(make_video: Callable[..., Path]) -> None:
    path = make_video(size=(96, 128))
    with VideoSource(path) as source:
        lying = next(source)
    turned(path)
    with VideoSource(path) as source:
        assert source.size == (128, 96)
        assert np.array_equal(next(source), cv2.rotate(lying, cv2.ROTATE_90_CLOCKWISE))


def retimed(path: Path, milliseconds: list[int]) -> Path:
    """The same mkv with each frame shown at its time; RFC 9559 §10.2: a block is its track, its time and its flags."""
    data = bytearray(path.read_bytes())

    def size_at(offset: int) -> tuple[int, int]:
        length = 9 - data[offset].bit_length()
        return int.from_bytes(data[offset : offset + length], "big") & ~(1 << 7 * length), offset + length

    number, cluster = 0, b"\x1f\x43\xb6\x75"
    start = data.index(cluster)
    while data[start : start + 4] == cluster:
        size, offset = size_at(start + 4)
        start = offset + size
        while offset < start:
            kind, (size, inside) = data[offset], size_at(offset + 1)
            if kind == 0xE7:  # the cluster's own time, to which those of its blocks are added
                data[inside : inside + size] = bytes(size)
            if kind == 0xA3:
                data[inside + 1 : inside + 3] = milliseconds[number].to_bytes(2, "big")
                number += 1
            offset = inside + size
    assert number == len(milliseconds)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("steps", "lost"),
    [
        ([40] * 40 + [200] * 10, False),
        ([40] * 40 + [20] * 10, True),
        ([40] * 35 + [500] + [40] * 10, False),
    ],
    ids=["slower", "faster", "a pause"],
)
def test_a_rate_that_changes_late_is_followed_from_there_on_and_that_is_said(
    steps: list[int], lost: bool, make_video: Callable[..., Path]
) -> None:
    shown = [sum(steps[:index]) for index in range(len(steps) + 1)]
    path = retimed(make_video("walk.mkv", frames=len(shown)), shown)
    told: list[str] = []
    with VideoSource(path, notify=told.append) as source:
        assert (source.fps, source.constant_rate) == (25.0, True)
        seconds = [source.seconds for _ in source]
    assert [1000 * second for second in seconds] == pytest.approx(shown)
    assert not source.constant_rate
    assert len(told) == 1
    assert "changes its frame rate after" in told[0]
    assert ("ffmpeg -i walk.mkv -c copy walk-all.mp4" in told[0]) == lost


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vfr3.mkv", "vfr3.webm", "vfr3.ts"])
def test_thirty_frames_a_second_that_become_ten_after_sixty(name: str, shared_data: Path) -> None:
    path = shared_data.parent / "cases" / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with VideoSource(path) as source:
        seconds = [source.seconds for _ in source]
    wanted = [*(index / 30 for index in range(61)), *(2 + index / 10 for index in range(1, 60))]
    assert seconds == pytest.approx(wanted, abs=0.001)
    assert source.fps == 30


def squeezed(path: Path, wide: int, high: int) -> Path:
    """The same mp4 with pixels of another shape; ISO/IEC 14496-12 §12.1.4."""
    shape = (16).to_bytes(4, "big") + b"pasp" + wide.to_bytes(4, "big") + high.to_bytes(4, "big")

    def add(body: bytes) -> bytes:
        entry = body[8:].replace(b"pasp", b"free")
        return body[:8] + (len(entry) + len(shape)).to_bytes(4, "big") + entry[4:] + shape

    kinds = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    path.write_bytes(changed(path.read_bytes(), kinds, add))
    return path


def turned(path: Path) -> Path:
    """The same mp4 as a phone on its side writes it."""

    def turn(body: bytes) -> bytes:
        matrix = (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 96 << 16, 0, 1 << 30)
        return body[:40] + b"".join(number.to_bytes(4, "big") for number in matrix) + body[76:]

    path.write_bytes(changed(path.read_bytes(), (b"moov", b"trak", b"tkhd"), turn))
    return path


@pytest.mark.parametrize(
    ("shape", "size", "upright"),
    [
        ((2, 1), (96, 256), (256, 96)),
        ((64, 45), (96, 182), (182, 96)),
        ((8, 9), (96, 114), (114, 96)),
        ((1, 1), (96, 128), (128, 96)),
        ((1000, 1001), (96, 128), (128, 96)),
        ((50, 1), (96, 128), (128, 96)),
    ],
)
def test_pixels_that_are_not_square_become_square_and_that_is_said(
    shape: tuple[int, int], size: tuple[int, int], upright: tuple[int, int], make_video: Callable[..., Path]
) -> None:
    path = make_video(size=(96, 128))
    with VideoSource(path) as source:
        stored = next(source)
    told: list[str] = []
    with VideoSource(squeezed(path, *shape), notify=told.append) as source:
        frames = list(source)
    assert source.size == size
    assert {frame.shape for frame in frames} == {(*size, 3)}
    assert np.abs(cv2.resize(frames[0], (128, 96)).astype(int) - stored).mean() < 3
    same = size == (96, 128)
    assert told == ([] if same else [f"walk.mp4 has pixels that are not square; it is shown {size[1]}x96."])
    if same:
        assert np.array_equal(frames[0], stored)
    with VideoSource(turned(path)) as source:
        assert (source.size, next(source).shape[:2]) == (upright, upright)


def test_a_file_of_sound_alone_is_told_from_a_damaged_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"ID3\x04" + bytes(5000))
    with pytest.raises(DataError, match=r"song\.mp3 holds sound and no moving pictures") as caught:
        VideoSource(path)
    assert "ffmpeg" not in caught.value.hint


class Scripted:
    """In place of OpenCV's decoder: frames, and when they are shown, as they are given."""

    frames: list[np.ndarray] = []  # noqa: RUF012
    milliseconds: list[float] = []  # noqa: RUF012

    def __init__(self, _: str) -> None:
        self._left = list(self.frames)

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self._left.pop(0)) if self._left else (False, None)

    def grab(self) -> bool:
        return self.read()[0]

    def get(self, what: int) -> float:
        taken = len(self.frames) - len(self._left)
        shown = self.milliseconds[taken - 1] if self.milliseconds and taken else 0.0
        told = {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: len(self.frames), cv2.CAP_PROP_POS_MSEC: shown}
        return float(told.get(what, 0.0))

    def release(self) -> None:
        """Nothing is held."""


def test_a_picture_size_that_changes_on_the_way_goes_on_in_the_first_one_and_that_is_said(
    make_video: Callable[..., Path], make_frame: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video()
    Scripted.frames = [make_frame(0), make_frame(1), *[make_frame(i, (60, 200)) for i in range(3)], make_frame(5)]
    monkeypatch.setattr(cv2, "VideoCapture", Scripted)
    told: list[str] = []
    with VideoSource(path, notify=told.append) as source:
        frames = list(source)
    assert [frame.shape for frame in frames] == [(96, 128, 3)] * 6
    assert len(told) == 1
    assert "after 2 frames, from 128x96 to 200x60" in told[0]


def test_pictures_without_a_time_and_a_clock_that_begins_anew_leave_a_constant_rate_as_it_is(
    make_video: Callable[..., Path], make_frame: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("walk.ts.mkv")
    first = [80.0 + 40 * index for index in range(40)]
    monkeypatch.setattr(Scripted, "frames", [make_frame(0)] * 82)
    monkeypatch.setattr(Scripted, "milliseconds", [*first, *first, 0.0, 0.0])
    monkeypatch.setattr(cv2, "VideoCapture", Scripted)
    told: list[str] = []
    with VideoSource(path, notify=told.append) as source:
        assert [source.seconds for _ in source] == [index / 25 for index in range(82)]
    assert (source.constant_rate, told) == (True, [])


def test_a_recording_joined_to_one_of_a_variable_rate_goes_on_at_its_own_times(
    make_video: Callable[..., Path], make_frame: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("walk.mkv")
    steps = [0.0, 40, 80, 1000, 1040, 3000]
    monkeypatch.setattr(Scripted, "frames", [make_frame(0)] * 12)
    monkeypatch.setattr(Scripted, "milliseconds", [*steps, *(20 + step for step in steps)])
    monkeypatch.setattr(cv2, "VideoCapture", Scripted)
    with VideoSource(path) as source:
        seconds = [source.seconds for _ in source]
    assert seconds == pytest.approx(
        [*(step / 1e3 for step in steps), *(3 + 1 / source.fps + step / 1e3 for step in steps)]
    )


def test_a_decoder_that_gives_grey_pictures_is_brought_to_three_channels(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video()
    Scripted.frames = [np.full((96, 128), 77, np.uint8)] * 3
    monkeypatch.setattr(cv2, "VideoCapture", Scripted)
    with VideoSource(path) as source:
        assert [(frame.shape, int(frame[5, 5, 2])) for frame in source] == [((96, 128, 3), 77)] * 3


@pytest.mark.parametrize(("size", "frames"), [((2, 2), 3), ((96, 128), 1)])
def test_the_smallest_picture_and_a_single_frame_play(
    make_video: Callable[..., Path], size: tuple[int, int], frames: int
) -> None:
    with VideoSource(make_video("tiny.avi", frames=frames, size=size, codec="MJPG")) as source:
        assert (source.size, len(list(source))) == (size, frames)


def test_a_video_played_at_its_own_pace_counts_what_it_leaves_out(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(VideoSource, "_now", lambda _: now[0])
    with VideoSource(make_video(frames=20, fps=25.0), policy="latest") as source:
        for _ in range(5):
            next(source)
            now[0] += 0.16
        assert source.seconds == pytest.approx(4 * 0.16)
        assert (source.frames_dropped, source.policy, source.live) == (12, "latest", False)
    assert source.frames_missing == 0
