"""A term declares each option once: constructor, schema and documentation say the same."""

from __future__ import annotations

import pytest

from kdrecipes.components.losses import kdrecipes_components
from kdrecipes.components.losses.declared import component_of, option, temperature, term
from kdrecipes.components.losses.taken_layers import Layers, declared_layers

GAP = [{"const": 0}, {"minimum": 0.1}]


@term("made_up", summary="nothing", paper="Nobody, 2020")
class MadeUp:
    """Nothing at all."""

    examples: int = option(description="Images in the train split.")
    temperature: float = temperature(2.0)
    share: float = option(0.5, "A share.", minimum=0, exclusiveMaximum=1)
    steps: int = option(3, "How many.", minimum=1)
    power: float = option(
        0.5, "A power.", minimum=0, anyOf=[{"const": 0}, {"minimum": 0.1}], x_rule="must be 0, or 0.1"
    )
    many: tuple[float, ...] = option((1.0, 2.0), "Several.", items={"type": "number", "exclusiveMinimum": 0})
    layers: tuple[str, ...] = ()


def test_the_schema_is_made_of_the_fields():
    component = component_of(MadeUp)
    assert (component.kind, component.name, component.summary) == ("loss", "made_up", "nothing")
    assert "required" not in component.options  # a run passes `examples`
    assert component.options["properties"] == {
        "examples": {"type": "integer", "description": "Images in the train split."},
        "temperature": {
            "type": "number",
            "default": 2.0,
            "description": "Divides both networks' logits; above 1 it shows more of the teacher's small probabilities.",
            "exclusiveMinimum": 0,
            "maximum": 1000,
            "x-rule": "must be a number above 0 and at most 1000; beyond that float32 keeps no digit of it",
            "examples": [1.0, 2.0, 4.0],
        },
        "share": {"type": "number", "default": 0.5, "description": "A share.", "minimum": 0, "exclusiveMaximum": 1},
        "steps": {"type": "integer", "default": 3, "description": "How many.", "minimum": 1},
        "power": {
            "type": "number",
            "default": 0.5,
            "description": "A power.",
            "minimum": 0,
            "anyOf": [{"const": 0}, {"minimum": 0.1}],
            "x-rule": "must be 0, or 0.1",
        },
        "many": {
            "type": "array",
            "default": [1.0, 2.0],
            "description": "Several.",
            "items": {"type": "number", "exclusiveMinimum": 0},
        },
    }


def test_the_constructor_takes_them_and_makes_numbers_floats():
    made = component_of(MadeUp).build(examples=5, temperature=3, many=[4])
    assert (made.temperature, made.share, made.many, made.layers) == (3.0, 0.5, (4.0,), ())
    assert isinstance(made.temperature, float)


def test_the_documentation_lists_them():
    assert "Nobody, 2020." in MadeUp.__doc__
    assert "        share: A share. At least 0 and below 1. Default 0.5.\n" in MadeUp.__doc__
    assert "        examples: Images in the train split. A run passes it.\n" in MadeUp.__doc__


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 1}, "`share` must be a number at least 0 and below 1. Received: share=1"),
        ({"share": -0.1}, "`share` must be a finite number at least 0. Received: share=-0.1"),
        ({"temperature": 0}, "`temperature` must be a finite number above 0. Received: temperature=0"),
        ({"temperature": 1e9}, "`temperature` must be a number above 0 and at most 1000; beyond that float32 keeps no"),
        ({"steps": 1.5}, "`steps` must be a whole number. Received: steps=1.5"),
        ({"share": "x"}, "`share` must be a number. Received: share='x'"),
        ({"steps": True}, "`steps` must be a whole number. Received: steps=True"),
        ({"power": 0.05}, "`power` must be 0, or 0.1. Received: power=0.05"),
        ({"many": ()}, "`many` must be a list of numbers, not empty. Received: many=()"),
        ({"many": 2}, "`many` must be a list of numbers, not empty. Received: many=2"),
        ({"many": [1, -1]}, "`many` must be a finite number above 0. Received: many=-1"),
    ],
)
def test_what_is_out_of_range_is_refused(given, message):
    with pytest.raises(ValueError) as caught:
        MadeUp(examples=1, **given)
    assert str(caught.value).startswith(message)


def test_every_built_in_declares_the_layers_that_it_reads():
    for component in kdrecipes_components():
        declared, fields = declared_layers(component.build), component.build.__dataclass_fields__
        assert declared is not None
        assert bool(declared.student[1]) == ("student_layers" in fields)
        assert bool(declared.teacher[1]) == ("teacher_layers" in fields)


def test_who_derives_from_a_term_declares_nothing_by_it():
    class Mine(MadeUp):
        student_layers = ()

    assert declared_layers(MadeUp) == Layers()
    assert declared_layers(Mine) is declared_layers(len) is None
