"""kdrecipes: knowledge distillation by recipe, with Keras 3 on PyTorch.

`kdrecipes run FILE` on the command line; `run(load_recipe("digits"))` in Python. The names below are the public ones;
those that need Keras are imported at their first use, so that validating a recipe stays fast, and needs no Keras.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if "keras" not in sys.modules:  # Keras reads this once, at import
    os.environ["KERAS_BACKEND"] = "torch"

from kdrecipes.components.hookspecs import Component, hookimpl
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, RecipeError, RunError, UsageError
from kdrecipes.extras import telling_what_is_missing

if TYPE_CHECKING:
    from kdrecipes.components.datasets.decoding import decode
    from kdrecipes.components.losses.dist import DIST
    from kdrecipes.components.losses.hint import Hint
    from kdrecipes.components.losses.kd import KD
    from kdrecipes.components.outputs import Outputs
    from kdrecipes.components.registry import component
    from kdrecipes.fast import accelerate
    from kdrecipes.recipe.load import load_recipe
    from kdrecipes.recipe.tables import Recipe
    from kdrecipes.runs.run import run
    from kdrecipes.runs.saved_student import SavedStudent, load_student
    from kdrecipes.training.distiller import Distiller
    from kdrecipes.training.projector import Projected

_LAZY = {
    "Distiller": "kdrecipes.training.distiller",
    "decode": "kdrecipes.components.datasets.decoding",
    "Outputs": "kdrecipes.components.outputs",
    "DIST": "kdrecipes.components.losses.dist",
    "KD": "kdrecipes.components.losses.kd",
    "Hint": "kdrecipes.components.losses.hint",
    "Projected": "kdrecipes.training.projector",
    "accelerate": "kdrecipes.fast",
    "Recipe": "kdrecipes.recipe.tables",
    "load_recipe": "kdrecipes.recipe.load",
    "component": "kdrecipes.components.registry",
    "run": "kdrecipes.runs.run",
    "load_student": "kdrecipes.runs.saved_student",
    "SavedStudent": "kdrecipes.runs.saved_student",
}

__all__ = [
    "DIST",
    "KD",
    "Component",
    "Distiller",
    "EnvironmentProblem",
    "Hint",
    "KDRecipesError",
    "Outputs",
    "Projected",
    "Recipe",
    "RecipeError",
    "RunError",
    "SavedStudent",
    "UsageError",
    "accelerate",
    "component",
    "decode",
    "hookimpl",
    "load_recipe",
    "load_student",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kdrecipes")
    if name in _LAZY:
        with telling_what_is_missing(f"kdrecipes.{name}"):
            value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kdrecipes' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names and no others, for whoever explores."""
    return sorted([*__all__, "__version__"])
