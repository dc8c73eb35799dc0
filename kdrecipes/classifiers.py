"""A network's classifier: the last layer of its graph, from features to logits, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.keras_private import graph_of, maker_of, nodes_of, sources_of
from kdrecipes.layer_names import layer_named
from kdrecipes.layers import Reordered

_SAME_LOGITS = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity)
_SAME_FEATURES = (keras.layers.Dropout, keras.layers.Identity)  # in inference
_RULE = "a Dense layer without an activation, or a 1×1 convolution of one pixel, must give its logits"


@dataclass(frozen=True)
class Spot:
    """A tensor in the graph of a network.

    Attributes:
        models: the network, and the models inside each other that lead to the tensor; the last one holds it.
        calls: what each of them but the first gives to the one around it, symbolic.
        tensor: symbolic, in the last model.
    """

    models: tuple[Any, ...]
    calls: tuple[Any, ...]
    tensor: Any

    @property
    def maker(self) -> Any:
        """The layer or operation that gives out the tensor."""
        return maker_of(self.tensor)

    @property
    def path(self) -> str:
        """The maker's name, after those of the models inside the network."""
        return "/".join([*(model.name for model in self.models[1:]), self.maker.name])

    def settled(self) -> Spot:
        """The same values where the innermost model makes them."""
        spot = self
        while _is_graph(spot.maker):
            inner = spot.maker
            spot = Spot((*spot.models, inner), (*spot.calls, spot.tensor), graph_of(inner).outputs[0])
        return spot

    def before(self) -> Spot:
        """What the maker reads first."""
        spot = Spot(self.models, self.calls, sources_of(self.tensor)[0])
        while len(spot.models) > 1 and isinstance(spot.maker, keras.layers.InputLayer):
            spot = Spot(spot.models[:-1], spot.calls[:-1], sources_of(spot.calls[-1])[0])
        return spot.settled()

    def features(self) -> Spot:
        """The same, before what only acts in training."""
        spot = self
        while isinstance(spot.maker, _SAME_FEATURES):
            spot = spot.before()
        return spot

    def before_pooling(self) -> Spot:
        """The map whose mean this is, where it is one; else the same."""
        return self.before().features() if isinstance(self.maker, keras.layers.GlobalAveragePooling2D) else self

    def cut(self) -> tuple[Any, Any]:
        """The network's input, and the tensor as a tensor of the network's own graph; layers are shared."""
        tensor = self.tensor
        for model, call in zip(reversed(self.models[1:]), reversed(self.calls), strict=True):
            inner = keras.Model(graph_of(model).inputs, tensor, name=model.name)
            tensor = inner(sources_of(call)[0])
        return graph_of(self.models[0]).inputs, tensor


@dataclass(frozen=True)
class Classifier:
    """What `classifier_of` found.

    Attributes:
        layer: a Dense layer or a 1×1 convolution.
        order: the network's output number i is the layer's number `order[i]`; None: as they are.
        reads: the features that it reads, before any dropout.
    """

    layer: Any
    order: Sequence[int] | None
    reads: Spot

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernel (features, classes) and bias (classes,), as they are now, in the order of the outputs; to be read."""
        kernel = self.layer.kernel
        kernel = (kernel.value if isinstance(kernel, keras.Variable) else kernel).detach()
        kernel = kernel.reshape(-1, kernel.shape[-1])
        bias = kernel.new_zeros(kernel.shape[1]) if self.layer.bias is None else self.layer.bias.value.detach()
        return (kernel, bias) if self.order is None else (kernel[:, list(self.order)], bias[list(self.order)])

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of features (batch, features), in their dtype; the weights get no gradient."""
        kernel, bias = (weight.to(features.dtype) for weight in self.weights())
        return features @ kernel + bias


def classifier_of(model: Any, role: str) -> Classifier:
    """The layer that gives a network's logits.

    Args:
        model: from images to logits.
        role: what it is in the distillation, for messages.

    Raises:
        ValueError: when the network is no graph of Keras' layers, or ends in another layer.
    """
    if not _is_graph(model):
        kind = "a torch module" if isinstance(model, torch.nn.Module) and not isinstance(model, keras.Model) else ""
        kind = kind or f"{type(model).__name__}, which is no graph of layers"
        raise ValueError(f"The {role}'s classifier can't be found: {_RULE}. Received: {kind}")
    spot, order = Spot((model,), (), graph_of(model).outputs[0]).settled(), None
    while True:
        maker = spot.maker
        if isinstance(maker, Reordered):
            order = maker.order if order is None else [maker.order[i] for i in order]
        elif _is_linear(maker) and isinstance(maker, keras.layers.Dense | keras.layers.Conv2D):
            if isinstance(maker, keras.layers.Dense) or _is_of_one_pixel(maker, spot):
                return Classifier(maker, order, spot.before().features())
            break
        elif not isinstance(maker, _SAME_LOGITS) and not (
            isinstance(maker, keras.layers.Activation) and _is_linear(maker)
        ):
            break
        spot = spot.before()
    what = "a torch module" if isinstance(maker, keras.layers.TorchModuleWrapper) else type(maker).__name__
    if isinstance(getattr(maker, "activation", None), type(keras.activations.relu)) and not _is_linear(maker):
        what += f" with the activation {maker.activation.__name__}"
    raise ValueError(f"The {role}'s classifier can't be found: {_RULE}. Received: {what} ({maker.name!r})")


def layer_at(spot: Spot, role: str, key: str) -> str:
    """The path of the layer that gives out a tensor.

    Args:
        spot: of the tensor.
        role: of the network, and `key`: of a recipe that names its layers, for messages.

    Raises:
        ValueError: when an operation gives it out that is no layer.
    """
    if isinstance(spot.maker, keras.layers.InputLayer) or not isinstance(spot.maker, keras.layers.Layer):
        raise ValueError(
            f"What the {role}'s classifier reads is given out by no layer ({spot.maker.name!r}): name one in {key}."
        )
    return spot.path


def spot_named(model: Any, name: str, role: str) -> Spot:
    """What a layer gives out, found by its path, by its name or by a glob, where one layer alone has it.

    Raises:
        ValueError: when there is none, or several.
    """
    spots = {spot.path: spot for spot in _spots(Spot((model,), (), None))}
    found: Spot = layer_named(name, spots, f"The {role}", " in its graph")
    return found.settled()


def _spots(inside: Spot) -> Iterator[Spot]:
    """What each layer in a model gives out; of one that is called twice, the last."""
    for node in nodes_of(graph_of(inside.models[-1])):
        spot = Spot(inside.models, inside.calls, node.outputs[0])
        yield spot
        if _is_graph(spot.maker):
            yield from _spots(Spot((*spot.models, spot.maker), (*spot.calls, spot.tensor), None))


def _is_graph(model: Any) -> bool:
    return isinstance(model, keras.Model) and bool(getattr(model, "outputs", None))


def _is_linear(layer: Any) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def _is_of_one_pixel(layer: Any, spot: Spot) -> bool:
    return tuple(layer.kernel_size) == (1, 1) and tuple(sources_of(spot.tensor)[0].shape[1:3]) == (1, 1)
