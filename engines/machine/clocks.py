"""How fast the machine runs just now: clocks, temperature, power, and whether something holds them down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import mean

from .probe import Probe

_SMI = {
    "GPU clock": "clocks.sm",
    "GPU clock, highest": "clocks.max.sm",
    "GPU memory clock": "clocks.mem",
    "GPU temperature": "temperature.gpu",
    "GPU power": "power.draw",
}
_HELD = "GPU clocks held down by"
_REASON_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The second is the name before driver 535; nvidia-smi answers nothing at all where it does not know one field."""
_UNITS = {"GPU temperature": " °C"}
_REASONS = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "temperature",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}
"""Bits of NVML's nvmlClocksThrottleReasons; idling and clocks set by the user hold nothing down."""
_MEMORY_RATES = ("/sys/kernel/debug/bpmp/debug/clk/emc/rate", "/sys/kernel/debug/clk/emc/clk_rate")
_JETSON_GPUS = ("gpu", "ga10b", "gv11b", "gb10b")


def read_clocks(probe: Probe | None = None, bus: str = "") -> dict[str, str]:
    """What is known, in words; empty where nothing tells. Changes nothing.

    Args:
        probe: the sources.
        bus: the GPU's place on the PCI bus; nvidia-smi's first where it is empty.
    """
    probe = probe or Probe()
    facts = {**_processor(probe), **_jetson(probe)}
    for field in _REASON_FIELDS:
        names = [*_SMI, _HELD]
        query = f"--query-gpu={','.join([*_SMI.values(), field])}"
        answer = probe.run(("nvidia-smi", f"--id={bus or 0}", query, "--format=csv,noheader"))
        values = [value.strip() for value in answer.output.strip().split(",")]
        if answer.code != 0 or len(values) != len(names):
            continue
        for name, value in zip(names, values):
            if name == _HELD:
                value = _told(value)
            if value and not re.match(r"\[?N/A|\[?Not Supported|\[?Unknown", value):
                facts[name] = value + _UNITS.get(name, "")
        break
    return facts


def held_by(bits: int) -> list[str]:
    """What NVML's bits say holds the clocks down."""
    return [reason for bit, reason in _REASONS.items() if bits & bit]


def _told(value: str) -> str:
    return ", ".join(held_by(int(value, 16))) or "nothing" if re.fullmatch(r"0x[0-9a-fA-F]+", value) else ""


def _processor(probe: Probe) -> dict[str, str]:
    facts = {}
    clocks = [
        float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", probe.read("/proc/cpuinfo"), re.MULTILINE)
    ]
    if clocks:
        facts["processor clock"] = f"{mean(clocks):.0f} MHz"
    governor = probe.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        facts["processor's governor"] = governor
    return facts


def _jetson(probe: Probe) -> dict[str, str]:
    """A Jetson's nvidia-smi tells no clocks; the kernel does, that of the memory to root alone."""
    rates = (probe.read(name) for name in _MEMORY_RATES)
    memory = next((int(rate) for rate in rates if rate.isdecimal()), None)
    facts = {} if memory is None else {"memory clock (EMC)": f"{memory / 1e6:.0f} MHz"}
    hottest = max(_temperatures(probe), default=None)
    if facts or _gpu_clock(probe):
        facts |= {} if hottest is None else {"hottest": f"{hottest:.0f} °C"}
    return {**facts, **_gpu_clock(probe)}


def _temperatures(probe: Probe) -> Iterator[float]:
    for zone in sorted(probe.path("/sys/class/thermal").glob("thermal_zone*")):
        value = probe.read(f"/sys/class/thermal/{zone.name}/temp")
        if value.isdecimal():
            yield int(value) / 1e3


def _gpu_clock(probe: Probe) -> dict[str, str]:
    for device in sorted(probe.path("/sys/class/devfreq").glob("*")):
        if any(word in device.name for word in _JETSON_GPUS):
            name = f"/sys/class/devfreq/{device.name}"
            now, highest = (probe.read(f"{name}/{file}") for file in ("cur_freq", "max_freq"))
            if now.isdecimal() and highest.isdecimal():
                return {
                    "GPU clock": f"{int(now) / 1e6:.0f} MHz",
                    "GPU clock, highest": f"{int(highest) / 1e6:.0f} MHz",
                }
    return {}
