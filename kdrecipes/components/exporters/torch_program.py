"""`torch`: a student as a `torch.export` program."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.exporters.torch_archive import never_unpickled, refuse_code
from kdrecipes.components.exporters.traced import INPUT_OPTION, of_type, traced
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TorchProgram:
    """Writes and reads `.pt2` files, which `torch.export.load` opens. Open only files that you trust.

    Args:
        input: "float32" or "uint8", the type of the pixels that the program takes.
    """

    suffix, extra, to_write, to_read = ".pt2", "run", (), ("torch",)

    def __init__(self, input: str = "float32"):
        self.pixels = input

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model; the class names are in its extra file "classes.json"."""
        import torch

        program = traced(model, example, self.pixels)
        torch.export.save(program, str(path), extra_files={"classes.json": json.dumps(list(names))})

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels of the file's type, (batch, height, width, 3), to logits, float32 (batch, classes).

        Raises:
            ValueError: when a part of the file is code or a pickle.
        """
        import torch

        refuse_code(path)
        with never_unpickled():
            program = torch.export.load(str(path))
        network = program.module()
        inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
        pixels = next(torch.empty(0, dtype=v.meta["val"].dtype).numpy().dtype for v in inputs)

        def predict(images: NDArray[Any]) -> NDArray[np.float32]:
            with torch.no_grad():
                logits: NDArray[np.float32] = network(torch.from_numpy(of_type(images, pixels))).numpy()
            return logits

        return predict


COMPONENT = Component(
    kind="exporter",
    name="torch",
    build=TorchProgram,
    summary="a torch.export program, .pt2: PyTorch without kdrecipes or Keras",
    options=options("exporter", TorchProgram, input=INPUT_OPTION),
)
