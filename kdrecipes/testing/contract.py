"""What every component promises, whatever its kind, and the small recipe that the checks of its kind run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from kdrecipes.components.contract import check_component, recipe_options, undescribed
from kdrecipes.components.datasets import digits
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.losses.declared import component_of
from kdrecipes.components.losses.kd import KD
from kdrecipes.components.models import cnn
from kdrecipes.components.plugins import HEAVY, Provider
from kdrecipes.components.registry import Registry
from kdrecipes.components.search import names_told
from kdrecipes.components.signature import missing_argument, unexpected_argument
from kdrecipes.data.prepare import Data
from kdrecipes.errors import KDRecipesError, one_line
from kdrecipes.recipe.builders import option_problems
from kdrecipes.recipe.checker import Checker
from kdrecipes.recipe.make import make_recipe
from kdrecipes.recipe.resolve import resolve
from kdrecipes.recipe.tables import Recipe

_TABLE_OF = {"model": "teacher", "dataset": "dataset", "loss": "loss", "callback": "callbacks"}

# Loads a plugin as kdrecipes does, and prints which heavy packages that brought along.
_LOAD = f"""
import importlib, importlib.util, sys
HEAVY = {HEAVY}
name, file, *sys.path = sys.argv[1:]
try:
    module = importlib.import_module(name)
except ModuleNotFoundError as error:
    if error.name != name:
        raise
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
list(getattr(module, "kdrecipes_components", list)())
print("\\n@", *[name for name in HEAVY if name in sys.modules])
"""


def broken(component: Any, rule: str, received: Any = None) -> AssertionError:
    """The error that names the component, the rule and what was received."""
    label = f"{component.kind} {component.name!r}" if isinstance(component, Component) else "component"
    return AssertionError(f"{label}: {rule}." + ("" if received is None else f" Received: {received}"))


@contextmanager
def trying(component: Component, what: str) -> Iterator[None]:
    """Turn whatever a stranger's code raises into an AssertionError that says what was tried."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        # What is meant for people needs no class of error before it, nor the place in the recipe that the check made.
        told = str(error).removeprefix(f"{component.kind}: ") if isinstance(error, KDRecipesError) else one_line(error)
        raise broken(component, f"{what} failed", told) from error


def check_contract(component: Component, kind: str, options: Mapping[str, Any]) -> Recipe:
    """Check what is promised of every component that a recipe names.

    Returns:
        A whole recipe, resolved, that names the component with these options; a model is its teacher.

    Raises:
        AssertionError: naming the component, the rule and what was received.
    """
    _check_record(component, kind)
    recipe = _recipe(component, options)
    with trying(component, "build.problems(**options), which `kdrecipes validate` asks,"):
        list(option_problems(component, dict(options), None))
    _check_loading(component)
    return recipe


def check_unnamed(component: Component, kind: str, options: Mapping[str, Any]) -> None:
    """Check the same of a component that no recipe names.

    Raises:
        AssertionError: naming the component, the rule and what was received.
    """
    _check_record(component, kind)
    for error in Draft7Validator(dict(component.options)).iter_errors(dict(options)):
        raise broken(component, "the options given must fit its schema", error.message)
    _check_loading(component)


def _check_record(component: Component, kind: str) -> None:
    """What the record itself promises."""
    if not isinstance(component, Component):
        raise broken(component, "must be a Component, as kdrecipes.component(kind, name) gives it", repr(component))
    for problem in check_component(component):
        raise AssertionError(problem)
    if component.kind != kind:
        raise broken(component, f"check_{component.kind} checks it, not check_{kind}")
    if not component.summary:
        raise broken(component, "needs a summary, one line for `kdrecipes list`", "''")
    for name in undescribed(component):
        raise broken(component, f"option {name!r} needs a description")
    _check_defaults(component)
    _check_signature(component)
    with trying(component, "build.names(), the names that its options take,"):
        names_told(component)


def _check_loading(component: Component) -> None:
    """Loading the component's plugin in a fresh Python works, and imports nothing heavy."""
    module = _plugin_module(component)
    heavy, error = _imported_by(module, getattr(sys.modules.get(module), "__file__", None) or "")
    if error:
        raise broken(component, f"loading {module} in a fresh Python failed", error)
    if heavy:
        raise broken(component, f"loading {module} must import neither {' nor '.join(HEAVY)}", heavy)


def data_of(classes: int, image_size: int = 8, examples: int = 1) -> Data:
    """Data of so many classes, size and training examples, without a picture: what builders are told of them."""
    split: Any = range(examples)
    names = [f"class {i}" for i in range(classes)]
    return Data(split, split, split, names, image_size, defaultdict(lambda: image_size), "", 0)


def _check_defaults(component: Component) -> None:
    schema = recipe_options(component)
    for name, part in schema["properties"].items():
        if "default" in part:
            for error in Draft7Validator(schema).iter_errors({name: part["default"]}):
                if name in error.absolute_path:
                    raise broken(component, f"the default of option {name!r} must fit its schema", error.message)


def _check_signature(component: Component) -> None:
    """`build` takes every option, needs nothing else, and has no second opinion about defaults."""
    with trying(component, "reading what arguments build takes"):
        signature = inspect.signature(component.build)
    parameters = {name: p for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
    if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters.values()):
        raise broken(component, "build must take keyword arguments", signature)
    declared, schema = component.options.get("properties", {}), recipe_options(component)
    if component.kind == "dataset" and "split" not in declared:
        raise broken(component, "must declare the option 'split', which the run passes", sorted(declared))
    for name in declared:
        if name not in parameters and len(parameters) == len(signature.parameters):
            raise broken(component, unexpected_argument(name), signature)
    for name, parameter in parameters.items():
        needed, part = parameter.default is parameter.empty, schema["properties"].get(name, {})
        if name not in declared and needed:
            raise broken(component, missing_argument(component, name), sorted(declared))
        if part and needed and "default" not in part and name not in schema.get("required", []):
            raise broken(component, missing_argument(component, name), signature)
        own = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if "default" in part and not needed and own != part["default"]:
            rule = f"option {name!r} must have one default, in its schema and in build"
            raise broken(component, rule, f"{part['default']!r} and {parameter.default!r}")


def _recipe(component: Component, options: Mapping[str, Any]) -> Recipe:
    registry = Registry()
    registry.add(component, Provider("plugin", "plugin", ""))
    for other in (digits.COMPONENT, cnn.COMPONENT, component_of(KD)):
        if (other.kind, other.name) != (component.kind, component.name):
            registry.add(other, Provider(other.name, "kdrecipes", ""))
    data: dict[str, Any] = {
        "schema_version": 1,
        "name": "check",
        "dataset": {"name": "digits"},
        "teacher": {"name": "cnn"},
        "student": {"name": "cnn"},
        "loss": {"name": "kd"},
        "train": {"epochs": 1, "batch_size": 2, "fast": False},
    }
    key = _TABLE_OF[component.kind]
    table = {"name": component.name, **options}
    data[key] = [table] if key == "callbacks" else table
    prefixes = (f"{key}.", f"{key}[0].")
    for problem in Checker(data, {}, "check", registry, {}).check():
        name = next((problem.path.removeprefix(p) for p in prefixes if problem.path.startswith(p)), problem.path)
        tail = f"; did you mean {problem.suggestion}?" if problem.suggestion else ""
        raise broken(component, f"option {name!r} {problem.rule}", (problem.received or "nothing") + tail)
    recipe = make_recipe(resolve(data, registry), registry, source="check", folder=Path.cwd())
    if component.kind != "model":
        return recipe
    # Its author gave a model: that the check takes it for a teacher is not to be told.
    return replace(recipe, teachers={name: replace(one, place="model") for name, one in recipe.teachers.items()})


def _plugin_module(component: Component) -> str:
    """The module that holds the hook which yields the component: the outermost above `build`, else `build`'s own."""
    own = inspect.unwrap(getattr(component.build, "func", component.build)).__module__
    parts = own.split(".")
    above = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return next((name for name in above if hasattr(sys.modules.get(name), "kdrecipes_components")), own)


@cache
def _imported_by(module: str, file: str) -> tuple[str, str]:
    """What of HEAVY a fresh Python imports with the module and its hook; its error, or "".

    A plugin may print when it is loaded: what counts stands behind the last @.
    """
    command = [sys.executable, "-c", _LOAD, module, file, *map(str, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True)
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    return done.stdout.rpartition("@")[2].strip(), last if done.returncode else ""
