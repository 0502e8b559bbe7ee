"""What ``make`` says before it installs anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def check(folder: Path, python: str, **programs: str) -> tuple[int, str]:
    """Check a machine that has these programs (shell scripts) before its own."""
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["make", "--silent", "--no-print-directory", "check-machine", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("python", "programs", "packages"),
    [
        ("python3.99", {"ldconfig": ""}, "python3.99 python3.99-venv libgl1 libglib2.0-0"),
        ("/nowhere/python", {"ldconfig": "echo libGL.so.1"}, "python3 python3-venv libglib2.0-0"),
        (
            "python3",
            {"python3": 'case "$2" in *version_info*) exit 0;; *) exit 1;; esac'},
            "python3-venv libgl1 libglib2.0-0",
        ),
        ("python3", {"python3": 'case "$2$3" in *libGL*) exit 1;; *) exit 0;; esac'}, "libgl1"),
    ],
)
def test_all_that_is_missing_stands_in_one_line_to_type(
    python: str, programs: dict[str, str], packages: str, tmp_path: Path
) -> None:
    code, out = check(tmp_path, python, **programs)
    assert code != 0
    assert out == f"Missing here: sudo apt-get install {packages}\n"


def test_a_python_of_another_version_is_named_beside_what_is_missing(tmp_path: Path) -> None:
    script = 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac'
    code, out = check(tmp_path, "python3", python3=script)
    assert code != 0
    assert "Python 3.9.2 is not supported" in out
    assert "python3-venv" in out.splitlines()[1]


def test_a_machine_that_has_all_is_told_nothing(tmp_path: Path) -> None:
    assert check(tmp_path, "python3", python3="exit 0") == (0, "")


def test_benchmarks_that_want_arguments_are_skipped_by_name_and_a_failed_one_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    wanting = "import argparse; parser = argparse.ArgumentParser(); parser.add_argument('--data', required=True)\n"
    (tmp_path / "asks.py").write_text(f"{wanting}parser.parse_args()\n")
    (tmp_path / "runs.py").write_text("print('measured')\n")
    (tmp_path / "fails.py").write_text("raise SystemExit('no machine')\n")
    done = {}
    for names in (("asks", "runs"), ("fails", "runs")):
        scripts = " ".join(str(tmp_path / f"{name}.py") for name in names)
        command = ["make", "--no-print-directory", "run-benchmarks", f"BIN={tmp_path}", f"BENCHMARKS={scripts}"]
        done[names[0]] = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    skipping, failing = done["asks"], done["fails"]
    assert skipping.returncode == 0
    assert "the following arguments are required: --data" in skipping.stderr
    assert "measured" in skipping.stdout
    last = skipping.stdout.splitlines()[-1]
    assert last == f"Skipped, as they want arguments; --help tells which: {tmp_path}/asks.py"
    assert failing.returncode != 0
    assert "measured" not in failing.stdout
