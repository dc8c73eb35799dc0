"""predictions.npz: the test labels, which images they are of, and every network's test logits."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdrecipes.data.prepare import Data, build_source
from kdrecipes.data.splits import parse_split
from kdrecipes.disk.files import new_file
from kdrecipes.recipe.tables import Recipe
from kdrecipes.training.ensemble import ensemble_logits


def ensemble_of(recipe: Recipe, logits: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """What the teachers say together, as terms hear them: float32 (images, classes) from those of each, by id."""
    each = [torch.from_numpy(logits[name]) for name in recipe.teachers]
    weights = [table.weight for table in recipe.teachers.values()]
    return ensemble_logits(each, weights, recipe.loss.teachers).numpy()


def write_predictions(run: Path, recipe: Recipe, data: Data, logits: Mapping[str, NDArray[Any]]) -> None:
    """Write predictions.npz of a run folder, atomically.

    It holds `labels`, int64 (images,); `index`, int64 (images,), each image's position in the base split; `names`, text
    (images,), where the dataset names its images; and float32 (images, classes) for each network.

    Args:
        run: the run folder.
        recipe, data: of the run.
        logits: by a teacher's id, "ensemble", and an arm's label.
    """
    arrays = {"labels": data.test.labels, "index": data.test.index, **_names(recipe, data), **logits}
    write_arrays(run / "predictions.npz", arrays)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, compress: bool = False) -> None:
    """Write arrays by name as an .npz file, atomically; as np.savez does, which takes no array called "file"."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with new_file(path) as file, zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _names(recipe: Recipe, data: Data) -> dict[str, NDArray[Any]]:
    source = build_source(recipe, parse_split(recipe.dataset.test)[0], "test")
    if not hasattr(source, "name_of"):
        return {}
    return {"names": np.array([str(source.name_of(int(i))) for i in data.test.index])}
