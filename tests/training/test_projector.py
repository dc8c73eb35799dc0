"""Layers whose widths differ, mapped onto each other; and what no map can mend."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distilling import EXAMPLES, fit, made, net

from kdrecipes import Hint
from kdrecipes.backend import keras
from kdrecipes.training.projector import Projected


def test_widths_that_differ_are_refused_without_a_projector_and_learned_with_one(data):
    images, labels = data
    hint = Hint(("feature",), ("feature",))
    student, teacher = net(0, width=3), net(1, width=5)
    with pytest.raises(ValueError, match=r"\(20, 6, 6, 3\) .*\(20, 6, 6, 5\): shapes must be equal.*Projected"):
        fit(made(student, teacher=teacher, loss=hint), images, labels)
    with pytest.raises(ValueError, match="shapes must be equal"):
        fit(made(student, teacher=net(1, width=1), loss=hint), images, labels)
    student = net(0, width=3)
    distiller = made(student, teacher=teacher, loss=[Projected(hint), Projected(hint)])
    maps = [v for term in distiller.terms for v in term.variables]
    assert [v.shape for v in maps] == [(3, 5), (3, 5)]
    assert {id(v) for v in maps} <= {id(v) for v in distiller.trainable_variables}
    assert not {id(v) for v in maps} & {id(v) for v in student.variables}
    before = [v.numpy().copy() for v in maps]
    history = fit(distiller, images, labels, epochs=30)
    assert not any(np.array_equal(a, v.numpy()) for a, v in zip(before, maps, strict=True))
    assert history["hint_projected"][-1] < history["hint_projected"][0]
    assert "hint_projected_2" in history


def test_projector_gradients_are_one_steps(data):
    """A map's gradient must not add up over steps, and is the plain least-squares one."""
    images, labels = data
    student, teacher = net(0, norm=False), net(1, width=5, norm=False)
    student.trainable = False
    distiller = made(student, teacher=teacher, loss=Projected(Hint(("feature",), ("feature",))), label_weight=0)
    kernel = distiller.terms[0].maps[0].kernel
    w = kernel.value.detach().clone().requires_grad_()
    with torch.no_grad():
        x = torch.from_numpy(images)
        a, b = (keras.Model(m.input, m.get_layer("feature").output)(x) for m in (student, teacher))
    for _ in range(3):
        (gradient,) = torch.autograd.grad((a @ w - b).square().mean(), w)
        w = (w - 0.1 * gradient).detach().requires_grad_()
    fit(distiller, images, labels, batch_size=EXAMPLES, epochs=3)
    np.testing.assert_allclose(kernel.numpy(), w.detach(), atol=1e-5)


def test_projector_refuses_what_does_not_pair():
    hint = SimpleNamespace(student_layers=("a", "a"), teacher_layers=("b", "c"))
    with pytest.raises(ValueError, match="maps each student layer once"):
        Projected(hint)
    with pytest.raises(ValueError, match="equally many, and at least one"):
        Projected(SimpleNamespace(student_layers=("a",), teacher_layers=()))


def test_sizes_that_differ_are_refused_even_with_a_projector(data):
    term = Hint(("feature",), ("feature",))
    for loss in (term, Projected(term)):
        with pytest.raises(ValueError, match=r"sizes must agree"):
            fit(made(teacher=net(1, stride=2), loss=loss), *data)
