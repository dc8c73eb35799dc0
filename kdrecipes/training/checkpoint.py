"""What files of a distiller hold: its student; and that they are whole, or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.keras_private import divert_saving


class SavedAsStudent(keras.Model):
    """A model whose files hold its student, an ordinary model, and nothing else.

    `save`, `export`, `keras.saving.save_model` and `ModelCheckpoint` write the student. `save_weights` writes the
    weights of all that trains, for `load_weights` of a model made alike. A file appears under its name when it is
    complete: where saving fails, what stood there before stays.
    """

    @property
    def student(self) -> keras.Model:
        """What is saved."""
        raise NotImplementedError

    def export(
        self, filepath: Any, format: str = "tf_saved_model", verbose: bool | None = None, **options: Any
    ) -> None:
        """Export the student, as `keras.Model.export` does; quietly unless `verbose=True`."""
        whole(lambda path: self.student.export(path, format, verbose=bool(verbose), **options), filepath)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **options: Any) -> None:
        """As `keras.Model.load_weights`; a `.keras` file is a student's, and the student takes its weights."""
        if str(filepath).endswith(".keras"):
            self.student.load_weights(filepath, skip_mismatch, **options)
        else:
            super().load_weights(filepath, skip_mismatch, **options)

    def get_config(self) -> dict[str, Any]:
        """A distiller holds a teacher and is no thing to make anew from a file.

        Raises:
            TypeError: always; `save` writes the student.
        """
        raise TypeError("A Distiller is not saved whole; `distiller.save(path)` writes its student, an ordinary model.")


def whole(write: Callable[[Any], Any], filepath: Any) -> None:
    """Let what is written appear under its name when it is complete.

    Args:
        write: is given where to: another path in the same folder, with the same last part; it may write several files
            there, or a folder. An open file, a remote path and one whose folder is not there it is given as they are.
        filepath: the name.
    """
    named = isinstance(filepath, str | os.PathLike) and "://" not in str(filepath)
    if not named or not (path := Path(filepath)).absolute().parent.is_dir():
        write(filepath)
        return
    # In the same folder, so that moving a file is one step.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        write(str(Path(folder) / path.name))
        for written in Path(folder).iterdir():
            if written.is_dir():
                shutil.copytree(written, path.parent / written.name, dirs_exist_ok=True)
            else:
                written.replace(path.parent / written.name)


divert_saving(
    SavedAsStudent,
    model=lambda write, one, path: whole(lambda place: write(one.student, place), path),
    weights=lambda write, one, path: whole(lambda place: write(one, place), path),
)
