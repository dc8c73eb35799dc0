"""What the teachers of a distiller say of a batch, by their names, and what each term hears of it."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.fast.accelerate import accelerate_unless_changed, unchanged
from kdrecipes.term_places import about
from kdrecipes.training.batches import by_teacher, images_of, index_of, teacher_images_of, teacher_logits_of
from kdrecipes.training.ensemble import TOGETHER, ensemble_logits
from kdrecipes.training.features import find_layer, tapped
from kdrecipes.training.inference import Inference, at_input_size, wide
from kdrecipes.training.last_activation import refuse_probabilities
from kdrecipes.training.pixels import channels_explained, refuse_other_pixels

Taught = Mapping[str, Outputs]  # by the teacher's name

ONLY = "teacher"  # the name of one that was given none


class Teachers:
    """Teachers by name, and who hears them. Keras does not look into this object: it tracks and trains nothing of them.

    Args:
        teachers: networks from images to logits, or `Inference` of them.
        terms: distillation terms. A term whose attribute `teacher` is a text hears the teacher of that name; another
            one hears all together. Each says which of its teacher's layers it reads.
        weights: above 0, by name; of those that are not named 1.0.
        together: how several are heard as one, "probabilities" or "logits"; see `ensemble_logits`.

    Raises:
        ValueError: when a teacher ends in a softmax or sigmoid, or lacks a layer that a term reads, a term names none
            that is there, reads layers and names none of several, or weights fit no teacher.
    """

    def __init__(
        self,
        teachers: Mapping[str, keras.Model | torch.nn.Module | Inference],
        terms: Sequence[Any],
        weights: Mapping[str, float] | None = None,
        together: str = "probabilities",
    ):
        self.networks = {
            name: teacher if isinstance(teacher, Inference) else Inference(teacher)
            for name, teacher in teachers.items()
        }
        self.accelerated = False
        self.terms, self.weights, self.together = terms, dict(weights or {}), together
        self._refuse_what_does_not_fit()
        self.layers = {name: self._layers_of(name) for name in self.networks}
        if not self.networks:
            layers_of(dict(enumerate(terms)), "teacher_layers", None, "")
        for one in self.networks.values():
            refuse_probabilities(one.model, "teacher")

    def _refuse_what_does_not_fit(self) -> None:
        names = list(self.networks)
        if self.together not in TOGETHER:
            raise ValueError(f"`teachers`: one of {TOGETHER}. Received: {self.together!r}")
        for name, weight in self.weights.items():
            if names and name not in names:
                raise ValueError(f"`teacher_weights` names {name!r}; the teachers are: {names}")
            if not 0 < weight < math.inf:
                raise ValueError(f"`teacher_weights`: a finite number above 0. Received: {weight} for {name!r}")
        for term in self.terms:
            named, layers = named_by(term), getattr(term, "teacher_layers", ())
            if names and named is not None and named not in names:
                raise ValueError(f"A term hears the teacher {named!r}; the teachers are: {names}")
            if len(names) > 1 and named is None and layers:
                raise ValueError(
                    f"A term reads teacher_layers {list(layers)}, which are one teacher's: it needs an attribute "
                    f"`teacher`, one of {names}."
                )

    def _layers_of(self, name: str) -> dict[str, Any]:
        """What terms read of one teacher; who names none reads the only one there is."""
        terms = {number: term for number, term in enumerate(self.terms) if named_by(term) in (None, name)}
        role = "the teacher" if name == ONLY else f"the teacher {name!r}"
        return layers_of(terms, "teacher_layers", self.networks[name].model, role)

    def accelerate(self) -> None:
        """Let torch's own kernels compute those that are Keras models; weights and classes stay as they are.

        One whose layers are read is computed whole, another as one function, which `refreeze` makes.
        """
        self.accelerated = True
        for name, network in self.networks.items():
            if self.layers[name]:
                accelerate_unless_changed(network.model)

    def refreeze(self) -> None:
        """Take those whose logits alone are asked for with the weights that they have now."""
        for name, network in self.networks.items() if self.accelerated else ():
            if not self.layers[name] and not network.has_modules and unchanged(network.model):
                network.freeze()

    def asked(self, cached: Container[str] = ()) -> list[str]:
        """The names of those that a step runs: for logits, unless the batch brings them (`cached`), or for layers."""
        return [name for name in self._heard() if name not in cached or self.layers[name]]

    def _heard(self) -> list[str]:
        """The names of those that a term hears, alone or together."""
        named = {named_by(term) for term in self.terms}
        return [name for name in self.networks if name in named or None in named]

    def __call__(self, x: Any, image: torch.Tensor, index: torch.Tensor | None) -> list[Outputs]:
        """What each term hears of a batch, in the order of terms.

        Args:
            x: the batch, which may bring logits and images of the teachers' own.
            image: the student's images, float (batch, height, width, channels).
            index: int64 (batch,); None where the data have none.

        Raises:
            ValueError: when the batch brings logits of another teacher, or images for one, or images that a teacher
                does not take.
        """
        said = self._said(x, image, index)
        everybody = self._all(said)  # once for all terms that hear it
        return [everybody if (name := named_by(term)) is None else _of(said, name) for term in self.terms]

    def logits(self, x: Any) -> dict[str, torch.Tensor]:
        """What each teacher that a term hears says of a batch: (batch, classes), at least float32, by its name.

        Args:
            x: the batch: images, or a dict as `__call__` takes it.
        """
        return {name: one.logits for name, one in self._said(x, images_of(x), index_of(x)).items()}

    def _said(self, x: Any, image: torch.Tensor, index: torch.Tensor | None) -> Taught:
        """What each teacher says that a term hears."""
        only = next(iter(self.networks)) if len(self.networks) == 1 else ONLY
        given = teacher_logits_of(x, only)
        if not self.networks:
            return {name: Outputs(wide(logits), {}, index) for name, logits in given.items()}
        for brought, what in ((given, "logits of"), (by_teacher(x, "teacher_image", only), "images for")):
            if brought.keys() - self.networks.keys():
                names = list(self.networks)
                raise ValueError(f"A batch brings {what} {list(brought)}; the distiller's teachers: {names}.")
        return {name: self._ask(name, given.get(name), x, image, index) for name in self._heard()}

    def _all(self, said: Taught) -> Outputs:
        """All teachers together; one alone says what it says."""
        if len(said) < 2 or all(named_by(term) is not None for term in self.terms):
            return next(iter(said.values()), _NO_TEACHER)
        weights = [self.weights.get(name, 1.0) for name in said]
        logits = ensemble_logits([one.logits for one in said.values()], weights, self.together)
        return Outputs(logits, {}, next(iter(said.values())).index)

    def _ask(
        self, name: str, given: torch.Tensor | None, x: Any, image: torch.Tensor, index: torch.Tensor | None
    ) -> Outputs:
        """One teacher's outputs: logits that came with the batch are its own, and of its layers what is read."""
        network, layers = self.networks[name], self.layers[name]
        if given is not None and not layers:
            return Outputs(wide(given), {}, index)
        image, role = teacher_images_of(x, image, name), "teacher" if name == ONLY else f"teacher {name!r}"
        refuse_other_pixels(network.model, image.shape, role, resized=True)
        image = at_input_size(image, network.model)
        with torch.no_grad(), channels_explained(network.model, image.shape, role):
            if given is not None:
                return Outputs(wide(given), network.features(image, layers), index)
            with tapped(layers) as features:
                logits = network(image)
        return Outputs(wide(logits), features, index)


def named_by(term: Any) -> str | None:
    """The name of the one teacher that a term hears; None: all of them together."""
    name = getattr(term, "teacher", None)
    return name if isinstance(name, str) else None


def _of(said: Taught, name: str) -> Outputs:
    """The one that a term names. Where there is no network the batch alone says who there is."""
    if said and name not in said:
        raise ValueError(f"A term hears the teacher {name!r}, and the batch brings logits of {list(said)}.")
    return said.get(name, _NO_TEACHER)


def layers_of(terms: Mapping[int, Any], attribute: str, model: Any, role: str) -> dict[str, Any]:
    """The layers of a model that terms read, by name.

    Args:
        terms: distillation terms, by their number.
        attribute: "student_layers" or "teacher_layers".
        model: None where there is no teacher.
        role: of the model, for messages.
    """
    names: dict[str, int] = {}
    for number, term in terms.items():
        for name in getattr(term, attribute, ()):
            names.setdefault(name, number)
    if names and model is None:
        raise ValueError(f"A term reads {attribute} {list(names)}, but there is no teacher.")
    found = {}
    for name, number in names.items():
        with about(number, attribute):
            found[name] = find_layer(model, name, role)
    return found


class _NoTeacher(Outputs):
    """Stands where a term is given a teacher's outputs and there is none."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("logits", "features", "index"):
            raise ValueError(f"A term reads the teacher's {name}, but there is no teacher, nor logits in the batch.")
        return super().__getattribute__(name)


_NO_TEACHER = _NoTeacher(torch.empty(0))
