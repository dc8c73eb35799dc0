"""Secrets in a recipe: it is copied into reports, and shared, so that one that holds a password is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kdrecipes.errors import Problem
from kdrecipes.recipe.messages import Message
from kdrecipes.recipe.positions import Path
from kdrecipes.secret_values import secret_in, secrets


def secrets_in_values(data: Any) -> Iterator[tuple[Path, Message]]:
    """Each key and value that holds a secret: its path, and what to say of it."""
    known = secrets()

    def walk(value: Any, path: Path) -> Iterator[tuple[Path, Message]]:
        if isinstance(value, str) and (what := secret_in(value, known)):
            yield path, _message(what)
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            if isinstance(key, str) and (what := secret_in(key, known)):
                yield (*path, key), _message(what)
            yield from walk(part, (*path, key))

    return walk(data, ())


def secrets_beside_values(file: str, text: str, overrides: Sequence[str]) -> Iterator[Problem]:
    """Those that stand in no value: in a comment, or in a `--set` that a later one replaces."""
    known = secrets()
    for number, line in enumerate(text.splitlines(), 1):
        if what := secret_in(line, known):
            yield Problem(file, number, 1, "", *_message(what)[1:], code="holds-secret")
    for override in overrides:
        if what := secret_in(override, known):
            yield Problem(f"--set {override}", 0, 0, "", *_message(what)[1:], code="holds-secret")


def _message(what: str) -> Message:
    rule = f"holds {what}: a recipe is copied into reports, so leave secrets to the environment"
    return Message("holds-secret", rule)
