"""The command line of ``trtparse serve``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtparse.tests.serve.conftest import hands

__all__ = ["hands"]

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'trtparse[serve]'")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_and_what_was_done_is_told(hands: Path, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "trtparse.cli", "serve", str(hands), "--listen", "0"]
    words += ["--threads", "1", "--target", "onnxruntime"]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said: list[str] = []
        while not said or "Serving at" not in said[-1]:
            said.append(serving.stderr.readline())
            assert said[-1], said
        assert any("hands: ONNX Runtime" in line for line in said)
        url = said[-1].split()[2]
        tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, 48, 32, 3], "data": np.zeros(4608, int).tolist()}
        with urllib.request.urlopen(
            f"{url}/v2/models/hands/infer", json.dumps({"inputs": [tensor]}).encode()
        ) as answer:
            assert json.load(answer)["outputs"][0]["shape"] == [1, 48, 32]
        serving.send_signal(number)
        out, err = serving.communicate(timeout=60)
        assert (serving.returncode, out) == (0, "hands: 1 request, 1 frame\n"), err
    finally:
        serving.kill()
        serving.wait()


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, as soon as it serves."""

    def wait(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trtparse.serve.serving.Serving.wait", wait)


def test_every_option_reaches_the_server(
    run: Callable[..., tuple[int, str, str]], hands: Path, no_wait: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtparse.serve import serving

    made: dict[str, Any] = {}
    init = serving.Serving.__init__
    monkeypatch.setattr(serving.Serving, "__init__", lambda self, *a, **k: made.update(k, a=a) or init(self, *a, **k))
    monkeypatch.setenv("TRTPARSE_TOKEN", "from-the-environment")
    words = ("--listen", "127.0.0.1:0", "--batch", 3, "--delay", 5, "--queue", 7, "--rate", 9, "--connections", 11)
    more = (
        "--photograph",
        2,
        3,
        "--drain",
        4,
        "--target",
        "onnxruntime",
        "--precision",
        "fp32",
        "--threads",
        1,
        "--people",
        "auto",
        "--json",
    )
    code, out, _ = run("serve", f"one={hands}", f"two={hands}", *words, *more)
    assert code == 0
    document = json.loads(out)
    assert (document["schema_version"], sorted(document["models"])) == (1, ["one", "two"])
    assert made["a"][1:] == ("127.0.0.1:0", "from-the-environment")
    assert (made["batch"].most_frames, made["batch"].delay, made["batch"].most_waiting) == (3, 0.005, 7)
    limits = made["limits"]
    assert (limits.rate, limits.connections, limits.draining_seconds) == (9, 11, 4)
    assert (limits.photograph_bytes, limits.photograph_pixels) == (2 << 20, 3_000_000)
    detector = made["open_detector"]()
    assert detector.detect([np.zeros((40, 30, 3), np.uint8)])[0].boxes.shape == (0, 4)
    detector.close()
    assert (made["engine"].target, made["engine"].precision, made["engine"].threads) == ("onnxruntime", "fp32", 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--listen", "0.0.0.0:0"), "a token is needed"),
        (("--listen", "nonsense"), "nonsense names no port"),
        (("--token", "short"), "5 characters"),
        (("nowhere", "--listen", "0"), "No bundle at nowhere"),
        (("--target", "pytorch", "--listen", "0"), "holds no weights for PyTorch"),
        (("--precision", "int8", "--listen", "0"), "has no INT8 graph"),
        (("--people", "full", "--detector", "some.onnx"), "--detector is for finding people"),
        (("--detector", "nowhere.onnx", "--listen", "0"), "nowhere.onnx"),
    ],
)
def test_what_cannot_be_served_is_told(
    run: Callable[..., tuple[int, str, str]], hands: Path, words: tuple[str, ...], told: str, no_wait: None
) -> None:
    code, out, err = run("serve", *(() if "nowhere" in words else (hands,)), *words)
    assert (code, out) == (2, "")
    assert told in err


def test_without_aiohttp_it_says_what_to_install(
    run: Callable[..., tuple[int, str, str]], hands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtparse.engines.machine.dependencies._is_installed", lambda name: False)
    code, _, err = run("serve", hands, "--listen", "0")
    assert code == 3
    assert "pip install 'trtparse[serve]'" in err
