"""A step of a fit run again: what it computed, and the first layer that went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.training.distiller import Distiller
from kdrecipes.training.features import layer_paths, overheard
from kdrecipes.training.finite import FiniteWatch, StepFacts, not_finite


class Replayed(BaseException):
    """The step was run again. No `Exception`: nobody who handles errors shall take it for one.

    Attributes:
        step: JSON-able, what it computed: "fit", its label; "epoch" and "step", counted from 1; "finite", whether loss,
            gradients and the weights after it are; "learning_rate"; "loss"; "parts", the label loss and the terms by
            name, unweighed means over the batch, None where nothing is known; "first", the "layer" that went wrong
            first and "what" of it, "output", "gradient" or "weights", None where none did; "gradient_norms" by layer,
            of the unscaled loss; "examples" of the batch, each with "name", "label", a class or None, and "finite". A
            number that is none is the text "nan", "inf" or "-inf".
    """

    def __init__(self, step: dict[str, Any]):
        super().__init__(f"step {step['step']} of epoch {step['epoch']} of {step['fit']}")
        self.step = step


class StepReplay(keras.callbacks.Callback):
    """Ends a fit after one of its steps, with `Replayed`, before that is saved. It comes before the keeper.

    Args:
        distiller: what is trained.
        loader: its batches.
        epoch, step: which step, counted from 1.
    """

    watch: Any  # the fit's own FiniteWatch, which hears of the steps before

    def __init__(self, distiller: Distiller, loader: Loader, epoch: int, step: int):
        super().__init__()
        self.distiller, self.loader, self.at = distiller, loader, (epoch, step)
        self.epoch, self.listens = 0, ExitStack()
        self.outputs: Mapping[str, torch.Tensor] | None = None
        self.found: dict[str, Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.watch, self.distiller.finite = self.distiller.finite, self

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch + 1) == self.at:
            self.distiller.learner.compiled = None  # nobody hears the layers of what is compiled
            self.outputs = self.listens.enter_context(overheard(layer_paths(self.distiller.student)))

    def __call__(self, facts: StepFacts) -> None:
        """Hear of a step.

        Raises:
            NotFinite: when one before the right one is not finite.
        """
        if self.outputs is None:
            self.watch(facts)
            return
        self.listens.close()
        norms = gradient_norms(self.distiller, facts.gradients, list(self.outputs))
        total = float(facts.total.detach())
        self.found = {
            "fit": self.watch.label,
            "epoch": self.at[0],
            "step": self.at[1],
            "finite": all(math.isfinite(one) for one in (total, *norms.values())),
            "learning_rate": self.watch.rate_in(*self.at),
            "loss": _number(total),
            "parts": {name: None if one is None else _number(_mean(one)) for name, one in facts.parts.items()},
            "first": first_wrong(self.outputs, norms),
            "gradient_norms": {name: _number(norm) for name, norm in norms.items()},
            "examples": self._examples(self.watch, facts),
        }

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.found is not None:
            if self.found["finite"] and (layer := first_infinite_weights(self.distiller)):
                self.found |= {"finite": False, "first": {"layer": layer, "what": "weights"}}
            raise Replayed(self.found)

    def _examples(self, watch: FiniteWatch, facts: StepFacts) -> list[dict[str, Any]]:
        bad, split = set(not_finite(facts.parts)), self.loader.split
        places = [] if facts.index is None else facts.index.tolist()
        labels = [int(split.labels[place]) if place < len(split) else -1 for place in places]
        return [
            {
                "name": watch.name(place),
                "label": split.store.classes[label] if label >= 0 else None,
                "finite": i not in bad,
            }
            for i, (place, label) in enumerate(zip(places, labels, strict=True))
        ]


def gradient_norms(
    distiller: Distiller, gradients: Sequence[torch.Tensor | None], called: Sequence[str]
) -> dict[str, float]:
    """The norm of the gradient of each layer's own weights, by the layer's path.

    Args:
        distiller: what is trained.
        gradients: of its trainable weights, in their order, as the optimiser scales them.
        called: the student's layers in the order of the forward pass, which is that of the result; what they do not
            name, such as layers of terms, comes last and goes by the path of the weight.
    """
    owner, paths = _owners(distiller), layer_paths(distiller.student)
    factor = float(distiller.optimizer.scale_loss(torch.ones(())))
    squares: dict[str, float] = {}
    for variable, gradient in zip(distiller.trainable_weights, gradients, strict=True):
        if gradient is not None:
            path = owner.get(id(variable.value), variable.path)
            squares[path] = squares.get(path, 0.0) + float((gradient.double() / factor).square().sum())
    order = {path: place for place, path in enumerate([*called, *paths])}
    return {path: math.sqrt(squares[path]) for path in sorted(squares, key=lambda path: order.get(path, len(order)))}


def first_wrong(outputs: Mapping[str, torch.Tensor], norms: Mapping[str, float]) -> dict[str, str] | None:
    """The first layer whose output is not finite; else, on the way back from the loss, whose gradient is not.

    Args:
        outputs: by layer, in the order of the forward pass.
        norms: of gradients, in the same order.
    """
    for path, output in outputs.items():
        if not bool(output.isfinite().all()):
            return {"layer": path, "what": "output"}
    bad = [path for path, norm in norms.items() if not math.isfinite(norm)]
    return {"layer": bad[-1], "what": "gradient"} if bad else None


def first_infinite_weights(distiller: Distiller) -> str | None:
    """The path of the first layer one of whose weights or statistics is not finite; None where all are."""
    owner = _owners(distiller)
    for variable in distiller.variables:
        value = variable.value
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return owner.get(id(value), str(variable.path))
    return None


def _owners(distiller: Distiller) -> dict[int, str]:
    """By the id of each of the student's weights the path of its layer; of nested ones the innermost, which is last."""
    paths = layer_paths(distiller.student)
    return {id(value): path for path, layer in paths.items() for value in _weights(layer)}


def _weights(layer: Any) -> list[Any]:
    """The tensors of a Keras layer's weights, or of a torch module's."""
    if isinstance(layer, keras.layers.Layer):
        return [variable.value for variable in layer.variables]
    return list(layer.parameters())


def _mean(values: torch.Tensor) -> float:
    return float(values.detach().mean())


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
