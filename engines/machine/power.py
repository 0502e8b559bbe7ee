"""Watts while something runs, and what holds the clocks down meanwhile: a Jetson's sensors in sysfs, NVML elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Protocol

from .clocks import held_by
from .probe import Probe

SECONDS = 0.1
"""Between two samples. Reading a sensor of a Jetson goes over I2C, and takes the processor some time as well."""

_SENSORS = ("ina3221", "ina238")
_INPUTS = ("VDD_IN", "VIN", "POM_5V_IN")
"""Rails through which all of a board's power goes: of Orin NX and Nano, of Thor, of older boards."""
_FED_BY_OTHERS = ("VDDQ_VDD2_1V8AO",)
"""Of an AGX Orin, whose rails add up without it, as VIN_SYS_5V0 feeds it."""


class Sensors(Protocol):
    """What can be asked about a machine's power just now."""

    source: str

    def begin(self) -> None:
        """What held the clocks down before counts no more."""
        ...

    def watts(self) -> dict[str, float]:
        """By rail, the whole first; empty where nothing answers."""
        ...

    def joules(self) -> float | None:
        """Spent since the driver was loaded; None where nobody counts."""
        ...

    def held_down_by(self) -> set[str]:
        """What holds the clocks down, in words."""
        ...


@dataclass(frozen=True)
class Power:
    """What was spent while something ran.

    Args:
        source: who told.
        watts: of all of it, the mean.
        highest: of the samples.
        samples: how many.
        rails: mean watts of each part that is measured by itself.
        held_down_by: what held the clocks down at some time.
    """

    source: str
    watts: float
    highest: float
    samples: int
    rails: dict[str, float] = field(default_factory=dict)
    held_down_by: tuple[str, ...] = ()


class PowerMeter:
    """Samples sensors on a thread of its own while a block runs.

    Args:
        sensors: that answer.
        seconds: between two samples.
    """

    def __init__(self, sensors: Sensors, seconds: float = SECONDS) -> None:
        self._sensors, self._seconds = sensors, seconds
        self._samples: list[dict[str, float]] = []
        self._held: set[str] = set()
        self._spent: float | None = None

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample from the beginning of the block to its end, each at least once."""
        self._samples, self._held = [], set()
        self._sensors.begin()
        ended = threading.Event()
        before, started = self._sensors.joules(), time.monotonic()
        thread = threading.Thread(target=self._sample, args=(ended,), name="power", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._take()
            after, elapsed = self._sensors.joules(), time.monotonic() - started
            counted = before is not None and after is not None and after > before and elapsed > 0
            self._spent = (after - before) / elapsed if counted else None  # type: ignore[operator]

    @property
    def power(self) -> Power | None:
        """What the last block spent; None where the sensors gave nothing."""
        samples = [sample for sample in self._samples if sample]
        if not samples:
            return None
        whole, *rails = samples[0]
        measured = [sample[whole] for sample in samples if whole in sample]
        return Power(
            f"{self._sensors.source}, {whole}",
            mean(measured) if self._spent is None else self._spent,
            max(measured),
            len(measured),
            {name: mean(found) for name in rails if (found := [one[name] for one in samples if name in one])},
            tuple(sorted(self._held)),
        )

    def _sample(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self._take()
            ended.wait(self._seconds)

    def _take(self) -> None:
        self._samples.append(self._sensors.watts())
        self._held |= self._sensors.held_down_by()


def open_meter(bus: str = "", probe: Probe | None = None) -> PowerMeter | None:
    """A meter for this machine's GPU; None where nothing measures it.

    Args:
        bus: the GPU's place on the PCI bus; NVML's first where it is empty.
    """
    probe = probe or Probe()
    kinds: tuple[Sensors | None, ...] = (SysfsSensors(probe), _open_nvml(probe, bus))
    found = next((sensors for sensors in kinds if sensors is not None and sensors.watts()), None)
    return None if found is None else PowerMeter(found)


class SysfsSensors:
    """A Jetson's power monitors, as the kernel's hwmon shows them."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._rails = dict(self._find())
        told = {kind for kind, _ in self._rails.values()}
        self.source = " and ".join(kind.upper() for kind in _SENSORS if kind in told)
        # Looked for once: what is asked while something is measured has to be little.
        self._coolers, self._counters = dict(self._find_coolers()), tuple(self._find_counters())
        self._events: dict[str, int] = {}

    def begin(self) -> None:
        self._events = self._counts()

    def watts(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, (_, files) in self._rails.items():
            values = [self._probe.read(file) for file in files]
            if all(value.lstrip("-").isdecimal() for value in values):
                # Microwatts, or millivolts and milliamperes.
                product = float(values[0]) * (float(values[1]) if len(values) == 2 else 1.0)
                found[name] = product / 1e6
        whole = next((name for name in _INPUTS if name in found), None)
        if whole is not None:
            return {whole: found.pop(whole), **found}
        own = [watts for name, watts in found.items() if name not in _FED_BY_OTHERS]
        return {"sum of the rails": sum(own), **found} if own else {}

    def joules(self) -> None:
        return None

    def held_down_by(self) -> set[str]:
        counts = self._counts()
        told = {"over-current"} if any(counts[file] > count for file, count in self._events.items()) else set()
        for file, kind in self._coolers.items():
            state = self._probe.read(file)
            if state.isdecimal() and int(state) > 0:
                told.add(f"temperature ({kind})")
        return told

    def _find(self) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
        """Each rail's name, the sensor's, and the files whose product is its power."""
        for device in sorted(self._probe.path("/sys/class/hwmon").glob("hwmon*")):
            name = f"/sys/class/hwmon/{device.name}"
            kind = self._probe.read(f"{name}/name")
            if kind not in _SENSORS:
                continue
            if self._probe.read(f"{name}/power1_input"):
                yield self._probe.read(f"{name}/power1_label") or "VIN", (kind, (f"{name}/power1_input",))
                continue
            for number in (1, 2, 3):
                label = self._probe.read(f"{name}/in{number}_label")
                if label and label != "NC":
                    yield label, (kind, (f"{name}/in{number}_input", f"{name}/curr{number}_input"))

    def _find_coolers(self) -> Iterator[tuple[str, str]]:
        """What slows the board down where it is hot, fans apart: the file that tells how far, and its kind."""
        for device in sorted(self._probe.path("/sys/class/thermal").glob("cooling_device*")):
            name = f"/sys/class/thermal/{device.name}"
            kind = self._probe.read(f"{name}/type")
            if "fan" not in kind:
                yield f"{name}/cur_state", kind

    def _find_counters(self) -> Iterator[str]:
        """Files of the hardware that throttles on too much current: how often it did."""
        for file in sorted(self._probe.path("/sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
            yield f"/sys/class/hwmon/{file.parent.name}/{file.name}"

    def _counts(self) -> dict[str, int]:
        told = {file: self._probe.read(file) for file in self._counters}
        return {file: int(count) if count.isdecimal() else 0 for file, count in told.items()}


class NvmlSensors:
    """A graphics card, through NVIDIA's management library.

    Args:
        library: as ctypes shows it, initialised.
        handle: of the GPU.
    """

    source = "NVML"

    def __init__(self, library: Any, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def begin(self) -> None:
        """The card tells what holds it down just now, and counts nothing."""

    def watts(self) -> dict[str, float]:
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", ctypes.c_uint())
        return {} if milliwatts is None else {"board": milliwatts / 1e3}

    def joules(self) -> float | None:
        # Since Volta; counted by the card, where its watts are a mean over the last second.
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong())
        return None if millijoules is None else millijoules / 1e3

    def held_down_by(self) -> set[str]:
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            bits = self._ask(name, ctypes.c_ulonglong())
            if bits is not None:
                return set(held_by(bits))
        return set()

    def _ask(self, name: str, value: Any) -> int | None:
        """What a call of the library says; None where this library or this card lacks it."""
        call = getattr(self._library, name, None)
        if call is None or call(self._handle, ctypes.byref(value)) != 0:
            return None
        return int(value.value)


def _open_nvml(probe: Probe, bus: str) -> NvmlSensors | None:
    library = probe.load_nvml()
    if library is None or library.nvmlInit_v2() != 0:
        return None
    handle = ctypes.c_void_p()
    if bus:
        code = library.nvmlDeviceGetHandleByPciBusId_v2(bus.encode(), ctypes.byref(handle))
    else:
        code = library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle))
    return NvmlSensors(library, handle) if code == 0 else None
