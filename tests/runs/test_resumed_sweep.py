"""`kdrecipes resume` of a sweep's folder: it goes on as by the command that began it; what can't is one message."""

import json
import os
import signal

import pytest
from samples import SMALL

from kdrecipes.recipe.source import MOST_POINTS
from kdrecipes.recipe.sweep import load_sweep
from kdrecipes.report.sweep_results import read_sweep
from kdrecipes.runs import sweep as sweeps
from kdrecipes.runs.resumed_sweep import as_given, resumed_sweep
from kdrecipes.runs.sweep import run_sweep

BASE = """
extends = "digits"
name = "base"
[dataset]
name = "folder"
path = "photos"
image_size = 8
"""
MINE = """
extends = "below/base.toml"
name = "mine"   # <b>kept</b>
[train]
batch_size = 16
"""
GRID = """
[sweep]
seeds = [3, 4]
[sweep.grid]
"loss.temperature" = [1, 4.0]
"student" = [{ name = "cnn" }, { name = "example_cnn", width = 4 }]
"""
POINTS = 'points = [{ loss = { name = "kd", temperature = 3 } }, { "train.epochs" = 2 }, { "train.epochs" = 2 }]\n'
SWEEPS = {
    "a grid of the command": ("", {"grid": ["loss.temperature=1,2", 'dataset.path="other","~/own"'], "seeds": (1, 0)}),
    "a grid of the recipe": (GRID, {}),
    "points of a file": ("", {"points": "points.toml"}),
    "points of the recipe": ("[sweep]\n" + POINTS, {}),
    "a search": (
        "",
        {"grid": ["loss.temperature=1..8", "train.epochs=1..3", "loss.weight=0.1,0.9"], "search": 5, "seeds": (7,)},
    ),
}
FAST = [*SMALL, "student.width=4", "teacher.train.epochs=1", "train.epochs=1", 'teacher.preflight="warn"']


def place(tmp_path, lock):
    """A sweep's folder with this lock."""
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    (folder / "sweep_lock.json").write_text(lock if isinstance(lock, str) else json.dumps(lock))
    return folder


def lock_of(sweep, best=0):
    return {"sweep_sha256": sweep.digest, **as_given(sweep, best, "cpu")}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_comes_back_as_it_was_given(name, tmp_path, monkeypatch):
    """Its points too, in each part of their recipes; from another folder, and with its files gone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below/base.toml").write_text(BASE)
    (tmp_path / "points.toml").write_text(POINTS)
    more, options = SWEEPS[name]
    (tmp_path / "mine.toml").write_text(MINE + more)
    sweep = load_sweep("mine.toml", ["train.optimizer.weight_decay=0.5"], **options)
    folder = place(tmp_path, lock_of(sweep, best=2))
    for file in ("mine.toml", "points.toml", "below/base.toml"):
        (tmp_path / file).unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again, asked = resumed_sweep(folder)
    assert (asked.best, asked.device, asked.trials) == (2, "cpu", options.get("search", 0))
    for part in ("kind", "swept", "seeds", "digest", "trials", "space"):
        assert getattr(again, part) == getattr(sweep, part), part
    assert [(one.name, one.changes) for one in again.points] == [(one.name, one.changes) for one in sweep.points]
    pairs = [
        (again.recipe, sweep.recipe),
        *zip(*([p.recipe for p in one.points] for one in (again, sweep)), strict=True),
    ]
    if sweep.kind == "search":
        pairs.append(tuple(one.changed({"loss.temperature": 2, "loss.weight": 0.9}) for one in (again, sweep)))
    for one, other in pairs:
        for part in ("data", "text", "source", "overrides", "fingerprint", "origins"):
            assert getattr(one, part) == getattr(other, part), part
        assert one.folder == other.folder.resolve()


@pytest.mark.slow
def test_a_resumed_sweep_ends_as_by_the_same_command(tmp_path, home, monkeypatch, call, capsys):
    """Stopped by a signal at its second point; then as it was asked, also to confirm; it says what makes it anew."""
    (tmp_path / "mine.toml").write_text('extends = "digits"\nname = "mine"\n')
    sets = [word for text in FAST for word in ("--set", text)]
    command = ["sweep", tmp_path / "mine.toml", "--grid", "loss.temperature=1,2", "--confirm", "1", *sets]
    real = sweeps.run_point

    def stopping(point, *given, **more):
        if point.name == "001":
            os.kill(os.getpid(), signal.SIGINT)
        return real(point, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "run_point", stopping)
        patch.setattr("kdrecipes.runs.resumed_sweep.command", lambda: "kdrecipes sweep mine.toml --confirm 1")
        code, _, err = call(*command, "--out", tmp_path / "a sweep")
    assert (code, f"and so does `kdrecipes resume '{tmp_path / 'a sweep'}'`." in err) == (130, True), err
    (tmp_path / "mine.toml").write_text("name = 3")
    code, out, err = call("resume", tmp_path / "a sweep", "--json")
    assert code == 0, err
    (tmp_path / "mine.toml").write_text('extends = "digits"\nname = "mine"\n')
    code, whole, err = call(*command, "--out", tmp_path / "whole", "--json")
    assert code == 0, err
    results = [json.loads(text) for text in (out, whole)]
    assert results[0]["command"] == "kdrecipes sweep mine.toml --confirm 1"
    assert timeless(results[0]) == timeless(results[1])
    report = json.loads(next((tmp_path / "a sweep").glob("confirm/*/report.json")).read_text())
    assert report["command"] == "kdrecipes sweep mine.toml --confirm 1"
    code, out, _ = call("resume", tmp_path / "a sweep")
    assert code == 0 and "loss.temperature" in out


def timeless(results):
    points = [{k: v for k, v in point.items() if k != "seconds"} for point in results["points"]]
    return {**{k: v for k, v in results.items() if k not in ("seconds", "command", "environment")}, "points": points}


def test_what_the_last_command_asked_is_asked_again(tmp_path, home, monkeypatch):
    sweep = load_sweep("digits", FAST, grid=["loss.temperature=1,2"])
    monkeypatch.setattr(sweeps._Work, "through", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    for best in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep, tmp_path / "out", device="cpu", best=best)
        asked = resumed_sweep(tmp_path / "out")[1]
        assert (asked.best, read_sweep(tmp_path / "out")["to_confirm"]) == (best, best)
    more = {"command": "kdrecipes sweep", "device": "cuda", "best": 3, "trials": 0}
    assert as_given(sweep, 1, "cpu", more)["asked"] == more, "another process works on it too"
    fewer = as_given(sweep, 1, "cpu", {**more, "best": 0, "trials": 20})["asked"]
    assert (fewer["best"], fewer["trials"]) == (1, 20), "each number is the larger one"
    assert as_given(sweep, 3, "cpu", {**more, "best": "3"})["asked"]["device"] == "cpu"


def test_a_sweep_of_an_earlier_version_is_told_with_its_command(tmp_path, call):
    folder = place(tmp_path, {"command": "kdrecipes sweep\nmine.toml"})
    code, out, err = call("resume", folder)
    assert (code, out) == (2, "")
    assert err == (
        f"{folder}/sweep_lock.json is of an earlier version, which did not keep how its sweep was given. The command "
        "that began the sweep goes on with it: `kdrecipes sweep mine.toml`.\n"
    )


def test_a_plugin_is_code_which_no_folder_of_a_sweep_loads_by_itself(tmp_path, call, drops):
    recipe = drops()
    plugin = tmp_path / "drops.py"
    sweep = load_sweep("digits", recipe.overrides, plugins=[plugin], grid=["loss.temperature=1,2"])
    folder = place(tmp_path, lock_of(sweep))
    code, _, err = call("resume", folder)
    assert code == 2
    assert err == (
        f"The sweep in {folder} began with the plugin {plugin}. A sweep folder loads no code by itself; name it: "
        f"`kdrecipes resume {folder} --plugin {plugin}`.\n"
    )
    assert resumed_sweep(folder, [plugin])[0].digest == sweep.digest


def in_given(**changes):
    return lambda lock: lock | {"given": lock["given"] | changes}


HOSTILE = {
    "no JSON": (lambda lock: "{", "can't be read (JSONDecodeError"),
    "deep": (lambda lock: "[" * 100_000, "nested too deep"),
    "a list": (lambda lock: "[]", "can't be read (AttributeError"),
    "no sweep": (lambda lock: lock | {"given": 3}, "can't be read (TypeError"),
    "a part lacks": (lambda lock: {k: v for k, v in lock.items() if k != "asked"}, "can't be read (KeyError"),
    "less than nothing": (lambda lock: lock | {"asked": lock["asked"] | {"best": -1}}, "asks for less than nothing"),
    "true is no number": (lambda lock: lock | {"asked": lock["asked"] | {"best": True}}, "can't be read (ValueError"),
    "no points": (in_given(grid=[]), "can't be read (ValueError: it has no points"),
    "a key without values": (in_given(grid=[["seed", []]]), "can't be read (ValueError: it has no points"),
    "no key": (in_given(grid=[["a b", [{"key": "a b", "value": 1, "at": "", "key_at": ""}]]]), "is no key"),
    "no place": (in_given(places=[[["name"], "x", -1, 0, "/"]]), "can't be read (ValueError"),
    "no path": (in_given(places=[[[[]], "x", 1, 1, "/"]]), "can't be read (ValueError"),
    "a point without a place": (in_given(points=[[{"key": "seed", "value": 1, "at": [], "key_at": ""}]]), "no place"),
    "too many points": (in_given(points=[[]] * (MOST_POINTS + 1)), "it has more than 10,000 points"),
    "too many to draw": (
        lambda lock: in_given(search=3)(lock) | {"asked": lock["asked"] | {"trials": 10**12}},
        "it draws more than 10,000 points",
    ),
    "an endless range": (
        in_given(search=3, grid=[["seed", {"key": "seed", "low": 3, "high": 1, "log": False, "text": ""}]]),
        "has no range",
    ),
    "a wrong name": (
        lambda lock: in_given(data=lock["given"]["data"] | {"name": "../../x"})(lock),
        "is not valid here",
    ),
    "a wrong value": (
        in_given(grid=[["train.epochs", [{"key": "train.epochs", "value": -1, "at": "x", "key_at": "x"}]]]),
        "is not valid here: x  train.epochs  must be at least",
    ),
    "another seed": (
        in_given(seeds=[9]),
        "another version of kdrecipes wrote it: its sweep does not match its checksum.",
    ),
    "a seed twice": (in_given(seeds=[1, 1]), "is not valid here"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_or_hostile_lock_of_a_sweep_is_one_message(name, tmp_path, call):
    change, message = HOSTILE[name]
    lock = lock_of(load_sweep("digits", grid=["loss.temperature=1,2"]))
    folder = place(tmp_path, change(lock))
    code, out, err = call("resume", folder)
    assert (code, out) == (2, "") and err.startswith(f"{folder}/sweep_lock.json ") and message in err, err
    assert len(err.splitlines()) == 1 and len(err) < 1500
    assert [path.name for path in folder.iterdir()] == ["sweep_lock.json"]


def test_a_folder_that_lost_its_lock_says_so(tmp_path, call):
    (tmp_path / "sweep.json").write_text("{}")
    code, _, err = call("resume", tmp_path)
    assert code == 2 and err.startswith(f"{tmp_path}/sweep_lock.json can't be read (FileNotFoundError"), err
