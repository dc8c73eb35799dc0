"""One fit: the weights of its classes, and who may observe it."""

import numpy as np
import pytest
from samples import short

from kdrecipes.data.prepare import prepare
from kdrecipes.runs.teacher import prepare_teacher
from kdrecipes.training.fit import balanced_weights, observed


def test_balanced_weights_make_classes_count_alike():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balanced_weights(labels, 4)
    totals = [weights[c] * (labels == c).sum() for c in (0, 1, 3)]
    np.testing.assert_allclose(totals, totals[0])
    assert weights[labels].mean() == pytest.approx(1) and weights[2] == 0


@pytest.mark.slow
def test_a_listener_hears_of_a_fit_inside_its_block_alone(home):
    heard = []

    def listener(label, distiller, loader, callbacks):
        heard.append((label, len(loader), callbacks))
        raise KeyboardInterrupt

    recipe = short()
    with pytest.raises(KeyboardInterrupt), observed(listener):
        prepare_teacher(recipe, *recipe.teachers.values(), prepare(recipe))
    assert heard == [("teacher", 8, [])]
    assert len(prepare_teacher(recipe, *recipe.teachers.values(), prepare(recipe)).rows) == 1
    assert len(heard) == 1
