"""A teacher: any network with its student's classes, fed as its own training fed it.

The student and its teacher look at the same augmented frames; what differs is how a frame becomes the
network's input. A released checkpoint's conventions are part of it, mistakes included:

=========  ========  ==========================================  ==============================
family     channels  mean                                        standard deviation
=========  ========  ==========================================  ==============================
trtparse   R, G, B   0.485, 0.456, 0.406                         0.229, 0.224, 0.225
schp       B, G, R   0.406, 0.456, 0.485                         0.225, 0.224, 0.229
ce2p       B, G, R   0.485, 0.456, 0.406 (in RGB's order)        0.229, 0.224, 0.225 (the same)
cdgnet     B, G, R   0.485, 0.456, 0.406 (in RGB's order)        0.229, 0.224, 0.225 (the same)
=========  ========  ==========================================  ==============================

Sources: ``networks/preprocessing.py`` here; ``simple_extractor.py`` of GoGoDuck912/Self-Correction-Human-Parsing;
``evaluate.py`` and ``dataset/datasets.py`` (``cv2.imread``) of liutinglt/CE2P and tjpulkl/CDGNet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError
from ..networks.ce2p import CE2P, read_released, recognise
from ..networks.checkpoint import parse_checkpoint
from ..networks.checkpoint_file import read_tensors
from ..networks.network import ParsingNetwork, check_choice, check_classes
from ..networks.preprocessing import MEAN_RGB, STD_RGB, normalise
from ..specs.label_set import LabelSet, check_same, label_set

TeacherFamily = Literal["trtparse", "schp", "ce2p", "cdgnet"]

FAMILIES: tuple[TeacherFamily, ...] = ("trtparse", "schp", "ce2p", "cdgnet")


class Teacher:
    """A frozen network that gives logits for frames.

    Args:
        network: ours, or one of CE2P's family.
        family: whose conventions it follows.
        labels: what its classes mean.
        flip: average the logits with those of the mirrored frames, left and right swapped. Twice the time; worth
            about 0.3 to 0.45 mIoU on LIP (sssegmentation's model zoo).
        device: where it computes.
        told: which of several networks in its file it is; empty where there was but one.
    """

    def __init__(
        self,
        network: ParsingNetwork | CE2P,
        family: TeacherFamily,
        labels: LabelSet,
        *,
        flip: bool = False,
        device: torch.device | str = "cpu",
        told: str = "",
    ) -> None:
        self.family, self.flip, self.device, self.told = family, flip, torch.device(device), told
        self.label_set = labels
        self.network = network.to(self.device).eval().requires_grad_(False)
        self._swapped = torch.from_numpy(labels.flip_table()[: len(labels)].astype("int64")).to(self.device)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Logits at the network's own grid, mostly a quarter of the frames' size, with cells at half-pixel centres.

        Args:
            frames: (N, H, W, 3) uint8, BGR, on any device.

        Returns:
            (N, classes, h, w) float32 on the teacher's device, outside of any graph.
        """
        frames = frames.to(self.device)
        logits = self._logits(frames)
        if self.flip:
            mirrored = self._logits(frames.flip(2))
            logits = (logits + mirrored.flip(3)[:, self._swapped]) / 2
        return logits

    def _logits(self, frames: Tensor) -> Tensor:
        images = normalise_for(self.family, frames)
        if isinstance(self.network, CE2P):
            logits: Tensor = self.network(images).float()
            return to_half_pixel_centres(logits, (int(images.shape[-2]), int(images.shape[-1])))
        return self.network.forward_coarse(images)[0].float()


def load_teacher(
    path: Path,
    *,
    labels: LabelSet | None = None,
    family: Literal["auto"] | TeacherFamily = "auto",
    flip: bool = False,
    device: torch.device | str = "cpu",
) -> Teacher:
    """Read a teacher from a checkpoint of ours, or from one that SCHP, CE2P or CDGNet released.

    Args:
        path: ``.safetensors`` or ``.pth``; a pickle is read without running code from it.
        labels: what its student learns, LIP's where not given. A file that does not say what its classes mean, as no
            released one does, is taken for one of that set.
        family: ``auto`` tells it by the names of the tensors; another word says what is expected.
        flip: see :class:`Teacher`.
        device: where it computes.

    Raises:
        UsageError: no such file, not a checkpoint, not of that family, or of other classes than the student's.
    """
    wanted = label_set("lip") if labels is None else labels
    check_choice("family of teachers", family, ("auto", *FAMILIES))
    header, state = read_tensors(path)
    released = recognise(state.tensors)
    found: TeacherFamily = released or "trtparse"
    if family not in ("auto", found):
        raise UsageError(
            f"{path} has the tensor names of {found}, not of {family}.",
            "Leave the family out: it decides on the normalisation, and the names tell it.",
        )
    network: ParsingNetwork | CE2P
    if released is None:
        checkpoint = parse_checkpoint(header, state, path, None if header else wanted, "the student")
        network = checkpoint.network
        check_same(checkpoint.spec, f"The teacher {path}", wanted, "the student")
    else:
        network = read_released(state.tensors, str(path))
        check_classes(network.num_classes, wanted, f"The teacher {path}")
    return Teacher(network, found, wanted, flip=flip, device=device, told=state.told)


def normalise_for(family: TeacherFamily, frames: Tensor) -> Tensor:
    """Frames to the input of a family's networks.

    Args:
        family: whose conventions.
        frames: (N, H, W, 3) uint8, BGR.

    Returns:
        (N, 3, H, W) float32: RGB for ours, BGR for the others.
    """
    if family == "trtparse":
        return normalise(frames)
    mean, std = (MEAN_RGB[::-1], STD_RGB[::-1]) if family == "schp" else (MEAN_RGB, STD_RGB)
    images = frames.float().permute(0, 3, 1, 2) / 255
    return (images - images.new_tensor(mean).view(1, 3, 1, 1)) / images.new_tensor(std).view(1, 3, 1, 1)


def to_half_pixel_centres(logits: Tensor, image_size: tuple[int, int]) -> Tensor:
    """A grid whose corners are the image's corner pixels, resampled to one with cells at half-pixel centres.

    CE2P's family resizes with ``align_corners=True``: of 119 cells over 473 pixels, the first lies on the centre
    of pixel 0 and the last on that of pixel 472. Cells at half-pixel centres lie up to 1.5 pixels further in.
    Without this, a student would learn outlines that are off by so much towards the borders.

    Args:
        logits: (N, C, h, w) float32.
        image_size: (H, W) of the image.

    Returns:
        (N, C, h, w) float32.
    """
    axes = []
    for cells, length in zip(logits.shape[-2:], image_size):
        centres = (torch.arange(cells, device=logits.device) + 0.5) * (length / cells) - 0.5
        axes.append(2 * centres / (length - 1) - 1)  # -1 and 1 are the centres of the outermost pixels
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack((columns, rows), -1).expand(logits.shape[0], -1, -1, -1)
    return F.grid_sample(logits, grid, mode="bilinear", padding_mode="border", align_corners=True)
