"""`onnx`: a student as an ONNX file, for ONNX Runtime on servers, phones and in the browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
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

OPSET = 18


class OnnxFile:
    """Writes and reads `.onnx` files: input "image" (batch, height, width, 3), pixels 0–255; output "logits".

    Args:
        input: "float32" or "uint8", the type of the pixels that the file takes.
        quantize: "int8" for weights and activations of 8 bits; absent: float32. The bounds of the activations are those
            that they reach on the example images. A network of 8 bits is another one: it has an accuracy of its own.
    """

    suffix, extra, to_write, to_read = ".onnx", "onnx", ("onnx", "onnxscript"), ("onnxruntime",)

    def __init__(self, input: str = "float32", quantize: str | None = None):
        self.pixels, self.quantize = input, quantize
        self.exact, self.variant = quantize is None, quantize or ""

    def export(self, model: Any, path: Path, example: NDArray[np.float32], names: Sequence[str]) -> None:
        """Write a Keras model; the class names are the metadata "classes", a JSON list."""
        import torch

        program = traced(model, example, self.pixels)
        try:
            with quiet():
                made = torch.onnx.export(
                    program,
                    (),
                    input_names=[INPUT],
                    output_names=[OUTPUT],
                    opset_version=OPSET,
                    dynamo=True,
                    verbose=False,
                )
        except Exception as error:
            raise RunError(f"ONNX can't express this network: {cause_of(error)}") from error
        assert made is not None
        made.model.metadata_props["classes"] = json.dumps(list(names))
        _name_batch(made.model)
        made.save(str(path), external_data=False)
        if self.quantize:
            _quantize(path, of_type(example, self.pixels))

    def load(self, path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """From pixels of the file's type, (batch, height, width, 3), to logits, float32 (batch, classes)."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        kind = session.get_inputs()[0].type
        pixels = "uint8" if kind == "tensor(uint8)" else "float32"

        def predict(images: NDArray[Any]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = session.run([OUTPUT], {INPUT: of_type(images, pixels)})[0]
            return logits

        return predict


def _name_batch(model: Any) -> None:
    """Call the free dimension "batch", which torch gives a name of its own."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape[0] = "batch"


def _quantize(path: Path, images: NDArray[Any]) -> None:
    """Replace a float32 file by one of 8 bits, channel by channel, with a Q/DQ pair around each operation."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[dict[str, NDArray[Any]]] = (
                {INPUT: images[start : start + 32]} for start in range(0, len(images), 32)
            )

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._batches, None)

    prepared = path.with_name(f"prepared-{path.name}")
    with quiet():
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            Batches(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


COMPONENT = Component(
    kind="exporter",
    name="onnx",
    build=OnnxFile,
    summary="an ONNX file: ONNX Runtime on servers, phones and in the browser; int8 on request",
    options=options(
        "exporter",
        OnnxFile,
        input=INPUT_OPTION,
        quantize={"enum": ["int8"], "description": "Weights and activations of 8 bits, calibrated on training images."},
    ),
)
