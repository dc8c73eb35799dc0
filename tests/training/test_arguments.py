"""What a distiller is given and can't use is told in words, before anything is built or learned."""

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes import KD, Distiller
from kdrecipes.backend import keras


def net(width=2, classes=3):
    return kdrecipes.component("model", "cnn").build(classes=classes, image_size=8, width=width, depth=1)


def backbone(classes):
    pixels = keras.Input((8, 8, 3))
    return keras.Model(pixels, keras.layers.Dense(classes)(keras.layers.Flatten()(pixels)))


MISTAKES = {
    r"`student`: a keras\.Model\. Received: NoneType": {"student": None},
    r"`student`: .* A torch module can teach; as a student it learns in a recipe": {"student": torch.nn.Flatten()},
    r'`teacher`: .* Received: list\. Give several teachers names: \{"first": …': {"teacher": [1, 2]},
    r"`teacher`: .* Open a file first: keras\.saving\.load_model\('t\.keras'\)": {"teacher": "t.keras"},
    r"`teacher`: 'a': .* Received: str": {"teacher": {"a": "t.keras"}},
    r"Build it first: component\.build\(classes=…\)": {"teacher": kdrecipes.component("model", "cnn")},
    r"`loss`: a term, not its class: KD\(\)": {"loss": KD},
    r"a term is a callable term\(labels, student, teacher\)": {"loss": keras.losses.KLDivergence()},
    r"`weight`: a number of 0 or more, or a function to one\. Received: -0\.5": {"weight": -0.5},
    r"`weight`: a number of 0 or more, or a function to one\. Received: '0\.5'": {"weight": "0.5"},
    r"`label_weight`: a number of 0 or more\. Received: nan": {"label_weight": float("nan")},
    r"`label_smoothing`: a number from 0 to below 1\. Received: 2": {"label_smoothing": 2},
    r"`precision`: one of 'float32', 'bfloat16', 'float16'\. Received: 'fp16'": {"precision": "fp16"},
}


@pytest.mark.parametrize("words", MISTAKES)
def test_each_mistake_is_one_message(words):
    given = {"teacher": net(4), "student": net(), "loss": KD()} | MISTAKES[words]
    with pytest.raises(ValueError, match=words):
        Distiller(**given)


def test_a_teacher_that_shares_weights_with_the_student_is_refused():
    student = backbone(3)
    for teacher in (student, keras.Model(student.inputs, keras.layers.Dense(3)(student.output))):
        with pytest.raises(ValueError, match="shares weights with the student, and these would learn"):
            Distiller(teacher=teacher, student=student, loss=KD())


@pytest.mark.parametrize(
    ("labels", "received"),
    [([0, -2, 1, 2], "-2"), ([0.5, 1, 2, 0], "0.5"), ([0, float("nan"), 1, 2], "nan"), (["0", "1", "2", "1"], "'0'")],
)
def test_labels_that_are_none_are_refused_those_of_validation_too_before_a_step(labels, received):
    distiller = Distiller(student=net())
    distiller.compile()
    before = [variable.numpy() for variable in distiller.student.variables]
    images, good = np.zeros((4, 8, 8, 3), np.float32), np.array([0, 1, 2, -1])
    for y, held_out in ((np.array(labels), None), (good, (images, np.array(labels)))):
        with pytest.raises(
            ValueError, match="Labels are whole numbers from 0 to 2, or -1 for an image without one"
        ) as caught:
            distiller.fit(images, y, validation_data=held_out, verbose=0)
        assert received in str(caught.value)
    with pytest.raises(ValueError, match="labels are 0 to 2"):
        distiller.fit(images, good, validation_data=(images, good + 5), verbose=0)
    assert all(map(np.array_equal, before, (variable.numpy() for variable in distiller.student.variables)))


def test_a_term_called_accuracy_leaves_the_accuracy_alone():
    def accuracy(labels, student, teacher):
        return 0 * student.logits.mean(1)

    distiller = Distiller(teacher=net(4), student=net(), loss=accuracy)
    distiller.compile(metrics=["accuracy"])
    images = np.zeros((4, 8, 8, 3), np.float32)
    found = distiller.fit(images, np.array([0, 1, 2, 0]), verbose=0).history
    assert {"accuracy", "accuracy_2"} <= found.keys() and found["accuracy_2"] == [0.0] and found["accuracy"] != [0.0]


def test_a_name_in_place_of_a_recipe_is_told():
    with pytest.raises(kdrecipes.UsageError, match=r"kdrecipes\.run\(kdrecipes\.load_recipe\('digits'\)\)"):
        kdrecipes.run("digits")
