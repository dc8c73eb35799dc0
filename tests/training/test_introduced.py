"""Terms that are made for their networks meet them once, and one may put a model of its own in the student's place."""

import numpy as np
import pytest
from distilling import CLASSES, TorchNet, fit, logits_of, made, nested, net, same, snapshot

from kdrecipes import Distiller
from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.losses import KD, SRRL, SimKD
from kdrecipes.training.inference import Inference
from kdrecipes.training.introduced import StudentReplaced

pytestmark = pytest.mark.filterwarnings("ignore::kdrecipes.training.introduced.StudentReplaced")


class Meets:
    """A term that keeps whom it met."""

    name = "meets"

    def __init__(self, gives=None, teacher=None):
        self.met, self.gives = [], gives
        if teacher:
            self.teacher = teacher

    def meet(self, student, teacher):
        self.met.append((student, teacher))
        return self.gives

    def __call__(self, labels, student: Outputs, teacher: Outputs):
        return (student.logits - teacher.logits).square().mean(1)


def test_a_term_meets_the_student_and_the_teacher_that_it_hears():
    student, a, b, c = (net(i) for i in range(4))
    alone, named = Meets(), Meets(teacher="b")
    Distiller(student=student, teacher=Inference(a), loss=alone)
    Distiller(student=student, teacher={"a": a, "b": b}, loss=[named, KD()])
    assert alone.met == [(student, a)] and named.met == [(student, b)]
    assert Distiller(student=student, teacher=c, loss=Meets(net(4))).student is not student


def test_another_network_in_the_students_place_is_told(recwarn):
    with pytest.warns(StudentReplaced, match=r"'simkd' trains another network .*`distiller\.student`, the stud"):
        assert Distiller(student=net(0), teacher=net(1), loss=SimKD()).replaced == SimKD.network
    with pytest.warns(StudentReplaced, match="a network that the term 'meets' made of it"):
        Distiller(student=net(0), teacher=net(1), loss=Meets(net(2)))
    recwarn.clear()
    assert Distiller(student=net(0), teacher=net(1), loss=Meets()).replaced == "" and not recwarn.list


@pytest.mark.parametrize(
    ("teacher", "loss", "message"),
    [
        (None, Meets(), "The term 'meets' is made for a teacher's network, but there is no teacher"),
        ({"a": net(1), "b": net(2)}, Meets(), r"needs an attribute `teacher`, one of \['a', 'b'\]"),
        ({"a": net(1)}, Meets(teacher="c"), r"hears the teacher 'c'; the teachers are: \['a'\]"),
        (net(1), [Meets(net(2)), Meets(net(3))], "Two terms put a model of theirs in the student's place; one can"),
        (net(1), Meets("nothing"), r"`meet` gives a keras.Model or None\. Received: str"),
        (TorchNet(), SRRL(), "The teacher's classifier can't be found: .* Received: a torch module"),
        (TorchNet(), SimKD(), "The teacher's classifier can't be found: .* Received: a torch module"),
        (keras.Sequential([net(1), keras.layers.Softmax()]), SRRL(), "The teacher ends in a softmax"),
    ],
)
def test_what_can_not_meet_is_told_before_anything_is_built(teacher, loss, message):
    with pytest.raises(ValueError, match=message):
        Distiller(student=net(0), teacher=teacher, loss=loss)


def test_simkd_needs_the_same_classes_in_both():
    other = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES + 1)])
    with pytest.raises(ValueError, match=r"`simkd`: the teacher gives 6 logits, and the student 5\."):
        Distiller(student=net(0), teacher=other, loss=SimKD())


@pytest.mark.parametrize("make", [net, nested, lambda seed, **o: nested(seed, kind="functional", **o)])
def test_simkd_trains_all_but_the_classifier_and_saves_one_ordinary_model(data, make, tmp_path):
    images, labels = data
    student, teacher = make(0), make(1, width=5)
    distiller = made(student, keras.optimizers.Adam(0.02), teacher=teacher, loss=SimKD(), label_weight=0)
    trained, theirs = distiller.student, snapshot(teacher)
    assert trained is not student and trained.output_shape == (None, CLASSES)
    before = {id(v): v.numpy().copy() for v in trained.variables}
    history = fit(distiller, images, labels, epochs=10)
    assert history["simkd"][-1] < history["simkd"][0]
    for layer in trained.layers:
        for variable in layer.variables:
            changed = not np.array_equal(before[id(variable)], variable.numpy())
            assert changed == (layer.name != "simkd_classifier"), variable.path
    assert same(theirs, snapshot(teacher))
    distiller.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(logits_of(loaded, images), logits_of(trained, images), rtol=1e-4, atol=1e-5)


def test_simkd_of_a_student_with_its_teachers_features_has_its_teachers_logits(data):
    """The classifier is the teacher's: given the features that it reads, it says what the teacher says."""
    teacher = net(1, width=5)
    distiller = made(net(0), teacher=teacher, loss=SimKD())
    head, features = distiller.student.layers[-1], np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    np.testing.assert_array_equal(logits_of(head, features), logits_of(teacher.layers[-1], features))


def test_simkd_projects_the_layer_that_is_named(data):
    distiller = made(
        nested(0), teacher=nested(1), loss=SimKD(student_layers=("body/feature",), teacher_layers=("body/feature",))
    )
    fit(distiller, *data)
    assert "simkd_1_conv" in [layer.name for layer in distiller.student.layers]
