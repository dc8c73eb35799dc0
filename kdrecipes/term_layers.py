"""Layers that distillation terms learn or keep: vectors and numbers, a chain of layers, draws of a term's own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from kdrecipes.backend import keras


def dtype_of(tensor: torch.Tensor) -> str:
    """What a term's layers compute in: "float64" beside float64, else "float32"."""
    return "float64" if tensor.dtype == torch.float64 else "float32"


class Values(keras.layers.Layer):
    """Numbers that a term learns, or keeps between its calls, under `values`.

    Args:
        shape: of the numbers.
        initializer: as for a Keras layer's weight.
        trainable: whether the optimiser moves them.
        dtype: of the numbers; "int64" for what is no number with a gradient.
        name: of the layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        initializer: Any = "zeros",
        *,
        trainable: bool = True,
        dtype: str = "float32",
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32" if dtype.startswith("int") else dtype)
        self.values = self.add_weight(
            shape=tuple(shape), initializer=initializer, trainable=trainable, dtype=dtype, autocast=False, name="values"
        )
        self.built = True

    @property
    def tensor(self) -> torch.Tensor:
        """The numbers themselves, with their gradient where they are learnt."""
        value: torch.Tensor = self.values.value
        return value


class Linear(keras.layers.Layer):
    """A linear map of the last axis, on maps a 1×1 convolution; in float64 too, where Keras' Dense gives float32.

    Args:
        width: of the last axis afterwards.
        use_bias: whether to add a number to each.
        dtype: of the weights; the inputs are cast to it.
        name: of the layer.
    """

    def __init__(self, width: int, *, use_bias: bool = False, dtype: str = "float32", name: str | None = None):
        super().__init__(name=name, dtype=dtype)
        self.width, self.use_bias = width, use_bias

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.width), name="kernel")
        self.bias = self.add_weight(shape=(self.width,), initializer="zeros", name="bias") if self.use_bias else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's, with another last axis."""
        return (*input_shape[:-1], self.width)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """From (…, channels) to (…, width)."""
        mapped = inputs @ self.kernel.value
        return mapped if self.bias is None else mapped + self.bias.value


class Normalization(keras.layers.Layer):
    """Batch normalisation by the statistics of the batch; it keeps none, for a term is asked in training alone.

    Args:
        dtype: of the weights; the inputs are cast to it.
        name: of the layer.
    """

    def __init__(self, *, dtype: str = "float32", name: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """From (…, channels) to the same; a single vector, which has no spread, becomes beta."""
        rows, gamma, beta = inputs.reshape(-1, inputs.shape[-1]), self.gamma.value, self.beta.value
        if len(rows) == 1:
            return 0 * inputs + beta
        return torch.nn.functional.batch_norm(rows, None, None, gamma, beta, training=True).reshape(inputs.shape)


class Chain(keras.layers.Layer):
    """Layers one after the other.

    Args:
        *links: layers that compute in one dtype.
        name: of the layer.
    """

    def __init__(self, *links: keras.layers.Layer, name: str | None = None):
        super().__init__(name=name, dtype=links[0].dtype_policy)
        self.links = list(links)

    def build(self, input_shape: Any) -> None:
        """Build each link for what the one before it gives."""
        for link in self.links:
            if not link.built:
                link.build(input_shape)
            input_shape = link.compute_output_shape(input_shape)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        """From the first link's input to the last link's output."""
        for link in self.links:
            inputs = link(inputs)
        return inputs


class Draws(keras.layers.Layer):
    """Whole numbers at random, from a generator whose state is a weight: so it is in every state and file of weights.

    Args:
        seed: from 0 to 2^31 - 1; two layers of one seed draw the same. None takes one from Python's generator, which
            `keras.utils.set_random_seed` seeds.
        name: of the layer.
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        start = random.randrange(2**31) if seed is None else seed
        self.state = self.add_weight(shape=(2,), initializer="zeros", trainable=False, dtype="int64", name="state")
        self.state.assign([start, 0])  # the seed, and how often it was asked
        self.built = True

    def integers(self, shape: Sequence[int], below: int) -> torch.Tensor:
        """int64 numbers from 0 to `below` - 1, evenly, where the state is."""
        seed, asked = self.state.value.tolist()
        generator = torch.Generator(self.state.value.device).manual_seed(seed * 2**31 + asked)
        self.state.assign([seed, asked + 1])
        return torch.randint(below, tuple(shape), generator=generator, device=generator.device)
