"""`keras`: a student as Keras' own file, as the run saves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.components.rebuilt import logits_of, opened
from kdrecipes.disk.saved_facts import facts_beside
from kdrecipes.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class KerasFile:
    """Writes and reads `.keras` files."""

    suffix, extra, to_write, to_read = ".keras", "run", (), ("keras",)

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model.

        Raises:
            RunError: for a torch module, which Keras' file would hold as a pickle.
        """
        from kdrecipes.torch_modules import module_of

        if module_of(model) is not None:
            raise RunError("Keras' file of a torch module is a pickle, which is not safe to open: use safetensors.")
        model.save(path)

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels (batch, height, width, 3) to logits, float32 (batch, classes)."""
        return logits_of(opened(path, facts_beside(path)))


COMPONENT = Component(
    kind="exporter",
    name="keras",
    build=KerasFile,
    summary="Keras' own file, as the run saves it",
    options=options("exporter", KerasFile),
)
