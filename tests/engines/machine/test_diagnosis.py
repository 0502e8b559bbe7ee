"""What is wrong with a machine, and whether the line that mends it is one for that machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trtparse.engines.machine.diagnosis import Finding, diagnose, tensorrt_install
from trtparse.engines.machine.facts import Machine, read_machine
from trtparse.engines.machine.gpu import Driver, Gpu
from trtparse.engines.machine.jetson import Jetson
from trtparse.engines.machine.packages import DEBIAN, IMPORTED, PRESENT, Package, Packages, read_packages
from trtparse.engines.machine.probe import Answer


def findings(machine: Any) -> dict[str, Finding]:
    """By topic, of which each must be judged once."""
    probe = machine.probe()
    found = diagnose(read_machine(probe), read_packages(probe))
    assert len({finding.topic for finding in found}) == len(found)
    return {finding.topic: finding for finding in found}


def failing(machine: Any) -> set[str]:
    return {topic for topic, finding in findings(machine).items() if finding.fails}


# Whole machines.


def test_jetpack_6_with_its_own_packages_works_and_is_told_how_to_be_faster(orin: Any) -> None:
    found = findings(orin)
    assert failing(orin) == set()
    assert found["TensorRT"].text.endswith("the system’s")
    assert found["power mode"].fix == "sudo nvpmodel -m 2"  # not -m 0, which is 15 W on this board
    assert found["clocks"].fix == "sudo jetson_clocks"
    assert found["PyTorch"].state == "optional"


def test_jetpack_7_without_python_packages_lacks_those_alone(thor: Any) -> None:
    found = findings(thor)
    assert failing(thor) == {"CUDA from Python", "ONNX Runtime"}
    assert found["CUDA from Python"].fix == "pip install pycuda"  # nvcc is on the PATH
    assert (found["power mode"].state, found["clocks"].state) == ("works", "works")


def test_a_pc_that_has_everything_works(workstation: Any) -> None:
    assert failing(workstation) == set()


def test_a_machine_without_a_gpu_lacks_the_gpu_and_no_package_for_it(nothing: Any) -> None:
    nothing.install("/site", "cv2", "onnxruntime")
    found = findings(nothing)
    assert failing(nothing) == {"GPU"}
    assert found["TensorRT"].state == found["CUDA from Python"].state == "optional"
    assert found["TensorRT-RTX"].fix == "pip install 'trtparse[rtx]'"


@pytest.mark.parametrize(
    ("release", "generation"), [("R32 (release), REVISION: 7.1", 4), ("R35 (release), REVISION: 4.1", 5)]
)
def test_a_jetpack_that_is_too_old_is_out_of_reach(release: str, generation: int, orin: Any) -> None:
    orin.write("/etc/nv_tegra_release", f"# {release}, GCID: 1")
    orin.programs["dpkg-query"] = Answer(1)
    found = findings(orin)["Jetson"]
    assert found.state == "broken"
    assert f"JetPack {generation}." in found.text
    assert "out of reach" in found.text


# TensorRT.


def test_a_virtual_environment_that_hides_jetpack_s_tensorrt_is_opened(orin: Any) -> None:
    system = orin.search_path.pop()
    assert system.name == "dist-packages"
    settings_file = orin.write("/home/me/my venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    orin.environment = settings_file.parent
    found = findings(orin)["TensorRT"]
    assert found.state == "missing"
    assert "does not see the system's packages" in found.text
    subprocess.run(["bash", "-c", found.fix], check=True)  # the line does what it says
    assert settings_file.read_text() == "home = /usr/bin\ninclude-system-site-packages = true\n"
    assert read_packages(orin.probe()).system_site_packages is True


def test_a_python_that_jetpack_s_tensorrt_is_not_for_is_named(orin: Any) -> None:
    orin.search_path.pop()
    orin.python = (3, 12)
    found = findings(orin)["TensorRT"]
    assert "for Python 3.10; this is 3.12" in found.text
    assert found.fix.startswith("/usr/bin/python3.10 -m venv --system-site-packages ")


def test_on_a_jetson_tensorrt_comes_from_apt_and_never_from_pip(orin: Any, thor: Any) -> None:
    for jetson in (orin, thor):
        shutil.rmtree(jetson.search_path[-1] / "tensorrt")
        found = findings(jetson)["TensorRT"]
        assert found.state == "missing"
        assert "apt-get install python3-libnvinfer" in found.fix
        assert "pip" not in found.fix


def test_pip_s_tensorrt_on_a_jetson_is_removed(orin: Any) -> None:
    place = orin.install("/home/me/.local/lib/python3.10/site-packages", "tensorrt")
    for name in ("tensorrt", "tensorrt_cu12", "tensorrt_cu12_bindings", "tensorrt_cu12_libs"):
        (place / f"{name}-10.16.0.dist-info").mkdir()
    found = findings(orin)["TensorRT"]
    assert found.state == "broken"
    assert found.fix == "pip uninstall -y tensorrt tensorrt_cu12 tensorrt_cu12_bindings tensorrt_cu12_libs"


def test_pip_s_tensorrt_is_right_in_nvidia_s_container_for_thor(thor: Any) -> None:
    shutil.rmtree(thor.search_path[-1] / "tensorrt")
    place = thor.install("/usr/local/lib/python3.12/dist-packages", "tensorrt")
    (place / "tensorrt-10.13.2.6.dist-info").mkdir()
    assert findings(thor)["TensorRT"].state == "broken"
    thor.write("/.dockerenv", "")
    assert findings(thor)["TensorRT"].state == "works"


def test_two_tensorrts_are_named_in_python_s_order(workstation: Any) -> None:
    workstation.install("/usr/lib/python3.10/dist-packages", "tensorrt")
    found = findings(workstation)["TensorRT"]
    assert found.state == "broken"
    assert "There are 2" in found.text
    assert found.text.index("/venv/lib") < found.text.index("/usr/lib/python3.10/dist-packages")


def test_a_tensorrt_that_does_not_load_is_installed_again(orin: Any, workstation: Any) -> None:
    for machine, line in (
        (orin, "apt-get install --reinstall libnvinfer10 python3-libnvinfer"),
        (workstation, "tensorrt-cu12"),
    ):
        machine.programs["import tensorrt"] = Answer(1, "", "ImportError: libnvinfer.so.10: no such file")
        found = findings(machine)["TensorRT"]
        assert found.state == "broken"
        assert "libnvinfer.so.10" in found.text
        assert line in found.fix


@pytest.mark.parametrize(
    ("version", "package"), [(12020, "tensorrt-cu12"), (13010, "tensorrt-cu13"), (11080, "tensorrt-cu12")]
)
def test_on_a_pc_pip_s_tensorrt_is_that_of_the_driver_s_cuda(version: int, package: str, workstation: Any) -> None:
    shutil.rmtree(workstation.search_path[0] / "tensorrt")
    workstation.cuda.version = version
    assert findings(workstation)["TensorRT"].fix == f"pip install {package}"
    assert tensorrt_install(read_machine(workstation.probe())) == f"pip install {package}"


# The driver and the GPU.


def test_a_driver_older_than_tensorrt_s_cuda_is_found_and_one_of_the_same_major_version_is_not(
    workstation: Any,
) -> None:
    place = workstation.search_path[0]
    (place / "tensorrt_cu12_libs-10.16.0.dist-info").mkdir()
    assert "driver" not in findings(workstation)
    (place / "tensorrt_cu12_libs-10.16.0.dist-info").rename(place / "tensorrt_cu13_libs-11.4.0.dist-info")
    found = findings(workstation)["driver"]
    assert found.state == "broken"
    assert "535.104.05 speaks CUDA 12.2" in found.text
    assert "TensorRT's CUDA 13 takes 580 or newer" in found.text
    assert found.fix == "pip uninstall -y tensorrt_cu13_libs && pip install tensorrt-cu12"


def test_a_driver_older_than_pytorch_s_cuda_is_found(workstation: Any) -> None:
    (workstation.search_path[0] / "torch-2.13.0+cu130.dist-info").mkdir()
    found = findings(workstation)["driver"]
    assert "PyTorch's CUDA 13" in found.text
    assert "ubuntu-drivers" in found.fix


def test_a_jetson_s_driver_comes_with_jetpack(orin: Any) -> None:
    dpkg = orin.programs["dpkg-query"].output.replace("+cuda12.5", "+cuda13.2")
    orin.programs["dpkg-query"] = Answer(1, dpkg)
    found = findings(orin)["driver"]
    assert "JetPack" in found.text
    assert found.fix == ""


def test_why_there_is_no_gpu_decides_what_to_type(workstation: Any, orin: Any, nothing: Any) -> None:
    workstation.cuda.start = 803
    assert findings(workstation)["GPU"].fix == "sudo systemctl reboot"
    workstation.cuda.start = 999
    assert "ubuntu-drivers" in findings(workstation)["GPU"].fix
    workstation.cuda = None
    shutil.rmtree(workstation.root / "proc/driver")
    del workstation.programs["nvidia-smi"]
    assert "NVIDIA GPU, and no driver" in findings(workstation)["GPU"].text  # it is on the PCI bus
    workstation.write("/.dockerenv", "")
    assert "docker run --gpus all" in findings(workstation)["GPU"].fix

    orin.cuda.start = 100
    assert "usermod -aG video,render" in findings(orin)["GPU"].fix
    orin.write("/.dockerenv", "")
    assert "docker run --runtime nvidia" in findings(orin)["GPU"].fix
    assert findings(nothing)["GPU"].fix == ""
    nothing.cuda = replace(orin.cuda, start=34)  # a CUDA toolkit's stub of the driver is not a GPU
    assert findings(nothing)["GPU"].text.startswith("No NVIDIA GPU (CUDA_ERROR_STUB_LIBRARY)")


# CUDA from Python, OpenCV, ONNX Runtime.


def test_pycuda_needs_nvcc_and_without_it_cuda_bindings_take_its_place(orin: Any) -> None:
    shutil.rmtree(orin.search_path[0] / "pycuda")
    assert findings(orin)["CUDA from Python"].fix == 'PATH="/usr/local/cuda/bin:$PATH" pip install pycuda'
    del orin.programs["nvcc-usual"]
    assert findings(orin)["CUDA from Python"].fix == "pip install 'cuda-bindings==12.*'"
    orin.install("/home/me/.local/lib/python3.10/site-packages", "cuda.bindings", "cuda.bindings.driver")
    assert findings(orin)["CUDA from Python"].state == "works"


def test_a_pycuda_of_another_cuda_is_compiled_again(orin: Any) -> None:
    orin.programs["import pycuda.driver"] = Answer(
        1, "", "ImportError: libcurand.so.11: cannot open shared object file"
    )
    found = findings(orin)["CUDA from Python"]
    assert found.state == "broken"
    assert "--no-cache-dir --no-binary pycuda pycuda" in found.fix


def test_an_opencv_without_gstreamer_matters_on_a_jetson_alone(orin: Any, thor: Any, workstation: Any) -> None:
    built = Answer(0, '{"version": "4.12.0", "build": "    GStreamer:                   NO"}')
    for machine, state in ((orin, "advice"), (thor, "advice"), (workstation, "works")):
        machine.programs["import cv2"] = built
        assert findings(machine)["OpenCV"].state == state
    (orin.search_path[0] / "opencv_python-4.12.0.dist-info").mkdir()
    assert findings(orin)["OpenCV"].fix == "pip uninstall -y opencv-python && sudo apt-get install nvidia-opencv"
    assert findings(thor)["OpenCV"].fix == "sudo apt-get install python3-opencv"


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("ImportError: libGL.so.1: cannot open shared object file", "sudo apt-get install libgl1 libglib2.0-0"),
        ("ImportError: numpy.core.multiarray failed to import", "pip install 'numpy<2'"),
        ("ImportError: undefined symbol", "pip install --force-reinstall opencv-python"),
    ],
)
def test_why_opencv_does_not_load_decides_what_to_type(error: str, fix: str, orin: Any) -> None:
    orin.programs["import cv2"] = Answer(1, "", error)
    assert findings(orin)["OpenCV"].fix == fix


def test_wheels_that_overwrite_each_other_are_found(workstation: Any) -> None:
    place = workstation.search_path[0]
    for name in (
        "opencv_python-4.10.0",
        "opencv_python_headless-4.9.0",
        "onnxruntime-1.20.0",
        "onnxruntime_gpu-1.20.0",
    ):
        (place / f"{name}.dist-info").mkdir()
    found = findings(workstation)
    assert found["OpenCV"].state == found["ONNX Runtime"].state == "broken"
    assert "pip uninstall -y opencv-python opencv-python-headless" in found["OpenCV"].fix


@pytest.mark.parametrize(
    ("package", "state", "told"),
    [
        (None, "optional", "Not installed"),
        (
            Package("/site", False, (), "2026.4.1", None, None, ("FP32", "INT8", "BF16")),
            "works",
            "BF16 or FP32 between",
        ),
        (
            Package("/site", False, (), "2026.4.1", None, None, ("FP32", "INT8", "FP16")),
            "works",
            "FP16 or FP32 between",
        ),
        (Package("/site", False, (), "2026.4.1", None, None, ("FP32", "INT8")), "works", "with FP32 between"),
        (Package("/site", False, (), "2023.3.0"), "broken", "2025.2 is the oldest that works"),
        (Package("/site", False, (), None, "libtbb.so.12: not found"), "broken", "libtbb.so.12"),
    ],
)
def test_openvino_is_optional_and_says_what_the_processor_computes_with(
    package: Package | None, state: str, told: str, nothing: Any
) -> None:
    packages = read_packages(nothing.probe())
    if package is not None:
        packages.modules["openvino"] = package
    found = {finding.topic: finding for finding in diagnose(read_machine(nothing.probe()), packages)}["OpenVINO"]
    assert found.state == state
    assert told in found.text
    assert ("trtparse[openvino]" in found.fix) == (state != "works")


# Every machine.

_words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
_versions = st.none() | st.from_regex(r"\A[0-9]{1,2}\.[0-9]{1,2}\Z") | _words
_packages = st.builds(
    Package, folder=_words, others=st.lists(_words, max_size=2).map(tuple), version=_versions, error=st.none() | _words
)
_pip = st.sampled_from(
    [
        "tensorrt",
        "tensorrt_cu12_libs",
        "tensorrt_cu13",
        "opencv_python",
        "opencv_contrib_python_headless",
        "onnxruntime_gpu",
    ]
)
_jetsons = st.builds(
    Jetson,
    model=_words,
    l4t=_versions,
    jetpack=st.sampled_from([None, "4", "5", "6.2", "7.0"]),
    power_mode=st.none() | _words,
)
_machines = st.builds(
    Machine,
    environment=st.none() | _words,
    system=_words | st.sampled_from(["Ubuntu 24.04", "Debian GNU/Linux 12"]),
    gpus=st.lists(st.builds(Gpu, _words, _words), max_size=2).map(tuple),
    driver=st.none() | st.builds(Driver, _versions, _versions, st.none() | _words),
    nvcc=st.sampled_from([None, "nvcc", "/usr/local/cuda/bin/nvcc"]),
    jetson=st.none() | _jetsons,
)
_installed = st.builds(
    Packages,
    modules=st.dictionaries(st.sampled_from([*IMPORTED, *PRESENT]), _packages),
    hidden=st.lists(_words | st.just("/usr/lib/python3.12/dist-packages"), max_size=2).map(tuple),
    distributions=st.dictionaries(_pip, st.just("1")),
    debian=st.dictionaries(st.sampled_from(DEBIAN), _words | st.just("10.3-1+cuda13.0")),
)


@settings(max_examples=100, deadline=None)
@given(machine=_machines, packages=_installed)
def test_every_machine_is_judged_and_every_fix_is_a_line_for_the_shell(machine: Machine, packages: Packages) -> None:
    found = diagnose(machine, packages)
    topics = {finding.topic for finding in found}
    assert {"GPU", "TensorRT", "CUDA from Python", "OpenCV", "ONNX Runtime", "PyTorch"} <= topics
    assert (machine.jetson is not None) == ("Jetson" in topics) == ("clocks" in topics)
    for finding in found:
        assert finding.text
        assert not (finding.fix and finding.state == "works")
        if machine.jetson is not None:
            assert "pip install tensorrt" not in finding.fix
    fixes = "\n".join(finding.fix for finding in found)
    if shutil.which("bash") is not None:
        checked = subprocess.run(["bash", "-n"], input=fixes, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_without_a_gpu_nothing_is_asked_of_tensorrt(nothing: Any) -> None:
    machine = read_machine(nothing.probe())
    packages = replace(read_packages(nothing.probe()), modules={"tensorrt": Package("/site", False, version="10.3.0")})
    (found,) = [finding for finding in diagnose(machine, packages) if finding.topic == "TensorRT"]
    assert (found.state, "before the GPU works" in found.text) == ("works", True)
