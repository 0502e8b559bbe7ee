"""A connection to a Ray cluster, or a Ray of one's own for one job: what Ray would wait for in silence, or end over."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import socket
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..engines.machine.dependencies import require
from ..errors import MachineError
from ..storage.interrupts import kept_handlers

LOCAL = "local"
"""The address that starts a Ray of its own on this machine, for this one job."""

_CLIENT = "ray://"
"""What addresses of Ray's client begin with."""

_STORE_BYTES = 200 << 20  # names and results pass through it, no pixels
_KNOCK_SECONDS = 10
_WATCH_SECONDS = 5
_MISSES = 3  # of a watch, one after the other, before it says so
_TOLD_LETTERS = 300  # of what Ray says of its errors
_ATTEMPTS = ("RAY_gcs_server_port_wait_time_s", "1")
"""To connect, each of up to half a minute where something else listens there. Ray makes 20 where it is not told."""
_QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else warnings about Ray's insides go to this process's stderr
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else a thread of Ray Data's that outlives the job starts a Ray of its own
}
_PRIVATE = {
    # Without it Ray listens on every interface, and whoever reaches it may run what he likes. The name is Ray's: on
    # Linux, too, it is what makes a Ray keep to 127.0.0.1 (Ray 2.60, _private/services.py).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextlib.contextmanager
def ray_cluster(
    address: str, workers: int | None, threads: int, notify: Callable[[str], None] | None = None
) -> Iterator[int]:
    """A connection to Ray; yields how many workers there will be.

    Args:
        address: of the cluster, or ``local``. A Ray that this process uses already is taken as it is.
        workers: as many as the cluster has processors for where None.
        threads: processors that a worker takes.
        notify: as of :func:`watching`.

    Raises:
        MachineError: there is no cluster at that address, or it has too few processors.
    """
    cores = os.cpu_count() or 1
    ours = False
    if address == LOCAL:
        workers = workers or max(1, cores // threads)
    for name, value in {**_QUIET, **(_PRIVATE if address == LOCAL else {})}.items():
        os.environ.setdefault(name, value)
    ray = require("ray")
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray tells stdout of workers that died, where the result is to stand alone; and of its own ending, to nobody's use.
    with contextlib.redirect_stdout(sys.stderr), open(os.devnull, "w") as nowhere:
        try:
            if not ray.is_initialized():
                ours = True
                _connect(ray, address, (workers or 0) * threads)
            processors = int(ray.cluster_resources().get("CPU", 0))
            workers = workers or max(1, processors // threads)
            if workers * threads > processors:
                raise MachineError(
                    f"{workers} workers of {threads} threads want {workers * threads} processors; the cluster has "
                    f"{processors}.",
                    "Give fewer --workers or --threads, or add machines to the cluster.",
                )
            # Ray's client has an address that is its own; a driver's is that of the cluster's head.
            watched = address if address.startswith(_CLIENT) else ray.get_runtime_context().gcs_address
            with watching(watched, notify):
                yield workers
        finally:
            with contextlib.redirect_stdout(nowhere):
                if ours:
                    ray.shutdown()


def _connect(ray: Any, address: str, processors: int) -> None:
    local = {"num_cpus": processors, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    refused = f"Cannot connect to a Ray cluster at {address}:"
    try:
        _knock(_as_ray_has_it(address))
    except OSError as error:
        raise MachineError(
            f"{refused} {error}", "Start one (ray start --head), or take --ray local for this machine alone."
        ) from error
    try:
        with _few_attempts(address), _quiet_stderr(), kept_handlers():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(local if address == LOCAL else {}))
    except Exception as error:  # Ray raises Exception itself where a node does not start in time
        reason = in_short(error)
        if address == LOCAL:
            ray.shutdown()  # what did start
            raise MachineError(
                f"Ray could not be started: {reason}", "Try again when the machine is less busy."
            ) from error
        raise MachineError(
            f"{refused} {reason}",
            "See that a Ray of this version listens there. One that was started where there is a ~/.ray/auth_token "
            "wants that token: have the same file here, and set RAY_AUTH_MODE=token.",
        ) from error


def in_short(error: Exception) -> str:
    """What an error of Ray's says, on one line and without colours."""
    told = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return textwrap.shorten(told, _TOLD_LETTERS) or type(error).__name__


def _as_ray_has_it(address: str) -> str:
    """``HOST:PORT`` where Ray will look for it: of this machine that is its address in the network."""
    host, colon, port = address.rpartition(":")
    if not colon or address.startswith(_CLIENT) or host not in ("127.0.0.1", "localhost", "::1", "[::1]"):
        return address
    return f"{importlib.import_module('ray.util').get_node_ip_address()}:{port}"


def _knock(address: str) -> None:
    """See that somebody listens at ``HOST:PORT``; Ray would try for minutes, and then end the process.

    Raises:
        OSError: nobody does; it says where.
    """
    host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
        except OSError as error:
            raise OSError(f"nobody listens at {host}:{port} ({error.strerror or error}).") from error


@contextlib.contextmanager
def _few_attempts(address: str) -> Iterator[None]:
    """To connect to a cluster that somebody started; what one of ours needs to start is Ray's to know."""
    name, count = _ATTEMPTS
    if address == LOCAL or name in os.environ:
        yield
        return
    os.environ[name] = count
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def watching(address: str, notify: Callable[[str], None] | None) -> Iterator[None]:
    """Say while the block runs when nobody listens at ``HOST:PORT`` any more, and when somebody does again.

    ``notify`` is called from another thread; None says nothing.

    Ray's own waiting cannot be interrupted meanwhile, and where it ends the process it says nothing that is not in its
    logs: this is all that whoever waits gets to know.
    """
    if notify is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        missed = 0
        while not over.wait(_WATCH_SECONDS):
            try:
                _knock(address)
            except OSError as error:
                missed += 1
                if missed == _MISSES:
                    notify(
                        f"The Ray cluster is gone: {error} Ray waits a minute for it and then ends this command, with "
                        "code 1. What was finished is whole; the same command goes on."
                    )
            else:
                if missed >= _MISSES:
                    notify("The Ray cluster is there again.")
                missed = 0

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_KNOCK_SECONDS)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Ray's C++ part tells stderr that it was told to be quiet."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
