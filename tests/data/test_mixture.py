"""How a batch mixes images with labels and images without."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.data.mixture import Mixture, count_passes, mixture

COUNTS = st.integers(1, 5000)


def test_images_that_all_have_labels_are_batched_as_ever():
    assert mixture(1000, 0, 128) == Mixture(128, 0, 7)


def test_few_labels_take_a_quarter_of_a_batch_and_many_their_own_share():
    assert mixture(600, 56_400, 64) == Mixture(16, 48, 1175)  # every image without a label once
    assert mixture(30_000, 30_000, 64) == Mixture(32, 32, 937)


def test_the_recipe_may_say_the_share():
    assert mixture(600, 56_400, 64, 0.5) == Mixture(32, 32, 1762)
    assert mixture(30_000, 1000, 64, 0.25) == Mixture(16, 48, 1875)  # the images with labels take longer


@given(COUNTS, COUNTS, st.integers(2, 600), st.none() | st.floats(0.001, 0.999))
def test_a_batch_is_full_and_has_both_kinds_and_an_epoch_passes_over_all(labelled, unlabelled, batch_size, share):
    mixed = mixture(labelled, unlabelled, batch_size, share)
    assert mixed.labelled >= 1 and mixed.unlabelled >= 1 and mixed.labelled + mixed.unlabelled == batch_size
    # Of each kind all but what fills no whole batch, and of one of them no more than that.
    left = labelled - mixed.steps * mixed.labelled, unlabelled - mixed.steps * mixed.unlabelled
    assert left[0] < mixed.labelled and left[1] < mixed.unlabelled
    assert max(left) >= 0 or mixed.steps == 1


@given(COUNTS, st.integers(1, 600), st.integers(1, 3000))
def test_passes_are_as_many_as_the_batches_begin(examples, take, batches):
    passes = count_passes(examples, take, batches)
    whole = examples // take
    if whole:
        assert (passes - 1) * whole < batches <= passes * whole
    else:
        assert (passes - 1) * examples < batches * take <= passes * examples
