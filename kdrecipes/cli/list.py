"""`kdrecipes list`: what a recipe can name here, and who provides it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdrecipes.cli.options import JsonOption, PluginOption, print_json

if TYPE_CHECKING:
    from kdrecipes.components.registry import Registry

Row = dict[str, Any]


class Topic(StrEnum):
    """What `kdrecipes list` can list."""

    models = "models"
    datasets = "datasets"
    losses = "losses"
    callbacks = "callbacks"
    recipes = "recipes"
    plugins = "plugins"
    advice = "advice"


_KIND_OF = {Topic.models: "model", Topic.datasets: "dataset", Topic.losses: "loss", Topic.callbacks: "callback"}


def list_(
    topic: Annotated[Topic | None, typer.Argument(help="Default: everything.")] = None,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Show the installed models, datasets, losses, callbacks, recipes and plugins, who provides them, and advice."""
    from kdrecipes.components.registry import load_registry

    registry = load_registry(tuple(path.resolve() for path in plugin))
    listing = {shown: _rows(shown, registry) for shown in ([topic] if topic else list(Topic))}
    if as_json:
        print_json(listing)
        return
    for heading, rows in listing.items():
        _print(heading, rows)


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
    typer.echo(heading if rows else f"{heading}\n  (none)")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        text = row.get("summary") or row.get("error") or ", ".join(row.get("components", []))
        who = f"  [{row['provider']}]" if row.get("provider") else ""
        state = f"{row['state']}: " if row.get("state") not in (None, "ok") else ""
        typer.echo(f"  {row['name']:<{width}}  {state}{text}{who}".rstrip())
        for note in row.get("notes", []):
            typer.echo(f"  {'':<{width}}  note: {note}")


def _first_comment(name: str) -> str:
    """A recipe's first comment line that is not an editor directive: what it is, for the listing."""
    from importlib import resources

    text = (resources.files("kdrecipes.packaged_recipes") / f"{name}.toml").read_text(encoding="utf-8")
    comments = [line[2:].strip() for line in text.splitlines() if line.startswith("# ")]
    return comments[0].partition("   ")[0] if comments else ""
