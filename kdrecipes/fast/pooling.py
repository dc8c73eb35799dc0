"""Pooling, merges and changes of shape by torch's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes.backend import keras
from kdrecipes.fast.convolution import pad_same
from kdrecipes.fast.layout import Layout, Native

layers = keras.layers


def _pooling(layer: Any) -> Native | None:
    size, strides = layer.pool_size, layer.strides
    if layer.padding not in ("same", "valid"):
        return None
    same = layer.padding == "same"

    def function(x: Any, training: bool | None) -> Any:
        padding = (0, 0)
        if same:  # where the sides differ Keras on torch repeats the edge
            x, padding = pad_same(x, size, strides, (1, 1), mode="replicate")
        if type(layer) is layers.MaxPooling2D:
            return F.max_pool2d(x, size, strides, padding)
        return F.avg_pool2d(x, size, strides, padding, count_include_pad=False)

    return Native(function, Layout.IMAGE, Layout.IMAGE)


def _global_pooling(layer: Any) -> Native:
    keep = layer.keepdims
    if type(layer) is layers.GlobalAveragePooling2D:
        return Native(
            lambda x, training: x.mean((2, 3), keepdim=keep), Layout.IMAGE, Layout.IMAGE if keep else Layout.KERAS
        )
    return Native(
        lambda x, training: x.amax((2, 3), keepdim=keep), Layout.IMAGE, Layout.IMAGE if keep else Layout.KERAS
    )


def _reshape(layer: Any) -> Native:
    return Native(lambda x, training: x.reshape(x.shape[0], *layer.target_shape), Layout.KERAS, Layout.KERAS)


def _add(layer: Any) -> Native:
    def function(x: Any, training: bool | None) -> Any:
        total = x[0] + x[1]
        for more in x[2:]:
            total = total + more
        return total

    return Native(function, Layout.ANY, Layout.ANY, leaves=True)


def _multiply(layer: Any) -> Native:
    def function(x: Any, training: bool | None) -> Any:
        product = x[0] * x[1]
        for more in x[2:]:
            product = product * more
        return product

    return Native(function, Layout.ANY, Layout.ANY)


def _concatenate(layer: Any) -> Native | None:
    if layer.axis not in (-1, 3):
        return None
    return Native(lambda x, training: torch.cat(x, 1), Layout.IMAGE, Layout.IMAGE)


MAKERS: dict[type, Callable[[Any], Native | None]] = {
    layers.MaxPooling2D: _pooling,
    layers.AveragePooling2D: _pooling,
    layers.GlobalAveragePooling2D: _global_pooling,
    layers.GlobalMaxPooling2D: _global_pooling,
    layers.Reshape: _reshape,
    layers.Add: _add,
    layers.Multiply: _multiply,
    layers.Concatenate: _concatenate,
}
