"""`kdrecipes resume RUN`: the folder alone says what goes on; what can't go on is one message."""

import json
import shlex
import shutil

import pytest
from samples import SMALL, student_arrays

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.source import packaged_recipes
from kdrecipes.runs import run as runs
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.origin import check_origin
from kdrecipes.runs.resumed import resumed

MINE = """
extends = "base.toml"
name = "mine"   # <b>kept</b>
"""
FAST = ["train.epochs=1", "teacher.train.epochs=1", "student.width=3", 'teacher.preflight="warn"']


@pytest.fixture
def stopped(tmp_path, home, interrupted, capsys):
    """A run of a recipe in two files and of `--set`, which stopped as it began; the files are gone since."""
    (tmp_path / "base.toml").write_text("\n".join(['extends = "digits"', 'name = "base"', "seed = 4"]))
    (tmp_path / "mine.toml").write_text(MINE)
    recipe = load_recipe(tmp_path / "mine.toml", [*SMALL, *FAST])
    interrupted(recipe, tmp_path / "run")
    (tmp_path / "base.toml").unlink()
    (tmp_path / "mine.toml").write_text("name = 3")
    capsys.readouterr()
    return recipe, tmp_path / "run"


def test_a_run_gives_back_the_recipe_as_it_was_given(stopped):
    recipe, run = stopped
    again, device = resumed(run)
    for part in ("data", "text", "source", "folder", "overrides", "fingerprint", "origins", "name", "seed"):
        assert getattr(again, part) == getattr(recipe, part), part
    assert device == "cpu" and "<b>kept</b>" in again.text


@pytest.mark.slow
def test_a_resumed_run_ends_as_the_same_command_would(stopped, tmp_path, call, monkeypatch):
    """The same students and words; and the report holds the command that makes the run, not that which went on."""
    recipe, run = stopped
    lock = read_json(run / "lock.json")
    (run / "lock.json").write_text(json.dumps({**lock, "command": "kdrecipes run mine.toml --out run"}))
    (run / "facts/recipe.json").unlink()
    (run / "recipe.toml").unlink()  # as where a run was killed between two files
    code, out, err = call("resume", run, "--json")
    assert code == 0, err
    assert json.loads(out)["command"] == "kdrecipes run mine.toml --out run"
    kdrecipes.run(recipe, tmp_path / "whole")
    for label in ("baseline-0", "kd-0"):
        pairs = zip(student_arrays(run, label), student_arrays(tmp_path / "whole", label), strict=True)
        assert all((a == b).all() for a, b in pairs)
    for file in ("facts/recipe.json", "recipe.toml"):
        assert (run / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    code, out, err = call("resume", run)
    assert (code, "holds the finished run; this is its report again" in err) == (0, True)


@pytest.mark.parametrize("name", packaged_recipes())
def test_every_shipped_recipe_comes_back_from_its_lock(name, tmp_path):
    from kdrecipes.runs.resumed import given

    recipe = load_recipe(name)
    lock = {
        "recipe_sha256": recipe.fingerprint,
        "recipe": recipe.data,
        "overrides": [],
        "folder": str(recipe.folder),
        "given": given(recipe),
    }
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    again, device = resumed(tmp_path)
    assert (again.data, again.origins, device) == (recipe.data, recipe.origins, "auto")


def test_a_folder_that_is_no_run_is_one_message(call, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, out, err = call("resume", folder)
        assert (code, out) == (2, "")
        assert err == f"{folder} is no run folder: it has no lock.json. A run's is runs/<name>, or what --out said.\n"


def test_a_plugin_is_code_which_no_folder_loads_by_itself(call, tmp_path, home, interrupted, drops, capsys):
    interrupted(drops(), tmp_path / "run")
    capsys.readouterr()
    code, _, err = call("resume", tmp_path / "run")
    command = f"kdrecipes resume {tmp_path / 'run'} --plugin {tmp_path / 'drops.py'}"
    assert code == 2
    assert err == (
        f"The run in {tmp_path / 'run'} began with the plugin {tmp_path / 'drops.py'}. A run folder loads no code by "
        f"itself; name it: `{command}`.\n"
    )
    again, _ = resumed(tmp_path / "run", [tmp_path / "drops.py"])
    assert again.student.name == "drops" and shlex.split(command)[-1] == str(tmp_path / "drops.py")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lock: "{", "can't be read (JSONDecodeError"),
        (lambda lock: "[]", "can't be read (AttributeError"),
        (lambda lock: lock | {"recipe": 3}, "can't be read (TypeError"),
        (lambda lock: lock | {"given": {"origins": [[[[]], "x"]]}}, "can't be read (TypeError"),
        (lambda lock: lock | {"recipe": lock["recipe"] | {"seed": 5}}, "was changed, or another version"),
        (lambda lock: lock | {"recipe": lock["recipe"] | {"seed": -1}}, "must be at least 0. Received: -1"),
        (lambda lock: lock | {"recipe": lock["recipe"] | {"name": "../../x"}}, "  name  "),
        (lambda lock: {k: v for k, v in lock.items() if k != "folder"}, "can't be read (KeyError"),
    ],
    ids=["no JSON", "a list", "no recipe", "no path", "another seed", "a wrong seed", "a wrong name", "a part lacks"],
)
def test_a_damaged_or_hostile_lock_is_one_message(call, stopped, change, message):
    _, run = stopped
    changed = change(read_json(run / "lock.json"))
    (run / "lock.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
    code, out, err = call("resume", run)
    assert (code, out) == (2, "") and err.startswith(str(run / "lock.json")) and message in err, err
    assert len(err.splitlines()) == 1


def test_a_device_can_be_named_and_is_else_the_one_it_began_on(call, stopped, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "run_since", lambda *a, device, **k: asked.append(device) or {})
    _, run = stopped
    for words in ((), ("--device", "auto")):
        assert call("resume", run, "--json", *words)[0] == 0
    assert asked == ["cpu", "auto"]


def test_a_lock_without_these_words_goes_on_too(stopped, tmp_path):
    """As those of the versions before had none."""
    recipe, run = stopped
    shutil.copytree(run, tmp_path / "older")
    lock = read_json(run / "lock.json")
    del lock["given"]
    (tmp_path / "older/lock.json").write_text(json.dumps(lock))
    again = resumed(tmp_path / "older")[0]
    assert (again.data, again.text, again.source) == (recipe.data, recipe.text, str(tmp_path / "older/recipe.toml"))


@pytest.mark.parametrize(
    ("began", "told"),
    [
        ({"versions": {"torch": "2.0.0", "keras": "3.15.1"}}, "torch 2.0.0 and went on with torch 2.13.0"),
        ({"versions": {"torch": "2.13.0"}}, "keras absent and went on with keras 3.15.1"),
        ({"threads": 8}, "threads 8 and went on with 1"),
        ({}, None),
        ({"versions": None}, None),  # the lock of an earlier version has none
    ],
    ids=["another torch", "another package", "other threads", "the same", "an earlier lock"],
)
def test_other_versions_on_the_way_are_told_and_the_same_bits_not_promised(tmp_path, began, told):
    origin = {"dataset_sha256": "0", "files": {}, "threads": 1, "versions": {"torch": "2.13.0", "keras": "3.15.1"}}
    before = {key: value for key, value in {**origin, **began}.items() if value is not None}
    (tmp_path / "lock.json").write_text(json.dumps({"origin": before}))
    found = check_origin(RunFolder(tmp_path), origin, {})
    assert found == (
        [f"the run began with {told}, so it need not end bit for bit as if it had not stopped"] if told else []
    )
    assert read_json(tmp_path / "lock.json")["origin"] == before, "what it began with stays"
