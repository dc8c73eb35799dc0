"""What the text of a split tells without its data, compared with what cutting data of every size gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.data.splits import cut
from kdrecipes.recipe.split import at_most, overlap_for_certain

PERCENT, BACK = st.integers(0, 110).map("{}%".format), st.integers(1, 99).map("-{}%".format)
BOUNDS = st.one_of(st.just(""), st.integers(-60, 60).map(str), PERCENT, BACK)
SLICES = st.one_of(st.just("train"), st.builds("train[{}:{}]".format, BOUNDS, BOUNDS))


@given(SLICES, st.integers(1, 300))
def test_no_dataset_gives_a_split_more_images_than_its_text_allows(text, examples):
    most = at_most(text)
    assert most is None or len(cut(text, examples)) <= most


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("train", None),
        ("train[:90%]", None),
        ("train[:64]", 64),
        ("train[16:64]", 48),
        ("train[10%:64]", 64),
        ("train[-64:]", 64),
        ("train[-64:-16]", 48),
        ("train[64:]", None),
        ("train[:-64]", None),
        ("train[64:64]", 0),
        ("train[60%:50%]", 0),
    ],
)
def test_what_bounds_a_split_is_found(text, most):
    assert at_most(text) == most


@given(SLICES, SLICES, st.integers(101, 300))
def test_splits_that_overlap_for_certain_do_where_both_hold_images(first, second, examples):
    """Below 101 images a slice of one percent may hold none."""
    a, b = cut(first, examples), cut(second, examples)
    if overlap_for_certain(first, second) and len(a) and len(b):
        assert np.intersect1d(a, b).size


@pytest.mark.parametrize(
    ("first", "second", "certain"),
    [
        ("train", "train[:10]", True),
        ("train", "test", False),
        ("train[:90%]", "train[90%:]", False),
        ("train[:90%]", "train[89%:]", True),
        ("train[:100]", "train[99:200]", True),
        ("train[:100]", "train[100:]", False),
        ("train[:100]", "train[50%:]", False),
        ("train[:100]", "train[-100:]", False),
    ],
)
def test_what_overlaps_whatever_the_data_is_found(first, second, certain):
    assert overlap_for_certain(first, second) == overlap_for_certain(second, first) == certain
