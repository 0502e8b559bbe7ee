"""The weights that come with the package."""

from pathlib import Path

DEFAULT_WEIGHTS = Path(__file__).parent / "student.safetensors"
"""LSFA-R18 at 256x192; ``README.md`` beside it is its model card."""

POSE_WEIGHTS = Path(__file__).parent / "pose-student.safetensors"
"""L-MSPN at 256x192, COCO's joints; ``POSE.md`` beside it is its model card."""

FINDER_WEIGHTS = Path(__file__).parent / "finder.safetensors"
"""The person finder at 192x320; ``FINDER.md`` beside it is its model card."""

WEIGHTS = {"parsing": DEFAULT_WEIGHTS, "pose": POSE_WEIGHTS, "people": FINDER_WEIGHTS}
"""By task."""

BUNDLES = {"parsing": Path("build/student"), "pose": Path("build/pose"), "people": Path("build/people")}
"""Where each of them is built to, by task."""

FINDER_GRAPH = Path(__file__).parent / "finder.int8-cpu.onnx"
"""What was built of it for ONNX Runtime: finding people needs no PyTorch. Its metadata has the score from which a box
is somebody, ``sure``."""
