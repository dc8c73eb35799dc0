"""Layers whose widths differ, mapped onto each other; and what no map can mend."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distilling import EXAMPLES, fit, made, net
from torch.nn.functional import adaptive_avg_pool2d

from kdrecipes import Hint, Outputs
from kdrecipes.backend import keras
from kdrecipes.losses import FSP, NST, PKT, RKD, Attention, SimilarityPreserving, WKDFeatures
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


def test_sizes_that_differ_are_refused_without_a_projector_and_averaged_with_one(data):
    """As if both networks had given the smaller map."""
    term = Hint(("feature",), ("feature",))
    with pytest.raises(ValueError, match=r"shapes must be equal.* averages the larger of two maps"):
        fit(made(teacher=net(1, stride=2), loss=term), *data)
    assert "hint_projected" in fit(made(net(0, stride=2), teacher=net(1, width=5), loss=Projected(term)), *data)
    large, small = torch.rand(2, 6, 6, 3), torch.rand(2, 3, 2, 4)
    for mine, theirs in ((large, small), (small, large)):
        projected = Projected(term)
        value = projected(None, of(feature=mine), of(feature=theirs))
        a, b = (adaptive_avg_pool2d(x.permute(0, 3, 1, 2), (3, 2)).permute(0, 2, 3, 1) for x in (mine, theirs))
        torch.testing.assert_close(value, (a @ projected.maps[0].kernel.value - b).square().flatten(1).mean(1))


def of(**features):
    return Outputs(torch.zeros(2, 5), features)


def test_a_term_of_any_size_gets_its_maps_as_they_are():
    seen = []

    def term(labels, student, teacher):
        seen.append((student.features["a"].shape, teacher.features["b"].shape))
        return student.features["a"].mean()

    term.student_layers, term.teacher_layers, term.any_size = ("a",), ("b",), True
    Projected(term)(None, of(a=torch.rand(2, 6, 6, 3)), of(b=torch.rand(2, 3, 3, 4)))
    assert seen == [((2, 6, 6, 4), (2, 3, 3, 4))]
    assert FSP.any_size and WKDFeatures.any_size and SimilarityPreserving.any_size
    assert not any(hasattr(kind, "any_size") for kind in (Hint, Attention, RKD, PKT, NST))


def test_a_teacher_layer_with_two_partners_is_not_averaged_to_two_sizes():
    term = Hint(("a", "b"), ("t", "t"))
    student = of(a=torch.rand(2, 6, 6, 3), b=torch.rand(2, 3, 3, 3))
    with pytest.raises(ValueError, match=r"student layer 'b' gives .*where a teacher layer has several partners"):
        Projected(term)(None, student, of(t=torch.rand(2, 6, 6, 3)))
    assert Projected(term)(None, student, of(t=torch.rand(2, 3, 3, 3))).shape == (2,)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 3)], ids=["maps", "vectors"])
def test_conv_is_a_matrix_then_a_batchs_normalisation_then_relu(shape):
    torch.manual_seed(0)
    mine, theirs = torch.randn(shape), torch.randn(*shape[:-1], 5)
    projected = Projected(Hint(("a",), ("b",)), "conv")
    value = projected(None, of(a=mine), of(b=theirs))
    x = mine @ projected.maps[0].kernel.value
    axes = tuple(range(x.ndim - 1))
    x = (x - x.mean(axes)) / (x.var(axes, unbiased=False) + projected.norms[0].epsilon).sqrt()
    torch.testing.assert_close(value, (x.relu() - theirs).square().flatten(1).mean(1), atol=1e-5, rtol=1e-4)
    assert projected.relational, "an image's value depends on the batch"


def test_conv_learns_and_is_no_part_of_the_student(data):
    student = net(0, width=3)
    distiller = made(student, teacher=net(1, width=5), loss=Projected(Hint(("feature",), ("feature",)), "conv"))
    (term,) = distiller.terms
    assert [v.shape for v in term.trainable_variables] == [(3, 5), (5,), (5,)]
    assert {id(v) for v in term.trainable_variables} <= {id(v) for v in distiller.trainable_variables}
    assert not {id(v) for v in term.variables} & {id(v) for v in student.variables}
    before = [v.numpy().copy() for v in term.trainable_variables]
    history = fit(distiller, *data, epochs=20)
    assert not any(np.array_equal(a, v.numpy()) for a, v in zip(before, term.trainable_variables, strict=True))
    assert history["hint_projected"][-1] < history["hint_projected"][0]


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_checkpoint_keeps_the_maps_and_the_saved_student_does_not(data, tmp_path, kind):
    def new():
        return made(net(0, width=3), teacher=net(1, width=5), loss=Projected(Hint(("feature",), ("feature",)), kind))

    first, second = new(), new()
    fit(first, *data)
    first.save_weights(tmp_path / "all.weights.h5")
    second.load_weights(tmp_path / "all.weights.h5")
    for a, b in zip(first.terms[0].variables, second.terms[0].variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    first.save(tmp_path / "student.keras")
    saved = keras.saving.load_model(tmp_path / "student.keras")
    assert [v.shape for v in saved.variables] == [v.shape for v in first.student.variables]


def test_another_kind_of_map_is_refused():
    with pytest.raises(ValueError, match=r"`kind` must be one of 'linear', 'conv'\. Received: 'mlp'"):
        Projected(Hint(("a",), ("b",)), "mlp")
