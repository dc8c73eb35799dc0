"""What a run decides by measuring: once, before the first arm, for all arms, and never again when it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdrecipes.runs.folder import RunFolder, keep_decision


@dataclass(frozen=True)
class Decision:
    """What is used, and why; the lock and the user are told both."""

    use: Any
    why: str


EAGER = Decision(False, "")  # no torch.compile


def decide(folder: RunFolder, name: str, make: Callable[[], Decision]) -> Decision:
    """The decision that the lock holds under `name`; made and kept where there is none."""
    return Decision(**keep_decision(folder, name, lambda: asdict(make())))


def decide_all(folder: RunFolder, name: str, make: Callable[[], Mapping[str, Decision]]) -> dict[str, Decision]:
    """Several decisions that the lock holds together under `name`, by what they are about."""
    kept = keep_decision(folder, name, lambda: {about: asdict(one) for about, one in make().items()})
    return {about: Decision(**one) for about, one in kept.items()}
