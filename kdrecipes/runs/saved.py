"""A run's networks on disk: each in a file of its own, with what it takes to use it inside and beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from kdrecipes import saved_models
from kdrecipes.backend import keras
from kdrecipes.data.prepare import Data, decoding_of
from kdrecipes.disk.files import disk_errors, new_file
from kdrecipes.disk.passing import passing_folder
from kdrecipes.disk.saved_facts import SavedFacts, is_whole, write_beside, write_saved_facts
from kdrecipes.errors import KDRecipesError, one_line
from kdrecipes.recipe.tables import Recipe, StudentTable, TeacherTable
from kdrecipes.runs.teacher import Teacher


def save_network(
    recipe: Recipe,
    table: TeacherTable | StudentTable,
    data: Data,
    model: keras.Model,
    folder: Path,
    name: str,
    network: str = "",
) -> Path:
    """Save a network and its facts, each whole or not at all.

    Args:
        recipe, data: of the run.
        table: the network's.
        model: the network.
        folder: of the run's students or teachers.
        name: of the file, without its ending.
        network: what the network is where it is not the table's component, in words.

    Returns:
        The file: `<name>.keras`, or of a torch module `<name>.safetensors`. `<name>.json` is beside it.
    """
    file, facts = folder / f"{name}{saved_models.ending_of(model)}", facts_of(recipe, table, data, network)
    with disk_errors(file), passing_folder(folder.parent) as passing:
        draft = passing / file.name
        saved_models.save(model, draft)  # Keras writes in place and wants that ending
        write_saved_facts(draft, facts)
        content = draft.read_bytes()
        write_beside(file, facts, hashlib.sha256(content).hexdigest())
        with new_file(file) as written:
            written.write(content)
    return file


def save_teacher(
    recipe: Recipe, table: TeacherTable, data: Data, teacher: Teacher, run: Path, note: Callable[[str], None]
) -> None:
    """Save a teacher that was fine-tuned into a run folder, as `teachers/<id>`, where the recipe does not say no.

    One that Keras can't write is told and no error: it teaches all the same.

    Args:
        recipe, data: of the run.
        table: the teacher's.
        teacher: fine-tuned and checked.
        run: the run folder.
        note: takes one line for the user.
    """
    folder = run / "teachers"
    there = is_whole(folder / f"{table.id}{saved_models.ending_of(teacher.model)}")
    if table.train is None or not table.save or (there and teacher.reused):
        return
    try:
        save_network(recipe, table, data, teacher.model, folder, table.id)
    except KDRecipesError:  # a full disk
        raise
    except Exception as error:  # of a layer that can't be written Keras raises all kinds
        note(f"{recipe.label_of(table)}: not saved in {folder}, since Keras can't write it: {one_line(error)[:300]}")


def facts_of(recipe: Recipe, table: TeacherTable | StudentTable, data: Data, network: str = "") -> SavedFacts:
    """What the file of a network says of it."""
    return SavedFacts(
        classes=list(data.classes),
        image_size=data.size(table),
        resize=recipe.dataset.resize,
        store_size=data.test.store.images.shape[1],  # of test: that is what the figures are of
        component=table.name,
        options=recipe.options(table),
        recipe_sha256=recipe.fingerprint,
        background=list(decoding_of(recipe.dataset).background),
        max_pixels=recipe.dataset.max_pixels,
        network=network,
    )
