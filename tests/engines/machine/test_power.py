"""Watts from trees of sysfs as the boards have them, and from a management library that says what it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trtparse.engines.machine.power import NvmlSensors, PowerMeter, SysfsSensors, open_meter
from trtparse.engines.machine.probe import Probe

ORIN_NANO = {
    "hwmon0/name": "tmp451",
    "hwmon1/name": "ina3221",
    "hwmon1/in1_label": "VDD_IN",
    "hwmon1/in1_input": "5024",
    "hwmon1/curr1_input": "1520",
    "hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "hwmon1/in2_input": "5016",
    "hwmon1/curr2_input": "480",
    "hwmon1/in3_label": "VDD_SOC",
    "hwmon1/in3_input": "5016",
    "hwmon1/curr3_input": "296",
    "hwmon1/in7_label": "sum of shunt voltages",
    "hwmon2/name": "soctherm_oc",
    "hwmon2/oc1_event_cnt": "0",
    "hwmon2/oc3_event_cnt": "4",
}
AGX_ORIN = {
    "hwmon3/name": "ina3221",
    "hwmon3/in1_label": "VDD_GPU_SOC",
    "hwmon3/in1_input": "19848",
    "hwmon3/curr1_input": "600",
    "hwmon3/in2_label": "VDD_CPU_CV",
    "hwmon3/in2_input": "19848",
    "hwmon3/curr2_input": "100",
    "hwmon3/in3_label": "VIN_SYS_5V0",
    "hwmon3/in3_input": "5024",
    "hwmon3/curr3_input": "1000",
    "hwmon4/name": "ina3221",
    "hwmon4/in1_label": "NC",
    "hwmon4/in2_label": "VDDQ_VDD2_1V8AO",
    "hwmon4/in2_input": "5016",
    "hwmon4/curr2_input": "500",
    "hwmon4/in3_label": "NC",
}
THOR = {
    "hwmon0/name": "ina3221",
    "hwmon0/in1_label": "VDD_GPU",
    "hwmon0/in1_input": "12000",
    "hwmon0/curr1_input": "1500",
    "hwmon1/name": "ina238",
    "hwmon1/power1_input": "43250000",
}


def _probe(root: Path, hwmon: dict[str, str], thermal: dict[str, str] | None = None, nvml: Any = None) -> Probe:
    for folder, files in (("hwmon", hwmon), ("thermal", thermal or {})):
        for name, text in files.items():
            path = root / "sys/class" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
    return Probe(root=root, load_nvml=lambda: nvml)


@pytest.mark.parametrize(
    ("tree", "source", "watts"),
    [
        (ORIN_NANO, "INA3221", {"VDD_IN": 7.63648, "VDD_CPU_GPU_CV": 2.40768, "VDD_SOC": 1.484736}),
        (
            AGX_ORIN,
            "INA3221",
            {
                "sum of the rails": 11.9088 + 1.9848 + 5.024,
                "VDD_GPU_SOC": 11.9088,
                "VDD_CPU_CV": 1.9848,
                "VIN_SYS_5V0": 5.024,
                "VDDQ_VDD2_1V8AO": 2.508,
            },
        ),
        (THOR, "INA3221 and INA238", {"VIN": 43.25, "VDD_GPU": 18.0}),
    ],
)
def test_the_rails_of_each_board_are_read_the_whole_first(
    tree: dict[str, str], source: str, watts: dict[str, float], tmp_path: Path
) -> None:
    sensors = SysfsSensors(_probe(tmp_path, tree))
    found = sensors.watts()
    assert sensors.source == source
    assert found == pytest.approx(watts)
    assert next(iter(found)) == next(iter(watts))


def test_a_board_without_sensors_has_no_meter(tmp_path: Path) -> None:
    assert open_meter(probe=_probe(tmp_path, {"hwmon0/name": "coretemp", "hwmon0/in1_label": "Vcore"})) is None


def test_a_sensor_that_stops_answering_is_left_out_and_not_counted_as_nothing(tmp_path: Path) -> None:
    probe = _probe(tmp_path, ORIN_NANO)
    meter = PowerMeter(SysfsSensors(probe), seconds=10)
    with meter.sampling():
        (tmp_path / "sys/class/hwmon/hwmon1/curr2_input").write_text("")
    power = meter.power
    assert power is not None
    assert power.watts == pytest.approx(7.63648)
    assert power.rails["VDD_SOC"] == pytest.approx(1.484736)
    for rail in (1, 2, 3):
        (tmp_path / f"sys/class/hwmon/hwmon1/curr{rail}_input").unlink()
    with meter.sampling():
        pass
    assert meter.power is None


def test_the_mean_and_the_highest_of_what_a_block_took(tmp_path: Path) -> None:
    class Stepping:
        source = "a scale"

        def __init__(self) -> None:
            self.left = iter([2.0, 6.0])

        def begin(self) -> None:
            pass

        def watts(self) -> dict[str, float]:
            return {"all": next(self.left)}

        def joules(self) -> None:
            return None

        def held_down_by(self) -> set[str]:
            return set()

    meter = PowerMeter(Stepping(), seconds=10)
    with meter.sampling():
        pass
    power = meter.power
    assert power is not None
    assert (power.watts, power.highest, power.samples, power.source) == (4.0, 6.0, 2, "a scale, all")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ()),
        ({"thermal/cooling_device0/cur_state": "2"}, ("temperature (gpu-throttle-alert)",)),
        ({"thermal/cooling_device1/cur_state": "200"}, ()),
        ({"hwmon/hwmon2/oc3_event_cnt": "5"}, ("over-current",)),
    ],
)
def test_what_throttles_a_jetson_meanwhile_is_told_and_a_fan_is_not(
    change: dict[str, str], told: tuple[str, ...], tmp_path: Path
) -> None:
    thermal = {
        "cooling_device0/type": "gpu-throttle-alert",
        "cooling_device0/cur_state": "0",
        "cooling_device1/type": "pwm-fan",
        "cooling_device1/cur_state": "90",
    }
    meter = open_meter(probe=_probe(tmp_path, ORIN_NANO, thermal))
    assert meter is not None
    with meter.sampling():
        for name, text in change.items():
            (tmp_path / "sys/class" / name).write_text(text)
    assert meter.power is not None
    assert meter.power.held_down_by == told
    # What happened once is not told of the next engine again; what lasts is.
    with meter.sampling():
        pass
    assert meter.power.held_down_by == tuple(name for name in told if name != "over-current")


class Nvml:
    """NVIDIA's management library as ctypes shows it; a call that it was not told of is not there."""

    def __init__(self, start: int = 0, **values: int | Callable[[], int]) -> None:
        self.start, self.values, self.asked = start, values, list[Any]()

    def nvmlInit_v2(self) -> int:
        return self.start

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: bytes, handle: Any) -> int:
        self.asked.append(bus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: Any) -> int:
        self.asked.append(number)
        return 0

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("values", {}):
            raise AttributeError(name)
        value = self.values[name]

        def call(handle: Any, target: Any) -> int:
            target._obj.value = value() if callable(value) else value
            return 0

        return call


@pytest.mark.parametrize(("bus", "asked"), [("0000:65:00.0", b"0000:65:00.0"), ("", 0)])
def test_a_graphics_card_is_asked_by_its_place_on_the_bus(bus: str, asked: Any, tmp_path: Path) -> None:
    library = Nvml(nvmlDeviceGetPowerUsage=310_520, nvmlDeviceGetCurrentClocksThrottleReasons=0x24)
    meter = open_meter(bus, _probe(tmp_path, {}, nvml=library))
    assert library.asked == [asked]
    assert meter is not None
    with meter.sampling():
        pass
    power = meter.power
    assert power is not None
    assert (power.source, power.watts) == ("NVML, board", 310.52)
    assert power.held_down_by == ("power limit", "temperature")


def test_the_card_s_own_count_of_energy_goes_before_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter([1_000_000, 1_030_000])
    library = Nvml(nvmlDeviceGetPowerUsage=50_000, nvmlDeviceGetTotalEnergyConsumption=lambda: next(counted))
    clock = iter([10.0, 10.1])
    monkeypatch.setattr("trtparse.engines.machine.power.time.monotonic", lambda: next(clock))
    meter = PowerMeter(NvmlSensors(library, Any), seconds=10)  # type: ignore[arg-type]
    with meter.sampling():
        pass
    assert meter.power is not None
    assert meter.power.watts == pytest.approx(30 / 0.1)
    assert meter.power.highest == 50


def test_a_library_that_does_not_start_measures_nothing(tmp_path: Path) -> None:
    assert open_meter(probe=_probe(tmp_path, {}, nvml=Nvml(start=9))) is None
