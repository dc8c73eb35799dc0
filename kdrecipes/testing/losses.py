"""`check_loss`: a term's shapes, dtypes, values and gradients on made-up logits and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from kdrecipes.backend import keras, seed_everything
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.outputs import Outputs
from kdrecipes.runs.build import build_terms
from kdrecipes.testing.contract import broken, check_contract, data_of, trying

BATCH = 8
_FEATURE = (4, 4, 6)


@dataclass
class Batch:
    """What a term is given: labels, and what student and teacher say."""

    labels: torch.Tensor
    student: Outputs
    teacher: Outputs

    def rows(self, chosen: slice) -> Batch:
        """The same for some of the examples."""
        return Batch(self.labels[chosen], _rows(self.student, chosen), _rows(self.teacher, chosen))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything in it, by a name for messages."""
        named = {"labels": self.labels}
        for role, outputs in (("student", self.student), ("teacher", self.teacher)):
            named[f"the {role}'s logits"] = outputs.logits
            named |= {f"the {role}'s {layer}": feature for layer, feature in outputs.features.items()}
        return named


def check(component: Component, classes: int, examples: int, options: Mapping[str, Any]) -> None:
    """See `kdrecipes.testing.check_loss`."""
    recipe = check_contract(component, "loss", options)
    seed_everything(0)
    with trying(component, "build"):
        (term,), _ = build_terms(recipe, data_of(classes, examples=examples))
    if not callable(term):
        raise broken(component, "build must return a callable term(labels, student, teacher)", type(term).__name__)
    if hasattr(term, "meet"):
        with trying(component, "meet(student, teacher)"):
            term.meet(*(_network(term, key, classes) for key in ("student_layers", "teacher_layers")))
    if hasattr(term, "at"):
        with trying(component, "at(progress)"):
            term.at(0.5)

    def batch(dtype: torch.dtype = torch.float32, seed: int = 0) -> Batch:
        return _batch(term, classes, examples, dtype, seed)

    if getattr(term, "parts", None) == []:
        _value(component, term, batch())  # the first call makes them
    value = _value(component, term, batch())
    if tuple(value.shape) not in ((BATCH,), ()):
        raise broken(component, f"must give ({BATCH},) values for {BATCH} examples, or a scalar", tuple(value.shape))
    if not value.is_floating_point() or value.element_size() < 4:
        raise broken(component, "must compute in float32 or wider", value.dtype)
    # A layer with weights computes in their dtype.
    if not _variables_of(term):
        _check_dtypes(component, term, value, batch(torch.float64))
    _check_arguments(component, term, batch())
    _check_gradients(component, term, batch)
    _check_dependence(component, term, batch, value)
    if not getattr(term, "relational", False):
        _check_examples(component, term, batch(), value)
    if getattr(term, "mixed_labels", True):
        _check_mixed(component, term, batch(), classes, value)


def _network(term: Any, key: str, classes: int) -> keras.Model:
    """One whose classifier reads the mean of a map like those that the term is given; its layers are so named."""
    images = keras.Input(_FEATURE)
    x = images
    for name in getattr(term, key, ()) or ("features",):
        x = keras.layers.Dense(_FEATURE[-1], name=name)(x)
    return keras.Model(images, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(x)))


def _batch(term: Any, classes: int, examples: int, dtype: torch.dtype, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def outputs(layers: str) -> Outputs:
        def normal(*shape: int) -> torch.Tensor:  # drawn in one dtype, so that all dtypes get the same values
            drawn = torch.randn(BATCH, *shape, generator=generator, dtype=torch.float32)
            return keras.ops.convert_to_tensor(drawn).to(dtype)

        logits = 3 * normal(classes)
        return Outputs(
            logits,
            {name: normal(*_FEATURE) for name in getattr(term, layers, ())},
            torch.arange(BATCH, device=logits.device) % examples,
        )

    student, teacher = outputs("student_layers"), outputs("teacher_layers")
    return Batch(torch.arange(BATCH, device=student.logits.device) % classes, student, teacher)


def _rows(outputs: Outputs, chosen: slice) -> Outputs:
    features = {name: feature[chosen] for name, feature in outputs.features.items()}
    return Outputs(outputs.logits[chosen], features, None if outputs.index is None else outputs.index[chosen])


def _variables_of(term: Any) -> list[Any]:
    """What a term learns, or keeps from one batch to the next."""
    layers = [term] if isinstance(term, keras.layers.Layer) else getattr(term, "parts", ())
    return [variable for layer in layers for variable in layer.variables]


@contextmanager
def _kept(term: Any) -> Iterator[None]:
    """What a term keeps from one batch to the next is afterwards what it was before: so values can be compared."""
    before = [(variable, variable.value.detach().clone()) for variable in _variables_of(term)]
    yield
    for variable, value in before:
        if not torch.equal(variable.value, value):  # the rest is needed as it is for the gradient
            variable.assign(value)


def _value(component: Component, term: Any, batch: Batch, what: str = "a batch of random logits") -> torch.Tensor:
    with trying(component, f"the term on {what}"), _kept(term):
        value = term(batch.labels, batch.student, batch.teacher)
    if not isinstance(value, torch.Tensor):
        raise broken(component, "must give a torch tensor", type(value).__name__)
    if not torch.isfinite(value).all():
        raise broken(component, f"must be finite on {what}", _shown(value))
    return value


def _shown(value: torch.Tensor) -> list[float]:
    return [float(f"{number:.6g}") for number in value.detach().flatten().tolist()[:4]]


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-5)


def _check_dtypes(component: Component, term: Any, value: torch.Tensor, batch: Batch) -> None:
    wide = _value(component, term, batch, "float64 logits")
    if wide.dtype != torch.float64:
        raise broken(component, "must compute in the dtype given or wider: float64 for float64 logits", wide.dtype)
    if not _close(wide, value):
        raise broken(
            component, "must have the same value in float32 and in float64", f"{_shown(value)} and {_shown(wide)}"
        )


def _check_arguments(component: Component, term: Any, batch: Batch) -> None:
    before = {name: tensor.clone() for name, tensor in batch.tensors().items()}
    _value(component, term, batch)
    for name, tensor in batch.tensors().items():
        if not torch.equal(tensor, before[name]) or tensor.requires_grad:
            raise broken(component, f"must not change what it is given; it changes {name}")


def _cases(term: Any, batch: Callable[[], Batch]) -> Iterator[tuple[Batch, str]]:
    """Batches on which a term must have finite gradients, and what they are."""
    yield batch(), "random logits"
    far = batch()
    corner = (2e4 * torch.nn.functional.one_hot(far.labels, far.student.logits.shape[1]) - 1e4).float()
    student, teacher = replace(far.student, logits=corner), replace(far.teacher, logits=-corner)
    yield replace(far, student=student, teacher=teacher), "logits of ±10,000"
    equal = batch()
    names = zip(getattr(term, "student_layers", ()), getattr(term, "teacher_layers", ()), strict=False)
    same = {mine: equal.teacher.features[theirs].clone() for mine, theirs in names}
    features = {**equal.student.features, **same}
    agreeing = replace(equal.student, logits=equal.teacher.logits.clone(), features=features)
    yield replace(equal, student=agreeing), "a student that agrees with its teacher"
    alike = batch()
    yield replace(alike, student=_copies(alike.student), teacher=_copies(alike.teacher)), "equal images"


def _copies(outputs: Outputs) -> Outputs:
    """The first example's outputs, for every example."""
    features = {name: feature[:1].repeat(BATCH, 1, 1, 1) for name, feature in outputs.features.items()}
    return Outputs(outputs.logits[:1].repeat(BATCH, 1), features, outputs.index)


def _check_gradients(component: Component, term: Any, batch: Callable[[], Batch]) -> None:
    for case, what in _cases(term, batch):
        taught = [case.student.logits, *case.student.features.values()]
        for tensor in taught:
            tensor.requires_grad_()
        value = _value(component, term, case, what)
        if not value.requires_grad:
            raise broken(component, "must pass a gradient to the student", "none")
        with trying(component, f"the gradient on {what}"):
            value.sum().backward()
        for tensor in taught:
            if tensor.grad is not None and not torch.isfinite(tensor.grad).all():
                raise broken(component, f"must have finite gradients on {what}", _shown(tensor.grad))
        if all(tensor.grad is None for tensor in taught):
            raise broken(component, "must pass a gradient to the student", "none")
        unread = [name for name, feature in case.student.features.items() if feature.grad is None]
        if unread:
            raise broken(component, "must read the layers that it declares in student_layers", f"not {unread[0]!r}")


def _check_dependence(component: Component, term: Any, batch: Any, value: torch.Tensor) -> None:
    """A declared teacher layer is read; what reads labels reads the teacher too, unless it says that it does not."""
    this, other = batch(), batch(seed=1)
    for name in this.teacher.features:
        features = {**this.teacher.features, name: other.teacher.features[name]}
        changed = replace(this, teacher=replace(this.teacher, features=features))
        if torch.equal(_value(component, term, changed), value):
            raise broken(component, "must read the layers that it declares in teacher_layers", f"not {name!r}")
    without = _value(component, term, replace(this, teacher=other.teacher))
    relabelled = _value(component, term, replace(this, labels=this.labels.roll(1)))
    if not getattr(term, "hears_teacher", True):
        if not torch.equal(without, value):
            raise broken(component, "must not hear the teacher where it says hears_teacher = False")
    elif torch.equal(without, value) and not torch.equal(relabelled, value):
        rule = "must not be a loss on the labels: the run adds its own; or the term must say hears_teacher = False"
        raise broken(component, rule, "a value that no teacher changes")


def _check_examples(component: Component, term: Any, batch: Batch, value: torch.Tensor) -> None:
    rule = "an example's value must not depend on the others, or the term must say relational = True"
    if value.ndim == 0:
        halves = [_value(component, term, batch.rows(part)) for part in (slice(0, 4), slice(4, 8))]
        if not _close(torch.stack(halves).mean(), value):
            raise broken(component, rule, "a scalar that is no mean over examples")
        return
    for i in range(BATCH):
        alone = _value(component, term, batch.rows(slice(i, i + 1)), "one example")
        if not _close(alone, value[i : i + 1]):
            raise broken(component, rule, f"{_shown(value[i])} in a batch, {_shown(alone)} alone")


def _check_mixed(component: Component, term: Any, batch: Batch, classes: int, value: torch.Tensor) -> None:
    say = "or the term must say mixed_labels = False"
    rows = torch.nn.functional.one_hot(batch.labels, classes).float()
    try:
        mixed = _value(component, term, replace(batch, labels=0.7 * rows + 0.3 * rows.roll(1, 0)))
        hot = _value(component, term, replace(batch, labels=rows))
    except AssertionError as error:
        rule = f"must take labels (batch, classes) of mixed examples, {say}"
        raise broken(component, rule, str(error)) from error
    if mixed.shape != value.shape:
        raise broken(component, f"must give {tuple(value.shape)} for mixed labels too, {say}", tuple(mixed.shape))
    if not _close(hot, value):
        raise broken(
            component,
            f"must say the same of label 1 and of the row (0, 1, 0, …), {say}",
            f"{_shown(value)} and {_shown(hot)}",
        )
