"""Components with one fault each, and the words of the check that finds it. Imports nothing heavy, as plugins must."""

from __future__ import annotations

from kdrecipes import Component, RunError

NUMBER = {"type": "integer", "default": 1, "description": "a number"}
PASSED = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}


def component(kind, build, declared=None, **properties):
    """A component of these options; what the run passes to models is declared unless `declared` says otherwise."""
    passed = {"model": PASSED, "dataset": {"split": {"type": "string"}}}.get(kind, {}) if declared is None else declared
    schema = {"type": "object", "additionalProperties": False, "properties": {**passed, **properties}}
    return Component(kind, "faulty", build, schema, summary="a test's")


def term(function, **attributes):
    """A loss component of a term that is one function of (labels, student, teacher)."""

    def build():
        def call(labels, student, teacher):
            return function(labels, student, teacher)

        for name, value in attributes.items():
            setattr(call, name, value)
        return call

    return component("loss", build)


def head(scores=None, inner=None, **extra):
    """A model component: the mean colour of an image, through a dense layer, then `scores`."""

    def build(classes, image_size):
        import keras

        pixels = keras.Input((image_size, image_size, 3))
        x = keras.layers.Rescaling(1 / 255)(pixels)
        x = (inner or (lambda x: x))(x)
        x = keras.layers.Dense(classes, **extra)(keras.layers.GlobalAveragePooling2D()(x))
        return keras.Model(pixels, scores(x) if scores else x)

    return component("model", build)


def nothing(**options):
    raise AssertionError("built before its options were checked")


def undeclared(classes, image_size, depth):
    raise AssertionError


def two_defaults(classes, image_size, depth=2):
    raise AssertionError


def no_default(classes, image_size, depth):
    raise AssertionError


def tells_undeclared():
    def build(classes, image_size):
        raise AssertionError("built before its names were checked")

    build.names = lambda: {"depth": ["deep"]}
    return component("model", build)


def problems_fail():
    def build(classes, image_size):
        raise AssertionError("built before its options were checked")

    build.problems = lambda: []
    return component("model", build)


CONTRACT = {
    "build.problems(**options), which `kdrecipes validate` asks, failed. Received: TypeError": problems_fail(),
    "build.names(), the names that its options take, failed. Received: "
    "ValueError: build.names() tells names of 'depth', which its options do not declare": tells_undeclared(),
    "option 'depth' needs a description": component("model", nothing, depth={"type": "integer", "default": 1}),
    "needs a summary": Component("model", "faulty", nothing),
    "the default of option 'depth' must fit its schema. Received: 'x' is not of type 'integer'": component(
        "model", nothing, depth={**NUMBER, "default": "x"}
    ),
    "its option 'train' is one of the run's own keys": component("model", nothing, train=NUMBER),
    "build takes no 'width', which its options declare: add": component("model", two_defaults, width=NUMBER),
    "build needs 'depth', which its options do not declare: add it to": component("model", undeclared),
    "option 'depth' must have one default, in its schema and in build. Received: 1 and 2": component(
        "model", two_defaults, depth=NUMBER
    ),
    "build needs 'depth', which a recipe may leave out: give it a default": component(
        "model", no_default, depth={"type": "integer", "description": "a number"}
    ),
    "check_loss checks it, not check_model": component("loss", nothing),
}


# ---- models


def other_size():
    def build(classes, image_size):
        return head().build(classes=classes, image_size=16)

    return component("model", build)


def other_classes():
    def build(classes, image_size):
        return head().build(classes=classes + 1, image_size=image_size)

    return component("model", build)


def frozen_width():
    def build(image_size):
        return head().build(classes=3, image_size=image_size)

    return component("model", build, {"image_size": {"type": "integer"}})


def undefined_on_black(x):
    import keras

    return keras.ops.log(x)


def of_the_batch(x):
    import keras

    return x - keras.ops.mean(x, 0, keepdims=True)


def stopped(x):
    import keras

    return keras.ops.stop_gradient(keras.layers.Dense(4)(x))


def shares(x):
    import keras

    return keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), 1, keepdims=True)


def drawn():
    def build(classes, image_size):
        import numpy as np

        model = head().build(classes=classes, image_size=image_size)
        model.layers[-1].kernel.assign(np.random.default_rng().normal(size=(3, classes)))
        return model

    return component("model", build)


def unregistered():
    def build(classes, image_size):
        import keras

        class Halve(keras.layers.Layer):
            def call(self, x):
                return x / 2

        pixels = keras.Input((image_size, image_size, 3))
        x = keras.layers.GlobalAveragePooling2D()(Halve()(pixels))
        return keras.Model(pixels, keras.layers.Dense(classes)(x))

    return component("model", build)


def forgetful():
    """A layer whose config leaves out what it was made with."""

    def build(classes, image_size):
        import keras

        @keras.saving.register_keras_serializable("faulty_components")
        class Scale(keras.layers.Layer):
            def __init__(self, by=1.0, **options):
                super().__init__(**options)
                self.by = by

            def call(self, x):
                return x * self.by

            def get_config(self):
                return super().get_config()

        pixels = keras.Input((image_size, image_size, 3))
        x = keras.layers.GlobalAveragePooling2D()(Scale(0.5)(pixels))
        return keras.Model(pixels, keras.layers.Dense(classes)(x))

    return component("model", build)


def torch_module(flaw):
    def build(classes, image_size):
        import torch

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.dense = torch.nn.Linear(3, classes)
                self.spare = torch.nn.Linear(3, classes) if flaw == "spare" else None
                self.hidden = [torch.randn(classes)] if flaw == "hidden" else [torch.zeros(classes)]

            def forward(self, pixels):
                if flaw == "axes":
                    pixels = pixels.permute(0, 3, 1, 2)
                return self.dense(pixels.mean((1, 2)) / 255) + self.hidden[0]

        return Network()

    return component("model", build)


def whole(x):
    import keras

    return keras.ops.cast(x, "int32")


def flat(x):
    import keras

    return keras.ops.sqrt(0 * x)


MODELS = {
    "must give float logits (3, 3) for 3 images. Received: torch.int32": head(scores=whole),
    "gradients must be finite; that of": head(scores=flat),
    "build(classes=3, image_size=16) failed. Received: 'faulty' built a int": component(
        "model", lambda classes, image_size: 3
    ),
    "must take images (24, 24, 3) where the run passes image_size=24. Received: (16, 16, 3)": other_size(),
    "'faulty' has 4 outputs and the dataset 3 classes": other_classes(),
    "must declare the option 'classes', which the run passes": frozen_width(),
    "must give finite logits for a black image, pixels 0–255": head(inner=undefined_on_black),
    "an image's logits must not depend on the others in inference": head(inner=of_the_batch),
    "must give logits, not probabilities": head(scores=shares),
    "The model ends in a softmax": head(activation="softmax"),
    "must start from the same weights when built twice": drawn(),
    "every trainable variable must get a gradient; ": head(inner=stopped),
    "saving it as .keras and opening it again (custom layers need": unregistered(),
    "saved as .keras and opened again must give the same logits": forgetful(),
    "a torch module that fails": torch_module("axes"),
    "every trainable variable must get a gradient; spare.weight gets none": torch_module("spare"),
    "saved as .safetensors and opened again must give the same logits": torch_module("hidden"),
}


# ---- datasets


class Source:
    """Eight grey images of two classes; a test's faults are what it overrides."""

    classes = ("a", "b")

    def __init__(self, split="train"):
        if split not in ("train", "test"):
            raise RunError(f"no split {split!r}")
        self.split = split

    def __len__(self):
        return 8

    def image(self, index):
        import numpy as np

        return np.full((4, 4, 3), index + 100 * (self.split == "test"), np.uint8)

    def label(self, index):
        return index % 2

    def __getitem__(self, index):
        if index >= 8:
            raise IndexError(index)
        return {"image": self.image(index), "label": self.label(index)}


class Endless(Source):
    def __getitem__(self, index):
        return super().__getitem__(index % 8)


class Floats(Source):
    def image(self, index):
        return super().image(index).astype("float32")


class LabelTooHigh(Source):
    def label(self, index):
        return 2


class LabelNamed(Source):
    def label(self, index):
        return "a"


class ClassTwice(Source):
    classes = ("a", "a")


class ClassNumbers(Source):
    classes = (0, 1)


class OtherClasses(Source):
    @property
    def classes(self):
        return ("a", "b") if self.split == "train" else ("b", "a")


class Augmented(Source):
    def image(self, index):
        import numpy as np

        return np.random.default_rng().integers(0, 256, (4, 4, 3)).astype(np.uint8)


class Shuffled(Source):
    def __init__(self, split="train"):
        import numpy as np

        super().__init__(split)
        self.order = np.random.default_rng().permutation(8)

    def image(self, index):
        return super().image(self.order[index])


class SameImages(Source):
    def image(self, index):
        import numpy as np

        return np.full((4, 4, 3), index, np.uint8)


class HalfSameImages(Source):
    def image(self, index):
        import numpy as np

        return np.full((4, 4, 3), index + 100 * (self.split == "test" and index % 2), np.uint8)


class Unpicklable(Source):
    def __init__(self, split="train"):
        super().__init__(split)
        self.open = lambda: split


class OtherArrays(Source):
    def arrays(self):
        import numpy as np

        return np.zeros((8, 4, 4, 3), np.uint8), np.zeros(8, np.int64)


class AnySplit(Source):
    def __init__(self, split="train"):
        super().__init__("test" if split == "test" else "train")


class KeyErrorSplit(Source):
    def __init__(self, split="train"):
        super().__init__({"train": "train", "test": "test"}[split])


class OtherLength(Source):
    built = 0

    def __init__(self, split="train"):
        super().__init__(split)
        OtherLength.built += 1
        self.length = 7 + OtherLength.built % 2

    def __len__(self):
        return self.length


class OneWeight(Source):
    weights = (1.0,)


class OtherWeights(Source):
    built = 0

    def __init__(self, split="train"):
        super().__init__(split)
        OtherWeights.built += 1
        self.weights = [float(OtherWeights.built)] * 8


class Empty(Source):
    def __len__(self):
        return 0


def says_otherwise(split):
    return Source(split)


says_otherwise.labelled = lambda split: False  # type: ignore[attr-defined]


DATASETS = {
    "must declare the option 'split', which the run passes": component("dataset", Source, {}),
    "'train': source[8] of 8 must raise an IndexError. Received: an example": component("dataset", Endless),
    "example 0 is float32 of shape (4, 4, 3); an image is uint8": component("dataset", Floats),
    "example 0 has label 2; with 2 classes labels go from 0 to 1": component("dataset", LabelTooHigh),
    "example 0 has label 'a'; a label is an integer": component("dataset", LabelNamed),
    "'train': the names of `classes` must be unique. Received: 'a' twice": component("dataset", ClassTwice),
    "'train': `classes` must be a list of names. Received: (0, 1)": component("dataset", ClassNumbers),
    "'train': build.labelled must say what `labelled` of the source says, or None. Received: False": component(
        "dataset", says_otherwise
    ),
    "the splits 'train' and 'test' must have the same classes": component("dataset", OtherClasses),
    "asked twice, an example must be the same; augmentation belongs in dataset.views": component("dataset", Augmented),
    "built twice, an example must be the same": component("dataset", Shuffled),
    "'test' must not hold the images of 'train'": component("dataset", SameImages),
    "'test' must not hold the images of 'train'. Received: 4 of 8": component("dataset", HalfSameImages),
    "sending it to another process (pickle) failed": component("dataset", Unpicklable),
    "arrays() must give the images and labels that its items give": component("dataset", OtherArrays),
    "a split that is not there must be refused. Received: a source for": component("dataset", AnySplit),
    "a split that is not there must be refused by a kdrecipes.RunError": component("dataset", KeyErrorSplit),
    "built twice, it must hold as many examples": component("dataset", OtherLength),
    "'train': must hold examples. Received: none": component("dataset", Empty),
    "its weights must be one number for each of its 8 examples": component("dataset", OneWeight),
    "built twice, or pickled, an example must have the same weight": component("dataset", OtherWeights),
}


# ---- losses


def squared(student, teacher):
    return (student.logits - teacher.logits) ** 2


def in_place(labels, student, teacher):
    teacher.logits.mul_(0.5)
    return squared(student, teacher).mean(1)


def labels_only(labels, student, teacher):
    import torch

    return torch.nn.functional.cross_entropy(student.logits, labels, reduction="none")


def integer_labels_only(labels, student, teacher):
    return squared(student, teacher).gather(1, labels[:, None])[:, 0]


def argmax_of_labels(labels, student, teacher):
    """Takes rows, and reads them otherwise than whole labels."""
    weight = 1.0 + labels if labels.ndim == 1 else 1.0 + labels.sum(1)
    return weight * squared(student, teacher).mean(1)


def probabilities(outputs):
    return outputs.logits.softmax(-1)


def logarithm(labels, student, teacher):
    return (probabilities(teacher) * (probabilities(teacher).log() - probabilities(student).log())).sum(-1)


def distance(labels, student, teacher):
    return squared(student, teacher).sum(1).sqrt()


def normalised(labels, student, teacher):
    return squared(student, teacher).mean(1) / squared(student, teacher).mean()


def layer(role):
    def read(labels, student, teacher):
        return (student if role == "student" else teacher).features["a"].flatten(1).mean(1) * student.logits.sum(1)

    return read


LOSSES = {
    "build must return a callable term(labels, student, teacher). Received: int": component("loss", lambda: 3),
    "must give (8,) values for 8 examples, or a scalar. Received: (8, 5)": term(lambda y, s, t: squared(s, t)),
    "must give a torch tensor. Received: float": term(lambda y, s, t: float(squared(s, t).mean())),
    "must compute in the dtype given or wider: float64 for float64 logits. Received: torch.float32": term(
        lambda y, s, t: squared(s, t).mean(1).float()
    ),
    "must have the same value in float32 and in float64": term(
        lambda y, s, t: squared(s, t).mean(1) * s.logits.element_size()
    ),
    "must compute in float32 or wider. Received: torch.float16": term(lambda y, s, t: squared(s, t).mean(1).half()),
    "must not change what it is given; it changes the teacher's logits": term(in_place),
    "must pass a gradient to the student. Received: none": term(lambda y, s, t: squared(s, t).detach().mean(1)),
    "must be finite on logits of ±10,000": term(logarithm),
    "must have finite gradients on a student that agrees with its teacher": term(distance, relational=False),
    "must not be a loss on the labels": term(labels_only),
    "must not hear the teacher where it says hears_teacher = False": term(
        lambda y, s, t: squared(s, t).mean(1), hears_teacher=False
    ),
    "an example's value must not depend on the others": term(
        lambda y, s, t: squared(s, t).mean(1) * (1 + s.logits.std())
    ),
    "a scalar that is no mean over examples": term(lambda y, s, t: squared(s, t).sum()),
    "must take labels (batch, classes) of mixed examples, or the term must say mixed_labels = False": term(
        integer_labels_only
    ),
    "must say the same of label 1 and of the row (0, 1, 0, …)": term(argmax_of_labels),
    "must read the layers that it declares in student_layers. Received: not 'a'": term(
        lambda y, s, t: squared(s, t).mean(1), student_layers=("a",)
    ),
    "must read the layers that it declares in teacher_layers. Received: not 'a'": term(
        lambda y, s, t: squared(s, t).mean(1), teacher_layers=("a",)
    ),
    "the term on a batch of random logits failed. Received: KeyError: 'a'": term(layer("student")),
    "at(progress) failed": term(lambda y, s, t: squared(s, t).mean(1), at=lambda: None),
}


def counting_batches():
    """A term that keeps how many batches it has seen, and says so in its value."""
    parts = []

    def value(labels, student, teacher):
        from kdrecipes.term_layers import Values

        if not parts:
            parts.append(Values((), trainable=False))
        parts[0].values.assign(parts[0].values + 1)
        return squared(student, teacher).mean(1) * float(parts[0].values)

    value.parts = parts
    return value


# What a term may say of itself.
SOUND_LOSSES = {
    "what it keeps": component("loss", counting_batches, {}),
    "relational": term(lambda y, s, t: squared(s, t).sum(), relational=True),
    "integer labels": term(integer_labels_only, mixed_labels=False),
    "a teacher's layer": term(layer("teacher"), teacher_layers=("a",)),
    "labels alone": term(labels_only, hears_teacher=False),
    "a scalar that is a mean": term(lambda y, s, t: squared(s, t).mean()),
}


# ---- callbacks


def keras_callback(**methods):
    def build(folder, arm, seed):
        import keras

        return type("Faulty", (keras.callbacks.Callback,), methods)()

    return component("callback", build, {name: {} for name in ("folder", "arm", "seed")})


def shrink(self, batch, logs=None):
    for variable in self.model.student.trainable_variables:
        variable.assign(0.9 * variable)


def draw(self, batch, logs=None):
    import torch

    torch.rand(1)


def impatient():
    import keras

    return keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=0)


def stumble(self, epoch, logs=None):
    raise KeyError(logs["nonsense"])


def baseline_alone(arm):
    import keras

    return {"baseline": keras.callbacks.Callback()}[arm]


def tracker(declared=(), says=(), **methods):
    """A tracker, of which `says` are more attributes of its builder; it declares options that the run passes."""

    def build(**passed):
        import keras

        return type("Faulty", (keras.callbacks.Callback,), methods)()

    vars(build).update({"tracker": True, **dict(says)})
    return component("callback", build, {name: {} for name in declared})


def stumble_at_once(self, recipe, folder):
    raise KeyError("nonsense")


def only_the_end(self, report, folder):
    return report["name"]


CALLBACKS = {
    "build must return a keras.callbacks.Callback. Received: list": component("callback", lambda: []),
    "must leave the student's training as it is without it": keras_callback(on_train_batch_end=shrink),
    "must leave the student's training as it is without it: the recipe's fingerprint": component("callback", impatient),
    "fingerprint does not hold it. Received: other weights, or another state of torch's": keras_callback(
        on_train_batch_end=draw
    ),
    "a fit of 6 epochs with it failed. Received: KeyError: 'nonsense'": keras_callback(on_epoch_end=stumble),
    "build(arm='kd') failed": component("callback", baseline_alone, {"arm": {}}),
    "a tracker is built once for all arms, without arm and seed. Received: ['arm']": tracker(["arm"]),
    "on_run_end is called of a tracker only: build.tracker must be True": tracker(
        says={"tracker": False}, on_run_end=only_the_end
    ),
    "on_run_begin failed. Received: KeyError: 'nonsense'": tracker(on_run_begin=stumble_at_once),
    "on_run_end(None) failed. Received: TypeError": tracker(on_run_end=only_the_end),
    "build.modules must be a tuple of names that can be imported. Received: 'comet'": tracker(
        says={"modules": "comet"}
    ),
    "build.extra must say what pip installs where build.modules are missing. Received: None": tracker(
        says={"modules": ("comet",)}
    ),
}


# ---- exporters


def exporter(**attributes):
    """An exporter component that keeps the weights of the network as NumPy does; `attributes` replace its own."""

    def build():
        def export(model, path, example, names):
            import pickle

            path.write_bytes(pickle.dumps([variable.numpy() for variable in model.variables]))

        def load(path):
            import pickle

            from kdrecipes.components.models import cnn
            from kdrecipes.components.rebuilt import logits_of

            model = cnn.build(classes=3, image_size=8, width=4, depth=1)
            for variable, array in zip(model.variables, pickle.loads(path.read_bytes()), strict=True):
                variable.assign(array)
            return logits_of(model)

        whole = {"suffix": ".faulty", "extra": "faulty", "to_write": (), "to_read": (), "export": export, "load": load}
        return type(
            "Faulty", (), {name: staticmethod(v) if callable(v) else v for name, v in (whole | attributes).items()}
        )

    return component("exporter", build)


def write_nothing(model, path, example, names):
    pass


def spoil(model, path, example, names):
    path.write_bytes(b"")
    for variable in model.trainable_variables:
        variable.assign(0 * variable)


def stop(model, path, example, names):
    raise KeyError("stopped")


def answer(dtype="float32", classes=3):
    def load(path):
        import numpy as np

        return lambda images: np.zeros((len(images), classes), dtype)

    return load


EXPORTERS = {
    "what build gives needs suffix, a str. Received: None": exporter(suffix=None),
    "its suffix must begin with a dot. Received: 'onnx'": exporter(suffix="onnx"),
    "what build gives needs to_read, a tuple. Received: 'onnx'": exporter(to_read="onnx"),
    "what build gives needs the method load": exporter(load=None),
    "export must write the file that it is given, network.faulty": exporter(export=write_nothing),
    "export must leave the network as it is": exporter(export=spoil),
    "export failed. Received: KeyError: 'stopped'": exporter(export=stop),
    "the logits of 1 images must be float32 (1, 3). Received: float32 (1, 4)": exporter(load=answer(classes=4)),
    "the logits of 1 images must be float32 (1, 3). Received: float64 (1, 3)": exporter(load=answer("float64")),
    "the logits must be the network's. Received: differ by": exporter(load=answer()),
}
