"""Claim: an INT8 build over 500 images stays under 1.5 GB and 2 minutes on two cores.

Peer: ONNX Runtime's own quantize_static over the same frames and graph, with its entropy calibrator, which
keeps every intermediate value; on a tenth of the images, as all of them would not fit, and with its memory
per image from two runs.

    python benchmarks/build_memory.py [FOLDER_WITH_500_IMAGES]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import machine, run

IMAGES = 500
PEER_IMAGES = (10, 50)

PEER = """
import sys
import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from trtparse.data.letterbox import Letterbox
from trtparse.tasks.parsing.files import open_dataset

model, data, output, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
dataset = open_dataset(data, purpose="calibration")

class Reader(CalibrationDataReader):
    def __init__(self):
        self.index = -1
    def get_next(self):
        self.index += 1
        if self.index >= count:
            return None
        image = dataset[self.index].image
        return {"frames": Letterbox.fit(image.shape[:2], (256, 192), 1.0).apply(image)[None]}

quantize_static(model, output, Reader(), QuantFormat.QDQ, per_channel=True, op_types_to_quantize=["Conv"],
                calibrate_method=CalibrationMethod.Entropy)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = sys.argv[1] if len(sys.argv) > 1 else f"{folder}/people"
        trtparse = [sys.executable, "-m", "trtparse.cli"]
        if len(sys.argv) == 1:
            subprocess.run([*trtparse, "synthesize", data, "--train", str(IMAGES), "--val", "0", "--json"], check=True)
        weights = Path(__file__).parent.parent / "networks" / "weights" / "student.safetensors"
        bundle = f"{folder}/student"
        build = [*trtparse, "build", str(weights), "--int8", "--data", data, "--output", bundle, "--threads", "2"]
        seconds, memory = run([*build, "--calibration-images", str(IMAGES)])
        few_seconds, few_memory = run([*build, "--calibration-images", "10"])
        peer = [
            run([sys.executable, "-c", PEER, f"{bundle}/student.fp32.onnx", data, f"{folder}/peer.onnx", str(count)])
            for count in PEER_IMAGES
        ]
    slope = (memory - few_memory) / (IMAGES - 10)
    peer_slope = (peer[1][1] - peer[0][1]) / (PEER_IMAGES[1] - PEER_IMAGES[0])
    print(machine())
    print(f"trtparse build --int8, {IMAGES} images   {seconds:6.1f} s   {memory:6.0f} MB  (claim: 120 s, 1,500 MB)")
    print(f"trtparse build --int8, 10 images    {few_seconds:6.1f} s   {few_memory:6.0f} MB")
    for count, (peer_seconds, peer_memory) in zip(PEER_IMAGES, peer):
        print(f"quantize_static entropy, {count} images {peer_seconds:6.1f} s   {peer_memory:6.0f} MB")
    print(f"memory per further image            {slope:6.2f} MB against the peer's {peer_slope:.2f} MB")


if __name__ == "__main__":
    main()
