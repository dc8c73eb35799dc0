"""`kdrecipes predict`: what a saved or exported student says of images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, collect_as_usual
from kdrecipes.cli.result import print_json, say, tell
from kdrecipes.errors import UsageError


def predict(
    network: Annotated[Path, typer.Argument(help="A run folder, or a network's file: .keras, .onnx, .pt2, …")],
    images: Annotated[list[str], typer.Argument(help="Image files, or folders of them; - reads names from stdin.")],
    top: Annotated[int, typer.Option(min=1, help="Classes shown for each image, the likeliest first.")] = 3,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Name the classes of images, with probabilities. An image is decoded and resized as the run's were.

    Of a run folder it takes the distilled student of the first seed. An image that can't be read is named on stderr,
    and the exit code is 1; the others are predicted all the same.

    Example:  kdrecipes predict runs/my_photos photo.jpg holiday/
    """
    from kdrecipes.extras import need_run

    need_run("`kdrecipes predict`")
    files = [file for name in images for file in _files(name)]
    if not files:
        raise UsageError(f"No image in {', '.join(images)}.")
    collect_as_usual()
    from kdrecipes.runs.saved_student import load_student

    student = load_student(network, plugins=plugin)
    probabilities, skipped = student.predict_readable(files)
    unreadable = dict(skipped)
    rows = zip([file for file in files if os.fspath(file) not in unreadable], probabilities, strict=True)
    answers = [(file, _likeliest(student.classes, row)) for file, row in rows]
    for name, reason in skipped:
        tell(f"{_shown(name)}: can't be read: {reason}")
    if as_json:
        found: list[dict[str, Any]] = [
            {"file": _shown(file), "class": next(iter(likeliest)), "probabilities": likeliest}
            for file, likeliest in answers
        ]
        unread = [{"file": _shown(name), "reason": reason} for name, reason in skipped]
        print_json({"classes": student.classes, "images": found, "unreadable": unread})
    else:
        for file, likeliest in answers:
            say("  ".join([_shown(file), *(f"{name} {100 * p:.1f} %" for name, p in list(likeliest.items())[:top])]))
    if skipped:
        raise typer.Exit(1)


def _files(name: str) -> list[Path]:
    """The images that an argument names: a file, those below a folder in the order of their names, or of stdin."""
    if name == "-":
        return [file for line in sys.stdin.read().splitlines() if line for file in _files(line)]
    path = Path(name)
    if not path.is_dir():
        return [path]
    from kdrecipes.components.datasets.folder_files import is_hidden, is_image

    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(one for one in folders if not is_hidden(one))
        found += [Path(folder) / one for one in sorted(names) if is_image(one) and not is_hidden(one)]
    return found


def _likeliest(classes: list[str], row: Any) -> dict[str, float]:
    """The probabilities by class, the likeliest first."""
    order = sorted(range(len(classes)), key=lambda i: -row[i])
    return {classes[i]: float(row[i]) for i in order}


def _shown(name: str | Path) -> str:
    from kdrecipes.wording import printable

    return printable(os.fspath(name))
