"""The first minutes with a GPU: all that can be learnt there, in one folder, whatever fails.

python benchmarks/first_contact.py [BUNDLE] [--output FOLDER] [--minutes 8] [--source csi:0] [--data DATA]
    [--pytorch python3]

Builds engines of each precision from a copy of BUNDLE, checks and times them, runs the demo, and asks the machine what
it is. No step stops the next: one that fails is written down, one that hangs is ended, and one for which no time is
left is left out. FOLDER then holds what each step said, TensorRT's logs, layers and times, engines that were refused,
summary.json and a README.md that says what is where and what this machine lacks. summary.json is whole after each step,
should the power go.

Of a bundle with a free batch (trtparse build --batch dynamic) engines for eight frames a call are built as well. Where
PyTorch is in another Python than TensorRT, --pytorch starts that one, to set eager PyTorch beside the engines.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SECONDS_TO_END = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0))
"""How a step is ended that takes too long, and how long each signal has."""
LEAST_SECONDS = 5.0
"""A step that has less is left out."""
TRTPARSE = (sys.executable, "-m", "trtparse.cli")
ONE, EIGHT = "bundle", "bundle-of-eight"
"""Of the folder: the copies of the bundle in which engines are built, and in which those for eight frames are."""


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Args:
        name: of its files.
        words: to run; None where there is nothing to do, as a program is not here.
        seconds: after which it is ended.
        instead_of: done only where the step of that name failed.
        endless: it runs until it is ended, and that is how it passes.
    """

    name: str
    words: Callable[[], Sequence[str] | None]
    seconds: float
    instead_of: str = ""
    endless: bool = False


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    Args:
        name: of the step.
        state: ``passed``, ``failed``, ``out of time``, ``killed`` or ``left out``.
        told: why, in a line.
        command: as it could be typed.
        code: the exit code; negative where a signal ended it.
        seconds: that it took.
    """

    name: str
    state: str
    told: str = ""
    command: str = ""
    code: int | None = None
    seconds: float = 0.0


Run = Callable[[Sequence[str], Path, Path, float], "tuple[int, bool]"]
"""Runs a command with its output in two files, for so many seconds; the exit code, and whether time ran out."""


def run_process(words: Sequence[str], out: Path, error: Path, seconds: float) -> tuple[int, bool]:
    """A process with whatever it starts in a group of its own, so that nothing of it stays."""
    with out.open("wb") as stdout, error.open("wb") as stderr:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            return process.wait(seconds), False
        except subprocess.TimeoutExpired:
            return end(process), True
        except BaseException:
            end(process)
            raise


def end(process: subprocess.Popen[bytes]) -> int:
    """End a process and all that it started, the gentlest way first."""
    for number, seconds in SECONDS_TO_END:
        try:
            os.killpg(process.pid, number)
            return process.wait(seconds)
        except ProcessLookupError:
            return process.wait()
        except subprocess.TimeoutExpired:
            continue
    return -signal.SIGKILL  # in the kernel, waiting for a driver that does not answer


class FirstContact:
    """Runs the steps and keeps what comes of them.

    Args:
        folder: for all of it.
        minutes: that there are.
        run: a command.
    """

    def __init__(self, folder: Path, minutes: float, run: Run = run_process) -> None:
        self.folder, self._run = folder, run
        self._started = time.monotonic()
        self._until = self._started + 60 * minutes
        self.ended: list[Ended] = []
        self.facts: dict[str, Any] = {"minutes": minutes, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    def go(self, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                ended = self._one(step)
            except (KeyboardInterrupt, SystemExit):
                self._note(Ended(step.name, "killed", "this script was ended"))
                raise
            except Exception as error:  # a fault of this script must not cost the steps that follow
                ended = Ended(step.name, "failed", f"{type(error).__name__}: {error}")
            if ended is not None:
                self._note(ended)

    def _one(self, step: Step) -> Ended | None:
        if step.instead_of and all(done.state == "passed" for done in self.ended if done.name == step.instead_of):
            return None
        words = step.words()
        if words is None:
            return Ended(step.name, "left out", "not on this machine")
        seconds = min(step.seconds, self._until - time.monotonic())
        if seconds < LEAST_SECONDS and step.seconds >= LEAST_SECONDS:
            return Ended(step.name, "left out", "no time was left", shlex.join(words))
        print(f"{step.name} …", end=" ", flush=True)
        out, error = (self.folder / "steps" / f"{step.name}.{kind}" for kind in ("out", "err"))
        started = time.monotonic()
        code, timed_out = self._run(words, out, error, seconds)
        state, told = judged(code, timed_out, step, out, error)
        return Ended(step.name, state, told, shlex.join(words), code, round(time.monotonic() - started, 1))

    def _note(self, ended: Ended) -> None:
        print(f"{ended.name}: {ended.state} {ended.told}".rstrip(), flush=True)
        self.ended.append(ended)
        self.write()

    def write(self) -> None:
        """summary.json and README.md, as far as things are."""
        summary: dict[str, Any] = {
            **self.facts,
            "seconds": round(time.monotonic() - self._started, 1),
            "steps": [asdict(one) for one in self.ended],
        }
        for name, read in (("missing", missing), ("engines", engines), ("measured", measured)):
            try:
                summary[name] = read(self.folder)
            except Exception as error:  # what cannot be read is told; what can be is not lost for it
                summary[name] = {"problem": f"{type(error).__name__}: {error}"}
        summary["targets"] = targets(summary["measured"])
        for path, text in (("summary.json", json.dumps(summary, indent=1) + "\n"), ("README.md", readme(summary))):
            partial = self.folder / f".{path}"
            partial.write_text(text)
            partial.replace(self.folder / path)


def judged(code: int, timed_out: bool, step: Step, out: Path, error: Path) -> tuple[str, str]:
    """How a step ended, and what it said of it."""
    lines = [line.strip() for line in error.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if timed_out and step.endless:
        return "passed", ""
    if timed_out:
        return "out of time", f"it was ended; it had {step.seconds:g} s at the most. {last[:300]}".strip()
    if code == 0:
        return "passed", ""
    if code < 0:
        return "killed", f"by {signal.Signals(-code).name}. {last[:300]}".strip()
    # Commands say what is wrong in their document, others on stderr.
    try:
        told = str(json.loads(out.read_text("utf-8", "replace"))["error"])
    except (ValueError, KeyError, TypeError):
        told = next((line for line in lines if line.startswith("Error")), last)
    return "failed", f"exit code {code}. {told[:300]}".strip()


def steps(
    bundle: Path, folder: Path, *, source: str | None, data: str | None, seconds: float, pytorch: str | None
) -> list[Step]:
    """What to do, what is worth most first.

    Args:
        bundle: the copy that engines are built into; where its batch is free, ``EIGHT`` beside it is another.
        folder: of the results.
        source: for the demo besides the walking figure, such as ``csi:0``.
        data: to validate on.
        seconds: of each measurement of a benchmark.
        pytorch: words that start a Python with PyTorch, where this one has none.
    """
    manifest = json.loads((bundle / "bundle.json").read_text())
    reference = "pytorch" if has_torch() and "student.safetensors" in manifest["files"] else "fp32"
    logs = folder / "logs"

    def ours(*words: object) -> Callable[[], Sequence[str]]:
        return lambda: (*TRTPARSE, *map(str, words))

    def program(*words: str) -> Callable[[], Sequence[str] | None]:
        return lambda: words if shutil.which(words[0]) else None

    def build(precision: str, *words: object) -> Callable[[], Sequence[str]]:
        return ours("build", bundle, f"--{precision}", "--target", "tensorrt", "--json", *words)

    def bench(
        name: str, *words: object, of: Path = bundle, python: Sequence[str] = TRTPARSE[:1]
    ) -> Callable[[], Sequence[str]]:
        times = ("--seconds", seconds, "--warm-up", seconds / 2, "--json", "--output", folder / f"{name}.json")
        return lambda: (*python, *TRTPARSE[1:], "bench", *map(str, (of, *times, *words)))

    def validate(precision: str) -> Callable[[], Sequence[str]]:
        shown = ("--data", data) if data else ()
        words = ("--target", "tensorrt", "--precision", precision, "--reference", reference, "--limit", 32, "--json")
        return ours("validate", bundle, *words, "--report", folder / f"validate-{precision}", *shown)

    found = [
        Step("doctor", ours("doctor", "--json"), 60),
        Step("nvidia-smi", program("nvidia-smi", "-q"), 20),
        Step("nvpmodel", program("nvpmodel", "-q"), 10),
        Step("jetson_clocks", program("jetson_clocks", "--show"), 10),
        Step("build-fp16", build("fp16", "--log", logs / "fp16.log"), 120),
        Step("build-int8", build("int8", "--log", logs / "int8.log"), 180),
        Step(
            "build-int8-unverified",
            build("int8", "--log", logs / "int8-verbose.log", "--verbose", *_AS_IT_COMES),
            120,
            instead_of="build-int8",
        ),
        Step("bench", bench("bench", "--layers", "--explorer", folder / "layers"), 90),
        Step("demo", ours("demo", "--bundle", bundle, "--output", folder / "demo.mp4", "--json"), 60),
        Step("validate-int8", validate("int8"), 60),
        Step("bench-graph", bench("bench-graph", "--target", "tensorrt", "--cuda-graph"), 30),
        Step("bench-copies", bench("bench-copies", "--target", "tensorrt", "--copies"), 30),
        Step("bench-mapped", bench("bench-mapped", "--target", "tensorrt", "--mapped"), 30),
        Step("bench-slots", bench("bench-slots", "--target", "tensorrt", "--slots", 4), 30),
    ]
    if pytorch is not None:
        eager = ("--target", "pytorch", "--precision", "fp32")
        found.append(Step("bench-pytorch", bench("bench-pytorch", *eager, python=shlex.split(pytorch)), 60))
    if manifest["batch"] is None:
        # Kernels that were chosen for one frame would tell too little of eight.
        eight = ("build", folder / EIGHT, "--int8", "--target", "tensorrt", "--batch-profile", "8,8,8", "--json")
        found.append(Step("build-batch-8", ours(*eight, "--log", logs / "batch-8.log"), 150))
        batch = bench("bench-batch-8", "--target", "tensorrt", "--batch", 8, of=folder / EIGHT)
        found.append(Step("bench-batch-8", batch, 30))
    if source is not None:
        live = ("demo", source, "--bundle", bundle, "--output", folder / "demo-source.mp4", "--json")
        found.append(Step("demo-source", ours(*live), 20, endless=True))
    found += [
        Step("validate-fp16", validate("fp16"), 60),
        Step("build-fp32", build("fp32", "--log", logs / "fp32.log"), 90),
        Step("trtexec", lambda: trtexec(bundle, folder), 90),
        Step("inspect", ours("inspect", bundle, "--json"), 60),
    ]
    return found


_AS_IT_COMES = ("--no-ladder", "--accept-unverified", "--no-timing")


def has_torch() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def trtexec(bundle: Path, folder: Path) -> Sequence[str] | None:
    """NVIDIA's own program with the line that the build of INT8 told, or of FP16: to set our times against."""
    usual = "/usr/src/tensorrt/bin/trtexec"
    program = shutil.which("trtexec") or (usual if Path(usual).is_file() else None)
    lines = [facts["settings"].get("trtexec") for facts in manifests(bundle)]
    line = next((one for one in lines if one), None)
    if program is None or line is None:
        return None
    kept = [word for word in shlex.split(line)[1:] if not word.startswith("--saveEngine=")]
    exported = (f"--exportLayerInfo={folder / 'trtexec.graph.json'}", f"--exportTimes={folder / 'trtexec.times.json'}")
    return (program, *kept, *exported, "--duration=3")


def manifests(bundle: Path) -> list[dict[str, Any]]:
    """Of the bundle's engines, INT8 first."""
    found = [json.loads(path.read_text()) for path in sorted((bundle / "engines").glob("*.json"))]
    return sorted(found, key=lambda facts: ("int8", "fp16", "fp32").index(facts["precision"]))


def missing(folder: Path) -> list[str]:
    """What doctor found to be missing or broken, with the line that mends it."""
    told = folder / "steps" / "doctor.out"
    findings = json.loads(told.read_text())["findings"] if told.is_file() else []
    return [
        f"{one['topic']}: {one['text']}" + (f" Type: {one['fix']}" if one["fix"] else "")
        for one in findings
        if one["state"] in ("missing", "broken")
    ]


def engines(folder: Path) -> list[dict[str, Any]]:
    """What is to be known of each engine that came to be."""
    kept = (
        "engine",
        "precision",
        "batch",
        "tensorrt",
        "gpu",
        "multiprocessors",
        "bytes",
        "seconds",
        "milliseconds",
        "parity",
    )
    return [
        {
            **{name: facts[name] for name in kept},
            "unverified": facts["unverified"],
            "notes": facts["settings"].get("notes", []),
            "convolutions": facts["inspection"].get("convolutions", {}),
        }
        for bundle in (ONE, EIGHT)
        for facts in manifests(folder / bundle)
    ]


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Each benchmark's engines, by target and precision, the first of each."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("bench*.json")):
        speeds = found[path.stem] = {}
        for engine in json.loads(path.read_text())["engines"]:
            alone = engine["engine_alone"]
            speeds.setdefault(
                f"{engine['target']}-{engine['precision']}",
                {
                    "milliseconds": engine["host_to_host"]["p50"],
                    "alone": None if alone is None else alone["p50"],
                    "frames_per_second": engine["frames_per_second"],
                    "overhead": engine["overhead"],
                    "watts": None if engine["power"] is None else engine["power"]["watts"],
                    "millijoules": engine["millijoules"],
                },
            )
    return found


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, and what came of it; None where it was not measured."""

    def value(benchmark: str, engine: str, figure: str) -> float | None:
        number = found.get(benchmark, {}).get(engine, {}).get(figure)
        return None if number is None else float(number)

    def ratio(over: float | None, under: float | None) -> float | None:
        return None if not over or not under else round(over / under, 3)

    eager = value("bench-pytorch", "pytorch-fp32", "milliseconds") or value("bench", "pytorch-fp32", "milliseconds")
    half = ratio(eager, value("bench", "tensorrt-fp16", "milliseconds"))
    fast, slow = (value("bench-batch-8", f"tensorrt-{name}", "frames_per_second") for name in ("int8", "fp16"))
    int8 = ratio(fast, slow)
    overhead = value("bench", "tensorrt-int8", "overhead")
    return [
        _target("FP16 over PyTorch's eager FP32, one frame a call", half, least=5.0),
        _target("INT8 over FP16, eight frames a call", int8, least=1.2),
        _target("host to host over the engine alone, INT8, two slots", overhead, most=1.15),
    ]


def _target(
    claim: str, found: float | None, *, least: float | None = None, most: float | None = None
) -> dict[str, Any]:
    met = None if found is None else (least is None or found >= least) and (most is None or found <= most)
    wanted = f"at least {least:g}" if least is not None else f"at most {most:g}"
    return {"claim": claim, "wanted": wanted, "found": found, "met": met}


def readme(summary: dict[str, Any]) -> str:
    """What happened and where things are, for whoever gets the folder."""
    words = {True: "met", False: "missed", None: "not measured"}
    lines = [f"# First contact, {summary['started']}", "", "| step | how it ended | seconds |", "|---|---|---|"]
    for step in summary["steps"]:
        told = f"**{step['state']}** {step['told']}".strip() if step["state"] != "passed" else "passed"
        lines.append(f"| {step['name']} | {told.replace('|', '/')} | {step['seconds']:g} |")
    lacks = summary["missing"] if isinstance(summary["missing"], list) else []
    lines += ["", "This machine lacks, as doctor has it:", *(f"- {one}" for one in lacks)] if lacks else []
    lines += ["", "| aimed at | wanted | found | |", "|---|---|---|---|"]
    for target in summary["targets"]:
        found = "" if target["found"] is None else f"{target['found']:g}"
        lines.append(f"| {target['claim']} | {target['wanted']} | {found} | {words[target['met']]} |")
    lines += [
        "",
        "- `steps/`: what each step said (`.out`, `.err`); with `summary.json` the commands and their exit codes.",
        "- `logs/`: all that TensorRT said in each build.",
        "- `bundle/engines/`: the engines with their manifests: parity, precisions, times, the line for trtexec; in "
        f"`{EIGHT}/engines/` those for eight frames a call.",
        "- `bundle/engines/failed/`: what is left of engines that were refused.",
        "- `layers/`: layers and times as trt-engine-explorer reads them. `bench*.json`: times, power, clocks.",
        "- `validate-*/`: reports. `demo*.mp4`: what a person sees.",
    ]
    return "\n".join(lines) + "\n"


def prepare(bundle: Path, folder: Path) -> Path:
    """The folder, with a copy of the bundle and none of the engines that it had; two where its batch is free."""
    if not (bundle / "bundle.json").is_file():
        raise SystemExit(f"{bundle} is no bundle: trtparse build makes one, on a machine with PyTorch.")
    if folder.exists():
        raise SystemExit(f"{folder} is there already; give another --output.")
    for name in ("steps", "logs"):
        (folder / name).mkdir(parents=True)
    copy = folder / ONE
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("engines"))
    manifest = json.loads((copy / "bundle.json").read_text())
    if any(name.startswith("engines/") for name in manifest["files"]):
        from trtparse.engines.bundle import MANIFEST_NAME, Manifest, finish

        finish(copy, Manifest.from_json((bundle / MANIFEST_NAME).read_text(), bundle / MANIFEST_NAME))
    if manifest["batch"] is None:
        shutil.copytree(copy, folder / EIGHT)
    return copy


def main(arguments: Sequence[str] | None = None, run: Run = run_process) -> int:
    """Returns 0 where every step passed that could be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, default=Path("build/student"))
    parser.add_argument("--output", type=Path, default=Path(time.strftime("first-contact-%Y%m%d-%H%M%S")))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--source", help="for the demo as well, such as csi:0 or a video")
    parser.add_argument("--data", help="to validate on; rendered people by default")
    parser.add_argument(
        "--pytorch", metavar="PYTHON", help="starts a Python with PyTorch and trtparse, where this one has no PyTorch"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of a benchmark")
    options = parser.parse_args(arguments)
    folder = options.output.resolve()
    bundle = prepare(options.bundle, folder)
    contact = FirstContact(folder, options.minutes, run)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that closes is no reason to leave a step running
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    contact.go(
        steps(
            bundle,
            folder,
            source=options.source,
            data=options.data,
            seconds=options.seconds,
            pytorch=options.pytorch,
        )
    )
    contact.write()
    print((folder / "README.md").read_text())
    print(f"All of it is in {folder}")
    return 0 if all(one.state in ("passed", "left out") for one in contact.ended) else 1


if __name__ == "__main__":
    sys.exit(main())
