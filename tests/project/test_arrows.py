"""Imports point one way: every room may import what stands before it in ROOMS, and nothing imports in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "kdrecipes"
ROOMS = ["ground", "disk", "components", "recipe", "data", "fast", "training", "report", "runs", "cli", "testing"]
DOORS = ("kdrecipes", "kdrecipes.__main__")  # they name what is public, and nobody imports them
LIGHT = ("components", "recipe", "report", "cli")  # listing and validating must not wait for torch
HEAVY = (
    "torch",
    "keras",
    *(f"kdrecipes.{part}" for part in ("backend", "keras_private", "layers", "data", "fast", "training", "runs")),
)
FILES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): file for name, file in FILES.items()}


def imported(nodes):
    """What import statements name, type-checking ones too: modules of ours, and others by their whole name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "ground"


TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
GRAPH = {n: {m for m in imported(ast.walk(t)) if m in MODULES} for n, t in TREES.items() if n not in DOORS}


def broken_by(module, other):
    """The rule that an import breaks; empty where it breaks none."""
    mine, its = room(module), room(other)
    if ROOMS.index(its) > ROOMS.index(mine):
        return f"{mine} may not import {its}, which stands above it"
    if mine == "report" and its in ("training", "fast", "data"):
        return "report is made from a run folder alone"
    if mine == "fast" and its not in ("fast", "ground") and not other.startswith("kdrecipes.components.models"):
        return "fast uses the ground and components.models only"
    if mine != "testing" and its == "testing":
        return "testing is for plugin authors"
    return ""


def test_imports_point_one_way():
    found = [f"{a} imports {b}: {rule}" for a, them in GRAPH.items() for b in them if (rule := broken_by(a, b))]
    assert not found, "\n".join(found)


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(GRAPH).prepare()  # raises a CycleError that names the modules in the circle


def test_listing_and_validating_import_no_torch():
    found = [
        f"{name} imports {other} when it is imported: {room(name)} must stay light"
        for name, tree in TREES.items()
        if room(name) in LIGHT
        for other in imported(tree.body)
        if other.startswith(HEAVY)
    ]
    assert not found, "\n".join(found)
