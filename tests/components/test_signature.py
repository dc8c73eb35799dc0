"""A builder that can't be called with what its options declare: told to its author, before anything is built."""

from __future__ import annotations

import re

import pytest

from kdrecipes.cli.checks import check_file
from kdrecipes.components.hookspecs import Component
from kdrecipes.components.signature import call_problem

PASSED = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}


def component(build, **properties):
    return Component("model", "odd", build, {"type": "object", "additionalProperties": False, "properties": properties})


@pytest.mark.parametrize(
    ("build", "declared", "problem"),
    [
        (lambda classes, image_size: 0, PASSED, ""),
        (lambda **options: 0, PASSED, ""),
        (lambda classes, image_size, depth=2: 0, PASSED, ""),
        (print, {}, ""),
        (
            lambda classes, image_size: 0,
            {"image_size": {"type": "integer"}},
            "build needs 'classes', which its options do not declare: the run passes it where their `properties` hold "
            '"classes": {"type": "integer"}',
        ),
        (
            lambda depth, **passed: 0,
            PASSED,
            "build needs 'depth', which its options do not declare: add it to their `properties`, or give it a default "
            "in build",
        ),
        (
            lambda depth, **passed: 0,
            PASSED | {"depth": {"type": "integer"}},
            "build needs 'depth', which a recipe may leave out: give it a default, or name it in `required`",
        ),
        (
            lambda classes: 0,
            PASSED,
            "build takes no 'image_size', which its options declare: add that parameter, or take the option out",
        ),
        (lambda classes, /, image_size: 0, PASSED, "build must take 'classes' by keyword"),
        (
            lambda klasses: 0,
            PASSED,
            "build takes 'klasses', and its options declare 'classes': call both the same; build takes no "
            "'image_size', which its options declare: add that parameter, or take the option out",
        ),
    ],
)
def test_what_keeps_a_builder_from_being_called_is_told_with_the_mend(build, declared, problem):
    names = [name for name in declared if name in PASSED]
    assert call_problem(component(build, **declared), names) == problem


PLUGIN = """
import kdrecipes

def build({}):
    raise AssertionError("nothing is built")

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="odd", build=build, options={{
        "type": "object", "additionalProperties": False, "properties": {{"image_size": {{"type": "integer"}}}}}})
    yield kdrecipes.Component(kind="loss", name="odd", build=lambda width: 0)
    yield kdrecipes.Component(kind="callback", name="odd", build=lambda width: 0)
    yield kdrecipes.Component(kind="dataset", name="odd", build=lambda: 0)
"""


@pytest.mark.usefixtures("built_ins")
@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ('student={name="odd"}', "student.name", "the model 'odd' (PLUGIN) can't be built: its build needs 'classes'"),
        ('teacher={name="odd", copies=2}', "teacher.name", "the model 'odd' (PLUGIN) can't be built: its build needs"),
        ('loss={name="odd"}', "loss.name", "the loss 'odd' (PLUGIN) can't be built: its build needs 'width'"),
        ('callbacks=[{name="odd"}]', "callbacks[0].name", "the callback 'odd' (PLUGIN) can't be built: its build"),
        ('dataset={name="odd"}', "dataset.name", "the dataset 'odd' (PLUGIN) can't be built: its build takes no"),
    ],
)
def test_a_recipe_is_told_which_plugins_builder_is_broken_and_where(tmp_path, change, path, words):
    plugin = tmp_path / "odd.py"
    plugin.write_text(PLUGIN.format("classes, image_size"))
    result = check_file("digits", [change], [plugin])
    [problem] = result.problems
    assert result.exit_code == 3, "the recipe is right, a plugin is not"
    assert (problem.path, problem.code) == (path, "broken-component")
    assert re.sub(r"\([^)]+ sha256:[0-9a-f]{64}\)", "(PLUGIN)", problem.rule).startswith(words)
