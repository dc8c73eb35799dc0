"""A built-in's options are declared once: the signature gives type and default, the words beside it the rest."""

from __future__ import annotations

import inspect
import timeit

import pytest

from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.options import options
from kdrecipes.components.registry import load_registry


def build(classes: int, path: str, width: int = 32, rate: float = 0.0, sure: bool = False, version: str | None = None):
    """A model's builder."""


def test_the_signature_gives_types_defaults_and_what_is_required():
    assert options("model", build) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["path"],
        "properties": {
            "classes": {"type": "integer"},
            "path": {"type": "string"},
            "width": {"type": "integer", "default": 32},
            "rate": {"type": "number", "default": 0.0},
            "sure": {"type": "boolean", "default": False},
            "version": {"type": "string"},
        },
    }


def test_only_what_the_run_passes_to_this_kind_may_be_left_out():
    assert options("dataset", build)["required"] == ["classes", "path"]
    assert "required" not in options("model", lambda classes=2: None, classes={"type": "integer"})


def test_words_are_merged_and_their_type_wins():
    words = {
        "path": {"anyOf": [{"enum": ["none"]}, {"type": "string", "format": "path"}]},
        "width": {"minimum": 1, "description": "channels"},
        "rate": {"enum": [0.0, 0.5]},
        "version": {"type": ["string", "integer"]},
    }
    properties = options("model", build, **words)["properties"]
    assert properties["path"] == words["path"]
    assert properties["width"] == {"type": "integer", "default": 32, "minimum": 1, "description": "channels"}
    assert properties["rate"] == {"enum": [0.0, 0.5], "default": 0.0}
    assert properties["version"] == words["version"]


def test_a_class_is_a_builder_and_kind_and_build_are_names_like_others():
    class Term:
        def __init__(self, kind: str, build: int = 1):
            pass

    properties = options("loss", Term, kind={"minLength": 1}, build={"minimum": 1})["properties"]
    assert properties == {
        "kind": {"type": "string", "minLength": 1},
        "build": {"type": "integer", "default": 1, "minimum": 1},
    }


def test_what_fits_no_parameter_or_has_no_type_is_refused():
    with pytest.raises(TypeError, match="build has no parameter 'widht'"):
        options("model", build, widht={})

    def layers(names: tuple[str, ...] = ()):
        pass

    with pytest.raises(TypeError, match=r"the option 'names' needs a type: tuple\[str, \.\.\.\] gives none"):
        options("model", layers)


def test_built_ins_say_what_their_signatures_say(built_ins):
    """Checked here without `options`: one that declares its schema by hand is held to the same."""
    for component, _ in load_registry().components.values():
        parameters = inspect.signature(component.build).parameters
        properties = component.options["properties"]
        layers = [
            name for name in ("student_layers", "teacher_layers") if component.kind == "loss" and name in parameters
        ]
        assert list(properties) == [name for name in parameters if name not in layers], component.name
        for name in properties:
            parameter = parameters[name]
            default = None if parameter.default is parameter.empty else parameter.default
            default = list(default) if isinstance(default, tuple) else default
            assert properties[name].get("default") == default, (component.name, name)
            optional = parameter.default is not parameter.empty or name in PASSED_BY_RUN[component.kind]
            assert (name in component.options.get("required", [])) != optional, (component.name, name)


def test_all_built_ins_options_are_made_in_two_milliseconds(built_ins):
    """It runs for every built-in whenever the command line starts."""
    builders = [
        (c.kind, c.build, {key: part for key, part in c.options["properties"].items() if part.get("type") == "array"})
        for c, _ in load_registry().components.values()
        if c.kind != "loss"  # terms declare their options as fields
    ]
    made = [lambda one=one: options(one[0], one[1], **one[2]) for one in builders]
    seconds = min(timeit.repeat(lambda: [make() for make in made], number=1, repeat=20))
    assert seconds < 0.002
