"""Mixed examples in a run: the labels that each fit is given, the accuracy it reports, terms that refuse them."""

import json

import pytest
import torch
from samples import small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.report.figures import accuracy
from kdrecipes.runs.build import build_terms
from kdrecipes.runs.predict import predict
from kdrecipes.training import fit as training

MIXED = ["teacher.train.epochs=1", "dataset.views.mixup=0.4"]


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
    recipe = small(*MIXED, f"loss={{terms=[{terms}]}}", 'train.class_weight="balanced"')
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "where"),
    [('{name="picky"}', "loss"), ('{terms=[{name="kd"}, {name="picky"}]}', "loss.terms[1]")],
)
def test_a_term_that_takes_no_mixed_labels_is_refused_before_anything_trains(tmp_path, loss, where):
    (tmp_path / "picky.py").write_text(PICKY)
    recipe = small(*MIXED, f"loss={loss}", plugins=[tmp_path / "picky.py"])
    with training.observed(lambda label, *_: pytest.fail(f"{label} was trained")), pytest.raises(RunError) as caught:
        kdrecipes.run(recipe, tmp_path / "run")
    assert str(caught.value).startswith(f"{where}: 'picky' can't take the labels of mixed examples. Take ")
    plain = small(f"loss={loss}", plugins=[tmp_path / "picky.py"])
    assert build_terms(plain, prepare(plain))[0]
