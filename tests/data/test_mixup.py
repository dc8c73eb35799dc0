"""Mixed examples from the recipe to the report: labels, accuracy, terms that refuse them."""

import json

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.report.figures import accuracy
from kdrecipes.runs.build import build_terms
from kdrecipes.runs.predict import predict
from kdrecipes.training import fit as training
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.metrics import Accuracy

SMALL = [
    "student.width=3",
    "student.depth=1",
    "teacher.width=8",
    "teacher.train.epochs=1",
    "train.epochs=2",
    'dataset.train="train[:320]"',
    "dataset.validation=0.2",
    "dataset.views.mixup=0.4",
]


@pytest.mark.parametrize("mixed", [True, False])
def test_accuracy_counts_the_largest_share_and_weighs_examples_alike(mixed):
    metric = Accuracy()
    logits = torch.eye(4)[[0, 1, 2, 3, 3]]
    labels = torch.tensor([0, 1, 1, 3, 0])  # 3 of 5
    shares = 0.6 * torch.eye(4)[labels] + 0.4 * torch.eye(4)[[3, 3, 3, 0, 3]]
    for part in (slice(0, 4), slice(4, 5)):
        metric.update_state((shares if mixed else labels)[part], logits[part])
    assert float(metric.result()) == pytest.approx(3 / 5)


@pytest.mark.parametrize("first_mixed", [True, False])
def test_validation_accuracy_is_right_beside_mixed_training(first_mixed):
    """Keras' own "accuracy" is settled by the first batch: this one reads each batch's labels as they are."""
    random = np.random.default_rng(0)
    images, labels = random.random((40, 4, 4, 3), np.float32), np.arange(40) % 4
    shares = np.eye(4, dtype=np.float32)[labels]
    student = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    distiller = Distiller(student=student)
    distiller.compile(optimizer="sgd", metrics=[Accuracy()])
    train, validation = (shares, labels) if first_mixed else (labels, shares)
    history = distiller.fit(images, train, verbose=0, validation_data=(images, validation)).history
    guess = student.predict(images, verbose=0).argmax(1)
    assert history["val_accuracy"] == [pytest.approx((guess == labels).mean())]


@pytest.fixture
def run_mixed(tmp_path, monkeypatch):
    """A run that mixes, in tmp_path/run, and what each fit's training steps were given as labels."""
    seen = {}

    class Recording(training.Loader):
        def __getitem__(self, batch):
            data = super().__getitem__(batch)
            seen.setdefault((self.drop_last, data[1].dtype, data[1].ndim), 0)  # drop_last: the training split
            return data

    monkeypatch.setattr(training, "Loader", Recording)
    terms = '{name="kd"}, {name="hint", student_layers=["logits"], teacher_layers=["logits"], projector="linear"}'
    recipe = kdrecipes.load_recipe("digits", [*SMALL, f"loss={{terms=[{terms}]}}", 'train.class_weight="balanced"'])
    return recipe, kdrecipes.run(recipe, tmp_path / "run"), seen


def test_a_run_mixes_in_every_fit_and_nowhere_else(run_mixed, tmp_path):
    recipe, report, seen = run_mixed
    assert set(seen) == {(True, torch.float32, 2), (False, torch.int64, 1)}  # training; validation
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    data = prepare(recipe)
    for arm in report["arms"]:
        student = keras.models.load_model(tmp_path / "run" / arm["student"], compile=False, safe_mode=True)
        reached = accuracy(predict(student, data.validation, data.student_size), data.validation.labels)
        last = [row for row in rows if row["arm"] == arm["arm"]][-1]
        assert last["val_accuracy"] == pytest.approx(reached) == arm["validation_accuracy"][-1]


PICKY = """
import kdrecipes

class Picky:
    mixed_labels = False

    def __call__(self, labels, student, teacher):
        return student.logits.sum(-1)

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="loss", name="picky", build=Picky)
"""


@pytest.mark.parametrize(
    ("loss", "where"),
    [('{name="picky"}', "loss"), ('{terms=[{name="kd"}, {name="picky"}]}', "loss.terms[1]")],
)
def test_a_term_that_takes_no_mixed_labels_is_refused_before_anything_trains(tmp_path, loss, where):
    (tmp_path / "picky.py").write_text(PICKY)
    sets = [*SMALL, f"loss={loss}"]
    recipe = kdrecipes.load_recipe("digits", sets, plugins=[tmp_path / "picky.py"])
    with training.observed(lambda label, *_: pytest.fail(f"{label} was trained")), pytest.raises(RunError) as caught:
        kdrecipes.run(recipe, tmp_path / "run")
    assert str(caught.value).startswith(f"{where}: 'picky' can't take the labels of mixed examples. Take ")
    plain = kdrecipes.load_recipe("digits", [*sets[:-2], sets[-1]], plugins=[tmp_path / "picky.py"])
    assert build_terms(plain, prepare(plain))[0]
