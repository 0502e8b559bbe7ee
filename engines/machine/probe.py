"""Where the facts of a machine are read from: files, small programs, CUDA's driver library, Python's search path.

All in one place, so that a test can stand another machine in for this one. Nothing raises where a thing is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECONDS = 60.0
"""A program gets this long. nvidia-smi wakes an idle GPU up in a few seconds; one that hangs must not hang us."""


@dataclass(frozen=True)
class Answer:
    """What a program said.

    Args:
        code: its exit code, negative where a signal ended it; None where it is missing or gave no answer in time.
        output: on stdout.
        error: on stderr.
    """

    code: int | None
    output: str = ""
    error: str = ""

    @property
    def complaint(self) -> str:
        """Its last words, in one line."""
        if self.code is not None and self.code < 0:
            return f"ended by signal {-self.code}"
        lines = (self.error or self.output).strip().splitlines()
        return lines[-1].strip() if lines else "no answer"


def run_program(command: Sequence[str]) -> Answer:
    """Run a program that asks nothing and changes nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return Answer(None)
    return Answer(done.returncode, done.stdout, done.stderr)


def load_cuda() -> Any:
    """CUDA's driver library, or None."""
    return _load("libcuda.so.1")


def load_nvml() -> Any:
    """NVIDIA's management library, or None."""
    return _load("libnvidia-ml.so.1")


def _load(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _search_path() -> tuple[Path, ...]:
    # The folder that a command is typed in is none of Python's, though "python -c" puts it first.
    return tuple(Path(entry) for entry in dict.fromkeys(sys.path) if entry and Path(entry).is_dir())


def _environment() -> Path | None:
    return Path(sys.prefix) if sys.prefix != sys.base_prefix else None


@dataclass(frozen=True)
class Probe:
    """The sources.

    Args:
        root: of the file system.
        run: runs a program.
        load_cuda: CUDA's driver library, or None.
        python: the interpreter's version.
        environment: the virtual environment's folder, if any.
        search_path: folders that Python imports from, in its order.
        load_nvml: NVIDIA's management library, or None.
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], Answer] = run_program
    load_cuda: Callable[[], Any] = load_cuda
    python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])
    environment: Path | None = field(default_factory=_environment)
    search_path: tuple[Path, ...] = field(default_factory=_search_path)
    load_nvml: Callable[[], Any] = load_nvml

    def path(self, name: str) -> Path:
        """Where ``name``, an absolute path, lies under the root."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file, without the NUL that ends those of the device tree; empty where there is none."""
        with contextlib.suppress(OSError):
            return self.path(name).read_text("utf-8", errors="replace").replace("\0", "\n").strip()
        return ""

    def debian_packages(self, *names: str) -> dict[str, str]:
        """Versions of those of ``names`` that are installed as Debian packages."""
        form = "${db:Status-Status}\t${Package}\t${Version}\n"
        lines = self.run(("dpkg-query", "--show", f"--showformat={form}", *names)).output.splitlines()
        fields = [line.split("\t") for line in lines]
        return {entry[1]: entry[2] for entry in fields if len(entry) == 3 and entry[0] == "installed"}
