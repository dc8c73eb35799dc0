"""A recipe's loss in words: the label loss and the terms, with their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdrecipes.report.sweep_words import value_words

_OWN = ("name", "terms", "label_weight", "label_smoothing", "teachers")  # not a term's


def loss_words(loss: Mapping[str, Any]) -> str:
    """The label loss and the terms: `label loss × 0.1 + kd (weight = 0.9, temperature = 4.0)`.

    Args:
        loss: `[loss]` of a resolved recipe.
    """
    terms = loss.get("terms") or ([loss] if "name" in loss else [])
    words = [f"label loss × {float(loss.get('label_weight', 1.0)):g}"]
    for term in terms:
        options = ", ".join(f"{key} = {_shown(value)}" for key, value in term.items() if key not in _OWN)
        words.append(f"{term['name']} ({options})" if options else str(term["name"]))
    return " + ".join(words)


def network_words(arms: Sequence[Mapping[str, Any]]) -> str:
    """What the distilled student is where a term put another network in the student's place: a sentence, else empty.

    Args:
        arms: those of a report that are told of.
    """
    network = next((arm["network"] for arm in arms if arm.get("network")), "")
    return network and f"The distilled student is {network}, so its parameters are not the plain student's."


def _shown(value: Any) -> Any:
    return value_words(value) if isinstance(value, Mapping) else value
