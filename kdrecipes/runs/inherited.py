"""Why a teacher is fine-tuned anew although one like it is there: a key of `[train]` that it takes over has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import write_json
from kdrecipes.disk.json_files import read_json
from kdrecipes.recipe.effective import origin_of
from kdrecipes.recipe.positions import Path as KeyPath
from kdrecipes.recipe.positions import show_path
from kdrecipes.recipe.structure import teacher_tables
from kdrecipes.recipe.tables import Recipe, TeacherTable, TrainTable

_FILE = "training.json"
_ABSENT = "absent"


def keep_training(folder: Path, train: TrainTable, others: str) -> None:
    """Write down how a teacher in the cache was trained, for later runs to compare.

    Args:
        folder: the teacher's.
        train: how it is trained.
        others: digest of all else that its weights depend on.
    """
    write_json(folder / _FILE, {"others": others, "train": train.data})


def changed_by_inheritance(
    recipe: Recipe, table: TeacherTable, train: TrainTable, folder: Path, others: str
) -> list[str]:
    """The keys of `[train]` for which alone a teacher is trained again; empty where there is more, or none like it.

    Args:
        recipe: of the run.
        table: the teacher's.
        train: its training.
        folder: the teacher's in the cache; those beside it are looked at.
        others: as for `keep_training`.

    Returns:
        Such as `"train.optimizer.learning_rate (0.001 there, 0.003 here)"`, of the teacher that differs in the fewest.
    """
    [place] = [path for path, _ in teacher_tables(dict(recipe.data)) if show_path(path) == table.place]
    kin = []
    here = _leaves(train.data)
    for earlier in _trained_alike(folder, others):
        there = _leaves(earlier)
        keys = [key for key in {**here, **there} if here.get(key, _ABSENT) != there.get(key, _ABSENT)]
        if all(origin_of(recipe, (*place, "train", *key)).startswith("as ") for key in keys):
            kin.append(
                [
                    f"{show_path(('train', *key))} ({there.get(key, _ABSENT)} there, {here.get(key, _ABSENT)} here)"
                    for key in keys
                ]
            )
    return min(kin, key=len, default=[])


def _trained_alike(folder: Path, others: str) -> Iterator[Mapping[str, Any]]:
    """How the teachers were trained that differ from that of a folder in their training alone."""
    for file in sorted(folder.parent.glob(f"*/{_FILE}")):
        try:
            found = read_json(file)
            if file.parent != folder and found["others"] == others and (file.parent / "weights").exists():
                yield dict(found["train"])
        except (OSError, ValueError, KeyError, TypeError):  # nothing that a run needs
            continue


def _leaves(value: Any, path: KeyPath = ()) -> dict[KeyPath, Any]:
    if not isinstance(value, Mapping):
        return {path: value}
    return {at: leaf for key, part in value.items() for at, leaf in _leaves(part, (*path, key)).items()}
