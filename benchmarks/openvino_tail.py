"""Claim: on OpenVINO our form of a label map's end is no slower than any other, with FP32 between layers and with BF16.

python benchmarks/openvino_tail.py [BUNDLE] [--peer FILE] [--seconds 40] [--threads 1]

Whole calls of the CPU's INT8 graph with the forms of ArgMax: as OpenVINO reads it (one that sorts), as two reductions,
and as we give it; and of one that ends before the last resize. --peer names another graph of the same network to set
beside, such as the .xml that NNCF writes. Times are the processor's, spent by the process in a call, the least of all
calls and in turns: on a busy machine they hold where a clock's do not. ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 shows a
processor without AMX.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine

FORMS = ("without its end", "one that sorts", "two reductions", "ours")


def read(core: Any, openvino: Any, path: Path, form: str, hint: str) -> Any:
    """A graph of label maps alone, with its end in a form."""
    from trtparse.engines.openvino_tail import lean_tail

    model = core.read_model(path)
    for result in model.get_results():
        if "labels" not in result.input_value(0).get_names():
            model.remove_result(result)
    if form == "without its end":
        resize = [node for node in model.get_ordered_ops() if node.get_type_name() == "Interpolate"][-1]
        return openvino.Model([openvino.opset13.result(resize.input_value(0))], model.get_parameters())
    if form == "two reductions":  # what machines have of which nothing better is known
        lean_tail(model, openvino, hint, "another machine")
    elif form == "ours":
        lean_tail(model, openvino, hint, platform.machine())
    return model


def in_turns(requests: dict[Any, Any], frames: Any, seconds: float) -> dict[Any, float]:
    """The least of the processor's milliseconds in a call."""
    spent = dict.fromkeys(requests, float("inf"))
    end, calls = time.monotonic() + seconds, 0
    while time.monotonic() < end or calls < 5:
        for key, request in requests.items():
            started = time.process_time()
            request.infer({"frames": frames})
            spent[key] = min(spent[key], 1e3 * (time.process_time() - started))
        calls += 1
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="build/student")
    parser.add_argument("--peer", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    from trtparse.data.letterbox import Letterbox
    from trtparse.data.synthetic import SyntheticPeople
    from trtparse.engines import open_bundle
    from trtparse.engines.openvino import betweens, capabilities_of, load_openvino

    openvino = load_openvino()
    core = openvino.Core()
    bundle = open_bundle(asked.bundle)
    manifest, image = bundle.manifest, SyntheticPeople(1)[0].image
    frame = Letterbox.fit(image.shape[:2], manifest.input_size, manifest.stretch).apply(image)
    frames = np.repeat(frame[None], manifest.batch or 1, axis=0)

    def request(path: Path, form: str, hint: str) -> Any:
        settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": "1", "ENABLE_CPU_PINNING": False}
        model = read(core, openvino, path, form, hint)
        settings["INFERENCE_NUM_THREADS"] = str(asked.threads)
        return core.compile_model(model, "CPU", settings).create_infer_request()

    hints, graph = betweens(capabilities_of(core)), bundle.graph("int8-cpu")
    requests = {(hint, form): request(graph, form, hint) for hint in hints for form in FORMS}
    answers = {key: np.array(one.infer({"frames": frames})[0]) for key, one in requests.items()}
    if asked.peer is not None:
        requests |= {(hint, asked.peer.name): request(asked.peer, "one that sorts", hint) for hint in hints}
    print(f"{machine()}, OpenVINO {openvino.get_version()}, {asked.threads} threads")
    for (hint, form), taken in in_turns(requests, frames, asked.seconds).items():
        wanted, found = answers[hint, "two reductions"], answers.get((hint, form))
        same = "" if found is None or found.shape != wanted.shape else f"{100 * (found == wanted).mean():9.3f} %"
        print(f"{hint:5} {form:18} {taken:8.2f} ms of the processor {same}")


if __name__ == "__main__":
    main()
