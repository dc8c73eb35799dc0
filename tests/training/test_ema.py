"""Moving averages of weights, and batch-norm statistics estimated anew, at the end of a fit."""

import numpy as np
import pytest
import torch
from samples import train_of

from kdrecipes.backend import keras, seed_everything
from kdrecipes.training.batch_norm import reestimate_batch_norm, slowest_momentum
from kdrecipes.training.ema import Averages, Finisher


class Batches:
    """Stands in for a loader."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index]}, torch.zeros(len(self.images[index]), dtype=torch.int64)


def model_of(dropout=0.0):
    seed_everything(0)
    inputs = keras.Input((4, 4, 3))
    norm = keras.layers.BatchNormalization(momentum=0.99, name="norm")
    frozen = keras.layers.BatchNormalization(trainable=False, name="frozen")
    x = keras.layers.Dropout(dropout)(frozen(norm(inputs)))
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x)))


def test_averages_are_exponential_and_forget_the_start():
    variable = keras.Variable(np.float32(1000))
    averages = Averages([variable], 0.5)
    values = [3.0, 4.0, 8.0, -1.0, 5.0, 5.0, 7.0, 0.0, 9.0, 2.0]
    expected = 1000.0
    for step, value in enumerate(values):
        variable.assign(value)
        averages.update()
        momentum = min(0.5, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * value
    averages.put()
    assert float(variable.numpy()) == pytest.approx(expected, rel=1e-5)
    assert len(averages.variables) == 2


@pytest.mark.parametrize("change", ["stock", "accelerated"])
def test_statistics_are_plain_means_over_the_batches(change):
    from kdrecipes.fast import accelerate

    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(8, 4, 4, 3, generator=generator) * (i + 1) + i for i in range(4)]
    model = model_of()
    if change == "accelerated":
        accelerate(model)
    reestimate_batch_norm(model, Batches(images), 3)
    norm, frozen = model.get_layer("norm"), model.get_layer("frozen")
    means = torch.stack([x.mean((0, 1, 2)) for x in images[:3]]).mean(0)
    variances = torch.stack([x.var((0, 1, 2), correction=0) for x in images[:3]]).mean(0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), variances, rtol=1e-4)
    assert not frozen.moving_mean.numpy().any() and norm.momentum == 0.99


def test_more_batches_than_there_are_mean_all():
    images = [torch.ones(2, 4, 4, 3)] * 2
    model = model_of()
    reestimate_batch_norm(model, Batches(images), 200)
    np.testing.assert_allclose(model.get_layer("norm").moving_mean.numpy(), 1.0)


def test_the_last_epochs_validation_sees_the_final_weights():
    """Averages are put in once, before the last validation; epochs before it are validated as they train."""
    seed_everything(0)
    model = model_of()
    model.compile("sgd", "mse")
    images = torch.randn(8, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append(model.get_layer("logits").kernel.numpy().copy())

    finisher = Finisher(model, Batches([images]), train_of({"ema": 0.9, "recalibrate_batch_norm": 5, "epochs": 2}))
    kernel = model.get_layer("logits").kernel
    averages = finisher.averages._values[[v is kernel for v in model.trainable_variables].index(True)]
    before = []

    class Before(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            before.append(kernel.numpy().copy())

    targets = torch.ones(8, 2)
    model.fit(images, targets, epochs=2, batch_size=2, verbose=0, validation_data=(images, targets),
              callbacks=[Before(), finisher, Watch()])  # fmt: skip
    np.testing.assert_array_equal(seen[0], before[1])
    np.testing.assert_array_equal(seen[1], averages.numpy())
    np.testing.assert_array_equal(kernel.numpy(), seen[1])
    assert np.abs(seen[1] - seen[0]).max() > 0
    np.testing.assert_allclose(model.get_layer("norm").moving_mean.numpy(), images.mean((0, 1, 2)), atol=1e-5)


def test_the_slowest_momentum_is_told_of_keras_and_torch_layers_that_learn():
    from kdrecipes.torch_modules import as_keras

    model = model_of()
    assert slowest_momentum(model) == 0.99, "the frozen one does not count"
    model.get_layer("norm").trainable = False
    assert slowest_momentum(model) is None

    class Net(torch.nn.Module):
        def __init__(self, momentum):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3, momentum=momentum)

        def forward(self, x):
            return self.norm(x.mean((1, 2)))

    assert slowest_momentum(as_keras(Net(0.001), 3, 4)) == pytest.approx(0.999)
    assert slowest_momentum(as_keras(Net(None), 3, 4)) == 0.0
