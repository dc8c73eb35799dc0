"""The feature terms: published values, the formulas in NumPy, gradients, dtypes, and features at the edge."""

import math

import numpy as np
import numpy_feature_terms as reference
import pytest
import torch

from kdrecipes import Outputs
from kdrecipes.losses import FSP, NST, PKT, RKD, Attention, Hint, SimilarityPreserving, WKDFeatures

# Widths may differ of these; of the others a projector maps them.
ANY_WIDTH = {"attention": Attention, "similarity_preserving": SimilarityPreserving, "rkd": RKD, "pkt": PKT, "nst": NST}
SAME_WIDTH = {"fsp": FSP, "wkd_features": WKDFeatures}
TERMS = ANY_WIDTH | SAME_WIDTH
RELATIONAL = ("similarity_preserving", "rkd", "pkt")
PER_EXAMPLE = ("attention", "nst", "fsp", "wkd_features")
MAPS = ("attention", "nst", "fsp", "wkd_features")  # what has no positions is nothing to them


def layers_of(name):
    return ("a", "b") if name == "fsp" else ("a",)


def value(name, student, teacher, **options):
    """A term's value of features by layer, or of one layer's."""
    term = TERMS[name](layers_of(name), layers_of(name), **options)
    by_layer = [one if isinstance(one, dict) else {"a": one, "b": one} for one in (student, teacher)]
    return term(None, *(Outputs(torch.zeros(len(one["a"]), 3), one) for one in by_layer))


def maps(name, seed=0, batch=4, dtype=torch.float64):
    """A student's and a teacher's maps that the term can compare."""
    generator = torch.Generator().manual_seed(seed)
    teacher = (batch, 2, 2, 3 if name in SAME_WIDTH else 5)
    pair = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((batch, 4, 4, 3), teacher)]
    return [one.to(dtype) for one in pair]


def wave(function, *shape):
    """What the published values are of: NCHW maps or vectors of a sine or cosine, put channels last."""
    made = function(torch.arange(float(math.prod(shape)), dtype=torch.float64)).reshape(shape)
    return made.permute(0, 2, 3, 1) if len(shape) == 4 else made


VECTORS = wave(torch.sin, 4, 6), wave(torch.cos, 4, 8)
NCHW = wave(torch.sin, 4, 3, 4, 4), wave(torch.cos, 4, 5, 2, 2)
EQUAL = wave(torch.sin, 4, 3, 4, 4), wave(torch.cos, 4, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "features", "options", "golden"),
    [
        ("similarity_preserving", VECTORS, {}, 0.47936298),
        ("rkd", VECTORS, {"distance": 25, "angle": 50}, 10.94763403),
        ("rkd", VECTORS, {"distance": 1, "angle": 0}, 0.10622930),
        ("rkd", VECTORS, {"distance": 0, "angle": 1}, 0.16583803),
        ("pkt", VECTORS, {}, 0.07883144),
        ("attention", NCHW, {}, 0.09642107),
        ("nst", NCHW, {}, 0.73404389),
        ("wkd_features", EQUAL, {"gamma": 1}, 0.04685509 + 0.00121069),
        ("wkd_features", EQUAL, {"gamma": 0}, 0.00121069),
    ],
)
def test_terms_give_their_golden_values(name, features, options, golden):
    """Values of the official implementations, in float64."""
    assert value(name, *features, **options).mean().item() == pytest.approx(golden, abs=1.1e-8)


def test_the_papers_weights_of_rkd_are_the_defaults_times_25():
    assert 25 * value("rkd", *VECTORS).item() == pytest.approx(10.94763403, abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in TERMS if name != "fsp"])
def test_terms_equal_their_formulas_in_numpy(name, seed):
    student, teacher = maps(name, seed)
    expected = getattr(reference, name)(student.numpy(), teacher.numpy())
    np.testing.assert_allclose(value(name, student, teacher).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_fsp_equals_its_formula_in_numpy(seed):
    (s1, t1), (t2, s2) = maps("fsp", seed), maps("fsp", seed + 10)
    expected = reference.fsp(*(one.numpy() for one in (s1, t1, s2, t2)))
    np.testing.assert_allclose(value("fsp", {"a": s1, "b": s2}, {"a": t1, "b": t2}), expected, rtol=1e-9)


def test_nst_is_the_same_by_channels_and_by_positions():
    """Of more positions than channels one product is smaller, of fewer the other."""
    torch.manual_seed(0)
    for channels in (3, 40):
        student, teacher = torch.randn(2, 4, 4, channels).double(), torch.randn(2, 4, 4, channels + 1).double()
        expected = reference.nst(student.numpy(), teacher.numpy())
        np.testing.assert_allclose(value("nst", student, teacher), expected, rtol=1e-6)


def test_rkd_in_several_turns_is_the_same_in_value_and_gradient(monkeypatch):
    student, teacher = (torch.randn(7, n, dtype=torch.float64) for n in (5, 3))
    found = []
    for at_once in (8_000_000, 100, 1):
        monkeypatch.setattr("kdrecipes.components.losses.rkd._AT_ONCE", at_once)
        mine = student.clone().requires_grad_()
        got = value("rkd", mine, teacher)
        got.backward()
        found.append((got.detach(), mine.grad))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_rkd_holds_no_more_at_once_than_it_says(monkeypatch):
    """The largest tensor that is kept for the gradient, of 32 images' 32,768 angles."""
    monkeypatch.setattr("kdrecipes.components.losses.rkd._AT_ONCE", 4096)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        value("rkd", torch.randn(32, 8, requires_grad=True), torch.randn(32, 8))
    assert max(kept) <= 4096


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_those_of_finite_differences_and_the_teacher_gets_none(name):
    student, teacher = (one.requires_grad_() for one in maps(name, batch=3))
    assert torch.autograd.gradcheck(lambda s: value(name, s, teacher), student)
    value(name, student, teacher).sum().backward()
    assert student.grad is not None and teacher.grad is None


@pytest.mark.parametrize("name", TERMS)
def test_bfloat16_features_are_compared_in_float32(name):
    student, teacher = maps(name, dtype=torch.bfloat16)
    half = value(name, student, teacher)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, value(name, student.float(), teacher.float()))


@pytest.mark.parametrize("name", TERMS)
def test_equal_features_are_worth_zero_and_have_finite_gradients(name):
    feature = torch.randn(4, 4, 4, 3).relu().requires_grad_()
    got = value(name, feature, feature.detach().clone())
    got.sum().backward()
    torch.testing.assert_close(got.detach(), torch.zeros_like(got), atol=1e-6, rtol=0)
    torch.testing.assert_close(feature.grad, torch.zeros_like(feature), atol=1e-5, rtol=0)


def edges():
    torch.manual_seed(0)
    random = torch.randn(4, 2, 2, 3)
    yield "zeros", torch.zeros(4, 2, 2, 3), random
    yield "ten thousand", random.sign() * 1e4, -random.sign() * 1e4
    yield "tiny", random * 1e-30, random
    yield "one image four times", random[:1].repeat(4, 1, 1, 1), random
    yield "one image twice", torch.cat([random[:1], random[:3]]), random
    yield "constant maps", random[:, :1, :1].expand(4, 2, 2, 3).clone(), random
    yield "a channel of zeros", random * torch.tensor([1.0, 1.0, 0.0]), random
    yield "a teacher of zeros", random, torch.zeros(4, 2, 2, 3)
    yield "a teacher of one image", random, random[:1].repeat(4, 1, 1, 1)


@pytest.mark.parametrize("name", TERMS)
def test_features_at_the_edge_keep_value_and_gradient_finite(name):
    for what, student, teacher in edges():
        student.requires_grad_()
        got = value(name, student, teacher)
        got.sum().backward()
        assert torch.isfinite(got).all() and torch.isfinite(student.grad).all(), what


@pytest.mark.parametrize("name", RELATIONAL)
def test_a_term_that_compares_images_says_so_and_needs_two(name):
    assert TERMS[name].relational
    student, teacher = maps(name)
    assert value(name, student, teacher).shape == ()
    with pytest.raises(ValueError, match=rf"`{name}` compares .* batch: it needs at least 2\. Received: 1"):
        value(name, student[:1], teacher[:1])


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_a_term_on_single_images_gives_one_value_for_each(name):
    """So weights of images reach into it."""
    student, teacher = maps(name)
    values = value(name, student, teacher)
    assert values.shape == (4,)
    torch.testing.assert_close(value(name, student[1:2], teacher[1:2]), values[1:2])


@pytest.mark.parametrize("name", TERMS)
def test_the_places_of_channels_and_the_size_of_features_count_as_the_formula_says(name):
    student, teacher = maps(name)
    shuffled, scaled = value(name, student[..., [2, 0, 1]], teacher), value(name, 3 * student, teacher)
    plain = value(name, student, teacher)
    assert torch.allclose(shuffled, plain) == (name in ANY_WIDTH)
    assert torch.allclose(scaled, plain) == (name in ANY_WIDTH)


@pytest.mark.parametrize("name", TERMS)
def test_tokens_are_a_map_whose_positions_stand_in_a_row(name):
    student, _ = maps(name)
    other = maps(name, 5)[0]
    flat = value(name, student.flatten(1, 2), other.flatten(1, 2))
    torch.testing.assert_close(flat, value(name, student, other))


@pytest.mark.parametrize("name", MAPS)
def test_features_without_positions_are_refused(name):
    with pytest.raises(ValueError, match="maps"):
        value(name, torch.randn(4, 3), torch.randn(4, 3))


@pytest.mark.parametrize("name", ["attention", "nst"])
def test_tokens_that_are_not_equally_many_are_refused(name):
    with pytest.raises(ValueError, match=r"student layer 'a' gives \(4, 5, 3\) .* tokens that are equally many"):
        value(name, torch.randn(4, 5, 3), torch.randn(4, 6, 3))


@pytest.mark.parametrize("name", SAME_WIDTH)
def test_widths_that_differ_are_refused_where_channels_are_compared(name):
    with pytest.raises(ValueError, match=r"student layer 'a' gives \(4, 2, 2, 3\) .*widths must be equal.*projector"):
        value(name, torch.randn(4, 2, 2, 3), torch.randn(4, 2, 2, 4))


def test_fsp_needs_two_layers_with_equally_many_positions():
    feature = Outputs(torch.zeros(2, 3), {"a": torch.randn(2, 4, 3), "b": torch.randn(2, 5, 3)})
    with pytest.raises(ValueError, match="`student_layers` must name at least 2 layers: 'fsp' compares each"):
        FSP(("a",), ("a",))(None, feature, feature)
    with pytest.raises(ValueError, match=r"need equally many positions\. Received: 4, 5"):
        FSP(("a", "b"), ("a", "b"))(None, feature, feature)


def test_values_of_several_pairs_of_layers_add_up():
    (s1, t1), (s2, t2) = maps("attention", 1), maps("attention", 2)
    outputs = [Outputs(torch.zeros(4, 3), {"a": a, "b": b}) for a, b in ((s1, s2), (t1, t2))]
    both = Attention(("a", "b"), ("a", "b"))(None, *outputs)
    torch.testing.assert_close(both, value("attention", s1, t1) + value("attention", s2, t2))


def test_hint_is_what_it_is_in_numpy():
    student, teacher = (torch.randn(4, 2, 2, 3, dtype=torch.float64) for _ in range(2))
    got = Hint(("a",), ("a",))(None, *(Outputs(torch.zeros(4, 3), {"a": one}) for one in (student, teacher)))
    np.testing.assert_allclose(got, reference.hint(student.numpy(), teacher.numpy()))
