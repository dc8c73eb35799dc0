"""Reading inner layers' outputs from the one forward pass that happens anyway, nested models included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import inner_layers
from kdrecipes.wording import nearest


def layer_paths(model: Any) -> dict[str, Any]:
    """Every layer of a model by its path: `"backbone/block_3"` for a layer of the nested model `backbone`."""
    found: dict[str, Any] = {}

    def walk(owner: Any, prefix: str) -> None:
        layers = owner.layers if isinstance(owner, keras.Model) else inner_layers(owner)
        for layer in layers:
            path = prefix + layer.name
            found.setdefault(path, layer)
            walk(layer, path + "/")

    if isinstance(model, keras.layers.Layer):
        walk(model, "")
    else:
        found = {name.replace(".", "/"): module for name, module in model.named_modules() if name}
    return found


def find_layer(model: Any, name: str) -> Any:
    """The layer at a path, or the only one of that name at any depth.

    Raises:
        ValueError: when there is none, or several; the message names the nearest.
    """
    paths = layer_paths(model)
    path = name if isinstance(model, keras.layers.Layer) else name.replace(".", "/")
    if path in paths:
        return paths[path]
    endings = {id(layer): ending for ending, layer in paths.items() if ending.endswith("/" + path)}
    if len(endings) == 1:
        return paths[next(iter(endings.values()))]
    owner = getattr(model, "name", type(model).__name__)
    if endings:
        several = ", ".join(list(endings.values())[:5])
        raise ValueError(f"{owner!r} has several layers called {name!r}: {several}. Give the whole path.")
    bare = {ending.rsplit("/", 1)[-1]: ending for ending in paths}
    near = nearest(path, paths) or bare.get(nearest(path, bare), "")
    hint = f"Did you mean {near!r}?" if near else f"It has: {', '.join(list(paths)[:12])} …"
    raise ValueError(f"{owner!r} has no layer {name!r}. {hint}")


class Tapped(dict[str, torch.Tensor]):
    """Layers' outputs by name, and how often the layers were called in all."""

    calls = 0


class _Enough(BaseException):
    """Ends a forward pass. No `Exception`: nobody who handles errors, or adds to their messages, shall see it."""


@contextmanager
def tapped(layers: Mapping[str, Any], stop_after: int | None = None) -> Iterator[Tapped]:
    """While the block runs, collect what each of `layers` returns, by name.

    Keras' `Layer.__call__` goes past torch's forward hooks, so a Keras layer's `call` is wrapped on the instance; torch
    modules get a hook. A layer called twice keeps its last output.

    Args:
        layers: by name.
        stop_after: calls of `layers` after which the block ends, wherever it is; None lets it run to its end.

    Raises:
        ValueError: at the block's end, when a layer was not called.
    """
    outputs = Tapped()
    hooks, wrapped = [], []

    def keep(name: str, output: torch.Tensor) -> None:
        outputs[name] = output
        outputs.calls += 1
        if outputs.calls == stop_after:
            raise _Enough

    def wrap(name: str, layer: Any) -> None:
        before, call = layer.__dict__.get("call"), layer.call

        def recording(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            keep(name, output)
            return output

        layer.__dict__["call"] = recording
        wrapped.append((layer, before))

    try:
        for name, layer in layers.items():
            if isinstance(layer, keras.layers.Layer):
                wrap(name, layer)
            else:
                hooks.append(layer.register_forward_hook(lambda _m, _i, out, name=name: keep(name, out)))
        with suppress(_Enough):
            yield outputs
        if len(outputs) < len(layers):
            silent = next(name for name in layers if name not in outputs)
            raise ValueError(f"Layer {silent!r} was not called in the forward pass: it has no output to read.")
    finally:
        for layer, before in reversed(wrapped):
            if before is None:
                del layer.__dict__["call"]
            else:
                layer.__dict__["call"] = before
        for hook in hooks:
            hook.remove()
