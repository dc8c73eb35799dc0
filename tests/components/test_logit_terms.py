"""Every term on logits: golden values, an implementation in NumPy, gradients, and what a batch may bring.

What is promised of all is asked of every built-in term that reads no layers: one that is added is tested here too.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_terms import TERMS as NUMPY

import kdrecipes
from kdrecipes import Outputs, losses
from kdrecipes.components.losses import TERMS

# Values of the official implementations on this batch, in float64, but for `pld` and parts, which are from a formula.
STUDENT = [[2, 1, 0.1, -1, 0.5], [0.3, -0.2, 1.7, 0, -1.1], [-0.5, 2.2, 0.4, 1, 0], [1.2, 0.7, -0.3, 0.2, 2.5]]
TEACHER = [[4, 1.5, -0.5, -2, 0.2], [-1, 0.4, 3, 0.6, -2], [0, 3.5, 1, 2.8, -1], [0.5, 0.1, -1.5, 1, 4.2]]
LABELS = [0, 2, 3, 4]  # the teacher is wrong about the third
GOLDEN = [
    ("kd", {"temperature": 1}, 0.20254012),
    ("kd", {"temperature": 4}, 0.53769552),
    ("kd_mse", {}, 1.14850000),
    ("dkd", {}, 2.58611003),
    ("dkd", {"beta": 0.5, "temperature": 1}, 0.26117446),
    ("dkd", {"beta": 2, "temperature": 1}, 0.53830633),
    ("dkd", {"beta": 0}, 0.35817434),
    ("dkd", {"alpha": 0, "beta": 1}, 0.27849196),
    ("dist", {}, 0.04698107),
    ("lskd", {}, 0.05663542),
    ("nkd", {}, 2.07317802),
    ("nkd", {"gamma": 3.5, "temperature": 3}, 42.34623342),
    ("wsld", {}, 12.07275537 / 2.5),  # published with the weight that a recipe gives
    ("wsld", {"temperature": 4}, 50.90339312 / 2.25),
    ("ttm", {}, 0.31875967),
    ("wttm", {}, 0.57341390),
    ("wttm", {"gamma": 0.1}, 1.18521047),
    ("ofa_logit", {}, 0.78369274),
    ("ofa_logit", {"epsilon": 1.5}, 0.93281949),
    ("mlkd", {"temperatures": [4]}, 0.53769552 + 0.00204919 + 0.00227602),
    ("abkd", {}, 0.02884453),
    ("abkd", {"alpha": 0.9, "beta": 0.2, "temperature": 1}, 0.16977669),
    ("abkd", {"alpha": 0.5, "beta": 0.5, "temperature": 1}, 0.24710774),
    ("abkd", {"alpha": 1, "beta": 0}, 0.03360597),
    ("rld", {}, 2.36591609),
    ("rld", {"beta": 0}, 0.27268435),
    ("rld", {"alpha": 0, "beta": 1}, 0.26165397),
    ("pld", {}, 0.61315345),
]
# Beside the defaults, options with which a term is compared with NumPy.
OPTIONS = {
    "dkd": {"alpha": 0.5, "beta": 2.0, "temperature": 1.0},
    "dist": {"temperature": 4.0, "beta": 2.0, "gamma": 0.5},
    "nkd": {"gamma": 3.5, "temperature": 3.0},
    "ofa_logit": {"epsilon": 1.5, "temperature": 2.0},
    "teacher_free": {"confidence": 0.9, "temperature": 1.0},
    "mlkd": {"temperatures": [1.0, 4.0]},
    "abkd": {"alpha": 0.0, "beta": 1.0, "temperature": 1.0},
    "rld": {"alpha": 0.5, "beta": 2.0, "temperature": 1.0},
}
ZERO = {"kd", "kd_mse", "dkd", "dist", "lskd", "mlkd", "abkd", "ctkd"}  # where student and teacher agree


def class_of(module):
    return getattr(losses, TERMS[module])


LOGIT_TERMS = [module for module in TERMS if not hasattr(class_of(module), "student_layers")]
# What one that learns says depends on what it has learned: its values are tested apart.
PLAIN = [name for name in LOGIT_TERMS if not hasattr(class_of(name)(), "parts")]
RELATIONAL = [name for name in LOGIT_TERMS if getattr(class_of(name), "relational", False)]


def term_of(name, **options):
    """A term as a run builds it."""
    component = kdrecipes.component("loss", name)
    passed = {"classes": 5, "examples": 64}
    return component.build(**{k: v for k, v in passed.items() if k in component.options["properties"]}, **options)


def random_logits(batch=6, classes=5, scale=3.0, dtype=torch.float64, seed=0):
    """Labels, and logits of student and teacher; the teacher is right about some."""
    generator = torch.Generator().manual_seed(seed)
    pair = [torch.randn(batch, classes, generator=generator, dtype=torch.float64) * scale for _ in range(2)]
    return torch.arange(batch) % classes, *(logits.to(dtype) for logits in pair)


def called(term, labels, student, teacher):
    return term(labels, Outputs(student), Outputs(teacher))


def value_and_gradient(term, labels, student, teacher):
    student = student.clone().requires_grad_()
    value = called(term, labels, student, teacher)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    return value.detach(), gradient


@pytest.mark.parametrize(("name", "options", "value"), GOLDEN)
def test_golden_values(name, options, value):
    student, teacher = (torch.tensor(z, dtype=torch.float64) for z in (STUDENT, TEACHER))
    found = called(term_of(name, **options), torch.tensor(LABELS), student, teacher)
    parts = 3 if name == "mlkd" else 1  # each is known to 8 decimals
    assert found.dtype == torch.float64 and found.mean().item() == pytest.approx(value, abs=5e-9 * parts)
    mine = NUMPY[name](LABELS, np.array(STUDENT, float), np.array(TEACHER, float), **options)
    assert np.mean(mine) == pytest.approx(value, abs=5e-9 * parts)


def test_every_plain_term_has_its_double_in_numpy():
    assert set(NUMPY) == set(PLAIN)


@st.composite
def batches(draw):
    classes = draw(st.sampled_from([2, 3, 10, 100, 1000]))
    scale, seed = draw(st.sampled_from([1e-2, 1.0, 5.0, 20.0])), draw(st.integers(0, 2**31))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return random_logits(draw(st.integers(2, 4)), classes, scale, dtype, seed), draw(st.booleans())


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=12, deadline=None)
@given(batch=batches())
def test_values_are_those_of_numpy(name, batch):
    (labels, student, teacher), others = batch
    options = OPTIONS.get(name, {}) if others else {}
    found = called(term_of(name, **options), labels, student, teacher)
    wanted = NUMPY[name](labels.tolist(), student.double().numpy(), teacher.double().numpy(), **options)
    # Where two distributions are close their divergence keeps the rounding of its parts, which T² multiplies.
    rounding = torch.finfo(student.dtype).eps * 5e3 * max(1.0, float(student.abs().max()))
    np.testing.assert_allclose(
        found.double().numpy(), wanted, rtol=1e-9 if student.dtype == torch.float64 else 1e-3, atol=rounding
    )


@pytest.mark.parametrize("name", PLAIN)
def test_the_gradient_is_that_of_the_value(name):
    labels, student, teacher = random_logits(3, 4)
    term = term_of(name)
    if name == "wsld":  # its weight depends on the student, and gets no gradient
        step, (_, gradient) = 1e-6, value_and_gradient(term, labels, student, teacher)
        for i, k in np.ndindex(3, 4):
            ends = []
            for sign in (1, -1):
                moved = student.numpy().copy()
                moved[i, k] += sign * step
                rows = zip(labels.tolist(), moved, teacher.numpy(), student.numpy(), strict=True)
                ends.append(sum(NUMPY["wsld"]([y], [s], [t], weighed_by=held)[0] for y, s, t, held in rows))
            assert gradient[i, k].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-8)
        return
    assert torch.autograd.gradcheck(lambda z: called(term, labels, z, teacher), student.requires_grad_())


@pytest.mark.parametrize("name", LOGIT_TERMS)
@pytest.mark.parametrize("classes", [2, 1000])
def test_extreme_logits_have_finite_values_and_gradients(name, classes):
    labels, _, _ = random_logits(4, classes)
    signs = torch.where(torch.arange(4 * classes).reshape(4, classes) % 3 == 0, 1e4, -1e4)
    corner = torch.nn.functional.one_hot(labels, classes) * 2e4 - 1e4
    for student, teacher in [(corner, -corner), (-corner, corner), (signs, corner), (corner, signs), (signs, signs)]:
        value, gradient = value_and_gradient(term_of(name), labels, student.float(), teacher.float())
        assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_equal_logits_of_all_classes_have_finite_values_and_gradients(name):
    labels, student, teacher = random_logits(dtype=torch.float32)
    flat = torch.zeros_like(student)
    for pair in [(flat, teacher), (student, flat), (flat, flat)]:
        value, gradient = value_and_gradient(term_of(name), labels, *pair)
        assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOGIT_TERMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    labels, student, teacher = random_logits(dtype=dtype)
    value, gradient = value_and_gradient(term_of(name), labels, student, teacher)
    assert value.dtype == torch.float32 and torch.isfinite(value).all() and torch.isfinite(gradient).all()
    torch.testing.assert_close(value, called(term_of(name), labels, student.float(), teacher.float()))


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_classes_absent_from_the_batch_do_no_harm(name):
    _, student, teacher = random_logits(dtype=torch.float32)
    value, gradient = value_and_gradient(term_of(name), torch.full((6,), 3), student, teacher)
    assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_a_student_that_agrees_with_its_teacher_is_at_zero_where_theory_says_so(name):
    labels, _, teacher = random_logits()
    value, gradient = value_and_gradient(term_of(name), labels, teacher, teacher)
    assert torch.isfinite(gradient).all()
    zero = bool((value.abs() < 1e-6).all())  # `dist` has an epsilon in its denominator
    assert zero == (name in ZERO)
    if name in ZERO:
        assert gradient.abs().max() < 1e-6


def test_what_is_a_cross_entropy_is_least_for_a_student_that_agrees():
    labels, _, teacher = random_logits()
    for term in (losses.SoftCE(), losses.OFALogit(), losses.TTM(gamma=1.0), losses.WTTM(gamma=1.0)):
        _, gradient = value_and_gradient(term, labels, teacher, teacher)
        assert gradient.abs().max() < 1e-12
    right = teacher.argmax(-1)
    value, gradient = value_and_gradient(losses.RLD(), right, teacher, teacher)
    assert value.abs().max() < 1e-12 and gradient.abs().max() < 1e-12


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_no_gradient_goes_to_the_teacher(name):
    labels, student, teacher = random_logits(dtype=torch.float32)
    called(term_of(name), labels, student.requires_grad_(), teacher.requires_grad_()).sum().backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_a_mixed_label_counts_as_its_largest_share_and_a_missing_one_as_what_the_teacher_says(name):
    labels, student, teacher = random_logits(dtype=torch.float32)
    rows = torch.nn.functional.one_hot(labels, 5).float()
    term, guessed = term_of(name), teacher.argmax(-1)
    plain, unlabelled = (called(term, y, student, teacher) for y in (labels, guessed))
    torch.testing.assert_close(called(term, 0.7 * rows + 0.3 * rows.roll(1, 0), student, teacher), plain)
    for missing in (torch.full_like(labels, -1), torch.zeros_like(rows), None):
        torch.testing.assert_close(called(term, missing, student, teacher), unlabelled)
    some = labels.where(labels != 2, -1)
    half = called(term, some, student, teacher)
    torch.testing.assert_close(half, called(term, labels.where(labels != 2, guessed), student, teacher))


@pytest.mark.parametrize("name", RELATIONAL)
def test_a_relational_term_refuses_a_batch_of_one(name):
    labels, student, teacher = random_logits(1)
    with pytest.raises(
        ValueError, match=rf"^`{name}` compares the images of a batch: .* Received: 1\. Raise the batch"
    ):
        called(term_of(name), labels, student, teacher)
    assert called(term_of(name), *random_logits(2)).shape == ()


@pytest.mark.parametrize("name", [name for name in LOGIT_TERMS if name not in RELATIONAL])
def test_other_terms_say_the_same_of_an_image_alone(name):
    labels, student, teacher = random_logits(dtype=torch.float32)
    term = term_of(name)
    values = called(term, labels, student, teacher)
    assert values.shape == (6,)
    torch.testing.assert_close(called(term, labels[2:3], student[2:3], teacher[2:3]), values[2:3])


def test_sample_weight_reaches_every_term_that_has_values_of_examples():
    from kdrecipes.backend import keras

    student = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
    labels, _, teacher = random_logits(dtype=torch.float32)
    images = np.random.default_rng(0).normal(size=(6, 2, 2, 1)).astype("float32")
    says = student(torch.tensor(images)).detach()
    weights = np.array([1, 0, 2, 0, 0, 1], "float32")
    terms = {name: term_of(name) for name in LOGIT_TERMS}
    expected = {name: called(term, labels, says, teacher).detach() for name, term in terms.items()}
    distiller = kdrecipes.Distiller(teacher=None, student=student, loss=list(terms.values()), label_weight=0.0)
    distiller.compile(optimizer="sgd")
    x = {"image": images, "teacher": teacher.numpy()}
    history = distiller.fit(x, labels.numpy(), sample_weight=weights, batch_size=6, verbose=0).history
    for name, value in expected.items():
        weighed = value if name in RELATIONAL else (value * torch.tensor(weights)).mean()
        assert history[name] == [pytest.approx(weighed.item(), rel=1e-4)], name


def test_a_term_that_hears_no_teacher_needs_none():
    labels, student, _ = random_logits()
    outside = {"student": Outputs(student), "teacher": None}
    assert losses.TeacherFree()(labels, **outside).shape == (6,)
    smoothed = torch.nn.functional.one_hot(labels, 5) * (0.9 - 0.025) + 0.025
    wanted = -(smoothed * student.log_softmax(-1)).sum(-1) + (smoothed * smoothed.log()).sum(-1)
    torch.testing.assert_close(losses.TeacherFree(confidence=0.9, temperature=1.0)(labels, **outside), wanted)


def test_a_distiller_without_a_teacher_hears_a_term_that_needs_none():
    from kdrecipes.backend import keras

    student = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
    distiller = kdrecipes.Distiller(student=student, loss=losses.TeacherFree())
    distiller.compile(optimizer="sgd")
    images, labels = np.zeros((6, 2, 2, 1), "float32"), np.arange(6) % 5
    assert distiller.fit(images, labels, verbose=0).history["teacher_free"][0] > 0
    with pytest.raises(ValueError, match="reads the teacher's logits, but there is no teacher"):
        distiller.fit(images, labels - 1, verbose=0)  # a label is missing


def test_the_limits_of_the_alpha_beta_divergence_are_where_it_goes():
    labels, student, teacher = random_logits()
    for alpha, beta in [(1, 0), (0, 1), (0.5, 0), (0, 0)]:
        at, near = (
            called(losses.ABKD(alpha=alpha or least, beta=beta or least, temperature=1.0), labels, student, teacher)
            for least in (0, 0.01)
        )
        torch.testing.assert_close(at, near, rtol=0.2, atol=0)
    reverse = called(losses.KD(temperature=1.0), labels, teacher, student)
    torch.testing.assert_close(called(losses.ABKD(0, 1, 1.0), labels, student, teacher), reverse)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_powers_too_near_to_zero_are_refused(name):
    with pytest.raises(
        ValueError, match=rf"^`{name}` must be 0, or at least 0\.01 and at most 10; .* Received: {name}=0\.005$"
    ):
        losses.ABKD(**{name: 0.005})


def test_what_the_teacher_ranks_above_the_label_is_no_part_of_rld():
    _, student, teacher = random_logits(1)
    order = teacher[0].argsort()
    second = order[-2:-1]
    moved = student.clone()
    moved[0, order[-1]] += 1  # above the label
    only_order = losses.RLD(alpha=0.0)
    torch.testing.assert_close(called(only_order, second, student, teacher), called(only_order, second, moved, teacher))
    assert called(only_order, order[:1], student, teacher).item() == 0  # nothing is below


def test_lskd_does_not_hear_shift_and_scale():
    labels, student, teacher = random_logits()
    torch.testing.assert_close(
        called(losses.LSKD(), labels, 7 * student - 2, teacher / 3 + 5), called(losses.LSKD(), labels, student, teacher)
    )


@pytest.mark.parametrize("name", LOGIT_TERMS)
def test_each_is_a_component_with_its_paper_and_described_options(name):
    term = class_of(name)
    component = kdrecipes.component("loss", name)
    assert component.summary and "".join(term.paper.split()) in "".join(term.__doc__.split())
    assert all(option["description"] for option in component.options["properties"].values())
