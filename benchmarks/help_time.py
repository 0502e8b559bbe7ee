"""Claim: `trtparse --help` answers in 0.3 s, because it imports neither PyTorch nor ONNX Runtime.

Peer: a Python that imports both, as a command line that does not import late would.
"""

from __future__ import annotations

import sys
from statistics import median

from measure import machine, run

REPEATS = 10


def main() -> None:
    ours = median(run([sys.executable, "-m", "trtparse.cli", "--help"])[0] for _ in range(REPEATS))
    peer = median(run([sys.executable, "-c", "import torch, onnxruntime"])[0] for _ in range(REPEATS))
    print(machine())
    print(f"trtparse --help               {ours:6.3f} s  (claim: 0.3 s)")
    print(f"import torch, onnxruntime     {peer:6.3f} s")
    print(f"ratio                         {peer / ours:6.1f}")


if __name__ == "__main__":
    main()
