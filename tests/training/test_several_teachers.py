"""Several teachers in a distiller: heard together as one, or alone by the terms that name them."""

import math

import numpy as np
import pytest
import torch
from distilling import CLASSES, EXAMPLES, counting, fit, layers, logits_of, made, net, same, snapshot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax

from kdrecipes import KD, Distiller, Hint, Projected
from kdrecipes.backend import keras
from kdrecipes.training.ensemble import ensemble_logits

rows = arrays(np.float64, (4, 3), elements=st.floats(-50, 50))
weights = st.floats(1e-3, 1e3)
HOW = st.sampled_from(["probabilities", "logits"])


def together(logits, weights, how="probabilities"):
    return ensemble_logits([torch.from_numpy(one) for one in logits], weights, how).numpy()


# ---- the mixture


@given(st.lists(st.tuples(rows, weights), min_size=2, max_size=4))
def test_probabilities_are_the_weighted_mean_of_probabilities(teachers):
    logits, weight = [z for z, _ in teachers], np.array([w for _, w in teachers])
    expected = np.einsum("t,tbc->bc", weight / weight.sum(), softmax(logits, axis=-1))
    found = together(logits, list(weight))
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logsumexp(found, axis=1), 0, atol=1e-9)


@given(st.lists(st.tuples(rows, weights), min_size=2, max_size=4))
def test_logits_are_the_weighted_mean_of_logits(teachers):
    expected = np.average([z for z, _ in teachers], axis=0, weights=[w for _, w in teachers])
    found = together([z for z, _ in teachers], [w for _, w in teachers], "logits")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(rows, st.lists(weights, min_size=1, max_size=4), HOW)
def test_teachers_that_agree_say_what_one_says(logits, weights, how):
    found = together([logits] * len(weights), weights, how)
    np.testing.assert_allclose(softmax(found, axis=1), softmax(logits, axis=1), rtol=1e-6, atol=1e-12)
    if len(weights) == 1:
        np.testing.assert_array_equal(found, logits)


@given(st.lists(st.tuples(rows, weights), min_size=2, max_size=4), st.randoms(), st.floats(0.01, 100), HOW)
def test_neither_the_order_nor_the_scale_of_weights_matters(teachers, random, scale, how):
    shuffled = random.sample(teachers, len(teachers))
    a = together([z for z, _ in teachers], [w for _, w in teachers], how)
    b = together([z for z, _ in shuffled], [w * scale for _, w in shuffled], how)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_very_sure_teachers_stay_finite():
    """At float16's far ends, where probabilities are 0 in float32."""
    logits = np.float32([[60_000, -60_000, 0], [-60_000, 60_000, 0]])
    found = together([logits[:1], logits[1:]], [1, 3])
    np.testing.assert_allclose(found[0, :2], [math.log(1 / 4), math.log(3 / 4)], rtol=1e-6)
    assert np.isfinite(found).all() and found.dtype == np.float32


# ---- in a distiller


@pytest.fixture
def pair():
    return {"a": net(1), "b": net(2, width=4)}


def heard(data, pair, name=None, x=None, **options):
    """What a term that names `name` was given, over a fit of one batch."""
    seen = []

    def spy(labels, student, teacher):
        seen.append(teacher)
        return KD()(labels, student, teacher)

    if name is not None:
        spy.teacher = name
    fit(made(teacher=pair, loss=spy, **options), data[0] if x is None else x, data[1], batch_size=EXAMPLES)
    return seen[0]


def test_a_term_hears_all_together_or_the_one_that_it_names(data, pair):
    a, b = (logits_of(network, data[0]).double() for network in pair.values())
    mixed = (a.softmax(1) / 4 + 3 * b.softmax(1) / 4).log()
    weights = {"teacher_weights": {"b": 3.0}}
    torch.testing.assert_close(heard(data, pair, **weights).logits.double(), mixed, rtol=0, atol=1e-5)
    mean = (a + 3 * b) / 4
    torch.testing.assert_close(heard(data, pair, teachers="logits", **weights).logits.double(), mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(heard(data, pair, "b").logits.double(), b, rtol=0, atol=1e-5)


def test_all_together_are_mixed_once_a_step(data, pair, monkeypatch):
    seen = []
    term = lambda labels, student, teacher: seen.append(teacher) or student.logits.mean(1)  # noqa: E731
    alone = lambda labels, student, teacher: student.logits.mean(1)  # noqa: E731
    alone.teacher = "a"
    calls = [counting(network, monkeypatch) for network in pair.values()]
    fit(made(teacher=pair, loss=[term, alone, term]), *data, batch_size=EXAMPLES)
    assert len(seen) == 2 and seen[0] is seen[1]
    assert calls == [[False], [False]]


def test_a_teacher_that_no_term_hears_is_not_asked(data, pair, monkeypatch):
    calls = {name: counting(network, monkeypatch) for name, network in pair.items()}
    heard(data, pair, "b")
    assert calls == {"a": [], "b": [False]}


def test_one_named_teacher_gives_the_bits_of_one_alone(data):
    students = []
    for teacher, name in ((net(1), None), ({"a": net(1)}, None), ({"a": net(1)}, "a")):
        term, student = KD(), net(0)
        if name:
            term.teacher = name
        fit(made(student, teacher=teacher, loss=term, teacher_weights={"a": 9.0} if name else None), *data)
        students.append(snapshot(student))
    assert same(students[0], students[1]) and same(students[0], students[2])


@pytest.mark.parametrize("networks", [True, False])
def test_logits_that_come_with_the_batch_are_mixed_too(data, pair, networks):
    live = heard(data, pair).logits
    brought = {name: logits_of(network, data[0]).numpy() for name, network in pair.items()}
    x = {"image": data[0], "teacher": brought}
    torch.testing.assert_close(heard(data, pair if networks else None, x=x).logits, live, rtol=0, atol=1e-5)
    one = {"image": data[0], "teacher": {"b": brought["b"]}}
    if networks:  # the other is asked
        torch.testing.assert_close(heard(data, pair, x=one).logits, live, rtol=0, atol=1e-5)
    else:
        with pytest.raises(ValueError, match=r"hears the teacher 'a', and the batch brings logits of \['b'\]"):
            heard(data, None, "a", x=one)


@pytest.mark.parametrize("wrap", [lambda term: term, Projected])
def test_features_are_those_of_the_named_teacher(data, pair, wrap):
    term = Hint(("feature",), ("feature",))
    term.teacher = "a"
    student = net(0)
    history = fit(made(student, keras.optimizers.SGD(0.0), teacher=pair, loss=[wrap(term), KD()]), *data)
    if wrap is not Projected:
        features = keras.Model(student.inputs, student.get_layer("feature").output)
        theirs = keras.Model(pair["a"].inputs, pair["a"].get_layer("feature").output)
        with torch.no_grad():
            mine = features(torch.from_numpy(data[0]), training=True)
        expected = (mine - theirs(torch.from_numpy(data[0]))).square().mean().item()
        assert history["hint"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": Hint(("feature",), ("feature",))},
            r"one teacher's: it needs an attribute `teacher`, one of \['a', 'b'\]",
        ),
        ({"teacher_weights": {"c": 1.0}}, r"`teacher_weights` names 'c'; the teachers are: \['a', 'b'\]"),
        ({"teacher_weights": {"a": 0.0}}, r"a finite number above 0. Received: 0.0 for 'a'"),
        ({"teacher_weights": {"a": math.nan}}, r"a finite number above 0. Received: nan for 'a'"),
        ({"teachers": "votes"}, r"`teachers`: one of .*Received: 'votes'"),
    ],
)
def test_what_does_not_fit_the_teachers_is_refused(pair, options, message):
    with pytest.raises(ValueError, match=message):
        Distiller(student=net(), teacher=pair, **{"loss": KD(), **options})


def test_a_term_that_names_no_teacher_of_the_distiller_is_refused(pair):
    term = KD()
    term.teacher = "c"
    with pytest.raises(ValueError, match=r"hears the teacher 'c'; the teachers are: \['a', 'b'\]"):
        Distiller(student=net(), teacher=pair, loss=term)


@pytest.mark.parametrize("key", ["teacher", "teacher_image"])
def test_what_a_batch_brings_without_a_name_is_refused_where_there_are_several(data, pair, key):
    brought = np.zeros((EXAMPLES, CLASSES), "float32") if key == "teacher" else data[0]
    with pytest.raises(ValueError, match=r"A batch brings .* \['teacher'\]; the distiller's teachers: \['a', 'b'\]"):
        heard(data, pair, x={"image": data[0], key: brought})


def test_each_teacher_sees_images_of_its_own_size(data):
    sizes = {}

    def network(name):
        pixels = keras.Input((None, None, 3))
        model = keras.Model(pixels, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(pixels)))
        call = model.call
        model.__dict__["call"] = lambda x, *a, **k: sizes.setdefault(name, x.shape[1]) and call(x, *a, **k)
        return model

    pair = {name: network(name) for name in "ab"}
    own = {"b": np.random.default_rng(0).uniform(0, 255, (EXAMPLES, 9, 9, 3)).astype("float32")}
    heard(data, pair, x={"image": data[0], "teacher_image": own})
    assert sizes == {"a": data[0].shape[1], "b": 9}


def test_terms_with_weights_are_built_on_what_they_hear(pair):
    class Wide(keras.layers.Layer):
        teacher = "b"

        def __call__(self, labels, student, teacher):
            self.seen, self.built = teacher.logits.shape, True
            return student.logits.mean(1)

    for teacher in (pair, None):
        term = Wide()
        Distiller(student=net(), teacher=teacher, loss=[term, KD()])
        assert term.seen == (2, CLASSES)
