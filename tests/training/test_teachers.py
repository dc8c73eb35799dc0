"""What teachers say is kept by their names: in the distiller, and in the batches that bring it along."""

import numpy as np
import pytest
import torch

from kdrecipes import KD, Distiller
from kdrecipes.backend import keras, seed_everything

IMAGES = np.random.default_rng(0).uniform(0, 255, (12, 4, 4, 3)).astype("float32")
LABELS = np.arange(12) % 3
LOGITS = np.random.default_rng(1).normal(size=(12, 3)).astype("float32")


def network(seed, size=4):
    seed_everything(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def trained(x, teacher=None):
    """The student's weights after two steps."""
    distiller = Distiller(student=network(0), teacher=teacher, loss=KD(temperature=2.0))
    distiller.compile(optimizer="sgd")
    distiller.fit(x, LABELS, batch_size=6, shuffle=False, verbose=0)
    return [variable.numpy() for variable in distiller.student.variables]


def same(first, second):
    return all(map(np.array_equal, first, second))


def test_logits_by_name_teach_as_logits_alone_do():
    alone = trained({"image": IMAGES, "teacher": LOGITS})
    assert same(trained({"image": IMAGES, "teacher": {"big": LOGITS}}), alone)
    assert same(trained({"image": IMAGES, "teacher": {"big": LOGITS}}, {"big": network(1)}), alone)
    assert not same(trained({"image": IMAGES, "teacher": {"big": -LOGITS}}), alone)


def test_a_named_teacher_sees_the_images_under_its_name():
    big = np.random.default_rng(2).uniform(0, 255, (12, 8, 8, 3)).astype("float32")
    alone = trained({"image": IMAGES, "teacher_image": big}, network(1, 8))
    assert same(trained({"image": IMAGES, "teacher_image": {"big": big}}, {"big": network(1, 8)}), alone)
    assert not same(trained(IMAGES, network(1, 8)), alone)


def test_logits_of_another_teacher_are_refused():
    with pytest.raises(ValueError, match=r"brings logits of \['small'\]; the distiller's teachers: \['big'\]"):
        trained({"image": IMAGES, "teacher": {"small": LOGITS}}, {"big": network(1)})


def test_images_for_another_teacher_are_refused():
    with pytest.raises(ValueError, match=r"brings images for \['small'\]"):
        trained({"image": IMAGES, "teacher_image": {"small": IMAGES}}, {"big": network(1)})


def test_all_that_trains_is_one_module():
    class Scaled(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, labels, student, teacher):
            return self.scale * (student.logits - teacher.logits).square().sum(-1)

    term = Scaled()
    term.build(None)
    distiller = Distiller(student=network(0), teacher=network(1), loss=term)
    inside = {id(p) for p in distiller.learner.parameters()}
    wanted = [*distiller.student.trainable_variables, *term.trainable_variables]
    assert inside == {id(variable.value) for variable in wanted}
    assert isinstance(distiller.learner, torch.nn.Module)
    assert [v.path for v in distiller.trainable_variables] == [v.path for v in wanted]
