"""Reading inner layers' outputs from the one forward pass that happens anyway, nested models included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import inner_layers
from kdrecipes.layer_names import layer_named


def layer_paths(model: Any) -> dict[str, Any]:
    """Every layer of a model by its path: `"backbone/block_3"` for a layer of the nested model `backbone`.

    A torch module's are those of `named_modules()`, with slashes. Of one that is all that a Keras model wraps they
    begin inside it; other wrapped ones are a nested model of the wrapper's name.
    """
    if not isinstance(model, keras.layers.Layer):
        return _module_paths(model, "")
    found: dict[str, Any] = {}
    wrapped = [la for la in getattr(model, "layers", ()) if isinstance(la, keras.layers.TorchModuleWrapper)]
    if len(wrapped) == 1:
        found |= _module_paths(wrapped[0].module, "")

    def walk(owner: Any, prefix: str) -> None:
        for layer in owner.layers if isinstance(owner, keras.Model) else inner_layers(owner):
            path = prefix + layer.name
            found.setdefault(path, layer)
            if isinstance(layer, keras.layers.TorchModuleWrapper):
                for name, module in _module_paths(layer.module, path + "/").items():
                    found.setdefault(name, module)
            else:
                walk(layer, path + "/")

    walk(model, "")
    return found


def _module_paths(module: torch.nn.Module, prefix: str) -> dict[str, Any]:
    return {prefix + name.replace(".", "/"): part for name, part in module.named_modules() if name}


def find_layer(model: Any, name: str, role: str = "") -> Any:
    """The layer at a path, the only one of that name at any depth, or the only one whose path a glob matches.

    Args:
        model: a Keras model or a torch module.
        name: as for `layer_named`; a torch module's path may have dots.
        role: what the model is, such as "the student", for messages; empty: it is called by its name.

    Raises:
        ValueError: when there is none, or several; the message names the nearest, or the several.
    """
    paths = layer_paths(model)
    owner = role[:1].upper() + role[1:] or repr(getattr(model, "name", type(model).__name__))
    return layer_named(name, paths, owner)


class Tapped(dict[str, torch.Tensor]):
    """Layers' outputs by name, how often the layers were called in all, and why some have no output to read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.refused: dict[str, str] = {}

    def take(self, name: str, output: Any, *, once: bool) -> None:
        """Keep what a layer returned; `once`: a second output makes it unclear which is meant."""
        self.calls += 1
        if not isinstance(output, torch.Tensor):
            self.refused[name] = f"gives a {type(output).__name__}, and a term reads one tensor"
        elif once and name in self:
            self.refused[name] = "is called several times in a forward pass: it is not known which output is meant"
        else:
            self[name] = output


class _Enough(BaseException):
    """Ends a forward pass. No `Exception`: nobody who handles errors, or adds to their messages, shall see it."""


@contextmanager
def tapped(layers: Mapping[str, Any], stop_after: int | None = None) -> Iterator[Tapped]:
    """While the block runs, collect what each of `layers` returns, by name.

    Args:
        layers: by name.
        stop_after: calls of `layers` after which the block ends, wherever it is; None lets it run to its end.

    Raises:
        ValueError: at the block's end, when a layer was not called, or gives no single tensor.
    """
    with overheard(layers, stop_after) as outputs:
        yield outputs
    for name in layers:
        why = outputs.refused.get(name)
        if why is None and name not in outputs:
            why = "was not called in the forward pass: it has no output to read"
        if why is not None:
            raise ValueError(f"Layer {name!r} {why}. `kdrecipes list layers` shows those that can be read.")


@contextmanager
def overheard(layers: Mapping[str, Any], stop_after: int | None = None) -> Iterator[Tapped]:
    """As `tapped`, and nothing is raised for a layer whose output can't be read.

    Keras' `Layer.__call__` goes past torch's forward hooks, so a Keras layer's `call` is wrapped on the instance; torch
    modules get a hook. A Keras layer called twice keeps its last output. Maps of torch modules are given channels last.
    """
    outputs = Tapped()
    hooks, wrapped = [], []

    def keep(name: str, output: Any, *, once: bool) -> None:
        outputs.take(name, output, once=once)
        if outputs.calls == stop_after:
            raise _Enough

    def wrap(name: str, layer: Any) -> None:
        before, call = layer.__dict__.get("call"), layer.call

        def recording(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            keep(name, output, once=False)
            return output

        layer.__dict__["call"] = recording
        wrapped.append((layer, before))

    def hook(name: str, module: torch.nn.Module) -> None:
        hooks.append(module.register_forward_hook(lambda _m, _i, out: keep(name, channels_last(out), once=True)))

    try:
        for name, layer in layers.items():
            (wrap if isinstance(layer, keras.layers.Layer) else hook)(name, layer)
        with suppress(_Enough):
            yield outputs
    finally:
        for layer, before in reversed(wrapped):
            if before is None:
                del layer.__dict__["call"]
            else:
                layer.__dict__["call"] = before
        for handle in hooks:
            handle.remove()


def channels_last(output: Any) -> Any:
    """A torch module's map as (batch, height, width, channels); what has not four axes stays as it is.

    Most modules give (batch, channels, height, width). Some give channels last, and nothing says which: a map that is
    square only with its channels last is taken for one of these.
    """
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        return output
    _, a, b, c = output.shape
    return output if a == b != c else output.permute(0, 2, 3, 1)
