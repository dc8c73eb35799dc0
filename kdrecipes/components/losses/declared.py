"""How a built-in term declares itself: each option once, for its constructor, its schema and its documentation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, TypeVar, dataclass_transform

from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.losses.taken_layers import NONE, Layers, take_layers

T = TypeVar("T")
_SCHEMA = "schema"
_TYPES = {"int": "integer", "float": "number"}  # a tuple of numbers is an "array", and says of what


def option(default: Any = MISSING, description: str = "", **schema: Any) -> Any:
    """A field of a term's class that a recipe may set.

    Args:
        default: of the constructor and the schema. None given: the run passes it, and a script must.
        description: one sentence or two, with the symbol of the paper.
        **schema: more words of its draft-07 schema: `minimum`, `exclusiveMinimum`, `maximum`, `exclusiveMaximum`,
            `anyOf`, `items`, `examples`, `x_rule` (written "x-rule": the whole rule in words).
    """
    words = {("x-rule" if key == "x_rule" else key): value for key, value in schema.items()}
    if isinstance(default, tuple):  # a list in a recipe
        words = {"type": "array", "default": list(default), **words}
    return field(default=default, metadata={_SCHEMA: {"description": description, **words}})


def temperature(default: float, greatest: float = 1000, rule: str = "", description: str = "") -> Any:
    """The option `temperature` of a term: above 0, and at most what float32 bears."""
    return option(
        default,
        description or "Divides both networks' logits; above 1 it shows more of the teacher's small probabilities.",
        exclusiveMinimum=0,
        maximum=greatest,
        x_rule=rule or f"must be a number above 0 and at most {greatest}; beyond that float32 keeps no digit of it",
        examples=[1.0, 2.0, 4.0],
    )


@dataclass_transform(field_specifiers=(option, temperature, field))
def term(name: str, summary: str, paper: str, layers: Layers = NONE) -> Callable[[type[T]], type[T]]:
    """Make a class a term that a recipe can name. Its module has `from __future__ import annotations`.

    The class becomes a dataclass: its fields are the arguments of the constructor, which checks those that are options
    and raises a ValueError. Its docstring gets the section on them. Its `component` is what a recipe finds.

    Args:
        name: of the component, and of the term's metric.
        summary: one line, for `kdrecipes list losses`.
        paper: where the formula comes from: authors, identifier and equation.
        layers: which layers it reads, told to those who give it others.
    """

    def declare(cls: type[T]) -> type[T]:
        own = cls.__dict__.get("__post_init__")  # what a term checks beside the range of each option

        def check(self: Any) -> None:
            for one in fields(self):
                if _SCHEMA in one.metadata:
                    setattr(self, one.name, _checked(one.name, getattr(self, one.name), _schema(one)))
            take_layers(self, whole=False)  # a run names them after the term is made
            if own is not None:
                own(self)

        cls.__post_init__ = check  # type: ignore[attr-defined]
        made: Any = dataclass(eq=False)(cls)
        declared = [one for one in fields(made) if _SCHEMA in one.metadata]
        made.name, made.paper = name, paper
        made.takes_layers = replace(layers, maps_itself=hasattr(made, "meet") or "parts" in made.__dataclass_fields__)
        made.__doc__ = _documented(made, declared)
        needed = [one.name for one in declared if one.default is MISSING and one.name not in PASSED_BY_RUN["loss"]]
        schema = {
            "type": "object",
            "additionalProperties": False,
            **({"required": needed} if needed else {}),
            "properties": {one.name: _schema(one) for one in declared},
        }
        made.component = Component(kind="loss", name=name, build=made, options=schema, summary=summary)
        return made  # type: ignore[no-any-return]

    return declare


def _schema(one: Field[Any]) -> dict[str, Any]:
    """The draft-07 schema of an option, of its annotation, its default and its words."""
    words = one.metadata[_SCHEMA]
    schema = {} if "type" in words else {"type": _TYPES[str(one.type)]}
    if one.default is not MISSING and "default" not in words:
        schema["default"] = one.default
    return {**schema, **words}


def _checked(name: str, value: Any, schema: dict[str, Any]) -> Any:
    """An option's value, a float where it is a "number" and a tuple where it is an "array".

    Raises:
        ValueError: when the value is of another type, not finite or out of range.
    """
    whole, received = schema["type"] == "integer", f"Received: {name}={value!r}"
    if schema["type"] == "array":
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"`{name}` must be a list of numbers, not empty. {received}")
        return tuple(_checked(name, one, schema["items"]) for one in value)
    if not isinstance(value, int if whole else int | float) or isinstance(value, bool):
        raise ValueError(f"`{name}` must be a {'whole ' * whole}number. {received}")
    if (
        not math.isfinite(value)
        or value <= schema.get("exclusiveMinimum", -math.inf)
        or value < schema.get("minimum", -math.inf)
    ):
        raise ValueError(f"`{name}` must be a finite number{_range(schema, lower=True)}. {received}")
    if not _fits(value, schema):
        raise ValueError(f"`{name}` {schema.get('x-rule') or 'must be a number' + _range(schema)}. {received}")
    return value if whole else float(value)


def _fits(value: float, schema: dict[str, Any]) -> bool:
    """Whether a number keeps all that a schema says of it."""
    from jsonschema import Draft7Validator

    return bool(Draft7Validator(schema).is_valid(value))


def _range(schema: dict[str, Any], lower: bool = False) -> str:
    """What a schema says of a number's range, such as " above 0 and at most 1000"."""
    bounds = {"exclusiveMinimum": "above", "minimum": "at least"}
    if not lower:
        bounds |= {"exclusiveMaximum": "below", "maximum": "at most"}
    said = [f"{word} {schema[key]:g}" for key, word in bounds.items() if key in schema]
    return f" {' and '.join(said)}" if said else ""


def _documented(cls: type[Any], declared: list[Field[Any]]) -> str:
    """The class's docstring, with its source and a section on its options."""
    parts = [f"{(cls.__doc__ or '').rstrip()}\n", _wrapped(f"{cls.paper}.", 4)]
    if declared:
        parts += ["", "    Args:"]
        for one in declared:
            schema = _schema(one)
            bounds = schema.get("x-rule") or _range(schema.get("items", schema)).strip()
            default = "A run passes it." if one.default is MISSING else f"Default {one.default}."
            said = [schema["description"], bounds and f"{bounds[0].upper()}{bounds[1:]}.", default]
            parts.append(_wrapped(f"{one.name}: {' '.join(filter(None, said))}", 8))
        parts += ["", "    Raises:", "        ValueError: for an option out of its range."]
    return "\n".join(parts) + "\n"


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(
        text, 116, initial_indent=" " * indent, subsequent_indent=" " * (12 if indent == 8 else indent)
    )


def component_of(cls: type[Any]) -> Component:
    """The component that `term` made of a class."""
    component: Component = cls.component
    return component
