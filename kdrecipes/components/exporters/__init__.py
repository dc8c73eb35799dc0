"""The built-in exporters: a student as a file that another runtime reads.

Nothing is imported from it but through the registry: an exporter is built by name, by `kdrecipes export`.
Beside it are `callbacks`, `datasets`, `losses` and `models`; `runs` compares what an exporter writes with the student.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdrecipes.components.hookspecs import Component, hookimpl


@hookimpl
def kdrecipes_components() -> Iterable[Component]:
    """The exporter components."""
    from kdrecipes.components.exporters import (
        keras_file,
        litert_file,
        onnx_file,
        openvino_file,
        safetensors_file,
        torch_program,
    )

    for module in (keras_file, litert_file, onnx_file, openvino_file, safetensors_file, torch_program):
        yield module.COMPONENT
