"""The pages that are made from the code: a hook of mkdocs, and plain functions that give Markdown, for the tests.

Nothing of it is committed: a page is made when the site is built, from the command line, the schemas, the registry and
`kdrecipes.__all__`, so it says what they say.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loss_figures
import loss_tables
from schema_tables import code, keys, prose, table, tables

from kdrecipes import testing
from kdrecipes.components.contract import recipe_options
from kdrecipes.components.hookspecs import KINDS
from kdrecipes.components.registry import Registry, load_registry
from kdrecipes.recipe.structure import CLOSED_LISTS, TERM_SCHEDULES, structure_schema
from kdrecipes.wording import points

ROOT = Path(__file__).resolve().parent.parent

# The public names in the order of the page; one that is missing here stands under "More" until it has its place.
PYTHON = {
    "Whole runs": ["load_recipe", "run", "Recipe"],
    "Using a student": ["load_student", "SavedStudent"],
    "Distilling in a script": ["Distiller", "Outputs"],
    "Losses": ["KD", "DIST", "Hint", "Projected"],  # and the terms that `kdrecipes.losses` alone names
    "Components": ["component", "Component", "hookimpl", "decode"],
    "Speed": ["accelerate", "fast.restore"],
    "Errors": ["KDRecipesError", "RecipeError", "RunError", "UsageError", "EnvironmentProblem"],
}
PLURAL = {"model": "Models", "dataset": "Datasets", "loss": "Losses", "callback": "Callbacks", "exporter": "Exporters"}


def pages() -> dict[str, str]:
    """Markdown of every generated page, by its path under docs/."""
    return {
        "reference/cli.md": cli_page(),
        "reference/recipe.md": recipe_page(),
        "reference/components.md": components_page(),
        "reference/report.md": report_page(),
        "reference/python.md": python_page(),
    }


def inserted(markdown: str) -> str:
    """A hand-written page with its lines `<!-- results/NAME.json -->` replaced by what that file holds.

    A line `<!-- losses -->` becomes the table of the terms on logits, `<!-- losses compared -->` and
    `<!-- losses confirmed -->` what the committed sweeps say of all.
    """

    def found(match: re.Match[str]) -> str:
        report = json.loads((ROOT / match[1]).read_text(encoding="utf-8"))
        if "rows" in report:  # of `benchmarks`
            sys.path.append(str(ROOT))
            from benchmarks.report import HEAD, cells, sentence

            return f"{table(HEAD[1:], [row[1:] for row in cells(report)])}\n\n{sentence(report)}"
        if "tried" in report:
            return steps_tried(report)
        if "points" in report:
            return by_labels(report)
        from kdrecipes.report.table import summary_text

        text, _, verdict = summary_text(report).partition("\n\n")
        return f"```text\n{text}\n```\n\n{verdict}"

    markdown = re.sub(r"<!-- (results/\w+\.json) -->", found, markdown)
    tables = {"": loss_tables.on_logits, " compared": loss_figures.compared, " confirmed": loss_figures.confirmed}
    return re.sub("^<!-- losses( \\w+)? -->$", lambda match: tables[match[1] or ""](), markdown, flags=re.MULTILINE)


def steps_tried(found: dict[str, Any]) -> str:
    """What `studies/steps.py` found: validation accuracy by number of steps, and the preferred one's test accuracy."""
    rows = [(f"{one['steps']:,}", f"{100 * one['validation_accuracy']:.2f}") for one in found["tried"]]
    mean = sum(found["test_accuracy"]) / len(found["test_accuracy"])
    return (
        f"{table(['steps of the labels-only student', 'validation accuracy, %'], rows)}\n\n"
        f"Validation prefers {found['preferred_steps']:,} steps. On test these students reach {100 * mean:.2f} %, "
        f"a mean of {len(found['seeds'])} seeds."
    )


def by_labels(found: dict[str, Any]) -> str:
    """What `studies/labels.py` found: a row for each number of labels, means over its seeds."""
    head = ["labels", "teacher", "student, labels only", "student, distilled", "difference, 95% interval"]
    rows = [
        (
            f"{one['labelled']:,}",
            *(f"{100 * one[key]:.2f}" for key in ("teacher", "baseline", "kd")),
            f"{points(one['mean'])} ({' to '.join(points(end) for end in one['ci95'])})",
        )
        for one in found["points"]
    ]
    return table(head, rows)


# The command line.


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it, `kdrecipes` itself and groups included, in the order of `--help`."""
    from typer.main import get_command

    from kdrecipes.cli.main import app

    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, part in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}", part)

    yield from walk("kdrecipes", get_command(app))


def parameters(command: Any) -> list[tuple[str, str, str]]:
    """(what is written, default, help) of each of a command's arguments and options; `--help` is left out."""
    rows = []
    context = command.context_class(command)
    for parameter in command.params:
        # As `--help` writes it, `--out <path>`, but for the list's type and for the dots of what may be repeated.
        written = re.sub(r" <list\[.*\]>", "", parameter.get_help_record(context)[0])
        if (getattr(parameter, "multiple", False) or parameter.nargs == -1) and not written.endswith("…"):
            written += " …"
        default = "" if parameter.default in (None, False, []) else str(parameter.default)
        if parameter.required:
            default = "required"
        rows.append((written, default, parameter.help or ""))
    return rows


def surface() -> str:
    """The command line as a list: one line for each command, argument and option with its default, without its help."""
    lines = []
    for words, command in commands():
        lines.append(words)
        lines += [f"{words}  {written}  {default}".rstrip() for written, default, _ in parameters(command)]
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """reference/cli.md."""
    parts = [
        "# Command line",
        "stdout is the result, stderr progress and messages. What ends in … may be given several times. "
        "`--help` shows a command's own part of this page.",
    ]
    for words, command in commands():
        parts.append(f"## `{words}`" if words.count(" ") < 2 else f"### `{words}`")
        parts += _help(command.help or "")
        if getattr(command, "commands", None):
            links = ", ".join(f"[`{name}`](#{slug(f'{words} {name}')})" for name in command.commands)
            parts.append(f"Commands: {links}.")
        if rows := parameters(command):
            body = [
                [
                    code(written.replace("|", ", ").replace(" range>", ">")),
                    default if default == "required" else code(default),
                    prose(text),
                ]
                for written, default, text in rows
            ]
            parts.append(table(["argument", "default", ""], body))
        if command.epilog:
            parts += _help(command.epilog)
    return "\n\n".join(parts) + "\n"


def _help(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        example = re.match(r"(?:Example|Examples):\s+(.*)", paragraph, re.DOTALL)
        if example:
            yield "```bash\n" + "\n".join(line.strip() for line in example[1].splitlines()) + "\n```"
        elif paragraph:
            yield prose(" ".join(paragraph.split()))


def slug(heading: str) -> str:
    """The anchor that a heading gets, as Python-Markdown makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


# The schemas.


def recipe_page() -> str:
    """reference/recipe.md: every key of the structure; a component's options stand in reference/components.md."""
    root = structure_schema()
    parts = [
        "# Recipe: every key",
        "A table that names a component takes that component's options too: see [components](components.md). What "
        "belongs together is told in the [guide](../guide/recipes.md).",
    ]
    for path, schema in tables("", root, root):
        last = path.rpartition(".")[2]
        heading = f"[[{path[:-2]}]]" if path.endswith("[]") else f"[{path}]" if path else "The recipe's root"
        parts.append(f"## {code(heading) if path else heading}")
        parts.append(prose(schema.get("description", "")) if path else "")
        parts.append(table(["key", "type", "default", ""], keys(schema, root)))
        if last in CLOSED_LISTS:
            if path.startswith("teacher"):
                parts.append(f"Its options: as in [`[train.{last}]`](#{slug(f'train.{last}')}).")
                continue
            choices = TERM_SCHEDULES if path.startswith("loss") else CLOSED_LISTS[last]
            for name, options in root["definitions"][choices].items():
                rows = keys(options, root)
                parts.append(f'### `name = "{name}"`')
                parts.append(table(["key", "type", "default", ""], rows) if rows else "No options.")
    return "\n\n".join(filter(None, parts)) + "\n"


def report_page() -> str:
    """reference/report.md: every key of report.json."""
    root = json.loads((ROOT / "schemas" / "report.schema.json").read_text(encoding="utf-8"))
    parts = [
        "# report.json: every key",
        "What the figures mean and how they are made is told in [running](../guide/running.md). The schema itself is "
        "`schemas/report.schema.json`.",
    ]
    for path, schema in tables("", root, root):
        parts.append(f"## `{path}`" if path else "## The report")
        parts.append(prose(schema.get("description", "")) if path else "")
        parts.append(table(["key", "type", ""], [[name, kind, text] for name, kind, _, text in keys(schema, root)]))
    return "\n\n".join(filter(None, parts)) + "\n"


# Components and Python.


def our_registry() -> Registry:
    """The built-ins and the packages under plugins/, without what else is installed on this machine."""
    projects = [tomllib.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "plugins").glob("*/pyproject.toml")]
    ours = {"kdrecipes", *(project["project"]["name"] for project in projects)}
    registry = Registry()
    for component, provider in load_registry().components.values():
        if provider.distribution in ours:
            registry.add(component, provider)
    return registry


def components_page() -> str:
    """reference/components.md."""
    registry = our_registry()
    parts = [
        "# Components",
        "What a recipe can name, with the options that stand beside `name` in its table. `kdrecipes list` shows what "
        "is installed, this page what comes with kdrecipes and with the packages under `plugins/`.",
    ]
    for kind in KINDS:
        parts.append(f"## {PLURAL[kind]}")
        for name in registry.names(kind):
            component, provider = registry.components[kind, name]
            options = recipe_options(component)
            parts.append(f"### `{name}`")
            who = "" if provider.distribution == "kdrecipes" else f" Plugin `{provider.distribution}`."
            parts.append(f"{prose(component.summary[:1].upper() + component.summary[1:])}.{who}")
            rows = keys(options, component.options)
            parts.append(table(["option", "type", "default", ""], rows) if rows else "No options.")
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """reference/python.md, in mkdocstrings' notation."""
    import kdrecipes

    placed = [name for names in PYTHON.values() for name in names]
    terms = {term.__name__: term for term in loss_tables.classes().values()}
    more = [f"losses.{name}" for name in terms if name not in placed]
    groups = (
        PYTHON
        | {"Losses": PYTHON["Losses"] + more}
        | {"More": [name for name in kdrecipes.__all__ if name not in placed]}
    )
    parts = [
        "# Python",
        "`import kdrecipes` imports neither torch nor Keras; the names that need them do at first use.",
    ]
    for heading, names in groups.items():
        if not names:
            continue
        parts.append(f"## {heading}")
        for name in names:
            if name == "hookimpl":  # a marker of pluggy's: it has no docstring, the hook has
                parts.append("`kdrecipes.hookimpl` marks the function of a plugin that implements the hook:")
            parts.append(_documented(f"kdrecipes.{name}"))
            term = terms.get(name.removeprefix("losses."))
            if term is not None:  # a docstring that is read, and not run, lacks its paper and options
                parts.append(loss_tables.details(term))
    parts += ["## Checks for plugin authors", f"::: kdrecipes.testing\n    options:\n      members: {testing.__all__}"]
    return "\n\n".join(parts) + "\n"


def _documented(name: str) -> str:
    """One public name: where mkdocstrings finds it, and what of it is shown."""
    options = {"heading": f'"{name}"', "toc_label": name.removeprefix("kdrecipes.")}
    place = name
    if name == "kdrecipes.hookimpl":
        place = "kdrecipes.components.hookspecs.kdrecipes_components"
        options = {}
    elif name in ("kdrecipes.accelerate", "kdrecipes.fast.restore"):
        place = f"kdrecipes.fast.accelerate.{name.rpartition('.')[2]}"  # by its package it is found as the module
    elif name == "kdrecipes.Distiller":
        options["members"] = "[compile, fit]"  # the rest is Keras' own interface
    lines = [f"      {key}: {value}" for key, value in options.items()]
    return "\n".join([f"::: {place}", *(["    options:", *lines] if lines else [])])


# mkdocs calls these.


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, markdown in pages().items():
        files.append(File.generated(config, path, content=markdown))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the figures of results/ where a page asks for them."""
    return inserted(markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn, which fails a strict build, where a page would load something from a network."""
    loaded = re.findall(
        r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\s\">]+)", output
    )
    for address in loaded:
        logging.getLogger("mkdocs.hooks.kdrecipes").warning("%s would load %s", page.file.src_uri, address)
    return output
