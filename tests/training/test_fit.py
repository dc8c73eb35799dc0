"""One fit: the weights of its classes, and who may observe it."""

import numpy as np
import pytest

from kdrecipes.training.fit import balanced_weights


def test_balanced_weights_make_classes_count_alike():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balanced_weights(labels, 4)
    totals = [weights[c] * (labels == c).sum() for c in (0, 1, 3)]
    np.testing.assert_allclose(totals, totals[0])
    assert weights[labels].mean() == pytest.approx(1) and weights[2] == 0
