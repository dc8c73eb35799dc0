"""The gradients of a run's terms: in history and report, told at the first step, the same after a resume."""

import json

import pytest
from samples import small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.training.fit import observed


def measured(folder):
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return {
        (row["arm"], row["epoch"]): {k: v for k, v in row.items() if k.startswith("gradient_")}
        for row in rows
        if row["arm"] != "teacher"
    }


def test_a_run_measures_what_moves_its_distilled_students(finished):
    folder, report = finished
    found = measured(folder)
    assert all(not one for (arm, _), one in found.items() if arm == "baseline")
    for epoch in (1, 2):
        assert found["kd", epoch].keys() == {"gradient_label_loss", "gradient_kd"}
        assert all(norm > 0 for norm in found["kd", epoch].values())
    assert [one["epoch"] for one in report["arms"][1]["gradients"]] == [1, 2]
    assert not {"KD011", "KD012"} & {one["code"] for one in report["advice"]}
    assert "does not move" not in (folder / "log.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_term_that_drowns_the_labels_is_told_before_the_first_epoch_ends(tmp_path, home):
    recipe = small("loss.weight=1e6", "compare.baseline=false")

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label == "kd-0":
            callbacks.append(Stop())

    with observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(recipe, tmp_path / "run")
    assert "Warning: kd-0: The gradient of the term 'kd' is " in (tmp_path / "run" / "log.txt").read_text()
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert "KD012" in [one["code"] for one in report["advice"]]


@pytest.mark.slow
def test_figures_of_an_interrupted_run_are_those_of_a_whole_one(finished, tmp_path, home):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.value >= 11:
                raise KeyboardInterrupt

    def stopping(label, distiller, loader, callbacks):
        if label == "kd-0":
            callbacks.append(Stop())

    with observed(stopping), pytest.raises(KeyboardInterrupt):
        kdrecipes.run(small(), tmp_path / "run")
    kdrecipes.run(small(), tmp_path / "run")
    assert measured(tmp_path / "run") == measured(finished[0])
