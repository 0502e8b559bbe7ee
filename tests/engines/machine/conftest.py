"""Other machines, stood in for this one: their files, what their programs say, their CUDA driver."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trtparse.engines.machine.probe import Answer, Probe


@dataclass
class CudaLibrary:
    """CUDA's driver library as ctypes shows it: it writes through the pointers that it is given."""

    version: int = 12060
    start: int = 0
    devices: tuple[tuple[str, int, int, int, int, int], ...] = (("Orin", 8, 7, 7_989_334_016, 1, 8),)
    """Name, compute capability (two numbers), bytes of memory, integrated, multiprocessors."""
    buses: tuple[str, ...] = ()
    """Of the devices, where the library tells them."""

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        return self.start

    def cuDeviceGetCount(self, number: Any) -> int:
        number._obj.value = len(self.devices)
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, buffer: Any, length: int, device: Any) -> int:
        buffer.value = self.devices[device.value][0].encode()[: length - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = self.devices[device.value][3]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        _, major, minor, _, integrated, multiprocessors = self.devices[device.value]
        value._obj.value = {75: major, 76: minor, 18: integrated, 16: multiprocessors}[attribute]
        return 0

    def cuDeviceGetPCIBusId(self, buffer: Any, length: int, device: Any) -> int:
        if not self.buses:
            return 801
        buffer.value = self.buses[device.value].encode()[: length - 1]
        return 0


@dataclass
class StandIn:
    """Another machine, which a test may change.

    Args:
        root: its file system.
        programs: what they say, by name; ``import tensorrt`` is what a Python says that imports it.
        cuda: its driver library, or None.
        search_path: of its Python.
        commands: that were run.
    """

    root: Path
    programs: dict[str, Answer]
    python: tuple[int, int] = (3, 10)
    cuda: CudaLibrary | None = None
    environment: Path | None = None
    search_path: list[Path] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def install(self, folder: str, *modules: str, visible: bool = True) -> Path:
        """Put modules into a folder, and that folder on the search path."""
        for module in modules:
            self.write(f"{folder}/{module.replace('.', '/')}/__init__.py", "")
        place = self.root / folder.lstrip("/")
        if visible and place not in self.search_path:
            self.search_path.append(place)
        return place

    def run(self, command: Sequence[str]) -> Answer:
        self.commands.append(tuple(command))
        name = Path(command[0]).name
        if command[0] == sys.executable:
            told = '{"version": "1.0", "build": "    GStreamer:                   YES (1.20.3)"}'
            return self.programs.get(f"import {command[-1]}", Answer(0, f"a greeting\n{told}\n"))
        if command[0] == str(self.root / "usr/local/cuda/bin/nvcc"):
            name = "nvcc-usual"
        return self.programs.get(name, Answer(None))

    def probe(self) -> Probe:
        return Probe(self.root, self.run, lambda: self.cuda, self.python, self.environment, tuple(self.search_path))


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str], StandIn]:
    """A machine by the name of its folder; an empty name is one that has nothing at all."""

    def copy(name: str) -> StandIn:
        root = tmp_path / (name or "nothing")
        root.mkdir()
        if not name:
            return StandIn(root, {})
        machine = Path(__file__).parent / name
        shutil.copytree(machine / "root", root, dirs_exist_ok=True)
        programs = {path.stem: Answer(0, path.read_text()) for path in (machine / "programs").glob("*.txt")}
        return StandIn(root, programs)

    return copy


@pytest.fixture
def orin(stand_in: Callable[[str], StandIn]) -> StandIn:
    """A Jetson Orin Nano as JetPack 6.2 leaves it, with trtparse's own packages."""
    machine = stand_in("orin-nano-jetpack-6.2")
    machine.cuda = CudaLibrary()
    machine.install("/home/me/.local/lib/python3.10/site-packages", "onnxruntime", "pycuda", "pycuda.driver")
    machine.install("/usr/lib/python3.10/dist-packages", "tensorrt", "cv2")
    return machine


@pytest.fixture
def thor(stand_in: Callable[[str], StandIn]) -> StandIn:
    """A Jetson AGX Thor as JetPack 7.0 leaves it."""
    machine = stand_in("thor-jetpack-7")
    machine.python = (3, 12)
    machine.cuda = CudaLibrary(13000, 0, (("NVIDIA Thor", 11, 0, 131_880_255_488, 1, 20),))
    machine.install("/usr/lib/python3.12/dist-packages", "tensorrt", "cv2")
    return machine


@pytest.fixture
def workstation(stand_in: Callable[[str], StandIn]) -> StandIn:
    """A PC with a GeForce, a driver of CUDA 12.2, and pip's packages."""
    machine = stand_in("workstation")
    machine.cuda = CudaLibrary(12020, 0, (("NVIDIA GeForce RTX 4070", 8, 9, 12_878_610_432, 0, 46),), ("0000:01:00.0",))
    packages = ("tensorrt", "pycuda", "pycuda.driver", "cv2", "onnxruntime", "torch")
    machine.install("/venv/lib/python3.10/site-packages", *packages)
    machine.environment = machine.write("/venv/pyvenv.cfg", "include-system-site-packages = false\n").parent
    return machine


@pytest.fixture
def nothing(stand_in: Callable[[str], StandIn]) -> StandIn:
    """A machine with no file, no program and no package."""
    return stand_in("")
