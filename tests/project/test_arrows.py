"""Imports point one way: every room may import what stands before it in ROOMS, and nothing imports in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "kdrecipes"
ROOMS = ["ground", "disk", "components", "recipe", "data", "fast", "training", "report", "runs", "cli", "testing"]
DOORS = (
    "kdrecipes",
    "kdrecipes.__main__",
    "kdrecipes.losses",
)  # they name what is public; from inside, nobody goes through them
HEAVY = ("torch", "keras")
OWN_KERAS = (  # the ground's heavy part
    "kdrecipes.backend",
    "kdrecipes.classifiers",
    "kdrecipes.keras_private",
    "kdrecipes.layers",
    "kdrecipes.saved_models",
    "kdrecipes.term_layers",
    "kdrecipes.torch_modules",
)
HEAVY_ROOMS = ("data", "fast", "training", "runs", "testing")
FILES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): file for name, file in FILES.items()}


def imported(nodes):
    """What import statements name: modules of ours, and others by their whole name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: import by the whole name, not relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def at_once(tree):
    """The nodes that run when a module is imported: not what stands in functions, nor for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not checked and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_once(node)


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "ground"


def broken_by(module, other):
    """The rule that an import breaks; empty where it breaks none."""
    mine, its = room(module), room(other)
    if other in DOORS:
        return "import from the room, not through the package's door"
    if ROOMS.index(its) > ROOMS.index(mine):
        return f"{mine} may not import {its}, which stands above it"
    if mine == "report" and its in ("training", "fast", "data"):
        return "report is made from a run folder alone"
    if mine == "fast" and its not in ("fast", "ground"):
        return "fast uses the ground alone"
    return ""


def too_heavy(module, other):
    """Why a module may not import another when it is imported itself; empty where it may."""
    mine = room(module)
    if mine in HEAVY_ROOMS or module in OWN_KERAS:
        return ""
    heavy = other.split(".")[0] in HEAVY or other in OWN_KERAS or (other in MODULES and room(other) in HEAVY_ROOMS)
    return f"{mine} must stay light: listing and validating do not wait for torch" if heavy else ""


TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items() if name not in DOORS}
GRAPH = {name: {m for m in imported(ast.walk(tree)) if m in MODULES} for name, tree in TREES.items()}


def test_imports_point_one_way():
    found = [f"{a} imports {b}: {rule}" for a, them in GRAPH.items() for b in them if (rule := broken_by(a, b))]
    assert not found, "\n".join(found)


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(GRAPH).prepare()  # raises a CycleError that names the modules in the circle


def test_listing_and_validating_import_no_torch():
    pairs = [(name, other) for name, tree in TREES.items() for other in imported(at_once(tree))]
    found = [f"{a} imports {b} at once: {rule}" for a, b in pairs if (rule := too_heavy(a, b))]
    assert not found, "\n".join(found)


def test_plugins_use_the_public_door_alone():
    """What a third party can't build on is not built on here; the example's tests use `kdrecipes.testing` too."""
    files = (PACKAGE.parent / "plugins").glob("*/kdrecipes_*/**/*.py")
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    found = {other for tree in trees.values() for other in imported(ast.walk(tree)) if other in MODULES}
    assert len(trees) > 10 and found == {"kdrecipes"}


@pytest.mark.parametrize(
    ("module", "code", "rule"),
    [
        ("kdrecipes.recipe.load", "def f():\n    from kdrecipes.runs.run import run", "recipe may not import runs"),
        (
            "kdrecipes.data.views",
            "if TYPE_CHECKING:\n    import kdrecipes.runs.run",
            "data may not import runs",
        ),
        ("kdrecipes.report.table", "from kdrecipes.data.prepare import Data", "from a run folder alone"),
        ("kdrecipes.fast.plan", "from kdrecipes.components.models import cnn", "fast uses the ground alone"),
        ("kdrecipes.report.table", "from kdrecipes import Distiller", "through the package's door"),
        ("kdrecipes.runs.run", "from kdrecipes.testing import check_loss", "runs may not import testing"),
        ("kdrecipes.recipe.load", "try:\n    import torch\nexcept ImportError: pass", "recipe must stay light"),
        ("kdrecipes.disk.files", "class A:\n    from kdrecipes.backend import keras", "disk must stay light"),
        ("kdrecipes.cli.run", "from kdrecipes.runs.run import run", "cli must stay light"),
        ("kdrecipes.hashing", "import keras.ops", "ground must stay light"),
    ],
)
def test_each_rule_finds_what_breaks_it(module, code, rule):
    tree = ast.parse(code)
    found = [broken_by(module, other) for other in imported(ast.walk(tree)) if other in MODULES]
    found += [too_heavy(module, other) for other in imported(at_once(tree))]
    assert any(rule in one for one in found), found


def test_arrays_are_read_by_what_never_unpickles_and_asks_for_no_memory_that_a_file_does_not_fill():
    """Pickles go from a process to those that it has begun, and nowhere else; no archive is unpacked as it says."""
    readers = {"np.load", "numpy.load", "h5py.File", "torch.load", "pickle.load", "pickle.loads"}
    readers |= {"tarfile.open", "shutil.unpack_archive", "keras.utils.get_file"}  # CVE-2025-12638
    found = {
        (name, called)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in readers
    }
    assert found == {
        ("kdrecipes.disk.numpy_files", "np.load"),
        ("kdrecipes.data.parallel_reader", "pickle.loads"),
        ("kdrecipes.testing.datasets", "pickle.loads"),
    }
    assert not [name for name, file in MODULES.items() if "allow_pickle=True" in file.read_text(encoding="utf-8")]


def test_every_word_to_a_terminal_goes_by_what_makes_it_harmless():
    """`say` and `tell` do; the question before a cache is removed, and the version, are words of ours."""
    allowed = {"kdrecipes.cli.result": 2, "kdrecipes.cli.cache": 1, "kdrecipes.cli.main": 1}
    found = {name: file.read_text(encoding="utf-8").count("typer.echo(") for name, file in MODULES.items()}
    assert {name: count for name, count in found.items() if count} == allowed
