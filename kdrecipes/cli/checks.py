"""Many recipes checked at once, for people and for CI: what `kdrecipes validate` does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdrecipes.errors import Code, KDRecipesError, MissingPart, Problem, UsageError, one_line
from kdrecipes.extras import need_run
from kdrecipes.recipe.effective import effective_toml, origins_of
from kdrecipes.recipe.source import packaged_recipes
from kdrecipes.recipe.sweep import load_with_points
from kdrecipes.recipe.tables import Recipe
from kdrecipes.wording import printable

_NO_RECIPE = re.compile(r"(^|/)schemas/|(^|[/._-])schema\.json$|(^|/)pyproject\.toml$")  # as in .pre-commit-hooks.yaml


def recipe_files(paths: Iterable[str]) -> list[str]:
    """The recipes that `paths` name: files and packaged names as they are, of folders all .toml and .json files.

    What stands beside recipes is left out: what is hidden, a `pyproject.toml`, and schemas by their names.

    Raises:
        UsageError: when a folder holds none.
    """
    files: list[str] = []
    packaged = packaged_recipes()
    for path in paths:
        if path in packaged or not Path(path).is_dir():
            files.append(path)
            continue
        inside = sorted(str(file) for file in Path(path).rglob("*.*") if _is_recipe(file, Path(path)))
        if not inside:
            raise UsageError(f"{path}: no .toml or .json file in this folder.")
        files += inside
    return files


def _is_recipe(file: Path, folder: Path) -> bool:
    """Whether a file of a folder is taken for a recipe."""
    inside = file.relative_to(folder)
    hidden = any(part.startswith(".") for part in inside.parts)
    other = _NO_RECIPE.search(inside.as_posix())
    return file.suffix.lower() in (".toml", ".json") and not hidden and not other and file.is_file()


@dataclass
class Result:
    """What checking one recipe gave.

    Attributes:
        file: as named.
        exit_code: 0, or that of the error.
        recipe: None where it is not valid.
        problems: what is wrong.
        tried: how many classes a dry run was for; None where there was none.
    """

    file: str
    exit_code: int = 0
    recipe: Recipe | None = None
    problems: Sequence[Problem] = ()
    tried: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.exit_code == 0


def check_file(
    file: str,
    overrides: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    *,
    dry: bool = False,
    classes: int | None = None,
) -> Result:
    """Check one recipe; nothing is raised for what is wrong with it.

    Args:
        file: a path, or the name of a packaged recipe.
        overrides, plugins: as for `load_recipe`.
        dry: also build the models and take two steps, see `kdrecipes.runs.dry_run`.
        classes: how many classes the dataset has, for the dry run.
    """
    result = Result(file)
    try:
        result.recipe = load_with_points(file, overrides, plugins=plugins)
        if dry:
            need_run("--dry-run")
            from kdrecipes.runs.dry_run import dry_run  # torch and keras

            result.tried = dry_run(result.recipe, classes=classes)
    except Exception as error:  # in a dry run a stranger's code may raise anything
        told = isinstance(error, KDRecipesError)
        text = str(error).removesuffix(".") if told else one_line(error)
        result.exit_code = error.exit_code if isinstance(error, KDRecipesError) else 1
        code: Code = "missing-requirement" if isinstance(error, MissingPart) else "failed"
        result.problems = getattr(error, "problems", ()) or [Problem(file, 0, 0, "", text, code=code)]
    return result


def result_text(result: Result, form: str, *, show: bool, verbose: bool) -> str:
    """A result as `validate` prints it: form "text" or "github"."""
    if not result.ok:
        return "\n".join(map(annotation if form == "github" else str, result.problems))
    recipe = result.recipe
    assert recipe is not None
    lines = [f"{printable(result.file)}  ok"]
    if result.tried is not None:
        lines[0] += f"  two steps of every fit done, with {result.tried} classes"
    if verbose:
        rows = components_of(recipe)
        lines += [f"  {row['path']}  {row['kind']} {row['name']}  [{row['provider']}]" for row in rows]
    if show:
        lines = [f"# {line}" for line in lines] + [effective_toml(recipe)]
    return "\n".join(lines)


def result_json(result: Result, *, show: bool) -> dict[str, Any]:
    """A result as `validate --json` prints it."""
    recipe = result.recipe
    fields: dict[str, Any] = {
        "file": result.file,
        "ok": result.ok,
        "recipe_sha256": recipe.fingerprint if recipe and result.ok else None,
        "problems": [problem.asdict() for problem in result.problems],
        "components": components_of(recipe) if recipe else [],
    }
    if result.tried is not None:
        fields["dry_run"] = {"classes": result.tried}
    if show and recipe:
        fields |= {"recipe": recipe.data, "origins": origins_of(recipe)}
    return fields


def components_of(recipe: Recipe) -> list[dict[str, str]]:
    """Which package provides each component that a recipe names: its `path`, `kind`, `name` and `provider`."""
    return [
        {"path": table.place, "kind": table.kind, "name": table.name, "provider": str(recipe.provider(table))}
        for table in recipe.components()
    ]


def annotation(problem: Problem) -> str:
    """A problem as GitHub's workflow command, which marks the line in a pull request."""
    place = {"file": problem.file, "line": problem.line, "col": problem.column}
    if not problem.line:  # a --set, or the whole file
        place = {"file": problem.file} if problem.in_file else {}
    where = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in {**place, "title": "kdrecipes"}.items())
    text = str(replace(problem, line=0)).removeprefix(problem.file).strip()
    return f"::error {where}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    """The characters that end a workflow command's parts, as that syntax writes them."""
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
