"""The loader: batches at random access, an order that is a pure function, and what Keras' `fit` makes of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from kdrecipes.backend import keras
from kdrecipes.data.loader import EpochSetter, Loader, Split, ViewSettings
from kdrecipes.data.store import Store

VIEWS = ViewSettings({"flip": True, "crop_padding": 2}, seed=3)


def made_store(count: int = 23, side: int = 6) -> Store:
    """A store in memory whose examples have the indices 100, 102, 104, …, as where every second one was unreadable."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    images.flags.writeable = False
    labels, index = np.arange(count) % 4, 100 + 2 * np.arange(count)
    return Store(images, labels, index, ["a", "b", "c", "d"], "fingerprint", 0, [])


STORE = made_store()
WHOLE = Split(STORE, np.arange(23))


def same(first: tuple, second: tuple) -> bool:
    pairs = [(first[0][key], second[0][key]) for key in first[0]] + list(zip(first[1:], second[1:], strict=True))
    return all(torch.equal(a, b) for a, b in pairs)


def positions(loader: Loader, epoch: int) -> list[int]:
    loader.epoch = epoch
    return [int(i) for batch in range(len(loader)) for i in loader[batch][0]["index"]]


# --- what a batch is --------------------------------------------------------------------------------------------------


def test_dtypes_and_shapes():
    x, y = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0)[0]
    assert x.keys() == {"image", "index"}
    assert x["image"].shape == (5, 9, 9, 3) and x["image"].dtype == torch.float32
    assert x["index"].shape == y.shape == (5,) and x["index"].dtype == y.dtype == torch.int64


def test_images_labels_and_index_belong_together():
    split = Split(STORE, np.array([20, 3, 7, 7, 0]))
    loader = Loader(split, 2, 6, order_seed=1)
    for batch in range(len(loader)):
        x, y = loader[batch]
        rows = split.positions[x["index"].numpy()]  # the index is the position in the split
        assert np.array_equal(x["image"].numpy(), STORE.images[rows]) and np.array_equal(y.numpy(), STORE.labels[rows])
    assert np.array_equal(split.labels, STORE.labels[[20, 3, 7, 7, 0]])
    assert split.index.tolist() == [140, 106, 114, 114, 100]


def test_a_batch_is_the_callers_own():
    loader = Loader(WHOLE, 5, 6, order_seed=0)
    before = positions(loader, 0)
    for batch in range(len(loader)):
        x, y = loader[batch]
        x["image"].zero_(), x["index"].zero_(), y.zero_()
    assert positions(loader, 0) == before and STORE.images.any() and STORE.labels.any()


@pytest.mark.parametrize("drop_last, sizes", [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_the_last_incomplete_batch(drop_last, sizes):
    loader = Loader(WHOLE, 5, 6, drop_last=drop_last)
    assert len(loader) == len(sizes) and [len(loader[i][1]) for i in range(len(loader))] == sizes
    for batch in (-1, len(sizes)):
        with pytest.raises(IndexError, match=f"batch {batch} of {len(sizes)}"):
            loader[batch]
    whole = Loader(Split(STORE, np.arange(20)), 5, 6, drop_last=drop_last)
    assert [len(whole[i][1]) for i in range(len(whole))] == [5, 5, 5, 5]


def test_class_weights_become_sample_weights():
    weights = np.array([0.5, 1.0, 2.0, 0.0])
    x, y, weight = Loader(WHOLE, 8, 6, order_seed=0, class_weight=weights)[1]
    assert weight.dtype == torch.float32 and weight.tolist() == weights[y.numpy()].tolist()
    assert len(set(weight.tolist())) > 1 and len(x["index"]) == 8


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_batch_at_random_access_is_that_of_the_sequential_pass():
    loader = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=4)
    passes = []
    for epoch in range(3):
        loader.epoch = epoch
        passes.append([loader[i] for i in range(len(loader))])
    for epoch, batch in [(2, 4), (0, 1), (1, 1), (2, 0), (0, 4), (1, 3)]:
        other = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=4)
        other.epoch = loader.epoch = epoch
        assert same(other[batch], passes[epoch][batch]) and same(loader[batch], passes[epoch][batch])


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    orders = {(seed, e): positions(Loader(WHOLE, 5, 6, order_seed=seed), e) for seed in (0, 1) for e in (0, 1, 2)}
    assert len({tuple(order) for order in orders.values()}) == 6
    assert all(sorted(order) == list(range(23)) for order in orders.values())
    assert orders[1, 2] == np.random.default_rng([1, 2]).permutation(23).tolist()
    assert positions(Loader(WHOLE, 3, 6, order_seed=1, settings=VIEWS), 2) == orders[1, 2]  # whatever else is asked


def test_without_an_order_seed_the_splits_order_is_kept():
    loader = Loader(WHOLE, 5, 6)
    assert positions(loader, 0) == positions(loader, 7) == list(range(23))


def test_nothing_is_drawn_from_a_global_generator():
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    loader = Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0)
    before = states()
    expected = positions(loader, 1)
    assert states() == before
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    assert positions(Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0), 1) == expected


# --- views ------------------------------------------------------------------------------------------------------------


def images_of(loader: Loader, epoch: int) -> dict[int, torch.Tensor]:
    """Position in the split → what is shown of it in an epoch."""
    loader.epoch = epoch
    batches = [loader[i][0] for i in range(len(loader))]
    return {int(i): image for x in batches for i, image in zip(x["index"], x["image"], strict=True)}


def test_a_slice_sees_the_same_views_as_the_whole():
    chosen = np.array([19, 4, 5, 11])
    whole = images_of(Loader(WHOLE, 5, 9, settings=VIEWS, order_seed=0), 2)
    some = images_of(Loader(Split(STORE, chosen), 3, 9, settings=VIEWS, order_seed=7), 2)
    assert all(torch.equal(some[i], whole[int(position)]) for i, position in enumerate(chosen))


def test_views_are_drawn_by_the_index_in_the_source():
    # rows move when an image before them can't be read; the index, and so the view, does not
    moved = Store(STORE.images[1:], STORE.labels[1:], STORE.index[1:], STORE.classes, "", 0, [])
    whole = images_of(Loader(WHOLE, 5, 6, settings=VIEWS), 0)
    shifted = images_of(Loader(Split(moved, np.arange(22)), 5, 6, settings=VIEWS), 0)
    assert all(torch.equal(shifted[i], whole[i + 1]) for i in range(22))


def test_views_change_from_epoch_to_epoch_and_with_their_seed_alone():
    first, second = (images_of(Loader(WHOLE, 5, 6, settings=VIEWS), epoch) for epoch in (0, 1))
    other = images_of(Loader(WHOLE, 5, 6, settings=ViewSettings(VIEWS.views, 4)), 0)
    order = images_of(Loader(WHOLE, 7, 6, settings=VIEWS, order_seed=8), 0)
    assert sum(torch.equal(first[i], second[i]) for i in range(23)) < 5
    assert sum(torch.equal(first[i], other[i]) for i in range(23)) < 5
    assert all(torch.equal(first[i], order[i]) for i in range(23))


@pytest.mark.parametrize("settings", [None, ViewSettings()])
def test_evaluation_is_never_augmented(settings):
    for epoch in (0, 5):
        shown = images_of(Loader(WHOLE, 5, 6, settings=settings), epoch)
        assert np.array_equal(np.stack([shown[i] for i in range(23)]), STORE.images)


# --- in fit -----------------------------------------------------------------------------------------------------------


class Witness(keras.Model):
    """Trains nothing; keeps what its training steps were given."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple] = []

    def call(self, x):
        """One number per image."""
        return keras.ops.mean(x["image"], axis=(1, 2, 3))[:, None]

    def train_step(self, data):
        """Keep the batch."""
        self.seen.append(data)
        return {"loss": 0.0}


@pytest.mark.parametrize("initial", [0, 1])
def test_fit_sees_each_epochs_own_batches(initial):
    """`fit` makes more iterators than epochs; none of them may see another epoch's order or views."""
    loader = Loader(WHOLE, 5, 6, settings=VIEWS, order_seed=2, drop_last=True)
    witness = Witness()
    witness.compile(loss="mse", run_eagerly=True)
    state = random.getstate()
    witness.fit(
        loader,
        epochs=3,
        initial_epoch=initial,
        verbose=0,
        shuffle=False,
        callbacks=[EpochSetter(loader)],
        validation_data=Loader(WHOLE, 8, 6),
    )
    assert random.getstate() == state
    reference = Loader(WHOLE, 5, 6, settings=VIEWS, order_seed=2, drop_last=True)
    expected = []
    for epoch in range(initial, 3):
        reference.epoch = epoch
        expected += [reference[i] for i in range(4)]
    assert len(witness.seen) == len(expected)
    assert all(same(seen, wanted) for seen, wanted in zip(witness.seen, expected, strict=True))
