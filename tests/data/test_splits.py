"""Which example belongs to which split, and the hash that decides where chance does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes.data.splits import cut, held_out, overlap, parse_split
from kdrecipes.hashing import hash64, splitmix64, uniform

INDICES = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)
COUNTS = st.integers(0, 5000)
BOUNDS = st.one_of(st.integers(-6000, 6000).map(str), st.integers(-150, 150).map(lambda n: f"{n}%"))


def reference_splitmix64(state: int) -> int:
    """The first output of the C code at prng.di.unimi.it/splitmix64.c, in Python's own integers."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


# --- hashing ----------------------------------------------------------------------------------------------------------


def test_splitmix64_has_its_published_values():
    # the first three outputs of a generator seeded with 1234567, as published with many ports of the C code
    states = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert splitmix64(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_splitmix64_is_the_reference_algorithm(values):
    assert splitmix64(np.array(values, np.uint64)).tolist() == [reference_splitmix64(value) for value in values]


@settings(deadline=None)
@given(INDICES, st.lists(st.integers(-(2**63), 2**64 - 1), max_size=4))
def test_hash64_chains_the_keys(index, keys):
    state = 0
    for key in keys:
        state = reference_splitmix64((state ^ key) % 2**64)
    expected = [reference_splitmix64(reference_splitmix64(i) ^ state) for i in index]
    assert hash64(np.array(index), *keys).tolist() == expected


def test_keys_in_another_order_or_number_give_another_hash():
    index = np.arange(100)
    hashes = [hash64(index, *keys) for keys in ((), (0,), (0, 0), (1, 2), (2, 1), (1, 2, 0))]
    assert np.unique(np.concatenate(hashes)).size == 600


def test_uniform_numbers():
    values = uniform(np.arange(100_000), 7, 3)
    assert values.dtype == np.float64 and values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, 10, (0, 1))[0]
    assert np.abs(counts - 10_000).max() < 500  # more than five standard deviations
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(values, uniform(np.arange(100_000), 7, 4))[0, 1]) < 0.02


def test_uniform_stays_below_one(monkeypatch):
    monkeypatch.setattr("kdrecipes.hashing.hash64", lambda index, *keys: np.full(1, 2**64 - 1, np.uint64))
    assert uniform(np.zeros(1))[0] == 1 - 2**-53


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


def test_overlap_counts_common_positions():
    assert overlap(cut("train[:90%]", 100), cut("train[80%:]", 100)) == 10
    assert overlap(cut("train[:90%]", 100), cut("train[90%:]", 100)) == 0
