"""The components of kdrecipes-example: one of each kind, and a model in torch."""

from __future__ import annotations

from collections.abc import Iterable

import kdrecipes
from kdrecipes_example import callback, dataset, loss, model, torch_model


@kdrecipes.hookimpl
def kdrecipes_components() -> Iterable[kdrecipes.Component]:
    """What this plugin provides. Called whenever recipes are validated, so nothing here imports torch or keras."""
    yield model.COMPONENT
    yield torch_model.COMPONENT
    yield dataset.COMPONENT
    yield loss.COMPONENT
    yield callback.COMPONENT
