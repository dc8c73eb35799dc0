"""A network written by an exporter; where that fails, which of its layers alone can't be written either."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RunError, one_line

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def write(
    exporter: Any, name: str, model: Any, file: Path, example: NDArray[np.float32], classes: Sequence[str]
) -> None:
    """Write a Keras model's file.

    Args:
        exporter: built.
        name: its own, such as "onnx".
        model: from RGB pixels, float (batch, height, width, 3) in 0–255, to logits (batch, classes).
        file: the new file; what a format needs beside it lies beside it.
        example: images, float32 (images, height, width, 3).
        classes: names.

    Raises:
        EnvironmentProblem: what the exporter needs is missing.
        RunError: it can't express the network; the message names the layer where one alone can't be written either.
    """
    try:
        exporter.export(model, file, example, classes)
    except EnvironmentProblem as error:
        raise error.at(f"export as {name}") from error
    except Exception as error:
        told = str(error) if isinstance(error, KDRecipesError) else f"The exporter {name!r} failed: {cause_of(error)}"
        where = f" Alone, {part} can't be written either." if (part := culprit(exporter, model, example)) else ""
        raise RunError(f"{told.rstrip('.')}.{where}").at(f"export as {name}") from error
    if not file.is_file():
        raise RunError(f"The exporter {name!r} wrote no file {file.name}.")


def cause_of(error: BaseException) -> str:
    """What an error comes from, in a line: the first of those that led to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)[:400]


def culprit(exporter: Any, model: Any, example: NDArray[np.float32]) -> str:
    """The first layer of a network that an exporter can't write alone, in words; empty where there is none.

    One layer of each class is tried, since what a format can't express is an operation. An exporter that can't write
    a part which does nothing is not asked: it would name any layer.
    """
    import torch

    if not _writes(exporter, torch.nn.Identity(), example):
        return ""
    seen = set()
    for words, part, given in _parts(model, example):
        if type(part) not in seen and not _writes(exporter, part, given):
            return words
        seen.add(type(part))
    return ""


def _writes(exporter: Any, part: torch.nn.Module, given: NDArray[np.float32]) -> bool:
    """Whether a part of a network can be written, as a network of its own."""
    import torch

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = part

        def forward(self, image: torch.Tensor, training: bool = False) -> Any:
            return self.part(image)

    with tempfile.TemporaryDirectory() as folder:
        try:
            exporter.export(Alone().eval(), Path(folder) / f"part{exporter.suffix}", given, [])
        except Exception:
            return False
    return True


def _parts(model: Any, example: NDArray[np.float32]) -> Iterator[tuple[str, torch.nn.Module, NDArray[np.float32]]]:
    """Layers and torch modules that take one array of floats: words, part, what it is given; those without parts first.

    Yields each that ran when the network was shown two images.
    """
    import torch

    from kdrecipes.backend import keras
    from kdrecipes.keras_private import flat_layers

    layers = [one for one in flat_layers(model) if one is not model and not isinstance(one, keras.layers.InputLayer)]
    found: dict[int, tuple[str, torch.nn.Module, NDArray[np.float32]]] = {}
    with ExitStack() as undo, torch.no_grad():
        for layer in layers:
            words = f"the layer {layer.name!r} (class {type(layer).__name__})"
            undo.enter_context(_instead(layer, "call", _noting(layer.call, layer, words, found)))
            if isinstance(layer, keras.layers.TorchModuleWrapper):
                for name, module in layer.module.named_modules():
                    words = f"the module {name or 'itself'!r} (class {type(module).__name__})"
                    undo.enter_context(_instead(module, "forward", _noting(module.forward, module, words, found)))
        model(keras.ops.convert_to_tensor(example[:2]), training=False)
    yield from sorted(found.values(), key=lambda one: sum(1 for _ in one[1].modules()) > 1)


@contextmanager
def _instead(part: torch.nn.Module, method: str, other: Callable[..., Any]) -> Iterator[None]:
    """A part with another method for a while."""
    before = part.__dict__.get(method)
    part.__dict__[method] = other  # neither Keras nor torch tracks what is put there
    try:
        yield
    finally:
        del part.__dict__[method]
        if before is not None:
            part.__dict__[method] = before


def _noting(call: Callable[..., Any], part: torch.nn.Module, words: str, found: dict[int, Any]) -> Callable[..., Any]:
    """`call`, which notes what it is given the first time."""

    def noting(*given: Any, **options: Any) -> Any:
        import torch

        if given and isinstance(given[0], torch.Tensor) and given[0].is_floating_point():
            found.setdefault(id(part), (words, part, given[0].detach().cpu().float().numpy()))
        return call(*given, **options)

    return noting
