"""Nothing of trtparse calls home: no name is looked up, and nothing is written under HOME."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

# ONNX Runtime is imported by each: with the command's own process, and with one that does not import trtparse.
DOCTOR = ("-m", "trtparse.cli", "doctor")
ENGINE = ("-c", "import trtparse.engines.cpu, trtparse.graphs.observe, trtparse.tasks.people.onnx_detector")
CALLS = "connect,sendto,sendmsg,sendmmsg"
OPENVINO = ("-c", "from trtparse.engines.openvino import load_openvino; load_openvino().Core().available_devices")
# Where one of these is set ONNX Runtime keeps quiet by itself, and the tests would say nothing.
CI = (
    *("CI", "APPVEYOR", "CIRCLECI", "CODEBUILD_BUILD_ID", "GITHUB_ACTIONS"),
    *("JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
)
OUTSIDE = re.compile(r"sa_family=AF_INET6?\b.*|/etc/resolv\.conf")


@pytest.fixture
def strace() -> str:
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed: apt-get install strace")
    if subprocess.run([program, "-f", "true"], capture_output=True).returncode:
        pytest.skip("strace may not look at processes here")
    return program


def traces(strace: str, arguments: tuple[str, ...], folder: Path, **environment: str) -> tuple[list[str], list[str]]:
    """The files that a run left under a fresh HOME, and what it asked of the network."""
    home, log = folder / "home", folder / "calls.txt"
    home.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_")) and name not in CI
    }
    command = [strace, "-f", "--seccomp-bpf", "-qq", "-e", f"trace=openat,{CALLS}", "-o", log, sys.executable]
    subprocess.run([*command, *arguments], env={**kept, "HOME": str(home), **environment}, capture_output=True)
    calls = log.read_text(errors="replace").splitlines()
    loaded = "openvino" if "openvino" in " ".join(arguments) else "onnxruntime"
    assert any(loaded in call for call in calls), f"it never loaded {loaded}"
    written = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return written, [call for call in calls if OUTSIDE.search(call)]


@pytest.mark.parametrize("arguments", [DOCTOR, ENGINE], ids=["command", "Python"])
def test_nothing_is_written_under_home_and_no_name_is_looked_up(
    arguments: tuple[str, ...], strace: str, tmp_path: Path
) -> None:
    assert traces(strace, arguments, tmp_path) == ([], [])


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_s_telemetry_stays_out_and_the_test_sees_it_where_it_does_not(strace: str, tmp_path: Path) -> None:
    if find_spec("openvino_telemetry") is None:
        pytest.skip("OpenVINO's telemetry is not installed")
    quiet, loud = tmp_path / "quiet", tmp_path / "loud"
    quiet.mkdir()
    loud.mkdir()
    assert traces(strace, OPENVINO, quiet) == ([], [])
    written, _ = traces(strace, ("-c", "import openvino"), loud)
    assert any("openvino" in name or "intel" in name.lower() for name in written)


def test_whoever_wants_telemetry_has_it_and_the_test_above_sees_what_is_written(strace: str, tmp_path: Path) -> None:
    if tuple(map(int, version("onnxruntime").split(".")[:2])) < (1, 29):
        pytest.skip("ONNX Runtime has telemetry from 1.29 on")
    written, _ = traces(strace, ENGINE, tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert any("onnxruntime" in name for name in written)


def test_the_test_above_sees_a_name_that_is_looked_up(strace: str, tmp_path: Path) -> None:
    # By the C library, as any other program does; ONNX Runtime itself asks minutes later, if it may at all.
    look = (
        "import onnxruntime, socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('a.invalid', 1)"
    )
    assert traces(strace, ("-c", look), tmp_path, ORT_DISABLE_TELEMETRY="1")[1]
