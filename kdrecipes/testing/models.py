"""`check_model`: from pixels to logits at every size asked for, trainable, repeatable, kept and reread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from kdrecipes import saved_models as students
from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.hookspecs import Component
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.build import build_model
from kdrecipes.testing.contract import broken, check_contract, data_of, trying
from kdrecipes.torch_modules import module_of, variables_of
from kdrecipes.training.inference import Inference, wide
from kdrecipes.training.last_activation import EndsInProbabilities


def check(
    component: Component, image_size: tuple[int, ...], classes: tuple[int, ...], options: Mapping[str, Any]
) -> None:
    """See `kdrecipes.testing.check_model`."""
    recipe = check_contract(component, "model", options)
    if "classes" not in component.options.get("properties", {}) and len(classes) > 1:
        rule = "must declare the option 'classes', which the run passes, or be checked with the one number it has"
        raise broken(component, rule, f"classes={classes}")
    sizes = zip_longest(image_size, classes)
    pairs = [(size or image_size[-1], count or classes[-1]) for size, count in sizes]
    for size, count in pairs:
        _check_logits(component, _built(component, recipe, size, count), size, count)
    size, count = pairs[0]
    model = _built(component, recipe, size, count)
    _check_repeatable(component, model, _built(component, recipe, size, count))
    _check_gradients(component, model, size)  # after this its statistics are its own
    _check_saved(component, model, lambda: _built(component, recipe, size, count, seed=1), size)


def _built(component: Component, recipe: Recipe, size: int, classes: int, seed: int = 0) -> keras.Model:
    seed_everything(seed)
    with trying(component, f"build(classes={classes}, image_size={size})"):
        (teacher,) = recipe.teachers.values()
        try:
            return build_model(recipe, teacher, data_of(classes, size))
        except RunError as error:  # its author is told of a model, not of a teacher
            if isinstance(cause := error.__cause__, EndsInProbabilities):
                raise EndsInProbabilities("model", cause.activation, cause.layer) from error
            raise


def _pixels(size: int) -> torch.Tensor:
    """A black image, a white one and a random one: float32 (3, size, size, 3) in 0–255."""
    random = torch.randint(0, 256, (1, size, size, 3), generator=torch.Generator().manual_seed(0)).float()
    images = torch.cat([torch.zeros_like(random), torch.full_like(random, 255), random])
    return keras.ops.convert_to_tensor(images)


def _logits(component: Component, model: keras.Model, images: torch.Tensor) -> torch.Tensor:
    with trying(component, f"calling it on {len(images)} images of {images.shape[1]} px"), torch.no_grad():
        return Inference(model)(images)


def _check_logits(component: Component, model: keras.Model, size: int, classes: int) -> None:
    taken = getattr(model, "input_shape", None)
    if isinstance(taken, tuple) and taken[1:] != (None, None, 3) and taken[1:] != (size, size, 3):
        raise broken(
            component, f"must take images ({size}, {size}, 3) where the run passes image_size={size}", taken[1:]
        )
    images = _pixels(size)
    together = _logits(component, model, images)
    for logits, batch in ((together, 3), (_logits(component, model, images[2:]), 1)):
        if tuple(logits.shape) != (batch, classes) or not logits.is_floating_point():
            rule = f"must give float logits ({batch}, {classes}) for {batch} images"
            raise broken(component, rule, f"{logits.dtype} {tuple(logits.shape)}")
    for name, row in zip(("a black", "a white", "a random"), together, strict=True):
        if not torch.isfinite(row).all():
            raise broken(component, f"must give finite logits for {name} image, pixels 0–255", row.tolist()[:3])
    probabilities = wide(together)
    if classes > 1 and (probabilities >= 0).all() and (probabilities.sum(1) - 1).abs().max() < 1e-3:
        raise broken(component, "must give logits, not probabilities", "rows that sum to 1")
    alone = _logits(component, model, images[2:])
    if not torch.allclose(wide(alone[0]), wide(together[2]), rtol=1e-3, atol=1e-3):
        apart = (alone[0] - together[2]).abs().max()
        raise broken(
            component, "an image's logits must not depend on the others in inference", f"{apart:.2g} apart in a batch"
        )


def _check_repeatable(component: Component, model: keras.Model, again: keras.Model) -> None:
    mine, theirs = ([variable.value for variable in variables_of(m)] for m in (model, again))
    if len(mine) != len(theirs) or not all(map(torch.equal, mine, theirs)):
        rule = "must start from the same weights when built twice after keras.utils.set_random_seed(0)"
        raise broken(component, rule, "other weights")


def _check_gradients(component: Component, model: keras.Model, size: int) -> None:
    images = _pixels(size)
    with trying(component, "a training step"):
        logits = wide(model(images, training=True))
        F.cross_entropy(logits, torch.arange(len(images), device=logits.device) % logits.shape[1]).backward()
    module = module_of(model)
    if module is not None:
        parameters = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    else:
        parameters = [(variable.path, variable.value) for variable in model.trainable_variables]
    for name, parameter in parameters:
        if parameter.grad is None:
            raise broken(component, f"every trainable variable must get a gradient; {name} gets none")
        if not torch.isfinite(parameter.grad).all():
            raise broken(component, f"gradients must be finite; that of {name} is not")


def _check_saved(component: Component, model: keras.Model, build: Callable[[], keras.Model], size: int) -> None:
    ending = students.ending_of(model)
    hint = " (custom layers need keras.saving.register_keras_serializable and a get_config)"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{ending}"
        with trying(component, f"saving it as {ending} and opening it again{hint if ending == '.keras' else ''}"):
            students.save(model, path)
            loaded = students.load(path, build)
    _compare(component, model, loaded, size, f"saved as {ending} and opened again")


def _compare(component: Component, model: keras.Model, other: keras.Model, size: int, how: str) -> None:
    images = _pixels(size)
    apart = (wide(_logits(component, model, images)) - wide(_logits(component, other, images))).abs().max()
    if not apart <= 1e-4:
        raise broken(component, f"{how} must give the same logits", f"{apart:.2g} apart")
