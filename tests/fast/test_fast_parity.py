"""The fast path is as right as stock Keras: layer by layer, whole architectures, random options, random graphs."""

import functools
import json
import zipfile
from copy import deepcopy

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from fast_architectures import applications, hub_backbones
from fast_parity import (
    Call,
    as_inputs,
    copy_variables,
    difference,
    forget_past_statistics,
    in_float64,
    is_fast,
    kept_variables,
    layers_of,
    outcome,
    pixels,
    prediction,
    problems,
    randomise,
    recorded_calls,
    too_far,
)
from hypothesis import assume, given, settings

from kdrecipes.backend import keras, seed_everything
from kdrecipes.fast import accelerate, frozen, restore
from kdrecipes.layers import StandardizedConv2D

layers = keras.layers

ARCHITECTURES = applications() | hub_backbones()
# One of each family: its larger members have the same layers, wider and more of them.
FAMILIES = {
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetLarge",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "Xception",
    *hub_backbones(),
}
QUICK = {"ConvNeXtTiny", "EfficientNetB0", "MobileNetV3Small", "ResNet50V2", *hub_backbones()}


# Seconds as a whole; layer by layer they are held against stock Keras like the others.
LARGEST = {"InceptionResNetV2", "NASNetLarge"}


def some(names, soak=frozenset()):
    """The names as parameters of a test, slow where they are not quick. A family's other sizes are for `make soak`."""
    here = FAMILIES - soak
    marks = {name: [pytest.mark.slow] if name in here else [pytest.mark.slow, pytest.mark.soak] for name in names}
    return [pytest.param(name, marks=[] if name in QUICK else marks[name]) for name in sorted(names)]


# --- the measure itself ----------------------------------------------------------------------------------------------


def test_the_float64_copy_computes_in_float64():
    layer = layers.BatchNormalization()
    x = torch.randn(4, 3, 3, 5, generator=torch.Generator().manual_seed(0))
    layer(x)
    with in_float64():
        wide = layers.BatchNormalization()
        wide.build(x.shape)
        found = outcome(Call(wide, (x,), {}), training=True)
    assert all((value != value.float()).any() for value in found.values())
    assert keras.config.floatx() == "float32"
    assert layers.Dense(1).compute_dtype == "float32"


@pytest.mark.parametrize("tensor", ["output 0", "gradient of input 0", "moving_variance (1) after the call"])
def test_a_wrong_layer_is_reported(tensor):
    """A slip of 3e-5 in an output or gradient, and the unbiased variance, are found and named."""
    inputs = keras.Input((4, 4, 3))
    layer = layers.BatchNormalization(momentum=0.9)
    model = keras.Model(inputs, layer(inputs))
    [call] = [c for c in recorded_calls(model, pixels(4, 4) / 50) if c.layer is layer]
    assert problems(call) == []

    def slip(x, training=None, mask=None):
        y = type(layer).call(layer, x, training=training)
        if tensor == "output 0":
            return y * (1 + 3e-5)
        if tensor == "gradient of input 0":
            return y.detach() + (y - y.detach()) * (1 + 3e-5)
        if training:
            layer.moving_variance.assign(layer.moving_variance + 0.1 * x.var((0, 1, 2)) / x[..., 0].numel())
        return y

    layer.__dict__["call"] = slip
    assert any(tensor in line for line in problems(call))


# --- architectures ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", some(FAMILIES - {"VGG16"}))  # KerasHub's has the same layers, and fewer weights
def test_each_layer_is_as_near_to_float64_as_stock_keras(name):
    """Outputs, gradients of inputs and weights, and moving statistics, on the inputs that it has in the model."""
    seed_everything(0)
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    calls = recorded_calls(model, pixels(4, architecture.size))
    accelerate(model)
    fast = [call for call in calls if is_fast(call.layer)]
    assert fast
    found = []
    for call in fast:
        randomise(call.layer)
        found += problems(call)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(ARCHITECTURES, LARGEST))
def test_whole_model_agrees_with_stock(name):
    """In both modes, statistics included, and frozen; and `restore` gives stock Keras' own numbers again.

    Deep networks in training mode multiply the rounding of their input: where stock Keras itself moves further when
    every pixel is disturbed by half a unit of its last place, that is the measure.
    """
    seed_everything(0)
    architecture = ARCHITECTURES[name]
    model, images = architecture.build(), pixels(8, architecture.size)
    for layer in layers_of(model):
        randomise(layer)
    forget_past_statistics(model)
    trained = prediction(model, images, training=True)  # inference then has the statistics of these images
    inferred = prediction(model, images, training=False)
    accelerate(model)
    pairs = {"inference": (prediction(model, images, training=False), inferred)}
    restore(model)
    again = prediction(model, images, training=False)
    assert all(torch.equal(again[tensor], value) for tensor, value in inferred.items())
    if len(inferred) == 1 and not isinstance(as_inputs(model, images), dict):
        pairs["frozen"] = ({"output 0": frozen(model)(images)}, inferred)
    pairs["training"] = (prediction(accelerate(model), images, training=True), trained)
    for mode, (mine, theirs) in pairs.items():
        error, tensor = difference(mine, theirs)
        if not error <= 1e-4:
            noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) - 0.5
            disturbed = prediction(restore(model), images * (1 + 2**-23 * noise), training=mode == "training")
            own, _ = difference(disturbed, theirs)
            assert error <= 10 * own, f"{mode}: {tensor} differs by {error:.1e}, under disturbed pixels by {own:.1e}"


# --- random options --------------------------------------------------------------------------------------------------


def compared(build, x, rounding, times):
    """Lines about what the accelerated copy of `build()` gets wrong on `x`, in both modes and frozen."""
    seed_everything(0)
    stock, fast = build(), build()
    randomise(stock)
    copy_variables(stock, fast)
    accelerate(fast)
    with in_float64():
        wide = build()
    copy_variables(stock, wide)
    found = []
    for training in (False, True):
        mine, theirs = (outcome(Call(model, (x,), {}), training) for model in (fast, stock))
        with in_float64():
            truth = outcome(Call(wide, (x,), {}), training)
        found += [f"training={training}: {line}" for line in too_far(mine, theirs, truth, rounding, times, least=0.1)]
        if not training and isinstance(fast.output, keras.KerasTensor):
            theirs, truth = ({"output": values["output 0"]} for values in (theirs, truth))
            far = too_far({"output": frozen(stock)(x)}, theirs, truth, max(rounding, 2e-5), times)
            found += [f"frozen: {line}" for line in far]
    return found


def one_layer(kind, options, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, getattr(layers, kind)(**options)(inputs))


ACTIVATIONS = [None, "relu", "relu6", "silu", "hard_silu", "gelu", "sigmoid", "tanh", "elu", "leaky_relu", "softmax"]


@st.composite
def sizes(draw, dimensions, least):
    return tuple(max(draw(st.integers(1, 8)), smallest) for smallest in least[:dimensions])


@st.composite
def convolutions(draw, kind, dimensions):
    """Options and input shape of a convolution that exists: kernel within the image where nothing is padded."""
    kernel = draw(st.lists(st.sampled_from([1, 2, 3, 4, 7]), min_size=dimensions, max_size=dimensions))
    dilation = draw(st.sampled_from([1, 1, 2])) if "Transpose" not in kind else 1
    strides = draw(st.integers(1, 3)) if dilation == 1 else 1
    padding = draw(st.sampled_from(["same", "valid", "causal"] if kind == "Conv1D" else ["same", "valid"]))
    options = {
        "kernel_size": tuple(kernel),
        "strides": strides,
        "dilation_rate": dilation,
        "padding": padding,
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
    }
    if kind.startswith("Conv"):
        options["filters"] = draw(st.sampled_from([4, 8]))
    if kind in ("Conv1D", "Conv2D", "Conv3D"):
        options["groups"] = draw(st.sampled_from([1, 2, 4]))
    if "Depthwise" in kind or "Separable" in kind:
        options["depth_multiplier"] = draw(st.integers(1, 2))
    if "Separable" in kind:
        options["filters"] = draw(st.sampled_from([1, 6]))
    least = [1 + dilation * (k - 1) if padding == "valid" else 1 for k in kernel]
    return options, (*draw(sizes(dimensions, least)), 4)


@st.composite
def poolings(draw, kind, dimensions):
    if kind.startswith("Global"):
        return {"keepdims": draw(st.booleans())}, (*draw(sizes(dimensions, [1] * dimensions)), 3)
    pool, padding = draw(st.integers(1, 4)), draw(st.sampled_from(["same", "valid"]))
    options = {"pool_size": pool, "strides": draw(st.sampled_from([None, 1, 2, 3])), "padding": padding}
    return options, (*draw(sizes(dimensions, [pool if padding == "valid" else 1] * dimensions)), 3)


@st.composite
def normalisations(draw, kind):
    """Shapes of rank 2 to 5, every axis, and the options that change what is computed."""
    rank = draw(st.sampled_from([2, 3, 4, 4, 4, 5]))
    shape = (*draw(st.lists(st.integers(1, 5), min_size=rank - 2, max_size=rank - 2)), 4)
    options = {"epsilon": draw(st.sampled_from([1e-5, 1e-3, 1e-2])), "axis": -1}
    options |= {"center": draw(st.booleans()), "scale": draw(st.booleans())}
    if kind == "BatchNormalization":
        options["momentum"] = draw(st.sampled_from([0.0, 0.7, 0.99]))
        options["axis"] = draw(st.sampled_from([-1, -1, rank - 1, 1]))
        options["renorm"] = draw(st.sampled_from([False, False, False, True]))
        options["trainable"] = draw(st.sampled_from([True, True, True, False]))
    elif kind == "GroupNormalization":
        options["groups"] = draw(st.sampled_from([1, 2, 4, -1]))
    else:
        options["axis"] = draw(st.sampled_from([-1, -1, rank - 1, list(range(1, rank))]))
    return options, shape


@st.composite
def images_only(draw, options):
    """Layers that change only the image's size or values."""
    return draw(st.fixed_dictionaries(options)), (draw(st.integers(3, 6)), draw(st.integers(3, 6)), 4)


borders = st.one_of(st.integers(0, 2), st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
numbers = st.sampled_from([0.0, 0.1, 1.0])

RANDOM_LAYERS = {
    **{f"Conv{n}D": convolutions(f"Conv{n}D", n) for n in (1, 2, 3)},
    "Conv2DTranspose": convolutions("Conv2DTranspose", 2),
    **{f"{kind}Conv{n}D": convolutions(f"{kind}Conv{n}D", n) for kind in ("Depthwise", "Separable") for n in (1, 2)},
    **{f"{kind}Pooling{n}D": poolings(f"{kind}Pooling{n}D", n) for kind in ("Max", "Average") for n in (1, 2)},
    **{f"Global{kind}Pooling2D": poolings("Global", 2) for kind in ("Max", "Average")},
    **{f"{kind}Normalization": normalisations(f"{kind}Normalization") for kind in ("Batch", "Group", "Layer")},
    "ZeroPadding2D": images_only({"padding": borders}),
    "Cropping2D": images_only({"cropping": st.sampled_from([0, 1, ((1, 0), (0, 2))])}),
    "UpSampling2D": images_only({"size": st.integers(1, 2), "interpolation": st.sampled_from(["nearest", "bilinear"])}),
    "Rescaling": images_only({"scale": st.sampled_from([0.5, [1.0, 2.0, 3.0, 4.0]]), "offset": numbers}),
    "ReLU": images_only(
        {"max_value": st.sampled_from([None, 6.0, 0.5]), "negative_slope": numbers, "threshold": numbers}
    ),
    "LeakyReLU": images_only({"negative_slope": numbers}),
    "PReLU": images_only({"shared_axes": st.sampled_from([None, [1, 2]])}),
    "Activation": images_only({"activation": st.sampled_from([*ACTIVATIONS[1:], "hard_sigmoid", "mish", "softplus"])}),
    "Softmax": images_only({"axis": st.sampled_from([-1, 1])}),
    "Dense": images_only(
        {"units": st.integers(1, 5), "activation": st.sampled_from(ACTIVATIONS), "use_bias": st.booleans()}
    ),
    "Flatten": images_only({}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RANDOM_LAYERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_random_options_are_as_near_to_float64_as_stock_keras(kind, data):
    """A model of one layer, with any of its options; also batches of one image and values far from zero.

    Where such values leave few digits, one random number is now a little better, now a little worse than another.
    """
    options, shape = data.draw(RANDOM_LAYERS[kind])
    batch, mean = data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([0.0, 0.0, 100.0]))
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)) + mean
    build = functools.partial(one_layer, kind, options, shape)
    try:
        build()(x)
    except (ValueError, NotImplementedError, RuntimeError):
        assume(False)  # stock Keras cannot do it either
    found = compared(build, x, rounding=1e-5, times=3.0)
    assert not found, f"{kind}({options}) on {(batch, *shape)}, mean {mean}\n" + "\n".join(found)


# --- random graphs ---------------------------------------------------------------------------------------------------


def conv(x, filters=8, kernel=3, padding="same", **options):
    if min(x.shape[1:3]) < kernel:
        padding = "same"
    return layers.Conv2D(filters, kernel, padding=padding, **options)(x)


def nested(x):
    inputs = keras.Input(x.shape[1:])
    y = layers.ReLU()(layers.BatchNormalization()(conv(inputs)))
    return keras.Model(inputs, layers.ZeroPadding2D(1)(y))(x)


def shared(x):
    layer = layers.Conv2D(8, 1)
    norm = layers.BatchNormalization()
    return layers.Add()([norm(layer(x)), norm(layer(layers.Activation("silu")(x)))])


def squeeze_and_excite(x):
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, conv(conv(y, 4, 1, activation="relu"), x.shape[-1], 1, activation="sigmoid")])


def excite_by_dense(x):
    y = layers.Dense(x.shape[-1], activation="hard_sigmoid")(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Reshape((1, 1, x.shape[-1]))(y)])


def padded_conv(x, border, **options):
    return layers.Conv2D(8, 3, **options)(layers.ZeroPadding2D(border)(x))


def padded_twice_read(x):
    y = layers.ZeroPadding2D(1)(x)
    return layers.Concatenate()([layers.Conv2D(4, 3)(y), layers.DepthwiseConv2D(3)(y)])


def relu_of_what_is_read_again(x):
    y = conv(x)
    return layers.Concatenate()([layers.ReLU()(y), y])


def pool(kind, x, padding):
    return kind(2, padding=padding if min(x.shape[1:3]) > 1 else "same")(x)


BLOCKS = {
    "conv": conv,
    "strided conv": lambda x: conv(x, strides=2),
    "valid conv": lambda x: conv(x, padding="valid", use_bias=False),
    "grouped conv": lambda x: conv(x, groups=4 if x.shape[-1] % 4 == 0 else 1, activation="relu"),
    "dilated conv": lambda x: conv(x, dilation_rate=2, activation="gelu"),
    "pointwise": lambda x: conv(x, 4, 1),
    "depthwise": lambda x: layers.DepthwiseConv2D(3, 1, "same", depth_multiplier=1)(x),
    "strided depthwise": lambda x: layers.DepthwiseConv2D(3, 2, "same", activation="relu6")(x),
    "separable": lambda x: layers.SeparableConv2D(8, 3, padding="same")(x),
    "standardized conv": lambda x: StandardizedConv2D(8, 3, 2, "same", activation="relu")(x),
    "pad, standardized conv": lambda x: StandardizedConv2D(8, 3, use_bias=False)(layers.ZeroPadding2D(1)(x)),
    "pad, conv": lambda x: padded_conv(x, 1),
    "pad, strided conv": lambda x: padded_conv(x, 1, strides=2, activation="relu"),
    "uneven pad, strided conv": lambda x: padded_conv(x, ((1, 2), (1, 2)), strides=2),
    "pad, depthwise": lambda x: layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(((1, 1), (2, 2)))(x)),
    "pad, depthwise of one tap": lambda x: layers.DepthwiseConv2D(1)(layers.ZeroPadding2D(1)(x)),
    "depthwise of one tap": lambda x: layers.DepthwiseConv2D(1, activation="relu")(x),
    "conv wider than the image": lambda x: conv(layers.AveragePooling2D(4, 4, "same")(x), kernel=7),
    "depthwise wider than the image": lambda x: layers.DepthwiseConv2D(5, padding="same")(
        layers.GlobalAveragePooling2D(keepdims=True)(x)
    ),
    "pad, conv wider than the image": lambda x: layers.Conv2D(4, 5, strides=2)(
        layers.ZeroPadding2D(2)(layers.MaxPooling2D(4, 4, "same")(x))
    ),
    "pad, same conv": lambda x: padded_conv(x, 1, padding="same", strides=2),
    "pad, read twice": padded_twice_read,
    "batch norm": lambda x: layers.BatchNormalization(momentum=0.8)(x),
    "batch norm, relu": lambda x: layers.ReLU()(layers.BatchNormalization()(x)),
    "batch norm, relu6": lambda x: layers.ReLU(6.0)(layers.BatchNormalization(scale=False)(x)),
    "frozen batch norm": lambda x: layers.BatchNormalization(trainable=False)(x),
    "group norm": lambda x: layers.GroupNormalization(2)(x),
    "layer norm": lambda x: layers.LayerNormalization()(x),
    "relu": lambda x: layers.Activation("relu")(x),
    "silu": lambda x: layers.Activation("silu")(x),
    "softmax": lambda x: layers.Softmax()(x),
    "relu of what is read again": relu_of_what_is_read_again,
    "residual": lambda x: layers.ReLU()(layers.Add()([x, conv(x, x.shape[-1])])),
    "sum of three": lambda x: layers.Add()([x, conv(x, x.shape[-1]), layers.Activation("tanh")(x)]),
    "sum with itself": lambda x: layers.ReLU()(layers.Add()([x, x])),
    "sum with a vector": lambda x: layers.Add()([x, layers.GlobalAveragePooling2D()(x)]),
    "concatenation": lambda x: layers.Concatenate()([x, conv(x, 4)]),
    "concatenation of rows": lambda x: layers.Concatenate(axis=1)([x, x]),
    "squeeze and excite": squeeze_and_excite,
    "excite by dense": excite_by_dense,
    "max pool": lambda x: pool(layers.MaxPooling2D, x, "valid"),
    "average pool": lambda x: pool(layers.AveragePooling2D, x, "same"),
    "dropout of nothing": lambda x: layers.Dropout(0.0)(x),
    "operators": lambda x: keras.ops.tanh(x) * 2.0 + x,
    "shared": shared,
    "nested": nested,
    "nested Sequential": lambda x: keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization()])(
        x
    ),
    "transposed image": lambda x: layers.Permute((2, 1, 3))(x),
}


def graph(blocks, taps):
    """A model of blocks in a row with a head; the outputs of the blocks at `taps` are outputs of the model too."""
    inputs = x = keras.Input((7, 6, 4))
    outputs = []
    for i, block in enumerate(blocks):
        x = BLOCKS[block](x)
        if i in taps:
            outputs.append(x)
    x = layers.Dense(6)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(3)(layers.BatchNormalization()(x))
    return keras.Model(inputs, [x, *outputs] if outputs else x)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=6), st.sets(st.integers(0, 5), max_size=2))
def test_random_graphs_agree_in_outputs_gradients_and_statistics(blocks, taps):
    """Rounding adds up over a few layers, and in other places than stock Keras': so the bound is looser."""
    x = torch.randn(4, 7, 6, 4, generator=torch.Generator().manual_seed(0))
    found = compared(functools.partial(graph, blocks, taps), x, rounding=1e-4, times=4.0)
    assert not found, f"{blocks}, taps {taps}\n" + "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("taps", [set(), {0}], ids=["inner", "output"])
@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_agrees_in_outputs_gradients_and_statistics(block, taps):
    """Alone before the head, and where its result is an output of the model as well."""
    x = torch.randn(4, 7, 6, 4, generator=torch.Generator().manual_seed(0))
    found = compared(functools.partial(graph, [block], taps), x, rounding=1e-4, times=3.0)
    assert not found, "\n".join(found)


# --- what stays Keras' own -------------------------------------------------------------------------------------------


class Block(layers.Layer):
    """A subclassed layer with sublayers, called in a Python loop."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)
            input_shape = part.compute_output_shape(input_shape)

    def call(self, x, training=None):
        for part in self.parts:
            x = part(x, training=training) if isinstance(part, layers.BatchNormalization) else part(x)
        return x


class Subclassed(keras.Model):
    """A subclassed model around a nested Functional one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.body, self.block, self.head = functional(), Block(), layers.Dense(2)

    def call(self, x, training=None):
        y = self.block(x, training=training)
        return self.head(keras.ops.mean(y, axis=(1, 2))) + self.body(x, training=training)


def functional():
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    x = keras.Sequential([layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3), layers.BatchNormalization()])(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def subclassed():
    model = Subclassed()
    model(pixels(1, 8))
    return model


def sequential():
    return keras.Sequential([keras.Input((8, 8, 3)), Block(), layers.Flatten(), layers.Dense(2, activation="silu")])


def within_a_model():
    inputs = keras.Input((8, 8, 3))
    return keras.Model({"image": inputs}, {"a": functional()(inputs), "b": Block()(inputs)})


KINDS = [functional, sequential, subclassed, within_a_model]
kinds = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)


def made(make):
    seed_everything(0)
    model = make()
    for layer in layers_of(model):
        randomise(layer)
    return model


def state(model):
    """What a user can see of a model besides its calls."""
    return [type(model), [v.path for v in model.weights], [v.value.shape for v in model.weights], model.trainable]


def predictions(model, images):
    """By mode; the model is left as it was."""
    with kept_variables(model):
        return {mode: prediction(model, images, mode == "training") for mode in ("inference", "training")}


def assert_agree(mine, theirs, images, rounding=1e-4):
    right, found = predictions(theirs, images), predictions(mine, images)
    for mode, tensors in right.items():
        values = dict(zip(tensors, found[mode].values(), strict=True))  # paths may be numbered differently
        error, tensor = difference(values, tensors)
        assert error <= rounding, f"{mode}: {tensor} differs by {error:.1e}"


@kinds
def test_every_kind_of_model_agrees_with_stock(make):
    """The same random numbers too: dropout is on in training mode."""
    model = accelerate(made(make))
    assert any(is_fast(layer) for layer in layers_of(model))
    assert_agree(model, made(make), pixels(4, 8))


@kinds
def test_class_configuration_and_weights_stay(make):
    model = made(make)
    before, weights, config = state(model), model.get_weights(), None if make is subclassed else model.get_config()
    accelerate(model)
    assert state(model) == before
    for mine, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert make is subclassed or model.get_config() == config


@pytest.mark.slow
@kinds
def test_restore_leaves_nothing_behind(make):
    images = pixels(4, 8)
    model = made(make)
    parts = list(model._flatten_layers())
    parts += [part._functional for part in parts if isinstance(part, keras.Sequential)]
    attributes, strides = [set(part.__dict__) for part in parts], [v.value.stride() for v in model.variables]
    stock = predictions(model, images)
    assert restore(model) is model, "nothing to undo"
    assert accelerate(accelerate(model)) is model
    predictions(model, images)
    assert restore(model) is model
    assert [set(part.__dict__) for part in parts] == attributes
    assert [v.value.stride() for v in model.variables] == strides
    again = predictions(model, images)
    assert all(torch.equal(again[mode][name], value) for mode in stock for name, value in stock[mode].items())


def test_accelerating_twice_is_harmless():
    once, twice = accelerate(made(functional)), accelerate(accelerate(made(functional)))
    assert_agree(twice, once, pixels(4, 8), rounding=0)
    assert not is_fast(restore(twice))


@pytest.mark.parametrize("make", [functional, within_a_model])
def test_saved_file_is_plain_keras(make, tmp_path):
    """The configuration that stock Keras saves; loaded in safe mode, without classes of our package."""
    keras.saving.get_custom_objects()["Block"] = Block
    try:
        model = made(make)
        model.save(tmp_path / "stock.keras")
        accelerate(model).save(tmp_path / "fast.keras")
        loaded = keras.models.load_model(tmp_path / "fast.keras", safe_mode=True)
    finally:
        del keras.saving.get_custom_objects()["Block"]
    configurations = [zipfile.ZipFile(tmp_path / f"{name}.keras").read("config.json") for name in ("stock", "fast")]
    assert json.loads(configurations[0]) == json.loads(configurations[1])
    assert b"kdrecipes" not in configurations[1]
    assert not any(is_fast(layer) for layer in loaded._flatten_layers())
    assert_agree(model, loaded, pixels(4, 8))


def test_clone_and_deepcopy_are_plain_keras():
    """What is copied computes by itself: with other weights than the original's it gives other values."""
    model, images = accelerate(made(functional)), pixels(4, 8)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (clone, deepcopy(model)):
        assert not any(is_fast(layer) for layer in copy._flatten_layers())
        with torch.no_grad():
            right = model(images, training=False)
            assert (copy(images, training=False) - right).abs().max() <= 1e-4 * right.abs().max()
            for variable in copy.weights:
                variable.assign(variable * 0)
            assert torch.equal(model(images, training=False), right)
            assert (copy(images, training=False) == 0).all()


@kinds
def test_weights_given_afterwards_are_used(make, tmp_path):
    model, other = accelerate(made(make)), made(make)
    for variable in other.weights:
        variable.assign(variable * 0.7 + 0.05)
    model.set_weights(other.get_weights())
    assert_agree(model, other, pixels(4, 8))
    model.set_weights([w * 0 for w in other.get_weights()])
    other.save_weights(tmp_path / "w.weights.h5")
    model.load_weights(tmp_path / "w.weights.h5")
    assert_agree(model, other, pixels(4, 8))


def test_layers_changed_afterwards_are_followed():
    """`trainable`, the rate of dropout and the momentum are read at each call, as Keras does."""
    model, stock = accelerate(made(functional)), made(functional)
    images = pixels(4, 8)
    for which in (model, stock):
        for layer in layers_of(which):
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.6
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = 0.1
    assert_agree(model, stock, images)
    model.trainable = stock.trainable = False
    assert_agree(model, stock, images)
    with torch.no_grad():
        model(images, training=True)
    for mine, theirs in zip(model.weights, stock.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_an_activation_changed_afterwards_counts():
    """As whoever cuts a model's softmax off does; before and after the first call."""
    model, stock = accelerate(made(sequential)), made(sequential)
    for activation in (keras.activations.softmax, keras.activations.linear, keras.activations.tanh):
        model.layers[-1].activation = stock.layers[-1].activation = activation
        assert_agree(model, stock, pixels(4, 8))


def test_parts_of_an_accelerated_model_make_new_models():
    """A layer's output as a feature, and the model as a layer of another one."""
    model, images = accelerate(made(functional)), pixels(4, 8)
    with torch.no_grad():
        right = made(functional)
        features = keras.Model(right.inputs, right.layers[3].output)(images)
        found = keras.Model(model.inputs, model.layers[3].output)(images)
        assert (found - features).abs().max() <= 1e-4 * features.abs().max()
        inputs = keras.Input((8, 8, 3))
        outer = keras.Model(inputs, layers.Softmax()(model(inputs)))
        wanted = torch.softmax(right(images, training=False), -1)
        assert (outer(images, training=False) - wanted).abs().max() <= 1e-4


def test_a_call_that_someone_else_replaced_is_used_and_kept():
    model, seen = accelerate(made(functional)), []
    layer = model.layers[2]
    fast = layer.call

    def recorder(x, *args, **kwargs):
        seen.append(fast(x, *args, **kwargs))
        return seen[-1]

    layer.__dict__["call"] = recorder
    assert_agree(model, made(functional), pixels(4, 8))
    assert len(seen) == 2
    assert seen[0].shape == (4, 4, 4, 4)
    restore(model)
    assert layer.__dict__.get("call") is recorder


def test_other_sizes_and_batches_in_turn():
    def build():
        inputs = keras.Input((None, None, 3))
        x = layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
        x = layers.MaxPooling2D(3, 2, "same")(layers.BatchNormalization()(x))
        return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))

    model, stock = accelerate(made(build)), made(build)
    for batch, height, width in ((2, 9, 8), (5, 8, 9), (1, 4, 4), (2, 9, 8)):
        assert_agree(model, stock, pixels(batch, 16)[:, :height, :width])


def test_wrong_inputs_get_keras_own_error():
    model, stock = accelerate(made(functional)), made(functional)
    for wrong in (pixels(2, 8)[..., :2], pixels(2, 4), pixels(2, 8)[0, 0]):
        with pytest.raises(ValueError) as theirs:
            stock(wrong)
        with pytest.raises(ValueError) as ours:
            model(wrong)
        assert "incompatible" in str(theirs.value) and "incompatible" in str(ours.value)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float64"])
def test_other_dtypes_are_left_to_keras(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, stock = accelerate(made(functional)), made(functional)
    finally:
        keras.config.set_dtype_policy(before)
    assert_agree(model, stock, pixels(4, 8), rounding=0)
    assert model(pixels(2, 8)).dtype == stock(pixels(2, 8)).dtype


@pytest.mark.parametrize("compiled_first", [False, True])
@kinds
def test_fit_learns_what_stock_keras_learns(make, compiled_first):
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 1])

    def trained(change):
        model = made(make)
        if not compiled_first:
            change(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        losses = {"a": loss, "b": "mse"} if make is within_a_model else loss
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), losses)
        if compiled_first:
            change(model)
        x = pixels(8, 8).numpy() / 64
        y = {"a": labels, "b": np.ones((8, 8, 8, 4))} if make is within_a_model else labels
        history = model.fit(as_inputs(model, x), y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model, history.history["loss"], keras.tree.flatten(model.predict(as_inputs(model, x), verbose=0))

    fast, losses, predicted = trained(accelerate)
    stock, right_losses, right_predicted = trained(lambda model: model)
    assert is_fast(fast) or any(is_fast(layer) for layer in layers_of(fast))
    np.testing.assert_allclose(losses, right_losses, rtol=1e-4)
    for mine, theirs in zip([*fast.get_weights(), *predicted], [*stock.get_weights(), *right_predicted], strict=True):
        assert np.abs(mine - theirs).max() <= 1e-4 * max(np.abs(theirs).max(), 1e-2)
