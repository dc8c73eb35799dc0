"""How right accelerated layers and models are: they and stock Keras are measured against the same in float64."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from kdrecipes.backend import keras

ROUNDING = 1e-5  # of a tensor's largest magnitude: an error up to this is rounding, however small stock Keras' is

Outcome = dict[str, torch.Tensor]


class Call(NamedTuple):
    """One call of a layer or model: positional and keyword arguments, tensors detached."""

    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


# --- models and their layers -----------------------------------------------------------------------------------------


def is_fast(layer: Any) -> bool:
    """Whether a layer's call was replaced."""
    return "call" in layer.__dict__


def layers_of(model: Any) -> list[Any]:
    """Every layer that computes, sublayers of nested models and of subclassed layers included."""
    return [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]


def pixels(batch: int, size: int, seed: int = 0) -> torch.Tensor:
    """Random images as the models take them: (batch, size, size, 3), float32 in 0–255."""
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(seed)) * 255


def as_inputs(model: Any, images: torch.Tensor) -> Any:
    """Images in the structure that a model with one input names: a tensor or a dict of it."""
    struct = getattr(model, "_inputs_struct", None)
    return dict.fromkeys(struct, images) if isinstance(struct, dict) else images


def randomise(layer: Any, seed: int = 0) -> None:
    """Give biases, scales and statistics other values than their neutral initial ones; kernels keep theirs."""
    generator = torch.Generator().manual_seed(seed)
    for variable in layer.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(torch.rand(variable.shape, generator=generator) + 0.5)
        elif variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(torch.rand(variable.shape, generator=generator) - 0.5)


def forget_past_statistics(model: Any) -> None:
    """Let every batch normalisation keep the statistics of the last batch alone, so that they can be compared."""
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0


@contextmanager
def kept_variables(layer: Any) -> Iterator[None]:
    """Put back afterwards what a call changes: a layer's or model's statistics and the states of random generators."""
    trained = {id(variable) for variable in layer.trainable_variables}
    before = [(v, v.value.detach().clone()) for v in layer.variables if id(v) not in trained]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def copy_variables(source: Any, target: Any) -> None:
    """Give one layer or model the variables of another of the same making, random generators' states too."""
    for mine, theirs in zip(target.variables, source.variables, strict=True):
        mine.assign(theirs.value)


@contextmanager
def in_float64() -> Iterator[None]:
    """Let Keras build and compute in float64.

    Asking for the dtype is not enough: on torch its type promotion makes float64 float32, in normalisation too.
    """
    before = keras.config.floatx(), keras.config.dtype_policy(), BIT64_TO_BIT32_DTYPE["float64"]
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
        BIT64_TO_BIT32_DTYPE["float64"] = before[2]


# --- one call, measured ----------------------------------------------------------------------------------------------


def outcome(call: Call, training: bool) -> Outcome:
    """Outputs, gradients from a random cotangent, and statistics after one call; the layer is left as it was.

    The arguments are taken in the layer's own dtype.
    """
    layer = call.layer
    dtype = getattr(torch, layer.compute_dtype)
    inputs: list[torch.Tensor] = []

    def own(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            return x
        inputs.append(x.to(dtype).requires_grad_())
        return inputs[-1]

    args, kwargs = keras.tree.map_structure(own, (call.args, call.kwargs))
    if layer._call_has_training_arg:
        kwargs["training"] = training
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)  # for dropout
    with kept_variables(layer):
        outputs = keras.tree.flatten(layer(*args, **kwargs))
        cotangents = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
        weights = layer.trainable_variables
        sources = [*inputs, *(w.value for w in weights)]
        gradients = torch.autograd.grad(outputs, sources, cotangents, allow_unused=True)
        found = {f"output {i}": y for i, y in enumerate(outputs)}
        names = [
            *(f"input {i}" for i in range(len(inputs))),
            *(f"{w.name} (weight {i})" for i, w in enumerate(weights)),
        ]
        found |= {f"gradient of {n}": g for n, g in zip(names, gradients, strict=True) if g is not None}
        found |= {f"{v.name} ({i}) after the call": v.value for i, v in enumerate(layer.non_trainable_variables)}
        return {name: value.detach().clone() for name, value in found.items()}


def too_far(
    fast: Outcome, stock: Outcome, truth: Outcome, rounding: float = ROUNDING, times: float = 1.0, least: float = 0.0
) -> list[str]:
    """What is further from float64 than allowed: one line a tensor, none when all is well.

    Args:
        rounding: what is allowed however near stock Keras is, as a share of the tensor's largest magnitude.
        times: how many times stock Keras' own error is allowed.
        least: a gradient's magnitude counts as at least this share of the largest gradient's. The gradient of a bias
            before a batch normalisation is 0, and what is computed for it is the rounding of what cancels.
    """
    if not fast.keys() == stock.keys() == truth.keys():
        return [f"other tensors: {sorted(fast)}, stock {sorted(stock)}, float64 {sorted(truth)}"]
    gradients = [float(value.abs().max()) for name, value in truth.items() if is_gradient(name) and value.numel()]
    smallest = least * max(gradients, default=0.0)
    lines = []
    for name, right in truth.items():
        if fast[name].shape != right.shape or fast[name].dtype != stock[name].dtype:
            lines.append(f"{name}: {fast[name].dtype} {tuple(fast[name].shape)}, expected {tuple(right.shape)}")
            continue
        if not right.numel():
            continue
        largest = max(float(right.abs().max()), smallest if is_gradient(name) else 0.0)
        error, own = (float((x[name].double() - right.double()).abs().max()) for x in (fast, stock))
        if not error <= max(times * own, rounding * largest):  # also for NaN
            lines.append(f"{name}: error {error:.2e}, stock Keras' {own:.2e}; largest magnitude {largest:.2e}")
    return lines


def is_gradient(name: str) -> bool:
    """Whether a tensor of an outcome is a gradient."""
    return name.startswith("gradient")


# --- single layers of a model ----------------------------------------------------------------------------------------


def recorded_calls(model: Any, images: torch.Tensor) -> list[Call]:
    """Calls of Keras' own layers in a stock model: of each (class, options, height and width of inputs) the first one
    and the one with most weights, by which layers differ that are wider and no more.

    It runs in training mode: batch normalisation then keeps the inputs of every layer at a realistic scale.
    """
    calls: dict[str, list[Call]] = {}

    def recorder(layer: Any) -> Callable[..., Any]:
        stock = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            this = Call(layer, *keras.tree.map_structure(_detached, (args, kwargs)))
            sizes = keras.tree.map_structure(lambda x: str(getattr(x, "shape", (x,))[:-1]), this[1:])
            alike = calls.setdefault(f"{type(layer)} {options[layer]} {sizes}", [])
            if len(alike) < 2:
                alike.append(this)
            elif layer.count_params() > alike[1].layer.count_params():
                alike[1] = this
            return stock(*args, **kwargs)

        return call

    layers = [layer for layer in layers_of(model) if type(layer).__module__.startswith("keras.")]
    options = {layer: description(layer, widths=False) for layer in layers}
    with kept_variables(model), torch.no_grad():
        for layer in layers:
            layer.__dict__["call"] = recorder(layer)
        try:
            model(as_inputs(model, images), training=True)
        finally:
            for layer in layers:
                del layer.__dict__["call"]
    return [call for alike in calls.values() for call in alike]


def description(layer: Any, widths: bool = True) -> str:
    """A layer's options, for messages and to tell which layers are alike; without its numbers of channels if wished."""
    left_out = ["name", "trainable", "dtype", "build_config", "seed"]
    left_out += [] if widths else ["filters", "units", "target_shape"]
    ends = ("initializer", "regularizer", "constraint")
    try:
        options = {k: v for k, v in layer.get_config().items() if k not in left_out and not k.endswith(ends)}
    except NotImplementedError:  # KerasHub gives some layers arguments that cannot be written down
        return layer.name
    if not widths and "groups" in options:
        options["groups"] = min(options["groups"], 2)
    return json.dumps(options, default=str, sort_keys=True)


def copy_of(layer: Any, dtype: str) -> Any:
    """A plain Keras layer with the same configuration and variables, computing in `dtype`."""
    config = layer.get_config() | {"dtype": dtype}
    zeros = {key: "zeros" for key in config if key.endswith("_initializer")}  # random ones take most of the time
    copy = type(layer).from_config(config | zeros)
    copy.build_from_config(layer.get_build_config())
    copy_variables(layer, copy)
    return copy


def problems(call: Call) -> list[str]:
    """Everything in which an accelerated layer is further from float64 than allowed, as lines for a message."""
    layer = call.layer
    stock = copy_of(layer, "float32")
    with in_float64():
        wide = copy_of(layer, "float64")
    lines = []
    for training in (False, True) if layer._call_has_training_arg else (False,):
        mine, theirs = (outcome(call._replace(layer=x), training) for x in (layer, stock))
        if layer._seed_generators:  # in float64 it would draw other random numbers
            truth = {name: value.double() for name, value in theirs.items()}
        else:
            with in_float64():
                truth = outcome(call._replace(layer=wide), training)
        found = too_far(mine, theirs, truth)
        if found:
            shapes = keras.tree.map_structure(lambda x: str(tuple(getattr(x, "shape", ()))), call.args)
            mode = "training" if training else "inference"
            lines.append(f"{layer.path or layer.name}: {type(layer).__name__}{shapes} in {mode}, {description(layer)}")
            lines += [f"    {line}" for line in found]
    return lines


def _detached(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, torch.Tensor) else x


# --- whole models ----------------------------------------------------------------------------------------------------


def prediction(model: Any, images: torch.Tensor, training: bool) -> Outcome:
    """What a model gives, and the statistics that it has after training mode."""
    torch.manual_seed(0)  # for dropout
    with torch.no_grad():
        outputs = keras.tree.flatten(model(as_inputs(model, images), training=training))
    statistics = [v for v in model.non_trainable_variables if training and v.value.is_floating_point()]
    return {f"output {i}": y for i, y in enumerate(outputs)} | {v.path: v.value.clone() for v in statistics}


def difference(mine: Outcome, theirs: Outcome) -> tuple[float, str]:
    """The largest difference, relative to its tensor's largest magnitude, and that tensor's name; NaN counts as ∞."""
    worst = (0.0, "nothing")
    for name, value in theirs.items():
        largest = float((mine[name].double() - value.double()).abs().max())
        relative = largest / max(float(value.abs().max()), 1e-30) if largest else 0.0
        worst = max(worst, (relative if relative == relative else float("inf"), name))
    return worst
