from __future__ import annotations

import copy
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.optimising import Precision  # noqa: E402
from trtparse.distillation.parallel import Workers  # noqa: E402
from trtparse.distillation.pose.criterion import Backward  # noqa: E402
from trtparse.distillation.pose.loader import Batch  # noqa: E402
from trtparse.distillation.pose.recipe import PoseRecipe  # noqa: E402
from trtparse.errors import MachineError  # noqa: E402
from trtparse.networks.mspn import MSPN  # noqa: E402


def batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 64, (1, 17, 2, 2)).astype(np.float32)
    masses, weights = np.full((1, 17, 2), 0.5, np.float32), np.ones((1, 17), np.float32)
    return Batch(("drawn",), rng.integers(0, 256, (1, 64, 64, 3), np.uint8), places, masses, weights)


def test_another_process_adds_its_part_of_the_gradients_and_keeps_its_own_statistics() -> None:
    torch.manual_seed(0)
    network = MSPN().train()
    alone = copy.deepcopy(network)
    backward = Backward(PoseRecipe(), [], Precision("fp32", torch.device("cpu")))
    workers = Workers(network, backward, 1)

    workers.begin([batch(1)], 0)
    first = backward(network, batch(0), 0)
    (second,) = workers.finish(network, [0.5])
    workers.close()

    statistics = network.top.conv.bn.running_mean.clone()
    assert first == backward(alone, batch(0), 0)
    assert torch.equal(statistics, alone.top.conv.bn.running_mean)
    wanted = [parameter.grad.clone() for parameter in alone.parameters()]
    assert abs(second - backward(alone, batch(1), 0)) < 1e-4
    for parameter, own, other in zip(network.parameters(), wanted, alone.parameters()):
        assert torch.allclose(parameter.grad, own + 0.5 * other.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("after", [0, 1])
def test_a_process_that_was_killed_is_an_error_whenever_that_was(after: int) -> None:
    network = MSPN().train()
    workers = Workers(network, Backward(PoseRecipe(), [], Precision("fp32", torch.device("cpu"))), 1)
    for step in range(after):
        workers.begin([batch(step)], step)
        workers.finish(network, [0.5])
    (process,) = workers._processes
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    with pytest.raises(MachineError, match="has ended"):
        workers.begin([batch(1)], after)
    workers.close()


def test_a_process_that_was_killed_before_it_read_its_part_is_an_error() -> None:
    network = MSPN().train()
    workers = Workers(network, Backward(PoseRecipe(), [], Precision("fp32", torch.device("cpu"))), 1)
    (process,) = workers._processes
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    workers.begin([batch(0)], 0)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    with pytest.raises(MachineError, match="has ended"):
        workers.finish(network, [0.5])
    workers.close()
