"""The fast path: torch's own kernels on channels-last memory inside ordinary Keras models; useful without the rest.

Import `accelerate`, `restore`, `frozen` and `accelerate_optimizer` from here, and `compiled` from `fast.compiled`.
It stands on the ground (`backend`, `keras_private`, `layers`) alone; `training` uses it.
"""

from __future__ import annotations

from kdrecipes.fast.accelerate import accelerate, restore
from kdrecipes.fast.frozen import frozen
from kdrecipes.fast.optimizers import accelerate_optimizer

__all__ = ["accelerate", "accelerate_optimizer", "frozen", "restore"]
