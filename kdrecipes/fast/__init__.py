"""The fast path: native torch kernels on channels-last memory inside ordinary Keras layers.

Stock Keras on torch copies NHWC→NCHW→NHWC around every convolution and computes batch normalisation in a chain of
small operations. `accelerate` replaces the `call` of single layer instances; classes, weights, configuration and saved
files stay Keras' own.
"""

from __future__ import annotations

from kdrecipes.fast.layers import accelerate

__all__ = ["accelerate"]
