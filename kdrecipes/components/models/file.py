"""`keras_file`: a saved `.keras` model, opened in Keras' safe mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models.new_head import with_grey_pixels, with_new_head
from kdrecipes.components.options import SHA256_OPTION, options
from kdrecipes.errors import EnvironmentProblem

if TYPE_CHECKING:
    import keras


def build(path: str, sha256: str | None = None, head: str | None = None, classes: int | None = None) -> keras.Model:
    """The model of a `.keras` file with its weights; nothing in the file is run, nor is it compiled.

    Args:
        path: the file.
        sha256: what it must have, hex; checked before it is opened.
        head: "new": a new last layer with random weights in place of its own; None: as it is.
        classes: width of a new head.

    Returns:
        The model. It has to take pixels 0–255, float (batch, height, width, 3), and to give logits. One that takes one
        channel is shown the grey of these pixels.

    Raises:
        EnvironmentProblem: the file is missing, of another kind, damaged, or of code that safe mode refuses.
    """
    from kdrecipes.backend import keras
    from kdrecipes.disk.download import check_sha256  # with it come ssl and http, a tenth of `kdrecipes validate`
    from kdrecipes.disk.npz_sizes import refuse_bombs

    file = Path(path)
    if not file.is_file():
        raise EnvironmentProblem(f"path = {path!r}: no such file.")
    if file.suffix != ".keras":
        raise EnvironmentProblem(f"path = {path!r}: must be a .keras file, as model.save writes it.")
    if sha256 is not None:
        check_sha256(file, sha256)
    try:
        refuse_bombs(file)
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds for what it can't rebuild
        text = " ".join(str(error).split())[:400]
        raise EnvironmentProblem(
            f"path = {path!r} can't be opened: {text} A layer of your own has to be registered by a plugin "
            "(keras.saving.register_keras_serializable); code inside a file is never run."
        ) from error
    if head == "new" and classes is not None:
        model = with_new_head(model, classes)
    return with_grey_pixels(model)


COMPONENT = Component(
    kind="model",
    name="keras_file",
    build=build,
    summary="a saved .keras model, opened in safe mode",
    options=options(
        "model",
        build,
        path={
            "minLength": 1,
            "format": "path",
            "examples": ["../runs/digits/students/kd-0.keras"],
            "description": "The .keras file. The model takes pixels 0–255 and gives logits.",
        },
        sha256=SHA256_OPTION | {"description": "What the file must have; checked before it is opened."},
        head={
            "enum": ["new"],
            "description": '"new": a new last layer as wide as the data have classes, to be trained; absent: its own.',
        },
    ),
)
