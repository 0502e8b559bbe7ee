from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trtparse.engines.machine.clocks import read_clocks
from trtparse.engines.machine.probe import Answer, Probe


def _probe(root: Path, answer: str | None = None) -> Probe:
    def run(command: Sequence[str]) -> Answer:
        return Answer(None) if answer is None else Answer(0, answer)

    return Probe(root=root, run=run)


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_where_nothing_tells_there_is_nothing(tmp_path: Path) -> None:
    assert read_clocks(_probe(tmp_path)) == {}


@pytest.mark.parametrize(
    ("bits", "told"),
    [
        ("0x0000000000000000", "nothing"),
        ("0x0000000000000001", "nothing"),
        ("0x0000000000000004", "power limit"),
        ("0x0000000000000060", "temperature, temperature (hardware)"),
    ],
)
def test_a_graphics_card_tells_its_clocks_and_what_holds_them_down(bits: str, told: str, tmp_path: Path) -> None:
    answer = f"1980 MHz, 1980 MHz, 3201 MHz, 41, 310.52 W, {bits}\n"
    assert read_clocks(_probe(tmp_path, answer)) == {
        "GPU clock": "1980 MHz",
        "GPU clock, highest": "1980 MHz",
        "GPU memory clock": "3201 MHz",
        "GPU temperature": "41 °C",
        "GPU power": "310.52 W",
        "GPU clocks held down by": told,
    }


@pytest.mark.parametrize("known", ["clocks_event_reasons.active", "clocks_throttle_reasons.active"])
def test_either_name_of_what_holds_the_clocks_down_is_asked_for(known: str, tmp_path: Path) -> None:
    commands = []

    def run(command: Sequence[str]) -> Answer:
        commands.append(command)
        if known not in command[2]:
            return Answer(2, 'Field "clocks_…_reasons.active" is not a valid field to query.\n')
        return Answer(0, "1980 MHz, 1980 MHz, 3201 MHz, 41, 310.52 W, 0x0000000000000004\n")

    facts = read_clocks(Probe(root=tmp_path, run=run), "0000:65:00.0")
    assert facts["GPU clocks held down by"] == "power limit"
    assert facts["GPU clock"] == "1980 MHz"
    # The GPU that engines run on, which need not be nvidia-smi's first.
    assert {command[1] for command in commands} == {"--id=0000:65:00.0"}


def test_a_jetson_tells_its_clocks_in_files_alone(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
            "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        },
    )
    assert read_clocks(_probe(tmp_path, "[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\n")) == {
        "processor's governor": "schedutil",
        "GPU clock": "612 MHz",
        "GPU clock, highest": "1020 MHz",
    }


def test_a_jetson_s_memory_clock_is_told_where_it_may_be_read_and_its_hottest_place(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000\n",
            "sys/class/thermal/thermal_zone0/temp": "48250\n",
            "sys/class/thermal/thermal_zone1/temp": "51500\n",
            "sys/class/thermal/thermal_zone2/temp": "",
        },
    )
    assert read_clocks(_probe(tmp_path)) == {"memory clock (EMC)": "2133 MHz", "hottest": "52 °C"}


def test_the_processors_clock_is_the_mean_of_its_cores(tmp_path: Path) -> None:
    _write(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2000.0\n\ncpu MHz\t\t: 3000.5\n"})
    assert read_clocks(_probe(tmp_path)) == {"processor clock": "2500 MHz"}
