"""What this machine is: processor, memory, system, Python, GPUs and their driver, and a Jetson's own facts."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass

from ... import __version__
from .gpu import Driver, Gpu, read_gpus
from .jetson import Jetson, read_jetson
from .probe import Probe

PACKAGES = {
    "numpy": "NumPy",
    "cv2": "OpenCV",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
    "pycuda": "PyCUDA",
}
"""Modules whose version bears on labels or times, with their names."""


@dataclass(frozen=True)
class Memory:
    """Bytes of the processor's memory; on a Jetson also the GPU's."""

    total: int
    available: int
    swap: int


@dataclass(frozen=True)
class Machine:
    """What a machine is.

    Args:
        processor: its name.
        cores: that this process may use.
        memory: None where the system does not tell.
        system: the distribution.
        kernel: and its release.
        python: the interpreter's version.
        environment: the virtual environment's folder, if any.
        container: this is the inside of a container.
        gpus: those that CUDA or nvidia-smi see.
        nvidia_device: the board has an NVIDIA GPU, driver or not.
        driver: None where there is no trace of one.
        cuda: the toolkit's version, from nvcc.
        nvcc: where it is; None without a toolkit.
        jetson: None on other machines.
    """

    processor: str
    cores: int
    memory: Memory | None
    system: str
    kernel: str
    python: str
    environment: str | None
    container: bool
    gpus: tuple[Gpu, ...]
    nvidia_device: bool
    driver: Driver | None
    cuda: str | None
    nvcc: str | None
    jetson: Jetson | None

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that engines run on: CUDA's first, where CUDA starts."""
        return self.gpus[0] if self.gpus and self.driver is not None and self.driver.error is None else None


def read_machine(probe: Probe | None = None) -> Machine:
    """Read the facts. What is missing is None or empty; nothing raises, and nothing is imported."""
    probe = probe or Probe()
    gpus, driver = read_gpus(probe)
    cuda, nvcc = _toolkit(probe)
    return Machine(
        processor=_processor(probe),
        cores=cores(),
        memory=_memory(probe),
        system=_system(probe),
        kernel=probe.read("/proc/sys/kernel/osrelease") or platform.release(),
        python=".".join(map(str, probe.python)),
        environment=None if probe.environment is None else str(probe.environment),
        container=any(probe.path(name).exists() for name in ("/.dockerenv", "/run/.containerenv")),
        gpus=gpus,
        nvidia_device=_has_nvidia_device(probe),
        driver=driver,
        cuda=cuda,
        nvcc=nvcc,
        jetson=read_jetson(probe),
    )


def machine_facts(machine: Machine | None = None) -> dict[str, str]:
    """On what a validation or a benchmark ran, in words; of packages only those that were imported."""
    machine = machine or read_machine()
    facts = {
        "processor": machine.processor,
        "cores": str(machine.cores),
        "system": platform.platform(),
        "trtparse": __version__,
        "Python": platform.python_version(),
    }
    if machine.gpu is not None:
        facts["GPU"] = machine.gpu.name
        facts["compute capability"] = machine.gpu.compute_capability
        if machine.gpu.multiprocessors:
            facts["multiprocessors"] = str(machine.gpu.multiprocessors)
    if machine.driver is not None and machine.driver.version:
        facts["NVIDIA driver"] = machine.driver.version
    if machine.jetson is not None:
        board = machine.jetson
        clocks = {None: None, True: "pinned to the maximum", False: "free"}[board.clocks_pinned]
        told = {
            "Jetson": board.model,
            "L4T": board.l4t,
            "JetPack": board.jetpack,
            "power mode": board.power_mode,
            "clocks": clocks,
        }
        facts.update({name: value for name, value in told.items() if value})
    for module, name in PACKAGES.items():
        if module in sys.modules:
            imported = sys.modules[module]
            facts[name] = str(getattr(imported, "__version__", getattr(imported, "VERSION_TEXT", "unknown")))
    return facts


def processor_name() -> str:
    """As the system calls it."""
    return _processor(Probe())


def _processor(probe: Probe) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", probe.read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory(probe: Probe) -> Memory | None:
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", probe.read("/proc/meminfo"), re.MULTILINE))
    if "MemTotal" not in kilobytes:
        return None
    total, available, swap = (int(kilobytes.get(name, 0)) << 10 for name in ("MemTotal", "MemAvailable", "SwapTotal"))
    return Memory(total, available, swap)


def _system(probe: Probe) -> str:
    found = re.search(r'^PRETTY_NAME="?(.+?)"?$', probe.read("/etc/os-release"), re.MULTILINE)
    return found.group(1) if found else platform.platform()


def _has_nvidia_device(probe: Probe) -> bool:
    """Whether a display controller of NVIDIA's is on the PCI bus."""
    for device in sorted(probe.path("/sys/bus/pci/devices").glob("*")):
        name = f"/sys/bus/pci/devices/{device.name}"
        if probe.read(f"{name}/vendor") == "0x10de" and probe.read(f"{name}/class").startswith("0x03"):
            return True
    return False


def _toolkit(probe: Probe) -> tuple[str | None, str | None]:
    """CUDA's version and nvcc's place: the one on the PATH, else that of JetPack's folder, which no PATH has."""
    usual = "/usr/local/cuda/bin/nvcc"
    for program in ("nvcc", str(probe.path(usual))):
        found = re.search(r"release (\d+\.\d+)", probe.run((program, "--version")).output)
        if found:
            return found.group(1), "nvcc" if program == "nvcc" else usual
    return None, None
