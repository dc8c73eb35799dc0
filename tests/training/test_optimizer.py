"""The optimiser of a recipe: schedules, clipping, decay of kernels alone, accumulation, a head that learns faster."""

import numpy as np
import pytest
import torch
from samples import train_of

from kdrecipes.backend import keras, seed_everything
from kdrecipes.fast import accelerate_optimizer
from kdrecipes.training.optimizer import build_optimizer, head_of, scale_updates

CONSTANT = {"name": "constant"}
ADAMW = {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.5}
ADAM = {"name": "adam", "learning_rate": 0.1}
SGD = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}


def rates(schedule, steps, examples, at):
    train = {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "schedule": schedule}
    built = build_optimizer(train_of(train), steps, examples=examples)
    variable = keras.Variable(np.zeros(1, np.float32))
    built.build([variable])
    found = []
    for step in at:
        built._iterations.assign(step)
        found.append(float(built._get_current_learning_rate()))
    return found


def test_one_cycle_rises_to_its_peak_and_falls_below_its_start():
    schedule = {"name": "one_cycle", "warmup": 0.3, "start": 0.04, "end": 1e-4}
    found = rates(schedule, 100, 0, [0, 15, 30, 65, 100])
    np.testing.assert_allclose(found, [0.004, 0.052, 0.1, 0.05 * (1 + 1e-4), 1e-5], rtol=1e-5)


@pytest.mark.parametrize(
    ("examples", "published"),
    [(20_000, [100, 200, 300, 400, 500]), (60_000, [500, 3000, 6000, 9000, 10_000]),
     (1_000_000, [500, 6000, 12_000, 18_000, 20_000])],
)  # fmt: skip
def test_hyperrule_has_the_published_lengths(examples, published):
    """At the published number of steps the rate changes exactly where the published rule says."""
    warmup, *decays, steps = published
    at = [0, warmup // 2, warmup, decays[0] - 1, decays[0], decays[1] - 1, decays[1], decays[2] - 1, decays[2], steps]
    found = rates({"name": "bit_hyperrule"}, steps, examples, at)
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-5)


def small_model():
    seed_everything(0)
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(5, 3)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("options", [ADAMW, SGD | {"weight_decay": 0.5}], ids=["adamw", "sgd"])
def test_decay_is_for_kernels_alone_where_asked(options, fast):
    model = small_model()
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    train = {"optimizer": options | {"weight_decay_on": "kernels"}, "schedule": CONSTANT}
    optimizer = build_optimizer(train_of(train), 10, model=model)
    optimizer.build(model.trainable_variables)
    if fast:
        accelerate_optimizer(optimizer)
    optimizer.apply([torch.zeros(tuple(v.shape)) for v in model.trainable_variables], model.trainable_variables)
    found = {v.path.partition("/")[2]: float(v.numpy().max()) for v in model.trainable_variables}
    assert found == pytest.approx({"kernel": 0.95, "bias": 1.0, "gamma": 1.0, "beta": 1.0})


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("options", [ADAMW, ADAM, SGD], ids=["adamw", "adam", "sgd"])
def test_accumulated_steps_are_one_step_on_their_mean(options, fast):
    start = np.array([1.0, -2.0], np.float32)
    gradients = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))

    def after(rows, accumulate):
        variable = keras.Variable(start)
        train = {"optimizer": options, "schedule": CONSTANT, "accumulate": accumulate}
        optimizer = build_optimizer(train_of(train), 10)
        optimizer.build([variable])
        if fast:
            accelerate_optimizer(optimizer)
        values = []
        for row in rows:
            optimizer.apply([row.clone()], [variable])
            values.append(variable.numpy().copy())
        return values

    one, many = after(gradients.view(2, 3, 2).mean(1), 1), after(gradients, 3)
    np.testing.assert_array_equal(many[1], start)
    np.testing.assert_allclose(many[2], one[0], rtol=1e-5)
    np.testing.assert_allclose(many[5], one[1], rtol=1e-5)


@pytest.mark.parametrize("options", [ADAMW, ADAM, SGD | {"weight_decay": 0.1}], ids=["adamw", "adam", "sgd"])
def test_a_factor_on_updates_is_a_learning_rate_of_its_own(options):
    def after(factor, rate):
        body, head = (keras.Variable(np.array([1.0, -2.0], np.float32)) for _ in range(2))
        optimizer = build_optimizer(
            train_of({"optimizer": options | {"learning_rate": rate}, "schedule": CONSTANT}), 10
        )
        optimizer.build([body, head])
        accelerate_optimizer(optimizer)
        if factor != 1:
            scale_updates(optimizer, [head], factor)
        for gradient in ([0.5, 1.0], [-1.0, 2.0], [3.0, 0.1]):
            optimizer.apply([torch.tensor(gradient), torch.tensor(gradient)], [body, head])
        return body.numpy(), head.numpy()

    body, head = after(5.0, 0.01)
    np.testing.assert_allclose(body, after(1, 0.01)[0], rtol=1e-6)
    np.testing.assert_allclose(head, after(1, 0.05)[1], rtol=1e-5)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0"])
def test_the_head_gives_out_the_logits(name):
    model = getattr(keras.applications, name)(weights=None, classes=7, input_shape=(32, 32, 3))
    assert [tuple(v.shape)[-1] for v in head_of(model)] == [7, 7]


def test_the_head_is_found_inside_other_models_and_without_a_graph():
    inner = small_model()
    pixels = keras.Input((4, 4, 3))
    nested = keras.Sequential([pixels, inner, keras.layers.Activation("linear")])
    head = inner.get_layer("logits").trainable_variables
    assert all(a is b for a, b in zip(head_of(nested), head, strict=True))

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = keras.layers.Dense(3), keras.layers.Dense(2)

        def call(self, x):
            return self.head(self.body(x))

    own = Own()
    own(torch.zeros(1, 4))
    assert all(a is b for a, b in zip(head_of(own), own.head.trainable_variables, strict=True))


def rates_of(optimizer, steps):
    schedule = optimizer._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return [float(schedule(step)) for step in steps]
    return [float(optimizer.learning_rate)] * len(steps)


def test_warmup_cosine_rises_from_zero_and_falls_to_zero():
    train = {
        "optimizer": {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.01},
        "schedule": {"name": "warmup_cosine", "warmup": 0.2},
    }
    found = rates_of(build_optimizer(train_of(train), 100), [0, 10, 20, 60, 100])
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.05, 0], atol=1e-7)
    none = {**train, "schedule": {"name": "warmup_cosine", "warmup": 0.0}}
    np.testing.assert_allclose(rates_of(build_optimizer(train_of(none), 100), [0, 50, 100]), [0.1, 0.05, 0], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "torch_kind", "torch_options"),
    [
        ({"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
        ({"name": "adam", "learning_rate": 0.1}, torch.optim.Adam, {}),
        (
            {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.9},
            torch.optim.SGD,
            {"momentum": 0.9},
        ),
    ],
)
def test_optimisers_step_as_torch_does(options, torch_kind, torch_options):
    optimizer = build_optimizer(train_of({"optimizer": options, "schedule": CONSTANT}), 10)
    mine = keras.Variable(np.array([1.0, -2.0], np.float32))
    theirs = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    other = torch_kind([theirs], lr=0.1, **torch_options)
    for gradient in ([0.5, 1.0], [-1.0, 2.0], [3.0, 0.1]):
        theirs.grad = torch.tensor(gradient)
        optimizer.apply([torch.tensor(gradient)], [mine])
        other.step()
    np.testing.assert_allclose(mine.numpy(), theirs.detach(), rtol=1e-5)


def test_clip_norm_bounds_the_global_norm():
    train = {
        "optimizer": {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0},
        "schedule": CONSTANT,
        "clip_norm": 1.0,
    }
    optimizer = build_optimizer(train_of(train), 10)
    a, b = keras.Variable(np.zeros(1, np.float32)), keras.Variable(np.zeros(1, np.float32))
    optimizer.apply([torch.tensor([3.0]), torch.tensor([4.0])], [a, b])
    np.testing.assert_allclose([a.numpy()[0], b.numpy()[0]], [-0.6, -0.8], rtol=1e-5)
