"""How fast the machine runs just now: clocks, temperature, power, and whether something holds them down."""

from __future__ import annotations

import re
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
                value = _held_by(value)
            if value and not re.match(r"\[?N/A|\[?Not Supported|\[?Unknown", value):
                facts[name] = value + _UNITS.get(name, "")
        break
    return facts


def _held_by(value: str) -> str:
    if not re.fullmatch(r"0x[0-9a-fA-F]+", value):
        return ""
    bits = int(value, 16)
    return ", ".join(reason for bit, reason in _REASONS.items() if bits & bit) or "nothing"


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
    """A Jetson's nvidia-smi tells no clocks; its device tree does."""
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
