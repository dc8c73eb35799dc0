"""Sweeps of small recipes: what points share, what a sweep leaves, what stops it and how it goes on."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from samples import SMALL, student_arrays

import kdrecipes
from kdrecipes.errors import RunError, UsageError
from kdrecipes.recipe.sweep import load_sweep
from kdrecipes.report.figures import accuracy
from kdrecipes.report.sweep_results import check_sweep, difference, read_sweep, unconfirmed, write_sweep
from kdrecipes.report.sweep_table import sweep_text
from kdrecipes.runs import confirm as confirm_module
from kdrecipes.runs import shared_arms, sweep_folder, sweep_point, time_worked
from kdrecipes.runs import sweep as sweeps
from kdrecipes.runs.export import export
from kdrecipes.runs.folder import RunFolder
from kdrecipes.runs.sweep import run_sweep
from kdrecipes.runs.sweep_folder import SweepFolder

QUICK = [
    *SMALL,
    "student.width=4",
    "teacher.train.epochs=1",
    "train.epochs=1",
    "train.optimizer.learning_rate=0.05",
    "train.recalibrate_batch_norm=2",
]
GRID = ["loss.temperature=1,4", "loss.weight=0.3,0.9"]


def quick(*grid, **options):
    return load_sweep("digits", [*QUICK, *options.pop("overrides", ())], grid=grid, **options)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of four points and two seeds: its folder, its results, its sweep."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder / "home"))
        sweep = quick(*GRID, seeds=(0, 1))
        return folder / "out", run_sweep(sweep, folder / "out"), sweep


def test_a_sweep_is_what_its_schema_promises(swept):
    folder, results, _ = swept
    check_sweep(results)
    assert read_sweep(folder) == results
    assert results["status"] == "done" and results["kind"] == "grid"
    assert results["swept"] == ["loss.temperature", "loss.weight"] and results["seeds"] == [0, 1]
    assert sorted(point["rank"] for point in results["points"])[0] == 1
    assert results["dataset"]["validation"] == 54 and results["dataset"]["train"] == 266


def test_a_baseline_that_points_share_is_trained_once(swept):
    folder, results, _ = swept
    assert results["trainings"] == {"without_sharing": 16, "planned": 10, "done": 10}
    assert [(point["arms_trained"], point["arms_shared"]) for point in results["points"]] == [(4, 0)] + [(2, 2)] * 3
    arms = [json.loads(file.read_text())["facts"]["arm"] for file in folder.glob("arms/*/arm.json")]
    assert (arms.count("baseline"), arms.count("kd")) == (2, 8)


def test_a_point_is_a_run_folder_without_any_figure_of_test(swept):
    folder, _, sweep = swept
    point = folder / "points" / "003"
    assert {path.name for path in point.iterdir()} == {
        ".history.jsonl.sha256",
        ".lock",
        "facts",
        "history.jsonl",
        "lock.json",
        "log.txt",
        "recipe.toml",
        "status.json",
        "students",
        "validation.npz",
    }
    assert json.loads((point / "lock.json").read_text())["recipe_sha256"] == sweep.points[3].recipe.fingerprint
    assert json.loads((point / "status.json").read_text())["status"] == "done"
    rows = [json.loads(line) for line in (point / "history.jsonl").read_text().splitlines()]
    assert {(row["arm"], row["seed"]) for row in rows} == {(arm, seed) for arm in ("baseline", "kd") for seed in (0, 1)}


def test_the_figures_are_those_of_the_validation_images(swept):
    folder, results, _ = swept
    with np.load(folder / "points" / "002" / "validation.npz") as stored:
        labels, logits = stored["labels"], {key: stored[key] for key in stored.files if "-" in key}
    point = results["points"][2]
    kd = [accuracy(logits[f"kd-{seed}"], labels) for seed in (0, 1)]
    assert [one["kd"] for one in point["validation_accuracy"]["seeds"]] == kd
    assert point["validation_accuracy"]["mean"] == pytest.approx(np.mean(kd))
    right = {key: one.argmax(1) == labels for key, one in logits.items()}
    own, baseline = ({seed: right[f"{arm}-{seed}"] for seed in (0, 1)} for arm in ("kd", "baseline"))
    assert point["kd_minus_baseline"] == difference(own, baseline)
    with np.load(folder / "points" / "000" / "validation.npz") as stored:
        first = {seed: stored[f"kd-{seed}"].argmax(1) == labels for seed in (0, 1)}
    assert point["kd_minus_first"] == difference(own, first)
    assert results["points"][0]["kd_minus_first"] is None


@pytest.mark.slow
def test_a_points_student_is_that_of_a_run_of_its_recipe_to_the_bit(swept, tmp_path):
    folder, _, sweep = swept
    kdrecipes.run(sweep.points[1].recipe, tmp_path / "run")
    for label in ("kd-1", "baseline-0"):
        ours, theirs = student_arrays(folder / "points" / "001", label), student_arrays(tmp_path / "run", label)
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_finished_sweep_is_told_again_and_trains_nothing(swept, monkeypatch):
    folder, results, sweep = swept
    monkeypatch.setattr(sweeps, "run_point", lambda *a, **k: pytest.fail("a finished point was run again"))
    assert run_sweep(sweep, folder) == results


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        (["report"], "has no report of its own"),
        (["export"], "a file is compared with its student on test images"),
        (["push", "--to", "hub"], "what is published says how its student does on test"),
    ],
    ids=lambda value: value[0],
)
def test_no_verb_measures_a_point_on_test_and_each_says_what_does(swept, call, tmp_path, monkeypatch, verb, why):
    folder, _, _ = swept
    monkeypatch.chdir(tmp_path)
    code, out, err = call(verb[0], folder / "points" / "000", *verb[1:])
    assert (code, out) == (2, "") and f"validation alone, and {why}." in err and "--confirm 3" in err
    assert not (folder / "points" / "000" / "export").exists() and not list(tmp_path.iterdir())


def test_a_point_that_is_not_done_is_a_point_too(swept, tmp_path):
    folder, _, _ = swept
    shutil.copytree(folder / "points" / "000", tmp_path / "points" / "000")
    shutil.copy(folder / "sweep.json", tmp_path)
    (tmp_path / "points" / "000" / "validation.npz").unlink()
    with pytest.raises(UsageError, match="is a point of a sweep"):
        export(tmp_path / "points" / "000", "keras")


@pytest.mark.parametrize("verb", ["report", "compare", "export"])
def test_a_sweeps_folder_in_place_of_a_runs_says_where_the_runs_are(swept, call, verb):
    folder, _, _ = swept
    code, out, err = call(verb, folder)
    assert (code, out) == (2, "")
    assert f"{folder} is the folder of a sweep, not of a run. Its runs are those under {folder / 'confirm'}" in err


def test_a_shared_student_names_the_recipe_of_the_point_that_trained_it(swept):
    folder, _, sweep = swept
    for label, point in (("baseline-0", 0), ("kd-0", 3)):
        told = json.loads((folder / "points" / "003" / "students" / f"{label}.json").read_text())
        assert told["recipe_sha256"] == sweep.points[point].recipe.fingerprint


def test_a_plan_of_a_long_search_tells_how_far_it_is(monkeypatch, tmp_path):
    from kdrecipes.recipe import sweep_points
    from kdrecipes.runs.sweep_plan import plan_of

    lines = []
    monkeypatch.setattr(sweep_points, "EVERY", -1.0)
    plan_of(quick("loss.temperature=1..8", search=2), tmp_path / "out", note=lines.append)
    assert lines == ["0 of 2 points are checked", "1 of 2 points are checked"]


@pytest.mark.slow
def test_a_point_is_run_whole_where_somebody_asks_for_that(swept, tmp_path):
    folder, _, sweep = swept
    shutil.copytree(folder / "points" / "002", tmp_path / "point")
    before = student_arrays(tmp_path / "point", "kd-0")
    report = kdrecipes.run(sweep.points[2].recipe, tmp_path / "point")
    assert len(report["arms"]) == 4
    assert all(map(np.array_equal, before, student_arrays(tmp_path / "point", "kd-0")))


def test_the_table_ranks_points_by_validation(swept):
    _, results, _ = swept
    lines = sweep_text(results).splitlines()
    assert lines[0].split()[:3] == ["point", "changes", "rank"]
    best = min(results["points"], key=lambda point: point["rank"])
    assert lines[1].startswith(f"{best['point']}  {best['label']}")
    assert "10 students were trained where the points have 16." in lines


def test_another_sweep_in_the_folder_is_refused_with_the_two_ways_on(swept, tmp_path):
    folder, _, _ = swept
    for other, what in (
        (quick("loss.temperature=1,2", seeds=(0, 1)), "it swept loss.temperature, loss.weight where this one sweeps"),
        (quick("loss.temperature=1,2", "loss.weight=0.3,0.9", seeds=(0, 1)), "its points are others"),
        (quick(*GRID, seeds=(0, 2)), "sweep: its seeds were [0, 1] and are [0, 2]."),
        (
            quick("seed=1", seeds=(2,)),
            "it swept loss.temperature, loss.weight where this one sweeps seed and its seeds were [0, 1] and are [2].",
        ),
        (quick(*GRID[:1], "loss.weight=1,2", seeds=(2,)), "its points are others and its seeds were [0, 1] and are"),
        (quick(*GRID, seeds=(0, 1), overrides=["train.batch_size=16"]), "train.batch_size was 32 and is 16"),
    ):
        with pytest.raises(UsageError) as caught:
            run_sweep(other, folder)
        assert what in str(caught.value)
        assert str(caught.value).endswith("Choose another folder with --out, or replace that sweep with --overwrite.")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds files that are no sweep \(notes.txt …\)"):
        run_sweep(quick(*GRID), tmp_path)


def test_equal_distilled_students_of_two_points_are_one(tmp_path):
    results = run_sweep(quick("compare.baseline=true,false"), tmp_path / "out")
    assert [(point["arms_trained"], point["arms_shared"]) for point in results["points"]] == [(2, 0), (0, 1)]
    assert results["trainings"] == {"without_sharing": 3, "planned": 2, "done": 2}
    assert results["points"][1]["kd_minus_baseline"] is None


@pytest.mark.slow
def test_students_labels_and_teachers_may_be_swept(tmp_path):
    points = tmp_path / "points.toml"
    points.write_text(
        'points = [{}, { "student.width" = 3 }, { "dataset.labelled" = 64 }, { "dataset.train" = "train[:352]" },\n'
        '  { teacher = { name = "cnn", width = 4, train = { epochs = 1 } } }, { loss = { name = "dist" } }]\n'
    )
    results = run_sweep(quick(points=points), tmp_path / "out")
    assert [point["status"] for point in results["points"]] == ["done"] * 6
    assert [point["arms_shared"] for point in results["points"]] == [0, 0, 0, 0, 1, 1]
    assert results["trainings"] == {"without_sharing": 12, "planned": 10, "done": 10}
    # Of more images others are held out, so that there is no pair of the same image.
    assert [point["kd_minus_first"] is not None for point in results["points"]] == [
        False,
        True,
        True,
        False,
        True,
        True,
    ]


def test_a_point_that_fails_is_recorded_and_the_others_go_on(tmp_path, call):
    command = ["sweep", "digits", *(part for one in QUICK for part in ("--set", one)), "--out", tmp_path / "out"]
    code, out, err = call(
        *command, "--grid", "train.optimizer.learning_rate=0.01,1e30", "--grid", "compare.baseline=false"
    )
    assert code == 1
    done, failed = read_sweep(tmp_path / "out")["points"]
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert "loss is" in failed["message"] and "learning_rate" in failed["message"]
    assert f"001  {failed['label']}  failed: {failed['message']}" in out
    assert f"failed: {failed['message']}" in err
    assert read_sweep(tmp_path / "out")["status"] == "failed"


@pytest.mark.slow
def test_a_failed_point_is_tried_again_by_the_same_command(tmp_path, monkeypatch):
    sweep, out = quick("loss.temperature=1,4"), tmp_path / "out"
    real = sweep_point.train_kept_arm

    def failing(place, point, recipe, arm, *rest, **options):
        if point == "001":
            raise RuntimeError("no such luck")
        return real(place, point, recipe, arm, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_point, "train_kept_arm", failing)
        results = run_sweep(sweep, out)
    assert results["points"][1]["message"].startswith("The point stopped: RuntimeError: no such luck. The traceback is")
    assert "Traceback" in (out / "points" / "001" / "log.txt").read_text()
    results = run_sweep(sweep, out)
    assert results["status"] == "done" and results["points"][1]["message"] is None


@pytest.mark.parametrize(("stop", "expected"), [(KeyboardInterrupt, 130), (kdrecipes.errors.Preempted, 143)])
def test_a_stopped_sweep_ends_with_the_exit_code_of_its_signal(tmp_path, call, monkeypatch, stop, expected):
    def stopping(*args, **options):
        raise stop("Stopped.")

    monkeypatch.setattr(sweeps, "run_point", stopping)
    code, out, err = call("sweep", "digits", "--grid", "loss.temperature=1,2", "--out", tmp_path / "out")
    assert code == expected and out.splitlines()[:3] == ["No point is done.", "", "2 of 2 points are not done."]
    assert "goes on" in err or "Stopped" in err
    assert read_sweep(tmp_path / "out")["status"] == "stopped"
    assert "stopped" in (tmp_path / "out" / "sweep.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [KeyboardInterrupt, kdrecipes.errors.Preempted])
def test_a_stopped_sweep_goes_on_to_the_same_results(swept, tmp_path, monkeypatch, stop):
    """It stops in the second point, after the first of its two students."""
    _, whole, sweep = swept
    out, real, trained = tmp_path / "out", shared_arms.fit_arm, []

    def stopping(recipe, arm, *rest, **options):
        if len(trained) == 5:
            raise stop("stopped")
        trained.append(arm)
        return real(recipe, arm, *rest, **options)

    with monkeypatch.context() as patch, pytest.raises(stop):
        patch.setattr(shared_arms, "fit_arm", stopping)
        run_sweep(sweep, out)
    results = read_sweep(out)
    assert results["status"] == "stopped"
    assert [point["status"] for point in results["points"]] == ["done", "waiting", "waiting", "waiting"]
    results = run_sweep(sweep, out)
    timeless = ("seconds", "environment", "command")
    assert _without(results, timeless) == _without(whole, timeless)


def test_the_time_of_a_point_is_that_of_all_times_that_it_was_taken_up(tmp_path, monkeypatch):
    """It is stopped at its second student, then left since another process trains that, then trained to its end."""
    clock, real, fits, asked = [0.0], shared_arms.fit_arm, [], []
    monkeypatch.setattr(time_worked, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(recipe, arm, *rest, **options):
        fits.append(arm.arm)
        clock[0] += 10
        if len(fits) == 2:
            raise KeyboardInterrupt
        return real(recipe, arm, *rest, **options)

    @contextmanager
    def busy(*args):
        asked.append(args)
        clock[0] += 3
        yield False

    monkeypatch.setattr(shared_arms, "fit_arm", slow)
    sweep, out, held = quick("loss.temperature=1"), tmp_path / "out", sweep_point._held
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, out)
    assert read_sweep(out)["points"][0]["seconds"] == read_sweep(out)["seconds"] == 20
    monkeypatch.setattr(sweep_point, "_held", lambda *args: held(*args) if asked else busy(*args))
    results = run_sweep(sweep, out)
    assert fits == ["baseline", "kd", "kd"] and results["status"] == "done"
    assert results["points"][0]["seconds"] == results["seconds"] == 20 + 3 + 10


def test_waiting_is_no_work(tmp_path, monkeypatch):
    clock, folder = [0.0], RunFolder(tmp_path, {"seconds": 5.0})
    monkeypatch.setattr(time_worked, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    worked = time_worked.TimeWorked(folder)
    clock[0] += 2
    with worked.waiting():
        clock[0] += 100
    worked.keep()
    assert json.loads((tmp_path / "status.json").read_text()) == {"seconds": 7.0, "status": "running"}


def _without(value, keys):
    if isinstance(value, dict):
        return {key: _without(one, keys) for key, one in value.items() if key not in keys}
    return [_without(one, keys) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_the_best_points_are_confirmed_on_test_with_fresh_seeds(swept):
    folder, results, sweep = swept
    confirmed = run_sweep(sweep, folder, best=1)["confirmed"]
    best = min(results["points"], key=lambda point: point["rank"])["point"]
    [one] = confirmed
    assert (one["point"], one["run"], one["seeds"]) == (best, f"confirm/{best}", [2, 3])
    report = json.loads((folder / one["run"] / "report.json").read_text())
    kd, baseline = ([a["test_accuracy"] for a in report["arms"] if a["arm"] == arm] for arm in ("kd", "baseline"))
    assert one["test_accuracy"] == np.mean(kd) and one["baseline_test_accuracy"] == np.mean(baseline)
    gain = report["comparison"]["kd_minus_baseline"]
    assert one["kd_minus_baseline"] == {key: gain[key] for key in ("mean", "ci95", "ci95_over", "seeds", "verdict")}
    assert run_sweep(sweep, folder, best=1)["confirmed"] == confirmed


@pytest.fixture
def confirming(swept, tmp_path, monkeypatch):
    """A finished sweep of its own, and what its sweep.json and its page told when each confirming run began."""
    shutil.copytree(swept[0], tmp_path / "out", ignore=shutil.ignore_patterns("confirm"))
    write_sweep(tmp_path / "out", {**read_sweep(tmp_path / "out"), "confirmed": []})
    seen = []

    def fake(recipe, path, device):
        seen.append((read_sweep(tmp_path / "out"), (tmp_path / "out" / "sweep.html").read_text()))
        if len(seen) == 2:
            raise RunError("no such luck")
        arms = [{"arm": arm, "test_accuracy": 0.5} for arm in ("kd", "baseline")]
        return {"arms": arms, "comparison": {}}

    monkeypatch.setattr(confirm_module, "run", fake)
    return tmp_path / "out", swept[2], seen


def test_a_sweep_is_running_until_all_are_confirmed_and_its_page_keeps_up(confirming):
    out, sweep, seen = confirming
    (out / "sweep.html").unlink()
    with pytest.raises(RunError, match="no such luck"):
        run_sweep(sweep, out, best=3)
    assert [(one["status"], one["to_confirm"], len(one["confirmed"])) for one, _ in seen] == [
        ("running", 3, 0),
        ("running", 3, 1),
    ]
    assert "Confirmed: measured on test" not in seen[0][1] and "Confirmed: measured on test" in seen[1][1]
    assert read_sweep(out)["status"] == "stopped" and "was stopped" in (out / "sweep.html").read_text()
    rest = [point["point"] for point in unconfirmed(read_sweep(out))]
    assert len(rest) == 2 and f"Not confirmed yet: {', '.join(rest)}." in sweep_text(read_sweep(out))
    results = run_sweep(sweep, out, best=3)
    assert (results["status"], len(results["confirmed"])) == ("done", 3)


def test_the_command_of_a_sweep_is_the_newest_that_reproduces_what_it_shows(confirming, monkeypatch):
    out, sweep, _ = confirming
    typed = []
    for best in (1, 0):
        monkeypatch.setattr(sweep_folder, "command", lambda best=best: f"kdrecipes sweep … --confirm {best}")
        typed.append(run_sweep(sweep, out, best=best)["command"])
    assert typed == ["kdrecipes sweep … --confirm 1"] * 2


def test_a_point_whose_process_was_killed_before_it_told_the_sweep_is_told_by_the_next(swept, tmp_path, monkeypatch):
    """Its own files say that it is through; sweep.json still says that somebody works on it."""
    out, before, sweep = tmp_path / "out", swept[1], swept[2]
    shutil.copytree(swept[0], out)
    results = json.loads((out / "sweep.json").read_text())
    results["confirmed"] = []
    for point in results["points"][1:3]:
        point |= {"status": "running", "validation_accuracy": None, "kd_minus_baseline": None, "kd_minus_first": None}
    write_sweep(out, results)
    SweepFolder(out).close("002", "pruned", "it was below the median")
    (out / ".sweep.json.0123456789ab").write_text("{")
    (out / "..sweep.json.sha256.0123456789ab").write_text("")
    (out / ".sweep.html.0123456789ab").write_text("<")
    monkeypatch.setattr(shared_arms, "fit_arm", lambda *a, **k: pytest.fail("trained again"))
    after = run_sweep(sweep, out)["points"]
    assert [point["status"] for point in after] == ["done", "done", "pruned", "done"]
    for key in ("validation_accuracy", "kd_minus_baseline", "kd_minus_first", "arms_trained", "arms_shared"):
        assert after[1][key] == before["points"][1][key], key
    assert after[2]["message"] == "it was below the median"
    assert [path.name for path in out.glob(".*sweep.*")] == [".sweep.json.sha256"]


@pytest.mark.slow
def test_two_processes_share_a_sweep_and_one_that_is_killed_is_replaced(tmp_path):
    """One is killed in the middle of its first student; the other takes up its point, and ends all of them."""
    command = [sys.executable, "-m", "kdrecipes", "sweep", "digits", "--grid", "loss.temperature=1,2,4,8", "--json"]
    command += [part for one in (*QUICK, "train.epochs=3") for part in ("--set", one)] + [
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "KDRECIPES_HOME": str(tmp_path / "home")}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **options) as first:
        for line in first.stderr:
            if line.startswith("point 000"):
                break
        second = subprocess.Popen(command, **options)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    results = json.loads(out)
    assert results == read_sweep(tmp_path / "out")
    assert results["status"] == "done" and results["trainings"]["done"] == 5


def test_a_third_partys_loss_is_swept(tmp_path):
    points = tmp_path / "points.toml"
    points.write_text('points = [{ loss = { name = "kd" } }, { loss = { name = "example_logits" } }]\n')
    results = run_sweep(quick(points=points), tmp_path / "out")
    assert [point["status"] for point in results["points"]] == ["done", "done"]
    assert results["points"][1]["arms_shared"] == 1


def test_a_plan_counts_and_runs_nothing(tmp_path, call, monkeypatch):
    command = ["sweep", "digits", "--grid", "loss.temperature=1,2,4", "--seeds", "0,1", "--plan"]
    code, out, _ = call(*command, "--out", tmp_path / "out", "--json")
    plan = json.loads(out)
    assert code == 0 and not (tmp_path / "out").exists()
    assert plan["by_kind"] == {
        "students, labels only": {"without_sharing": 6, "planned": 2},
        "students, distilled": {"without_sharing": 6, "planned": 6},
        "teachers": {"without_sharing": 3, "planned": 1},
    }
    assert plan["trainings"] == {"without_sharing": 12, "planned": 8, "done": 0} and plan["seconds"] is None
    code, out, _ = call(*command, "--out", tmp_path / "out")
    assert "unknown until one is trained" in out and "students, labels only" in out


def test_a_plan_tells_time_by_the_students_that_are_there(swept):
    from kdrecipes.runs.sweep_plan import plan_of

    folder, _, sweep = swept
    plan = plan_of(sweep, folder)
    assert plan["trainings"] == {"without_sharing": 16, "planned": 10, "done": 10} and plan["seconds"] == 0


def test_a_plan_counts_what_confirming_trains_and_how_long_it_takes(swept):
    from kdrecipes.runs.sweep_plan import plan_of

    folder, _, sweep = swept
    kept = [json.loads(file.read_text())["facts"] for file in folder.glob("arms/*/arm.json")]
    mean = {arm: np.mean([one["seconds"] for one in kept if one["arm"] == arm]) for arm in ("kd", "baseline")}
    done = len(read_sweep(folder)["confirmed"])  # by another test
    plan = plan_of(sweep, folder, best=3)
    assert plan["by_kind"]["students, confirming"] == {"without_sharing": 12, "planned": 12}
    assert plan["trainings"] == {"without_sharing": 16, "planned": 10, "done": 10}
    assert plan["seconds"] == pytest.approx((3 - done) * 2 * sum(mean.values()), abs=1e-3)
    assert plan_of(sweep, folder, best=9)["by_kind"]["students, confirming"]["planned"] == 16


def test_a_plan_counts_nothing_that_overwrite_removes_and_refuses_what_the_sweep_refuses(swept, call):
    folder, _, _ = swept
    command = ["sweep", "digits", "--grid", "loss.temperature=1,2", "--plan", "--json", "--out", folder]
    code, out, err = call(*command)
    assert code == 2 and f"{folder} holds another sweep" in err
    code, out, _ = call(*command, "--overwrite")
    plan = json.loads(out)
    assert code == 0 and plan["trainings"]["done"] == 0 and plan["seconds"] is None


def test_a_search_without_optuna_says_how_to_install_it(tmp_path, call, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    code, out, err = call(
        "sweep", "digits", "--grid", "loss.temperature=1..8", "--search", 3, "--out", tmp_path / "out"
    )
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "`kdrecipes sweep --search` needs optuna, which is not installed. Install it: `pip install 'kdrecipes[optuna]'`"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_search_draws_as_many_points_and_goes_on_with_more(tmp_path):
    pytest.importorskip("optuna")
    grid = ["loss.temperature=1..8", "loss.weight=0.3,0.9", "student.width=3..4"]
    results = run_sweep(quick(*grid, search=3), tmp_path / "out")
    assert results["kind"] == "search" and results["status"] == "done" and results["importance"] is None
    assert len(results["points"]) == 3
    keys = {"loss.temperature", "loss.weight", "student.width"}
    assert all(set(point["changes"]) == keys for point in results["points"])
    assert all(1 <= point["changes"]["loss.temperature"] <= 8 for point in results["points"])
    assert {type(point["changes"]["student.width"]) for point in results["points"]} == {int}
    assert results["trainings"]["without_sharing"] == 6 and results["trainings"]["done"] <= 5
    more = run_sweep(quick(*grid, search=8), tmp_path / "out")
    assert [point["changes"] for point in more["points"][:3]] == [point["changes"] for point in results["points"]]
    assert len(more["points"]) == 8 and len({point["recipe_sha256"] for point in more["points"]}) == 8
    assert {one["key"] for one in more["importance"]} == keys
    assert sum(one["importance"] for one in more["importance"]) == pytest.approx(1)


@pytest.mark.slow
def test_a_search_ends_where_there_are_no_more_points(tmp_path):
    pytest.importorskip("optuna")
    results = run_sweep(quick("compare.baseline=true,false", search=5), tmp_path / "out")
    assert len(results["points"]) == 2 and results["status"] == "done"


@pytest.mark.slow
def test_a_search_stops_a_point_that_is_below_the_median(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from optuna.trial import Trial

    monkeypatch.setattr(Trial, "should_prune", lambda self: self.number == 1)
    sweep = quick("loss.temperature=1..8", search=3, overrides=["train.epochs=2"])
    results = run_sweep(sweep, tmp_path / "out")
    assert [point["status"] for point in results["points"]] == ["done", "pruned", "done"]
    assert results["points"][1]["message"] == "stopped after epoch 1 of 2 (seed 0): below the median"
    assert results["points"][1]["rank"] is None and results["status"] == "done"
    assert run_sweep(sweep, tmp_path / "out")["points"] == results["points"]


@pytest.mark.slow
def test_values_that_do_not_go_together_are_a_failed_point_of_a_search(tmp_path):
    pytest.importorskip("optuna")
    views = ["dataset.views={random_resized_crop={scale=[0.9,1.0]}}", "compare.baseline=false"]
    sweep = quick("dataset.views={flip=true},{flip=false}", "train.batch_size=16,300", search=4, overrides=views)
    results = run_sweep(sweep, tmp_path / "out")
    failed = [point for point in results["points"] if point["status"] == "failed"]
    assert len(results["points"]) == 4 and len(failed) == 2
    assert all("batch" in point["message"] for point in failed) and results["status"] == "failed"
