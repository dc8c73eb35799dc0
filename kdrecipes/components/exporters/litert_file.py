"""`litert`: a student for LiteRT, formerly TensorFlow Lite, on phones and small devices."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.exporters.traced import INPUT, INPUT_OPTION, OUTPUT, from_pixels, of_type, quiet, two_images
from kdrecipes.components.exporters.writing import cause_of
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class LiteRtFile:
    """Writes and reads `.tflite` files: input "image" (1, height, width, 3), one image at a time; output "logits".

    The class names are in the file beside it alone.

    Args:
        input: "float32" or "uint8", the type of the pixels that the file takes.
    """

    suffix, extra, to_write, to_read = ".tflite", "litert", ("litert_torch",), ("ai_edge_litert",)

    def __init__(self, input: str = "float32"):
        self.pixels = input

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model; the converter takes no free batch, and a phone asks for one image."""
        import litert_torch
        import torch

        class Named(torch.nn.Module):
            """From pixels to logits by name."""

            def __init__(self) -> None:
                super().__init__()
                self.network = from_pixels(model)

            def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
                return {OUTPUT: self.network(image)}

        images = two_images(example, self.pixels)
        try:
            with quiet(), redirect_stdout(io.StringIO()), torch.no_grad():
                network = Named().eval()
                network(images)  # what is built lazily is built
                litert_torch.convert(network, sample_kwargs={INPUT: images[:1]}).export(str(path))
        except Exception as error:
            raise RunError(f"LiteRT can't express this network: {cause_of(error)}") from error

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels of the file's type, (batch, height, width, 3), to logits, float32 (batch, classes)."""
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        network = Interpreter(str(path))
        network.allocate_tensors()
        ask = network.get_signature_runner()
        pixels = np.dtype(ask.get_input_details()[INPUT]["dtype"])

        def predict(images: NDArray[Any]) -> NDArray[np.float32]:
            answers = [ask(**{INPUT: image[None]})[OUTPUT] for image in of_type(images, pixels)]
            return np.concatenate(answers).astype(np.float32)

        return predict


COMPONENT = Component(
    kind="exporter",
    name="litert",
    build=LiteRtFile,
    summary="a .tflite file for LiteRT (TensorFlow Lite): phones and small devices",
    options=options("exporter", LiteRtFile, input=INPUT_OPTION),
)
