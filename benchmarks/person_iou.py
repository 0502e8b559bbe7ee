"""Claim: what is parsed in a street photograph is a person, and what is not is left alone.

Compares the folder that ``trtparse parse`` wrote (its defaults find people) with masks of people, PNGs by the images'
names in which 255 is a person. Intersection and union are summed over all images. With ``--each N``, the N worst
images are named as well.

    trtparse parse IMAGES --bundle build/student --people auto --output parsed
    python benchmarks/person_iou.py parsed MASKS
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parsed", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--each", type=int, default=0)
    options = parser.parse_args()

    both = either = wrong = background = 0
    ious: dict[str, float] = {}
    for path in sorted(options.masks.glob("*.png")):
        labels = cv2.imread(str(options.parsed / path.name))
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if labels is None or mask is None:
            raise SystemExit(f"{path.name} is not in {options.parsed} as well, or cannot be read.")
        said = labels.any(-1)  # In the colours of a label set the background is black, and it alone.
        if said.shape != mask.shape:
            mask = cv2.resize(mask, said.shape[::-1], interpolation=cv2.INTER_NEAREST)
        person = mask > 127
        both += int(np.count_nonzero(said & person))
        either += int(np.count_nonzero(said | person))
        wrong += int(np.count_nonzero(said & ~person))
        background += int(np.count_nonzero(~person))
        ious[path.stem] = float(np.count_nonzero(said & person) / max(np.count_nonzero(said | person), 1))
    result = {
        "images": len(ious),
        "person IoU, %": round(100 * both / either, 1),
        "background called a person, %": round(100 * wrong / background, 2),
    }
    if options.each:
        result["worst"] = {
            name: round(100 * iou, 1) for name, iou in sorted(ious.items(), key=lambda one: one[1])[: options.each]
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
