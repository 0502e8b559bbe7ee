"""Find the weights of a network in whatever a training run has saved, without executing what is in it.

People's files hold more than weights, and wrap them. What is read, and what is left:

- a file is what its bytes say, whatever it is called;
- objects beside the weights (arguments, numbers of NumPy's, callbacks) are read as inert stand-ins: of a pickle's
  names, only those that make tensors are followed, and nothing else is imported or called;
- nested dicts and dotted names are one thing: ``{"state_dict": {"module.conv1.weight": …}}`` holds ``conv1.weight``
  at ``state_dict.module``. Where all names begin alike, or with a word that wraps a network, that is taken off;
- of several networks in one file the averaged weights are taken, as they are what a training run evaluates.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import UsageError

_WRAPPERS = frozenset({"module", "_orig_mod", "model", "network", "net"})
"""First parts of names that a wrapper adds: DistributedDataParallel, torch.compile, Lightning; none of our networks,
nor of the published ones, has a part of such a name."""

_NETWORKS = frozenset({"state_dict", "model_state_dict", "weights", "params", "student", *_WRAPPERS})
_AVERAGES = ("ema", "swa", "averaged", "average", "shadow")
_NO_NETWORKS = ("optim", "sched", "scaler", "criterion", "loss", "metric", "callback")

_DEPTH = 4
_FEW = 0.25
"""Tensors, as a share of the largest collection's, below which a collection is no network: counters, a loss."""

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class StateDict:
    """Weights by their names in the network, and where in the file they were.

    Args:
        tensors: without what wrapped their names.
        place: keys and parts of names that led to them, with dots between; empty where nothing wrapped them.
        others: where other networks were in the same file.
        averaged: whether ``place`` tells that they are a mean over training.
    """

    tensors: dict[str, Tensor]
    place: str = ""
    others: tuple[str, ...] = ()
    averaged: bool = False

    @property
    def told(self) -> str:
        """What was taken, for the terminal; empty where there was no choice."""
        if not self.others:
            return ""
        kind = ", the averaged weights" if self.averaged else ""
        return f"Took {_called(self.place)}{kind}; the file also holds {' and '.join(map(_called, self.others))}"


@dataclass(frozen=True)
class Mismatch:
    """How the tensors of a file differ from those of a network: how many, and the first of each kind in words."""

    missing: int
    unknown: int
    reshaped: int
    examples: str


def find_mismatch(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mismatch | None:
    """Compare names and shapes; None where they are the same."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    shapes = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    if not (missing or unknown or shapes):
        return None
    examples = [f"missing {name}" for name in missing[:2]] + [f"unknown {name}" for name in unknown[:2]]
    examples += [f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}" for name in shapes[:2]]
    return Mismatch(len(missing), len(unknown), len(shapes), "; ".join(examples))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of tensors by name, type and value, in whatever order they come."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is infinite or not a number."""
    return next((name for name, value in tensors.items() if not bool(torch.isfinite(value).all())), None)


def find_state_dict(content: object) -> StateDict | None:
    """The weights in what a file holds; None where it holds none.

    Args:
        content: what was read: dicts in dicts, tensors at their ends.
    """
    if not isinstance(content, Mapping):
        return None
    found = list(_collections(content, (), _DEPTH))
    most = max((len(tensors) for _, tensors in found), default=0)
    networks = [(place, tensors) for place, tensors in found if len(tensors) > _FEW * most]
    if not networks:
        return None
    plain = [one for one in networks if not _is_averaged(one[0])]
    chosen = max(plain, key=lambda one: not one[0] or bool(_NETWORKS.intersection(one[0])), default=networks[0])
    # Some averages leave out what is no parameter, such as the norms' statistics: those are no network.
    needed = {name for name in chosen[1] if not name.endswith(_COUNTER)}
    chosen = next((one for one in networks if _is_averaged(one[0]) and needed <= one[1].keys()), chosen)
    others = tuple(".".join(place) for place, tensors in networks if tensors is not chosen[1])
    return StateDict(chosen[1], ".".join(chosen[0]), others, _is_averaged(chosen[0]))


def read_pickle(path: Path) -> StateDict:
    """The weights in a file of ``torch.save``, in any of its forms.

    Raises:
        UsageError: it is damaged, holds no weights, or none that can be read without running code from it.
    """
    stand_ins: list[str] = []
    try:
        # The file and not its path, as torch.load would go by the name; and without its remarks on pickles.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                content = torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                file.seek(0)
                inert = _inert_pickle(stand_ins)
                content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=inert)
    except Exception as error:
        # Damaged pickles raise whatever their bytes make of them. One of stand-ins was no file of torch.save at all.
        content = None
        if not stand_ins:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UsageError(
                f"{path} is not a checkpoint that can be read: {reason.rstrip('.')}.",
                "The file may be cut off; get it again. A checkpoint is what torch.save or safetensors writes.",
            ) from error
    found = find_state_dict(content)
    if found is not None:
        return found
    if stand_ins:
        raise UsageError(
            f"{path} holds no weights that can be read without running code from it: it is made of {stand_ins[0]}.",
            "Save network.state_dict() with safetensors or torch.save; whole pickled networks are refused.",
        )
    raise UsageError(f"{path} holds no state dict, but {_described(content)}.", "Save network.state_dict().")


def _collections(
    content: Mapping[Any, Any], place: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every collection of named tensors, and its place."""
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    yield from _unwrapped(tensors, place)
    for name, value in content.items():
        if depth and isinstance(name, str) and isinstance(value, Mapping) and _may_be_network(name):
            yield from _collections(value, (*place, name), depth - 1)


def _unwrapped(
    tensors: dict[str, Tensor], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Tensors without what wraps their names; several collections where several networks were wrapped."""
    if not tensors:
        return
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in tensors))
    wrapped = firsts if len(firsts) == 1 else [name for name in firsts if name in _WRAPPERS or _is_averaged((name,))]
    rest = dict(tensors)
    for first in wrapped:
        names = [name for name in tensors if name.startswith(f"{first}.")]
        yield from _unwrapped({name[len(first) + 1 :]: rest.pop(name) for name in names}, (*place, first))
    if rest:
        yield place, rest


def _is_averaged(place: tuple[str, ...]) -> bool:
    return any(word in _AVERAGES for name in place for word in name.lower().split("_"))


def _may_be_network(name: str) -> bool:
    return not any(word in name.lower() for word in _NO_NETWORKS)


def _called(place: str) -> str:
    return place or "the tensors at its top"


def _described(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = ", ".join(str(name) for name in list(content)[:5])
    return f"a dict of {names}" if names else "an empty dict"


# Pickles of which nothing runs


_FOLLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
"""The names of a pickle that are followed: they make tensors, and PyTorch's own ``weights_only`` follows them too.
PyTorch itself looks up the storages."""


class _StandIn(dict[Any, Any]):
    """Stands for an object whose class stays unread: takes whatever a pickle does to it, and keeps entries alone."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __call__(self, *_: object, **__: object) -> _StandIn:
        return self

    def __setstate__(self, _: object) -> None:
        """The object's attributes are dropped."""

    def append(self, _: object) -> None:
        """Of a list, likewise."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _inert_pickle(stand_ins: list[str]) -> Any:
    """What ``torch.load`` takes for a pickle module; names that were not followed are appended to ``stand_ins``."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str, /) -> Any:
            followed = _FOLLOWED.get((module_name, global_name))
            if followed is not None:
                return followed
            stand_ins.append(f"{module_name}.{global_name}")
            return type(global_name, (_StandIn,), {})

    def load(file: IO[bytes], **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(__name__="inert_pickle", Unpickler=Unpickler, load=load)
