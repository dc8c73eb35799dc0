"""What the teachers of a distiller say of a batch, by their names: their own words, or what the batch brings along."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.components.outputs import Outputs
from kdrecipes.training.batches import by_teacher, teacher_images_of, teacher_logits_of
from kdrecipes.training.features import find_layer, tapped
from kdrecipes.training.inference import Inference, at_input_size, refuse_softmax, wide

Taught = Mapping[str, Outputs]  # by the teacher's name

ONLY = "teacher"  # the name of one that was given none


class Teachers:
    """Teachers by name. Keras does not look into this object: it tracks, saves and trains nothing of them.

    Args:
        teachers: networks from images to logits, or `Inference` of them.
        terms: distillation terms; each hears the one teacher and says which of its layers it reads.

    Raises:
        ValueError: when a teacher ends in a softmax, or lacks a layer that a term reads.
    """

    def __init__(self, teachers: Mapping[str, keras.Model | torch.nn.Module | Inference], terms: Sequence[Any]):
        self.networks = {
            name: teacher if isinstance(teacher, Inference) else Inference(teacher)
            for name, teacher in teachers.items()
        }
        if len(self.networks) > 1:
            raise ValueError(f"A distiller has one teacher. Received: {list(self.networks)}")
        self.terms = terms
        self.layers = {name: layers_of(terms, "teacher_layers", one.model) for name, one in self.networks.items()}
        if not self.networks:
            layers_of(terms, "teacher_layers", None)
        for one in self.networks.values():
            refuse_softmax(one.model, "teacher")

    def asked(self, cached: Container[str] = ()) -> list[str]:
        """The names of those that a step runs: for logits, unless the batch brings them (`cached`), or for layers."""
        return [name for name, layers in self.layers.items() if self.terms and (name not in cached or layers)]

    def __call__(self, x: Any, image: torch.Tensor, index: torch.Tensor | None) -> Taught:
        """Every teacher's outputs on a batch.

        Args:
            x: the batch, which may bring logits and images of the teachers' own.
            image: the student's images, float (batch, height, width, channels).
            index: int64 (batch,); None where the data have none.

        Raises:
            ValueError: when the batch brings logits of another teacher, or images for one.
        """
        only = next(iter(self.networks), ONLY)
        given = teacher_logits_of(x, only)
        if len(self.networks.keys() | given) > 1:
            raise ValueError(f"A batch brings logits of {list(given)}; the distiller's teacher: {list(self.networks)}.")
        shown = by_teacher(x, "teacher_image", only)
        if self.networks and shown.keys() - self.networks:
            raise ValueError(
                f"A batch brings images for {list(shown)}; the distiller's teacher: {list(self.networks)}."
            )
        if not self.networks:
            return {name: Outputs(wide(logits), {}, index) for name, logits in given.items()}
        return {name: self._ask(name, given.get(name), x, image, index) for name in self.networks}

    def _ask(
        self, name: str, given: torch.Tensor | None, x: Any, image: torch.Tensor, index: torch.Tensor | None
    ) -> Outputs:
        """One teacher's outputs: logits that came with the batch are its own, and of its layers what is read."""
        network, layers = self.networks[name], self.layers[name]
        if given is not None and not layers:
            return Outputs(wide(given), {}, index)
        image = at_input_size(teacher_images_of(x, image, name), network.model)
        with torch.no_grad():
            if given is not None:
                return Outputs(wide(given), network.features(image, layers), index)
            with tapped(layers) as features:
                logits = network(image)
        return Outputs(wide(logits), features, index)


def heard(taught: Taught) -> Outputs:
    """The teacher that a term hears: the one there is."""
    return next(iter(taught.values()), _NO_TEACHER)


def layers_of(terms: Sequence[Any], attribute: str, model: Any) -> dict[str, Any]:
    """The layers of a model that terms read, by name.

    Args:
        terms: distillation terms.
        attribute: "student_layers" or "teacher_layers".
        model: None where there is no teacher.
    """
    names = dict.fromkeys(name for term in terms for name in getattr(term, attribute, ()))
    if names and model is None:
        raise ValueError(f"A term reads {attribute} {list(names)}, but there is no teacher.")
    return {name: find_layer(model, name) for name in names}


class _NoTeacher(Outputs):
    """Stands where a term is given a teacher's outputs and there is none."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("logits", "features", "index"):
            raise ValueError(f"A term reads the teacher's {name}, but there is no teacher, nor logits in the batch.")
        return super().__getattribute__(name)


_NO_TEACHER = _NoTeacher(torch.empty(0))
