"""Energy as counters tell it: added up over a wrap, of all packages and GPUs, absent where one can't be read."""

from __future__ import annotations

import ctypes

import pytest

from kdrecipes.runs.energy import Counter, Meter, machine, nvml, rapl

RANGE = 262_143_328_850


@pytest.fixture
def powercap(tmp_path):
    """A tree as Linux shows it: two packages, a part of one, and the platform, which holds them."""

    def add(folder, name, value):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n")
        (tmp_path / folder / "energy_uj").write_text(f"{value}\n")
        (tmp_path / folder / "max_energy_range_uj").write_text(f"{RANGE}\n")

    (tmp_path / "intel-rapl").mkdir()
    add("intel-rapl:0", "package-0", 5_000_000)
    add("intel-rapl:0:0", "core", 1_000_000)
    add("intel-rapl:1", "package-1", RANGE - 1_000_000)
    add("intel-rapl:2", "psys", 9_000_000)
    return tmp_path


def test_packages_are_added_up_and_their_parts_are_not(powercap):
    meter = Meter({"processors": rapl(powercap)})
    (powercap / "intel-rapl:0" / "energy_uj").write_text("7500000")
    assert meter.told() == {"processors": 2.5}


def test_a_counter_that_wraps_goes_on(powercap):
    meter = Meter({"processors": rapl(powercap)})
    (powercap / "intel-rapl:1" / "energy_uj").write_text("2000000")  # 1 J to the end, and 2 J from the beginning
    meter.read()
    (powercap / "intel-rapl:1" / "energy_uj").write_text("2500000")
    assert meter.told() == {"processors": 3.5}


@pytest.mark.parametrize("when", ["before", "later"])
@pytest.mark.parametrize("text", [None, "none"])
def test_a_package_that_cannot_be_read_makes_processors_absent(powercap, when, text):
    file = powercap / "intel-rapl:1" / "energy_uj"

    def lose():
        file.unlink()
        if text is not None:
            file.write_text(text)

    if when == "before":
        lose()
    meter = Meter({"processors": rapl(powercap), "gpus": []})
    if when == "later":
        assert meter.told() == {"processors": 0.0}
        lose()
    assert meter.told() == {}


def test_a_machine_without_counters_tells_nothing(tmp_path):
    assert rapl(tmp_path / "nowhere") == []
    meter = Meter({"processors": [], "gpus": []})
    with meter.watched():
        assert meter.told() == {}


class Library:
    """What NVIDIA's does, of two GPUs whose counters are in millijoules."""

    def __init__(self, init=0, counts=(0, 0)):
        self.init, self.counts, self.millijoules = init, counts, [1000, 2000]

    def nvmlInit_v2(self):
        return self.init

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):
        device._obj.value = index + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device, counted):
        counted._obj.value = self.millijoules[device.value - 1]
        return self.counts[device.value - 1]


def test_gpus_are_added_up():
    library = Library()
    meter = Meter({"gpus": nvml(lambda: library)})
    library.millijoules = [1500, 5000]
    assert meter.told() == {"gpus": 3.5}


@pytest.mark.parametrize("library", [Library(init=9), Library(counts=(0, 3)), Library(counts=(3, 3)), object()])
def test_gpus_that_do_not_count_are_absent(library):
    assert Meter({"gpus": nvml(lambda: library)}).told() == {}


def test_no_driver_no_gpus():
    assert nvml(lambda: ctypes.CDLL("libnothing-of-that-name.so.1")) == []


def test_this_machine_tells_what_it_can():
    assert set(machine().told()) <= {"processors", "gpus"}


def test_energy_is_read_while_a_run_goes_on(monkeypatch):
    """A counter may wrap more than once between a run's start and its end."""
    import threading

    from kdrecipes.runs import energy

    monkeypatch.setattr(energy, "EVERY", 0.001)
    twice, read = threading.Event(), []

    def count():
        read.append(0)
        if len(read) > 3:
            twice.set()
        return len(read)

    with Meter({"gpus": [Counter(count, 0, 1.0)]}).watched():
        assert twice.wait(10)
