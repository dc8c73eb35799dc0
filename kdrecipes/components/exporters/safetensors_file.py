"""`safetensors`: a student's weights alone, for whoever builds the network elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.components.rebuilt import logits_of, opened, weight_names
from kdrecipes.disk.saved_facts import facts_beside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SafetensorsFile:
    """Writes and reads `.safetensors` files: of a torch module its state, of a Keras model every variable.

    A Keras variable is called "<number>.<path>", such as "0003.conv/kernel", in the order of `model.variables`.
    """

    suffix, extra, to_write, to_read = ".safetensors", "run", (), ("safetensors",)
    whole = False  # who reads it builds the network anew

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model's weights; the class names are the metadata "classes", a JSON list."""
        from kdrecipes.backend import keras
        from kdrecipes.torch_modules import module_of

        metadata = {"classes": json.dumps(list(names))}
        if (module := module_of(model)) is not None:
            from safetensors.torch import save_model

            save_model(module, str(path), metadata)
        else:
            import numpy as np
            from safetensors.numpy import save_file

            arrays = [np.ascontiguousarray(keras.ops.convert_to_numpy(v.value)) for v in model.variables]
            named = zip(weight_names(model), arrays, strict=True)
            save_file(dict(named), str(path), metadata)
        os.chmod(path, 0o666 & ~_umask())  # safetensors lets nobody but its owner read it

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels (batch, height, width, 3) to logits, float32 (batch, classes); the network is built anew."""
        return logits_of(opened(path, facts_beside(path)))


def _umask() -> int:
    """What new files of this process may not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


COMPONENT = Component(
    kind="exporter",
    name="safetensors",
    build=SafetensorsFile,
    summary="the weights alone, for whoever builds the network elsewhere",
    options=options("exporter", SafetensorsFile),
)
