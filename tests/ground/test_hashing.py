"""Digests of facts, and the hash that decides where chance does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes.hashing import digest, hash64, splitmix64, uniform

INDICES = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)


def reference_splitmix64(state: int) -> int:
    """The first output of the C code at prng.di.unimi.it/splitmix64.c, in Python's own integers."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


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


def test_numbers_are_uniform_and_independent_of_each_other():
    values = uniform(np.arange(100_000), 7, 3)
    assert values.dtype == np.float64 and values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, 10, (0, 1))[0]
    assert np.abs(counts - 10_000).max() < 500  # more than five standard deviations
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(values, uniform(np.arange(100_000), 7, 4))[0, 1]) < 0.02


def test_uniform_stays_below_one(monkeypatch):
    monkeypatch.setattr("kdrecipes.hashing.hash64", lambda index, *keys: np.full(1, 2**64 - 1, np.uint64))
    assert uniform(np.zeros(1))[0] == 1 - 2**-53


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": [None, "x"]}) == digest({"b": [None, "x"], "a": 1})
    assert len({digest(1), digest(1, 1), digest([1]), digest("1"), digest(1.0)}) == 5
