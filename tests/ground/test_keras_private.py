"""Each private thing of Keras that is touched is as expected, and touched by way of `keras_private` alone."""

import ast
import re
import zipfile
from pathlib import Path

import pytest
import torch

from kdrecipes import keras_private
from kdrecipes.backend import keras

layers = keras.layers
REPOSITORY = Path(__file__).resolve().parents[2]
CHECKS = {}


def holds(name, sentence):
    """Register a check: that `sentence` is true of Keras is why `keras_private.<name>` works."""

    def register(check):
        CHECKS[name] = (sentence, check)
        return check

    return register


def verify(name):
    sentence, check = CHECKS[name]
    try:
        check()
    except Exception as error:
        pytest.fail(
            f"In Keras {keras.__version__} it is no longer so that {sentence} ({type(error).__name__}: {error}). "
            f"Look at `{name}` in kdrecipes/keras_private.py.",
            pytrace=False,
        )


class Block(layers.Layer):
    """Two layers, one of which holds another."""

    def __init__(self):
        super().__init__()
        self.own = self.add_weight(shape=(1,), name="own")
        self.inner = keras.Sequential([layers.Input((4,)), layers.Dense(3, name="deep")], name="inner")
        self.twin = self.inner  # the same layer once more

    def call(self, x):
        self.add_loss(keras.ops.sum(x))
        return self.inner(x) * self.own


def graph():
    """Two branches of one input that are added: its layers by name."""
    x = keras.Input((4,), name="x")
    left = layers.Dense(3, name="left")(x)
    right = layers.Dense(3, name="right")(x)
    return keras.Model(x, layers.Add(name="sum")([left, right]))


def built(optimizer=None):
    model = graph()
    optimizer = optimizer or keras.optimizers.AdamW(0.5, weight_decay=0.25)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def a_compiled_model():
    model = graph()
    model.compile("sgd", "mse", metrics=["mae"])
    return model


@holds("DotNotTrackScope", "what is set on a layer inside `DotNotTrackScope` is no part of the layer")
def _():
    layer = layers.Layer()
    with keras_private.DotNotTrackScope():
        layer.hidden = layers.Dense(1)
    layer.seen = layers.Dense(1)
    assert layer._layers == [layer.seen]


@holds(
    "Functional", "a model of inputs and outputs is a `Functional` whose `call` runs its graph, a subclassed one none"
)
def _():
    model = graph()
    assert isinstance(model, keras_private.Functional) and type(model).call is keras_private.Functional.call
    assert not isinstance(keras.Sequential(), keras_private.Functional)
    x = torch.ones(2, 4)
    torch.testing.assert_close(keras_private.Functional.call(model, x, training=False), model(x))


@holds("in_stateless_scope", "`in_stateless_scope` tells whether a `keras.StatelessScope` is open")
def _():
    assert keras_private.in_stateless_scope() is False
    with keras.StatelessScope():
        assert keras_private.in_stateless_scope() is True


@holds("operation_fn", "`operation_fn` gives `training` to the operations that take it, and to no others")
def _():
    class Told(layers.Layer):
        def call(self, x, training=None):
            assert training is True
            return x

    x = torch.ones(2, 4)
    assert keras_private.operation_fn(Told(), training=True)(x) is x
    torch.testing.assert_close(keras_private.operation_fn(layers.ReLU(), training=True)(x), x)


@holds("without_tensorflow", "Keras asks `module_utils.tensorflow.available` before it imports TensorFlow")
def _():
    from keras.src.utils.module_utils import LazyModule, tensorflow

    keras_private.without_tensorflow()
    assert isinstance(tensorflow, LazyModule) and tensorflow.available is False
    keras.utils.set_random_seed(0)  # these two ask
    keras.saving.serialize_keras_object(layers.Dense(1))


@holds("fresh_names", "unnamed layers are numbered from the start after `naming.reset_uids`")
def _():
    first, second = layers.Dense(1).name, layers.Dense(1).name
    keras_private.fresh_names()
    assert first != second and layers.Dense(1).name == "dense"


@holds("current_device", "`get_device` tells the device that `keras.device` set")
def _():
    assert keras_private.current_device() == "cpu"
    with keras.device("meta"):
        assert keras_private.current_device() == "meta"


@holds("global_seed", "`global_seed_generator` gives one seed, from which is drawn where no other is given")
def _():
    before = keras_private.global_seed().numpy().copy()
    first = keras.random.uniform((3,))
    keras_private.global_seed().assign(before)
    assert torch.equal(first, keras.random.uniform((3,))) and not torch.equal(first, keras.random.uniform((3,)))


@holds("flat_layers", "`_flatten_layers` lists a layer first and then all layers inside it, each once, at any depth")
def _():
    block = Block()
    found = keras_private.flat_layers(block)
    assert isinstance(found, list) and found[0] is block and len(found) == len({id(layer) for layer in found})
    assert {"inner", "deep"} <= {layer.name for layer in found}


@holds("inner_layers", "`_flatten_layers(include_self=False, recursive=False)` lists what is directly inside a layer")
def _():
    block = Block()
    assert keras_private.inner_layers(block) == [block.inner]
    assert keras_private.inner_layers(layers.Dense(1)) == []


@holds("own_trainable", "`_trainable_variables` are a layer's own, without those of the layers inside it")
def _():
    block = Block()
    assert [v.name for v in keras_private.own_trainable(block)] == ["own"]
    assert len(block.trainable_variables) == 3


@holds(
    "added_losses", "`_losses` holds what a layer's last call gave to `add_loss`, and nothing of the layers inside it"
)
def _():
    block = Block()
    for _ in range(2):
        block(torch.ones(2, 4))
        assert [float(loss) for loss in keras_private.added_losses([block, block.inner])] == [8.0]


@holds("take_any_arguments", "`_allow_non_tensor_positional_args` lets a layer be called with what is no tensor")
def _():
    class Length(layers.Layer):
        def call(self, labels, outputs):
            return labels * len(outputs.args)

    layer, given = Length(), ValueError("no", "tensor")
    with pytest.raises(ValueError, match="Only input tensors"):
        Length()(torch.ones(1), given)
    keras_private.take_any_arguments(layer)
    assert float(layer(torch.ones(1), given)) == 2


@holds("is_rematerialized", "`_remat_mode` is None but for layers made in a `RematScope`")
def _():
    assert not keras_private.is_rematerialized(layers.Dense(1))
    with keras.RematScope("full"):
        assert keras_private.is_rematerialized(layers.Dense(1))


@holds("kernel_variable", "`_kernel` is the variable of a convolution's or dense layer's kernel, with LoRA weights too")
def _():
    for layer in (layers.Conv2D(2, 3), layers.Dense(4), layers.DepthwiseConv2D(3)):
        layer.build((None, 8, 8, 2))
        variable = keras_private.kernel_variable(layer)
        assert isinstance(variable, keras.Variable) and variable is layer.kernel
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(1)
            assert keras_private.kernel_variable(layer) is variable and layer.kernel is not variable


@holds("tensor_of", "`_value` is a variable's own torch parameter, kept when the variable is assigned to")
def _():
    variable = keras.Variable([1.0, 2.0])
    tensor = keras_private.tensor_of(variable)
    assert isinstance(tensor, torch.nn.Parameter) and tensor is variable.value
    variable.assign([3.0, 4.0])
    assert keras_private.tensor_of(variable) is tensor and tensor.tolist() == [3.0, 4.0]
    with keras.device("meta"):
        assert keras_private.tensor_of(variable) is tensor


@holds("compiled_metrics", "`_compile_metrics` is the one metric of those given to `compile`; it is not built at first")
def _():
    model = a_compiled_model()
    metric = keras_private.compiled_metrics(model)
    assert any(metric is one for one in model.metrics) and metric.built is False
    model.evaluate(torch.ones(2, 4), torch.ones(2, 3), verbose=0)
    assert metric.built is True and set(metric.result()) == {"mae"}


@holds("loss_tracker", "`_loss_tracker` is the metric of a compiled model that holds its loss, first of its metrics")
def _():
    model = a_compiled_model()
    assert keras_private.loss_tracker(model) is model.metrics[0] and model.metrics[0].name == "loss"


@holds(
    "set_loss_tracker", "a compiled model lists and resets the metric at `_loss_tracker` without it being a part of it"
)
def _():
    model, mine = a_compiled_model(), keras.metrics.Mean(name="loss")
    keras_private.set_loss_tracker(model, mine)
    assert [metric is mine for metric in model.metrics].count(True) == 1 and model.metrics[0] is mine
    mine.update_state(3.0)
    model.reset_metrics()
    assert float(mine.result()) == 0 and not any(v is mine.total for v in model.variables)


@holds("MASK", "a mask is the attribute `_keras_mask` of the tensor that it belongs to")
def _():
    masked = layers.Masking()
    symbolic, real = masked(keras.Input((3, 2))), masked(torch.zeros(1, 3, 2))
    assert getattr(symbolic, keras_private.MASK, None) is not None
    assert getattr(real, keras_private.MASK).shape == (1, 3)
    assert not hasattr(layers.ReLU()(torch.zeros(1, 3, 2)), keras_private.MASK)


@holds("graph_of", "a built Sequential computes by a Functional model of its layers at `_functional`")
def _():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3)])
    inner = keras_private.graph_of(model)
    assert isinstance(inner, keras_private.Functional) and inner.layers[-1] is model.layers[-1]
    inner.__dict__["call"] = lambda inputs, **options: "heard"
    assert model.call(torch.ones(2, 4)) == "heard"
    assert keras_private.graph_of(inner) is inner


@holds("nodes_of", "`_nodes_by_depth` holds a graph's calls by their distance from its outputs, with what they read")
def _():
    model = graph()
    nodes = keras_private.nodes_of(model)
    assert {node.operation.name for node in nodes[:2]} == {"left", "right"} and nodes[2].operation.name == "sum"
    assert len(nodes) == 3 and nodes[2].outputs[0] is model.outputs[0]
    assert [id(t) for t in nodes[2].input_tensors] == [id(t) for t in nodes[2].arguments.args[0]]
    assert {id(node.outputs[0]) for node in nodes[:2]} == {id(t) for t in nodes[2].input_tensors}
    args, kwargs = nodes[2].arguments.fill_in({id(t): i for i, t in enumerate(nodes[2].input_tensors)})
    assert list(args[0]) == [0, 1] and not kwargs and not nodes[2].arguments.kwargs


@holds("standardizer_of", "`_standardize_inputs` makes a flat list of tensors of what a graph is called with")
def _():
    standardize, x = keras_private.standardizer_of(graph()), torch.ones(2, 4)
    (same,), (image,) = standardize(x), standardize(x.numpy())
    assert same is x
    torch.testing.assert_close(image, x)


@holds("maker_of", "`_keras_history` names the layer that gave out a symbolic tensor, and real tensors have none")
def _():
    model = graph()
    assert keras_private.maker_of(model.outputs[0]) is model.layers[-1]
    assert keras_private.maker_of(torch.ones(1)) is None


@holds("sources_of", "`_keras_history` and `_inbound_nodes` lead from a symbolic tensor to those it was made of")
def _():
    model = graph()
    made_of = keras_private.sources_of(model.outputs[0])
    assert [keras_private.maker_of(tensor).name for tensor in made_of] == ["left", "right"]
    (start,) = keras_private.sources_of(made_of[0])
    assert keras_private.sources_of(start) == []


@holds("optimized", "`_trainable_variables` are what a built optimiser moves, in the order they were given")
def _():
    model, optimizer = built()
    found = keras_private.optimized(optimizer)
    assert [v is w for v, w in zip(found, model.trainable_variables, strict=True)] == [True] * 4


@holds("moments_of", "`_momentums` and `_velocities` are a built Adam's moving means and squares, in that same order")
def _():
    model, optimizer = built(keras.optimizers.Adam(beta_1=0.5, beta_2=0.75))
    optimizer.apply([torch.full_like(v.value, 2.0) for v in model.trainable_variables])
    means, squares = keras_private.moments_of(optimizer)
    for variable, mean, square in zip(model.trainable_variables, means, squares, strict=True):
        assert mean.shape == square.shape == variable.shape
        assert set(mean.value.flatten().tolist()) == {1.0} and set(square.value.flatten().tolist()) == {1.0}


@holds("place_finder", "`_get_variable_index` tells where a variable stands among those an optimiser was built on")
def _():
    model, optimizer = built()
    place_of = keras_private.place_finder(optimizer)
    assert [place_of(v) for v in reversed(model.trainable_variables)] == [3, 2, 1, 0]


@holds("decay_rule", "`_use_weight_decay` is False for what `exclude_from_weight_decay` was given, else True")
def _():
    model, optimizer = graph(), keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(model.trainable_variables[:1])
    optimizer.build(model.trainable_variables)
    assert [bool(keras_private.decay_rule(optimizer)(v)) for v in model.trainable_variables] == [False] + [True] * 3


@holds("replace_update", "`apply` moves variables by one `_backend_update_step` and, before it, `_apply_weight_decay`")
def _():
    model, optimizer = built()
    before = [v.numpy().copy() for v in model.trainable_variables]
    heard = []
    keras_private.replace_update(optimizer, lambda *given: heard.append(given))
    optimizer.apply([torch.ones_like(v.value) for v in model.trainable_variables], model.trainable_variables)
    ((gradients, variables, rate),) = heard
    assert len(gradients) == len(variables) == 4 and float(rate) == 0.5 and int(optimizer.iterations) == 1
    assert all((old == v.numpy()).all() for old, v in zip(before, model.trainable_variables, strict=True))


@holds("temporary_folders", "what packs and unpacks a model's file makes each folder by one function, found by name")
def _():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made, file = [], Path(folder) / "model.keras"

        def make():
            made.append(tempfile.mkdtemp(dir=folder))
            return made[-1]

        with keras_private.temporary_folders(make):
            graph().save(file)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("more.json", "{}")  # a fourth file has Keras unpack all
            keras.models.load_model(file)
        assert len(made) == 2 and not any(Path(one).exists() for one in made)


@holds("divert_saving", "whatever saves a model or its weights ends in one of three functions, found by name")
def _():
    class Told(keras.Model):
        """Saved otherwise."""

    def note(name):
        return lambda write, model, path: told.append((name, type(model), path))

    told = []
    private = keras_private.saving_lib, keras_private.legacy_h5_format
    before = [dict(vars(module)) for module in private]
    try:
        keras_private.divert_saving(Told, model=note("model"), weights=note("weights"))
        model = Told()
        for path in ("a.keras", "a.h5"):
            model.save(path)
            keras.saving.save_model(model, path)
            keras.models.save_model(model, path)
        keras.saving.save_model(model, "a", zipped=False)
        model.save_weights("a.weights.h5")
        keras.saving.save_weights(model, "a.weights.h5")
    finally:
        for module, names in zip(private, before, strict=True):
            vars(module).update(names)
    paths = ["a.keras"] * 3 + ["a.h5"] * 3 + ["a"]
    assert told == [("model", Told, path) for path in paths] + [("weights", Told, "a.weights.h5")] * 2


def tree_of(file):
    return ast.parse(file.read_text(encoding="utf-8"))


PRIVATE_FILE = REPOSITORY / "kdrecipes" / "keras_private.py"
PRIVATE = tree_of(PRIVATE_FILE)


def names_in_keras_private():
    """What the file offers: its functions, its constants, and what it passes on."""
    bound = {node.name for node in PRIVATE.body if isinstance(node, ast.FunctionDef)}
    bound |= {node.target.id for node in PRIVATE.body if isinstance(node, ast.AnnAssign)}
    bound |= {t.id for node in PRIVATE.body if isinstance(node, ast.Assign) for t in node.targets} - {"__all__"}
    return bound | set(keras_private.__all__)


def test_everything_private_has_its_test_here():
    assert names_in_keras_private() == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_keras_is_as_expected(name):
    verify(name)


def test_a_release_that_changes_something_is_named(monkeypatch):
    monkeypatch.delattr(layers.Layer, "_flatten_layers")
    with pytest.raises(
        pytest.fail.Exception, match=r"In Keras 3\.\S+ .* lists a layer first .*Look at `flat_layers` in"
    ):
        verify("flat_layers")


# --- nobody else touches them ----------------------------------------------------------------------------------------

OF_OTHERS = {"torch", "os", "image_feature"}  # modules whose private parts are not Keras'


def is_private(name):
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def touched(tree):
    """(line, name) of every private attribute that is reached, by a dot or by its name in quotes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if not (isinstance(root, ast.Name) and root.id in OF_OTHERS):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_private(node.value):
            yield node.lineno, node.value


def own_names(tree):
    """Private names that a file gives to attributes of its own classes, and of named tuples."""
    yield "_replace"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # in quotes: only Keras' names count


def offences(trees):
    """A sentence for each place that goes past `keras_private`."""
    of_keras = {name for _, name in touched(PRIVATE)}
    own = {name for tree in trees.values() for name in own_names(tree)} - of_keras
    for file, tree in trees.items():
        for node in ast.walk(tree):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(f"{module}.".startswith("keras.src.") for module in modules):
                yield f"{file}:{node.lineno} imports from keras.src: only kdrecipes/keras_private.py may"
        for line, name in touched(tree):
            if name not in own:
                yield f"{file}:{line} touches {name!r}, private to Keras: give it a name in kdrecipes/keras_private.py"


@pytest.mark.slow
def test_all_else_goes_through_keras_private():
    files = [*(REPOSITORY / "kdrecipes").rglob("*.py"), *(REPOSITORY / "plugins").rglob("kdrecipes_*/**/*.py")]
    trees = {file.relative_to(REPOSITORY): tree_of(file) for file in sorted(files) if file != PRIVATE_FILE}
    assert len(trees) > 100
    found = list(offences(trees))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src import tree",
        "import keras.src.utils.naming as n",
        "model._flatten_layers()",
        "self._loss_tracker = 3",
        "hasattr(x, '_keras_mask')",
        "model._unheard_of",
    ],
)
def test_the_rule_sees(code):
    (sentence,) = offences({"file.py": ast.parse("\n" + code)})
    assert sentence.startswith("file.py:2 ") and "keras_private" in sentence


@pytest.mark.parametrize("code", ["self._mine = 1\nself._mine", "torch._foreach_lerp_(a)", "def _f(self): x._f()"])
def test_the_rule_lets(code):
    assert not list(offences({"file.py": ast.parse(code)}))
