"""What works on a machine, and the line to type for each thing that does not.

Each check reads facts (``facts.py``, ``packages.py``) and gives findings; none asks the machine anything itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .dependencies import OLDEST_OPENVINO
from .facts import Machine
from .packages import Package, Packages

State = Literal["works", "optional", "advice", "missing", "broken"]
"""``optional``: absent, and nothing suffers. ``advice``: works, and could do better. ``broken``: there, and fails."""

_MIN_DRIVERS = {11: "450", 12: "525", 13: "580"}
"""By CUDA's major version: NVIDIA's CUDA Compatibility, "Minor Version Compatibility", table 1."""
_PIP_OPENCV = re.compile(r"opencv_(contrib_)?python(_headless)?")
_PIP_TENSORRT = re.compile(r"tensorrt(_cu\d+)?(_bindings|_libs)?")
_JETPACK = "https://developer.nvidia.com/embedded/jetpack"
_DRIVERS = "https://www.nvidia.com/drivers"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: what.
        state: how it is.
        text: what was found.
        fix: a line for the shell, or empty where none mends it.
    """

    topic: str
    state: State
    text: str
    fix: str = ""

    @property
    def fails(self) -> bool:
        """Something cannot be done as long as this stays."""
        return self.state in ("missing", "broken")


def diagnose(machine: Machine, packages: Packages) -> tuple[Finding, ...]:
    """Judge the facts, in the order in which a person mends them."""
    return tuple(finding for check in _CHECKS for finding in check(machine, packages))


def tensorrt_install(machine: Machine) -> str:
    """The line that installs TensorRT on this machine; on a Jetson never pip."""
    if machine.jetson is not None:
        return "sudo apt-get update && sudo apt-get install python3-libnvinfer"
    major = _major(None if machine.driver is None else machine.driver.cuda)
    return f"pip install tensorrt-cu{13 if major is None else min(max(major, 12), 13)}"


def _jetpack(machine: Machine, packages: Packages) -> Iterator[Finding]:
    jetson = machine.jetson
    if jetson is None:
        return
    name = f"{jetson.model or 'a Jetson'}, L4T {jetson.l4t or 'unknown'}, JetPack {jetson.jetpack or 'unknown'}"
    if jetson.generation is not None and jetson.generation < 6:
        # Nothing after Xavier's JetPack 5 and Nano's JetPack 4 runs on those boards.
        yield Finding(
            "Jetson",
            "broken",
            f"{name}. Its TensorRT is for a Python older than 3.10: an Orin needs JetPack 6 or 7 ({_JETPACK}), "
            "and a Nano, TX2 or Xavier is out of reach.",
        )
    else:
        yield Finding("Jetson", "works", name)


def _gpu(machine: Machine, packages: Packages) -> Iterator[Finding]:
    gpu, driver = machine.gpu, machine.driver
    if gpu is not None and driver is not None:
        shared = ", shared with the processor" if gpu.integrated else ""
        memory = f"{gpu.memory / 2**30:.1f} GiB{shared}"
        speaks = f"driver {driver.version or 'unknown'}" + (f" (up to CUDA {driver.cuda})" if driver.cuda else "")
        yield Finding("GPU", "works", f"{gpu.name}, compute capability {gpu.compute_capability}, {memory}, {speaks}")
        return
    error = "" if driver is None or driver.error is None else f" ({driver.error})"
    if machine.container:
        option = "--runtime nvidia" if machine.jetson is not None else "--gpus all"
        text = f"CUDA finds none in this container{error}; {option} hands one in. Engines run on ONNX Runtime."
        yield Finding("GPU", "missing", text, f"docker run {option} IMAGE")
    elif driver is not None and ("DRIVER_MISMATCH" in error or "version mismatch" in error):
        text = f"The driver was updated, and the old one is still loaded{error}."
        yield Finding("GPU", "broken", text, "sudo systemctl reboot")
    elif machine.jetson is not None:
        yield from _jetson_without_gpu(machine, packages, error)
    elif machine.nvidia_device or machine.gpus or (driver is not None and driver.version):
        text = f"There is an NVIDIA GPU, and no driver that starts{error}: {_DRIVERS}"
        yield Finding("GPU", "broken", text, _install_driver(machine))
    else:
        yield Finding("GPU", "missing", f"No NVIDIA GPU{error}. Engines run on ONNX Runtime.")


def _jetson_without_gpu(machine: Machine, packages: Packages, error: str) -> Iterator[Finding]:
    if "nvidia-l4t-cuda" not in packages.debian:
        fix = "sudo apt-get update && sudo apt-get install nvidia-l4t-cuda && sudo systemctl reboot"
        yield Finding("GPU", "broken", f"The driver's CUDA library is not installed{error}.", fix)
    else:
        text = f"CUDA does not start{error}. The groups video and render may use the GPU, from the next login on."
        yield Finding("GPU", "broken", text, 'sudo usermod -aG video,render "$USER"')


def _driver(machine: Machine, packages: Packages) -> Iterator[Finding]:
    """A driver older than the CUDA that something was built with. Within one major version any will do."""
    driver = machine.driver
    speaks = _major(None if driver is None else driver.cuda)
    if driver is None or speaks is None:
        return
    for name, needs in _built_with(machine, packages):
        if needs <= speaks:
            continue
        least = _MIN_DRIVERS.get(needs, f"one of CUDA {needs}")
        text = f"{driver.version or 'It'} speaks CUDA {driver.cuda}. {name}'s CUDA {needs} takes {least} or newer"
        if machine.jetson is not None:
            yield Finding("driver", "broken", f"{text}. A Jetson's driver comes with its JetPack: {_JETPACK}")
        elif name == "TensorRT" and speaks >= 12:
            # An older TensorRT needs no administrator.
            yield Finding("driver", "broken", f"{text}: {_DRIVERS}", _reinstall_tensorrt(machine, packages))
        else:
            yield Finding("driver", "broken", f"{text}: {_DRIVERS}", _install_driver(machine))


def _built_with(machine: Machine, packages: Packages) -> Iterator[tuple[str, int]]:
    """What is installed, and the major version of the CUDA that it was built with."""
    if "tensorrt" in packages.modules:
        majors = {int(found[1]) for name in packages.distributions if (found := re.match(r"tensorrt_cu(\d+)", name))}
        for version in packages.debian.values():
            majors |= {int(found[1]) for found in [re.search(r"\+cuda(\d+)", version)] if found}
        for major in sorted(majors):
            yield "TensorRT", major
    torch = packages.modules.get("torch")
    found = re.search(r"\+cu(\d\d)", (torch.version or "") if torch else "")
    if found:
        yield "PyTorch", int(found.group(1))


def _tensorrt(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("tensorrt")
    if package is None:
        yield _tensorrt_absent(machine, packages)
        return
    version = f"TensorRT {package.version}" if package.version else "TensorRT"
    copies = [package.folder, *package.others]
    pip_copy = any(_PIP_TENSORRT.fullmatch(name) for name in packages.distributions) and not package.system
    # NVIDIA's own containers for Thor hold pip's.
    if machine.jetson is not None and pip_copy and not machine.container:
        text = f"pip's {version} in {package.folder} hides JetPack's, which alone fits a Jetson's driver."
        yield Finding("TensorRT", "broken", text, f"pip uninstall -y {_pip_names(packages)}")
    elif package.others:
        text = f"There are {len(copies)}: Python takes the first of {', '.join(copies)}."
        yield Finding("TensorRT", "broken", text, f"pip uninstall -y {_pip_names(packages)}")
    elif package.error is not None:
        text = f"{version} cannot be loaded: {package.error}."
        yield Finding("TensorRT", "broken", text, _reinstall_tensorrt(machine, packages))
    elif machine.gpu is None:
        yield Finding("TensorRT", "works", f"{version}, of no use before the GPU works")
    else:
        yield Finding("TensorRT", "works", f"{version}, {'the system’s' if package.system else 'pip’s'}")


def _tensorrt_absent(machine: Machine, packages: Packages) -> Finding:
    if packages.hidden:
        folder = packages.hidden[0]
        python = re.search(r"python(3\.\d+)", folder)
        if python and python.group(1) != machine.python:
            text = f"{folder} has it for Python {python.group(1)}; this is {machine.python}."
            fix = _new_environment(f"python{python.group(1)}")
        elif machine.environment is not None and packages.system_site_packages is False:
            text = f"{folder} has it, and this virtual environment does not see the system's packages."
            key = "include-system-site-packages"
            settings = shlex.quote(f"{machine.environment}/pyvenv.cfg")
            fix = f"sed -i 's/^{key}.*/{key} = true/' {settings}"
        else:
            text = f"{folder} has it, and this Python does not look there."
            fix = _new_environment("python3")
        return Finding("TensorRT", "missing", text, fix)
    if machine.jetson is None and machine.gpu is None and not machine.nvidia_device:
        return Finding("TensorRT", "optional", "Not installed, and of no use without a GPU.")
    wheels = " Never with pip on a Jetson." if machine.jetson is not None else ""
    return Finding("TensorRT", "missing", f"Not installed.{wheels}", tensorrt_install(machine))


def _new_environment(python: str) -> str:
    return f"/usr/bin/{python} -m venv --system-site-packages .venv && .venv/bin/pip install trtparse"


def _reinstall_tensorrt(machine: Machine, packages: Packages) -> str:
    if machine.jetson is not None:
        libraries = sorted(name for name in packages.debian if "nvinfer" in name)
        return f"sudo apt-get update && sudo apt-get install --reinstall {' '.join(libraries) or 'python3-libnvinfer'}"
    return f"pip uninstall -y {_pip_names(packages)} && {tensorrt_install(machine)}"


def _pip_names(packages: Packages) -> str:
    return " ".join(sorted(name for name in packages.distributions if _PIP_TENSORRT.fullmatch(name))) or "tensorrt"


def _cuda_calls(machine: Machine, packages: Packages) -> Iterator[Finding]:
    """PyCUDA, or cuda-bindings in its place."""
    pycuda, bindings = packages.modules.get("pycuda.driver"), packages.modules.get("cuda.bindings.driver")
    for name, package in (("PyCUDA", pycuda), ("cuda-bindings", bindings)):
        if package is not None and package.error is None:
            yield Finding("CUDA from Python", "works", f"{name} {package.version or ''}".strip())
            return
    if machine.gpu is None and machine.jetson is None and not machine.nvidia_device:
        text = "Not installed" if pycuda is None else "PyCUDA is there"
        yield Finding("CUDA from Python", "optional", f"{text}, and of no use without a GPU.")
    elif pycuda is not None:
        yield Finding(
            "CUDA from Python",
            "broken",
            f"PyCUDA cannot be loaded: {pycuda.error}.",
            f"{_nvcc_on_path(machine)}pip install --force-reinstall --no-cache-dir --no-binary pycuda pycuda",
        )
    elif machine.nvcc is not None:
        text = f"No PyCUDA. It is compiled on this machine, with CUDA {machine.cuda}'s nvcc."
        yield Finding("CUDA from Python", "missing", text, f"{_nvcc_on_path(machine)}pip install pycuda")
    else:
        major = _major(None if machine.driver is None else machine.driver.cuda) or 12
        text = "No PyCUDA, and no nvcc to compile it with. cuda-bindings comes compiled and takes its place."
        yield Finding("CUDA from Python", "missing", text, f"pip install 'cuda-bindings=={major}.*'")


def _nvcc_on_path(machine: Machine) -> str:
    if machine.nvcc in (None, "nvcc"):
        return ""
    return f'PATH="{str(machine.nvcc).rpartition("/")[0]}:$PATH" '


def _opencv(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("cv2")
    wheels = sorted(filter(_PIP_OPENCV.fullmatch, packages.distributions))
    if package is None:
        yield Finding("OpenCV", "missing", "Not installed.", "pip install opencv-python")
    elif package.error is not None:
        yield Finding("OpenCV", "broken", f"It cannot be loaded: {package.error}.", _mend_opencv(package))
    elif len(wheels) > 1:
        names = " ".join(name.replace("_", "-") for name in wheels)
        text = f"{' and '.join(names.split())} write the same files; which one works is chance."
        yield Finding("OpenCV", "broken", text, f"pip uninstall -y {names} && pip install opencv-python")
    elif machine.jetson is not None and package.gstreamer is False:
        text = (
            f"{package.version}, without GStreamer: CSI cameras go through gst-launch-1.0. The system's needs no pipe."
        )
        name = "nvidia-opencv" if machine.jetson.generation == 6 else "python3-opencv"
        remove = f"pip uninstall -y {' '.join(wheels).replace('_', '-')} && " if wheels else ""
        yield Finding("OpenCV", "advice", text, f"{remove}sudo apt-get install {name}")
    else:
        yield Finding("OpenCV", "works", f"{package.version}, {'with' if package.gstreamer else 'without'} GStreamer")


def _mend_opencv(package: Package) -> str:
    error = package.error or ""
    if "libGL" in error or "libgthread" in error or "libglib" in error:
        return "sudo apt-get install libgl1 libglib2.0-0"
    if "numpy" in error.lower() or "_ARRAY_API" in error:
        # JetPack 6's OpenCV 4.8 was compiled against NumPy 1.
        return "pip install 'numpy<2'"
    return "pip install --force-reinstall opencv-python"


def _onnxruntime(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("onnxruntime")
    both = {"onnxruntime", "onnxruntime_gpu"} <= packages.distributions.keys()
    if package is None:
        yield Finding("ONNX Runtime", "missing", "Not installed.", "pip install onnxruntime")
    elif both or package.error is not None:
        text = f"It cannot be loaded: {package.error}."
        if both:
            text = "onnxruntime and onnxruntime-gpu write the same files; which one works is chance."
        fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"
        yield Finding("ONNX Runtime", "broken", text, fix)
    else:
        yield Finding("ONNX Runtime", "works", f"{package.version}, a CPU runtime")


def _openvino(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("openvino")
    again = "pip install --upgrade --force-reinstall 'trtparse[openvino]'"
    if package is None:
        text = "Not installed. Where it is faster than ONNX Runtime, --target cpu takes it."
        yield Finding("OpenVINO", "optional", text, "" if machine.jetson else "pip install 'trtparse[openvino]'")
    elif package.error is not None:
        yield Finding("OpenVINO", "broken", f"It cannot be loaded: {package.error}.", again)
    elif package.version and _numbers(package.version) < OLDEST_OPENVINO:
        oldest = ".".join(map(str, OLDEST_OPENVINO))
        yield Finding("OpenVINO", "broken", f"{package.version} is too old: {oldest} is the oldest that works.", again)
    else:
        lower = next((name for name in ("BF16", "FP16") if name in package.arithmetic), None)
        between = "FP32 between on this processor" if lower is None else f"{lower} or FP32 between, the faster of both"
        text = f"{package.version or 'Installed'}, the other CPU runtime; INT8 with {between}"
        yield Finding("OpenVINO", "works", text)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _pytorch(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("torch")
    if package is not None:
        yield Finding("PyTorch", "works", package.version or "installed")
    else:
        text = "Not installed. Bundles from checkpoints and training need it; engines from bundles do not."
        yield Finding("PyTorch", "optional", text, "" if machine.jetson else "pip install 'trtparse[train]'")


def _tensorrt_rtx(machine: Machine, packages: Packages) -> Iterator[Finding]:
    package = packages.modules.get("tensorrt_rtx_bindings")
    if package is None and machine.jetson is None:
        text = "Not installed. It compiles engines for GeForce RTX, and needs no GPU for that."
        yield Finding("TensorRT-RTX", "optional", text, "pip install 'trtparse[rtx]'")
    elif package is not None and package.error is not None:
        fix = "pip install --force-reinstall 'trtparse[rtx]'"
        yield Finding("TensorRT-RTX", "broken", f"It cannot be loaded: {package.error}.", fix)
    elif package is not None:
        yield Finding("TensorRT-RTX", "works", f"{package.version}, compiles engines without a GPU")


def _speed(machine: Machine, packages: Packages) -> Iterator[Finding]:
    """A Jetson's power mode and clocks: what a measured time depends on."""
    jetson = machine.jetson
    if jetson is None:
        return
    fastest = jetson.fastest_mode
    if not jetson.power_mode:
        yield Finding("power mode", "advice", "Unknown: nvpmodel does not say.", "sudo nvpmodel -q")
    elif fastest is not None and jetson.power_mode != fastest[1]:
        text = f"{jetson.power_mode}; {fastest[1]} is the one without a limit."
        yield Finding("power mode", "advice", text, f"sudo nvpmodel -m {fastest[0]}")
    else:
        yield Finding("power mode", "works", jetson.power_mode)
    if jetson.clocks_pinned:
        yield Finding("clocks", "works", "held at their maximum")
    else:
        free = "They follow the load, and so do measured times." if jetson.clocks_pinned is False else "Unknown."
        yield Finding("clocks", "advice", free, "sudo jetson_clocks")


def _install_driver(machine: Machine) -> str:
    if "Ubuntu" in machine.system:
        return "sudo ubuntu-drivers install && sudo systemctl reboot"
    if "Debian" in machine.system:
        return "sudo apt-get install nvidia-driver && sudo systemctl reboot  # of the component non-free"
    return ""


def _major(version: str | None) -> int | None:
    found = re.match(r"\d+", version or "")
    return int(found.group()) if found else None


_CHECKS: tuple[Callable[[Machine, Packages], Iterator[Finding]], ...] = (
    _jetpack,
    _gpu,
    _driver,
    _tensorrt,
    _cuda_calls,
    _opencv,
    _onnxruntime,
    _openvino,
    _pytorch,
    _tensorrt_rtx,
    _speed,
)
