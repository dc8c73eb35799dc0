"""How much each example counts: from a source through the store to the batches that a fit trains on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import settings_of
from stored import Source, opened, pictures, stores

from kdrecipes.data.loader import Loader, Unlabelled
from kdrecipes.data.splits import Split
from kdrecipes.errors import RunError

WEIGHTS = np.array([0.5, 1, 2, 0, 4, 8, 16], np.float32)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))


def weighted(weights=WEIGHTS, images=None, **facts):
    source = Source(pictures(len(weights)) if images is None else images, **facts)
    source.weights = weights
    return source


def batch_of(split, **options):
    options = {"batch_size": len(split), "size": 5, "weighted": True} | options
    return Loader(split, **options)[0]


def test_a_store_keeps_the_weights_of_its_source():
    built, again = opened(weighted()), opened(weighted())
    for store in (built, again):
        assert store.weights.dtype == np.float32
        np.testing.assert_array_equal(store.weights, WEIGHTS)
    assert opened(Source(pictures(7), fingerprint="other")).weights is None


def test_the_weights_count_in_the_fingerprint_and_their_absence_does_not():
    plain = opened(Source(pictures(7), fingerprint="a")).fingerprint
    ones, others = (opened(weighted(w, fingerprint=n)).fingerprint for n, w in [("b", WEIGHTS**0), ("c", WEIGHTS)])
    assert len({plain, ones, others}) == 3
    # of seven images with the labels 0, 1, 2, 0, 1, 2, 0: what such a store had before there were weights
    assert plain == "6daa536416da9cf56f9abf78e37f6883948d94c025188f7b32926d272068c9b8"


def test_an_image_that_cannot_be_read_takes_its_weight_along():
    images = list(pictures(7))
    images[1] = OSError("gone")
    store = opened(weighted(images=images))
    np.testing.assert_array_equal(store.weights, np.delete(WEIGHTS, 1))


def test_damaged_weights_are_built_again():
    opened(weighted())
    (folder,) = stores()
    np.save(folder / "weights.npy", WEIGHTS + 1)
    with pytest.warns(UserWarning, match="is damaged; it is built again"):
        store = opened(weighted())
    np.testing.assert_array_equal(store.weights, WEIGHTS)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([1.0] * 6, r"one number for each of its 7 examples. Received: float64 of shape \(6,\)"),
        (["heavy"] * 7, r"one number for each of its 7 examples. Received: <U5 of shape \(7,\)"),
        (
            [1, 2, -3, 1, 1, 1, 1],
            r"1 of its 7 weights can't be used: picture-2.png: the weight -3 is no finite number of 0 or more",
        ),
        (
            [1, float("nan"), 1, 1, 1, 1, -1],
            r"2 of its .*picture-1.png: the weight nan is no .*, picture-6.png: the weight -1",
        ),
    ],
)
def test_weights_that_are_none_are_told(weights, told):
    with pytest.raises(RunError, match=told):
        opened(weighted(weights, images=pictures(7)))


def test_examples_weigh_in_batches_that_are_trained_on_alone():
    split = Split(opened(weighted()), np.array([5, 0, 2]))
    _, _, weight = batch_of(split)
    assert weight.dtype == torch.float32 and weight.tolist() == [8, 0.5, 2]
    assert len(batch_of(split, weighted=False)) == 2  # as validation and test ask
    _, _, shuffled = batch_of(split, order_seed=3)
    assert sorted(shuffled.tolist()) == [0.5, 2, 8]


def test_an_example_s_weight_is_multiplied_with_its_class_s():
    split = Split(opened(weighted()), np.arange(7))
    _, y, weight = batch_of(split, class_weight=np.array([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(weight.numpy(), WEIGHTS * np.array([1, 10, 100])[y.numpy()])


def test_mixed_examples_weigh_what_their_shares_do():
    split = Split(opened(weighted()), np.arange(7))
    ids = replace(split.store, labels=np.arange(7), classes=list("abcdefg"))  # whose labels tell who is mixed
    _, y, weight = batch_of(Split(ids, np.arange(7)), settings=settings_of({"mixup": 0.4}, 1))
    assert (y.amax(1) < 1).any()
    np.testing.assert_allclose(weight.numpy(), y.numpy() @ WEIGHTS, rtol=1e-5)


def test_images_without_labels_weigh_too_and_those_of_a_source_without_weights_weigh_1():
    store, plain = opened(weighted()), opened(Source(pictures(3), fingerprint="plain"))
    own, others = Split(store, np.array([4])), Split(plain, np.arange(2), labelled=False)
    _, y, weight = batch_of(own, batch_size=3, unlabelled=Unlabelled([others], 2), steps=1, drop_last=True)
    assert y.tolist()[1:] == [-1, -1] and weight.tolist() == [4, 1, 1]
    own, others = Split(plain, np.array([0])), Split(store, np.array([5, 6]), labelled=False)
    _, _, weight = batch_of(own, batch_size=3, unlabelled=Unlabelled([others], 2), steps=1, drop_last=True)
    assert weight.tolist() == [1, 8, 16]


def test_where_no_image_has_a_label_the_terms_are_given_the_weights():
    _, y, weight = batch_of(Split(opened(weighted()), np.arange(3), labelled=False))
    assert y is None and weight.tolist() == [0.5, 1, 2]
