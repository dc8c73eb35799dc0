"""A network as ONNX Runtime runs it, where that is installed: calls that can be timed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kdrecipes.backend import keras
from kdrecipes.components.exporters.onnx_file import OnnxFile
from kdrecipes.components.exporters.traced import INPUT


def onnx_calls(
    model: keras.Model, size: int, batches: Iterable[int], folder: str | Path
) -> Mapping[int, Callable[[], object]] | None:
    """A call for each batch size, tried once, on the CPU, with torch's number of threads; None without the extra.

    Args:
        model: from pixels (batch, size, size, 3) to logits.
        size: pixels per side.
        batches: numbers of images.
        folder: where the file is written that ONNX Runtime reads.

    Raises:
        RunError: when ONNX can't express the network.
    """
    if any(importlib.util.find_spec(part) is None for part in (*OnnxFile.to_write, *OnnxFile.to_read)):
        return None
    import onnxruntime

    shape = model.input_shape
    size = shape[1] if isinstance(shape, tuple) and len(shape) == 4 and shape[1] else size
    file = Path(folder) / f"{len(list(Path(folder).iterdir()))}.onnx"
    example = np.full((2, size, size, 3), 128.0, np.float32)
    OnnxFile().export(model, file, example, ())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads of a network that has had its turn would otherwise go on spinning, on the cores of the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = {batch: {INPUT: np.repeat(example[:1], batch, axis=0)} for batch in batches}
    calls = {batch: partial(session.run, None, of) for batch, of in inputs.items()}
    for call in calls.values():
        call()
    return calls
