"""Checkpoints as people have them: what wraps the weights, what lies beside them, and what is something else."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors import torch as safetensors_torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.checkpoint_file import read_tensors  # noqa: E402
from trtparse.networks.state_dict import StateDict, find_state_dict  # noqa: E402

State = dict[str, Tensor]


def a_network() -> nn.Module:
    """Two parts, with the parameters and statistics that real ones have."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict({"backbone": body, "head": nn.Conv2d(4, 20, 1)})


def filled(value: float) -> State:
    return {name: torch.full_like(tensor, value) for name, tensor in a_network().state_dict().items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def same(found: State, wanted: State) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


OPTIMISER = {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(9)}}, "param_groups": [{"params": [0]}]}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "epoch": torch.tensor(3), "loss": torch.tensor(0.5)},
        lambda state: {"model": state, "optimizer": OPTIMISER, "lr_scheduler": {"last_lr": torch.ones(9)}},
        lambda state: {"ema": state},
        lambda state: {"state_dict_ema": state},
        lambda state: {"checkpoint": {"model": prefixed("module.", state)}},
        lambda state: prefixed("module.", state),
        lambda state: prefixed("_orig_mod.", state),
        lambda state: prefixed("module._orig_mod.", state),
        lambda state: prefixed("_orig_mod.module.", state),
        lambda state: {"n_averaged": torch.tensor(7), **prefixed("module.", state)},
        lambda state: {"n_averaged": torch.tensor(7), **prefixed("module.module._orig_mod.", state)},
        lambda state: {"state_dict": prefixed("model.", state), "pytorch-lightning_version": "2.5", "callbacks": {}},
        lambda state: {"state_dict": {**prefixed("model.", state), "criterion.weight": torch.ones(20)}},
        lambda state: {"state_dict": prefixed("segmenter.", state), "hyper_parameters": {"lr": 0.1}},
    ],
)
def test_what_wraps_the_weights_is_taken_off(wrapped: Callable[[State], Any]) -> None:
    state = filled(0.25)
    found = find_state_dict(wrapped(state))
    assert found is not None
    assert same(found.tensors, state)
    assert found.told == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda raw, mean: {"model": raw, "model_ema": mean}, "Took model_ema, the averaged weights; .* holds model$"),
        (lambda raw, mean: {"model_ema": mean, "model": raw}, "Took model_ema, .* holds model$"),
        (lambda raw, mean: {"state_dict": raw, "state_dict_ema": mean}, "Took state_dict_ema, .* holds state_dict$"),
        (lambda raw, mean: {"model": raw, "ema": {"module": mean, "decay": 0.9}}, r"Took ema\.module, .* model$"),
        (
            lambda raw, mean: {"state_dict": {**prefixed("model.", raw), **prefixed("model_ema.", mean)}},
            r"Took state_dict\.model_ema, .* holds state_dict\.model$",
        ),
        (lambda raw, mean: {"teacher": raw, "student": mean}, "Took student; .* holds teacher$"),
        (
            lambda raw, mean: {"state_dict": {**prefixed("teacher.", raw), **prefixed("model.", mean)}},
            r"Took state_dict\.model; .* holds state_dict$",
        ),
        (lambda raw, mean: {**mean, "old": raw}, "Took the tensors at its top; .* holds old$"),
    ],
)
def test_of_several_networks_the_averaged_or_the_likeliest_is_taken_and_told(
    content: Callable[[State, State], Any], told: str
) -> None:
    raw, mean = filled(1.0), filled(2.0)
    found = find_state_dict(content(raw, mean))
    assert found is not None
    assert same(found.tensors, mean)
    assert re.match(told, found.told), found.told


def test_an_average_of_the_parameters_alone_is_no_network() -> None:
    raw = filled(1.0)
    mean = {name: tensor for name, tensor in filled(2.0).items() if "running" not in name}
    found = find_state_dict({"model": raw, "ema": mean})
    assert found is not None
    assert same(found.tensors, raw)
    assert found.told == "Took model; the file also holds ema"


def test_what_holds_no_tensor_by_a_name_is_no_state_dict() -> None:
    for content in (None, [torch.ones(1)], {}, {"epoch": 3}, {0: torch.ones(1)}, {"optimizer": filled(1.0)}):
        assert find_state_dict(content) is None


# Files


def read(path: Path) -> StateDict:
    return read_tensors(path)[1]


class Trainer:
    """A class of somebody's training code, which is not there when the checkpoint is read."""

    def __init__(self) -> None:
        self.rate = 0.1


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "beside",
    [
        lambda: np.float64(0.5),
        lambda: np.arange(3),
        lambda: argparse.Namespace(lr=0.1, size=(473, 473)),
        lambda: {"best": np.float32(0.5), "path": Path("a"), "trainer": Trainer(), "kinds": {Trainer}},
    ],
)
def test_what_lies_beside_the_weights_is_left_unread(
    beside: Callable[[], object], legacy: bool, tmp_path: Path
) -> None:
    state = filled(0.25)
    parameters = {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }
    content = {"args": beside(), "state_dict": parameters}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert same(read(tmp_path / "a.pth").tensors, state)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_dict_of_a_class_that_is_not_there_is_read_as_a_dict(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = type("Box", (dict,), {"__module__": __name__})
    monkeypatch.setitem(globals(), "Box", own)
    torch.save({"state_dict": own(filled(0.25))}, tmp_path / "a.pth", pickle_protocol=protocol)
    monkeypatch.delitem(globals(), "Box")
    assert same(read(tmp_path / "a.pth").tensors, filled(0.25))


class Bomb:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "bomb",
    [
        lambda: Bomb(os.mkdir, "exploded"),
        lambda: Bomb(eval, "__import__('os').mkdir('exploded')"),
        lambda: Bomb(getattr, Bomb(__import__, "os"), "mkdir"),
        lambda: Bomb(torch.load, "inner.pth"),
        lambda: Bomb(pickle.loads, pickle.dumps(Bomb(os.mkdir, "exploded"))),
    ],
)
def test_no_code_of_a_checkpoint_ever_runs(
    bomb: Callable[[], Bomb], beside: bool, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"args": bomb(), **({"state_dict": filled(0.25)} if beside else {})}
    torch.save(content, "a.pth", _use_new_zipfile_serialization=not legacy)
    if beside:
        assert same(read(Path("a.pth")).tensors, filled(0.25))
    else:
        with pytest.raises(UsageError, match="without running code from it"):
            read(Path("a.pth"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_a_pickled_network_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(a_network(), tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"without running code from it: it is made of torch\.nn") as caught:
        read(tmp_path / "a.pth")
    assert "network.state_dict()" in caught.value.hint


def test_a_checkpoint_is_what_its_bytes_say_whatever_it_is_called(tmp_path: Path) -> None:
    state = filled(0.25)
    torch.save(state, tmp_path / "a.safetensors")
    safetensors_torch.save_file(state, tmp_path / "a.pth")
    safetensors_torch.save_file(prefixed("module.", state), tmp_path / "b.ckpt")
    for name in ("a.safetensors", "a.pth", "b.ckpt"):
        assert same(read(tmp_path / name).tensors, state)


def test_a_file_that_holds_something_else_says_what(tmp_path: Path) -> None:
    for content, told in (
        ({"epoch": 3, "loss": 0.5}, "holds no state dict, but a dict of epoch, loss"),
        ([torch.ones(1)], "holds no state dict, but a list"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(UsageError, match=told):
            read(tmp_path / "a.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_is_cut_off_is_refused_as_such(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(filled(0.25), path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(UsageError, match=r"cut off|cannot be read") as caught:
        read(path)
    assert "again" in caught.value.hint
