"""Half precision, stock Keras and compilation by recipe: what they change, and what they must not."""

import json

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes import KD, Distiller
from kdrecipes.backend import keras, seed_everything
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.fast import accelerate
from kdrecipes.runs import compile_choice
from kdrecipes.training.features import tapped
from kdrecipes.training.fit import observed
from kdrecipes.training.inference import Inference
from kdrecipes.training.optimizer import build_optimizer

SMALL = [
    "student.width=3",
    "student.depth=1",
    "teacher.width=8",
    "teacher.train.epochs=1",
    "train.epochs=1",
    'dataset.train="train[:320]"',
    "dataset.validation=0.2",
]
IMAGES = torch.rand(16, 8, 8, 3, generator=torch.Generator().manual_seed(0)) * 255
LABELS = torch.arange(16) % 5


def small(*more):
    return kdrecipes.load_recipe("digits", [*SMALL, *more])


def student(fast=True):
    seed_everything(2)
    model = kdrecipes.component("model", "cnn").build(classes=5, image_size=8, width=4)
    return accelerate(model) if fast else model


def distiller(model, optimizer=None, **options):
    made = Distiller(student=model, **options)
    made.compile(optimizer=optimizer or keras.optimizers.SGD(0.01))
    return made


@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_is_of_the_forward_pass_alone(fast):
    model = student(fast)
    half = distiller(model, precision="bfloat16")
    layer = next(la for la in model.layers if isinstance(la, keras.layers.Conv2D))
    heard = []
    call = layer.call
    layer.__dict__["call"] = lambda x, **kwargs: heard.append(call(x, **kwargs)) or heard[-1]
    loss = float(half.train_step((IMAGES, LABELS))["loss"])
    assert heard[0].dtype == torch.bfloat16
    assert {v.value.dtype for v in model.variables} == {torch.float32}
    assert {v.value.grad.dtype for v in model.trainable_variables} == {torch.float32}
    whole = float(distiller(student(fast)).train_step((IMAGES, LABELS))["loss"])
    assert loss == pytest.approx(whole, rel=0.02) and loss != whole


def test_evaluation_stays_float32():
    half, whole = distiller(student(), precision="bfloat16"), distiller(student())
    assert float(half.test_step((IMAGES, LABELS))["loss"]) == float(whole.test_step((IMAGES, LABELS))["loss"])
    assert half(IMAGES).dtype == torch.float32


def test_a_teachers_precision_is_its_own():
    teacher = student()
    logits = {p: Inference(teacher, precision=p)(IMAGES).detach() for p in ("float32", "bfloat16")}
    assert logits["bfloat16"].dtype == torch.bfloat16
    seen = []

    def term(labels, of_student, of_teacher):
        seen.append((of_student.logits.dtype, of_teacher.logits))
        return KD()(labels, of_student, of_teacher)

    half_teacher = Inference(teacher, precision="bfloat16")
    distiller(student(), teacher=half_teacher, loss=term).train_step((IMAGES, LABELS))
    distiller(student(), teacher=teacher, loss=term, precision="bfloat16").train_step((IMAGES, LABELS))
    assert all(kind == torch.float32 and z.dtype == torch.float32 for kind, z in seen)
    assert torch.equal(seen[0][1], logits["bfloat16"].float()) and torch.equal(seen[1][1], logits["float32"])


def test_loss_scaling_changes_no_step():
    def weights(optimizer):
        model = student()
        made = distiller(model, optimizer)
        for _ in range(3):
            made.train_step((IMAGES, LABELS))
        return [v.value.detach() for v in model.trainable_variables]

    scaled = weights(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01)))
    for mine, theirs in zip(scaled, weights(keras.optimizers.SGD(0.01)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    train = small("train.precision='float16'").train
    assert isinstance(build_optimizer(train, 10), keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("key", ["train", "teacher", "teacher.train"])
def test_float16_is_refused_without_a_gpu(key, tmp_path):
    with pytest.raises(RunError, match=rf'{key}.precision = "float16" needs a CUDA GPU; .* Use "bfloat16"'):
        kdrecipes.run(small("teacher.train.precision='float32'", f"{key}.precision='float16'"), tmp_path / "run")


def test_a_run_in_half_precision_saves_and_reports_a_float32_student(tmp_path):
    recipe = small("train.precision='bfloat16'", "teacher.precision='bfloat16'", "teacher.train.precision='float32'")
    report = kdrecipes.run(recipe, tmp_path / "run")
    stored = np.load(tmp_path / "run" / "predictions.npz")
    data = prepare(recipe)
    for arm in report["arms"]:
        saved = keras.models.load_model(tmp_path / "run" / arm["student"], compile=False, safe_mode=True)
        assert saved.dtype_policy.name == "float32"
        assert {layer.dtype_policy.name for layer in saved.layers} == {"float32"}
        images = data.test.store.images[data.test.positions].astype("float32")
        logits = keras.ops.convert_to_numpy(saved(images, training=False))
        np.testing.assert_allclose(logits, stored[f"{arm['arm']}-{arm['seed']}"], rtol=1e-5, atol=1e-5)
        assert arm["test_accuracy"] == (logits.argmax(1) == stored["labels"]).mean()


@pytest.mark.parametrize("fast", [False, True])
def test_fast_false_runs_stock_keras(tmp_path, monkeypatch, fast):
    """In no fit, and nowhere where a network is asked for logits, does anything hold a function of the fast path."""
    taken, call = set(), Inference.__call__

    def look(name, *holders):
        values = [value for holder in holders for value in vars(holder).values()]
        if any(str(getattr(value, "__module__", "")).startswith("kdrecipes.fast") for value in values):
            taken.add(name)

    def asked(self, image):
        look("inference", self)
        return call(self, image)

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            look("optimizer", self.model.optimizer)

    def watching(label, distiller, loader, callbacks):
        look("model", *distiller.student._flatten_layers())
        callbacks.append(Watch())

    monkeypatch.setattr(Inference, "__call__", asked)
    with observed(watching):
        kdrecipes.run(small(f"train.fast={str(fast).lower()}"), tmp_path / "run")
    assert taken == ({"inference", "model", "optimizer"} if fast else set())


@pytest.fixture
def eager_compiler(monkeypatch):
    """torch.compile without its code generator, which takes minutes here: the graph is captured all the same."""
    calls = []
    real = torch.compile

    def compile_(function, **options):
        calls.append(options)
        return real(function, backend="eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def test_compiled_steps_are_the_plain_ones(eager_compiler):
    def losses(jit_compile):
        made = Distiller(student=student())
        made.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=jit_compile)
        steps = [float(made.train_step((IMAGES, LABELS))["loss"]) for _ in range(3)]
        return steps, [v.value.detach() for v in made.student.variables]

    (mine, variables), (theirs, expected) = losses(True), losses(False)
    assert mine == pytest.approx(theirs, rel=1e-5) and len(eager_compiler) == 1
    for a, b in zip(variables, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_compiled_is_told():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(5)

        def call(self, inputs):
            return self.dense(keras.ops.mean(inputs, (1, 2)))

    own = Own()
    own(IMAGES)
    with pytest.raises(ValueError, match="is no graph of layers"):
        Distiller(student=own).compile(jit_compile=True)

    def term(labels, of_student, of_teacher):
        return of_student.features["logits"].mean(1)

    term.student_layers = ("logits",)
    with pytest.raises(ValueError, match="a term reads"):
        Distiller(student=student(), loss=term).compile(jit_compile=True)


def test_a_run_compiles_where_the_recipe_says_so(tmp_path, eager_compiler):
    kdrecipes.run(
        small("train.compile=true", "teacher.train.compile=false", "compare.baseline=false"), tmp_path / "run"
    )
    decisions = json.loads((tmp_path / "run" / "lock.json").read_text())["decisions"]["compile"]
    assert decisions["student"] == {"use": True, "why": "compile = true"}
    assert decisions["teacher"] == {"use": False, "why": "compile = false"}
    assert len(eager_compiler) == 2  # in the rehearsal and for the arm


@pytest.mark.parametrize(
    ("device", "plain", "compiled", "first", "use", "why"),
    [
        ("cpu", None, None, None, False, "slower on a CPU"),
        ("cuda", 0.01, None, None, False, "less than compiling"),
        ("cuda", 5.0, 2.0, 20.0, True, "5000.0 ms a step, 2000.0 ms compiled, 20 s to compile"),
        ("cuda", 5.0, 4.9, 60.0, False, "60 s to compile"),
        ("cuda", 5.0, RunError("no compiler"), None, False, "no compiler"),
    ],
)
def test_auto_compiles_only_where_it_pays(device, plain, compiled, first, use, why, monkeypatch):
    def rehearse(distiller, train, batch, jit):
        assert device != "cpu"
        if jit.use and isinstance(compiled, Exception):
            raise compiled
        return (first, compiled) if jit.use else (plain, plain)

    monkeypatch.setattr(compile_choice, "rehearse", rehearse)
    recipe = small("teacher.train.compile=false")
    found = compile_choice.choose_compile(recipe, prepare(recipe), device, 2)["student"]
    assert found.use is use and why in found.why


def test_the_teacher_live_is_frozen_unless_its_layers_are_read():
    recipe = small()
    from kdrecipes.runs.build import inference

    teacher = student()
    assert inference(recipe, recipe.teacher, teacher)._logits.__module__ == "kdrecipes.fast.frozen"
    whole = inference(recipe, recipe.teacher, teacher, whole=True)
    with tapped({"logits": teacher.get_layer("logits")}) as features:
        logits = whole(IMAGES)
    assert torch.equal(features["logits"], logits)
