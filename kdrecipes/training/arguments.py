"""What a `Distiller` is given: networks, terms and weights that can't be, refused in words before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.training.inference import Inference
from kdrecipes.training.loss_parts import Weight, is_weight
from kdrecipes.training.teachers import ONLY

Term = Callable[[Any, Outputs, Outputs], torch.Tensor]  # labels, student, teacher → (batch,) or scalar
Network: TypeAlias = "keras.Model | torch.nn.Module | Inference"

_NO_TERM = "There is a teacher and no term to hear it: give one, such as loss=KD(temperature=4.0)."
_PRECISIONS = ("float32", "bfloat16", "float16")


def networks_of(student: Any, teacher: Any) -> dict[str, Any]:
    """The teachers by name, from what a distiller is given as `teacher`.

    Raises:
        ValueError: when the student is no Keras model, a teacher is no network, or the two share weights, which would
            teach the teacher.
    """
    if not isinstance(student, keras.Model):
        raise ValueError(f"`student`: a keras.Model. {_instead(student)}")
    named = dict(teacher) if isinstance(teacher, Mapping) else {} if teacher is None else {ONLY: teacher}
    mine = {id(variable.value) for variable in student.trainable_variables}
    for name, network in named.items():
        which = "`teacher`" if name == ONLY else f"`teacher`: {name!r}"
        if not isinstance(network, keras.Model | torch.nn.Module | Inference):
            raise ValueError(f"{which}: a keras.Model or a torch.nn.Module. {_instead(network)}")
        model = network.model if isinstance(network, Inference) else network
        if mine & {id(parameter) for parameter in model.parameters()}:
            raise ValueError(f"{which} shares weights with the student, and these would learn. Build it of its own.")
    return named


def _instead(given: Any) -> str:
    """What was given where a network belongs, and what to do about it."""
    received = f"Received: {type(given).__name__}."
    if isinstance(given, list | tuple):
        return f'{received} Give several teachers names: {{"first": …, "second": …}}.'
    if isinstance(given, str):
        return f"{received} Open a file first: keras.saving.load_model({given!r})."
    if isinstance(given, torch.nn.Module):
        return f"{received} A torch module can teach; as a student it learns in a recipe, as a plugin's component."
    return f"{received} Build it first: component.build(classes=…)." if hasattr(given, "build") else received


def check_ways(label_smoothing: float, precision: str) -> None:
    """Refuse ways to train that there are not.

    Raises:
        ValueError: naming the argument, what it may be and what was received.
    """
    if not is_weight(label_smoothing) or label_smoothing >= 1:
        raise ValueError(f"`label_smoothing`: a number from 0 to below 1. Received: {label_smoothing!r}")
    if precision not in _PRECISIONS:
        raise ValueError(f"`precision`: one of {', '.join(map(repr, _PRECISIONS))}. Received: {precision!r}")


def terms_and_weights(
    loss: Any, weight: Weight | Sequence[Weight], label_weight: float, *, taught: bool
) -> tuple[list[Any], list[Weight]]:
    """The distillation terms as a list, and a weight for each; `taught`: there is a teacher, for one of them to hear.

    Raises:
        ValueError: when there are more weights or fewer, a weight is no number of 0 or more and no function, a term
            can't be called, there is a teacher and no term, or nothing to train on.
    """
    if not is_weight(label_weight):
        raise ValueError(f"`label_weight`: a number of 0 or more. Received: {label_weight!r}")
    terms: list[Any] = list(loss) if isinstance(loss, list | tuple) else [loss]
    weights: list[Any] = list(weight) if isinstance(weight, list | tuple) else [weight] * len(terms)
    if len(weights) != len(terms):
        raise ValueError(f"`weight`: a number, or one for each term. Received: {len(weights)} for {len(terms)}")
    for one in weights:
        if not callable(one) and not is_weight(one):
            raise ValueError(f"`weight`: a number of 0 or more, or a function to one. Received: {one!r}")
    for term in terms:
        if isinstance(term, type):
            raise ValueError(f"`loss`: a term, not its class: {term.__name__}().")
        if not callable(term) or isinstance(term, keras.losses.Loss):
            raise ValueError(
                "`loss`: a term is a callable term(labels, student, teacher), for example KD(temperature=4.0). "
                f"Received: {term!r}"
            )
    if taught and not terms:
        raise ValueError(_NO_TERM)
    if not terms and label_weight == 0:
        raise ValueError("`label_weight` is 0 and there is no term: nothing to train on.")
    return terms, weights


def unnamed_networks(unnamed: Sequence[Any], named: Mapping[str, Any]) -> str:
    """What is wrong with a distiller whose networks are given by their places."""
    right = ", ".join([*(f"{r}=…" for r in ("teacher", "student") if r not in named), "loss=KD(temperature=4.0)"])
    kinds = ", ".join(type(one).__name__ for one in unnamed)
    return (
        f"Give each argument its name, the networks too: Distiller({right}). "
        f"Received: {len(unnamed)} without a name ({kinds})." + ("" if "loss" in named else f" {_NO_TERM}")
    )


def refuse_to_compile(loss: Any, loss_weights: Any, taps: Collection[str]) -> None:
    """Refuse what `Distiller.compile` can't do.

    Args:
        loss, loss_weights: as it was given them; it has its own.
        taps: the names of the layers that terms read of a student which is to be compiled; empty of another.

    Raises:
        ValueError: when a loss is given, or a term reads layers of such a student.
    """
    if loss is not None or loss_weights is not None:
        raise ValueError(
            "Give the distillation term to Distiller(loss=…) and its weight to Distiller(weight=…); the label loss "
            f"is the cross-entropy. Received: compile(loss={loss!r}, loss_weights={loss_weights!r})"
        )
    if taps:
        raise ValueError(f"A student whose layers a term reads ({list(taps)}) can't be compiled.")
