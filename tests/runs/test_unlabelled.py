"""Whole runs on few labels and many images: both arms start alike, take the same steps, and no hidden label is read."""

import json

import numpy as np
import pytest
from samples import short, small, student_arrays

import kdrecipes
from kdrecipes.runs import run as runs
from kdrecipes.training import fit as training

FEW = ["dataset.labelled=40", "teacher.train.batch_size=20", "dataset.views.crop_padding=1", 'teacher.preflight="warn"']
SECRET = """
import kdrecipes
from kdrecipes.components.datasets import digits

class Hidden(dict):
    def __getitem__(self, key):
        assert key != "label", "the label of an image without labels was read"
        return super().__getitem__(key)

class Pool:
    def __init__(self):
        self.source = digits.build("train")
        self.classes = self.source.classes

    def __len__(self):
        return 200

    def __getitem__(self, i):
        return Hidden(image=self.source[1000 + i]["image"])

def build(split="train"):
    return Pool() if split == "pool" else digits.build(split)

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="dataset", name="secret", build=build, options={
        "type": "object", "additionalProperties": False, "properties": {"split": {"type": "string"}}})
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A finished run on 40 labels: its folder and its report."""
    folder = tmp_path_factory.mktemp("few") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder.parent / "home"))
        return folder, kdrecipes.run(small(*FEW), folder)


def test_the_report_says_how_many_labels_each_arm_was_told(few):
    _, report = few
    data = report["dataset"]
    assert (data["labelled"], data["labelled"] + data["unlabelled"]) == (40, data["train"])
    assert [(arm["arm"], arm["labels"]) for arm in report["arms"]] == [("baseline", 40), ("kd", 40)]


@pytest.mark.slow
def test_both_arms_take_the_same_steps_from_the_same_weights(few, tmp_path, home):
    _, report = few
    baseline, kd = report["arms"]
    assert baseline["steps"] == kd["steps"] == 2 * (report["dataset"]["unlabelled"] // 24)  # 8 of 32 have labels
    first = {}

    def remember(label, distiller, loader, callbacks):
        first[label] = ([v.numpy() for v in distiller.student.variables], loader)

    with training.observed(remember):
        kdrecipes.run(short(*FEW), tmp_path / "run")
    for mine, theirs in zip(first["baseline-0"][0], first["kd-0"][0], strict=True):
        assert np.array_equal(mine, theirs)
    alone, taught = first["baseline-0"][1], first["kd-0"][1]
    assert len(alone) == len(taught) and len(alone.split) == len(taught.split) == 40
    assert first["teacher"][1].split.positions.tolist() == alone.split.positions.tolist()
    assert first["teacher"][1].unlabelled is None and alone.unlabelled is None
    assert len(taught.unlabelled) == report["dataset"]["unlabelled"]


@pytest.mark.slow
def test_the_teachers_outputs_hold_every_view_that_the_student_is_shown(few, tmp_path, home):
    """A live teacher says the same, to the precision of what is stored."""
    kept, live = tmp_path / "kept", tmp_path / "live"
    kdrecipes.run(short(*FEW), kept)
    kdrecipes.run(short(*FEW, 'teacher.cache="off"'), live)
    for mine, theirs in zip(student_arrays(kept, "kd-0"), student_arrays(live, "kd-0"), strict=True):
        assert np.allclose(mine, theirs, atol=2e-3)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(student_arrays(kept, "baseline-0"), student_arrays(live, "baseline-0"), strict=True)
    )


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_in_the_same_bits(few, tmp_path, home, monkeypatch):
    folder, _ = few
    keep = training.Keeper.on_epoch_end

    def stopping(self, epoch, logs=None):
        keep(self, epoch, logs)
        if self.label == "kd-0" and epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Keeper, "on_epoch_end", stopping)
        kdrecipes.run(small(*FEW), tmp_path / "run")
    kdrecipes.run(small(*FEW), tmp_path / "run")
    for label in ("baseline-0", "kd-0"):
        for mine, theirs in zip(student_arrays(tmp_path / "run", label), student_arrays(folder, label), strict=True):
            assert np.array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["dataset.views.mixup=0.3"],
        ['train.class_weight="balanced"', "train.accumulate=2"],
        ["dataset.labelled_share=0.5", "loss.label_weight=0"],
        ["dataset.labelled=12", "train.batch_size=64", "teacher.train.batch_size=4", "train.recalibrate_batch_norm=2"],
    ],
    ids=["mixup", "class weights and accumulated steps", "half a batch", "fewer labels than a batch holds"],
)
def test_what_a_recipe_may_ask_besides_goes_with_few_labels(tmp_path, home, more):
    report = kdrecipes.run(short(*FEW, *more), tmp_path / "run")
    baseline, kd = report["arms"]
    assert baseline["steps"] == kd["steps"] and baseline["labels"] == kd["labels"] == report["dataset"]["labelled"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows)


@pytest.mark.slow
def test_no_label_of_the_unlabelled_split_is_read_by_a_run(tmp_path, home):
    (tmp_path / "secret.py").write_text(SECRET)
    recipe = short("dataset.name='secret'", "dataset.unlabelled='pool'", plugins=[tmp_path / "secret.py"])
    report = kdrecipes.run(recipe, tmp_path / "run")
    assert report["dataset"]["unlabelled"] == 200
    with pytest.raises(AssertionError, match="was read"):
        recipe.registry.components["dataset", "secret"][0].build("pool")[0]["label"]


def test_a_teacher_on_few_labels_is_validated_now_and_then(few):
    """Its 2 steps an epoch would wait for 54 validation images."""
    rows = [json.loads(line) for line in (few[0] / "history.jsonl").read_text().splitlines()]
    measured = ["val_accuracy" in row for row in rows if row["arm"] == "teacher"]
    assert measured == [False, True, True]
    assert all("val_accuracy" in row for row in rows if row["arm"] != "teacher")


@pytest.mark.parametrize("images, every", [(64, [1, 2, 3, 4, 5, 6, 7]), (40, [2, 4, 5, 7]), (16, [4, 7]), (1, [7])])
def test_no_more_images_are_validated_than_trained_on(images, every):
    class Validation:
        validation = range(64)

    assert training.validated(7, images, Validation) == every


def test_a_finished_run_on_few_labels_is_shown_again(few, monkeypatch):
    folder, report = few
    monkeypatch.setattr(runs, "straight_line", lambda *a: pytest.fail("a finished run trained again"))
    assert kdrecipes.run(small(*FEW), folder) == report
