"""What a machine says of itself: Jetsons, a PC, a machine that says nothing, and this one."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trtparse.engines.machine.facts import Memory, machine_facts, read_machine
from trtparse.engines.machine.gpu import Driver, Gpu, read_gpus
from trtparse.engines.machine.jetson import read_jetson
from trtparse.engines.machine.packages import read_packages
from trtparse.engines.machine.probe import Answer, Probe, run_program


def test_an_orin_nano_says_what_it_is(orin: Any) -> None:
    machine = read_machine(orin.probe())
    assert machine.gpu == Gpu("Orin", "8.7", 7_989_334_016, True, 8)
    assert machine.driver == Driver("540.4.0", "12.6", None)
    assert machine.memory == Memory(7802084 << 10, 6219432 << 10, 3901040 << 10)
    assert (machine.system, machine.kernel) == ("Ubuntu 22.04.5 LTS", "5.15.148-tegra")
    assert machine.processor == "ARMv8 Processor rev 1 (v8l)"
    assert (machine.cuda, machine.nvcc) == ("12.6", "/usr/local/cuda/bin/nvcc")
    jetson = machine.jetson
    assert jetson is not None
    assert jetson.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (jetson.l4t, jetson.jetpack, jetson.generation) == ("36.4.3", "6.2", 6)
    assert (jetson.power_mode, jetson.fastest_mode, jetson.clocks_pinned) == ("25W", (2, "MAXN_SUPER"), False)
    assert jetson.power_modes == ((0, "15W"), (1, "25W"), (2, "MAXN_SUPER"), (3, "7W"))


def test_a_thor_says_what_it_is(thor: Any) -> None:
    machine = read_machine(thor.probe())
    assert machine.gpu == Gpu("NVIDIA Thor", "11.0", 131_880_255_488, True, 20)
    assert machine.driver == Driver("580.00", "13.0", None)
    jetson = machine.jetson
    assert jetson is not None
    # The package nvidia-jetpack is not installed: JetPack follows from Jetson Linux.
    assert (jetson.l4t, jetson.jetpack) == ("38.2.0", "7.0")
    assert (jetson.power_mode, jetson.fastest_mode, jetson.clocks_pinned) == ("MAXN", (0, "MAXN"), True)


def test_a_pc_says_what_it_is(workstation: Any) -> None:
    machine = read_machine(workstation.probe())
    assert machine.gpu == Gpu("NVIDIA GeForce RTX 4070", "8.9", 12_878_610_432, False, 46, "0000:01:00.0")
    assert machine.driver == Driver("535.104.05", "12.2", None)
    assert (machine.jetson, machine.nvidia_device, machine.container) == (None, True, False)
    assert "nvidia-smi" not in {command[0] for command in workstation.commands}  # seconds, where the driver tells


def test_a_machine_that_says_nothing_is_no_error(nothing: Any) -> None:
    machine = read_machine(nothing.probe())
    assert (machine.gpu, machine.driver, machine.memory, machine.jetson, machine.cuda) == (None,) * 5
    assert read_packages(nothing.probe()).modules == {}


def test_this_machine_is_read_and_is_json() -> None:
    document = json.dumps([asdict(read_machine()), machine_facts()])
    assert {"processor", "cores", "system", "trtparse", "Python"} <= set(json.loads(document)[1])


def test_the_cores_of_a_measurement_are_those_that_the_process_may_use() -> None:
    assert machine_facts(replace(read_machine(), cores=3))["cores"] == "3"


def test_where_a_jetson_was_measured_is_in_the_facts(orin: Any) -> None:
    facts = machine_facts(read_machine(orin.probe()))
    assert facts["GPU"] == "Orin"
    assert facts["JetPack"] == "6.2"
    assert facts["L4T"] == "36.4.3"
    assert facts["multiprocessors"] == "8"
    assert facts["power mode"] == "25W"
    assert facts["clocks"] == "free"


# The driver.


def test_a_driver_that_does_not_start_says_why_and_gives_no_gpu_to_run_on(workstation: Any) -> None:
    workstation.cuda.start = 803
    machine = read_machine(workstation.probe())
    assert machine.driver == Driver("535.104.05", "12.2", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    assert machine.gpus == (Gpu("NVIDIA GeForce RTX 4070", "8.9", 12282 << 20, False),)  # as nvidia-smi has it
    assert machine.gpu is None


def test_a_driver_without_a_device_is_an_error_of_the_driver(workstation: Any) -> None:
    workstation.cuda.devices = ()
    machine = read_machine(workstation.probe())
    assert machine.gpu is None
    assert machine.driver is not None
    assert machine.driver.error == "CUDA_ERROR_NO_DEVICE"


def test_without_the_library_nvidia_smi_tells_and_its_complaint_is_kept(thor: Any) -> None:
    thor.cuda = None
    gpus, driver = read_gpus(thor.probe())
    assert gpus == (Gpu("NVIDIA Thor", "11.0", 0, True),)
    assert driver == Driver("580.00", None, "libcuda.so.1 is missing")
    thor.programs["nvidia-smi"] = Answer(9, "", "Failed to initialize NVML: Driver/library version mismatch\n")
    _, driver = read_gpus(thor.probe())
    assert driver is not None
    assert driver.error is not None
    assert "Driver/library version mismatch" in driver.error


def test_the_calls_reach_a_real_library_as_cuda_declares_them(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "cuda.c"
    source.write_text(
        "#include <stddef.h>\n#include <string.h>\n"
        "int cuInit(unsigned flags) { return flags; }\n"
        "int cuDriverGetVersion(int *version) { *version = 13010; return 0; }\n"
        "int cuDeviceGetCount(int *count) { *count = 2; return 0; }\n"
        "int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 40; return 0; }\n"
        "int cuDeviceGetName(char *name, int length, int device)\n"
        '{ strncpy(name, device == 41 ? "second" : "first", length); return 0; }\n'
        "int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)device << 34; return 0; }\n"
        "int cuDeviceGetAttribute(int *value, int attribute, int device)\n"
        "{ *value = attribute == 75 ? 12 : attribute == 76 ? 1 : attribute == 16 ? 8 : device == 41; return 0; }\n"
        "int cuDeviceGetPCIBusId(char *bus, int length, int device)\n"
        '{ if (device == 41) return 801; strncpy(bus, "0000:01:00.0", length); return 0; }\n'
    )
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    probe = Probe(tmp_path, lambda command: Answer(None), lambda: ctypes.CDLL(str(library)))
    gpus, driver = read_gpus(probe)
    assert gpus == (
        Gpu("first", "12.1", 40 << 34, False, 8, "0000:01:00.0"),
        Gpu("second", "12.1", 41 << 34, True, 8),
    )
    assert driver == Driver(None, "13.1", None)


# Jetsons.


def test_a_jetson_is_one_by_any_of_its_marks(nothing: Any) -> None:
    assert read_jetson(nothing.probe()) is None
    for name, text in {
        "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.0, GCID: 1",
        "/proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    }.items():
        path = nothing.write(name, text)
        jetson = read_jetson(nothing.probe())
        assert jetson is not None, name
        assert "\0" not in jetson.model
        path.unlink()


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack"),
    [
        ("# R32 (release), REVISION: 7.1, GCID: 29818004", "32.7.1", "4"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178", "35.4.1", "5"),
        ("# R36 (release), REVISION: 4.0, GCID: 37537400", "36.4.0", "6.1"),
        ("# R36 (release), REVISION: 99.9, GCID: 1", "36.99.9", "6"),
        ("# R36 (release), REVISION: 5.0, GCID: 1", "36.5.0", "6.2.2"),
        ("# R38 (release), REVISION: 2.1, GCID: 1", "38.2.1", "7.0"),
        ("# R38 (release), REVISION: 4.0, GCID: 1", "38.4.0", "7.1"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0", "7.2"),
        ("# R77 (release), REVISION: 1.0, GCID: 1", "77.1.0", None),
    ],
)
def test_jetpack_follows_from_jetson_linux(release: str, l4t: str, jetpack: str | None, nothing: Any) -> None:
    nothing.write("/etc/nv_tegra_release", release)
    board = read_jetson(nothing.probe())
    assert board is not None
    assert (board.l4t, board.jetpack) == (l4t, jetpack)


def test_inside_a_container_the_packages_tell_jetson_linux(orin: Any) -> None:
    for name in ("etc/nv_tegra_release", "proc/device-tree/model", "proc/device-tree/compatible"):
        (orin.root / name).unlink()
    jetson = read_jetson(orin.probe())
    assert jetson is not None
    assert (jetson.model, jetson.l4t, jetson.jetpack) == ("", "36.4.3", "6.2")


def test_the_power_mode_needs_no_rights(orin: Any) -> None:
    orin.programs["nvpmodel"] = Answer(1, "", "NVPM ERROR: Error opening /var/lib/nvpmodel/status")
    jetson = read_jetson(orin.probe())
    assert jetson is not None
    assert jetson.power_mode == "25W"  # mode 1, by the file that nvpmodel keeps


def test_clocks_are_read_from_jetson_clocks_where_the_kernel_shows_none(orin: Any) -> None:
    shutil.rmtree(orin.root / "sys/class/devfreq")
    jetson = read_jetson(orin.probe())
    assert jetson is not None
    assert jetson.clocks_pinned is False
    shown = orin.programs["jetson_clocks"].output.replace("GPU MinFreq=306000000", "GPU MinFreq=918000000")
    orin.programs["jetson_clocks"] = Answer(0, shown)
    jetson = read_jetson(orin.probe())
    assert jetson is not None
    assert jetson.clocks_pinned is True
    del orin.programs["jetson_clocks"]
    jetson = read_jetson(orin.probe())
    assert jetson is not None
    assert jetson.clocks_pinned is None


# Packages.


def test_a_package_is_imported_where_python_finds_it_and_says_its_version(orin: Any) -> None:
    packages = read_packages(orin.probe())
    assert set(packages.modules) == {"tensorrt", "cv2", "onnxruntime", "pycuda.driver"}
    tensorrt = packages.modules["tensorrt"]
    assert (tensorrt.version, tensorrt.system, tensorrt.error, tensorrt.others) == ("1.0", True, None, ())
    assert packages.modules["onnxruntime"].system is False
    assert packages.modules["cv2"].gstreamer is True
    assert packages.debian["python3-libnvinfer"] == "10.3.0.30-1+cuda12.5"
    assert "python3-opencv" not in packages.debian  # removed, and dpkg remembers it


def test_why_a_package_cannot_be_loaded_is_kept(orin: Any) -> None:
    trace = (
        "Traceback (most recent call last):\n  File …\nImportError: libnvinfer.so.10: cannot open shared object file\n"
    )
    orin.programs["import tensorrt"] = Answer(1, "", trace)
    orin.programs["import cv2"] = Answer(-11, "", "")
    modules = read_packages(orin.probe()).modules
    assert modules["tensorrt"].error == "ImportError: libnvinfer.so.10: cannot open shared object file"
    assert modules["cv2"].error == "ended by signal 11"


def test_a_second_copy_and_one_that_python_does_not_see_are_found(orin: Any) -> None:
    orin.install("/usr/lib/python3/dist-packages", "tensorrt")
    orin.install("/usr/lib/python3.12/dist-packages", "tensorrt", visible=False)
    packages = read_packages(orin.probe())
    assert packages.modules["tensorrt"].others == (str(orin.root / "usr/lib/python3/dist-packages"),)
    assert packages.hidden == (str(orin.root / "usr/lib/python3.12/dist-packages"),)


def test_distributions_are_known_by_their_folders(workstation: Any) -> None:
    place = workstation.search_path[0]
    for name in (
        "tensorrt_cu12_bindings-10.3.0.dist-info",
        "opencv_python-4.10.0.84.dist-info",
        "Foo.bar-1-py3.10.egg-info",
    ):
        (place / name).mkdir()
    (place / "left_behind").mkdir()  # no code in it
    packages = read_packages(workstation.probe())
    assert packages.distributions == {"tensorrt_cu12_bindings": "10.3.0", "opencv_python": "4.10.0.84", "foo_bar": "1"}
    assert packages.system_site_packages is False


def test_the_packages_of_this_machine_load_in_processes_of_their_own() -> None:
    packages = read_packages()
    for name in ("cv2", "onnxruntime"):
        assert packages.modules[name].error is None, packages.modules[name]
        assert packages.modules[name].version == __import__(name).__version__
    assert packages.modules["cv2"].gstreamer is not None


# Whatever the sources say.


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60), code=st.sampled_from([None, 0, 1, -9]), start=st.integers(0, 1000))
def test_no_text_of_a_file_or_a_program_raises(text: str, code: int | None, start: int, orin: Any) -> None:
    for path in orin.root.rglob("*"):
        if path.is_file() and "site-packages" not in str(path) and "dist-packages" not in str(path):
            path.write_text(text, errors="replace")
    orin.programs = {name: Answer(code, text, text) for name in (*orin.programs, "nvidia-smi", "import tensorrt")}
    orin.cuda.start = start
    probe = orin.probe()
    json.dumps([asdict(read_machine(probe)), asdict(read_packages(probe))])


def test_a_program_that_is_missing_or_fails_is_an_answer(tmp_path: Path) -> None:
    assert run_program(["trtparse-no-such-program"]) == Answer(None)
    assert run_program(["sh", "-c", "echo words; echo why >&2; exit 3"]) == Answer(3, "words\n", "why\n")
    assert run_program(["sh", "-c", "kill -9 $$"]).complaint == "ended by signal 9"
    assert Answer(1).complaint == "no answer"
