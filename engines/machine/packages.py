"""The Python packages that engines use: which copy Python takes, its version, and whether it can be loaded.

Each is imported in a process of its own: a library that ends its process, or takes seconds to load, is found out there.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .probe import Probe

IMPORTED = (
    "tensorrt",
    "pycuda.driver",
    "cuda.bindings.driver",
    "cv2",
    "onnxruntime",
    "openvino",
    "tensorrt_rtx_bindings",
)
"""Looked for and imported."""
PRESENT = ("torch",)
"""Looked for alone: loading PyTorch takes seconds, and no engine needs it."""
DEBIAN = (
    "python3-libnvinfer",
    "libnvinfer8",
    "libnvinfer10",
    "libnvinfer11",
    "nvidia-l4t-cuda",
    "nvidia-opencv",
    "python3-opencv",
)

# Runs in another process. What a module prints while it is imported comes before the last line.
_IMPORT = """
import importlib, json, sys
sys.path[:] = [entry for entry in sys.path if entry]
name = sys.argv[1]
if name == 'openvino':
    sys.modules['openvino_telemetry'] = None
module = importlib.import_module(name)
top = sys.modules[name.rpartition('.')[0] or name]
version = getattr(top, '__version__', None) or getattr(top, 'VERSION_TEXT', None)
build = module.getBuildInformation() if name == 'cv2' else ''
if name == 'openvino':
    version = version.partition('-')[0]
    build = ' '.join(module.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))
print(json.dumps({'version': None if version is None else str(version), 'build': build}))
"""


@dataclass(frozen=True)
class Package:
    """A module that Python finds.

    Args:
        folder: the entry of Python's search path that it is in.
        system: it belongs to the distribution (apt), not to pip.
        others: further folders of the search path that hold one; Python does not see those.
        version: None where it does not say.
        error: why it cannot be loaded, or None.
        gstreamer: OpenCV's alone: whether it reads GStreamer pipelines.
        arithmetic: OpenVINO's alone: what the processor computes with, in the words of its CPU plugin.
    """

    folder: str
    system: bool
    others: tuple[str, ...] = ()
    version: str | None = None
    error: str | None = None
    gstreamer: bool | None = None
    arithmetic: tuple[str, ...] = ()


@dataclass(frozen=True)
class Packages:
    """What is installed.

    Args:
        modules: those that Python finds, by name.
        hidden: folders of the distribution that hold TensorRT and are not on Python's search path.
        distributions: what pip installed, with versions; names in lower case with underscores.
        debian: the Debian packages among ``DEBIAN``, with versions.
        system_site_packages: the virtual environment sees the distribution's packages; None outside of one.
    """

    modules: dict[str, Package]
    hidden: tuple[str, ...]
    distributions: dict[str, str]
    debian: dict[str, str]
    system_site_packages: bool | None


def read_packages(probe: Probe | None = None) -> Packages:
    """Look for the packages, and import those that engines need. Nothing raises."""
    probe = probe or Probe()
    distributions = _distributions(probe)
    found = {name: _find(probe, name, distributions) for name in (*IMPORTED, *PRESENT)}
    system = sorted(folder for folder in probe.path("/usr/lib").glob("python3*/dist-packages") if folder.is_dir())
    return Packages(
        modules={name: package for name, package in found.items() if package is not None},
        hidden=tuple(
            str(folder) for folder in system if _holds(folder, "tensorrt") and folder not in probe.search_path
        ),
        distributions=distributions,
        debian=probe.debian_packages(*DEBIAN),
        system_site_packages=_sees_system(probe.environment),
    )


def _find(probe: Probe, name: str, distributions: dict[str, str]) -> Package | None:
    folders = [folder for folder in probe.search_path if _holds(folder, name)]
    if not folders:
        return None
    first = folders[0]
    system = first.is_relative_to(probe.path("/usr/lib")) and first.name == "dist-packages"
    others = tuple(map(str, folders[1:]))
    if name in PRESENT:
        return Package(str(first), system, others, distributions.get(name))
    answer = probe.run((sys.executable, "-c", _IMPORT, name))
    try:
        told = json.loads(answer.output.strip().splitlines()[-1]) if answer.code == 0 else None
    except (ValueError, IndexError):
        told = None
    if not isinstance(told, dict):
        return Package(str(first), system, others, distributions.get(name), answer.complaint)
    version, build = told.get("version"), told.get("build", "")
    pipelines = re.search(r"GStreamer:\s*(YES|NO)", build) if name == "cv2" else None
    reads = None if pipelines is None else pipelines[1] == "YES"
    arithmetic = tuple(build.split()) if name == "openvino" else ()
    return Package(str(first), system, others, version, None, reads, arithmetic)


def _holds(folder: Path, name: str) -> bool:
    """Whether importing ``name`` would find it in ``folder``; a folder that an uninstall emptied is nothing."""
    place = folder.joinpath(*name.split("."))
    if any(place.glob("__init__.*")):
        return True
    return any(path.suffix in (".py", ".so") for path in place.parent.glob(f"{place.name}.*"))


def _distributions(probe: Probe) -> dict[str, str]:
    """By the names of their folders: reading every METADATA takes long on a Jetson's SD card."""
    found: dict[str, str] = {}
    for folder in probe.search_path:
        for path in sorted([*folder.glob("*.dist-info"), *folder.glob("*.egg-info")]):
            name, _, version = path.stem.partition("-")
            found.setdefault(name.lower().replace("-", "_").replace(".", "_"), re.sub(r"-py3.*", "", version))
    return found


def _sees_system(environment: Path | None) -> bool | None:
    if environment is None:
        return None
    try:
        settings = (environment / "pyvenv.cfg").read_text("utf-8", errors="replace")
    except OSError:
        return None
    return re.search(r"(?mi)^include-system-site-packages\s*=\s*true\s*$", settings) is not None
