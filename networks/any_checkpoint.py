"""Read checkpoints of whatever network: the one place that knows them all."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ..errors import UsageError
from ..specs.label_set import LabelSet
from ..specs.skeleton import Skeleton
from .checkpoint import Checkpoint, parse_checkpoint
from .finder_checkpoint import FinderCheckpoint, is_finder_checkpoint, parse_finder
from .pose_checkpoint import PoseCheckpoint, is_pose_checkpoint, parse_pose_checkpoint
from .state_dict import StateDict

AnyCheckpoint: TypeAlias = Checkpoint | PoseCheckpoint | FinderCheckpoint


def parse_any_checkpoint(
    header: str, state: StateDict, path: Path, meant: LabelSet | Skeleton | None = None
) -> AnyCheckpoint:
    """The checkpoint of a file that was read already.

    Args:
        header, state: as :func:`~trtparse.networks.checkpoint.read_tensors` gives them.
        path: of the file, for messages.
        meant: what its classes or its joints mean, where the file does not say.

    Raises:
        UsageError: not a checkpoint, one that is damaged, or one that answers something else than what is meant.
    """
    if is_finder_checkpoint(header, path):
        if meant is not None:
            raise UsageError(f"{path} finds people, and --labels names {meant.name}.", "Leave --labels out.")
        return parse_finder(header, state, path)
    if is_pose_checkpoint(header, state, path):
        if isinstance(meant, LabelSet):
            hint = "Give --labels a skeleton, such as coco17."
            raise UsageError(f"{path} finds joints, and {meant} has classes.", hint)
        return parse_pose_checkpoint(header, state, path, meant)
    if isinstance(meant, Skeleton):
        raise UsageError(
            f"{path} tells classes apart, and {meant.name} has joints.", "Give --labels a label set, such as lip."
        )
    return parse_checkpoint(header, state, path, meant)
