"""How a run asks its teacher: from outputs computed once, or live."""

import json
import re

import numpy as np
import pytest
from samples import small

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.runs import run as runs
from kdrecipes.training.inference import Inference


@pytest.fixture
def asked(monkeypatch):
    """How many images each call of a teacher was about, but for rehearsals on black ones and for evaluation."""
    asked, call = [], Inference.__call__

    def counting(self, image):
        if image.any():
            asked.append(len(image))
        return call(self, image)

    monkeypatch.setattr(Inference, "__call__", counting)
    monkeypatch.setattr("kdrecipes.runs.predict.Inference", type("Silent", (Inference,), {"__call__": call}))
    return asked


@pytest.mark.slow
def test_teacher_outputs_are_computed_once_for_every_seed_loss_and_run(tmp_path, home, asked):
    views = "dataset.views.flip=true"
    first = kdrecipes.run(small(views, "train.epochs=1", "compare.seeds=[0,1]"), tmp_path / "one")
    train = first["dataset"]["train"]
    assert sum(asked) == train
    assert first["teachers"][0]["seconds"]["outputs"] > 0
    assert re.search(rf"teacher outputs: {train} views, \d kB, ", (tmp_path / "one" / "log.txt").read_text())
    asked.clear()
    other = small(views, "train.epochs=1", "loss.temperature=4", "student.width=2", "compare.baseline=false")
    second = kdrecipes.run(other, tmp_path / "two")
    assert asked == [] and second["teachers"][0]["seconds"]["outputs"] == 0.0
    assert (
        f"teacher outputs: {train} views, 5 kB, taken from an earlier run" in (tmp_path / "two" / "log.txt").read_text()
    )
    asked.clear()
    third = kdrecipes.run(small(views, "train.epochs=3", "compare.baseline=false"), tmp_path / "three")
    assert sum(asked) == 2 * train and third["teachers"][0]["seconds"]["outputs"] > 0
    assert f"{train} of them from an earlier run" in (tmp_path / "three" / "log.txt").read_text()


@pytest.mark.slow
def test_a_cached_teacher_teaches_what_the_live_one_does(tmp_path, asked):
    """To the rounding of float16: the same figures, and a baseline of the same bits."""
    sets = ["dataset.views.flip=true", "dataset.views.crop_padding=1"]
    reports = [kdrecipes.run(small(f'teacher.cache="{c}"', *sets), tmp_path / c) for c in ("auto", "off")]
    assert [report["teachers"][0]["seconds"]["outputs"] is None for report in reports] == [False, True]
    steps = reports[1]["arms"][1]["steps"]
    assert asked[-steps:] == [32] * steps
    assert 'live, since teacher.cache = "off"' in (tmp_path / "off" / "log.txt").read_text()
    stored = [np.load(tmp_path / c / "predictions.npz", allow_pickle=False) for c in ("auto", "off")]
    np.testing.assert_array_equal(stored[0]["baseline-0"], stored[1]["baseline-0"])
    cached, live = (logits["kd-0"] for logits in stored)
    assert np.abs(cached - live).max() < 0.01 * np.abs(live).max()
    rows = [
        [json.loads(line)["kd"] for line in (tmp_path / c / "history.jsonl").read_text().splitlines()[-2:]]
        for c in ("auto", "off")
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


@pytest.mark.slow
def test_outputs_beyond_the_limit_are_asked_live_and_it_is_said(tmp_path, asked):
    report = kdrecipes.run(small("teacher.cache_limit_gb=4e-6", "train.epochs=1"), tmp_path / "run")
    assert report["teachers"][0]["seconds"]["outputs"] is None
    steps = report["arms"][1]["steps"]
    assert asked == [32] * steps
    why = f"{report['dataset']['train']} views take 5 kB, more than teacher.cache_limit_gb = 4e-06"
    assert f"teacher outputs: live, since {why}" in (tmp_path / "run" / "log.txt").read_text()
    lock = read_json(tmp_path / "run" / "lock.json")
    assert lock["decisions"]["teacher_outputs"] == {"use": "live", "why": why}


@pytest.mark.slow
def test_how_the_teacher_is_asked_is_decided_once(tmp_path, monkeypatch, interrupted, asked):
    """A continued run does as it began, whatever it would decide now."""
    recipe = small("train.epochs=1")
    lock = interrupted(recipe, tmp_path / "run")
    assert lock["decisions"]["teacher_outputs"]["use"] == "cached"
    lock["decisions"]["teacher_outputs"] = {"use": "live", "why": "it was so decided"}
    (tmp_path / "run" / "lock.json").write_text(json.dumps(lock))
    monkeypatch.setattr(runs, "choose_outputs", lambda *a: pytest.fail("decided again"))
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["teachers"][0]["seconds"]["outputs"] is None
    assert read_json(tmp_path / "run" / "lock.json")["decisions"] == lock["decisions"]


@pytest.mark.slow
def test_seconds_of_the_outputs_survive_an_interruption(tmp_path, home, monkeypatch):
    recipe = small("train.epochs=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "train_arm", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(recipe, tmp_path / "run")
    spent = json.loads((tmp_path / "run" / "status.json").read_text())["outputs_seconds"]
    assert kdrecipes.run(recipe, tmp_path / "run")["teachers"][0]["seconds"]["outputs"] == spent > 0
