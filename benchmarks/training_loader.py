"""Claim: preparing batches costs a training step less than 5 % on two cores.

The peer is the same step on one batch that is in memory already.

python benchmarks/training_loader.py LIP-LAYOUT [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import numpy as np
import torch
from measure import machine

from trtparse.distillation.criterion import Criterion
from trtparse.distillation.loader import Batch, Loader, Part
from trtparse.distillation.optimising import Precision
from trtparse.distillation.recipe import Recipe
from trtparse.networks.preprocessing import normalise
from trtparse.networks.student import Student
from trtparse.tasks.parsing.files import LipDataset

ROUNDS, STEPS = 6, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe()
    part = Part(LipDataset(arguments.data, "train"))
    weights = np.ones(len(part.dataset))
    network = Student(auxiliary=True).to(memory_format=torch.channels_last)
    criterion = Criterion(recipe.loss, recipe.distillation, network.auxiliary_weight, part.dataset.label_set)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    precision = Precision("auto", torch.device("cpu"))

    def step(batch: Batch) -> None:
        with precision.autocast():
            images = normalise(torch.from_numpy(batch.frames)).contiguous(memory_format=torch.channels_last)
            coarse = network.forward_coarse(images)
        optimizer.zero_grad(set_to_none=True)
        criterion([logits.float() for logits in coarse], torch.from_numpy(batch.labels)).backward()
        optimizer.step()

    total = 3 + ROUNDS * STEPS
    loader = Loader([part], weights, recipe.augmentation, recipe.batch, recipe.geometry, recipe.seed, 0, total)
    kept = loader.next()
    for _ in range(2):
        step(loader.next())
    alone, fed, waited = [], [], []
    for _ in range(ROUNDS):
        # The loader fills its queue while the first of these steps runs, so a round starts with a full queue.
        loaded = 0.0
        started = time.perf_counter()
        for _ in range(STEPS):
            asked = time.perf_counter()
            batch = loader.next()
            loaded += time.perf_counter() - asked
            step(batch)
        fed.append((time.perf_counter() - started) / STEPS)
        waited.append(loaded / STEPS)
        time.sleep(1.0)  # the queue fills, and the peer has the machine to itself
        started = time.perf_counter()
        for _ in range(STEPS):
            step(kept)
        alone.append((time.perf_counter() - started) / STEPS)
    loader.close()
    result = {
        "machine": machine(),
        "threads": arguments.threads,
        "precision": precision.name,
        "batch": recipe.batch,
        "input_size": list(recipe.input_size),
        "step_alone_ms": round(1e3 * median(alone), 1),
        "step_with_loader_ms": round(1e3 * median(fed), 1),
        "of_these_waiting_ms": round(1e3 * median(waited), 2),
        "share_forward_and_backward": round(median(alone) / median(fed), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
