"""What a JSON schema says, as Markdown tables: keys, types with their ranges, defaults, descriptions."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kdrecipes.recipe.structure import followed, show, words_of

Schema = Mapping[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def prose(text: str) -> str:
    """A description as Markdown: outside of its code nothing in it is taken for HTML, emphasis or a link."""
    parts = html.escape(text, quote=False).split("`")
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = text.split("`")[1::2]
    return "`".join(parts)


def code(text: str) -> str:
    """Text in a fixed-width font; an empty text stays empty."""
    return f"`{text}`" if text else ""


def resolved(part: Schema, root: Schema) -> dict[str, Any]:
    """A schema with its `$ref` followed, and with the table where it is a table or null, or one or several."""
    part = followed(part, root)
    for branch in (*part.get("oneOf", ()), *([part["else"]] if "else" in part else ())):
        if "properties" in resolved(branch, root):
            return {**resolved(branch, root), **part}
    return dict(part)


def keys(schema: Schema, root: Schema) -> list[list[str]]:
    """A row for each key of a table: name, type and range, default, description."""
    rows = []
    for name, part in schema.get("properties", {}).items():
        part = resolved(part, root)
        default = code(show(part["default"])) if "default" in part else ""
        default = "required" if name in schema.get("required", ()) else default
        described = [prose(part.get("description", ""))]
        if part.get("examples"):
            described.append("E.g. " + ", ".join(code(show(example)) for example in part["examples"]) + ".")
        rows.append([code(name), prose(type_of(part, root)), default, " ".join(described).strip()])
    return rows


def type_of(part: Schema, root: Schema) -> str:
    """What a value must be, in words, with its range: `a whole number ≥ 1`."""
    if "x-rule" in part:
        return part["x-rule"].removeprefix("must be ")
    if part.get("type") == "array":
        item = resolved(part.get("items", {}), root)
        least, most = part.get("minItems", 0), part.get("maxItems")
        many = f"{least} " if least == most else ""
        return f"an array of {many}tables" if "properties" in item else f"an array of {many}{_plural(item, root)}"
    if "properties" in part:
        return "a table or an array of tables" if "else" in part else "a table"
    branches = part.get("anyOf") or part.get("oneOf") or ()
    if branches and "type" not in part and "enum" not in part:
        return " or ".join(dict.fromkeys(type_of(resolved(branch, root), root) for branch in branches))
    text = "a path" if part.get("format") == "path" else words_of(part)
    return f"{text} {_range(part)}".strip()


def _range(part: Schema) -> str:
    """The limits of a number: `≥ 1`, `above 0 to 180`, `from 0 to below 1`; empty where there are none."""
    limits = ("minimum", "≥", "from"), ("exclusiveMinimum", ">", "above"), ("maximum", "≤", "to")
    found = [limit for limit in (*limits, ("exclusiveMaximum", "<", "to below")) if limit[0] in part]
    if len(found) == 1:
        return f"{found[0][1]}\N{NO-BREAK SPACE}{part[found[0][0]]:,}"
    return " ".join(f"{word}\N{NO-BREAK SPACE}{part[key]:,}" for key, _, word in found)


def _plural(item: Schema, root: Schema) -> str:
    text = type_of(item, root)
    plurals = {"a string": "strings", "a whole number": "whole numbers", "a number": "numbers"}
    for one, many in plurals.items():
        if text.startswith(one):
            return many + text.removeprefix(one)
    return text


def tables(path: str, schema: Schema, root: Schema) -> Iterator[tuple[str, Schema]]:
    """A table and all below it, each with its path; `[]` ends the path of a table that repeats."""
    yield path, schema
    for name, part in schema["properties"].items():
        target = resolved(part, root)
        inner, repeated = (resolved(target["items"], root), "[]") if "items" in target else (target, "")
        if "properties" in inner:
            yield from tables(f"{path}.{name}{repeated}".lstrip("."), inner, root)
