"""The GPUs of this machine and their driver, asked of CUDA's driver library and of nvidia-smi; no package is needed."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any

from .probe import Probe

# CUdevice_attribute, and CUresult, in NVIDIA's cuda.h.
_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76
_RESULTS = {
    34: "CUDA_ERROR_STUB_LIBRARY",
    100: "CUDA_ERROR_NO_DEVICE",
    802: "CUDA_ERROR_SYSTEM_NOT_READY",
    803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    804: "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    999: "CUDA_ERROR_UNKNOWN",
}
_SMI = ("nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Args:
        name: NVIDIA's.
        compute_capability: such as ``8.7``; empty where the driver did not say.
        memory: bytes; of an integrated GPU those that it shares with the processor. 0 where the driver did not say.
        integrated: it shares the processor's memory, as on a Jetson.
        multiprocessors: how many it has: 4 to 16 on what are all called "Orin". 0 where the driver did not say.
        bus: its place on the PCI bus, by which nvidia-smi knows it whatever CUDA_VISIBLE_DEVICES hides; may be empty.
    """

    name: str
    compute_capability: str
    memory: int
    integrated: bool
    multiprocessors: int = 0
    bus: str = ""


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver.

    Args:
        version: such as ``540.4.0``.
        cuda: the newest CUDA that it speaks, such as ``12.6``.
        error: why CUDA does not start, or None.
    """

    version: str | None
    cuda: str | None
    error: str | None


def read_gpus(probe: Probe) -> tuple[tuple[Gpu, ...], Driver | None]:
    """The GPUs and their driver; no driver where there is no trace of one.

    GPUs that CUDA cannot start on are those that nvidia-smi sees; the driver's ``error`` is set then.
    """
    version = _kernel_driver(probe)
    library = probe.load_cuda()
    cuda, error, gpus = (None, "libcuda.so.1 is missing", ()) if library is None else _ask_cuda(library)
    if gpus and version:
        return gpus, Driver(version, cuda, None)
    listed, listed_version, complaint = _ask_smi(probe)
    version = version or listed_version
    if library is None and version is None and complaint is None:
        return (), None
    return gpus or listed, Driver(version, cuda, None if gpus else "; ".join(filter(None, (error, complaint))))


def _kernel_driver(probe: Probe) -> str | None:
    found = re.search(r"^NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)?)\s", probe.read("/proc/driver/nvidia/version") + "\n")
    return found.group(1) if found else None


def _ask_cuda(library: Any) -> tuple[str | None, str | None, tuple[Gpu, ...]]:
    """The newest CUDA, why it does not start, and the GPUs. Makes no context, so it costs the GPU nothing."""
    number = ctypes.c_int(0)
    cuda = None
    if library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
    code = library.cuInit(0)
    if code == 0:
        code = library.cuDeviceGetCount(ctypes.byref(number))
    if code != 0:
        return cuda, _RESULTS.get(code, f"CUDA's error {code}"), ()
    gpus = tuple(_gpu(library, ordinal) for ordinal in range(number.value))
    return cuda, None if gpus else _RESULTS[100], gpus


def _gpu(library: Any, ordinal: int) -> Gpu:
    device = ctypes.c_int(0)
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), device)
    memory = ctypes.c_size_t(0)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int(0)
        library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    bus = ctypes.create_string_buffer(32)
    if library.cuDeviceGetPCIBusId(bus, len(bus), device) != 0:
        bus.value = b""
    return Gpu(
        name.value.decode("utf-8", "replace"),
        f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        memory.value,
        bool(attribute(_INTEGRATED)),
        attribute(_MULTIPROCESSORS),
        bus.value.decode("utf-8", "replace"),
    )


def _ask_smi(probe: Probe) -> tuple[tuple[Gpu, ...], str | None, str | None]:
    """The GPUs, the driver's version, and nvidia-smi's complaint."""
    answer = probe.run(_SMI)
    if answer.code != 0:
        return (), None, None if answer.code is None else f"nvidia-smi: {answer.complaint}"
    rows = [[value.strip() for value in line.split(",")] for line in answer.output.splitlines()]
    rows = [row for row in rows if len(row) == 4]
    # A Jetson's nvidia-smi answers [N/A] to much of it.
    gpus = tuple(
        Gpu(
            name,
            capability if re.fullmatch(r"\d+\.\d+", capability) else "",
            int(memory) << 20 if memory.isdecimal() else 0,
            not memory.isdecimal(),
        )
        for name, capability, memory, _ in rows
    )
    versions = [row[3] for row in rows if re.fullmatch(r"[\d.]+", row[3])]
    return gpus, versions[0] if versions else None, None
