"""Terms that must know their networks are told them, before anything of a distiller is built."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from kdrecipes.backend import keras
from kdrecipes.term_places import about
from kdrecipes.training.inference import Inference
from kdrecipes.training.last_activation import refuse_probabilities
from kdrecipes.training.teachers import named_by


class StudentReplaced(UserWarning):
    """Another network is trained than the student that was given."""


def introduced(terms: Sequence[Any], student: keras.Model, teachers: Mapping[str, Any]) -> tuple[keras.Model, str]:
    """Let each term with a method `meet(student, teacher)` meet both networks.

    Args:
        terms: distillation terms.
        student: the network that is to be trained.
        teachers: networks, or `Inference` of them, by name.

    Returns:
        The model that is trained: the student, or what a term's `meet` gave in its place. And what that is, in words:
        the term's `network`; empty where it is the student.

    Warns:
        StudentReplaced: where it is not the student.

    Raises:
        ValueError: when there is no teacher to meet, or several and the term names none, or two terms give a model.
    """
    met = [(number, term) for number, term in enumerate(terms) if callable(getattr(term, "meet", None))]
    trained, network = student, ""
    for number, term in met:
        with about(number):
            given = term.meet(student, _teacher_of(term, teachers))
        if given is None:
            continue
        if trained is not student:
            raise ValueError("Two terms put a model of theirs in the student's place; one can.")
        if not isinstance(given, keras.Model):
            raise ValueError(f"`meet` gives a keras.Model or None. Received: {type(given).__name__}")
        trained, name = given, _name_of(term)
        network = str(getattr(term, "network", "") or f"a network that the term {name!r} made of it")
        warnings.warn(
            f"The term {name!r} trains another network than the student that was given: `distiller.student`, {network}."
            " The student that was given does not become that network: use and save `distiller.student`.",
            StudentReplaced,
            stacklevel=3,
        )
    return trained, network


def _name_of(term: Any) -> str:
    return str(getattr(term, "name", None) or type(term).__name__)


def _teacher_of(term: Any, teachers: Mapping[str, Any]) -> Any:
    """The network that a term hears."""
    name, names, what = named_by(term), list(teachers), _name_of(term)
    if not names:
        raise ValueError(f"The term {what!r} is made for a teacher's network, but there is no teacher.")
    if name is None and len(names) > 1:
        raise ValueError(
            f"The term {what!r} is made for one teacher's network: it needs an attribute `teacher`, one of {names}."
        )
    if name is not None and name not in names:
        raise ValueError(f"A term hears the teacher {name!r}; the teachers are: {names}")
    one = teachers[name or names[0]]
    model = one.model if isinstance(one, Inference) else one
    refuse_probabilities(model, "teacher")
    return model
