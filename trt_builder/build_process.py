"""One engine, built in a process of its own.

TensorRT can end the process that it runs in: on a small Jetson the system kills it for its memory, and 8.6 stops where
CUDA does not start. So a build happens in a process without PyTorch and without anything that must not be lost, and
its end is explained.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import onnx

from .. import errors
from ..errors import BuildError, TrtparseError
from .engine_spec import EngineSpec
from .tensorrt_api import Built, NetworkLayer, NoEngine, TensorRT

ENGINE_LEFT, LOG_LEFT = "engine", "log"
"""Of the folder that :func:`build_in_process` leaves things in: an engine that was refused, and all that was said."""

_SPEC, _RESULT, _CACHE = "spec.json", "result.json", "timing.cache"
_ERRORS = ("[F] ", "[E] ")
"""As the logger marks them."""
_LONGEST_LINE = 1000
"""Characters of a line that is told; all of it is in the log."""
_START = "from trtparse.trt_builder.build_process import main; main()"


def build_in_process(
    graph: Path,
    spec: EngineSpec,
    capability: str | None = None,
    timing_cache: bytes | None = None,
    *,
    inspect: bool = False,
    left: Path,
    verbose: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Built:
    """:meth:`TensorRT.build` in a process of its own.

    Args:
        graph: ONNX file.
        spec, capability, timing_cache, inspect: as there.
        left: folder that gets ``LOG_LEFT``, line by line, so that it is there however the build ends; and
            ``ENGINE_LEFT`` where there is an engine and an error nevertheless.
        verbose: every kernel that TensorRT tries is in the log as well.
        told: called with each of its lines.

    Raises:
        TrtparseError: as there; and BuildError where the process was killed or crashed, with what that means.
    """
    with tempfile.TemporaryDirectory(prefix="trtparse-build-") as name:
        folder = Path(name)
        request = {"graph": str(graph.resolve()), "capability": capability, "inspect": inspect, "verbose": verbose}
        (folder / _SPEC).write_text(json.dumps({**request, "spec": spec.to_json()}))
        if timing_cache:
            (folder / _CACHE).write_bytes(timing_cache)
        try:
            code, last = _run(folder, left / LOG_LEFT, told)
            if code != 0 or not (folder / _RESULT).is_file():
                raise _explained(code, last, spec)
            return _read_result(folder)
        except TrtparseError:
            if (folder / ENGINE_LEFT).is_file():
                shutil.move(folder / ENGINE_LEFT, left / ENGINE_LEFT)
            raise


def _run(folder: Path, log: Path, told: Callable[[str], None]) -> tuple[int, str]:
    """The exit code of the other process, and the first error and the last lines of what it said."""
    # Python's path goes along, and not the folder that the user is in: a file there may be called like a library.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(
        [sys.executable, "-c", _START, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    first, last = "", deque[str](maxlen=3)
    try:
        assert process.stdout is not None
        with process.stdout as lines, log.open("ab", buffering=0) as file:
            for line in lines:
                file.write(line)
                text = line.decode("utf-8", "replace").strip()[:_LONGEST_LINE]
                if text:
                    last.append(text)
                    told(text)
                if not first and text.startswith(_ERRORS):
                    first = text
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return code, " ".join(last if first in ("", *last) else (first, "…", *last))


def _read_result(folder: Path) -> Built:
    told = json.loads((folder / _RESULT).read_text())
    if "error" in told:
        kind = NoEngine if told["error"] == NoEngine.__name__ else getattr(errors, told["error"], BuildError)
        raise kind(told["message"], told["hint"])
    cache = folder / f"new-{_CACHE}"
    return Built(
        (folder / ENGINE_LEFT).read_bytes(),
        tuple(NetworkLayer(**layer) for layer in told["layers"]),
        told["inspector"],
        cache.read_bytes() if cache.is_file() else None,
        tuple(told["notes"]),
    )


def _explained(code: int, told: str, spec: EngineSpec) -> TrtparseError:
    """Why a build's process ended without a word of ours."""
    told = f" It said last: {told}" if told else ""
    if code == -signal.SIGKILL:
        workspace = max(spec.workspace_mb // 2, 16) if spec.workspace_mb else 256
        return BuildError(
            f"The build was killed (signal 9): as a rule the system ran out of memory.{told}",
            f"Close other programs, add swap, or build with --workspace {workspace} and --optimization-level 1.",
        )
    if code < 0:
        with contextlib.suppress(ValueError):
            return BuildError(
                f"TensorRT ended its process with signal {-code} ({signal.Signals(-code).name}).{told}",
                "See whether the GPU and its driver work: trtparse doctor",
            )
    return BuildError(f"The build's process ended with code {code} and no engine.{told}")


def main() -> None:
    """What runs in the other process: read the request, build, write the result, which is written last."""
    folder = Path(sys.argv[1])
    with contextlib.suppress(OSError, AttributeError):
        # PR_SET_PDEATHSIG (Linux): a build whose caller is killed must not go on using the GPU for minutes.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    request = json.loads((folder / _SPEC).read_text())
    try:
        result = _build(folder, request)
    except TrtparseError as error:
        result = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    except MemoryError:
        result = {"error": "MachineError", "message": "Not enough memory to build.", "hint": "Close other programs."}
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    (folder / f".{_RESULT}").write_text(json.dumps(result))
    os.replace(folder / f".{_RESULT}", folder / _RESULT)
    sys.stdout.flush()
    # TensorRT's own tidying up at exit has nothing left to do, and must not turn an engine into a failure.
    os._exit(0)


def _build(folder: Path, request: dict[str, object]) -> dict[str, object]:
    spec = EngineSpec.from_json(str(request["spec"]))
    cache = folder / _CACHE
    capability = request["capability"]
    library = TensorRT.load(spec.target)
    # At once, line by line: what is said before a kill is what tells of it.
    library.log_to(functools.partial(print, flush=True), verbose=bool(request["verbose"]))
    built = library.build(
        onnx.load(str(request["graph"])),
        spec,
        None if capability is None else str(capability),
        cache.read_bytes() if cache.is_file() else None,
        inspect=bool(request["inspect"]),
        built=(folder / ENGINE_LEFT).write_bytes,
    )
    if built.timing_cache is not None:
        (folder / f"new-{_CACHE}").write_bytes(built.timing_cache)
    return {
        "layers": [asdict(layer) for layer in built.layers],
        "inspector": built.inspector,
        "notes": list(built.notes),
    }
