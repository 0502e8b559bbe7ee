"""Read checkpoints of whatever network: the one place that knows them all."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..graphs.conventions import Said
from ..specs.spec import Spec, classes_meant, joints_meant, nothing_meant
from .checkpoint import parse_checkpoint
from .checkpoint_file import read_tensors
from .finder_checkpoint import is_finder_checkpoint, parse_finder
from .pose_checkpoint import is_pose_checkpoint, parse_pose_checkpoint
from .released import is_released, parse_released
from .trained import Trained


def load_any_checkpoint(
    path: Path,
    meant: Spec | None = None,
    said: Said | None = None,
    *,
    input_size: tuple[int, int] | None = None,
    stretch: float | None = None,
) -> Trained:
    """Read a checkpoint: ours, one that the authors of a network that is known here released, or a state dict.

    Args:
        path: of the file.
        meant: what its classes or its joints mean, where the file does not say.
        said: how a published network sees images; None for one of ours, which says it itself.
        input_size, stretch: what is known of that where no more is said.

    Raises:
        UsageError: no such file, not a checkpoint, one that is damaged, or one that answers something else than what is
            meant.
    """
    header, state = read_tensors(path)
    if is_released(header, state.tensors, path):
        told = said or Said(labels=classes_meant(meant, path), stretch=stretch, input_size=input_size)
        return parse_released(header, state, path, told)
    if said is not None:
        raise UsageError(
            f"{path} is a checkpoint of one of our networks, which says itself how it sees images.",
            "Leave --preset, --input-order, --mean, --std and their like out.",
        )
    if is_finder_checkpoint(header, path):
        nothing_meant(meant, path)
        return parse_finder(header, state, path)
    if is_pose_checkpoint(header, state, path):
        return parse_pose_checkpoint(header, state, path, joints_meant(meant, path))
    return parse_checkpoint(header, state, path, classes_meant(meant, path))
