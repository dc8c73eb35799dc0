"""The report from a run folder: complete, the same whenever it is made, without torch, and clear about damage."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kdrecipes.disk.files import locked
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import EnvironmentProblem, UsageError
from kdrecipes.report.build import build_report, check_report, rebuild_report, write_report
from kdrecipes.report.facts import (
    ArmFacts,
    DatasetFacts,
    EnvironmentFacts,
    RecipeFacts,
    TeacherFacts,
    read_arms,
    read_facts,
    read_teachers,
    write_facts,
)
from kdrecipes.report.intervals import finest

SHA = "0" * 64
IMAGES, CLASSES, EPOCHS = 40, ["ä", "b\udcff", "<c>"], 2
BAD = [{"split": "digits train", "name": "b\udcff.jpg", "reason": "cut <short>"}]
LEFT = [{"split": "digits train", "reason": "without a suffix", "files": 2, "names": ["a", "b"]}]


def fill(folder, seeds=(0,), kinds=("baseline", "kd"), teacher=True, several=False, same=(), **recipe):
    """Write what an invented run leaves; `recipe`: tables of the resolved recipe, `same`: identical images."""
    random = np.random.default_rng(0)
    labels = random.integers(0, len(CLASSES), IMAGES)
    arms = {f"{kind}-{seed}": (kind, seed) for seed in seeds for kind in kinds}
    rows = [(kind, seed, epoch) for kind, seed in arms.values() for epoch in range(1, EPOCHS + 1)]
    rows += [("teacher", 0, 1)] if teacher else []
    networks = [*arms, *(["of the teacher"] if teacher else []), *(["small", "ensemble"] if several else [])]
    logits = {name: random.normal(size=(IMAGES, len(CLASSES))).astype(np.float32) for name in networks}
    folder.mkdir(exist_ok=True)
    lock = {"recipe_sha256": SHA, "recipe": {"student": {"name": "cnn"}, **recipe}}
    (folder / "lock.json").write_text(json.dumps(lock))
    (folder / "status.json").write_text('{"status": "done"}')
    line = '{{"arm": "{}", "seed": {}, "epoch": {}, "loss": 1.5, "val_accuracy": 0.5}}\n'
    (folder / "history.jsonl").write_text("".join(line.format(*row) for row in rows))
    which = {"index": np.arange(IMAGES), "names": np.array([f"{i}.jpg" for i in range(IMAGES)])}
    np.savez(folder / "predictions.npz", labels=labels, **which, **logits)
    write_facts(folder, "recipe", RecipeFacts("r", "An invented run.", "r.toml", ["a=1"], 'name = "r"', "name = 'r'"))
    write_facts(
        folder,
        "dataset",
        DatasetFacts("digits", SHA, CLASSES, 100, 60, 40, 20, IMAGES, 3, 1, BAD, LEFT, ["few"], [*same]),
    )
    seconds = {"fit": 1.5, "outputs": None}
    taught = TeacherFacts("vit", 999, SHA, False, seconds, "of the teacher", ["teacher preflight: weak"])
    small = replace(taught, component="cnn", logits="small", warnings=[], seconds={"fit": 0.5, "outputs": 2.0})
    teachers = {"big": taught, "small": small} if several else {"big": taught} if teacher else {}
    write_facts(folder, "teachers", teachers)
    student = {k: ArmFacts(*arm, f"students/{k}.keras", 77, 60, EPOCHS, 20, 3.25) for k, arm in arms.items()}
    write_facts(folder, "arms", student)
    place = {"versions": {}, "device": "cpu", "threads": 2, "git": None}
    write_facts(folder, "environment", EnvironmentFacts("kdrecipes run r.toml", ["other threads"], place))
    return folder


@pytest.fixture
def run(tmp_path):
    return fill(tmp_path / "run")


def test_every_fact_has_its_place_in_the_report(run):
    report = build_report(run)
    check_report(report)
    assert (report["name"], report["command"], report["recipe_sha256"]) == ("r", "kdrecipes run r.toml", SHA)
    names = ["ä", r"b\udcff", "<c>"]  # what no UTF-8 file can hold is escaped
    assert list(report["dataset"].values()) == ["digits", SHA, 3, 100, 60, 40, 20, IMAGES, 3, 1, BAD, LEFT, [], names]
    (big,) = report["teachers"]
    assert (big["id"], big["component"], big["seconds"]) == ("big", "vit", {"fit": 1.5, "outputs": None})
    assert report["warnings"] == ["other threads", "few", "teacher preflight: weak"]
    [baseline, kd] = report["arms"]
    assert list(kd)[:8] == ["arm", "seed", "student", "params", "labels", "epochs", "steps", "seconds"]
    assert (baseline["arm"], kd["arm"], kd["seed"], kd["student"]) == ("baseline", "kd", 0, "students/kd-0.keras")
    assert kd["validation_accuracy"] == [0.5, 0.5] and kd["best_epoch"] == 1
    with np.load(run / "predictions.npz") as stored:
        right = {name: float((stored[name].argmax(1) == stored["labels"]).mean()) for name in stored if "-" in name}
        agreement = float((stored["kd-0"].argmax(1) == stored["of the teacher"].argmax(1)).mean())
    assert (baseline["test_accuracy"], kd["test_accuracy"]) == (right["baseline-0"], right["kd-0"])
    assert kd["agreement"] == agreement
    assert report["comparison"]["kd_minus_baseline"]["mean"] == pytest.approx(right["kd-0"] - right["baseline-0"])
    assert report["comparison"]["kd_minus_teacher"]["mcnemar"][0].keys() == {
        "seed",
        "only_kd_right",
        "only_teacher_right",
        "p",
    }


@pytest.mark.slow
def test_each_teacher_has_its_figures_and_students_are_compared_with_all_together(tmp_path):
    report = write_report(fill(tmp_path / "run", several=True))
    check_report(report)
    with np.load(tmp_path / "run" / "predictions.npz") as stored:
        named = {name: stored[name].argmax(1) for name in ("of the teacher", "small", "ensemble", "kd-0")}
        labels = stored["labels"]
    big, small = report["teachers"]
    assert [(t["id"], t["component"]) for t in (big, small)] == [("big", "vit"), ("small", "cnn")]
    assert small["test_accuracy"] == (named["small"] == labels).mean()
    assert big["agreement"] == (named["of the teacher"] == named["ensemble"]).mean()
    right = (named["ensemble"] == labels).mean()
    assert report["ensemble"]["test_accuracy"] == right and "agreement" not in report["ensemble"]
    assert report["arms"][1]["agreement"] == (named["kd-0"] == named["ensemble"]).mean()
    mean = report["comparison"]["kd_minus_teacher"]["mean"]
    assert mean == pytest.approx((named["kd-0"] == labels).mean() - right)


def test_one_teacher_makes_no_ensemble(run):
    report = build_report(run)
    assert "ensemble" not in report and "agreement" not in report["teachers"][0]


def test_several_teachers_without_their_ensemble_are_refused(tmp_path):
    fill(tmp_path / "run", several=True)
    with np.load(tmp_path / "run" / "predictions.npz") as stored:
        arrays = {name: stored[name] for name in stored if name != "ensemble"}
    np.savez(tmp_path / "run" / "predictions.npz", **arrays)
    with pytest.raises(UsageError, match=r"predictions.npz .*ensemble has the shape None and should have \(40, 3\)"):
        build_report(tmp_path / "run")


def test_students_of_several_seeds_are_compared_seed_by_seed(tmp_path):
    comparison = build_report(fill(tmp_path / "run", seeds=(3, 10)))["comparison"]
    assert [test["seed"] for test in comparison["kd_minus_baseline"]["mcnemar"]] == [3, 10]
    assert [test["seed"] for test in comparison["kd_minus_teacher"]["mcnemar"]] == [3, 10]


def test_the_recipes_margin_decides_both_comparisons(tmp_path):
    """Of 40 images networks of random logits are alike to within some tenths, and not to within two thousandths."""
    comparison = build_report(fill(tmp_path / "run", compare={"margin": 0.75}))["comparison"]
    assert {(found["margin"], found["verdict"]) for found in comparison.values()} == {(0.75, "same")}
    older = build_report(fill(tmp_path / "older", compare={"baseline": True}))
    assert older["schema_version"] == 2
    for key, found in older["comparison"].items():
        assert found["margin"] == 0.002 and found["verdict"] in ("helped", "hurt", "unclear")
        assert {**found, **{name: comparison[key][name] for name in ("margin", "verdict")}} == comparison[key]
        assert found["detectable"] > 0 and found["test_loss"]["ci95"] and found["ece"]["ci95"]


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "images"), [((0,), 40), ((0, 1, 2), 40), ((0,), 4000)])
def test_students_that_no_test_image_tells_apart_are_the_same_only_where_there_are_many(tmp_path, seeds, images):
    run = fill(tmp_path / "run", seeds=seeds)
    with np.load(run / "predictions.npz") as stored:
        arrays = {name: np.resize(stored[name], (images, *stored[name].shape[1:])) for name in stored}
    arrays |= {f"kd-{seed}": arrays[f"baseline-{seed}"] for seed in seeds}
    np.savez(run / "predictions.npz", **arrays)
    facts = read_json(run / "facts/dataset.json")
    (run / "facts/dataset.json").write_text(json.dumps(facts | {"test": images}))
    found = build_report(run)["comparison"]["kd_minus_baseline"]
    assert found["mean"] == 0 and found["ci95"] == [0, 0]
    assert found["detectable"] == finest(images) == pytest.approx(3.69 / images, rel=0.06)
    assert found["verdict"] == ("same" if images == 4000 else "unclear")


@pytest.mark.parametrize("compare", [[], {"margin": None}, {"margin": "small"}])
def test_a_margin_that_is_no_number_is_damage(tmp_path, compare):
    with pytest.raises(UsageError, match=r"lock.json can't be read"):
        build_report(fill(tmp_path, compare=compare))


def test_a_margin_that_no_recipe_can_have_is_one_message(tmp_path):
    with pytest.raises(UsageError, match=r"kd_minus_baseline.margin: .*--overwrite"):
        rebuild_report(fill(tmp_path, compare={"margin": 2.0}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "teacher", "compared"),
    [(("baseline",), False, None), (("kd",), True, ["kd_minus_teacher"])],
)
def test_what_is_not_there_is_not_compared(tmp_path, kinds, teacher, compared):
    report = write_report(fill(tmp_path / "run", kinds=kinds, teacher=teacher))
    assert (report["comparison"] and list(report["comparison"])) == compared
    assert len(report["teachers"]) == teacher
    assert ("agreement" in report["arms"][0]) == teacher


@pytest.mark.slow
def test_the_report_made_again_is_the_same_to_the_byte(run):
    first = write_report(run)
    figures = [f"figures/{path.name}" for path in (run / "figures").iterdir()]
    assert {"figures/per_class.svg", "figures/per_class.png", "figures/reliability_teacher.png"} <= set(figures)
    bytes_of = {name: (run / name).read_bytes() for name in ("report.json", "report.html", "MODEL_CARD.md", *figures)}
    for name in bytes_of:
        (run / name).unlink()
    assert rebuild_report(run) == first
    assert {name: (run / name).read_bytes() for name in bytes_of} == bytes_of
    assert "An invented run." in bytes_of["report.html"].decode()


def test_facts_come_back_as_they_were_written(run):
    facts = read_facts(run)
    assert facts.dataset.classes == CLASSES  # one is the name of a folder that is no text
    assert facts.teachers == read_teachers(run) and facts.arms == read_arms(run)
    assert facts.recipe.overrides == ["a=1"] and facts.student == "cnn"


def test_a_run_that_is_older_than_a_fact_has_its_report(run):
    path = run / "facts/dataset.json"
    facts = read_json(path)
    path.write_text(json.dumps({key: value for key, value in facts.items() if key not in ("unreadable", "left_out")}))
    assert build_report(run)["dataset"]["left_out"] == []


@pytest.mark.slow
def test_the_page_names_what_could_not_be_read_and_what_was_left_out(run):
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert r"<code>b\xff.jpg</code>: cut &lt;short&gt;" in text and "1 images could not be read" in text
    assert "<dt>Left out</dt><dd>digits train: 2 without a suffix, a, b</dd>" in text


@pytest.mark.slow
def test_time_and_energy_are_reported_where_they_are_known(run):
    assert not {"time", "energy"} & build_report(run).keys(), "a run that is older tells neither"
    time = {"wall": 10.0, "parts": [{"part": "arm", "of": "kd-0", "seconds": 4.0, "by": "this"}]}
    place = {"versions": {}, "device": "cpu", "threads": 2, "git": None}
    write_facts(run, "environment", EnvironmentFacts("run", [], place, time, {"processors": 1234.5}))
    report = write_report(run)
    assert (report["time"], report["energy"]) == (time, {"processors": 1234.5})
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<dt>Wall time</dt><dd>10 s, of the process that finished the run" in page
    assert '<tr><th scope="row">student kd-0</th><td>4.0 s</td><td>40 %</td><td class="text"></td></tr>' in page
    assert "<dt>Energy</dt><dd>processors 1.23 kJ: of the whole machine" in page


def test_nothing_is_written_down_of_what_has_not_ended(tmp_path):
    assert read_teachers(tmp_path) == read_arms(tmp_path) == {}


TORN = ["lock.json", "history.jsonl", "predictions.npz"]
TORN += [f"facts/{name}.json" for name in ("recipe", "dataset", "teachers", "arms", "environment")]


@pytest.mark.parametrize("text", [None, "", "{torn", "[]\n", '{"a": 1}\n'], ids=repr)
@pytest.mark.parametrize("file", TORN)
def test_a_damaged_or_missing_file_is_one_message_that_names_it(run, file, text):
    (run / file).unlink()
    if text is not None:
        (run / file).write_text(text)
    with pytest.raises(UsageError, match=r"--overwrite` makes the run anew") as error:
        build_report(run)
    assert str(run / file) in str(error.value)


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("dataset", {"train": "many"}, "train can't be 'many'"),
        ("dataset", {"classes": {}}, "classes can't be {}"),
        ("dataset", {"classes": ["a", 1, "c"]}, "classes can't be "),
        ("dataset", {"train": True}, "train can't be True"),
        (
            "dataset",
            {"test": 41},
            r"predictions.npz .*of the teacher has the shape \(40, 3\) and should have \(41, 3\)",
        ),
        ("arms", {"kd-0": {}}, "arms.json .*its keys are not arm, seed, student"),
        ("environment", {"more": 1}, "its keys are not command, warnings, environment"),
    ],
)
def test_facts_of_another_form_or_another_run_are_refused(run, file, change, why):
    path = run / "facts" / f"{file}.json"
    path.write_text(json.dumps(read_json(path) | change))
    with pytest.raises(UsageError, match=why):
        build_report(run)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "[" * 100_000])
@pytest.mark.parametrize("file", ["facts/arms.json", "history.jsonl"])
def test_what_python_reads_and_json_does_not_know_is_damage(run, file, word):
    text = (run / file).read_text()
    (run / file).write_text(re.sub(r'("(?:seconds|val_accuracy)": )[0-9.]+', rf"\g<1>{word}", text, count=1))
    with pytest.raises(UsageError, match=rf"{file} can't be read"):
        build_report(run)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"labels": np.full(40, 3)}, "its labels are no whole numbers from 0 to 2"),
        ({"labels": np.zeros(40, np.float32)}, "its labels are no whole numbers"),
        ({"kd-0": np.full((40, 3), np.nan, np.float32)}, "kd-0 holds what no logits are"),
        ({"kd-0": np.zeros((40, 3), "U3")}, "kd-0 holds what no logits are"),
    ],
)
def test_predictions_that_no_network_made_are_refused(run, change, why):
    with np.load(run / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(run / "predictions.npz", **arrays | change)
    with pytest.raises(UsageError, match=f"predictions.npz .*{why}"):
        build_report(run)


@pytest.mark.slow
def test_a_page_that_fails_leaves_the_report_as_it_was(run, monkeypatch):
    before = rebuild_report(run)
    path = run / "facts" / "environment.json"
    path.write_text(json.dumps(read_json(path)).replace('"command": "', '"command": "another ', 1))
    monkeypatch.setattr("kdrecipes.report.build.render", lambda *_: pytest.fail("no page"))
    with pytest.raises(pytest.fail.Exception):
        rebuild_report(run)
    assert json.loads((run / "report.json").read_text()) == before


def test_a_history_that_lacks_an_epoch_is_refused(run):
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(UsageError, match=r"history.jsonl .*holds 1 epochs of baseline-0, which trained 2"):
        build_report(run)


def test_a_line_of_the_history_that_is_no_epoch_is_named(run):
    text = (run / "history.jsonl").read_text()
    (run / "history.jsonl").write_text(text.replace('"val_accuracy": 0.5', '"val_accuracy": "half"', 1))
    with pytest.raises(UsageError, match=r"history.jsonl .*line 1 is no epoch of a run"):
        build_report(run)


def test_facts_that_the_schema_does_not_know_are_one_message(run):
    path = run / "facts" / "teachers.json"
    path.write_text(json.dumps(read_json(path)).replace('"outputs": null', '"outputs": "soon"'))
    with pytest.raises(
        UsageError, match=r"facts holds makes no report: teachers\[0\].seconds.outputs: .soon. is not .*--overwrite"
    ):
        rebuild_report(run)


# --- which folders have a report --------------------------------------------------------------------------------------


def test_a_folder_that_holds_no_run_is_refused_and_left_alone(tmp_path, call):
    code, out, error = call("report", tmp_path / "nowhere")
    assert (code, out) == (2, "") and "nowhere is no run folder" in error
    code, out, error = call("report", tmp_path)
    assert (code, out) == (2, "") and "it has no lock.json" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["running", "failed", "preempted"])
def test_an_unfinished_run_says_how_it_goes_on(run, call, status):
    (run / "status.json").write_text(json.dumps({"status": status}))
    code, out, error = call("report", run)
    assert (code, out) == (2, "")
    assert f"is not finished ({status})" in error and f"`kdrecipes run RECIPE --out {run}`" in error


def test_a_run_of_an_earlier_version_is_one_message(run, call):
    for file in (run / "facts").iterdir():
        file.unlink()
    (run / "facts").rmdir()
    code, out, error = call("report", run)
    assert (code, out) == (2, "")
    assert "of an earlier version: it has no folder facts" in error and "stay as they are" in error
    assert f"`kdrecipes run RECIPE --out {run} --overwrite`" in error


def test_a_folder_in_which_another_process_works_is_left_alone(run):
    with locked(run / ".lock"), pytest.raises(EnvironmentProblem, match="Another process is running in"):
        rebuild_report(run)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_prints_the_summary_and_with_json_the_report(run, call):
    code, out, error = call("report", run)
    assert code == 0 and "40 test images. With the same 60 labels, of these two students" in out
    assert "Warning: other threads" in out
    assert f"report: {run / 'report.html'}" in error
    code, out, _ = call("report", run, "--json")
    assert code == 0 and json.loads(out) == json.loads((run / "report.json").read_text()) == build_report(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import kdrecipes.report.html; from kdrecipes.report.build import build_report; from pathlib import Path\n"
        "build_report(Path(sys.argv[2]))",
        "from kdrecipes.cli.main import app; app(standalone_mode=False)",
    ],
    ids=["build_report", "kdrecipes report"],
)
def test_a_report_needs_no_torch_no_keras_and_no_plugin(run, code):
    program = (
        f"import sys\n{code}\n"
        "ours = ('kdrecipes.training', 'kdrecipes.data', 'kdrecipes.runs', 'kdrecipes.components.registry')\n"
        "print([name for name in sys.modules if name in ('torch', 'keras') or name.startswith(ours)], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, "report", str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
