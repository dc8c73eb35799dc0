"""One declaration of a built-in's options: the builder's signature, and what is said beside it, make the schema."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kdrecipes.components.contract import PASSED_BY_RUN

_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}

# What every option `sha256` says of its value.
SHA256_OPTION = {
    "pattern": r"^[0-9a-f]{64}(?![\s\S])",
    "x-rule": "must be 64 digits of 0 to 9 and a to f, as sha256sum prints them",
}


def options(kind: str, build: Callable[..., Any], /, **words: Mapping[str, Any]) -> dict[str, Any]:
    """The draft-07 schema of what `build` takes, a component's `options`.

    The signature gives each option's type (`int`, `float`, `str` or `bool`, with or without `| None`) and its default.
    An option without a default is required, unless the run passes it; a default of None is no default.

    Args:
        kind: the component's kind, which says what the run passes.
        build: the component's builder, a function or a class whose module has `from __future__ import annotations`.
        words: by option, what the signature can't say: bounds, "description", "examples". A "type", "anyOf" or "enum"
            of its own stands in place of the annotation.

    Raises:
        TypeError: `words` names no parameter of `build`, or a parameter has neither a known annotation nor a type.

    Example:
        ```python
        def build(classes: int, image_size: int, width: int = 32) -> keras.Model: ...

        options("model", build, width={"minimum": 1, "description": "Channels of the first stage."})
        ```
    """
    parameters = inspect.signature(build).parameters
    if unknown := sorted(set(words) - set(parameters)):
        raise TypeError(f"{build.__qualname__} has no parameter {unknown[0]!r}")
    required = [n for n, p in parameters.items() if p.default is p.empty and n not in PASSED_BY_RUN[kind]]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": {name: _option(parameter, words.get(name, {})) for name, parameter in parameters.items()},
    }


def _option(parameter: inspect.Parameter, words: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one option."""
    schema: dict[str, Any] = {}
    if not {"type", "anyOf", "enum"} & set(words):
        annotation = str(parameter.annotation).removesuffix(" | None")
        if annotation not in _TYPES:
            raise TypeError(f"the option {parameter.name!r} needs a type: {parameter.annotation} gives none")
        schema["type"] = _TYPES[annotation]
    if parameter.default not in (parameter.empty, None):
        schema["default"] = parameter.default
    return {**schema, **words}
