"""`kdrecipes list`: what a recipe can name here, and who provides it; the runs in a folder; a recipe's layers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, SetOption, collect_as_usual
from kdrecipes.cli.result import print_json, say, tell
from kdrecipes.errors import UsageError

if TYPE_CHECKING:
    from kdrecipes.components.registry import Registry

Row = dict[str, Any]


class Topic(StrEnum):
    """What `kdrecipes list` can list."""

    models = "models"
    datasets = "datasets"
    losses = "losses"
    callbacks = "callbacks"
    exporters = "exporters"
    recipes = "recipes"
    plugins = "plugins"
    advice = "advice"
    runs = "runs"
    layers = "layers"


OF_ONE = (Topic.runs, Topic.layers)  # listed on request, of a folder or a recipe


_KIND_OF = {
    Topic.models: "model",
    Topic.datasets: "dataset",
    Topic.losses: "loss",
    Topic.callbacks: "callback",
    Topic.exporters: "exporter",
}


def list_(
    topic: Annotated[Topic | None, typer.Argument(help="Default: everything but runs and layers.")] = None,
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR|RECIPE",
            help="For runs: where to look; default: the folder `runs`. For layers: the recipe.",
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="For layers: student, teacher, or the id of one of several teachers. Default: all networks."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For models: those with this in their names, the names that options of models take too.",
        ),
    ] = None,
    overrides: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Show what is installed and who provides it: models, datasets, losses, callbacks, exporters, plugins; and recipes.

    Example:  kdrecipes list runs;  kdrecipes list models --search mobilenet;  kdrecipes list layers digits

    Of runs it shows the state, the recipe, the test accuracies and the size. A killed run is one whose process ended
    without a word; the command that began it continues it, as it does a preempted one.

    Of layers it shows the names that `student_layers` and `teacher_layers` take, with the shape of what they give. It
    builds the networks as a run does, weights from the network included.

    A search shows what a recipe writes for each network that it finds, and the nearest names where it finds none. It
    reads what is installed and uses no network.
    """
    if topic is not Topic.models and search is not None:
        raise UsageError("--search is for models alone: `kdrecipes list models --search NAME`.")
    if topic is not Topic.layers and (role or overrides):
        given = "--role" if role else "--set"
        raise UsageError(f"{given} is for layers alone: `kdrecipes list layers RECIPE {given} …`.")
    if topic is Topic.runs:
        _list_runs(Path(place) if place else None, as_json)
        return
    if topic is Topic.layers:
        if place is None:
            raise UsageError("Say which recipe's layers: `kdrecipes list layers RECIPE`.")
        _list_layers(place, overrides, plugin, role, as_json)
        return
    if place is not None:
        raise UsageError(f"A folder is for runs alone: `kdrecipes list runs {place}`.")
    from kdrecipes.components.registry import load_registry

    registry = load_registry(tuple(path.resolve() for path in plugin))
    if search is not None:
        _search(search, registry, as_json)
        return
    topics = [topic] if topic else [one for one in Topic if one not in OF_ONE]
    listing = {shown: _rows(shown, registry) for shown in topics}
    if as_json:
        print_json(listing)
        return
    for heading, rows in listing.items():
        _print(heading, rows)


def _list_runs(folder: Path | None, as_json: bool) -> None:
    """Print the runs in a folder; the default one need not be there."""
    from kdrecipes.report.run_list import find_runs
    from kdrecipes.wording import printable, readable_bytes

    runs = find_runs(folder or Path("runs")) if folder or Path("runs").is_dir() else []
    if as_json:
        print_json({"runs": [vars(run) | {"path": printable(str(run.path))} for run in runs]})
        return
    rows = [
        (
            printable(str(run.path)),
            run.state,
            run.recipe,
            readable_bytes(run.bytes),
            printable(
                ", ".join(f"{who} {100 * share:.2f} %" for who, share in run.figures.items())
                or " ".join(run.error.split())[:200]
            ),
        )
        for run in runs
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)] if rows else []
    say("runs" if rows else "runs\n  (none)")
    for row in rows:
        path, state, recipe, size = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        say(f"  {path}  {state}  {recipe}  {size.strip().rjust(widths[3])}  {row[4]}".rstrip())


def _list_layers(recipe: str, overrides: list[str], plugin: list[Path], role: str | None, as_json: bool) -> None:
    """Print the layers of a recipe's networks that terms can read."""
    from kdrecipes.extras import need_run, telling_what_is_missing
    from kdrecipes.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides, plugins=plugin)
    need_run("`kdrecipes list layers`")
    collect_as_usual()
    from kdrecipes.runs.layers import readable_layers  # torch and keras

    with telling_what_is_missing("This recipe"):
        layers = readable_layers(loaded, role)
    if as_json:
        rows = [{"role": layer.role, "name": layer.name, "shape": list(layer.shape)} for layer in layers]
        print_json({"layers": rows})
        return
    width = max((len(layer.name) for layer in layers), default=0)
    for shown in dict.fromkeys(layer.role for layer in layers):
        say(shown)
        for layer in layers:
            if layer.role == shown:
                say(f"  {layer.name:<{width}}  {layer.shape}")


def _search(text: str, registry: Registry, as_json: bool) -> None:
    """Print the models with a text in their names, or the nearest."""
    from kdrecipes.components.search import search

    if not text.strip():
        raise UsageError("--search needs a part of a name, such as `--search resnet`.")
    result = search(registry, "model", text.strip())
    for clause in result.untold:
        tell(f"note: {clause}")
    listing = {"models": result.found} | ({} if result.found else {"nearest": result.nearest})
    if as_json:
        print_json(
            {
                heading: [{"name": one.name, "keys": one.keys, "provider": one.provider} for one in rows]
                for heading, rows in listing.items()
            }
        )
        return
    for heading, rows in listing.items():
        if rows or heading == "models":
            say(heading if rows else f"{heading}\n  (none)")
        width = max((len(one.name) for one in rows), default=0)
        for one in rows:
            keys = ", ".join(f'{key} = "{value}"' for key, value in one.keys.items())
            say(f"  {one.name:<{width}}  {keys}  [{one.provider}]")


def _rows(topic: Topic, registry: Registry) -> list[Row]:
    """What is listed under a topic, by name."""
    if topic is Topic.recipes:
        from kdrecipes.recipe.source import packaged_recipes

        return [{"name": name, "summary": _first_comment(name)} for name in packaged_recipes()]
    if topic is Topic.advice:
        from kdrecipes.report.advice import RULES

        return [{"name": rule.code, "summary": rule.title} for rule in RULES]
    if topic is Topic.plugins:
        return _plugins(registry)
    kind = _KIND_OF[topic]
    found = [registry.components[kind, name] for name in registry.names(kind)]
    return [{"name": c.name, "summary": c.summary, "provider": str(provider)} for c, provider in found]


def _plugins(registry: Registry) -> list[Row]:
    """Every plugin, loaded or not, and every name that two of them provide."""
    rows: list[Row] = [
        {
            "name": p.provider.plugin,
            "provider": str(p.provider),
            "components": p.components,
            "state": p.state,
            "error": p.error,
            "notes": p.notes,
        }
        for p in registry.plugins
    ]
    for (kind, name), owners in registry.conflicts.items():
        text = f"two plugins provide the {kind} {name!r}: {' and '.join(map(str, owners))}"
        conflict: Row = {"components": [], "state": "conflict", "error": text, "notes": []}
        rows.append({"name": name, "provider": ""} | conflict)
    return rows


def _print(heading: str, rows: list[Row]) -> None:
    say(heading if rows else f"{heading}\n  (none)")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        text = row.get("summary") or row.get("error") or ", ".join(row.get("components", []))
        who = f"  [{row['provider']}]" if row.get("provider") else ""
        state = f"{row['state']}: " if row.get("state") not in (None, "ok") else ""
        say(f"  {row['name']:<{width}}  {state}{text}{who}".rstrip())
        for note in row.get("notes", []):
            say(f"  {'':<{width}}  note: {note}")


def _first_comment(name: str) -> str:
    """A recipe's first comment line that is not an editor directive: what it is, for the listing."""
    from importlib import resources

    text = (resources.files("kdrecipes.packaged_recipes") / f"{name}.toml").read_text(encoding="utf-8")
    comments = [line[2:].strip() for line in text.splitlines() if line.startswith("# ")]
    return comments[0].partition("   ")[0] if comments else ""
