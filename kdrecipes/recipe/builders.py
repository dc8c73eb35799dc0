"""What the builders that a valid recipe names tell before anything is built: whether they can be called, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.losses.taken_layers import KEYS, declared_layers
from kdrecipes.components.signature import call_problem
from kdrecipes.recipe.messages import Message
from kdrecipes.recipe.positions import Path, show_path
from kdrecipes.recipe.split import base_of
from kdrecipes.recipe.structure import Data, component_tables, show
from kdrecipes.recipe.tables import Recipe

Found = Iterator[tuple[Path, Message]]


def uncallable(recipe: Recipe) -> Found:
    """Each place whose component has a builder that can't be called as its options say: its plugin is broken."""
    seen = set()
    for table in recipe.components():
        component, provider = recipe.registry.components[table.kind, table.name]
        names = {*recipe.options(table, **dict.fromkeys(PASSED_BY_RUN[table.kind]))}
        if table.kind == "dataset":  # each source is of a split
            names.add("split")
        problem = call_problem(component, names)
        if problem and table.place not in seen:  # copies of a teacher are one place
            seen.add(table.place)
            rule = f"the {table.kind} {table.name!r} ({provider}) can't be built: its {problem}"
            yield (*_path_of(recipe, table.place), "name"), Message("broken-component", rule)


def layer_problems(component: Component | None, term: Data) -> Iterator[tuple[str, Message]]:
    """Which keys of a term's table name layers that it does not read, or lack some, where its class declares this.

    Args:
        component: of the term; None where there is none of its name.
        term: its table. Values of wrong types are not its business.
    """
    declared = declared_layers(component.build) if component else None
    given = [term.get(key) for key in KEYS]
    if component is None or declared is None or not all(one is None or isinstance(one, list) for one in given):
        return
    for key, rule in declared.problems(component.name, *given, projector="projector" in term):
        received = show(term[key]) if key in term else ""
        yield key, Message("unpaired-layers" if received else "missing-key", rule, received)


def option_problems(component: Component, options: Data, size: int | None) -> Iterator[tuple[str, Message]]:
    """What is wrong between the options of one component, as its builder tells by `problems`.

    Args:
        component: the table's.
        options: what the table gives, which fits the component's schema; the run's own keys left out.
        size: pixels per side that a network is to see; None where the recipe does not say.

    Raises:
        Exception: whatever a stranger's code raises.
    """
    tell = getattr(component.build, "problems", None)
    if tell is None:
        return
    declared = component.options.get("properties", {})
    given = {key: part["default"] for key, part in declared.items() if "default" in part} | options
    if "image_size" in declared:
        given["image_size"] = size
    for key, rule, meant in tell(**given):
        value = given.get(key)
        suggestion = show(meant) if meant and isinstance(value, str) else meant
        yield key, Message("broken-rule", rule, "" if value is None else show(value), suggestion)


def without_labels(recipe: Recipe) -> Found:
    """What a recipe can't do on training images that have no labels, where its dataset tells that they have none."""
    table = recipe.dataset
    for key in ("validation", "test"):
        split = getattr(table, key)
        if isinstance(split, str) and _labelled(recipe, split) is False:
            yield ("dataset", key), Message("nothing-to-compare", "has no labels to measure by", show(split))
    if _labelled(recipe, table.train) is False:
        for path, need in needs_without_labels(recipe):
            rule = f"dataset.train = {show(table.train)} has no labels; that needs {need}"
            yield path, Message("nothing-to-learn", rule)


def needs_without_labels(recipe: Recipe) -> list[tuple[Path, str]]:
    """What a recipe whose training images have no labels lacks: the key that has to change, and what it needs."""
    table = recipe.dataset
    if recipe.has_unlabelled:
        key = "labelled" if table.labelled is not None else "unlabelled"
        return [(("dataset", key), "no dataset." + key)]
    needs: list[tuple[Path, str]] = []
    if not isinstance(table.validation, str):
        needs.append((("dataset", "validation"), "dataset.validation names a split that has labels"))
    if recipe.loss.label_weight != 0:
        needs.append((("loss", "label_weight"), "loss.label_weight = 0"))
    if recipe.compare.baseline:
        needs.append((("compare", "baseline"), "compare.baseline = false"))
    for place in dict.fromkeys(teacher.place for teacher in recipe.teachers.values() if teacher.train):
        needs.append(((*_path_of(recipe, place), "train"), f"no [{place}.train]"))
    if recipe.train.class_weight:
        needs.append((("train", "class_weight"), "no train.class_weight"))
    return needs


def _labelled(recipe: Recipe, split: str) -> bool | None:
    """Whether a split has labels, as its dataset's builder says without reading an image; None where it can't tell."""
    ask = getattr(recipe.registry.components["dataset", recipe.dataset.name][0].build, "labelled", None)
    with suppress(Exception):  # data that are not there, or a stranger's code: the run tells
        if ask is not None and isinstance(told := ask(split=base_of(split), **recipe.options(recipe.dataset)), bool):
            return told
    return None


def _path_of(recipe: Recipe, place: str) -> Path:
    return next(path for path, *_ in component_tables(dict(recipe.data)) if show_path(path) == place)
