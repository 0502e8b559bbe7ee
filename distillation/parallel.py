"""Gradients of a batch's parts, each part in a process of its own.

A batch on several threads of one process waits for the slowest after every layer. On a processor that others use as
well, that took 30 times as long as one thread did (two cores, twelve busy processes); processes wait once a step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, multiprocessing, nn

from ..errors import MachineError

Backward = Callable[[Any, Any, int], float]
"""Fills the gradients of a network from a batch of its task at a step, and returns the loss."""


class Workers:
    """Processes that compute gradients beside this one; they share the network's weights.

    Batch norms' statistics are each process's own; those of this process are the ones that are kept.

    Args:
        network: its parameters are moved to shared memory.
        backward: what each process computes; can be pickled.
        count: processes, this one not counted.
        threads: of each.
    """

    def __init__(self, network: nn.Module, backward: Backward, count: int, threads: int = 1) -> None:
        self.count = count
        self._gradients: list[list[Tensor]] = []
        self._pipes: list[Connection] = []
        self._processes = []
        if not count:
            return
        network.share_memory()
        # A forked process would inherit locks that the loader's thread holds.
        context = multiprocessing.get_context("spawn")
        for _ in range(count):
            gradients = [
                torch.zeros_like(parameter).share_memory_()  # type: ignore[no-untyped-call]
                for parameter in network.parameters()
            ]
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, network, gradients, backward, threads), daemon=True)
            process.start()
            theirs.close()
            self._gradients.append(gradients)
            self._pipes.append(ours)
            self._processes.append(process)

    def begin(self, parts: Sequence[Any], step: int) -> None:
        """Hand one part to each process; :meth:`finish` waits for them.

        Raises:
            MachineError: a process has ended.
        """
        for pipe, part in zip(self._pipes, parts):
            try:
                pipe.send((part, step))
            except OSError:
                raise _ended() from None

    def finish(self, network: nn.Module, shares: Sequence[float]) -> list[float]:
        """Wait, add the gradients to the network's, and return the losses.

        Args:
            network: with gradients of its own part.
            shares: of each process's part in the batch.

        Raises:
            MachineError: a process has ended.
        """
        losses = []
        for pipe, gradients, share in zip(self._pipes, self._gradients, shares):
            try:
                losses.append(float(pipe.recv()))
            except (EOFError, OSError):  # one that ended before it read its part resets the connection
                raise _ended() from None
            for parameter, gradient in zip(network.parameters(), gradients):
                if parameter.grad is not None:
                    parameter.grad.add_(gradient, alpha=share)
        return losses

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=10)


def _ended() -> MachineError:
    return MachineError(
        "A process that computes gradients has ended.", "Memory may have run out; train with fewer workers."
    )


def _serve(pipe: Connection, network: nn.Module, gradients: list[Tensor], backward: Backward, threads: int) -> None:
    # In a session of its own Ctrl-C reaches the parent alone, which saves the state and closes the pipe.
    with contextlib.suppress(OSError):
        os.setsid()
    torch.set_num_threads(threads)
    for name, buffer in list(network.named_buffers()):
        module, _, own = name.rpartition(".")
        network.get_submodule(module).register_buffer(own, buffer.clone())
    while True:
        try:
            batch, step = pipe.recv()
        except EOFError:
            return
        loss = backward(network, batch, step)
        for parameter, gradient in zip(network.parameters(), gradients):
            gradient.zero_() if parameter.grad is None else gradient.copy_(parameter.grad)
        pipe.send(loss)
