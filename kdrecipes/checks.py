"""Many recipes checked at once, for people and for CI: what `kdrecipes validate` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdrecipes.effective import effective_toml, origins_of
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, Problem, RecipeError, UsageError, one_line
from kdrecipes.positions import printable, show_path
from kdrecipes.reading import packaged_recipes
from kdrecipes.recipe import Recipe, load_recipe
from kdrecipes.structure import component_tables


def recipe_files(paths: Iterable[str]) -> list[str]:
    """The recipes that `paths` name: files and packaged names as they are, of folders all .toml and .json files.

    What is hidden, a `pyproject.toml` and schemas (`*.schema.json`), which stand beside recipes, are left out.

    Raises:
        UsageError: when a folder holds none.
    """
    files: list[str] = []
    packaged = packaged_recipes()
    for path in paths:
        if path in packaged or not Path(path).is_dir():
            files.append(path)
            continue
        found = [p for p in Path(path).rglob("*.*") if p.suffix in (".toml", ".json") and p.is_file()]
        hidden = [p for p in found if any(part.startswith(".") for part in p.relative_to(path).parts)]
        others = [p for p in found if p.name == "pyproject.toml" or p.name.endswith(".schema.json")]
        inside = sorted(str(p) for p in found if p not in hidden and p not in others)
        if not inside:
            raise UsageError(f"{path}: no .toml or .json file in this folder.")
        files += inside
    return files


@dataclass
class Result:
    """What checking one recipe gave.

    Attributes:
        file: as named.
        exit_code: 0, or that of the error.
        recipe: None where it is not valid.
        problems: what is wrong.
        tried: what `dry_run` returned.
    """

    file: str
    exit_code: int = 0
    recipe: Recipe | None = None
    problems: list[Problem] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)

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
        dry: also build the models and take two steps, see `kdrecipes.dry_run`.
        classes: how many classes the dataset has, for the dry run.
    """
    result = Result(file)
    try:
        result.recipe = load_recipe(file, overrides, plugins=plugins)
        if dry:
            from kdrecipes.dry_run import dry_run  # torch and keras

            result.tried = dry_run(result.recipe, classes=classes)
    except RecipeError as error:
        result.exit_code, result.problems = error.exit_code, error.problems
    except Exception as error:  # in a dry run a stranger's code may raise anything
        result.exit_code = error.exit_code if isinstance(error, KDRecipesError) else 1
        told = error.problems if isinstance(error, EnvironmentProblem) else []
        text = str(error) if isinstance(error, KDRecipesError) else one_line(error)
        result.problems = told or [Problem(file, 0, 0, "", text.removesuffix("."))]
    return result


def result_text(result: Result, form: str, *, show: bool, verbose: bool) -> str:
    """A result as `validate` prints it: form "text" or "github"."""
    if not result.ok:
        return "\n".join(map(annotation if form == "github" else str, result.problems))
    recipe = result.recipe
    assert recipe is not None
    lines = [f"{printable(result.file)}  ok"]
    if result.tried:
        teacher = f", a teacher of {result.tried['teacher_params']:,}" if "teacher_params" in result.tried else ""
        lines[0] += (
            f"  two steps of every fit done: {result.tried['classes']} classes, a student of "
            f"{result.tried['student_params']:,} parameters{teacher}"
        )
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
    if result.tried:
        fields["dry_run"] = result.tried
    if show and recipe:
        fields |= {"recipe": recipe.data, "origins": origins_of(recipe)}
    return fields


def components_of(recipe: Recipe) -> list[dict[str, str]]:
    """Which package provides each component that a recipe names: its `path`, `kind`, `name` and `provider`."""
    found = []
    for path, _, kind, table in component_tables(dict(recipe.data)):
        provider = recipe.registry.provider(kind, table["name"])
        found.append({"path": show_path(path), "kind": kind, "name": table["name"], "provider": str(provider)})
    return found


def annotation(problem: Problem) -> str:
    """A problem as GitHub's workflow command, which marks the line in a pull request."""
    place = {"file": problem.file, "line": problem.line, "col": problem.column}
    if not problem.line:  # a --set, or the whole file
        place = {} if problem.file.startswith("--set ") else {"file": problem.file}
    where = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in {**place, "title": "kdrecipes"}.items())
    text = str(replace(problem, line=0)).removeprefix(problem.file).strip()
    return f"::error {where}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    """The characters that end a workflow command's parts, as that syntax writes them."""
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
