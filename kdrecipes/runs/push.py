"""A folder to be published as it is: a student with its card, its other files, report and recipe. No network."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdrecipes.disk.files import disk_errors, existing
from kdrecipes.disk.json_files import read_json
from kdrecipes.disk.npz_sizes import DAMAGE, refuse_bombs
from kdrecipes.disk.saved_facts import beside
from kdrecipes.errors import UsageError, one_line
from kdrecipes.report.facts import ArmFacts, read_facts
from kdrecipes.report.markdown import inline, table
from kdrecipes.report.model_card import CardFiles, model_card, saved_in
from kdrecipes.report.run_list import check_run_folder
from kdrecipes.report.sweep_results import refuse_point
from kdrecipes.runs.trained import arm_of
from kdrecipes.wording import readable_bytes

RECIPES = ("recipe.toml", "recipe.json")
# The members of Keras' own archive: what `keras.saving.load_model` opens a folder by, from "hf://USER/NAME" too.
OF_KERAS = ("config.json", "metadata.json", "model.weights.h5", "model.weights.npz")
LARGE = (".bin", ".h5", ".keras", ".npz", ".onnx", ".pt2", ".safetensors", ".tflite")  # what Git LFS keeps


@dataclass(frozen=True)
class Pushed:
    """A folder that is laid out.

    Attributes:
        folder: where it is.
        student: the student's file in the run folder.
        files: what was written into it, by path from there, sorted.
        left: other files and folders that were there and were left alone; its own level only.
        upload: a line of Python that publishes it.
    """

    folder: Path
    student: str
    files: list[str]
    left: list[str]
    upload: str


def push(
    run: str | Path,
    to: str | Path,
    *,
    arm: str = "kd",
    seed: int | None = None,
    page: bool = True,
    overwrite: bool = False,
) -> Pushed:
    """Lay out a folder that `huggingface_hub.upload_folder` takes as it is. Nothing is sent.

    Args:
        run: the folder of a finished run.
        to: the new folder, or an empty one.
        arm: "kd" or "baseline".
        seed: of the student. Default: the first one.
        page: whether report.html is in it. The page may show test images.
        overwrite: whether the folder may hold files. Those of the same names are replaced, all others stay.

    Returns:
        What was laid out. Each file appears whole, and a new folder all at once.

    Raises:
        UsageError: no such run or student, an unfinished run, or a folder that is not empty (exit code 2).
        EnvironmentProblem: the folder can't be written (3).
    """
    run, to = Path(run), Path(to)
    check_run_folder(run)
    refuse_point(run, "what is published says how its student does on test")
    facts = arm_of(run, arm, seed)
    _refuse(run, to, overwrite)
    with disk_errors(existing(to)):
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as temporary:
            draft = Path(temporary) / "folder"
            draft.mkdir()
            name = _lay_out(run, facts, draft, page)
            files = sorted(file.relative_to(draft).as_posix() for file in draft.rglob("*") if file.is_file())
            before = sorted(one.name for one in to.iterdir()) if to.is_dir() else []
            _move(draft, to, files)
    left = [name for name in before if name not in {file.partition("/")[0] for file in files}]
    return Pushed(to, facts.student, files, left, upload_line(name, to))


def upload_line(name: str, folder: Path) -> str:
    """The line of Python that publishes a folder; USER stands for the name of an account."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:90] or "student"
    return (
        f'import huggingface_hub as hub; hub.create_repo("USER/{plain}", exist_ok=True); '
        f'hub.upload_folder(repo_id="USER/{plain}", folder_path={str(folder)!r})'
    )


def _refuse(run: Path, to: Path, overwrite: bool) -> None:
    if not (run / "report.json").is_file():
        raise UsageError(
            f"The run in {run} has no report yet. The command that began it finishes it: "
            f"`kdrecipes run RECIPE --out {run}`."
        )
    if to.exists() and not to.is_dir():
        raise UsageError(f"{to} is a file. Choose a new folder with --to.")
    if (to / "lock.json").is_file():
        raise UsageError(f"{to} is a run folder. Choose a new folder with --to.")
    if to.is_dir() and any(to.iterdir()) and not overwrite:
        raise UsageError(
            f"{to} is not empty. Choose a new folder with --to, or say --overwrite: files of the same names are "
            "replaced, all others stay."
        )


def _lay_out(run: Path, student: ArmFacts, draft: Path, page: bool) -> str:
    """Write all files into an empty folder; gives the recipe's name."""
    source = run / student.student
    if not source.is_file():
        raise UsageError(f"{source} is gone: there is no student to lay out.")
    names = [*RECIPES, "report.json", *(["report.html"] if page else [])]
    copies = [source, beside(source), *(run / name for name in names)]
    for file in copies:
        if file.is_file():
            shutil.copyfile(file, draft / file.name)
    imports = _unpack(source, draft) if source.suffix == ".keras" else None
    exports = _exports(run, student, draft)
    facts = read_facts(run)
    label = next(key for key, arm in facts.arms.items() if (arm.arm, arm.seed) == (student.arm, student.seed))
    files = CardFiles(source.name, imports, _table(exports))
    card = model_card(_report(run), facts, label, saved_in(run, facts, label), files)
    (draft / "README.md").write_text(card, encoding="utf-8")
    kinds = {*LARGE, *(file.suffix for file in draft.rglob("*") if file.stat().st_size > 10_000_000)} - {""}
    lines = [f"*{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in sorted(kinds)]
    (draft / ".gitattributes").write_text("".join(lines), encoding="utf-8")
    return facts.recipe.name


def _report(run: Path) -> dict[str, Any]:
    file = run / "report.json"
    try:
        return dict(read_json(file))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{file} can't be read ({one_line(error)}). `kdrecipes report {run}` writes it again."
        ) from error


def _unpack(source: Path, draft: Path) -> list[str]:
    """Put what Keras' archive holds into the folder; gives the modules whose layers are not Keras' own."""
    try:
        refuse_bombs(source)
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if name in OF_KERAS or name.startswith("assets/"):
                    archive.extract(name, draft)
            config = json.loads(archive.read("config.json"))
    except DAMAGE as error:
        raise UsageError(f"{source} can't be read ({one_line(error)}).") from error
    return sorted(set(_foreign(config)))


def _foreign(config: Any) -> Iterator[str]:
    """The modules that a network's configuration names, without Keras' and Python's own; of KerasHub its front door."""
    if isinstance(config, Mapping):
        module = config.get("module")
        if "class_name" in config and isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
            yield module.partition(".src")[0]
        config = list(config.values())
    for part in config if isinstance(config, list) else ():
        yield from _foreign(part)


def _exports(run: Path, student: ArmFacts, draft: Path) -> list[dict[str, Any]]:
    """Copy the files that the student was exported as; gives what export.json says of them."""
    file = run / "export" / "export.json"
    if not file.is_file():
        return []
    try:
        every = read_json(file)
        found = [entry for entry in every["exports"] if entry["student"] == student.student]
        stems = {Path(entry["file"]).stem for entry in found}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"{file} can't be read ({one_line(error)}). Remove {file.parent}, and export again."
        ) from error
    if not found:
        return []
    (draft / "export").mkdir()
    for one in sorted(file.parent.iterdir()):
        if one.is_file() and one.stem in stems:
            shutil.copyfile(one, draft / "export" / one.name)
    text = json.dumps({**every, "exports": found}, indent=2, ensure_ascii=False)
    (draft / "export" / file.name).write_text(text + "\n", encoding="utf-8")
    return found


def _table(exports: list[dict[str, Any]]) -> str:
    """What the card says of the other files; empty where there are none."""
    rows = [
        [
            inline(f"export/{entry['file']}"),
            inline(", ".join([entry["format"], *(f"{key} = {value}" for key, value in entry["options"].items())])),
            readable_bytes(entry["bytes"]),
            f"{100 * entry['test_accuracy']:.2f} % of {entry['images']:,}",
            f"{100 * entry['top1_agreement']:.2f} %",
        ]
        for entry in exports
    ]
    headings = ["file", "format", "size", "test accuracy", "same class as the student"]
    return table(headings, rows) if rows else ""


def _move(draft: Path, to: Path, files: list[str]) -> None:
    """Give the folder its name, or where there is one put the files into it one by one, the card last."""
    if not to.exists():
        draft.replace(to)
        return
    for file in sorted(files, key=lambda name: name == "README.md"):
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        (draft / file).replace(to / file)
