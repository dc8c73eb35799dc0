"""Keras on PyTorch, checked once: import `keras` from here wherever the run needs it."""

from __future__ import annotations

import ctypes
import os
import sys

from kdrecipes.errors import EnvironmentProblem, UsageError, one_line

if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "torch"

try:
    import keras
except (ValueError, TypeError, AssertionError) as error:  # Keras reads its settings as it is imported
    settings = os.path.join(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    raise EnvironmentProblem(
        f"Keras refuses its own settings ({one_line(error)}). Correct them in {settings}, or remove that file."
    ) from error
import torch

from kdrecipes.keras_private import current_device, fresh_names, without_tensorflow

__all__ = [
    "check",
    "check_policy",
    "current_device",
    "device_name",
    "fresh_names",
    "keep_freed_memory",
    "keras",
    "seed_everything",
    "synchronize",
    "without_tensorflow",
]


def check() -> None:
    """Refuse a Keras that runs on another backend, expects channels first, or makes weights of another type.

    Raises:
        EnvironmentProblem: naming what was found and how to mend it.
    """
    if keras.backend.backend() != "torch":
        raise EnvironmentProblem(
            f"kdrecipes trains with Keras on PyTorch, but Keras was already imported on {keras.backend.backend()}. "
            "Import kdrecipes before keras, or set KERAS_BACKEND=torch before Python starts."
        )
    if keras.config.image_data_format() != "channels_last":
        raise EnvironmentProblem(
            "kdrecipes takes images channels last, but Keras is set to channels_first. Remove "
            '"image_data_format" from ~/.keras/keras.json, or call keras.config.set_image_data_format("channels_last").'
        )
    if keras.config.floatx() != "float32":
        raise EnvironmentProblem(
            f"kdrecipes keeps weights in float32, but Keras is set to {keras.config.floatx()}. Remove "
            '"floatx" from ~/.keras/keras.json, or call keras.config.set_floatx("float32"). What a run computes in is '
            "said by train.precision."
        )


def check_policy() -> None:
    """Refuse a global precision policy of Keras, which would compute otherwise than a recipe says.

    A script with a `Distiller` may set one; a run reads `train.precision` and `teacher.precision` alone.

    Raises:
        EnvironmentProblem: naming the policy and how to mend it.
    """
    check()  # it may have been set since the import
    if (policy := keras.config.dtype_policy().name) != "float32":
        raise EnvironmentProblem(
            f"A run computes in what the recipe's train.precision says, but Keras' global policy is {policy}. Call "
            'keras.config.set_dtype_policy("float32") before the run.'
        )


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy, torch and Keras' own generators: what builds after this is a pure function of the seed."""
    keras.utils.set_random_seed(seed)


def synchronize() -> None:
    """Wait until a GPU has done what it was given; a CPU always has."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def keep_freed_memory() -> None:
    """Let the C library keep what is freed (glibc; elsewhere nothing happens).

    It would give the large temporaries of every step back to the kernel, which clears and maps each page anew: up to
    a third of a training step on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_max = -1, -4  # malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def device_name(wanted: str) -> str:
    """The device for `--device`: "auto" is a GPU where there is one, else the CPU.

    Raises:
        UsageError: for a device that is not here.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {wanted}: not available here ({reason}). Choose cpu, cuda, cuda:1 or mps."
        ) from None
    return wanted


check()
without_tensorflow()
