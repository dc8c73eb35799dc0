"""What terms learn in layers of their own: it trains with the student, is kept, and is in no student that is saved."""

import numpy as np
import pytest
from distilling import EXAMPLES, fit, made, net, same, snapshot

from kdrecipes.backend import keras, seed_everything
from kdrecipes.losses import CRD, CTKD, OFA, SRRL, VID, ReviewKD
from kdrecipes.torch_modules import variables_of

LAYERS = {"student_layers": ["feature"], "teacher_layers": ["feature"]}


def terms():
    seed_everything(3)
    learning = [CTKD(lambda_min=0.5), VID(**LAYERS), SRRL(), OFA(student_layers=["feature"]), ReviewKD(**LAYERS)]
    return [*learning, CRD(examples=EXAMPLES)]


def parts_of(distiller):
    return [variable for part in distiller.learner.parts for variable in part.variables]


@pytest.fixture
def taught(data):
    """One epoch with every term that learns: the distiller, and what its parts were before."""
    distiller = made(net(0), teacher=net(1, width=5), loss=terms(), weight=0.1)
    before = [variable.numpy().copy() for variable in parts_of(distiller)]
    images, labels = data
    fit(distiller, {"image": images, "index": np.arange(EXAMPLES)}, labels, batch_size=10)
    return distiller, before


def test_parts_are_there_before_the_optimiser_and_a_fit_trains_them(taught):
    distiller, before = taught
    assert before  # a black image was enough to make them
    optimised = {id(variable) for variable in distiller.optimizer._trainable_variables}
    for variable, value in zip(parts_of(distiller), before, strict=True):
        assert (id(variable) in optimised) == variable.trainable
        assert not np.array_equal(variable.numpy(), value), variable.path


def test_parts_are_in_the_state_and_in_no_saved_student(taught, tmp_path):
    distiller, _ = taught
    kept = {id(variable) for variable in variables_of(distiller)}
    student = {id(variable) for variable in distiller.student.variables}
    for variable in parts_of(distiller):
        assert id(variable) in kept and id(variable) not in student
    distiller.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert same(snapshot(distiller.student), snapshot(loaded))


def test_saved_weights_hold_them_for_a_distiller_made_alike(taught, tmp_path):
    distiller, _ = taught
    distiller.save_weights(tmp_path / "last.weights.h5")
    fresh = made(net(5), teacher=net(1, width=5), loss=terms(), weight=0.1)
    fresh.load_weights(tmp_path / "last.weights.h5")
    for mine, theirs in zip(parts_of(distiller), parts_of(fresh), strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_a_student_of_no_fixed_size_is_told_before_training():
    pixels = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, name="feature")(pixels))
    with pytest.raises(ValueError, match="images of any size: call the terms that learn once yourself"):
        made(keras.Model(pixels, keras.layers.Dense(5)(x)), teacher=net(1), loss=VID(**LAYERS))


def test_one_term_given_twice_has_its_parts_once(data):
    term = CTKD()
    distiller = made(teacher=net(1), loss=[term, term])
    assert len(parts_of(distiller)) == 1
    fit(distiller, *data)
