"""scikit-learn's digits: their pixels, and a split that never moves."""

from __future__ import annotations

import numpy as np
import pytest

from kdrecipes.components.datasets import digits

pytestmark = pytest.mark.usefixtures("places")


def test_digits_are_bytes_and_numbers_under_names_that_stay():
    train, test = digits.build(), digits.build("test")
    assert (len(train), len(test)) == (1437, 360)
    images, labels = train.arrays()
    assert images.shape == (1437, 8, 8, 1) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 255
    assert train.classes == [str(digit) for digit in range(10)]
    example = train[5]
    assert np.array_equal(example["image"], images[5]) and type(example["label"]) is int
    assert train.fingerprint == digits.build().fingerprint != test.fingerprint
    assert train.name_of(5) == "digits/train[5]"


def test_digits_splits_are_a_fixed_partition():
    from sklearn.datasets import load_digits

    data = load_digits()
    whole = {pixels.tobytes() for pixels in np.round(data.images * 255 / 16).astype(np.uint8)}
    parts = [{image.tobytes() for image in digits.build(split).images} for split in ("train", "test")]
    assert parts[0] | parts[1] == whole and not parts[0] & parts[1]
    # the split is part of every published number: it must never move
    assert digits.build("test").labels[:12].tolist() == [3, 0, 8, 1, 5, 4, 0, 0, 6, 4, 6, 3]
