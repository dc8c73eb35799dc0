"""Weights from files that others wrote: read as arrays only, checked name by name, loaded all or not at all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdrecipes.disk.numpy_files import read_npz
from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras
    import numpy as np

_SHOWN = 5  # problems named one by one


class Source(NamedTuple):
    """Where a variable's values stand in a file.

    Attributes:
        variable: the Keras variable.
        name: the array's name in the file.
        axes: the order of the array's axes that brings it to Keras' layout.
    """

    variable: keras.Variable
    name: str
    axes: tuple[int, ...]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` or `.safetensors` file by name; nothing in the file is run.

    Raises:
        EnvironmentProblem: the file is missing, cut off, damaged or of another kind.
    """
    if not path.is_file():
        raise EnvironmentProblem(f"weights = {str(path)!r}: no such file.")
    try:
        if path.suffix == ".npz":
            return read_npz(path)
        from safetensors.numpy import load_file

        return load_file(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # safetensors has an error class of its own in a compiled module
        if type(error).__module__.partition(".")[0] != "safetensors":
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"weights = {str(path)!r}: can't be read ({' '.join(str(error).split())}): cut off or damaged? "
        f"It has {path.stat().st_size:,} bytes. Fetch it again."
    )


def load_arrays(sources: Iterable[Source], arrays: Mapping[str, np.ndarray], unused: Iterable[str], what: str) -> None:
    """Give variables their values: every array is there, has the right shape and is used, or nothing is changed.

    Args:
        sources: each variable's array.
        arrays: the file's.
        unused: names of arrays that are left out knowingly.
        what: begins the message.

    Raises:
        EnvironmentProblem: naming the arrays that are missing, misshapen or left over.
    """
    left, problems, values = set(arrays) - set(unused), [], []
    for variable, name, axes in sources:
        left.discard(name)
        if name not in arrays:
            problems.append(f"{name} is missing")
            continue
        moved = arrays[name].transpose(axes) if arrays[name].ndim == len(axes) else None
        wanted = tuple(variable.shape)
        # A convolution of one pixel has two axes more than the dense layer that does the same.
        if moved is None or moved.shape[-len(wanted) :] != wanted or moved.size != math.prod(wanted):
            problems.append(f"{name} has shape {arrays[name].shape}, for {variable.path} with {wanted}")
        else:
            values.append((variable, moved.reshape(wanted)))
    problems += [f"no layer takes {name}" for name in sorted(left)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise EnvironmentProblem(f"{what}: {'; '.join(problems[:_SHOWN])}{more}.")
    for variable, value in values:
        variable.assign(value)


def load_keras_weights(model: keras.Model, path: Path) -> None:
    """Load a `.weights.h5` file of the same model.

    Raises:
        EnvironmentProblem: the file is missing, of another kind or of another model.
    """
    if not path.is_file():
        raise EnvironmentProblem(f"weights = {str(path)!r}: no such file.")
    if not path.name.endswith(".weights.h5"):
        raise EnvironmentProblem(f"weights = {str(path)!r}: must be a Keras weights file, named *.weights.h5.")
    try:
        with warnings.catch_warnings():  # a part that the file lacks would keep its random weights
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        text = " ".join(str(error).split())
        raise EnvironmentProblem(f"weights = {str(path)!r}: does not fit {model.name}: {text}") from error
