"""A checkpoint of a distiller: its student alone, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from kdrecipes.backend import keras


def save_student(student: keras.Model, filepath: Any, overwrite: bool = True, **options: Any) -> None:
    """Write a student as `keras.Model.save` does; a file appears under its name when it is complete.

    Args:
        student: an ordinary model.
        filepath: where to; a remote path is left to Keras.
        overwrite, **options: as for `keras.Model.save`.
    """
    path = Path(str(filepath))
    if "://" in str(filepath) or path.suffix != ".keras" or options.get("zipped") is False:
        student.save(filepath, overwrite=overwrite, **options)
        return
    if path.exists() and not overwrite:
        student.save(filepath, overwrite=False, **options)  # Keras asks
        return
    # In the same folder, so that moving it is one step; Keras wants the ending.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        student.save(Path(folder) / path.name, **options)
        shutil.move(Path(folder) / path.name, path)
