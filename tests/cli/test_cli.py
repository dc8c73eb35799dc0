"""The command line: verbs, flags, exit codes, what stands on stdout and stderr, `--json`."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from test_build import fill

import kdrecipes
from kdrecipes.cli import main as cli
from kdrecipes.cli.list import OF_ONE, Topic
from kdrecipes.components.losses import TERMS
from kdrecipes.errors import EnvironmentProblem, RunError, UsageError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.source import packaged_recipes

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parents[1] / "recipes"

pytestmark = pytest.mark.usefixtures("built_ins")


def test_the_verbs_and_flags_are_frozen():
    """Whoever adds a verb or a flag adds it here, on purpose."""
    import typer.main

    command = typer.main.get_command(cli.app)
    verbs = dict(command.commands)  # type: ignore[attr-defined]
    for group in ("cache", "new"):
        verbs |= {f"{group} {name}": verb for name, verb in verbs.pop(group).commands.items()}
    surface = {
        name: sorted(text for parameter in verb.params for text in (*parameter.opts, *parameter.secondary_opts))
        for name, verb in verbs.items()
    }
    assert surface == {
        "run": [
            "--device",
            "--json",
            "--out",
            "--overwrite",
            "--plugin",
            "--quiet",
            "--replay-step",
            "--set",
            "--verbose",
            "recipe",
        ],
        "doctor": ["--json"],
        "resume": ["--device", "--json", "--plugin", "--quiet", "--verbose", "run"],
        "report": ["--json", "run"],
        "compare": ["--html", "--json", "runs"],
        "sweep": [
            "--confirm",
            "--device",
            "--grid",
            "--json",
            "--out",
            "--overwrite",
            "--plan",
            "--plugin",
            "--points",
            "--quiet",
            "--search",
            "--seeds",
            "--set",
            "--verbose",
            "recipe",
        ],
        "export": [
            "--arm",
            "--format",
            "--images",
            "--input",
            "--json",
            "--plugin",
            "--quantize",
            "--seed",
            "--set",
            "run",
        ],
        "predict": ["--json", "--plugin", "--top", "images", "network"],
        "push": ["--arm", "--json", "--no-page", "--overwrite", "--seed", "--to", "run"],
        "validate": [
            "--classes",
            "--dry-run",
            "--format",
            "--json",
            "--plugin",
            "--set",
            "--show",
            "--verbose",
            "paths",
        ],
        "describe": ["--html", "--json", "--plugin", "--set", "recipe"],
        "list": ["--json", "--plugin", "--role", "--search", "--set", "place", "topic"],
        "schema": ["--json", "--out", "--plugin"],
        "cache list": ["--json"],
        "cache clear": ["--yes", "names"],
        "new recipe": ["--dataset", "--loss", "--out", "--plugin", "--student", "--teacher", "name"],
        "new plugin": ["--out", "name"],
    }
    assert [p.opts for p in command.params] == [["--version"]]
    known = ["models", "datasets", "losses", "callbacks", "exporters", "recipes", "plugins", "advice"]
    known += ["runs", "layers"]
    assert [topic.value for topic in Topic] == known


def test_the_version_is_told_and_nothing_else(call):
    assert call("--version") == (0, f"kdrecipes {kdrecipes.__version__}\n", "")


def test_help_names_every_verb_and_the_first_step(call):
    code, out, _ = call("--help")
    assert code == 0
    assert "kdrecipes run digits" in out
    for verb in ("run", "validate", "list", "schema", "cache", "new"):
        assert re.search(rf"^\W*{verb} ", out, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["validate"], ["list", "nonsense"], ["validate", "digits", "--nonsense"], ["run"], ["--nonsense"]],
)
def test_usage_errors_leave_with_2_and_nothing_on_stdout(call, arguments):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "") and "Usage:" in err


# ---- validate


def test_validate_tells_a_good_and_a_bad_file_apart(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    assert call("validate", "valid/minimal.toml", "digits") == (0, "valid/minimal.toml  ok\ndigits  ok\n", "")
    code, out, err = call("validate", "valid/minimal.toml", "invalid/several.toml")
    assert (code, out) == (2, "valid/minimal.toml  ok\n")
    assert err == (FOLDER / "invalid" / "several.toml.errors.txt").read_text()


def test_validate_takes_every_recipe_of_a_folder(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    code, out, err = call("validate", "valid")
    assert (code, err) == (0, "")
    names = sorted(p.name for p in Path("valid").iterdir())
    assert out == "".join(f"valid/{name}  ok\n" for name in names)


def test_validate_refuses_a_folder_without_recipes(call, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert call("validate", tmp_path) == (2, "", f"{tmp_path}: no .toml or .json file in this folder.\n")


def test_validate_leaves_with_2_for_a_recipe_and_3_for_the_environment(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    missing = "invalid/requires_missing.toml"
    code, out, err = call("validate", missing)
    assert (code, out) == (3, "") and err == Path(f"{missing}.errors.txt").read_text()
    assert call("validate", missing, "invalid/several.toml")[0] == 2, "a faulty recipe counts before the environment"
    assert call("validate", "invalid/several.toml", missing)[0] == 2
    assert call("validate", "nowhere.toml")[0] == 2
    assert call("validate", "digits", "--plugin", "nowhere.py")[0] == 3


def test_validate_says_all_of_a_problem_in_json(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    files = ["valid/minimal.toml", "invalid/range_epochs.toml", "invalid/requires_missing.toml"]
    code, out, err = call("validate", "--json", *files)
    result = json.loads(out)
    assert (code, err) == (2, "")
    assert list(result) == ["ok", "files"] and result["ok"] is False
    assert [set(entry) for entry in result["files"]] == [{"file", "ok", "recipe_sha256", "problems", "components"}] * 3
    good, bad, missing = result["files"]
    assert {(row["path"], row["name"], row["provider"]) for row in good.pop("components")} == {
        ("dataset", "digits", "built-in"),
        ("student", "cnn", "built-in"),
    }
    assert good == {
        "file": files[0],
        "ok": True,
        "recipe_sha256": load_recipe(files[0]).fingerprint,
        "problems": [],
    }
    assert bad["recipe_sha256"] is None and bad["problems"] == [
        {
            "file": files[1],
            "line": 11,
            "column": 1,
            "path": "train.epochs",
            "rule": "must be at least 1",
            "received": "0",
            "suggestion": "",
            "code": "out-of-range",
        },
    ]
    assert set(missing["problems"][0]) == set(bad["problems"][0])
    assert "pip install 'kdrecipes-nowhere>=2'" in missing["problems"][0]["rule"]
    assert (missing["problems"][0]["line"], missing["problems"][0]["path"]) == (3, "requires[1]")
    assert json.loads(call("validate", "--json", files[0])[1])["ok"] is True


# ---- list


INSTALLED = [topic.value for topic in Topic if topic not in OF_ONE]


@pytest.mark.parametrize("topic", INSTALLED)
def test_list_shows_a_topic_alike_as_table_and_json(call, topic):
    code, out, err = call("list", topic)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == topic and all(line.startswith("  ") for line in lines[1:])
    code, text, err = call("list", topic, "--json")
    rows = json.loads(text)
    assert list(rows) == [topic] and rows[topic]
    keys = {"name", "summary"} if topic in ("recipes", "advice") else {"name", "summary", "provider"}
    if topic == "plugins":
        keys = {"name", "provider", "components", "state", "error", "notes"}
    assert all(set(row) == keys for row in rows[topic])
    for row, line in zip(rows[topic], lines[1:], strict=True):
        assert line.split()[0] == row["name"]
        assert row.get("summary", "") in line
        assert topic == "plugins" or row["summary"], f"{row['name']} says what it is"


def test_list_without_a_topic_shows_all(call):
    code, out, _ = call("list", "--json")
    listing = json.loads(out)
    assert code == 0 and list(listing) == INSTALLED
    assert [row["name"] for row in listing["recipes"]] == packaged_recipes()
    assert {row["provider"] for row in listing["models"]} == {"built-in"}
    headings = [line for line in call("list")[1].splitlines() if not line.startswith(" ")]
    assert headings == list(listing)


def test_list_shows_broken_conflicting_and_undescribed(call, install, monkeypatch):
    install("kdrecipes-bad", "import nowhere_at_all")
    twin = """
import kdrecipes

@kdrecipes.hookimpl
def kdrecipes_components():
    options = {"type": "object", "additionalProperties": False, "properties": {"x": {"type": "integer"}}}
    yield kdrecipes.Component("loss", "twin", print, options, "SUMMARY")
"""
    install("kdrecipes-one", twin)
    install("kdrecipes-two", twin)
    fakes = [
        next(iter(d.entry_points))
        for d in importlib.metadata.distributions()
        if d.name in ("kdrecipes-bad", "kdrecipes-one", "kdrecipes-two")
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **select: fakes)
    code, out, err = call("list", "plugins")
    assert (code, err) == (0, "")
    assert re.search(r"^  kdrecipes_bad +broken: ModuleNotFoundError: .* \[kdrecipes-bad 1\.0\]$", out, re.MULTILINE)
    assert re.search(r"^ +note: loss twin: option 'x' has no description$", out, re.MULTILINE)
    assert "conflict: two plugins provide the loss 'twin': kdrecipes-one 1.0 and kdrecipes-two 1.0" in out
    states = {row["name"]: row["state"] for row in json.loads(call("list", "plugins", "--json")[1])["plugins"]}
    assert (
        states["kdrecipes_bad"] == "broken"
        and states["twin"] == "conflict"
        and states["kdrecipes.components.losses"] == "ok"
    )


def test_list_losses_shows_every_built_in_term_with_its_summary(call):
    code, out, _ = call("list", "losses")
    assert code == 0
    for name in TERMS:
        summary = kdrecipes.component("loss", name).summary
        assert re.search(rf"^  {name} +{re.escape(summary)}  \[built-in\]$", out, re.MULTILINE), name


def test_list_shows_a_single_file_plugin_or_its_error(call, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n"
        "    yield kdrecipes.Component('loss', 'mine', print, summary='of my own')\n"
    )
    assert re.search(
        r"^  mine +of my own  \[.*mine\.py sha256:", call("list", "losses", "--plugin", file)[1], re.MULTILINE
    )
    file.write_text("1 / 0")
    from kdrecipes.components.registry import load_registry

    load_registry.cache_clear()
    code, out, err = call("list", "losses", "--plugin", file)
    assert (code, out, err) == (3, "", f"--plugin {file}: ZeroDivisionError: division by zero\n")


def test_a_search_shows_what_a_recipe_writes(call):
    code, out, err = call("list", "models", "--search", "MobileNetV3Small")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "models"
    assert re.search(r'^  mobilenet_v3_small +name = "mobilenet_v3_small"  \[built-in\]$', out, re.MULTILINE)
    line = next(line for line in lines if line.split()[0] == "mobilenet_v3_small_100_imagenet")
    assert line.endswith('  name = "keras_hub", preset = "mobilenet_v3_small_100_imagenet"  [built-in]')
    rows = json.loads(call("list", "models", "--search", "MobileNetV3Small", "--json")[1])
    assert list(rows) == ["models"] and len(rows["models"]) == len(lines) - 1
    keys = {"name": "mobilenet_v3_small"}
    assert {"name": "mobilenet_v3_small", "keys": keys, "provider": "built-in"} in rows["models"]


def test_a_search_that_finds_nothing_shows_the_nearest(call):
    code, out, err = call("list", "models", "--search", "efficentnet_b3")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["models", "  (none)", "nearest"] and 'name = "efficientnet_b3"' in out
    rows = json.loads(call("list", "models", "--search", "efficentnet_b3", "--json")[1])
    assert rows["models"] == [] and len(rows["nearest"]) == len(lines) - 3
    assert call("list", "models", "--search", "qqqqqq")[1] == "models\n  (none)\n"
    assert json.loads(call("list", "models", "--search", "qqqqqq", "--json")[1]) == {"models": [], "nearest": []}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["losses", "--search", "kd"], "--search is for models alone: `kdrecipes list models --search NAME`."),
        (["--search", "kd"], "--search is for models alone: `kdrecipes list models --search NAME`."),
        (["models", "--search", " "], "--search needs a part of a name, such as `--search resnet`."),
    ],
)
def test_a_search_for_what_can_not_be_searched_is_one_message(call, arguments, message):
    assert call("list", *arguments) == (2, "", message + "\n")


# ---- schema


@pytest.fixture
def editor_schema(call):
    code, out, err = call("schema")
    assert (code, err) == (0, "")
    return json.loads(out)


def parsed(file: Path):
    import tomllib

    text = file.read_bytes().decode()
    return json.loads(text) if file.suffix == ".json" else tomllib.loads(text)


def test_schema_is_draft_07_and_accepts_every_valid_recipe(editor_schema):
    Draft7Validator.check_schema(editor_schema)
    assert editor_schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    validator = Draft7Validator(editor_schema)
    for file in [
        *(FOLDER / "valid").iterdir(),
        *(FOLDER / "bases").iterdir(),
        ROOT / "recipes" / "digits.toml",
        ROOT / "recipes" / "digits.json",
    ]:
        assert [error.message for error in validator.iter_errors(parsed(file))] == [], file.name


def test_schema_writes_a_file_or_says_why_not(call, tmp_path, editor_schema):
    target = tmp_path / "s.json"
    assert call("schema", "--out", target) == (0, "", "")
    assert target.read_text().endswith("}\n") and json.loads(target.read_text()) == editor_schema
    code, out, err = call("schema", "--out", tmp_path / "nowhere" / "s.json")
    assert (code, out) == (2, "") and err.endswith("can't be written: No such file or directory.\n")


# ---- run: what the command line does with each outcome (the run itself is replaced)


@pytest.fixture
def fake_run(monkeypatch):
    def fake(outcome):
        calls = []

        def run_since(began, recipe, out, **options):
            calls.append((recipe, out, options))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        module = types.ModuleType("kdrecipes.runs.run")
        module.run_since = run_since  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "kdrecipes.runs.run", module)
        return calls

    return fake


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (RunError("the loss became NaN"), 1, "the loss became NaN\n"),
        (UsageError("another recipe's folder"), 2, "another recipe's folder\n"),
        (EnvironmentProblem("no disk"), 3, "no disk\n"),
        (KeyboardInterrupt(), 130, "Interrupted. The same command goes on after the last step that was saved.\n"),
    ],
)
def test_run_leaves_with_the_code_of_its_outcome(call, fake_run, outcome, code, message):
    fake_run(outcome)
    assert call("run", "digits") == (code, "", message)


def test_run_passes_its_flags_on(call, fake_run, tmp_path):
    calls = fake_run({"status": "done"})
    code, out, err = call(
        "run",
        "digits",
        "--json",
        "--out",
        tmp_path,
        "--set",
        "seed=3",
        "--set",
        "seed=4",
        "--device",
        "cpu",
        "--overwrite",
    )
    assert (code, json.loads(out), err) == (0, {"status": "done"}, "")
    ((recipe, out_folder, options),) = calls
    assert recipe.data["seed"] == 4 and out_folder == tmp_path
    assert options == {"device": "cpu", "overwrite": True}


def test_run_checks_the_recipe_before_anything_heavy(call, fake_run):
    calls = fake_run({})
    code, out, err = call("run", "digits", "--set", "train.epochs=0")
    assert (code, out, calls) == (2, "", [])
    assert err == "--set train.epochs=0  train.epochs  must be at least 1. Received: 0\n"


# ---- as a process


def test_validate_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kdrecipes", "validate", "recipes/digits.toml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "recipes/digits.toml  ok\n")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "kdrecipes" in loaded
    assert not loaded & {"torch", "keras", "tensorflow", "sklearn", "matplotlib"}


def test_a_reader_that_leaves_early_is_no_traceback():
    script = shutil.which("kdrecipes", path=os.path.dirname(sys.executable)) or "kdrecipes"
    done = subprocess.run(f"{script} schema | true", shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


# ---- new


def test_new_recipe_writes_a_valid_one_and_overwrites_nothing(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["--student", "cnn", "--teacher", "cnn", "--dataset", "digits"]
    assert call("new", "recipe", "mine", *words) == (0, "mine.toml\n", "")
    assert call("validate", "mine.toml") == (0, "mine.toml  ok\n", "")
    code, out, err = call("new", "recipe", "mine", *words)
    assert (code, out) == (2, "") and "nothing is overwritten" in err
    code, out, err = call("new", "recipe", "other", "--student", "cn", "--dataset", "digits")
    assert (code, out, err) == (2, "", "--student cn: No model is called 'cn'. Did you mean 'cnn'?\n")


def test_new_plugin_says_what_is_next(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("new", "plugin", "kdrecipes-mine")
    assert (code, out) == (0, "kdrecipes-mine\n")
    assert err == "Next:  cd kdrecipes-mine && pip install -e '.[test]' && pytest && kdrecipes run recipe.toml\n"
    assert Path("kdrecipes-mine/kdrecipes_mine/model.py").is_file()


@pytest.mark.parametrize("what", ["recipe", "plugin"])
def test_new_teaches_with_an_example(call, what):
    code, out, _ = call("new", what, "--help")
    assert code == 0 and f"Example:  kdrecipes new {what} " in out


@pytest.mark.parametrize(
    ("verb", "rarely"),
    [(["run", "digits"], False), (["validate", "--dry-run", "digits"], False), (["validate", "digits"], True)],
    ids=["run", "dry-run", "validate"],
)
def test_garbage_is_sought_rarely_and_as_usual_by_what_trains(monkeypatch, verb, rarely):
    usual, seen = gc.get_threshold(), []

    def stop(*_, **__):
        seen.append(gc.get_threshold())
        raise RunError("stopped")

    monkeypatch.setattr("kdrecipes.runs.run.run_since", stop)
    monkeypatch.setattr("kdrecipes.runs.dry_run.dry_run", stop)
    if rarely:
        monkeypatch.setattr("kdrecipes.cli.checks.load_with_points", stop)
    monkeypatch.setattr(sys, "argv", ["kdrecipes", *verb])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1 and len(seen) == 1
    assert (seen[0][0] > usual[0]) if rarely else seen[0] == usual
    assert gc.get_threshold() == usual


def test_an_error_about_a_name_that_is_not_utf8_is_told(monkeypatch, capfd):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")

    def stop(*_, **__):
        raise RunError(name)

    monkeypatch.setattr("kdrecipes.runs.run.run_since", stop)
    monkeypatch.setattr(sys, "argv", ["kdrecipes", "run", "digits", "--json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    seen = capfd.readouterr()
    assert caught.value.code == 1 and seen.err == "caf\\xe9\n" and json.loads(seen.out)["error"] == name


CHATTY = """
import atexit, os, sys
import kdrecipes
atexit.register(print, "at the end")
print("imported")
os.system("echo by a child")
@kdrecipes.hookimpl
def kdrecipes_components():
    print("asked")
    sys.stdout.flush()
    yield from ()
"""


def test_what_plugins_print_is_told_on_stderr(call, tmp_path):
    for i, verb in enumerate((["list", "models"], ["validate", "digits"])):
        (tmp_path / f"{i}.py").write_text(f"{CHATTY}# {i}\n")
        code, out, err = call(*verb, "--json", "--plugin", tmp_path / f"{i}.py")
        assert code == 0 and json.loads(out)
        assert "imported\n" in err and "asked\n" in err


@pytest.mark.slow
def test_nothing_but_the_result_reaches_the_file_that_stdout_is(tmp_path):
    """In a process of its own, whose children write to the descriptor."""
    (tmp_path / "chatty.py").write_text(CHATTY)
    arguments = [sys.executable, "-m", "kdrecipes", "validate", "digits", "--plugin", str(tmp_path / "chatty.py")]
    for more in ([], ["--json"]):
        done = subprocess.run([*arguments, *more], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "digits  ok\n" if not more else json.loads(done.stdout)["ok"]
        assert {"imported", "by a child", "asked", "at the end"} <= set(done.stderr.split("\n"))


# ---- compare


def test_compare_prints_text_or_one_object_and_writes_a_page(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, loss in (("a", "kd"), ("b", "dist")):
        fill(tmp_path / name, loss={"name": loss})
    code, out, err = call("compare", "a", "b", "--html", "made/page.html")
    assert code == 0 and out.splitlines()[1].startswith("a ") and "loss.name" in out
    assert err == "page: made/page.html\n" and (tmp_path / "made" / "page.html").is_file()
    code, out, err = call("compare", "a", "b", "--json")
    assert code == 0 and [run["run"] for run in json.loads(out)["runs"]] == ["a", "b"] and err == ""


def test_runs_that_cannot_be_compared_leave_with_2(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "a")
    code, out, err = call("compare", "a")
    assert (code, out) == (2, "") and err.startswith("Two runs or more are compared, and only a is given")
    code, out, err = call("compare", "a", "nowhere", "--json")
    assert code == 2 and "nowhere is no run folder" in json.loads(out)["error"]
