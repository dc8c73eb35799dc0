"""Accuracy beside mixed examples: whose largest share counts."""

import numpy as np
import pytest
import torch

from kdrecipes.backend import keras
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.metrics import Accuracy


@pytest.mark.parametrize("mixed", [True, False])
def test_accuracy_counts_the_largest_share_and_weighs_examples_alike(mixed):
    metric = Accuracy()
    logits = torch.eye(4)[[0, 1, 2, 3, 3]]
    labels = torch.tensor([0, 1, 1, 3, 0])  # 3 of 5
    shares = 0.6 * torch.eye(4)[labels] + 0.4 * torch.eye(4)[[3, 3, 3, 0, 3]]
    for part in (slice(0, 4), slice(4, 5)):
        metric.update_state((shares if mixed else labels)[part], logits[part])
    assert float(metric.result()) == pytest.approx(3 / 5)


@pytest.mark.parametrize("first_mixed", [True, False])
def test_validation_accuracy_is_right_beside_mixed_training(first_mixed):
    """Keras' own "accuracy" is settled by the first batch: this one reads each batch's labels as they are."""
    random = np.random.default_rng(0)
    images, labels = random.random((40, 4, 4, 3), np.float32), np.arange(40) % 4
    shares = np.eye(4, dtype=np.float32)[labels]
    student = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    distiller = Distiller(student=student)
    distiller.compile(optimizer="sgd", metrics=[Accuracy()])
    train, validation = (shares, labels) if first_mixed else (labels, shares)
    history = distiller.fit(images, train, verbose=0, validation_data=(images, validation)).history
    guess = student.predict(images, verbose=0).argmax(1)
    assert history["val_accuracy"] == [pytest.approx((guess == labels).mean())]
