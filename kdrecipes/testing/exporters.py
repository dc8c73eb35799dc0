"""`check_exporter`: a small network goes into a file and comes back the same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models import cnn
from kdrecipes.components.rebuilt import logits_of
from kdrecipes.components.registry import load_registry
from kdrecipes.disk.saved_facts import SavedFacts, write_beside
from kdrecipes.errors import KDRecipesError
from kdrecipes.runs.export import TOLERANCE, logits_of_file
from kdrecipes.testing.contract import broken, check_unnamed, trying

_CLASSES, _SIZE, _WIDTH = 3, 8, 4
_NAMES = ["cat", "dög", "owl 3"]
_ATTRIBUTES = {"suffix": str, "extra": str, "to_write": tuple, "to_read": tuple}


def check(component: Component, options: Mapping[str, Any]) -> None:
    """See `kdrecipes.testing.check_exporter`."""
    check_unnamed(component, "exporter", options)
    with trying(component, "build"):
        exporter = component.build(**options)
    for name, kind in _ATTRIBUTES.items():
        if not isinstance(found := getattr(exporter, name, None), kind):
            raise broken(component, f"what build gives needs {name}, a {kind.__name__}", repr(found))
    if not exporter.suffix.startswith("."):
        raise broken(component, "its suffix must begin with a dot", repr(exporter.suffix))
    for name in ("export", "load"):
        if not callable(getattr(exporter, name, None)):
            raise broken(component, f"what build gives needs the method {name}", type(exporter).__name__)
    seed_everything(0)
    model = cnn.build(classes=_CLASSES, image_size=_SIZE, width=_WIDTH, depth=1)
    images = np.random.default_rng(0).integers(0, 256, (8, _SIZE, _SIZE, 3)).astype(np.float32)
    here = logits_of(model)(images)
    with tempfile.TemporaryDirectory() as folder, keras.device("cpu"):
        file = Path(folder) / f"network{exporter.suffix}"
        with trying(component, "export"):
            exporter.export(model, file, images, _NAMES)
        if not file.is_file():
            raise broken(component, f"export must write the file that it is given, {file.name}")
        if not np.array_equal(logits_of(model)(images), here):
            raise broken(component, "export must leave the network as it is")
        options_of_cnn = {"width": _WIDTH, "depth": 1}
        facts = SavedFacts(_NAMES, _SIZE, "squash", _SIZE, "cnn", options_of_cnn, "0" * 64, [255, 255, 255], 10**6)
        write_beside(file, facts)
        with trying(component, "load"):
            predict = exporter.load(file)
            answers = [np.asarray(predict(images[:count])) for count in (1, 3, 8)]
        for answer in answers:
            _check_answer(component, answer, here, exact=getattr(exporter, "exact", True))
        if load_registry().get("exporter", component.name) is not component:
            return  # not installed, so that another process does not know it
        try:
            there = logits_of_file(component.name, options, (), file, images)
        except KDRecipesError as error:
            raise broken(component, "load must work in another process", error) from error
        if not np.allclose(there, answers[-1], atol=1e-6):
            raise broken(component, "load must give the same logits in another process")


def _check_answer(component: Component, answer: np.ndarray, here: np.ndarray, *, exact: bool) -> None:
    count = len(answer)
    if answer.shape != (count, _CLASSES) or answer.dtype != np.float32:
        rule = f"the logits of {count} images must be float32 ({count}, {_CLASSES})"
        raise broken(component, rule, f"{answer.dtype} {answer.shape}")
    difference = float(np.abs(answer - here[:count]).max())
    if exact and difference > TOLERANCE * max(1.0, float(np.abs(here).max())):
        raise broken(component, "the logits must be the network's", f"differ by {difference:.2g}")
