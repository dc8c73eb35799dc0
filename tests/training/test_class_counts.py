"""Networks and labels of other classes are refused before anything is learned, and the message says what helps."""

import numpy as np
import pytest
import torch
from distilling import CLASSES, SIZE, fit, made, net

from kdrecipes import KD, Distiller, Hint
from kdrecipes.backend import keras

layers = keras.layers


def of(classes, activation=None):
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(3, 3, padding="same", name="feature")(pixels)
    return keras.Model(pixels, layers.Dense(classes, activation=activation)(layers.GlobalAveragePooling2D()(x)))


class Module(torch.nn.Module):
    """A network that does not tell how wide its logits are."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, image):
        return image.mean((1, 2, 3))[:, None].repeat(1, self.classes)


@pytest.mark.parametrize("classes", [1, CLASSES - 1, 1000])
def test_a_teacher_of_another_width_is_refused_when_the_distiller_is_made(classes):
    with pytest.raises(ValueError, match=f"The teacher gives {classes} logits, and the student {CLASSES}: ") as error:
        Distiller(teacher=of(classes), student=net(), loss=KD())
    assert ("keras.ops.concatenate([0 * z, z], -1)" in str(error.value)) is (classes == 1)


def test_one_of_several_teachers_is_named():
    with pytest.raises(ValueError, match="The teacher 'b' gives 3 logits"):
        Distiller(teacher={"a": of(CLASSES), "b": of(3)}, student=net(), loss=KD())


@pytest.mark.parametrize("classes", [1, 3])
def test_a_teacher_that_does_not_tell_its_width_is_refused_before_the_first_update(data, classes):
    student = net()
    before = [v.numpy().copy() for v in student.trainable_variables]
    distiller = made(student=student, teacher=Module(classes), loss=KD())
    with pytest.raises(ValueError, match=f"The teacher gives {classes} logits"):
        fit(distiller, *data)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, student.trainable_variables, strict=True))


def test_logits_of_another_width_that_a_batch_brings_are_refused(data):
    images, labels = data
    x = {"image": images, "teacher": np.zeros((len(images), 1), np.float32)}
    with pytest.raises(ValueError, match="The teacher gives 1 logits"):
        fit(made(loss=KD()), x, labels)


def test_a_teacher_of_other_classes_may_teach_by_its_layers(data):
    term = Hint(student_layers=["feature"], teacher_layers=["feature"])
    assert np.isfinite(fit(made(teacher=of(7), loss=term), *data)["loss"])


def test_a_student_of_one_output_is_refused():
    with pytest.raises(ValueError, match=r"The student has 1 output, and two classes take two logits.*\[0 \* z, z\]"):
        Distiller(student=of(1))


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_final_sigmoid_is_refused_as_a_softmax_is(role):
    pixels = keras.Input((SIZE, SIZE, 3))
    logits = layers.Dense(CLASSES)(layers.Flatten()(pixels))
    for end in (
        of(CLASSES, "sigmoid"),
        keras.Model(pixels, layers.Activation("sigmoid")(logits)),
        keras.Model(pixels, keras.ops.sigmoid(logits)),
        keras.Model(pixels, layers.Reshape((CLASSES,))(layers.Activation("sigmoid")(logits))),
    ):
        with pytest.raises(ValueError, match=f"The {role} ends in a sigmoid .*distillation needs logits"):
            Distiller(**{"student": net(), role: end}, loss=KD())
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, CLASSES), torch.nn.Sigmoid())
    with pytest.raises(ValueError, match="The teacher ends in a sigmoid"):
        Distiller(student=net(), teacher=module, loss=KD())


def test_the_two_logits_of_a_sigmoid_say_what_it_says():
    """softmax([0, z]) = [1 − sigmoid(z), sigmoid(z)], as the message advises."""
    z = torch.linspace(-5, 5, 11)[:, None]
    two = keras.ops.softmax(keras.ops.concatenate([0 * z, z], -1))
    torch.testing.assert_close(two[:, 1:], torch.sigmoid(z))


@pytest.mark.parametrize("column", [False, True])
def test_a_label_that_is_no_class_is_refused_before_training(data, column):
    images, labels = data
    labels = labels.copy()
    labels[3] = CLASSES
    with pytest.raises(ValueError, match=f"labels go up to {CLASSES}, and the student has {CLASSES} outputs"):
        fit(made(), images, labels[:, None] if column else labels)


def test_rows_of_another_width_or_of_several_classes_are_refused(data):
    images, labels = data
    with pytest.raises(ValueError, match=r"Received: \(20, 4\)"):
        fit(made(), images, np.ones((len(images), 4), np.float32) / 4)
    with pytest.raises(ValueError, match="a row that sums to 2"):
        fit(made(), images, np.eye(CLASSES)[labels] * 2)
    rows = np.eye(CLASSES, dtype=np.float32)[labels]
    rows[3] = 0  # no label
    assert np.isfinite(fit(made(), images, rows)["loss"])
