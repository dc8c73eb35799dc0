"""What is said when the memory of the machine or of the GPU does not suffice, or the files that may be open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdrecipes.disk.files import lacking, of_the_system
from kdrecipes.errors import RunError, one_line
from kdrecipes.recipe.tables import Recipe, TrainTable

# What torch says where it raises a plain RuntimeError: of the CPU's allocator, of its older ones, and of Apple's GPUs.
_WORDS = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")


@contextmanager
def memory_errors(recipe: Recipe) -> Iterator[None]:
    """Turn what says that memory does not suffice into one message that says what needs less.

    Raises:
        RunError: for an error of memory, and for one that was raised because of one.
        EnvironmentProblem: in the same way for too many open files.
    """
    try:
        yield
    except Exception as error:
        if isinstance(files := lacking(error), OSError):
            raise of_the_system(files) from error
        found = _of_memory(error)
        if found is None:
            raise
        where = "The GPU has" if isinstance(found, torch.OutOfMemoryError) or "MPS" in str(found) else "There is"
        raise RunError(
            f"{where} not enough memory ({one_line(found)[:200]}). {_less(recipe)} A recipe that is changed so is "
            "another one: choose another folder with --out. If something else takes the memory, run the same command "
            "again once it is free: what is saved is kept."
        ) from error


def _of_memory(error: BaseException | None) -> BaseException | None:
    """The error of memory that an error is, or was raised because of."""
    while error is not None:
        plain = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or plain:
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _less(recipe: Recipe) -> str:
    """What of a recipe's training needs less memory, by its keys."""
    trained = {"train": recipe.train}
    trained |= {f"{one.place}.train": one.train for one in recipe.teachers.values() if one.train}
    sizes = " and ".join(f"{key}.batch_size = {_half(train)}" for key, train in trained.items())
    steps = " and ".join(f"{key}.accumulate = {2 * (train.accumulate or 1)}" for key, train in trained.items())
    text = f"Less is needed with {sizes}; with {steps} too, the optimiser still moves by as many images as now."
    wide = [key for key, train in trained.items() if train.precision == "float32"]
    if wide:
        text += f' {" and ".join(f"{key}.precision" for key in wide)} = "bfloat16" needs about half for a step.'
    return text


def _half(train: TrainTable) -> str:
    return f"{max(1, train.batch_size // 2)} (now {train.batch_size})"
