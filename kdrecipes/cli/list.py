"""`kdrecipes list`: what a recipe can name here, and who provides it; and the runs in a folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdrecipes.cli.options import JsonOption, PluginOption
from kdrecipes.cli.result import print_json, say
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


_KIND_OF = {
    Topic.models: "model",
    Topic.datasets: "dataset",
    Topic.losses: "loss",
    Topic.callbacks: "callback",
    Topic.exporters: "exporter",
}


def list_(
    topic: Annotated[Topic | None, typer.Argument(help="Default: everything but runs.")] = None,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to look for runs; default: the folder `runs`.")
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Show what is installed and who provides it: models, datasets, losses, callbacks, exporters, plugins; and recipes.

    Example:  kdrecipes list runs

    Of runs it shows the state, the recipe, the test accuracies and the size. A killed run is one whose process ended
    without a word; the command that began it continues it, as it does a preempted one.
    """
    if topic is Topic.runs:
        _list_runs(folder, as_json)
        return
    if folder is not None:
        raise UsageError(f"A folder is for runs alone: `kdrecipes list runs {folder}`.")
    from kdrecipes.components.registry import load_registry

    registry = load_registry(tuple(path.resolve() for path in plugin))
    topics = [topic] if topic else [one for one in Topic if one is not Topic.runs]
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
