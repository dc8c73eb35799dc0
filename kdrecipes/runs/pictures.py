"""facts/pictures.npz: small images of the report's page, of test and of training, as the networks saw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from kdrecipes.data.examples import show
from kdrecipes.data.loader import Loader, Part, Unlabelled
from kdrecipes.data.prepare import Data
from kdrecipes.data.splits import Split
from kdrecipes.data.views import resize
from kdrecipes.hashing import hash64
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.disagreements import disagreements
from kdrecipes.report.pictures import COMPARED, FILE, MOST, stored_side
from kdrecipes.report.predictions import ENSEMBLE
from kdrecipes.runs.predictions import write_arrays
from kdrecipes.runs.teacher import view_settings

_SHOWN = 0x73686F77  # the stream of hashes that decides which test images are shown


def drawn(index: NDArray[Any], seed: int, most: int = MOST) -> NDArray[Any]:
    """Which of some images are shown: int64 positions among them, ascending, at most `most`.

    A hash of the seed and of each image's index decides and nothing else, so nobody picks. A smaller number of them is
    part of a larger one.

    Args:
        index: int64 (images,), each image's index in its base split.
        seed: the recipe's.
        most: how many at most.
    """
    return np.sort(np.argsort(hash64(index, _SHOWN, seed), kind="stable")[:most])


def write_pictures(run: Path, recipe: Recipe, data: Data, logits: Mapping[str, NDArray[Any]]) -> None:
    """Write facts/pictures.npz of a run folder, atomically; a few dozen images. With `report.images = false`, none.

    It holds `networks`, text (3,), the keys in predictions.npz of what is compared: teacher, student on labels only and
    distilled student of the first seed, empty where the run has none; for each group of `disagreements` its name with
    int64 (shown,), positions in the test split, and `<group>_images`; and what `_views` gives. Images are uint8
    (shown, side, side, 3), as the student sees them and at most 96 pixels per side.

    Args:
        run: the run folder.
        recipe, data: of the run.
        logits: as `write_predictions` takes them.
    """
    if not recipe.report.images:
        (run / FILE).unlink(missing_ok=True)  # of an earlier try, whose recipe wanted images
        return
    keys = compared(recipe)
    named = {role: logits[key].argmax(1) for role, key in keys.items()}
    arrays: dict[str, NDArray[Any]] = {"networks": np.array([keys.get(role, "") for role in COMPARED])}
    for group, positions in disagreements(data.test.labels, named).items():
        chosen = positions[drawn(data.test.index[positions], recipe.seed)]
        arrays |= {group: chosen, f"{group}_images": _images(data.test, chosen, data.student_size)}
    write_arrays(run / FILE, {**arrays, **_views(recipe, data)}, compress=True)


def compared(recipe: Recipe) -> dict[str, str]:
    """The keys in predictions.npz of the networks that are compared image by image, by role; students of one seed."""
    seed = recipe.compare.seeds[0]
    keys = {"baseline": f"baseline-{seed}"} if recipe.compare.baseline else {}
    if not recipe.teachers:
        return keys
    return {
        "teacher": ENSEMBLE if len(recipe.teachers) > 1 else next(iter(recipe.teachers)),
        **keys,
        "kd": f"kd-{seed}",
    }


def _views(recipe: Recipe, data: Data) -> dict[str, NDArray[Any]]:
    """A dozen training images as the students and the teachers were shown them.

    They stand at even distances in the first batch of a student of the first seed, the distilled one where there is
    one: so images with labels and those without have their shares of that batch.

    Returns:
        `view_sizes`, int64 (1 + teachers,), pixels per side that the student and each teacher saw; `views_<side>`, the
        images at each of these sizes, or at 96 pixels where that is less; `view_labels`, float32 (shown, classes), rows
        that sum to 1, or of an image without a label to 0.
    """
    sizes = [data.student_size, *data.teacher_sizes.values()]
    asked = {stored_side(size): size for size in reversed(sizes)}
    images: dict[int, list[NDArray[Any]]] = {side: [] for side in asked}
    labels = []
    for part, chosen in _dozen(_first_batch(recipe, data)):
        for side, size in asked.items():
            image, y = show(part.split, chosen, size, view_settings(recipe), part.number)
            images[side].append(_bytes(image))
        labels.append(_rows(y, len(data.classes)))
    found = {f"views_{side}": np.concatenate(some) for side, some in images.items()}
    return {"view_sizes": np.array(sizes), **found, "view_labels": np.concatenate(labels)}


def _first_batch(recipe: Recipe, data: Data) -> list[Part]:
    """What the loader that `training.fit.fit` makes gives the student first."""
    mixed = data.mixture(recipe, taught=bool(recipe.teachers))
    loader = Loader(
        data.train,
        recipe.train.batch_size,
        data.student_size,
        settings=view_settings(recipe),
        order_seed=recipe.compare.seeds[0],
        drop_last=True,
        unlabelled=Unlabelled(data.unlabelled, mixed.unlabelled) if mixed.unlabelled else None,
        steps=mixed.steps,
    )
    return loader.parts(0)


def _dozen(parts: list[Part]) -> Iterator[tuple[Part, NDArray[Any]]]:
    """At most `MOST` examples at even distances in a batch: of each of its parts, the positions in the part's split."""
    total = sum(len(part.chosen) for part in parts)
    places = np.arange(min(MOST, total)) * total // min(MOST, total)
    first = 0
    for part in parts:
        inside = places[(places >= first) & (places < first + len(part.chosen))] - first
        first += len(part.chosen)
        if len(inside):
            yield part, part.chosen[inside]


def _rows(labels: torch.Tensor, classes: int) -> NDArray[Any]:
    if labels.ndim == 1:
        labels = F.one_hot(labels.clamp(min=0), classes) * (labels >= 0)[:, None]
    return labels.cpu().float().numpy()


def _images(split: Split, chosen: NDArray[Any], size: int) -> NDArray[Any]:
    """Images of a split as evaluation shows them; also of none."""
    if not len(chosen):
        return np.zeros((0, stored_side(size), stored_side(size), 3), np.uint8)
    return _bytes(show(split, chosen, size)[0])


def _bytes(images: torch.Tensor) -> NDArray[Any]:
    return resize(images, stored_side(images.shape[1])).round().clamp(0, 255).byte().cpu().numpy()
