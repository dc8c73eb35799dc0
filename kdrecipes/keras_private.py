"""Every private thing of Keras 3.15 that kdrecipes touches: named here once, with why; all else uses only these names.

A release of Keras may change any of them. tests/ground/test_keras_private.py holds what is expected of each. This
module is below `backend`, which most code imports Keras from: `import kdrecipes` has chosen the backend by then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from operator import attrgetter
from typing import Any

import keras
import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.legacy.saving import legacy_h5_format
from keras.src.models.functional import Functional, operation_fn
from keras.src.random.seed_generator import global_seed_generator
from keras.src.saving import saving_lib
from keras.src.utils import module_utils, naming
from keras.src.utils.tracking import DotNotTrackScope

__all__ = [  # the first four are Keras' own, under its names
    "DotNotTrackScope",  # what is set on a layer inside it is no part of the layer: Keras has no public way to say so
    "Functional",  # `keras.Model` stands for subclassed models too
    "in_stateless_scope",  # only the scope is public, not the question whether one is open
    "operation_fn",  # how a graph hands `training` on to an operation; stepping through a graph has to do the same
]


# --- the process -----------------------------------------------------------------------------------------------------


def without_tensorflow() -> None:
    """Mark TensorFlow as unavailable to Keras; why: no setting keeps Keras from importing it where it is installed.

    It would whenever it serialises an object or seeds: seconds and gigabytes for nothing on the torch backend.
    """
    if "tensorflow" not in sys.modules:
        module_utils.tensorflow._available = False


def fresh_names() -> None:
    """Let Keras number unnamed layers from the start again; why: `clear_session` would drop all other state as well.

    So a model's layer names do not depend on what was built before it.
    """
    naming.reset_uids()


def global_seed() -> keras.Variable:
    """What Keras draws from where no seed is given; why: a state has to hold it, and nothing public gives it."""
    return global_seed_generator().state


def current_device() -> str:
    """Where Keras puts tensors here and now, e.g. "cpu" or "cuda"; why: `keras.device` sets it, nothing tells it."""
    from keras.src.backend.torch.core import get_device  # only here: on another backend `backend.check` has to speak

    return get_device()


# --- layers and models -----------------------------------------------------------------------------------------------


def flat_layers(layer: keras.layers.Layer) -> list[Any]:
    """A layer and all layers inside it, each once; why: `Model.layers` is one level, and layers have nothing public."""
    return layer._flatten_layers()


def inner_layers(layer: keras.layers.Layer) -> list[Any]:
    """The layers directly inside a layer; why: `layers` is for models alone."""
    return layer._flatten_layers(include_self=False, recursive=False)


def own_trainable(layer: keras.layers.Layer) -> list[Any]:
    """A layer's own trainable variables; why: `trainable_variables` holds those of the layers inside it as well."""
    return layer._trainable_variables


def added_losses(layers: Iterable[keras.layers.Layer]) -> list[Any]:
    """What the layers' last calls gave to `add_loss`; why: `losses` walks through all layers, in every step."""
    return [loss for layer in layers for loss in layer._losses]


def take_any_arguments(layer: keras.layers.Layer) -> None:
    """Let a layer be called with things that are no tensors; why: Keras refuses them, and nothing public allows it."""
    layer._allow_non_tensor_positional_args = True


def is_rematerialized(layer: keras.layers.Layer) -> bool:
    """Whether a layer was made in a `RematScope`; why: the scope acts inside `call`, and is told nowhere else."""
    return layer._remat_mode is not None


def kernel_variable(layer: keras.layers.Layer) -> Any:
    """A convolution's or dense layer's kernel as it is kept; why: `kernel` is a sum where there are LoRA weights."""
    return layer.kernel if type(layer) is keras.layers.DepthwiseConv2D else layer._kernel


def tensor_of(variable: keras.Variable) -> torch.nn.Parameter:
    """A variable's tensor itself; why: in an autocast, symbolic or stateless scope `value` is another one."""
    return variable._value


# --- training --------------------------------------------------------------------------------------------------------

compiled_metrics: Callable[[keras.Model], Any] = attrgetter("_compile_metrics")
"""The metrics given to `compile`, as one; why: `Model.metrics` mixes them with those of the layers."""

loss_tracker: Callable[[keras.Model], Any] = attrgetter("_loss_tracker")
"""The metric that holds a model's loss; why: Keras makes and resets one, and reads it nowhere else."""


def set_loss_tracker(model: keras.Model, metric: keras.metrics.Metric) -> None:
    """Give a compiled model another `loss_tracker`; why: Keras makes a slower one. As there, it is no part of it."""
    with DotNotTrackScope():
        model._loss_tracker = metric


# --- a graph of layers -----------------------------------------------------------------------------------------------

MASK = "_keras_mask"
"""A tensor's attribute that holds its mask; why: Keras gives masks along with tensors, and tells of them nowhere."""


def graph_of(model: keras.Model) -> Any:
    """The Functional model that a Sequential keeps inside, else the model; why: a Sequential computes by that one."""
    return getattr(model, "_functional", None) or model


def nodes_of(model: Functional) -> list[Any]:
    """The calls that make up a graph, without its inputs, each after what it reads; why: `operations` tells no calls.

    Read of each: `operation`, `arguments` (`args`, `kwargs`, `fill_in`), `input_tensors`, `outputs`.
    """
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def standardizer_of(model: Functional) -> Callable[[Any], list[Any]]:
    """From what a graph is called with to a flat list of tensors; why: it is a part of `call`, to be done likewise."""
    return model._standardize_inputs


def maker_of(tensor: keras.KerasTensor) -> Any:
    """The layer or operation that gave out a symbolic tensor; None without one; why: no public way back in a graph."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def sources_of(tensor: keras.KerasTensor) -> list[Any]:
    """The symbolic tensors that were read for this one by its `maker_of`; why: no public way back in a graph."""
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


# --- optimisers ------------------------------------------------------------------------------------------------------


def optimized(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """The variables that a built optimiser moves; why: `variables` are its own."""
    return optimizer._trainable_variables


def moments_of(adam: keras.optimizers.Adam) -> tuple[list[Any], list[Any]]:
    """A built Adam's moving means and moving squares, as `optimized`; why: `variables` tells them by names alone."""
    return adam._momentums, adam._velocities


def place_finder(optimizer: keras.optimizers.Optimizer) -> Callable[[keras.Variable], int]:
    """From a variable to its place in `optimized`; why: a step may be given fewer variables than it was built on."""
    return optimizer._get_variable_index


def decay_rule(optimizer: keras.optimizers.Optimizer) -> Callable[[keras.Variable], bool]:
    """Whether a variable decays; why: `exclude_from_weight_decay` is write-only."""
    return optimizer._use_weight_decay


def replace_update(
    optimizer: keras.optimizers.Optimizer, update: Callable[[list[torch.Tensor], list[Any], Any], None]
) -> None:
    """Let `update(gradients, variables, learning_rate)` do an optimiser's updates, weight decay included, in place.

    Why: what `apply` does around it (clipping, accumulation, schedules, averages) stays Keras'.
    """
    optimizer.__dict__["_backend_update_step"] = update
    optimizer.__dict__["_apply_weight_decay"] = lambda variables: None


# --- saving ----------------------------------------------------------------------------------------------------------


@contextmanager
def temporary_folders(make: Callable[[], str]) -> Iterator[None]:
    """In the block let `make` give each folder in which Keras unpacks or packs a file of a model, and removes it again.

    Why: Keras makes it where the system has its temporary files, and of a process that is killed it stays there.
    """
    before = saving_lib.get_temp_dir
    saving_lib.get_temp_dir = make
    try:
        yield
    finally:
        saving_lib.get_temp_dir = before


def divert_saving(kind: type, *, model: Callable[..., None], weights: Callable[..., None]) -> None:
    """Let Keras save models of a kind by `model(write, model, path)`, and their weights by `weights` likewise.

    `write(model, path)` is Keras' own way, of that call.

    Why: `keras.saving.save_model` asks a model for nothing before it has opened, and so emptied, the file. Other models
    are saved as before. Whatever a public function is called, it ends in one of these three.
    """

    def divert(module: Any, name: str, save: Callable[..., None]) -> None:
        stock = getattr(module, name)

        @wraps(stock)
        def saving(model: Any, filepath: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(model, kind):
                return stock(model, filepath, *args, **options)
            return save(lambda one, path: stock(one, path, *args, **options), model, filepath)

        setattr(module, name, saving)

    divert(saving_lib, "save_model", model)
    divert(legacy_h5_format, "save_model_to_hdf5", model)
    divert(saving_lib, "save_weights_only", weights)
