"""What `kdrecipes doctor` finds: each check of the installation and the machine, and how to mend what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kdrecipes.errors import EnvironmentProblem, one_line
from kdrecipes.runs.doctor_check import Check, finding

HEAVY = ("backend", "device", "threads", "speed", "fit")  # checks that import torch


def examine() -> Iterator[Check]:
    """Every check, one after the other; what imports torch comes last, and only where all runs' packages are there."""
    from kdrecipes.runs import doctor_folders, doctor_packages

    yield doctor_packages.python()
    packages = doctor_packages.packages()
    yield from packages
    yield from doctor_packages.plugins()
    yield from doctor_folders.folders()
    yield from doctor_folders.caches()
    yield doctor_folders.memory()
    if doctor_packages.missing():
        why = "not looked at: packages that runs need are missing"
        yield from (Check(name, "skipped", why) for name in HEAVY)
        return
    yield from _heavy()


def _heavy() -> Iterator[Check]:
    """The checks that import torch and Keras; without them there is nothing more to look at."""
    try:
        from kdrecipes.runs import doctor_machine
    except Exception as error:  # a broken library raises anything
        settings = isinstance(error, EnvironmentProblem)
        again = "Install them again: `pip install --force-reinstall 'kdrecipes[run]'`."
        mend = "Correct KERAS_BACKEND, or ~/.keras/keras.json, or remove that file." if settings else again
        yield finding("backend", str(error) if settings else f"Keras on torch: {one_line(error)}", mend)
        yield from (Check(name, "skipped", "not looked at: the backend is not usable") for name in HEAVY[1:])
        return
    checks: list[Callable[[], Check]] = [
        doctor_machine.versions,
        doctor_machine.device,
        doctor_machine.threads,
        doctor_machine.speed,
        doctor_machine.fit,
    ]
    for check in checks:
        yield check()
