"""A Jetson's own facts: model, Jetson Linux (L4T), JetPack, power mode, clocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .probe import Probe

_JETPACKS = {
    "36.2": "6.0 DP",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.5": "6.2.2",
    "38.2": "7.0",
    "38.2.1": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
"""Jetson Linux and its JetPack, by NVIDIA's release notes; for where the package nvidia-jetpack is not installed."""
_GENERATIONS = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}


@dataclass(frozen=True)
class Jetson:
    """A Jetson.

    Args:
        model: as the board calls itself; empty inside a container.
        l4t: the version of Jetson Linux, such as ``36.4.3``; None where nothing tells.
        jetpack: such as ``6.2``; of a Jetson Linux that we do not know only the generation.
        power_mode: nvpmodel's name of it, such as ``MAXN_SUPER``.
        power_modes: every mode that this board has, number and name.
        clocks_pinned: the GPU's clock is held at its maximum, as jetson_clocks does; None where nothing tells.
    """

    model: str
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    power_modes: tuple[tuple[int, str], ...]
    clocks_pinned: bool | None

    @property
    def generation(self) -> int | None:
        """Of JetPack: 6 or 7, or one that is too old."""
        return int(self.jetpack.partition(".")[0]) if self.jetpack else None

    @property
    def fastest_mode(self) -> tuple[int, str] | None:
        """The power mode without a limit, whose number is the board's own: 0 on an AGX Orin, 2 on an Orin Nano."""
        modes = [mode for mode in self.power_modes if mode[1].startswith("MAXN")]
        return max(modes, key=lambda mode: len(mode[1])) if modes else None


def read_model(probe: Probe) -> str:
    """What the board calls itself ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit"); empty where nothing
    tells, as in some containers."""
    return probe.read("/proc/device-tree/model")


def read_jetson(probe: Probe) -> Jetson | None:
    """The facts, or None where this machine is no Jetson."""
    model = read_model(probe)
    compatible = probe.read("/proc/device-tree/compatible")
    release = probe.read("/etc/nv_tegra_release")
    kernel = probe.read("/proc/sys/kernel/osrelease")
    if not (release or "Jetson" in model or "nvidia,tegra" in compatible or kernel.endswith("tegra")):
        return None
    packages = probe.debian_packages("nvidia-jetpack", "nvidia-jetpack-runtime", "nvidia-l4t-core")
    l4t = _l4t(release) or _leading_version(packages.get("nvidia-l4t-core", ""))
    jetpack = _leading_version(packages.get("nvidia-jetpack", packages.get("nvidia-jetpack-runtime", "")))
    modes = _power_modes(probe)
    clocks, shown_mode = _clocks(probe)
    return Jetson(model, l4t, jetpack or _jetpack(l4t), _power_mode(probe, modes) or shown_mode, modes, clocks)


def _l4t(release: str) -> str | None:
    """``# R36 (release), REVISION: 4.3, GCID: …`` is 36.4.3."""
    found = re.search(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", release)
    return f"{found.group(1)}.{found.group(2)}" if found else None


def _leading_version(text: str) -> str | None:
    """Without what Debian's packagers append: ``6.2+b77`` is 6.2, ``36.4.3-20250107`` is 36.4.3."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return found.group() if found else None


def _jetpack(l4t: str | None) -> str | None:
    if l4t is None:
        return None
    short = l4t[:-2] if l4t.endswith(".0") else l4t
    return _JETPACKS.get(short) or _GENERATIONS.get(int(l4t.partition(".")[0]))


def _power_modes(probe: Probe) -> tuple[tuple[int, str], ...]:
    found = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", probe.read("/etc/nvpmodel.conf"))
    return tuple((int(number), name) for number, name in found)


def _power_mode(probe: Probe, modes: tuple[tuple[int, str], ...]) -> str | None:
    """By nvpmodel, or by the file that it keeps, which needs no rights."""
    found = re.search(r"NV Power Mode:\s*(\S+)", probe.run(("nvpmodel", "-q")).output)
    if found:
        return found.group(1)
    kept = re.search(r"pmode:(\d+)", probe.read("/var/lib/nvpmodel/status"))
    return dict(modes).get(int(kept.group(1))) if kept else None


def _clocks(probe: Probe) -> tuple[bool | None, str | None]:
    """Whether the GPU's clock is pinned, and the power mode where jetson_clocks names it.

    jetson_clocks sets the lowest frequency to the highest. It shows that to root alone; the kernel shows it to all.
    """
    for folder in sorted(probe.path("/sys/class/devfreq").glob("*gpu*")):
        name = f"/sys/class/devfreq/{folder.name}"
        lowest, highest = probe.read(f"{name}/min_freq"), probe.read(f"{name}/max_freq")
        if lowest.isdecimal() and highest.isdecimal():
            return lowest == highest, None
    shown = probe.run(("jetson_clocks", "--show")).output
    mode = re.search(r"NV Power Mode:\s*(\S+)", shown)
    clock = re.search(r"^GPU\s+MinFreq=(\d+)\s+MaxFreq=(\d+)", shown, re.MULTILINE)
    return clock.group(1) == clock.group(2) if clock else None, mode.group(1) if mode else None
