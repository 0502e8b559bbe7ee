"""The training loop: labelled photographs in, the best checkpoint by validation mIoU out.

Every random choice is a function of (seed, step), so a run that was killed and resumed sees the batches
it would have seen. ``state.pt`` holds all that a resumed run needs; ``best.safetensors`` is the product.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..data.augmentation import Augmentation
from ..data.dataset import Dataset
from ..data.letterbox import Letterbox
from ..errors import DataError, TrtparseError, UsageError
from ..files import check_output_folder, replace_bytes
from ..labels import IGNORE_LABEL, NUM_CLASSES
from ..networks.checkpoint import load_checkpoint, save_checkpoint
from ..networks.preprocessing import normalise
from ..networks.student import Student, StudentSpec
from ..validation.metrics import ConfusionMatrix

AUXILIARY_WEIGHT = 0.4
"""Weight of each auxiliary head's loss, as in the CE2P and DIST recipes."""

RARE_WEIGHT = 2.0
"""Cross-entropy weight of the classes that cover little of a person."""
RARE_CLASSES = (1, 3, 4, 6, 8, 10, 11, 12)


@dataclass(frozen=True)
class TrainingSpec:
    """The recipe.

    Args:
        steps: optimiser steps in all.
        batch: images per step.
        input_size: (height, width).
        learning_rate: AdamW's, at the end of the warm-up; falls to 0 with (1 - step / steps) ** 0.9.
        weight_decay: AdamW's, on convolution weights.
        warm_up: steps of linear warm-up.
        ema: decay of the averaged weights, which are what is validated and saved.
        validate_every: steps between two validations; the state is saved then, too.
        seed: of initialisation, order and augmentation.
    """

    steps: int = 4000
    batch: int = 16
    input_size: tuple[int, int] = (256, 192)
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    ema: float = 0.998
    validate_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if min(self.input_size) < 64:
            raise UsageError(f"input_size must be 64x64 or more, not {self.input_size[0]}x{self.input_size[1]}.")
        if not 0 < self.learning_rate < 1:
            raise UsageError(f"learning_rate must lie between 0 and 1, not {self.learning_rate}.")


@dataclass(frozen=True)
class Progress:
    """What a running training says of itself.

    Args:
        step, steps: where it is.
        loss: of the last step.
        images_per_second: over the last steps.
        seconds_left: at that speed, validation included.
        mean_iou: of the last validation, 0 to 1, or None before the first.
        best: the best so far.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float
    mean_iou: float | None
    best: float | None


def train(
    training: Sequence[Dataset],
    validation: Dataset,
    output: Path,
    spec: TrainingSpec = TrainingSpec(),
    *,
    initial: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a student, or go on with the run that ``output`` holds.

    Args:
        training: labelled datasets, used as one.
        validation: labelled; the checkpoint that is best on it is kept.
        output: folder of the run: ``best.safetensors``, ``state.pt``, ``log.jsonl``.
        spec: the recipe; a resumed run must have the same.
        initial: checkpoint to start a new run from.
        on_progress: called after every step.

    Returns:
        The path of the best checkpoint.

    Raises:
        DataError: no labelled image.
        UsageError: the folder holds a run with another recipe, or cannot be written.
        TrtparseError: the loss is not a number; the best checkpoint so far is kept.
    """
    for dataset in (*training, validation):
        if not dataset.labelled or len(dataset) == 0:
            raise DataError(f"{dataset.description} has no labelled images.", "Training needs label maps.")
    check_output_folder(output)
    run = _Run(training, validation, output, spec, initial)
    try:
        run.loop(on_progress)
    finally:
        run.close()
    return output / "best.safetensors"


class _Run:
    def __init__(
        self,
        training: Sequence[Dataset],
        validation: Dataset,
        output: Path,
        spec: TrainingSpec,
        initial: Path | None,
    ) -> None:
        torch.manual_seed(spec.seed)
        self.validation, self.output, self.spec = validation, output, spec
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # bfloat16 halves a step on CPUs that have it and needs no loss scaling on a GPU.
        self.half = self.device.type == "cuda" or torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self.network = Student(StudentSpec(), auxiliary=True).to(self.device)
        if initial is not None:
            source = load_checkpoint(initial).network.state_dict()
            self.network.load_state_dict(source, strict=False)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=spec.learning_rate)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.step = 0
        self.best: float | None = None
        self.last: float | None = None
        self.weights = torch.ones(NUM_CLASSES, device=self.device)
        self.weights[list(RARE_CLASSES)] = RARE_WEIGHT
        self._resume()
        self.loader = _Loader(training, spec, self.step)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        return [
            {"params": decayed, "weight_decay": self.spec.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]

    def _resume(self) -> None:
        path = self.output / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        recipe = json.dumps(asdict(self.spec), sort_keys=True)
        if state["spec"] != recipe:
            raise UsageError(
                f"{self.output} holds a run with another recipe.", "Choose another output folder, or the same options."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step, self.best, self.last = state["step"], state["best"], state["last"]

    def save_state(self) -> None:
        state = {
            "spec": json.dumps(asdict(self.spec), sort_keys=True),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "best": self.best,
            "last": self.last,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        replace_bytes(self.output / "state.pt", buffer.getvalue())

    def loop(self, on_progress: Callable[[Progress], None] | None) -> None:
        started, first = time.monotonic(), self.step
        while self.step < self.spec.steps:
            loss = self._train_step()
            self.step += 1
            if self.step % self.spec.validate_every == 0 or self.step == self.spec.steps:
                self._validate(loss)
                self.save_state()
            if on_progress is not None:
                pace = (time.monotonic() - started) / (self.step - first)
                left = pace * (self.spec.steps - self.step)
                on_progress(
                    Progress(self.step, self.spec.steps, loss, self.spec.batch / pace, left, self.last, self.best)
                )

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.step + 1) / max(self.spec.warm_up, 1))
        return self.spec.learning_rate * warm * math.pow(1 - self.step / self.spec.steps, 0.9)

    def _train_step(self) -> float:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        frames, labels = self.loader.next()
        images = normalise(torch.from_numpy(frames).to(self.device))
        targets = torch.from_numpy(labels).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            coarse = self.network.forward_coarse(images.contiguous(memory_format=torch.channels_last))
        loss = self._loss([logits.float() for logits in coarse], targets)
        if not math.isfinite(float(loss.detach())):
            raise TrtparseError(
                f"The loss is {float(loss.detach())} at step {self.step + 1}.",
                f"The last good checkpoint is in {self.output}; lower the learning rate and start a new run.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self._update_average()
        return float(loss.detach())

    def _loss(self, coarse: list[Tensor], targets: Tensor) -> Tensor:
        # Half of the input's resolution: a quarter of the memory traffic, and the finest logits are at a quarter.
        half = targets[:, ::2, ::2].long()
        main = F.interpolate(coarse[0], size=half.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(main, half, self.weights, ignore_index=IGNORE_LABEL)
        for logits in coarse[1:]:
            stride = targets.shape[-2] // logits.shape[-2]
            near = targets[:, stride // 2 :: stride, stride // 2 :: stride][:, : logits.shape[-2], : logits.shape[-1]]
            logits = logits[:, :, : near.shape[-2], : near.shape[-1]]
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(
                logits, near.long(), self.weights, ignore_index=IGNORE_LABEL
            )
        return loss

    def _update_average(self) -> None:
        decay = min(self.spec.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)

    def _validate(self, loss: float) -> None:
        averaged = Student(StudentSpec()).to(self.device).eval()
        averaged.load_state_dict(self.average, strict=False)
        matrix = ConfusionMatrix()
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            for index in range(len(self.validation)):
                sample = self.validation[index]
                assert sample.labels is not None
                box = Letterbox.fit((sample.image.shape[0], sample.image.shape[1]), self.spec.input_size)
                frame = torch.from_numpy(box.apply(sample.image)[None]).to(self.device)
                prediction = averaged(normalise(frame)).argmax(1)[0].to(torch.uint8).cpu().numpy()
                matrix.update(sample.labels, box.restore(prediction))
        self.last = matrix.scores().mean_iou
        with (self.output / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": self.step, "loss": round(loss, 4), "mean_iou": round(self.last, 5)}) + "\n")
        if self.best is None or self.last >= self.best:
            self.best = self.last
            save_checkpoint(averaged, self.output / "best.safetensors", self.spec.input_size)

    def close(self) -> None:
        self.loader.close()


class _Loader:
    """Batches in the order that (seed, step) gives, prepared ahead on one thread."""

    ahead = 4

    def __init__(self, datasets: Sequence[Dataset], spec: TrainingSpec, step: int) -> None:
        self.datasets, self.spec = datasets, spec
        self.augment = Augmentation()
        self.ends = np.cumsum([len(dataset) for dataset in datasets])
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self.steps: Iterator[int] = iter(range(step, spec.steps))
        self.queue: list[Future[tuple[NDArray[np.uint8], NDArray[np.uint8]]]] = []
        # One thread here and torch's own in the step: OpenCV's pool on top of both only gets in their way.
        cv2.setNumThreads(1)
        for _ in range(self.ahead):
            self._start()

    def _start(self) -> None:
        step = next(self.steps, None)
        if step is not None:
            self.queue.append(self.pool.submit(self._batch, step))

    def next(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        batch = self.queue.pop(0).result()
        self._start()
        return batch

    def _batch(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        frames, labels = [], []
        for position in range(step * self.spec.batch, (step + 1) * self.spec.batch):
            rng = np.random.default_rng((self.spec.seed, position))
            index = self._index(position)
            part = int(np.searchsorted(self.ends, index, side="right"))
            offset = int(self.ends[part - 1]) if part else 0
            frame, label = self.augment(self.datasets[part][index - offset], self.spec.input_size, rng)
            frames.append(frame)
            labels.append(label)
        return np.stack(frames), np.stack(labels)

    def _index(self, position: int) -> int:
        """Every image once per epoch, in an order of the epoch's own."""
        total = int(self.ends[-1])
        epoch, place = divmod(position, total)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.spec.seed, epoch, 1)).permutation(total)
        return int(self._order[place])

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
