"""The fast path: native torch kernels on channels-last memory inside ordinary Keras models.

Stock Keras on torch copies NHWC→NCHW→NHWC around every convolution, computes batch normalisation in a chain of small
operations and goes through many Python calls for every layer. `accelerate` replaces the `call` of single layer and
graph instances; classes, weights, configuration and saved files stay Keras' own.
"""

from __future__ import annotations

from kdrecipes.fast.accelerate import accelerate, restore
from kdrecipes.fast.frozen import frozen
from kdrecipes.fast.optimizers import accelerate_optimizer

__all__ = ["accelerate", "accelerate_optimizer", "frozen", "restore"]
