"""`kdrecipes new`: a plugin's package, or a recipe, to start from. Imports neither torch nor keras."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from packaging.version import Version

from kdrecipes.components.contract import recipe_options
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.losses.taken_layers import KEYS, ONE_OR_NONE, declared_layers
from kdrecipes.components.registry import Registry, load_registry, unknown_component
from kdrecipes.errors import EnvironmentProblem, UsageError
from kdrecipes.recipe.checker import Checker
from kdrecipes.recipe.source import parse
from kdrecipes.recipe.structure import followed, structure_schema
from kdrecipes.recipe.toml_writer import toml_key, toml_value

COMMENT_COLUMN, LINE = 32, 120
_FILES = ("pyproject.toml", "README.md", "recipe.toml", "tests/test_components.py")
_MODULES = ("__init__.py", "model.py", "dataset.py", "loss.py")


def new_plugin(name: str, out: Path | None = None) -> Path:
    """Write an installable package with a model, a dataset, a loss, their tests and a recipe.

    Args:
        name: of the distribution, such as "kdrecipes-mine"; its module is called `kdrecipes_mine`, its components
            `mine_…`.
        out: the folder to write; default: `name` under the working directory.

    Returns:
        The folder.

    Raises:
        UsageError: for a name that can't be a distribution's or a module's, or a folder that is there.
    """
    module = _module_name(name)
    folder = out or Path(name)
    prefix = module.removeprefix("kdrecipes_") or module
    major, minor = Version(version("kdrecipes")).release[:2]
    below = f"0.{minor + 1}" if major == 0 else f"{major + 1}"  # before 1.0 the interface may change with the minor
    words = {"name": name, "module": module, "prefix": prefix, "kdrecipes": f">={major}.{minor},<{below}"}
    texts = {file: _rendered(f"plugin/{file}.jinja", words) for file in _FILES}
    texts[".gitignore"] = _rendered("plugin/gitignore.jinja", words)
    texts |= {f"{module}/{file}": _rendered(f"plugin/package/{file}.jinja", words) for file in _MODULES}
    try:
        folder.mkdir(parents=True)  # never over another
        for file, text in texts.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise UsageError(
            f"{folder} is there already, and nothing is overwritten. Choose another place: --out DIR."
        ) from None
    except OSError as error:
        raise UsageError(f"{folder}: can't be written: {error.strerror}.") from error
    return folder


def _module_name(name: str) -> str:
    """The module of a distribution.

    Raises:
        UsageError: when the name can't be a distribution's or the module a module's, or the module's name is taken.
    """
    if not re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise UsageError(
            f"{name!r} can't name a distribution: letters, digits, '-', '_' and '.', with a letter or a digit at both "
            f"ends.{_suggest(name)}"
        )
    module = re.sub("[-_.]+", "_", name).lower()
    if not module.isidentifier() or keyword.iskeyword(module):
        what = "is a keyword of Python" if keyword.iskeyword(module) else "can't be a module's name"
        raise UsageError(f"{name!r}: its module would be called {module!r}, which {what}.{_suggest(name)}")
    if module == "tests":
        raise UsageError(f"{name!r}: the package's own tests stand in a folder of that name.{_suggest(name)}")
    spec = importlib.util.find_spec(module) if module not in sys.stdlib_module_names else None
    if module in sys.stdlib_module_names or (spec is not None and spec.origin is not None):
        where = "Python's own" if module in sys.stdlib_module_names else "installed"
        raise UsageError(f"{name!r}: a module called {module!r} is {where} already.{_suggest(name)}")
    return module


def _suggest(name: str) -> str:
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("kdrecipes-")
    better = f"kdrecipes-{plain}"
    return f" Did you mean {better!r}?" if plain not in ("", "kdrecipes") and better != name else ""


@dataclass(frozen=True)
class _Table:
    """A component's table: its name as TOML, and a line for each option."""

    name: str
    lines: list[str]


def new_recipe(
    name: str,
    *,
    student: str,
    dataset: str,
    teacher: str | None = None,
    loss: str | None = None,
    out: Path | None = None,
    plugins: Iterable[Path] = (),
) -> Path:
    """Write a commented recipe that is valid: what must be there is filled in, the rest stands in comments.

    Args:
        name: the recipe's.
        student, dataset, teacher, loss: names of installed components; without a teacher there is no loss, and one
            student learns from labels; with one the loss is "kd" by default.
        out: the file to write; default: `<name>.toml` under the working directory.
        plugins: single-file plugins to load first.

    Returns:
        The file.

    Raises:
        UsageError: a name that can't be a recipe's, an unknown component, a loss without a teacher, a file that is
            there.
        EnvironmentProblem: a component whose required options no one can guess, a plugin that can't be loaded.
    """
    plugins = [Path(plugin) for plugin in plugins]
    registry = load_registry(tuple(plugin.resolve() for plugin in plugins))
    pattern = structure_schema()["properties"]["name"]
    if not Draft7Validator(pattern).is_valid(name):
        raise UsageError(f"{name!r} can't name a recipe: it {pattern['x-rule']}.")
    if loss is not None and teacher is None:
        raise UsageError(f"--loss {loss}: a distillation loss needs a teacher. Add --teacher, or leave --loss out.")
    file = out or Path(f"{name}.toml")
    if file.suffix != ".toml":
        raise UsageError(f"--out {file}: a recipe is a .toml file here.")
    title = f"{teacher} teaches {student} on {dataset}." if teacher else f"{student} on {dataset}, labels only."
    chosen = {"dataset": ("dataset", dataset), "student": ("model", student)}
    if teacher is not None:
        chosen |= {"teacher": ("model", teacher), "loss": ("loss", loss or "kd")}
    components = {role: _component(registry, role, *of) for role, of in chosen.items()}
    text = _recipe_text(registry, components, name=name, title=title, file=file.name, plugins=plugins)
    data, _ = parse(text, str(file))
    if problems := Checker(data, {}, str(file), registry, {}).check():
        raise EnvironmentProblem("These components give no valid recipe: " + "; ".join(map(str, problems)))
    _write(file, text)
    return file


def _recipe_text(
    registry: Registry, components: Mapping[str, Component], *, name: str, title: str, file: str, plugins: list[Path]
) -> str:
    """The recipe's text: `components` are by role, "dataset", "student", "teacher" and "loss"."""
    tables = {role: _Table(toml_value(c.name), list(_option_lines(role, c))) for role, c in components.items()}
    providers = [registry.provider(component.kind, component.name) for component in components.values()]
    installed = sorted({p.distribution for p in providers if not p.version.startswith("sha256:")} - {"kdrecipes"})
    words = {
        "name": name,
        "title": title,
        "file": " ".join([file, *(f"--plugin {plugin}" for plugin in plugins)]),
        "plugins": "".join(f" --plugin {plugin}" for plugin in plugins),
        "requires": toml_value(installed) if installed else "",
        "teacher": None,
        "layers": list(_layer_lines(components["loss"], file)) if "loss" in components else [],
        "by_class": components["dataset"].name in ("folder", "file_list"),  # people's own photos: classes of few images
    }
    return _rendered("recipe.toml.jinja", {**words, **tables})


def _write(file: Path, text: str) -> None:
    """Write a new file, never over another."""
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UsageError(f"{file} is there already, and nothing is overwritten. Choose another: --out FILE.") from None
    except OSError as error:
        raise UsageError(f"{file}: can't be written: {error.strerror}.") from error


def _component(registry: Registry, role: str, kind: str, name: str) -> Component:
    found = registry.get(kind, name)
    if found is None:
        raise UsageError(f"--{role} {name}: {unknown_component(registry, kind, name)}")
    return found


def _option_lines(role: str, component: Component) -> Iterator[str]:
    """`key = value  # description` for each option: required ones as they are, the others in comments."""
    schema = recipe_options(component)
    required = schema.get("required", [])
    for key in sorted(schema["properties"], key=lambda key: key not in required):
        part = followed(schema["properties"][key], schema)
        value = _example(schema, key, part)
        if value is None and key in required:
            raise EnvironmentProblem(
                f"--{role} {component.name}: its option {key!r} is required, and its schema has no example that could "
                'be written. Whoever provides it can add "examples" to it.'
            )
        text = f"{toml_key(key)} = {'…' if value is None else toml_value(value)}"
        text = text if key in required else f"# {text}"
        words = " ".join(str(part.get("description", "")).split())
        line = f"{text:<{COMMENT_COLUMN - 1}} # {words}" if words else text
        if len(line) > LINE:
            yield from textwrap.wrap(words, LINE, initial_indent="# ", subsequent_indent="# ")
            line = text
        yield line


def _layer_lines(loss: Component, file: str) -> Iterator[str]:
    """The layers that a loss reads: those that it needs as keys, with names to replace, the others in comments."""
    declared = declared_layers(loss.build) or ONE_OR_NONE
    for key, (least, most) in zip(KEYS, (declared.student, declared.teacher), strict=True):
        names = [f"name_{number}" for number in range(1, least + 1)] if least > 1 else ["name"]
        text = f"{key} = {toml_value(names)}"
        words = f"# names of its layers, which `kdrecipes list layers {file}` shows"
        if most:
            yield f"{text if least else f'# {text}':<{COMMENT_COLUMN - 1}} {words}"


def _example(schema: Mapping[str, Any], key: str, part: Mapping[str, Any]) -> Any:
    """A value that the schema takes for an option: its default, an example, or the first plain guess; None: none."""
    parts = [part, *part.get("anyOf", ()), *part.get("oneOf", ())]
    guesses = [guess for one in parts for guess in _guesses(one)]
    options = Draft7Validator({**schema, "required": []})
    return next((guess for guess in guesses if options.is_valid({key: guess})), None)


def _guesses(part: Mapping[str, Any]) -> list[Any]:
    guesses = [part[word] for word in ("default", "const") if word in part]
    guesses += [*part.get("examples", ()), *part.get("enum", ())]
    bounds = [part[word] for word in ("minimum", "maximum") if word in part]
    by_type = {
        "string": ["./path"] if part.get("format") == "path" else ["name"],
        "integer": [*bounds, 1, 0],
        "number": [*bounds, 1.0, 0.5, 0.0],
        "boolean": [False],
        "array": [[]],
    }
    kinds = part.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        guesses += by_type.get(kind, [])
    return [guess for guess in guesses if guess is not None]


def _rendered(template: str, words: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("kdrecipes.recipe") / "templates" / template).read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(text).render(**words)
