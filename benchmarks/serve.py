"""Claim: the server costs its engine next to nothing, answers quickly at half load, and does not grow.

The engine runs on one core, server and clients on another one. Raw tensors, 8 clients, each with one request at a
time: at least 0.9 of the requests per second that the engine alone does on its core. At half of that, evenly spaced,
99 of 100 requests take at most twice as long as the typical one of a single client. The peer in the same run is what
people write: FastAPI on uvicorn, ONNX Runtime in the handler, bytes in and bytes out, on the same cores. All take
turns, and the medians count. At the end the requests that were asked for go through a server of a graph that takes no
time, whose memory after the first tenth is compared with that at the end.

python benchmarks/serve.py BUNDLE [--seconds 20] [--repeats 3] [--requests 100000] [--without-peer]

Everything goes over loopback and ends by itself: each phase after its seconds, the last one after its requests or an
hour. The peer needs: pip install fastapi uvicorn
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import machine

CLIENTS = 8
ENGINE_CORE, OTHER_CORE = 0, 1
LONGEST_SECONDS = 3600.0
CLAIMS = {"throughput_share": 0.9, "p99_over_one": 2.0, "grown_megabytes": 8.0}

Ask = Callable[[http.client.HTTPConnection], None]


def pin_engine() -> None:
    """Let passes of the CPU engine run on the engine's core, whatever thread they are on."""
    from trtparse.engines.cpu import CpuEngine

    run = CpuEngine._run

    def pinned(self: CpuEngine, frames: Any) -> Any:
        os.sched_setaffinity(0, {ENGINE_CORE})
        return run(self, frames)

    CpuEngine._run = pinned  # type: ignore[method-assign]


# What child processes do.


def ours(bundle: str) -> None:
    from trtparse.serve.limits import Limits
    from trtparse.serve.model import NamedBundle, Opening
    from trtparse.serve.serving import Serving

    pin_engine()
    named = [NamedBundle("model", Path(bundle))]
    with Serving(named, "127.0.0.1:0", engine=Opening("onnxruntime", threads=1), limits=Limits()) as serving:
        print(serving.url.rpartition(":")[2], flush=True)
        sys.stdin.read()


def peer(bundle: str) -> None:
    import fastapi
    import uvicorn
    from fastapi.concurrency import run_in_threadpool

    from trtparse.tasks.open import open_predictor

    engine = open_predictor(bundle, "onnxruntime", threads=1).engine
    session, shape = engine._session, (1, *engine.input_size, 3)
    app = fastapi.FastAPI()

    async def infer(request: Any) -> Any:
        frames = np.frombuffer(await request.body(), np.uint8).reshape(shape)

        def run() -> bytes:
            os.sched_setaffinity(0, {ENGINE_CORE})
            return session.run(None, {"frames": frames})[0].tobytes()

        return fastapi.Response(await run_in_threadpool(run), media_type="application/octet-stream")

    # Not as a decorator: the types that it reads are not among this file's names.
    app.add_route("/infer", infer, methods=["POST"])

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


def alone(bundle: str, seconds: float) -> None:
    """Requests a second of the engine by itself, with as many under way as it takes."""
    from trtparse.tasks.open import open_predictor

    pin_engine()
    with open_predictor(bundle, "onnxruntime", threads=1) as predictor:
        engine = predictor.engine
        frames = np.random.default_rng(0).integers(0, 256, (1, *engine.input_size, 3), np.uint8)
        engine.infer(frames)
        flying, done = [], 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            flying.append(engine.submit(frames))
            if len(flying) == engine.in_flight:
                engine.collect(flying.pop(0))
                done += 1
        took = time.perf_counter() - begin
        for ticket in flying:
            engine.collect(ticket)
    print(done / took)


# What this process does.


def child(kind: str, bundle: str, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, bundle, "--as", kind, *more]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def serving(kind: str, bundle: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server, while the block runs."""
    process = child(kind, bundle)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit(f"{kind} did not start")
        yield int(port), process.pid
    finally:
        process.terminate()
        process.wait()


def asks(kind: str, size: tuple[int, int]) -> Ask:
    """One request and its answer."""
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    if kind == "peer":
        path, body, headers = "/infer", frames.tobytes(), {}
    else:
        tensor = {"name": "frames", "datatype": "UINT8", "shape": list(frames.shape)}
        tensor["parameters"] = {"binary_data_size": frames.nbytes}
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        path, body = "/v2/models/model/infer", text + frames.tobytes()

    def ask(connection: http.client.HTTPConnection) -> None:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200 or len(told) < size[0] * size[1]:
            raise RuntimeError(f"{kind} answered {answer.status}: {told[:200]!r}")

    return ask


def load(
    port: int, ask: Ask, clients: int, seconds: float, rate: float = 0.0, most: int = 10**9
) -> tuple[float, list[float]]:
    """Requests a second and the seconds that each took.

    Args:
        port: of a server on loopback.
        ask: a request.
        clients: that ask at once.
        seconds: after which they stop.
        rate: of evenly spaced requests a second, whose time counts from when they were due; 0 for one after the other.
        most: requests in all.
    """
    lock, times, issued = threading.Lock(), [], 0
    begin = time.perf_counter()

    def client() -> None:
        nonlocal issued
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number, issued = issued, issued + 1
            due = begin + number / rate if rate else time.perf_counter()
            if number >= most or due - begin > seconds or time.perf_counter() - begin > seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            ask(connection)
            took = time.perf_counter() - due
            with lock:
                times.append(took)
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        for ended in [pool.submit(client) for _ in range(clients)]:
            ended.result()
    return len(times) / (time.perf_counter() - begin), times


def resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def grown(requests: int) -> tuple[float, int]:
    """Megabytes that a server of a graph of five nodes grows by after the first tenth of so many requests."""
    from trtparse.tests.serve.conftest import SIZE, write_bundle

    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "model")
        with serving("ours", str(bundle)) as (port, process):
            ask = asks("ours", SIZE)
            load(port, ask, CLIENTS, LONGEST_SECONDS / 10, most=requests // 10)
            before = resident(process)
            _, times = load(port, ask, CLIENTS, LONGEST_SECONDS * 0.9, most=requests - requests // 10)
            return resident(process) - before, len(times) + requests // 10


def measured(bundle: str, seconds: float, repeats: int, kinds: list[str]) -> dict[str, float]:
    from trtparse.engines import open_bundle

    size = open_bundle(bundle).manifest.input_size
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(repeats):
        engine = child("alone", bundle, "--seconds", str(seconds))
        note("engine_per_second", float(engine.communicate()[0]))
        for kind in kinds:
            ask = asks(kind, size)
            with serving(kind, bundle) as (port, _):
                load(port, ask, CLIENTS, min(2.0, seconds))
                note(f"{kind}_per_second", load(port, ask, CLIENTS, seconds)[0])
                one = 1e3 * median(load(port, ask, 1, seconds)[1])
                note(f"{kind}_one_ms", one)
                half = load(port, ask, CLIENTS, seconds, rate=found["engine_per_second"][-1] / 2)[1]
                note(f"{kind}_half_load_p50_ms", 1e3 * float(np.percentile(half, 50)))
                note(f"{kind}_half_load_p99_ms", 1e3 * float(np.percentile(half, 99)))
                note(f"{kind}_p99_over_one", 1e3 * float(np.percentile(half, 99)) / one)
                note(f"{kind}_throughput_share", found[f"{kind}_per_second"][-1] / found["engine_per_second"][-1])
    return {name: median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--as", dest="kind", choices=["ours", "peer", "alone"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    if arguments.kind == "alone":
        return alone(arguments.bundle, arguments.seconds)
    if arguments.kind is not None:
        return {"ours": ours, "peer": peer}[arguments.kind](arguments.bundle)
    kinds = ["ours"] if arguments.without_peer else ["ours", "peer"]
    figures = measured(arguments.bundle, arguments.seconds, arguments.repeats, kinds)
    megabytes, answered = grown(arguments.requests)
    figures |= {"requests": answered, "grown_megabytes": megabytes}
    print(json.dumps({"machine": machine(), "bundle": arguments.bundle, **figures}, indent=2))
    shown = {
        "throughput_share": figures["ours_throughput_share"],
        "p99_over_one": figures["ours_p99_over_one"],
        "grown_megabytes": megabytes,
    }
    failed = [
        f"{name} is {value:.3g}, claimed {CLAIMS[name]:g}"
        for name, value in shown.items()
        if (value < CLAIMS[name] if name == "throughput_share" else value > CLAIMS[name])
    ]
    sys.exit(f"Not met: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
