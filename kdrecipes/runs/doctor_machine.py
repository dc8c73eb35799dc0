"""What computes: Keras on torch, the device, its threads and speed; and two steps of every fit of a small recipe."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.errors import KDRecipesError, one_line
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.doctor_check import Check, finding, ok
from kdrecipes.runs.dry_run import dry_run

# Float32 operations in a second that one thread of a CPU does in a product of matrices. 80 is the peak of a core with
# AVX2 at 2.5 GHz, 32 in a cycle, and a good library reaches half of it. Without one it is a few.
REFERENCE = 40e9
SLOW = 0.25  # of it: below it is no older CPU but another library, or a core that others use
_SIDE, _TIMES = 768, 8
_DRIVER = Path("/proc/driver/nvidia/version")
_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def versions() -> Check:
    """The backend; it was checked as it was imported."""
    try:
        backend.check_policy()
    except KDRecipesError as error:
        return finding("backend", str(error), "Remove what sets it, such as a line in ~/.keras/keras.json.")
    return ok("backend", f"Keras {keras.version()} on torch {torch.__version__}")


def device() -> Check:
    """The device that `--device auto` takes; a GPU that torch can't use is told."""
    name = backend.device_name("auto")
    if name == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        return ok("device", f"cuda, {torch.cuda.get_device_name(0)}, {memory / 1e9:.0f} GB")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if name == "cpu" and _DRIVER.exists() and not hidden:
        why = "is built without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda} can't use it"
        mend = "Install the torch of your driver's CUDA: https://pytorch.org/get-started/locally says the line."
        return finding("device", f"cpu; an NVIDIA driver is here, and torch {torch.__version__} {why}", mend)
    return ok("device", f"{name}; the GPUs are hidden by CUDA_VISIBLE_DEVICES" if hidden else name)


def threads() -> Check:
    """Whether torch uses the cores that this process may use."""
    used, cores = torch.get_num_threads(), _cores()
    text = f"torch computes with {used} thread{'s' if used > 1 else ''} on {cores} core{'s' if cores > 1 else ''}"
    named = [f"{name} = {os.environ[name]}" for name in _LIMITS if name in os.environ]
    if (cores > 1 and used == 1) or used > cores:
        set_ = f"Unset {' and '.join(one.partition(' ')[0] for one in named)}, or set" if named else "Set"
        told = f" ({', '.join(named)})" if named else ""
        return finding("threads", f"{text}{told}", f"{set_} {_LIMITS[0]} to {cores}.")
    return ok("threads", text)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def speed() -> Check:
    """How fast the CPU multiplies matrices, against `REFERENCE`."""
    each = operations_a_second() / torch.get_num_threads()
    text = f"{each / 1e9:.3g} GFLOP/s a thread in float32; {REFERENCE / 1e9:.0f} are usual"
    if each < SLOW * REFERENCE:
        mend = (
            "End what else uses the cores and ask again. Else torch has no fast library of linear algebra: install its "
            "own wheel, `pip install --force-reinstall torch`."
        )
        return finding("speed", text, mend)
    return ok("speed", text)


def operations_a_second() -> float:
    """Float32 operations in a second, in the fastest of some products of two matrices on the CPU."""
    a, b = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best


def fit() -> Check:
    """Two steps of every fit of the recipe digits, on black images."""
    began = time.perf_counter()
    try:
        dry_run(load_recipe("digits"), classes=10)
    except Exception as error:  # a broken library raises anything
        mend = (
            "A run would stop here too. Install anew what it names: `pip install --force-reinstall 'kdrecipes[run]'`."
        )
        return finding("fit", f"two steps of digits: {one_line(error)}", mend)
    return ok("fit", f"two steps of every fit of digits done in {time.perf_counter() - began:.1f} s")
