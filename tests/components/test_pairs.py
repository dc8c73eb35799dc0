"""Pairs of layers: their names, their features in a dtype that can be squared, and one size for two maps."""

from types import SimpleNamespace

import pytest
import torch

from kdrecipes import Outputs
from kdrecipes.components.losses.pairs import pairs_of, summed, to_smaller_map, vectors
from kdrecipes.components.losses.several import refuse_one_image
from kdrecipes.components.losses.taken_layers import take_layers


def outputs(**features):
    return Outputs(torch.zeros(2, 3), features)


def term(mine, theirs):
    return SimpleNamespace(name="made_up", student_layers=mine, teacher_layers=theirs)


def test_layers_pair_up_in_order_and_the_teachers_features_get_no_gradient():
    a, b, c, d = (torch.ones(2, 3, requires_grad=True) for _ in range(4))
    pairs = list(pairs_of(term(["a", "c"], ["b", "d"]), outputs(a=a, c=c), outputs(b=b, d=d)))
    assert [(pair.student_layer, pair.teacher_layer) for pair in pairs] == [("a", "b"), ("c", "d")]
    assert all(pair.student.requires_grad and not pair.teacher.requires_grad for pair in pairs)
    assert pairs[0].shapes() == "student layer 'a' gives (2, 3) and teacher layer 'b' (2, 3)"


def test_half_precision_is_widened_and_float64_stays():
    for given, seen in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2):
        (pair,) = pairs_of(term(["a"], ["b"]), *(outputs(**{n: torch.ones(2, 3, dtype=given)}) for n in "ab"))
        assert (pair.student.dtype, pair.teacher.dtype) == (seen, seen)


def test_what_does_not_pair_up_is_refused_when_it_is_made_and_when_it_is_set_later():
    odd = term(["a", "b"], ["c"])
    unequal = r"`teacher_layers` must be as many as student_layers, for each has its partner; 2 and 1 are given\."
    with pytest.raises(ValueError, match=unequal):
        take_layers(odd)
    with pytest.raises(ValueError, match=unequal):
        list(pairs_of(odd, outputs(), outputs()))
    with pytest.raises(ValueError, match="`student_layers` must be given: 'made_up' reads student_layers and teacher"):
        list(pairs_of(term((), ()), outputs(), outputs()))
    with pytest.raises(ValueError, match=r"`student_layers` must be a list of names\. Received: student_layers='ab'"):
        take_layers(term("ab", ("c",)))


def test_maps_come_to_the_smaller_size_by_averages():
    a, b = torch.arange(32.0).reshape(1, 4, 4, 2), torch.zeros(1, 2, 8, 3)
    small, other = to_smaller_map(a, b)
    assert small.shape == (1, 2, 4, 2) and other.shape == (1, 2, 4, 3)
    torch.testing.assert_close(small, a.reshape(1, 2, 2, 4, 2).mean(2))
    assert to_smaller_map(a, a)[0] is a
    tokens = torch.zeros(1, 16, 2)
    assert to_smaller_map(tokens, b) == (tokens, b)


def test_maps_and_tokens_become_vectors_by_their_mean():
    feature = torch.rand(2, 4, 4, 3)
    torch.testing.assert_close(vectors(feature), feature.mean((1, 2)))
    torch.testing.assert_close(vectors(feature.flatten(1, 2)), feature.mean((1, 2)))
    flat = torch.rand(2, 3)
    assert vectors(flat) is flat


def test_one_image_is_refused_in_plain_words():
    refuse_one_image("rkd", torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`rkd` compares .* batch: it needs at least 2\. Received: 1"):
        refuse_one_image("rkd", torch.zeros(1, 3))


def test_values_of_pairs_add_up():
    assert summed(torch.tensor(v) for v in (1.0, 2.0, 4.0)).item() == 7
