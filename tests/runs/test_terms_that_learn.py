"""Terms that learn in a run: what does not fit is one message before training, and every kind of batch is taken."""

import json
import math

import pytest
from samples import short

import kdrecipes
from kdrecipes.errors import RunError
from kdrecipes.runs.dry_run import dry_run

PAIR = 'student_layers=["stage1b_relu"], teacher_layers=["stage2b_relu"]'
ALL = (
    f'loss={{terms=[{{name="ctkd"}}, {{name="vid", {PAIR}}}, {{name="srrl"}}, {{name="review_kd", {PAIR}}}, '
    '{name="ofa", student_layers=["stage1b_relu"]}, {name="crd"}, {name="simkd"}]}'
)
TWO = 'teacher=[{name="cnn", id="a", width=4}, {name="cnn", id="b", width=4}]'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ['loss={name="vid", student_layers=["pool"], teacher_layers=["stage2b_relu"]}'],
            r"student layer 'pool' gives .* both must be maps, or both vectors\.",
        ),
        (
            ['loss={name="srrl"}', TWO],
            r"The term 'srrl' is made for one teacher's network: it needs an attribute `teacher`, one of \['a', .*",
        ),
        (
            ['loss={name="simkd", student_layers=["stage1b_rely"], teacher_layers=["pool"]}'],
            r"The student has no layer 'stage1b_rely' in its graph\. Did you mean 'stage1b_relu'\?",
        ),
    ],
)
def test_layers_and_teachers_that_do_not_fit_are_one_message(changes, message):
    with pytest.raises(RunError, match=rf"^loss(\.student_layers)?: {message}$"):
        dry_run(short(*changes))


def test_what_only_shapes_tell_names_the_term_and_layers_that_are_not_there_name_role_and_key():
    def told(second):
        with pytest.raises(RunError) as caught:
            dry_run(short(f'loss={{terms=[{{name="kd"}}, {{{second}}}]}}'))
        return str(caught.value)

    unlike = 'student_layers=["pool"], teacher_layers=["stage2b_relu"]'
    assert told(f'name="hint", {unlike}').startswith(
        "loss.terms[1]: a first training step on black images failed: ValueError: student layer 'pool' gives"
    )
    assert told(f'name="vid", {unlike}').startswith("loss.terms[1]: student layer 'pool' gives")
    missing = 'student_layers=["pool"], teacher_layers=["stage9"]'
    assert told(f'name="hint", {missing}').startswith(
        "loss.terms[1].teacher_layers: The teacher 'cnn' has no layer 'stage9'. Did you mean 'stage"
    )


def test_a_dry_run_takes_them_all():
    assert dry_run(short(ALL)) == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [['train.precision="bfloat16"'], ["dataset.labelled=60", "dataset.views={mixup=0.2}"]],
    ids=["half precision", "mixed images, few labels"],
)
def test_every_batch_is_taken_and_every_term_has_a_finite_mean(tmp_path, home, changes):
    kdrecipes.run(short(ALL, 'teacher.preflight="warn"', *changes), tmp_path / "run")
    rows = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    (row,) = (one for one in map(json.loads, rows) if one["arm"] == "kd")
    for name in ("ctkd", "vid", "srrl", "review_kd", "ofa", "crd", "simkd"):
        assert math.isfinite(row[name])
