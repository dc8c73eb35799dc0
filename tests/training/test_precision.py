"""Steps in half precision, and compiled ones: what they change, and what they must not."""

import pytest
import torch
from samples import short

import kdrecipes
from kdrecipes import KD, Distiller
from kdrecipes.backend import keras, seed_everything
from kdrecipes.fast import accelerate
from kdrecipes.training.inference import Inference
from kdrecipes.training.optimizer import build_optimizer

IMAGES = torch.rand(16, 8, 8, 3, generator=torch.Generator().manual_seed(0)) * 255
LABELS = torch.arange(16) % 5


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


def test_evaluation_stays_float32_beside_half_precision():
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
    train = short("train.precision='float16'").train
    assert isinstance(build_optimizer(train, 10), keras.optimizers.LossScaleOptimizer)


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
