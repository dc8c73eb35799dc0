"""Another order of the classes is found where there is one, and not where a network is merely weak."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdrecipes.runs.permutation import find_permutation


def answers(generator, order, each, accuracy):
    """(said, labels): of each class so many images, named as `order` says with a probability, else anything."""
    classes = len(order)
    labels = np.repeat(np.arange(classes), each)
    guess, right = generator.integers(0, classes, len(labels)), generator.random(len(labels)) < accuracy
    said = np.where(right, order[labels], guess)
    return said, labels


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(3, 40))
def test_any_order_of_at_least_three_classes_is_found_whole(seed, classes):
    generator = np.random.default_rng(seed)
    order = np.roll(np.arange(classes), generator.integers(1, classes))[np.argsort(generator.random(classes))]
    found = find_permutation(*answers(generator, order, 20, 0.9), classes)
    moved = np.flatnonzero(order != np.arange(classes))
    assert (len(moved) == 0 and found is None) or np.array_equal(found.name_of, order)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 40),
    each=st.integers(1, 20),
    accuracy=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
)
def test_no_order_is_found_in_guesses_nor_in_right_answers(seed, classes, each, accuracy):
    generator = np.random.default_rng(seed)
    assert find_permutation(*answers(generator, np.arange(classes), each, accuracy), classes) is None


def test_classes_that_look_alike_are_no_swap():
    """Every dog is called a wolf, and half of the wolves dogs: the best order swaps them, and they are not swapped."""
    labels = np.repeat([0, 1, 2], 200)
    said = np.concatenate([np.ones(200), np.tile([0, 1], 100), np.full(200, 2)]).astype(int)
    said[:150:10] = 0
    assert find_permutation(said, labels, 3) is None


def test_a_cycle_within_many_right_classes_is_found():
    order = np.arange(30)
    order[[4, 9, 20]] = 9, 20, 4
    found = find_permutation(*answers(np.random.default_rng(0), order, 10, 0.9), 30)
    assert found.moved == [4, 9, 20] and found.mean_recall > 0.85


def test_a_network_that_always_says_the_same_class_has_no_order():
    labels = np.repeat(np.arange(5), 40)
    assert find_permutation(np.full(200, 3), labels, 5) is None


@pytest.mark.parametrize("each", [2, 4])
def test_few_images_of_each_of_many_classes_are_enough_together(each):
    order = np.roll(np.arange(50), 1)
    found = find_permutation(*answers(np.random.default_rng(0), order, each, 1.0), 50)
    assert np.array_equal(found.name_of, order)
