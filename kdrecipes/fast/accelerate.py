"""`accelerate` and `restore`: native calls on the instances of a model's layers and graphs, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.fast.convolution import is_depthwise, kernel_of
from kdrecipes.fast.graph import graph_call
from kdrecipes.fast.layout import Layout, Native, fits
from kdrecipes.fast.native import native
from kdrecipes.fast.plan import is_graph
from kdrecipes.keras_private import flat_layers, graph_of, in_stateless_scope

_MARK = "_kdrecipes_call"  # in an instance's __dict__, where neither Keras' tracking nor its saving looks


def accelerate(model: keras.Model) -> keras.Model:
    """Let torch's own kernels compute a Keras model, in place; useful to anybody who runs Keras on torch.

    Convolution, normalisation, pooling, activations and merges run on channels-last memory without layout copies, and
    a Functional model's graph runs as one flat list of them, nested models and blocks included. Classes, weights,
    configuration and saved files stay Keras' own; a layer, option or dtype that is not handled is left to Keras.
    Outputs, gradients and moving statistics are as near to exact arithmetic as stock Keras'.

    What `keras.models.clone_model`, `copy.deepcopy` or loading a saved file gives is a plain Keras model. Call it again
    after layers were changed (built, quantised, given LoRA weights). `restore` takes it back.

    Args:
        model: a built Keras model (or layer), float32; with other dtypes it stays as it is.

    Returns:
        The same model.
    """
    restore(model)
    natives = {layer: made for layer in flat_layers(model) if (made := native(layer)) is not None}
    for layer, made in natives.items():
        _relayout(layer, native_order=True)
        _set_call(layer, _layer_call(layer, made))
    for graph in _graphs(model):
        if is_graph(graph):
            _set_call(graph, graph_call(graph, natives, _is_own))
    return model


def restore(model: keras.Model) -> keras.Model:
    """Undo `accelerate`: every call is Keras' own again.

    Args:
        model: a model, accelerated or not.

    Returns:
        The same model.
    """
    for layer in {id(part): part for part in (*flat_layers(model), *_graphs(model))}.values():
        mark = layer.__dict__.pop(_MARK, None)
        if mark is not None:
            if layer.__dict__.get("call") is mark:
                del layer.__dict__["call"]
            _relayout(layer, native_order=False)
    return model


def accelerate_unless_changed(model: Any) -> None:
    """Accelerate a Keras model in place where nobody listens to its layers.

    A layer that was given a `call` of its own, or that has hooks, is somebody's: these would not be called any more.
    """
    if unchanged(model):
        accelerate(model)


def unchanged(model: Any) -> bool:
    """Whether a model is a built one of Keras, and no layer of it has a `call` of somebody else, or torch hooks."""
    return isinstance(model, keras.Model) and model.built and all(map(_is_own, flat_layers(model)))


def _graphs(model: Any) -> Iterator[Any]:
    """Functional models inside a model, itself included; a Sequential keeps its own in an attribute."""
    return map(graph_of, flat_layers(model))


def _set_call(layer: Any, call: Callable[..., Any]) -> None:
    layer.__dict__["call"] = layer.__dict__[_MARK] = call


def _is_own(layer: Any) -> bool:
    """Whether a layer's call is still ours, and no torch hook listens to it."""
    attributes = layer.__dict__
    return (
        attributes.get("call") is attributes.get(_MARK)
        and not attributes["_forward_hooks"]
        and not attributes["_forward_pre_hooks"]
        and not attributes["_backward_hooks"]
    )


def _layer_call(layer: Any, made: Native) -> Callable[..., Any]:
    """A layer's native `call`, for whoever calls the layer by itself."""
    stock = layer.call
    images_in, images_out = made.takes is Layout.IMAGE, made.gives is Layout.IMAGE

    def call(inputs: Any, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if (
            args
            or kwargs
            or mask is not None
            or not all(isinstance(x, torch.Tensor) and x.is_floating_point() and not x.is_meta for x in given)
            or not fits(made, [x.ndim for x in given])
            or in_stateless_scope()
        ):
            optional = {"training": training, "mask": mask}
            kwargs |= {name: value for name, value in optional.items() if value is not None}
            return stock(inputs, *args, **kwargs)
        if images_in and given[0].ndim == 4:
            given = [x.permute(0, 3, 1, 2) for x in given]
        y = made.function(given if isinstance(inputs, list | tuple) else given[0], bool(training))
        return y.permute(0, 2, 3, 1) if images_out and y.ndim == 4 else y

    return call


def _relayout(layer: Any, native_order: bool) -> None:
    """Keep a convolution's kernel in the memory order torch computes in, or Keras' own; values and shape stay."""
    kernel = kernel_of(layer)
    if kernel is None:
        return
    if native_order:
        memory = torch.contiguous_format if is_depthwise(layer) else torch.channels_last
        order, back = ((2, 3, 0, 1),) * 2 if is_depthwise(layer) else ((3, 2, 0, 1), (2, 3, 1, 0))
        kernel.data = kernel.data.permute(order).contiguous(memory_format=memory).permute(back)
    else:
        kernel.data = kernel.data.contiguous()
