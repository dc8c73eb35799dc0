"""Terms with weights of their own: the papers' formulas in NumPy, float64, with the weights that the terms made."""

import math

import numpy as np
import pytest
import torch

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.losses import CRD, CTKD, FSP, OFA, SRRL, VID, ReviewKD, SimKD

BATCH, CLASSES = 6, 5


def outputs(seed, shape=(4, 4, 3), batch=BATCH, dtype=torch.float64, **more):
    draw = np.random.default_rng(seed)
    features = {f"layer{i}": torch.tensor(draw.normal(size=(batch, *shape)), dtype=dtype) for i in range(2)}
    logits = torch.tensor(2 * draw.normal(size=(batch, CLASSES)), dtype=dtype)
    return Outputs(logits, features, torch.arange(batch), **more)


def labels(batch=BATCH):
    return torch.arange(batch) % CLASSES


def arrays(layer):
    return [variable.numpy() for variable in layer.variables]


def relu(x):
    return np.maximum(x, 0)


def pooled(x, size):
    """Means over the cells of a map (batch, height, width, channels), whose sides `size` divides."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, size, height // size, size, width // size, channels).mean((2, 4))


def layers(count=1):
    names = tuple(f"layer{i}" for i in range(count))
    return {"student_layers": names, "teacher_layers": names}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def expected_vid(term, student, teacher):
    total = 0
    for i, (mean, variance) in enumerate(zip(term.parts[::2], term.parts[1::2], strict=True)):
        mine, theirs = student.features[f"layer{i}"].numpy(), teacher.features[f"layer{i}"].numpy()
        size = min(mine.shape[1], theirs.shape[1])
        a, b, c = arrays(mean)
        predicted = relu(relu(pooled(mine, size) @ a) @ b) @ c
        spread = np.log1p(np.exp(arrays(variance)[0])) + 1e-5
        value = ((predicted - pooled(theirs, size)) ** 2 / spread + np.log(spread)) / 2
        total = total + value.mean((1, 2, 3))
    return total


def expected_ctkd(term, student, teacher):
    t = term.tau_init + term.tau_range / (1 + math.exp(-float(arrays(term.parts[0])[0])))
    p, q = softmax(teacher.logits.numpy() / t), softmax(student.logits.numpy() / t)
    return t**2 * (p * np.log(p / q)).sum(-1)


def network(shape, seed=0):
    """From features like those of `outputs` to logits, by a classifier of their mean."""
    keras.utils.set_random_seed(seed)
    features = keras.Input(shape)
    x = keras.layers.Activation("linear", name="layer0")(features)
    x = keras.layers.GlobalAveragePooling2D()(x) if len(shape) == 3 else x
    head = keras.layers.Dense(CLASSES, bias_initializer="normal")
    return keras.Model(features, head(x))


def introduced(term, shape):
    term.meet(network((4, 4, 3)), network(shape, 1))
    return term


def normalised(x, gamma, beta):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) * gamma + beta


def expected_srrl(term, student, teacher):
    theirs = teacher.features[term.teacher_layers[0]].numpy()
    theirs = theirs.reshape(BATCH, -1, theirs.shape[-1]).mean(1)
    kernel, gamma, beta = arrays(term.parts[0])
    mine = relu(normalised(student.features["layer0"].numpy() @ kernel, gamma, beta)).mean((1, 2))
    w, b = (one.numpy() for one in term.classifier.weights())
    return term.alpha * ((mine - theirs) ** 2).mean(1) + term.beta * (
        (mine @ w + b - teacher.logits.numpy()) ** 2
    ).mean(1)


def convolved(x, kernel, stride=1):
    """A convolution of maps (batch, height, width, channels), padded to their size divided by the stride."""
    side, size = kernel.shape[0], x.shape[1]
    out = -(-size // stride)
    missing = max((out - 1) * stride + side - size, 0)
    pad = (missing // 2, missing - missing // 2)
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijcd->bhwd", windows, kernel)


def ofa_of(z, term, teacher):
    """The formula of ofa_logit."""
    y = np.eye(CLASSES)[labels().numpy()]
    share = (softmax(teacher.logits.numpy() / term.temperature) + y) ** term.epsilon - y
    return -(share * np.log(softmax(z / term.temperature))).sum(-1)


def expected_ofa(term, student, teacher):
    total = ofa_of(student.logits.numpy(), term, teacher)
    for i, (trunk, linear) in enumerate(zip(term.parts[::2], term.parts[1::2], strict=True)):
        x = student.features[f"layer{i}"].numpy()
        weights = iter(arrays(trunk))
        for depthwise in weights:
            depthwise = depthwise[:, :, :, 0][..., None] * np.eye(x.shape[-1])
            x = convolved(x, depthwise, 2) @ next(weights)[0, 0]
            x = relu(normalised(x, next(weights), next(weights)))
        kernel, bias = arrays(linear)
        total = total + ofa_of(x.mean((1, 2)) @ kernel + bias, term, teacher)
    return total


def enlarged(x, size):
    nearest = np.arange(size) * x.shape[1] // size
    return x[:, nearest][:, :, nearest]


def hcl(a, b):
    value, weight, weights = ((a - b) ** 2).mean((1, 2, 3)), 1, 1
    for side in (4, 2, 1):
        if side < a.shape[1]:
            weight /= 2
            value = value + weight * ((pooled(a, side) - pooled(b, side)) ** 2).mean((1, 2, 3))
            weights += weight
    return value / weights


def expected_review(term, student, teacher):
    parts, total, deeper = iter(term.parts), 0, None
    for name in reversed(term.student_layers):
        x, t = student.features[name].numpy(), teacher.features[name].numpy()
        kernel, gamma, beta = arrays(next(parts))
        x = normalised(x @ kernel, gamma, beta)
        if deeper is not None:
            deeper = enlarged(deeper, x.shape[1])
            kernel, bias = arrays(next(parts))
            attention = 1 / (1 + np.exp(-(np.concatenate([x, deeper], -1) @ kernel + bias)))
            x = x * attention[..., :1] + deeper * attention[..., 1:]
        deeper = enlarged(x, t.shape[1])
        kernel, gamma, beta = arrays(next(parts))
        total = total + hcl(normalised(convolved(deeper, kernel), gamma, beta), t)
    return total


# The term, the shape of the teacher's features, and the reference.
CASES = {
    "vid": (lambda: VID(**layers(2)), (4, 4, 7), expected_vid),
    "vid, a larger teacher": (lambda: VID(2.0, **layers()), (8, 8, 2), expected_vid),
    "vid, a smaller teacher": (lambda: VID(40.0, **layers()), (2, 2, 2), expected_vid),
    "srrl": (lambda: introduced(SRRL(**layers()), (4, 4, 7)), (4, 4, 7), expected_srrl),
    "srrl, a vector": (lambda: introduced(SRRL(2.0, 3.0, **layers()), (2,)), (2,), expected_srrl),
    "ofa": (lambda: OFA(student_layers=("layer0", "layer1")), (1,), expected_ofa),
    "ofa, other options": (lambda: OFA(1.5, 2.0, student_layers=("layer0",)), (1,), expected_ofa),
    "review_kd": (lambda: ReviewKD(**layers(2)), (4, 4, 7), expected_review),
    "review_kd, larger maps": (lambda: ReviewKD(2, **layers(2)), (8, 8, 5), expected_review),
    "ctkd": (CTKD, (1,), expected_ctkd),
    "ctkd, another range": (lambda: CTKD(2.0, 3.0), (1,), expected_ctkd),
}


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_the_papers_in_float64(name):
    make, shape, expected = CASES[name]
    term, student, teacher = make(), outputs(0), outputs(1, shape)
    value = term(labels(), student, teacher)
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value.detach().numpy(), expected(term, student, teacher), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_features_logits_and_weights_are_the_values_slopes(name):
    make, shape, _ = CASES[name]
    term, student, teacher = make(), outputs(0, batch=2), outputs(1, shape, batch=2)
    taught = [student.logits, *(student.features[name] for name in getattr(term, "student_layers", ()))]

    def value(*_):
        return term(labels(2), student, teacher).sum()

    value()  # makes the parts
    if name.startswith("ctkd"):
        term.strength = -1.0  # not turned round, it is the value's own gradient
    weights = [v.value for part in term.parts for v in part.trainable_variables]
    inputs = [tensor.requires_grad_() for tensor in taught] + weights
    gradients = torch.autograd.grad(value(), inputs, allow_unused=True)
    draw = np.random.default_rng(2)
    for tensor, gradient in zip(inputs, gradients, strict=True):
        way = torch.tensor(draw.normal(size=tuple(tensor.shape)))
        with torch.no_grad():
            step = 1e-6
            tensor += step * way
            above = float(value())
            tensor -= 2 * step * way
            below = float(value())
            tensor += step * way
        slope = 0.0 if gradient is None else float((gradient * way).sum())
        assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_teacher_gets_no_gradient(name):
    make, shape, _ = CASES[name]
    student, teacher = outputs(0), outputs(1, shape)
    for tensor in (student.logits, teacher.logits, *student.features.values(), *teacher.features.values()):
        tensor.requires_grad_()
    make()(labels(), student, teacher).sum().backward()
    assert teacher.logits.grad is None and all(one.grad is None for one in teacher.features.values())


@pytest.mark.parametrize("name", CASES)
def test_one_image_half_precision_and_no_labels_are_taken(name):
    make, shape, _ = CASES[name]
    term = make()
    alone = term(labels(1), outputs(0, batch=1), outputs(1, shape, batch=1))
    assert torch.isfinite(alone).all()
    term = make()
    half = [outputs(i, one, dtype=torch.bfloat16) for i, one in ((0, (4, 4, 3)), (1, shape))]
    for one in half:
        one.logits = one.logits.float()  # as a distiller gives them
    wide = [Outputs(o.logits, {k: v.float() for k, v in o.features.items()}, o.index) for o in half]
    unlabelled = torch.full((BATCH,), -1)
    value = term(unlabelled, *half)
    assert value.dtype == torch.float32 and torch.isfinite(value).all()
    torch.testing.assert_close(term(unlabelled, *wide), value)


def test_vid_begins_with_the_variance_that_is_given():
    for variance in (0.5, 5.0, 100.0):
        term = VID(variance, **layers())
        term(labels(), outputs(0), outputs(1))
        assert np.log1p(np.exp(arrays(term.parts[1])[0])) + 1e-5 == pytest.approx(variance, rel=1e-4)
    with pytest.raises(ValueError, match="`initial_variance` must be a finite number above 1e-05"):
        VID(0.0)


def test_vid_refuses_a_map_beside_a_vector():
    student = outputs(0)
    with pytest.raises(ValueError, match=r"'layer0' gives \(6, 4, 4, 3\) and .* both must be maps, or both vectors"):
        VID(**layers())(labels(), student, outputs(1, (7,)))


def test_terms_on_features_say_which_layers_they_need():
    for term in (VID(), OFA(), ReviewKD()):
        with pytest.raises(ValueError, match=f"`student_layers` must be given: '{term.name}' reads student_layers"):
            term(labels(), outputs(0), outputs(1))
    with pytest.raises(ValueError, match="`crd` has not met its networks: name student_layers and teacher_layers"):
        CRD(examples=8)(labels(), outputs(0), outputs(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SRRL(**layers(2)), "`student_layers` must name one layer: 'srrl' reads no more; 2 are given."),
        (lambda: SimKD(teacher_layers=["a", "b"]), "`teacher_layers` must name one layer: 'simkd' reads no more; 2 "),
        (lambda: CRD(8, student_layers=["a"]), "`teacher_layers` must be as many as student_layers, for each has its "),
        (lambda: VID(student_layers=["a"]), "`teacher_layers` must be given: 'vid' reads student_layers and teacher_"),
        (lambda: ReviewKD(student_layers=["a"], teacher_layers=["b", "c"]), "`teacher_layers` must be as many as "),
        (
            lambda: FSP(["a"], ["b"]),
            "`student_layers` must name at least 2 layers: 'fsp' compares each with the next; ",
        ),
    ],
)
def test_layers_that_a_term_does_not_read_are_refused_where_it_is_made(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_one_layer_of_one_network_is_enough_where_the_other_is_found():
    assert introduced(SRRL(student_layers=["layer0"]), (4, 4, 7)).teacher_layers[0].startswith("global")


def test_ctkd_turns_the_gradient_of_its_temperature_round():
    """Equation 4: θ goes up the gradient that the student goes down, λ times as fast; λ grows along half a cosine."""
    term, student, teacher = CTKD(loop_epochs=4), outputs(0), outputs(1)
    slopes = {}
    for progress in (0, 1, 2, 4, 9):
        term.at(progress)
        value = term(labels(), student, teacher).mean()
        (slopes[progress],) = torch.autograd.grad(value, [term.parts[0].tensor])
    term.strength = -1.0
    (true,) = torch.autograd.grad(term(labels(), student, teacher).mean(), [term.parts[0].tensor])
    shares = {0: 0.0, 1: (1 - math.sqrt(0.5)) / 2, 2: 0.5, 4: 1.0, 9: 1.0}
    assert true != 0
    for progress, share in shares.items():
        assert float(slopes[progress]) == pytest.approx(-share * float(true), abs=1e-12)


def test_ctkd_is_kd_at_its_temperature_and_nothing_between_equals():
    student, teacher = outputs(0), outputs(1)
    term = CTKD()
    value = term(labels(), student, teacher)
    t = 1 + 20 / (1 + math.exp(-1))
    assert t == pytest.approx(15.62117)
    torch.testing.assert_close(value.detach(), kdrecipes.KD(temperature=t)(labels(), student, teacher))
    assert term(labels(), student, student).abs().max() < 1e-12
    with pytest.raises(ValueError, match=r"`lambda_max` is at least lambda_min\. Received: 0.5 and 1.0"):
        CTKD(lambda_min=1.0, lambda_max=0.5)


def test_srrl_reads_the_layers_before_both_classifiers_where_none_are_named():
    term = introduced(SRRL(), (4, 4, 7))
    assert (term.student_layers, [name[:6] for name in term.teacher_layers]) == (("layer0",), ["global"])
    with pytest.raises(ValueError, match="it works inside a Distiller, which shows it"):
        SRRL(**layers())(labels(), outputs(0), outputs(1))


@pytest.mark.parametrize("term", [SimKD, SRRL, lambda: CRD(examples=8)])
def test_a_term_that_met_no_network_says_so_whatever_it_is_called_with(term):
    made = term()
    with pytest.raises(ValueError, match=f"`{made.name}` .*(works inside a Distiller|has not met its networks)"):
        made(None, None, None)


def test_simkd_is_the_mean_squared_distance_of_features_and_nothing_between_equals():
    term = SimKD()
    made = term.meet(network((4, 4, 3)), network((7,), 1))
    images = torch.rand(BATCH, 4, 4, 3)
    features = keras.Model(made.input, made.get_layer("simkd_features").output)(images)
    student = Outputs(made(images), {"simkd_features": features})
    teacher = Outputs(student.logits, {"layer0": torch.rand(BATCH, 7)})
    expected = ((features.detach().numpy() - teacher.features["layer0"].numpy()) ** 2).mean(1)
    np.testing.assert_allclose(term(None, student, teacher).detach().numpy(), expected, rtol=1e-5)
    assert not term(None, student, Outputs(student.logits, {"layer0": features})).any()
    with pytest.raises(ValueError, match="it works inside a Distiller, which asks it for that"):
        SimKD()(None, outputs(0), outputs(1))


def test_simkd_puts_a_projector_and_the_teachers_classifier_behind_the_students_features():
    student, teacher = network((4, 4, 3)), network((4, 4, 9), 1)
    made = SimKD(reduction=3).meet(student, teacher)
    shapes = [tuple(v.shape) for layer in made.layers for v in layer.trainable_variables if "conv" in layer.name]
    assert shapes == [(1, 1, 3, 3), (3, 3, 3, 3), (1, 1, 3, 9)]  # 9 / 3 wide inside
    head, theirs = made.layers[-1], teacher.layers[-1]
    for mine, other in zip(head.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
        assert mine is not other and not mine.trainable and other.trainable
    with pytest.raises(ValueError, match=r"The student has no layer 'layer1' in its graph\. Did you mean 'layer0'\?"):
        SimKD(student_layers=("layer1",), teacher_layers=("layer0",)).meet(student, teacher)


def test_ofa_halves_large_maps():
    """9 pixels become 5 and then 3: two separable convolutions, twice as wide each."""
    term, student, teacher = OFA(student_layers=("layer0",)), outputs(0, (9, 9, 3)), outputs(1)
    value = term(labels(), student, teacher)
    assert [tuple(v.shape) for v in term.parts[0].variables][:2] == [(3, 3, 3, 1), (1, 1, 3, 6)]
    assert tuple(term.parts[1].variables[0].shape) == (12, CLASSES)
    np.testing.assert_allclose(value.detach().numpy(), expected_ofa(term, student, teacher), rtol=1e-9)
    term.teacher_layers = ("layer0",)
    with pytest.raises(ValueError, match="`teacher_layers` must be left out: 'ofa' reads no layers of the teacher"):
        term(labels(), student, teacher)


def test_review_kd_fuses_a_vector_with_the_maps_before_it():
    """From deep to shallow: a vector is a map of one pixel, enlarged to the map before it."""
    term = ReviewKD(**layers(2))
    student, teacher = outputs(0), outputs(1, (4, 4, 7))
    for one, width in ((student, 3), (teacher, 6)):
        one.features["layer1"] = one.features["layer1"].mean((1, 2))[:, :width]
    value = term(labels(), student, teacher)
    for one in (student, teacher):
        one.features["layer1"] = one.features["layer1"][:, None, None]
    np.testing.assert_allclose(value.detach().numpy(), expected_review(term, student, teacher), rtol=1e-9)
    with pytest.raises(ValueError, match=r"reads maps and vectors\. Received: a layer that gives \(6, 4, 3\)"):
        term(labels(), outputs(0, (4, 3)), teacher)


def test_review_kd_is_zero_between_equal_maps():
    from kdrecipes.components.losses.review_kd import _distance

    same = outputs(0, (8, 8, 3)).features["layer0"]
    assert not _distance(same, same.clone()).any()


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (8, 1 / (1 + 1 / 2 + 1 / 4 + 1 / 8)),
        (5, (1 + (1 / 4) / 81 + (1 / 8) / 625) / (1 + 1 / 2 + 1 / 4 + 1 / 8)),
        (4, 1 / (1 + 1 / 2 + 1 / 4)),
        (2, 1 / (1 + 1 / 2)),
        (1, 1),
    ],
)
def test_review_kd_weighs_only_the_averages_that_are_smaller_than_the_map(side, expected):
    """Two maps a chessboard apart: their averages over even cells agree, and the weights are what is left."""
    from kdrecipes.components.losses.review_kd import _distance

    board = torch.tensor((-1.0) ** np.add.outer(np.arange(side), np.arange(side)))[None, ..., None]
    assert float(_distance(board, torch.zeros_like(board))) == pytest.approx(expected, rel=1e-12)


EXAMPLES = 20


def contrasted(**options):
    """A term that has met a batch, and all that it keeps, as arrays by what they are."""
    keras.utils.set_random_seed(0)
    term = CRD(examples=EXAMPLES, **options, **layers())
    term(labels(), outputs(0, (4, 4, 3)), outputs(1, (7,)))
    return term


def kept(term):
    names = ("map_s", "map_t", "bank_s", "bank_t", "classes", "constants")
    values = {name: [one.copy() for one in arrays(part)] for name, part in zip(names, term.parts, strict=False)}
    return {name: value[0] if len(value) == 1 else value for name, value in values.items()}


def expected_crd(term, before, student, teacher, chosen):
    """In NumPy, image by image and draw by draw."""
    vectors = {}
    for role, one in (("s", student), ("t", teacher)):
        x = one.features["layer0"].numpy()
        kernel, bias = before[f"map_{role}"]
        v = x.reshape(len(x), -1, x.shape[-1]).mean(1) @ kernel + bias
        vectors[role] = v / np.linalg.norm(v, axis=1, keepdims=True)
    index, y, noise = student.index.numpy(), labels().numpy(), chosen.shape[1] / EXAMPLES
    counts = (before["classes"][chosen] != y[:, None]) & (chosen != index[:, None])
    total, constants = np.zeros(BATCH), [1.0]
    for role, other, place in (("s", "t", 1), ("t", "s", 2)):
        products = {
            (i, j): np.exp(vectors[role][i] @ before[f"bank_{other}"][j] / term.temperature)
            for i in range(BATCH)
            for j in range(EXAMPLES)
        }
        used = [products[i, index[i]] for i in range(BATCH)]
        used += [products[i, j] for i in range(BATCH) for j, c in zip(chosen[i], counts[i], strict=True) if c]
        z = np.exp(before["constants"][place]) if before["constants"][0] else EXAMPLES * np.mean(used)
        constants.append(np.log(z))
        for i in range(BATCH):
            p = products[i, index[i]] / z
            total[i] -= np.log(p / (p + noise + 1e-7))
            refused = [
                np.log(noise / (products[i, j] / z + noise + 1e-7))
                for j, c in zip(chosen[i], counts[i], strict=True)
                if c
            ]
            total[i] -= chosen.shape[1] * np.mean(refused) if refused else 0
    return total, vectors, constants


def test_crd_is_the_papers_contrast_and_keeps_what_it_met():
    """The first batch sets Z, the second one finds it; negatives of the own class do not count once they were met."""
    keras.utils.set_random_seed(0)
    term = CRD(examples=EXAMPLES, negatives=9, momentum=0.3, dimensions=6, **layers())
    student, teacher = outputs(0), outputs(1, (7,))
    with torch.no_grad():
        term(labels(), student, teacher)  # the networks are shown to it: it makes its parts and keeps nothing
    assert not kept(term)["constants"].any() and (kept(term)["classes"] == -1).all()
    draws = []
    real = term.parts[-1].integers
    term.parts[-1].integers = lambda *asked: draws.append(real(*asked)) or draws[-1]
    for place in range(2):
        student.index = teacher.index = torch.arange(BATCH) + 3 * place
        before = kept(term)
        value = term(labels(), student, teacher)
        assert value.dtype == torch.float64 and draws[-1].shape == (BATCH, 9)
        expected, vectors, constants = expected_crd(term, before, student, teacher, draws[-1].numpy())
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-9)
        after, index = kept(term), student.index.numpy()
        np.testing.assert_allclose(after["constants"], constants, rtol=1e-9)
        np.testing.assert_array_equal(after["classes"][index], labels().numpy())
        for role in "st":
            mixed = 0.3 * before[f"bank_{role}"][index] + 0.7 * vectors[role]
            expected = before[f"bank_{role}"].copy()
            expected[index] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
            np.testing.assert_allclose(after[f"bank_{role}"], expected, rtol=1e-9)
    assert not np.array_equal(*draws)


def test_crd_draws_at_most_the_other_images():
    term, asked = contrasted(), []
    real = term.parts[-1].integers
    term.parts[-1].integers = lambda *given: asked.append(given) or real(*given)
    term(labels(), outputs(0), outputs(1, (7,)))
    assert asked == [((BATCH, EXAMPLES - 1), EXAMPLES)]


def test_crd_sends_gradients_to_the_student_and_both_maps():
    term, student, teacher = contrasted(), outputs(2), outputs(3, (7,))
    student.features["layer0"].requires_grad_()
    teacher.features["layer0"].requires_grad_()
    term(labels(), student, teacher).sum().backward()
    assert student.features["layer0"].grad.abs().max() > 0 and teacher.features["layer0"].grad is None
    assert all(v.value.grad.abs().max() > 0 for one in term.parts[:2] for v in one.trainable_variables)
    assert not any(part.trainable_variables for part in term.parts[2:])


def test_crd_bears_an_image_whose_features_are_all_zero():
    """It sends no gradient while it has no direction, and a small one where the maps have a bias."""
    term, student, teacher = contrasted(), outputs(0), outputs(1, (7,))
    feature = student.features["layer0"]
    feature[0] = 0
    feature.requires_grad_()
    bias = term.parts[0].trainable_variables[1].value
    inputs = [feature, *(v.value for part in term.parts[:2] for v in part.trainable_variables)]
    for number, most in ((0.0, 1e2), (1e-5, 1e4)):
        with torch.no_grad():
            bias.fill_(number)
            assert term(labels(), student, teacher).isfinite().all()
        gradients = torch.autograd.grad(term(labels(), student, teacher).mean(), inputs)
        assert all(one.abs().max() < most for one in gradients), [float(one.abs().max()) for one in gradients]
        assert gradients[0][0].any() == bool(number)


def test_crd_brings_vectors_to_length_1_as_normalize_does():
    from kdrecipes.components.losses.crd import _direction

    v = torch.tensor(np.random.default_rng(0).normal(size=(50, 8)) * np.logspace(-2, 4, 50)[:, None]).float()
    assert torch.equal(_direction(v), torch.nn.functional.normalize(v, dim=1))
    short = _direction(torch.tensor([[3e-4, 4e-4], [0, 0]], dtype=torch.float64))
    torch.testing.assert_close(short, torch.tensor([[0.3, 0.4], [0, 0]], dtype=torch.float64))


def test_crd_needs_the_index_of_each_image():
    student = outputs(0)
    student.index = None
    with pytest.raises(ValueError, match="`crd` needs each image's index, its place in the training data"):
        CRD(examples=EXAMPLES, **layers())(labels(), student, outputs(1))


def test_crd_bears_one_image_half_precision_and_no_labels():
    term = CRD(examples=EXAMPLES, **layers())
    student, teacher = (outputs(i, batch=1, dtype=torch.bfloat16) for i in range(2))
    value = term(torch.tensor([-1]), student, teacher)
    assert value.dtype == torch.float32 and torch.isfinite(value).all()
    assert kept(term)["classes"][0] == int(teacher.logits.argmax())
