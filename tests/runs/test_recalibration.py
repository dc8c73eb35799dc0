"""Batch-norm statistics estimated anew after few steps: as the recipe says, or by default, and both arms alike."""

import json

import numpy as np
import pytest
from samples import short, small, student_arrays

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.recipe.recalibration import BATCHES, FEW_STEPS
from kdrecipes.report.build import check_report
from kdrecipes.runs import recalibration
from kdrecipes.runs.recalibration import choose_recalibration


def test_students_of_few_steps_are_recalibrated_both_alike_and_the_run_says_so(finished, tmp_path, capsys):
    folder, report = finished
    steps = report["arms"][0]["steps"]
    why = f"{steps} steps are fewer than {FEW_STEPS}"
    assert json.loads((folder / "lock.json").read_text())["decisions"]["recalibrate_batch_norm"] == {
        "use": BATCHES,
        "why": why,
    }
    per_epoch = steps // 2
    for arm in report["arms"]:
        assert arm["batch_norm"] == {"momentum": 0.9, "reestimated": per_epoch, "why": why}
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert f"students: batch-norm statistics are estimated anew at the end, from up to {BATCHES} batches" in log
    assert f"since {why}: what is validated before the last epoch may look far worse. train.recal" in log
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"estimated anew at the end, from {per_epoch} batches ({why})" in page
    assert "KD010" not in [one["code"] for one in report["advice"]]


@pytest.mark.slow
def test_zero_leaves_the_moving_statistics_and_the_report_gives_advice(finished, tmp_path, home):
    recipe = small("train.recalibrate_batch_norm=0", "teacher.train.recalibrate_batch_norm=0")
    report = kdrecipes.run(recipe, tmp_path / "run")
    check_report(report)
    told = [one["text"] for one in report["advice"] if one["code"] == "KD010"]
    assert [text.partition(":")[0] for text in told] == ["baseline-0", "kd-0"]
    assert all(arm["batch_norm"]["reestimated"] == 0 for arm in report["arms"])
    assert "statistics are estimated anew" not in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    for label in ("baseline-0", "kd-0"):  # all else is the same training
        pairs = list(zip(student_arrays(finished[0], label), student_arrays(tmp_path / "run", label), strict=True))
        differ = [i for i, (mine, theirs) in enumerate(pairs) if not np.array_equal(mine, theirs)]
        model = keras.models.load_model(tmp_path / "run" / "students" / f"{label}.keras", compile=False)
        assert {model.weights[i].name for i in differ} == {"moving_mean", "moving_variance"}


def test_the_default_is_the_students_alone(home):
    recipe = short()
    assert recipe.train.recalibrate_batch_norm is None
    [teacher] = recipe.teachers.values()
    assert teacher.train.recalibrate_batch_norm is None, "a teacher is recalibrated where a recipe says so"


def test_the_recipe_decides_first_then_the_steps_then_the_network(home, monkeypatch):
    data = prepare(short())
    per_epoch = data.mixture(short(), taught=True).steps

    def chosen(*more, trained=()):
        found = choose_recalibration(short(*more), data, dict.fromkeys(trained))
        return found.use, found.why

    assert chosen("train.recalibrate_batch_norm=7") == (7, "train.recalibrate_batch_norm = 7")
    assert chosen() == (BATCHES, f"{per_epoch} steps are fewer than {FEW_STEPS}")
    enough = -(-FEW_STEPS // per_epoch)
    assert chosen(f"train.epochs={enough}") == (0, f"{enough * per_epoch} steps are enough")
    assert chosen(f"train.epochs={enough - 1}")[0] == BATCHES
    # A version that did not decide trained some of a run's students; more seeds are treated as they were.
    assert chosen(trained=["baseline-0", "kd-0"])[0] == 0
    monkeypatch.setattr(recalibration, "build_model", lambda *a: keras.Sequential([keras.layers.Dense(2)]))
    assert chosen() == (0, "the student has no batch normalisation that learns")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2])
def test_a_student_that_was_stopped_early_was_not_recalibrated(stop, tmp_path, home):
    plugin = tmp_path / "stops.py"
    plugin.write_text(
        "import kdrecipes\n"
        "def build(at):\n"
        "    import keras\n"
        "    class Stop(keras.callbacks.Callback):\n"
        "        def on_epoch_end(self, epoch, logs=None):\n"
        "            self.model.stop_training = epoch + 1 == at\n"
        "    return Stop()\n"
        "@kdrecipes.hookimpl\n"
        "def kdrecipes_components():\n"
        "    yield kdrecipes.Component(kind='callback', name='stops', build=build, options={'type': 'object',\n"
        "        'additionalProperties': False, 'properties': {'at': {'type': 'integer', 'description': 'a'}}})\n"
    )
    recipe = small(f'callbacks=[{{name="stops", at={stop}}}]', "compare.baseline=false", plugins=[plugin])
    [arm] = kdrecipes.run(recipe, tmp_path / "run")["arms"]
    assert arm["epochs"] == stop and (arm["batch_norm"]["reestimated"] > 0) is (stop == 2)
