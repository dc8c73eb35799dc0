"""`kdrecipes list runs`: which runs there are, and how each stands, also those that could not say so themselves."""

import json

import pytest

from kdrecipes.disk.files import locked
from kdrecipes.errors import UsageError
from kdrecipes.report.run_list import find_runs

FIGURES = {"test_accuracy": 0.9, "params": 10, "seconds": {"fit": 1.0, "outputs": None}}


def write_run(folder, status="done", recipe="digits", **more):
    folder.mkdir(parents=True)
    (folder / "lock.json").write_text(json.dumps({"recipe": {"name": recipe}}))
    if status is not None:
        (folder / "status.json").write_text(json.dumps({"status": status, **more}))
    return folder


def report_of(teachers):
    arms = [("baseline", 0, 0.5), ("kd", 0, 0.6), ("baseline", 1, 0.7), ("kd", 1, 0.8)]
    return {
        "schema_version": 2,
        "teachers": [{"id": name, "component": "cnn", **FIGURES} for name in teachers],
        **({"ensemble": {"test_accuracy": 0.95}} if len(teachers) > 1 else {}),
        "arms": [{"arm": a, "seed": s, "test_accuracy": x, "params": 5, "seconds": 2.0} for a, s, x in arms],
    }


def states(folder):
    return {run.path.name: run.state for run in find_runs(folder)}


def test_a_run_that_says_running_is_killed_when_nobody_holds_its_lock(tmp_path):
    for name in ("held", "free", "never_locked"):
        write_run(tmp_path / name, "running")
    (tmp_path / "free" / ".lock").touch()
    with locked(tmp_path / "held" / ".lock"):
        assert states(tmp_path) == {"held": "running", "free": "killed", "never_locked": "killed"}
    assert states(tmp_path) == {"held": "killed", "free": "killed", "never_locked": "killed"}
    assert not (tmp_path / "never_locked" / ".lock").exists(), "looking leaves nothing behind"


def test_a_run_that_was_killed_before_it_wrote_its_status_is_killed_too(tmp_path):
    write_run(tmp_path / "run", None)
    assert states(tmp_path) == {"run": "killed"}


@pytest.mark.parametrize("status", ["done", "failed", "preempted"])
def test_what_a_run_says_of_its_end_is_believed(tmp_path, status):
    write_run(tmp_path / "run", status, error="The loss is not finite.")
    [run] = find_runs(tmp_path)
    assert (run.state, run.recipe) == (status, "digits")
    assert run.error == ("The loss is not finite." if status == "failed" else "")


@pytest.mark.parametrize("file", ["lock.json", "status.json"])
@pytest.mark.parametrize("content", ["{torn", "[]", "{}", '{"recipe": 3, "status": "odd"}'])
def test_a_run_whose_files_cannot_be_read_is_damaged_and_hides_no_other(tmp_path, file, content):
    (write_run(tmp_path / "a") / file).write_text(content)
    write_run(tmp_path / "b")
    assert states(tmp_path) == {"a": "damaged", "b": "done"}


def test_figures_are_those_of_the_report(tmp_path):
    one, several, broken = (write_run(tmp_path / name) for name in ("a", "b", "c"))
    (one / "report.json").write_text(json.dumps(report_of(["cnn"])))
    (several / "report.json").write_text(json.dumps(report_of(["x", "y"])))
    (broken / "report.json").write_text('{"schema_version": 2}')
    found = [run.figures for run in find_runs(tmp_path)]
    assert found[0] == pytest.approx({"teacher": 0.9, "baseline": 0.6, "kd": 0.7})
    assert found[1] == pytest.approx({"x": 0.9, "y": 0.9, "ensemble": 0.95, "baseline": 0.6, "kd": 0.7})
    assert found[2] == {}


def test_runs_at_any_depth_are_found_and_what_is_hidden_or_inside_one_is_not(tmp_path):
    for name in ("b", "sweep/points/001", "a", ".old/run", "a/inside"):
        write_run(tmp_path / name)
    (tmp_path / "no_run").mkdir()
    assert [str(run.path.relative_to(tmp_path)) for run in find_runs(tmp_path)] == ["a", "b", "sweep/points/001"]
    assert [run.path for run in find_runs(tmp_path / "a")] == [tmp_path / "a"]


def test_size_is_that_of_all_files(tmp_path):
    run = write_run(tmp_path / "run")
    before = find_runs(tmp_path)[0].bytes
    (run / "students").mkdir()
    (run / "students" / "kd-0.keras").write_bytes(b"x" * 5000)
    assert find_runs(tmp_path)[0].bytes == before + 5000


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="nowhere is no folder"):
        find_runs(tmp_path / "nowhere")


# --- on the command line ---------------------------------------------------------------------------------------------


def test_the_table_shows_a_line_for_each_run(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = write_run(tmp_path / "runs" / "long_name")
    (done / "report.json").write_text(json.dumps(report_of(["cnn"])))
    write_run(tmp_path / "runs" / "x", "failed", error="No\nroom.")
    write_run(tmp_path / "runs" / "y", "running", recipe="pets")
    code, out, err = call("list", "runs")
    assert (code, err) == (0, "")
    size = [f"{run.bytes} B" for run in find_runs(tmp_path / "runs")]
    assert out.splitlines() == [
        "runs",
        f"  runs/long_name  done    digits  {size[0]}  teacher 90.00 %, baseline 60.00 %, kd 70.00 %",
        f"  runs/x          failed  digits  {size[1]:>{len(size[0])}}  No room.",
        f"  runs/y          killed  pets    {size[2]:>{len(size[0])}}",
    ]
    code, text, _ = call("list", "runs", tmp_path / "runs", "--json")
    rows = json.loads(text)["runs"]
    assert [(row["recipe"], row["state"]) for row in rows] == [
        ("digits", "done"),
        ("digits", "failed"),
        ("pets", "killed"),
    ]
    assert set(rows[0]) == {"path", "state", "recipe", "figures", "bytes", "error"}


def test_without_runs_there_are_none_and_a_folder_goes_with_runs_alone(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("list", "runs") == (0, "runs\n  (none)\n", "")
    code, out, err = call("list", "runs", "nowhere")
    assert (code, out) == (2, "") and "nowhere is no folder" in err
    code, out, err = call("list", "models", "runs")
    assert (code, out) == (2, "") and "`kdrecipes list runs runs`" in err
