"""`digits`: the handwritten digits that come with scikit-learn.

1797 handwritten digits of 8×8 pixels: the data set that needs no download, for first runs and tests.
"""

from __future__ import annotations

from kdrecipes.components.datasets.source import SPLIT_OPTION, ArraySource, missing_split
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.options import options
from kdrecipes.hashing import digest

TEST_EXAMPLES = 360  # of 1797: a fifth


def build(split: str = "train") -> ArraySource:
    """The digits' `train` (1437 examples) or `test` (360): the examples whose index has the 360 smallest hashes."""
    if split not in ("train", "test"):
        raise missing_split(split, ("train", "test"))
    import numpy as np
    import sklearn
    from sklearn.datasets import load_digits

    from kdrecipes.hashing import splitmix64

    data = load_digits()
    by_hash = np.argsort(splitmix64(np.arange(len(data.target))))
    chosen = np.sort(by_hash[:TEST_EXAMPLES] if split == "test" else by_hash[TEST_EXAMPLES:])
    images = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]  # sklearn's values are 0 to 16
    labels = data.target[chosen].astype(np.int64)
    facts = digest("digits", sklearn.__version__, split)
    return ArraySource(images, labels, [str(digit) for digit in range(10)], facts, f"digits/{split}")


COMPONENT = Component(
    kind="dataset",
    name="digits",
    build=build,
    options=options("dataset", build, split=SPLIT_OPTION),
    summary="1797 handwritten digits, 8×8 grey pixels, 10 classes; comes with scikit-learn, no download",
)
