"""What an image holds that demos and builds in it need; no image is built here."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docker"
TEXT = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
STAGES = re.split(r"^FROM .*$", TEXT, flags=re.MULTILINE)[1:]


def test_pip_is_held_to_no_versions_of_nvidia_s_wherever_it_runs() -> None:
    assert STAGES
    for stage in STAGES:
        lines = stage.splitlines()
        first = next(number for number, line in enumerate(lines) if re.search(r"\bpip\b", line))
        assert "ENV PIP_CONSTRAINT=" in lines[:first]


def test_videos_are_written_and_a_jetson_s_cameras_read() -> None:
    for package in (
        "ffmpeg",
        "gstreamer1.0-tools",
        *(f"gstreamer1.0-plugins-{kind}" for kind in ("base", "good", "bad")),
    ):
        assert package in STAGES[-1].split()
    # The camera's service is the host's.
    assert "-v /tmp/argus_socket:/tmp/argus_socket" in (FOLDER / "README.md").read_text()
