"""The built-in terms against torch's own functions and published values."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes import DIST, KD, Hint, Outputs

# Values of the official implementations on this batch, in float64.
STUDENT = [[2, 1, 0.1, -1, 0.5], [0.3, -0.2, 1.7, 0, -1.1], [-0.5, 2.2, 0.4, 1, 0], [1.2, 0.7, -0.3, 0.2, 2.5]]
TEACHER = [[4, 1.5, -0.5, -2, 0.2], [-1, 0.4, 3, 0.6, -2], [0, 3.5, 1, 2.8, -1], [0.5, 0.1, -1.5, 1, 4.2]]


def reference(student, teacher, temperature):
    s, t = (z / temperature for z in (student, teacher))
    divergence = F.kl_div(s.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="batchmean")
    return divergence * temperature**2


def value_and_gradient(function, student):
    student = student.clone().requires_grad_()
    value = function(student)
    value.backward()
    return value.detach(), student.grad


def kd(student, teacher, temperature):
    return KD(temperature)(None, Outputs(student), Outputs(teacher)).mean()


@st.composite
def logits(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 7)))
    scale = draw(st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    pair = [(torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1) * scale for _ in range(2)]
    return [z.to(dtype) for z in pair]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(logits(), st.sampled_from([1, 2, 4, 10]))
def test_kd_equals_torch_in_value_and_gradient(pair, temperature):
    student, teacher = pair
    mine = value_and_gradient(lambda s: kd(s, teacher, temperature), student)
    theirs = value_and_gradient(lambda s: reference(s, teacher, temperature), student)
    assert mine[0].dtype == student.dtype
    for a, b in zip(mine, theirs, strict=True):
        # A tiny divergence of large terms keeps only their rounding.
        rounding = torch.finfo(student.dtype).eps * 50 * temperature**2 * max(1.0, float(student.abs().max()))
        torch.testing.assert_close(a, b, rtol=1e-4 if student.dtype == torch.float32 else 1e-9, atol=rounding)


@pytest.mark.parametrize(("temperature", "value"), [(1, 0.20254012), (2, 0.45499997), (4, 0.53769552)])
def test_kd_gives_its_golden_values(temperature, value):
    student, teacher = (torch.tensor(z, dtype=torch.float64) for z in (STUDENT, TEACHER))
    assert kd(student, teacher, temperature).item() == pytest.approx(value, abs=5e-9)


def test_kd_gives_one_value_for_each_example():
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)
    values = KD()(None, Outputs(student), Outputs(teacher))
    assert values.shape == (4,)
    assert KD()(None, Outputs(student[1:2]), Outputs(teacher[1:2]))[0] == pytest.approx(values[1].item())


def test_confidently_wrong_student_keeps_its_gradient():
    teacher = torch.tensor([[40.0, 0.0, 0.0]])
    _, gradient = value_and_gradient(lambda s: kd(s, teacher, 1.0), torch.tensor([[0.0, 40.0, 0.0]]))
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.0, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_extreme_logits_stay_finite(value):
    student, teacher = torch.tensor([[value, 0.0, -value]]), torch.tensor([[0.0, value, value]])
    loss, gradient = value_and_gradient(lambda s: kd(s, teacher, 1.0), student)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0.4


def test_the_wider_dtype_wins():
    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER, dtype=torch.float64)
    assert KD()(None, Outputs(student), Outputs(teacher)).dtype == torch.float64


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match=r"`temperature` must be a finite number above 0\. Received: temperature="):
        KD(temperature)


@pytest.mark.parametrize("classes", [10, 1000])
def test_at_the_greatest_temperature_kd_is_right_to_a_twentieth_and_beyond_it_is_refused(classes):
    """float64 says what is right. At T = 10,000 the error would be as large as the value."""
    torch.manual_seed(0)
    pair = [torch.randn(64, classes, dtype=torch.float64) * 3 for _ in range(2)]
    right, mine = (
        KD(1000)(None, *(Outputs(logits.to(kind)) for logits in pair)) for kind in (torch.float64, torch.float32)
    )
    assert (mine.double() - right).norm() / right.norm() < 0.05
    with pytest.raises(ValueError, match=r"at most 1000; beyond that T² · KL has no right digit .* temperature=1000.5"):
        KD(1000.5)


def test_at_the_greatest_temperature_dist_sees_a_correlation_of_1_and_beyond_it_is_refused():
    torch.manual_seed(0)
    logits = Outputs(torch.randn(64, 100) * 3)
    assert 0 < DIST(100)(None, logits, logits).item() / (2 * 100**2) < 0.005
    with pytest.raises(ValueError, match="at most 100; beyond that softmaxes are too flat"):
        DIST(101)


def outputs(**features):
    return Outputs(torch.zeros(4, 5), features)


def test_hint_is_the_mean_square_of_each_example_summed_over_pairs():
    a, b, c, d = (torch.randn(4, 3, 3, 2, dtype=torch.float64) for _ in range(4))
    values = Hint(("a", "c"), ("b", "d"))(None, outputs(a=a, c=c), outputs(b=b, d=d))
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, ((a - b) ** 2).mean((1, 2, 3)) + ((c - d) ** 2).mean((1, 2, 3)))


def test_hint_does_not_overflow_in_half_precision():
    a, b = (torch.full((2, 3), v, dtype=torch.float16) for v in (0.0, 1000.0))
    assert Hint(("a",), ("b",))(None, outputs(a=a), outputs(b=b)).tolist() == [1e6, 1e6]


@pytest.mark.parametrize("shape", [(4, 3, 3, 1), (4, 6, 6, 2)], ids=["width 1 does not broadcast", "size"])
def test_hint_refuses_unequal_shapes(shape):
    with pytest.raises(ValueError, match="shapes must be equal") as caught:
        Hint(("a",), ("b",))(None, outputs(a=torch.zeros(shape)), outputs(b=torch.zeros(4, 3, 3, 2)))
    assert str(shape) in str(caught.value)
    assert "Projected" in str(caught.value)


def test_hint_refuses_layers_that_do_not_pair_up():
    with pytest.raises(
        ValueError, match="must be as many as student_layers, for each has its partner; 2 and 1 are given"
    ):
        Hint(("a", "b"), ("c",))
    with pytest.raises(ValueError, match="`student_layers` must be given"):
        Hint()(None, outputs(), outputs())


def test_keras_default_is_another_number():
    """`keras.distillation`'s default feeds raw logits to a clipped KL; ours is the divergence of the softmaxes."""
    from kdrecipes.backend import keras

    student, teacher = torch.tensor(STUDENT), torch.tensor(TEACHER)
    ours, right = kd(student, teacher, 3.0), reference(student, teacher, 3.0)
    stock = keras.distillation.LogitsDistillation(temperature=3.0).compute_loss(teacher, student)
    torch.testing.assert_close(ours, right)
    assert abs(float(stock) - float(right)) > 1.0
    wrong, truth = torch.tensor([[0.0, 40.0, 0.0]]), torch.tensor([[40.0, 0.0, 0.0]])
    instance = keras.distillation.LogitsDistillation(temperature=1.0, loss=keras.losses.KLDivergence())
    _, theirs = value_and_gradient(lambda s: instance.compute_loss(truth, s), wrong)
    _, mine = value_and_gradient(lambda s: kd(s, truth, 1.0), wrong)
    assert theirs.abs().max() < 1e-6
    assert mine.abs().max() > 0.99


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, 0.04698107),
        ({"temperature": 4.0}, 1.67911896),
        ({"gamma": 0.0}, 0.02591820),
        ({"beta": 0.0}, 0.02106287),
        ({"beta": 2.0, "gamma": 0.5}, 2 * 0.02591820 + 0.5 * 0.02106287),
    ],
)
def test_dist_gives_its_golden_values(options, value):
    student, teacher = (torch.tensor(z, dtype=torch.float64) for z in (STUDENT, TEACHER))
    found = DIST(**options)(None, Outputs(student), Outputs(teacher))
    assert found.shape == () and found.item() == pytest.approx(value, abs=1e-8)


def test_dist_ignores_the_scale_of_probabilities_but_not_their_order():
    teacher = torch.tensor(TEACHER, dtype=torch.float64)
    assert DIST()(None, Outputs(teacher), Outputs(teacher)).item() == pytest.approx(0.0, abs=1e-6)
    flat = Outputs(torch.zeros(4, 3, dtype=torch.float64))
    assert DIST()(None, flat, flat).item() == pytest.approx(2.0)  # nothing varies: both correlations are 0
    turned = DIST()(None, Outputs(teacher.flip(1)), Outputs(teacher)).item()
    assert turned > 0.5 and DIST.relational
    student = torch.tensor(STUDENT, dtype=torch.float32, requires_grad=True)
    DIST()(None, Outputs(student), Outputs(teacher.float())).backward()
    assert torch.isfinite(student.grad).all() and student.grad.abs().max() > 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_dist_refuses_other_temperatures(temperature):
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        DIST(temperature)
