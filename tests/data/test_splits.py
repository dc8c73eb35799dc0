"""Which example belongs to which split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes.data.splits import cut, draw_labelled, held_out, held_out_by_class, overlap, parse_split

INDICES = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)
COUNTS = st.integers(0, 5000)
BOUNDS = st.one_of(st.integers(-6000, 6000).map(str), st.integers(-150, 150).map(lambda n: f"{n}%"))


# --- slices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, parts",
    [
        ("train", ("train", None, None)),
        ("train[:90%]", ("train", None, "90%")),
        ("a.b_c-1[-5:]", ("a.b_c-1", "-5", None)),
        ("train[:]", ("train", None, None)),
    ],
)
def test_a_split_is_parsed(text, parts):
    assert parse_split(text) == parts


@pytest.mark.parametrize(
    "text", ["", "train[", "train[1]", "train[1:2:3]", "train[:1.5%]", "train[:٣]", "train\n", "a b"]
)
def test_what_is_no_split_is_refused(text):
    with pytest.raises(ValueError, match="a split is a name with an optional slice"):
        parse_split(text)


@pytest.mark.parametrize(
    "text, examples, expected",
    [
        ("train", 4, [0, 1, 2, 3]),
        ("train[1:3]", 4, [1, 2]),
        ("train[:100]", 4, [0, 1, 2, 3]),
        ("train[-1:]", 4, [3]),
        ("train[:-1]", 4, [0, 1, 2]),
        ("train[-9:2]", 4, [0, 1]),
        ("train[3:1]", 4, []),
        ("train[4:]", 4, []),
        ("train[25%:50%]", 8, [2, 3]),
        ("train[:33%]", 10, [0, 1, 2]),
        ("train[:36%]", 10, [0, 1, 2, 3]),
        ("train[-25%:]", 8, [6, 7]),
        ("train[:150%]", 3, [0, 1, 2]),
        ("train[-150%:]", 3, [0, 1, 2]),  # from before the first, not from the middle
        ("train[-10%:]", 3, []),  # a tenth of three is nearest to none
        ("train[:-10%]", 3, [0, 1, 2]),
        ("train", 0, []),
    ],
)
def test_a_slice_is_cut(text, examples, expected):
    positions = cut(text, examples)
    assert positions.dtype == np.int64 and positions.tolist() == expected


@settings(deadline=None)
@given(COUNTS, BOUNDS)
def test_neighbours_never_overlap_and_leave_nothing_out(examples, bound):
    first, second = cut(f"train[:{bound}]", examples), cut(f"train[{bound}:]", examples)
    assert np.concatenate([first, second]).tolist() == list(range(examples))


@settings(deadline=None)
@given(COUNTS, st.integers(0, 100))
def test_a_percentage_is_rounded_to_the_nearest_example(examples, percent):
    exact = examples * percent / 100
    assert abs(len(cut(f"train[:{percent}%]", examples)) - exact) <= 0.5
    assert abs(len(cut(f"train[-{percent}%:]", examples)) - exact) <= 0.5


# --- the share held out of train --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=50, unique=True), st.floats(0, 1), st.randoms())
def test_whether_an_example_is_held_out_depends_on_it_alone(index, share, random):
    whole = dict(zip(index, held_out(np.array(index), share), strict=True))
    some = random.sample(index, random.randint(1, len(index)))
    assert held_out(np.array(some), share).tolist() == [whole[i] for i in some]


@settings(deadline=None)
@given(INDICES, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one(index, first, second):
    small, large = (held_out(np.array(index), share) for share in sorted((first, second)))
    assert (large | ~small).all()


def test_the_share_is_about_right_and_fixed_for_ever():
    for share in (0.0, 0.01, 0.1, 0.5, 1.0):
        assert abs(held_out(np.arange(60_000), share).mean() - share) < 0.01
    # a run that validated on an example must never be compared with one that trained on it
    assert np.flatnonzero(held_out(np.arange(80), 0.1)).tolist() == [8, 11, 18, 27, 37, 44, 71, 79]


# --- the same, class by class ----------------------------------------------------------------------------------------

HELD_OUT = [1, 8, 11, 18, 27, 28, 37, 38]
CLASSES = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)


@given(CLASSES, st.floats(0.001, 0.999))
def test_each_class_gives_its_share_and_keeps_an_image(labels, share):
    apart = held_out_by_class(labels, np.arange(len(labels)) * 3, share)
    classes, sizes = np.unique(labels, return_counts=True)
    out = np.array([apart[labels == label].sum() for label in classes])
    assert apart.dtype == bool and (out < sizes).all(), "each class is trained on"
    assert (out[sizes > 1] > 0).all(), "each class of two or more is validated on"
    assert (out[sizes == 1] == 0).all(), "an only image is trained on"
    asked, least, most = round(share * len(labels)), (sizes > 1).sum(), len(labels) - len(sizes)
    assert apart.sum() == min(max(asked, least), most)
    for a in range(len(sizes)):  # by shares: moving one image from class to class makes no class fitter
        for b in range(len(sizes)):
            if out[a] > 1 and 0 < out[b] < sizes[b] - 1:
                assert (out[a] - 0.5) / sizes[a] <= (out[b] + 0.5) / sizes[b] + 1e-9


@given(CLASSES, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one_class_by_class(labels, first, second):
    small, large = (held_out_by_class(labels, np.arange(len(labels)), share) for share in sorted((first, second)))
    assert (large | ~small).all()


@given(CLASSES, st.floats(0, 1), st.permutations(range(200)))
def test_what_is_held_out_does_not_depend_on_the_order_of_examples(labels, share, order):
    order = np.array([place for place in order if place < len(labels)])
    index = np.arange(len(labels)) * 7
    assert np.array_equal(
        held_out_by_class(labels, index, share)[order], held_out_by_class(labels[order], index[order], share)
    )


def test_within_a_class_those_are_held_out_that_are_without_classes():
    """One hash for both: who changes the key trains on few images that were validated on."""
    plain, by_class = held_out(np.arange(6000), 0.1), held_out_by_class(np.arange(6000) % 3, np.arange(6000), 0.1)
    assert by_class.sum() == 600 and (plain & by_class).sum() > 560


def test_equal_classes_of_which_not_all_give_one_more_are_chosen_by_the_hash():
    labels, index = np.repeat(np.arange(100), 5), np.arange(500)
    second = np.bincount(labels[held_out_by_class(labels, index, 0.3)], minlength=100) == 2
    assert second.sum() == 50 and 10 < second[:50].sum() < 40, "not the first ones of the alphabet"


def test_a_draw_class_by_class_is_what_it_always_was():
    assert np.flatnonzero(held_out_by_class(np.arange(40) % 4, np.arange(40), 0.2)).tolist() == HELD_OUT
    assert not held_out_by_class(np.arange(40) % 4, np.arange(40), 0.0).any()


def test_overlap_counts_common_positions():
    assert overlap(cut("train[:90%]", 100), cut("train[80%:]", 100)) == 10
    assert overlap(cut("train[:90%]", 100), cut("train[90%:]", 100)) == 0


# --- which images keep their labels -----------------------------------------------------------------------------------

GOLDEN = [0, 9, 16, 21, 22, 27, 31, 38]
LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)


@given(LABELS, st.data(), st.integers(0, 2**32 - 1))
def test_labels_are_drawn_class_by_class(labels, data, seed):
    classes, sizes = np.unique(labels, return_counts=True)
    count = data.draw(st.integers(len(classes), len(labels)))
    index = np.arange(len(labels)) * 3
    kept = draw_labelled(labels, index, count, seed)
    assert kept.dtype == bool and kept.sum() == count
    drawn = np.array([(labels[kept] == label).sum() for label in classes])
    assert (drawn >= 1).all() and (drawn <= sizes).all()
    for a in range(len(classes)):  # by shares: moving one label from class to class makes no class fitter
        for b in range(len(classes)):
            if drawn[a] > 1 and drawn[b] < sizes[b]:
                assert (drawn[a] - 0.5) / sizes[a] <= (drawn[b] + 0.5) / sizes[b] + 1e-9


@given(LABELS, st.data(), st.integers(0, 2**32 - 1))
def test_fewer_labels_are_part_of_more(labels, data, seed):
    classes = len(np.unique(labels))
    few = data.draw(st.integers(classes, len(labels)))
    more = data.draw(st.integers(few, len(labels)))
    index = np.arange(len(labels))
    assert not (draw_labelled(labels, index, few, seed) & ~draw_labelled(labels, index, more, seed)).any()


@given(LABELS, st.permutations(range(200)))
def test_the_draw_does_not_depend_on_the_order_of_examples(labels, order):
    index, count = np.arange(len(labels)) * 7, max(len(np.unique(labels)), len(labels) // 2)
    order = np.array([place for place in order if place < len(labels)])
    assert np.array_equal(
        draw_labelled(labels, index, count, 3)[order], draw_labelled(labels[order], index[order], count, 3)
    )


def test_a_draw_is_what_it_always_was():
    """Another draw would be other data under the same recipe."""
    kept = draw_labelled(np.arange(40) % 4, np.arange(40), 8, 0)
    assert np.flatnonzero(kept).tolist() == GOLDEN
    assert np.flatnonzero(draw_labelled(np.arange(40) % 4, np.arange(40), 8, 1)).tolist() != GOLDEN
