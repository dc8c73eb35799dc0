"""A plain installation checks and lists recipes without torch, Keras or TFDS; what needs more says the pip line."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from light_install import ROOT, declared, hidden_modules, kdrecipes, normal, python

from kdrecipes.errors import EnvironmentProblem, MissingPart
from kdrecipes.extras import EVERY_RUN, EXTRAS, need_run, telling_what_is_missing

PACKAGE = ROOT / "kdrecipes"
PLUGINS = sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))
UNASKED = {"importlib-resources"}  # no module of ours imports it: TensorFlow Datasets forgets to ask for it
ENTRIES = (  # what the light verbs import: all but run, report, compare and --dry-run
    "kdrecipes",
    "kdrecipes.cli.main",
    "kdrecipes.cli.checks",
    "kdrecipes.components.registry",
    "kdrecipes.components.datasets.arrays",
    "kdrecipes.components.datasets.digits",
    "kdrecipes.components.datasets.fashion_mnist",
    "kdrecipes.components.datasets.file_list",
    "kdrecipes.components.datasets.folder",
    "kdrecipes.components.datasets.tfds",
    "kdrecipes.data.thumbnails",
    "kdrecipes.disk.cache",
    "kdrecipes.recipe.editor_schema",
    "kdrecipes.recipe.load",
    "kdrecipes.recipe.scaffold",
    "kdrecipes.report.advice",
    "kdrecipes.report.data_page",
    "kdrecipes.report.run_list",
    "kdrecipes.runs.doctor_folders",
    "kdrecipes.runs.doctor_packages",
    "kdrecipes.runs.push",
    "kdrecipes.runs.resumed",
)
RUN_LINE = "`pip install 'kdrecipes[run]'`"


def modules() -> dict[str, Path]:
    """Every module of ours and its file."""
    found = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in found.items()}


def imported(file: Path, *, late: bool) -> Iterator[str]:
    """What a file imports, by whole names; `late`: in functions too."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not late:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield str(child.module)
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child)

    return walk(ast.parse(file.read_text(encoding="utf-8")))


def third_parties(file: Path, *, late: bool = True) -> set[str]:
    """The top modules that a file imports and that are neither Python's nor ours."""
    tops = {name.partition(".")[0] for name in imported(file, late=late)}
    return {top for top in tops if top not in sys.stdlib_module_names and not top.startswith("kdrecipes")}


def distribution(module: str) -> str:
    extras = {name: brings for parts in EXTRAS.values() for name, brings in parts.items()}
    return normal(extras.get(module, module))


def test_no_requirement_of_a_run_is_one_of_the_plain_installation():
    assert not declared()[""] & declared()["run"]
    assert {"numpy", "jsonschema", "typer"} <= declared()[""] and {"torch", "keras"} <= declared()["run"]


@pytest.mark.slow
def test_every_import_is_declared_and_every_requirement_is_imported():
    found = {distribution(module) for file in modules().values() for module in third_parties(file)}
    assert found <= set().union(*(declared()[extra] for extra in ("", *EXTRAS)))
    assert declared()[""] | declared()["run"] <= found | UNASKED | {"jinja2"}


@pytest.mark.slow
def test_every_import_of_an_extra_has_its_pip_line():
    for extra, parts in EXTRAS.items():
        assert {normal(brings) for brings in parts.values()} <= declared()[extra], extra
    for file in modules().values():
        for module in third_parties(file):
            known = any(module in parts for parts in EXTRAS.values())
            assert known or normal(module) in declared()[""], (file, module)


def test_the_other_extras_bring_what_a_run_needs():
    for extra in EXTRAS.keys() - {"run"}:
        assert "kdrecipes" in declared()[extra], extra


def test_what_the_light_verbs_import_is_in_the_plain_installation():
    """Every module that an entry brings along, and theirs."""
    ours, seen, open_ones = modules(), set(), list(ENTRIES)
    while open_ones:
        name = open_ones.pop()
        if name in seen:
            continue
        seen.add(name)
        heavy = {
            module for module in third_parties(ours[name], late=False) if distribution(module) not in declared()[""]
        }
        assert not heavy, f"{name} imports {heavy}"
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        open_ones += [other for other in (*imported(ours[name], late=False), *parents) if other in ours]
    assert len(seen) > 50, "the walk follows imports"


@pytest.mark.parametrize("package", PLUGINS, ids=lambda package: package.name)
def test_a_plugin_is_loaded_without_what_a_run_needs(package):
    """And asks pip for no such thing by itself: kdrecipes' own extra `run` brings it."""
    asked = declared(package)
    assert "kdrecipes" in asked[""] and not asked[""] & {"torch", "keras", "tensorflow", "jax"}
    module = package / package.name.replace("-", "_") / "__init__.py"
    assert not third_parties(module, late=False)
    known = set().union(*asked.values()) | declared()[""] | declared()["run"]
    for file in module.parent.glob("*.py"):
        assert {distribution(name) for name in third_parties(file)} <= known, file


def test_a_missing_module_of_an_extra_is_told_with_its_pip_line():
    with pytest.raises(MissingPart) as raised, telling_what_is_missing("The dataset tfds"):
        raise ModuleNotFoundError("No module named 'tensorflow_datasets.core'", name="tensorflow_datasets.core")
    assert isinstance(raised.value, ImportError) and isinstance(raised.value, EnvironmentProblem)
    assert str(raised.value) == (
        f"The dataset tfds needs tensorflow-datasets, which is not installed. Install it: {RUN_LINE}"
    )
    with pytest.raises(MissingPart, match=r"keras-hub.*kdrecipes\[hub\]"), telling_what_is_missing("The model"):
        raise ModuleNotFoundError("", name="keras_hub")


def test_any_other_missing_module_stays_what_it_is():
    with pytest.raises(ModuleNotFoundError, match="nowhere"), telling_what_is_missing("This recipe"):
        importlib.import_module("nowhere_at_all")


def test_all_that_a_run_lacks_is_told_before_it_begins(monkeypatch):
    need_run("`kdrecipes run`")  # nothing is missing here
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("scipy", "torch") else there(name))
    with pytest.raises(MissingPart) as raised:
        need_run("`kdrecipes run`")
    assert str(raised.value) == (
        f"`kdrecipes run` needs scipy and torch, which are not installed. Install them: {RUN_LINE}"
    )


# ---- The verbs, with everything hidden that a plain installation does not bring


@pytest.fixture(scope="module")
def hidden() -> set[str]:
    found = hidden_modules()
    assert found >= {*EVERY_RUN, "tensorflow_datasets", "PIL", "safetensors"}
    assert not found & {"numpy", "typer", "rich", "jsonschema", "kdrecipes", "kdrecipes_efficientnet_lite"}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "run --help",
        "validate digits quickstart",
        "validate digits --json",
        "validate digits --format github",
        "validate digits --show --verbose",
        "list",
        "list models",
        "list datasets",
        "list losses",
        "list callbacks",
        "list exporters",
        "describe --help",
        "resume --help",
        "doctor --help",
        "export --help",
        "predict --help",
        "push --help",
        "list recipes",
        "list plugins",
        "list advice",
        "list runs",
        "list --json",
        "cache list",
        "schema",
        "new recipe mine --teacher cnn --student cnn --dataset folder --out mine.toml",
        "new plugin kdrecipes-mine",
    ],
)
def test_a_light_verb_works(command, hidden, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    done = kdrecipes(*command.split(), cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert done.stdout


@pytest.mark.slow
def test_every_plugin_is_sound(hidden, tmp_path):
    done = kdrecipes("list", "plugins", "--json", cwd=tmp_path, hidden=hidden)
    found = {row["name"]: row for row in json.loads(done.stdout)["plugins"]}
    assert {"efficientnet_lite", "example", "huggingface", "transformers"} <= set(found)
    assert all((row["state"], row["notes"]) == ("ok", []) for row in found.values()), found


@pytest.mark.slow
def test_what_is_wrong_in_a_recipe_is_told_before_what_is_missing(hidden, tmp_path):
    for verb in (["run"], ["validate", "--dry-run"]):
        done = kdrecipes(*verb, "digits", "--set", "loss.temperatur=2", cwd=tmp_path, hidden=hidden)
        assert done.returncode == 2 and 'did you mean "temperature"?' in done.stderr, done.stderr
        assert RUN_LINE not in done.stderr


@pytest.mark.slow
def test_a_heavy_verb_says_the_pip_line(hidden, tmp_path):
    done = kdrecipes("run", "digits", cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "`kdrecipes run` needs keras, matplotlib, scipy, scikit-learn and torch, which are not installed. "
        f"Install them: {RUN_LINE}\n"
    )
    assert not (tmp_path / "runs").exists()
    done = kdrecipes("run", "digits", "--json", cwd=tmp_path, hidden=hidden)
    assert done.returncode == 3 and RUN_LINE in json.loads(done.stdout)["error"]
    done = kdrecipes("describe", "digits", cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stdout) == (3, "") and done.stderr == (
        f"`kdrecipes describe` needs pillow, which is not installed. Install it: {RUN_LINE}\n"
    )
    done = kdrecipes("doctor", "--json", cwd=tmp_path, hidden=hidden)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 3 and RUN_LINE in checks["packages"]["mend"], done.stderr
    assert checks["fit"]["state"] == "skipped"
    done = kdrecipes("list", "layers", "digits", cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stdout) == (3, "") and RUN_LINE in done.stderr
    done = kdrecipes("validate", "digits", "--dry-run", cwd=tmp_path, hidden=hidden)
    assert done.returncode == 3 and done.stderr.startswith("digits  --dry-run needs keras") and RUN_LINE in done.stderr
    done = kdrecipes("validate", "digits", "--dry-run", "--json", cwd=tmp_path, hidden=hidden)
    [problem] = json.loads(done.stdout)["files"][0]["problems"]
    assert done.returncode == 3 and problem["code"] == "missing-requirement"


@pytest.mark.slow
def test_a_report_says_the_pip_line(hidden, tmp_path, call, home, monkeypatch):
    tiny = [
        "student.width=2",
        "teacher.width=2",
        "train.epochs=1",
        "teacher.train.epochs=1",
        "report.measure=false",
        'teacher.preflight="warn"',
        'dataset.train="train[:160]"',
    ]
    monkeypatch.chdir(tmp_path)
    code, _, err = call("run", "digits", *(w for one in tiny for w in ("--set", one)))
    assert code == 0, err
    before = (tmp_path / "runs/digits/report.json").read_bytes()
    done = kdrecipes("report", "runs/digits", cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert done.stderr.startswith("`kdrecipes report` needs ") and RUN_LINE in done.stderr
    assert (tmp_path / "runs/digits/report.json").read_bytes() == before
    shutil.copytree(tmp_path / "runs/digits", tmp_path / "runs/again")
    done = kdrecipes("compare", "runs/digits", "runs/again", cwd=tmp_path, hidden=hidden)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert done.stderr.startswith("`kdrecipes compare` needs ") and RUN_LINE in done.stderr
    listed = kdrecipes("list", "runs", cwd=tmp_path, hidden=hidden)
    assert listed.returncode == 0 and "kd " in listed.stdout and "%" in listed.stdout
    pushed = kdrecipes("push", "runs/digits", "--to", "hub/digits", cwd=tmp_path, hidden=hidden)
    assert pushed.returncode == 0 and (tmp_path / "hub/digits/README.md").is_file(), pushed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        *(
            f"kdrecipes.{name}"
            for name in ("Distiller", "run", "load_student", "SavedStudent", "accelerate", "Projected")
        ),
        "import kdrecipes.testing",
        "from kdrecipes import Distiller",
    ],
)
def test_a_heavy_name_says_the_pip_line(code, hidden, tmp_path):
    done = python(f"import kdrecipes\n{code}", cwd=tmp_path, hidden=hidden)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("kdrecipes.errors.MissingPart: kdrecipes."), done.stderr
    assert last.endswith(RUN_LINE)
    caught = f"import kdrecipes\ntry:\n    {code}\nexcept ImportError:\n    pass"
    assert python(caught, cwd=tmp_path, hidden=hidden).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export runs/digits", "predict runs/digits photo.png"])
def test_what_opens_a_student_says_the_pip_line(command, hidden, tmp_path):
    done = kdrecipes(*command.split(), cwd=tmp_path, hidden=hidden)
    assert done.returncode == 3 and done.stderr.startswith(f"`kdrecipes {command.split()[0]}` needs keras, "), (
        done.stderr
    )
    assert RUN_LINE in done.stderr


@pytest.mark.slow
def test_a_light_name_needs_nothing_more(hidden, tmp_path):
    code = """
import kdrecipes
recipe = kdrecipes.load_recipe("digits")
assert recipe.name == "digits" and kdrecipes.component("model", "cnn").kind == "model"
kdrecipes.KD, kdrecipes.DIST, kdrecipes.Hint, kdrecipes.Outputs, kdrecipes.Recipe, kdrecipes.hookimpl
"""
    done = python(code, cwd=tmp_path, hidden=hidden)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_plugin_that_imports_torch_at_once_is_told_how_to_be_loaded(hidden, tmp_path):
    (tmp_path / "mine.py").write_text("import torch\n")
    done = kdrecipes("validate", "digits", "--plugin", "mine.py", cwd=tmp_path, hidden=hidden)
    assert done.returncode == 3 and "it needs torch, which is not installed" in done.stderr and RUN_LINE in done.stderr
