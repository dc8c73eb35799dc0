"""`openvino`: a student for OpenVINO, on CPUs and GPUs of Intel."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.components.exporters.traced import INPUT, INPUT_OPTION, OUTPUT, of_type, quiet, traced
from kdrecipes.components.exporters.writing import cause_of
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVinoFile:
    """Writes and reads OpenVINO's two files: `.xml`, the graph, and `.bin` beside it, the weights in float32.

    Args:
        input: "float32" or "uint8", the type of the pixels that the file takes.
    """

    suffix, extra, to_write, to_read = ".xml", "openvino", ("openvino",), ("openvino",)

    def __init__(self, input: str = "float32"):
        self.pixels = input

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model; the class names are the file's own information "classes", a JSON list."""
        openvino = _openvino()
        program = traced(model, example, self.pixels)
        try:
            with quiet():
                network = openvino.convert_model(program)
        except Exception as error:
            raise RunError(f"OpenVINO can't express this network: {cause_of(error)}") from error
        network.inputs[0].get_tensor().set_names({INPUT})
        network.outputs[0].get_tensor().set_names({OUTPUT})
        network.set_rt_info(json.dumps(list(names)), ["classes"])
        openvino.save_model(network, str(path), compress_to_fp16=False)

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels of the file's type, (batch, height, width, 3), to logits, float32 (batch, classes)."""
        openvino = _openvino()
        network = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        pixels = network.inputs[0].get_element_type().to_dtype()

        def predict(images: NDArray[Any]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = network({INPUT: of_type(images, pixels)})[OUTPUT]
            return logits

        return predict


def _openvino() -> Any:
    """The package, which otherwise reports each import and conversion to a service of its makers without asking."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it can't be imported; openvino can
    import openvino

    return openvino


COMPONENT = Component(
    kind="exporter",
    name="openvino",
    build=OpenVinoFile,
    summary="OpenVINO's .xml and .bin: CPUs and GPUs of Intel",
    options=options("exporter", OpenVinoFile, input=INPUT_OPTION),
)
