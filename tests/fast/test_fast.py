"""The fast path agrees with stock Keras, in outputs, gradients and moving statistics, and leaves files alone."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kdrecipes import component
from kdrecipes.backend import keras, seed_everything
from kdrecipes.fast import accelerate, accelerate_optimizer, frozen, restore
from kdrecipes.fast.convolution import taps_that_meet
from kdrecipes.training.features import tapped

MODELS = [
    ("cnn", {"width": 8}, 16),
    ("mobilenet_v3_small", {"dropout": 0.0}, 33),
    ("efficientnet_b0", {"dropout": 0.0}, 32),
]


def build(name, options, size):
    seed_everything(1)
    model = component("model", name).build(classes=5, image_size=size, **options)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):  # stochastic depth too: both copies must see the same network
            layer.rate = 0.0
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "size"), MODELS)
def test_accelerated_model_agrees_with_stock(name, options, size):
    """Whole models agree in both modes; gradients are compared layer by layer, where rounding has no way to grow."""
    images = torch.rand(8, size, size, 3, generator=torch.Generator().manual_seed(0)) * 255
    stock, fast = build(name, options, size), accelerate(build(name, options, size))
    assert any("call" in layer.__dict__ for layer in fast._flatten_layers())
    with torch.no_grad():
        for training in (False, True):
            mine, theirs = fast(images, training=training), stock(images, training=training)
            assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    for mine, theirs in zip(fast.non_trainable_variables, stock.non_trainable_variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-5)


LAYERS = [
    keras.layers.Conv2D(6, 3),
    keras.layers.Conv2D(6, 3, 2, "same", activation="relu"),
    keras.layers.Conv2D(6, (5, 3), (1, 2), "same", use_bias=False),
    keras.layers.Conv2D(6, 3, padding="same", dilation_rate=2),
    keras.layers.Conv2D(6, 1, groups=2),
    keras.layers.DepthwiseConv2D(3, 2, "same"),
    keras.layers.DepthwiseConv2D(5, padding="valid", depth_multiplier=2, activation="relu6"),
    keras.layers.ZeroPadding2D(((1, 2), (0, 3))),
    keras.layers.BatchNormalization(momentum=0.7),
    keras.layers.BatchNormalization(scale=False),
    keras.layers.BatchNormalization(center=False, epsilon=1e-2),
    # Left to Keras:
    keras.layers.Conv2D(6, 3, data_format="channels_first"),
    keras.layers.BatchNormalization(axis=1),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{type(layer).__name__}-{LAYERS.index(layer)}")
def test_single_layers_agree_in_outputs_gradients_and_statistics(layer, training):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(4, 8, 9, 4, generator=generator) * 3 + 1

    def outcome(change):
        seed_everything(2)
        inputs = keras.Input(images.shape[1:])
        copy = type(layer).from_config(layer.get_config())
        model = change(keras.Model(inputs, copy(inputs)))
        for variable in model.trainable_variables:
            variable.assign(np.random.default_rng(1).normal(size=variable.shape))
        x = images.clone().requires_grad_()
        y = model(x, training=training)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
        (y * weights).sum().backward()
        gradients = [v.value.grad for v in model.trainable_variables]
        return [y.detach(), x.grad, *gradients, *(v.value.detach() for v in model.non_trainable_variables)]

    for mine, theirs in zip(outcome(accelerate), outcome(lambda m: m), strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_batch_norm_keeps_the_biased_variance():
    layer = keras.layers.BatchNormalization(momentum=0.0)
    inputs = keras.Input((2, 2, 3))
    model = accelerate(keras.Model(inputs, layer(inputs)))
    x = torch.rand(2, 2, 2, 3)
    model(x, training=True)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x.var((0, 1, 2), unbiased=False), rtol=1e-5)


def test_one_value_per_channel_and_frozen_layers_are_left_right():
    inputs = keras.Input((1, 1, 3))
    layer = keras.layers.BatchNormalization()
    model = accelerate(keras.Model(inputs, layer(inputs)))
    assert torch.isfinite(model(torch.rand(1, 1, 1, 3), training=True)).all()
    layer.trainable = False
    before = layer.moving_mean.numpy().copy()
    model(torch.rand(4, 1, 1, 3), training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_saved_file_and_clone_are_plain_keras(tmp_path):
    model = accelerate(build("cnn", {"width": 4}, 8))
    model.save(tmp_path / "m.keras")
    reloaded = keras.models.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    for plain in (reloaded, keras.models.clone_model(model)):
        assert not any("call" in layer.__dict__ for layer in plain._flatten_layers())
    x = torch.rand(2, 8, 8, 3) * 255
    with torch.no_grad():
        np.testing.assert_allclose(model(x, training=False), reloaded(x, training=False), rtol=1e-4, atol=1e-5)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(0, 3))
def test_taps_that_never_meet_the_image_are_left_out(size, kernel, stride, padding):
    assume(size + 2 * padding >= kernel and 2 * padding <= 2 * (kernel - 1))
    first, count, left = taps_that_meet(size, kernel, stride, padding)
    x, w = (torch.randn(1, 2, n, generator=torch.Generator().manual_seed(n)).double() for n in (size, kernel))
    whole = torch.nn.functional.conv1d(x, w, None, stride, padding)
    part = torch.nn.functional.conv1d(x, w[..., first : first + count], None, stride, left)
    torch.testing.assert_close(part, whole)
    if stride == 1 and 2 * padding == kernel - 1:
        assert count == min(kernel, 2 * size - 1)  # no tap too many


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "ZeroPadding2D"])
def test_small_images_agree_in_outputs_and_gradients(kind, size):
    def build():
        seed_everything(4)
        inputs = keras.Input((size, size, 4))
        if kind == "ZeroPadding2D":
            x = keras.layers.Conv2D(4, 5, 2)(keras.layers.ZeroPadding2D(2)(inputs))
        elif kind == "Conv2D":
            x = keras.layers.Conv2D(4, 5, padding="same", groups=2, activation="silu")(inputs)
        else:
            x = keras.layers.DepthwiseConv2D(5, padding="same")(inputs)
        return keras.Model(inputs, keras.layers.Flatten()(x))

    def outcome(model):
        x = torch.randn(3, size, size, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = model(x, training=True)
        y.square().sum().backward()
        return [y.detach(), x.grad, *(v.value.grad for v in model.trainable_variables), frozen(model)(x.detach())]

    for mine, theirs in zip(outcome(accelerate(build())), outcome(build()), strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def graph_net():
    """A graph with everything that plans treat apart: padding, in-place results, merges, shared layers, branches."""
    seed_everything(5)
    layers = keras.layers
    pixels = keras.Input((9, 9, 3))
    x = layers.Conv2D(6, 1, name="stem")(pixels / 4.0)
    x = layers.ZeroPadding2D(1)(x)  # computed by the convolution after it
    x = layers.Conv2D(6, 3, use_bias=False)(x)
    x = layers.BatchNormalization(name="norm")(x)
    y = layers.Activation("relu", name="relu")(x)  # over its input in place
    shared = layers.Conv2D(6, 3, padding="same", activation="silu", name="shared")
    z = layers.Add(name="sum")([shared(y), shared(shared(y))])
    z = layers.ReLU(6.0)(z)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(z)
    gate = layers.Conv2D(6, 1, activation="sigmoid")(gate)
    z = layers.Multiply()([z, gate])
    z = layers.Concatenate()([z, layers.AveragePooling2D(3, 1, "same")(y), layers.MaxPooling2D(2, 1, "same")(y)])
    z = layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), seed=3)(z)
    z = layers.LayerNormalization()(z)
    z = layers.GroupNormalization(3)(z)
    z = layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, use_bias=False)(z)
    z = layers.LeakyReLU()(layers.BatchNormalization(scale=False)(z))
    z = layers.GlobalMaxPooling2D()(z)
    z = layers.Dense(5)(layers.Dense(7, activation="gelu")(z))
    model = keras.Model(pixels, z)
    for variable in model.trainable_variables:
        variable.assign(variable.value + torch.randn(variable.shape, generator=torch.Generator().manual_seed(1)) / 9)
    return model


IMAGES = torch.rand(4, 9, 9, 3, generator=torch.Generator().manual_seed(0)) * 9


def pass_through(model, training=True):
    seed_everything(9)
    for layer in model._flatten_layers():  # the same draw for every pass
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([3, 0])
    x = IMAGES.clone().requires_grad_()
    y = model(x, training=training)
    (y * torch.arange(20.0).reshape(4, 5).sin()).sum().backward()
    results = [y.detach(), x.grad]
    for variable in model.trainable_variables:
        results.append(variable.value.grad)
        variable.value.grad = None
    return [*results, *(variable.value.clone() for variable in model.non_trainable_variables)]


@pytest.mark.parametrize("training", [True, False])
def test_a_graph_with_every_special_case_agrees_in_outputs_and_gradients(training):
    stock, fast = pass_through(graph_net(), training), pass_through(accelerate(graph_net()), training)
    for mine, theirs in zip(fast, stock, strict=True):
        assert (mine - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_a_graph_makes_no_keras_call_for_native_layers():
    model, called = accelerate(graph_net()), []
    before = keras.layers.Layer.__call__

    def counting(self, *args, **kwargs):
        called.append(self.name)
        return before(self, *args, **kwargs)

    keras.layers.Layer.__call__ = counting
    try:
        model(IMAGES, training=True)
    finally:
        keras.layers.Layer.__call__ = before
    assert called == [model.name]


def test_reading_inner_layers_gives_what_stock_gives():
    """What is read is neither left out nor written over by what comes after it."""
    names = ["stem", "norm", "relu", "sum"]

    def read(model):
        with tapped({name: model.get_layer(name) for name in names}) as features:
            y = model(IMAGES, training=True)
        return [features[name].detach() for name in names] + [y.detach()]

    fast = accelerate(graph_net())
    fast(IMAGES)
    for mine, theirs in zip(read(fast), read(graph_net()), strict=True):
        assert (mine - theirs).abs().max() <= 2e-5 * theirs.abs().max()
    heard = []
    hook = fast.get_layer("norm").register_forward_hook(lambda module, inputs, output: heard.append(output.shape))
    fast(IMAGES)
    hook.remove()
    fast(IMAGES)
    assert heard == [(4, 9, 9, 6)]


def test_restore_gives_back_stock_keras():
    model = graph_net()
    before, strides = set(vars(model)), [v.value.stride() for v in model.variables]
    accelerate(accelerate(model))
    assert model.call.__module__.startswith("kdrecipes")
    assert restore(model) is model
    assert set(vars(model)) == before
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    assert [v.value.stride() for v in model.variables] == strides


def test_sequential_and_nested_models_run_as_graphs():
    def build():
        inner = graph_net()
        outer = keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Rescaling(0.5), inner, keras.layers.Dense(5)])
        outer.layers[-1].kernel.assign(np.eye(5))
        return outer

    fast = accelerate(build())
    assert fast._functional.call.__module__ == fast.layers[1].call.__module__ == "kdrecipes.fast.graph"
    for mine, theirs in zip(pass_through(fast), pass_through(build()), strict=True):
        assert (mine - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_frozen_is_the_models_inference():
    model = graph_net()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.random.default_rng(0).normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(np.random.default_rng(1).uniform(0.1, 3, layer.moving_mean.shape))
    infer = frozen(model)
    with torch.no_grad():
        expected = model(IMAGES, training=False)
    given = IMAGES.clone()
    assert (infer(given) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(given, IMAGES)  # nothing is written over it
    assert not infer(IMAGES).requires_grad
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


class Own(keras.Model):
    """A subclass with a `call` of its own: layers are accelerated, its graph is Python's."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()
        self.pool = keras.layers.GlobalAveragePooling2D()

    def call(self, inputs, training=False):
        return self.pool(keras.ops.relu(self.norm(self.convolution(inputs), training=training)))


def test_models_with_a_call_of_their_own_are_accelerated_layer_by_layer():
    def build():
        seed_everything(3)
        model = Own()
        model(IMAGES)
        return model

    fast, stock = accelerate(build()), build()
    assert "call" in vars(fast.convolution) and "call" not in vars(fast)
    for training in (False, True):
        mine, theirs = fast(IMAGES, training=training), stock(IMAGES, training=training)
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    with torch.no_grad():
        assert (frozen(fast)(IMAGES) - stock(IMAGES)).abs().max() <= 1e-5


@pytest.mark.parametrize("decay", [None, 0.02])
@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.AdamW])
def test_the_fused_optimizer_is_keras_formula(kind, schedule, decay):
    def train(change):
        model = accelerate(graph_net())
        rate = keras.optimizers.schedules.CosineDecay(0.0, 9, warmup_target=0.01, warmup_steps=2) if schedule else 0.01
        optimizer = kind(rate, weight_decay=decay or (0.0 if kind is keras.optimizers.AdamW else None), epsilon=1e-3)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        optimizer.build(model.trainable_variables)
        change(optimizer)
        generator = torch.Generator().manual_seed(0)
        for _ in range(6):
            gradients = [torch.randn(v.shape, generator=generator) / 100 for v in model.trainable_variables]
            optimizer.apply(gradients, model.trainable_variables)
        assert int(optimizer.iterations.value) == 6
        return [v.value.detach() for v in [*model.trainable_variables, *optimizer.variables]]

    for mine, theirs in zip(train(accelerate_optimizer), train(lambda o: o), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=5e-7)  # an ulp or two of the largest


def test_other_optimizers_are_left_to_keras():
    for optimizer in (keras.optimizers.SGD(), keras.optimizers.Adam(amsgrad=True)):
        optimizer.build(graph_net().trainable_variables)
        before = dict(vars(optimizer))
        assert vars(accelerate_optimizer(optimizer)) == before


@pytest.mark.parametrize("batch", [1, 3])
def test_a_group_of_one_value_is_zero_as_keras_has_it(batch):
    inputs = keras.Input((1, 1, 4))
    model = keras.Model(inputs, keras.layers.GroupNormalization(4, center=False, scale=False)(inputs))
    images = 100 + torch.arange(4.0 * batch).reshape(batch, 1, 1, 4)
    assert not accelerate(model)(images).any() and not frozen(model)(images).any()
