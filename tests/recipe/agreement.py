"""Validator and editor's schema asked about one file, and the closed list of the rules that only the validator has."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft7Validator

from kdrecipes.components.registry import load_registry
from kdrecipes.errors import KDRecipesError, RecipeError
from kdrecipes.recipe.editor_schema import composed_schema
from kdrecipes.recipe.load import load_recipe


class Beyond(NamedTuple):
    """A rule that no schema states: part of its message, why, and a recipe that breaks it (JSON where it begins so)."""

    rule: str
    why: str
    example: str


TOML = 'schema_version = 1\nname = "m"\ndataset.name = "digits"\nstudent.name = "cnn"\ntrain.epochs = 1\n'
JSON = '{"schema_version": 1, "name": "m", "dataset": {"name": "digits"}, "student": {"name": "cnn"}, "train": %s}'
APPLICATION = TOML.replace('student.name = "cnn"', 'student = { name = "keras_applications", %s }')
PAIR = (
    'teacher.name = "cnn"\n[loss]\nname = "hint"\nprojector = "linear"\nstudent_layers = ["a"]\nteacher_layers = %s\n'
)

BEYOND_A_SCHEMA = (
    Beyond(
        "a recipe is copied into reports, so leave secrets to the environment",
        "a schema knows neither comments nor the environment",
        TOML + "# from https://ann:hush-hush@example.org\n",
    ),
    Beyond(
        "must not be the same images as",
        "draft-07 compares no two values",
        TOML + 'dataset.train = "a"\ndataset.test = "a"\n',
    ),
    Beyond(
        "must not share images with",
        "draft-07 compares no two values",
        TOML + 'dataset.train = "train[:900]"\ndataset.validation = "train[899:]"\n',
    ),
    Beyond(
        "must give at most",
        "draft-07 does not multiply",
        TOML + f"sweep.grid = {{ seed = {list(range(101))}, 'train.epochs' = {list(range(1, 101))} }}\n",
    ),
    Beyond(
        "must hold an image",
        "draft-07 does not count",
        TOML + 'dataset.train = "train[9:9]"\n',
    ),
    Beyond(
        "holds no more images",
        "draft-07 compares no two values",
        TOML + 'teacher.name = "cnn"\nloss.name = "kd"\ndataset.train = "train[:999]"\ndataset.labelled = 1000\n',
    ),
    Beyond(
        "there are no more training images",
        "draft-07 compares no two values",
        TOML + 'dataset.train = "train[:9]"\ntrain.batch_size = 10\n',
    ),
    Beyond(
        "a teacher is fine-tuned on images with labels",
        "draft-07 compares no two values",
        TOML + 'teacher = { name = "cnn", train.batch_size = 10 }\nloss.name = "kd"\ndataset.labelled = 9\n',
    ),
    Beyond(
        "must go from the least to the greatest",
        "draft-07 compares no two values",
        TOML + "dataset.views.random_resized_crop.scale = [1, 0.5]\n",
    ),
    Beyond(
        "must be as many as student_layers",
        "draft-07 compares no two lengths",
        TOML + PAIR % '["a", "b"]',
    ),
    Beyond(
        "must not be that of",
        "draft-07 compares no two values",
        TOML + 'loss.name = "kd"\nteacher = [{ name = "cnn", id = "a" }, { name = "cnn", id = "a" }]\n',
    ),
    Beyond(
        "must be the id of a teacher",
        "draft-07 compares no two values",
        TOML + 'teacher.name = "cnn"\nloss = { name = "kd", teacher = "b" }\n',
    ),
    Beyond(
        "must be a plugin's distribution",
        "PEP 508 is too long for a pattern that anybody reads",
        TOML + 'requires = ["not a name"]\n',
    ),
    Beyond(
        "the recipe needs",
        "what is installed is no property of the text",
        TOML + 'requires = ["kdrecipes-nowhere"]\n',
    ),
    Beyond(
        "a count has no decimal point",
        "to draft-07 a number without a fraction is a whole one, however it is written",
        TOML + 'teacher.name = "cnn"\nloss.name = "kd"\ndataset.labelled = 1.0\n',
    ),
    Beyond("must be a finite number", "no rule of draft-07 is about infinity", TOML + "train.clip_norm = inf\n"),
    Beyond(
        "must be a finite number", "a number may be too large to be read", JSON % '{"epochs": 1, "clip_norm": 1e999}'
    ),
    Beyond("must fit into 64 bits", "whole numbers of JSON have no end", TOML + f"train.batch_size = {2**63}\n"),
    Beyond(
        "has a number of thousands of digits",
        "whole numbers of JSON have no end",
        TOML + f"train.batch_size = {'9' * 5000}\n",
    ),
    Beyond(
        "must be text: a surrogate stands alone in it",
        "it is a character to JSON",
        JSON % '{"epochs": 1}, "description": "\\ud800"',
    ),
    Beyond(
        "must be a string, number, boolean, array or table",
        "editors take a date for text",
        TOML + "description = 2026-01-01\n",
    ),
    Beyond(
        "is a path with",
        "what a backslash was read as is not what somebody wrote, and paths have no pattern",
        TOML.replace('"digits"', '"folder"') + 'dataset.path = "C:\\temp"\n',
    ),
    *(
        Beyond(rule, "a component's own rule: what Keras has is no property of the text", APPLICATION % rest)
        for rule, rest in (
            ("must be a classifier of keras.applications", 'model = "qqqq"'),
            ("can't be built on torch", 'model = "NASNetMobile"'),
            ("is no option of", 'model = "ResNet50", alpha = 0.5'),
            ('with weights = "imagenet"', 'model = "MobileNetV2", weights = "imagenet", alpha = 0.4'),
            ("must be at least 75 for", 'model = "InceptionV3", image_size = 74'),
        )
    ),
    Beyond("stands twice", "JSON's parsers keep the last of two", JSON % '{"epochs": 2, "epochs": 1}'),
    Beyond("a recipe has at most", "a schema does not see the text", TOML + "#" * 2**20),
)


def editor() -> Draft7Validator:
    """The schema of the installed components as an editor applies it."""
    return Draft7Validator(composed_schema(load_registry()))


def data_of(file: Path) -> Any:
    """What an editor gives its schema: dates are text there.

    Raises:
        ValueError: where the file is no text, TOML or JSON; editors say so themselves.
    """

    def dates_as_text(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: dates_as_text(part) for key, part in value.items()}
        if isinstance(value, list):
            return [dates_as_text(part) for part in value]
        return str(value) if isinstance(value, datetime.date | datetime.time) else value

    def refused(word: str) -> None:
        raise ValueError(word)

    text = file.read_bytes().decode("utf-8-sig")
    if file.suffix == ".json":
        return json.loads(text, parse_constant=refused)
    return dates_as_text(tomllib.loads(text))


def refusal(file: Path) -> list[str]:
    """The rules that the validator says are broken; none where it accepts."""
    try:
        load_recipe(file)
    except RecipeError as error:
        return [problem.rule for problem in error.problems]
    except KDRecipesError as error:
        return [str(error)]
    return []


def disagreement(schema: Draft7Validator, file: Path, rules: list[str]) -> str:
    """What validator and schema say differently of a file that breaks these `rules`; empty where they agree.

    A recipe with `extends` is validated as what it and the other one make together, of which the schema sees a part:
    there the schema may accept more, never less.
    """
    stated = [rule for rule in rules if not any(beyond.rule in rule for beyond in BEYOND_A_SCHEMA)]
    if rules and not stated:
        return ""
    try:
        data = data_of(file)
    except (ValueError, RecursionError):
        return "" if rules else "the validator accepts what is no TOML or JSON"
    if schema.is_valid(data):
        part = isinstance(data, dict) and "extends" in data
        return f"the schema accepts what the validator refuses: {stated}" if rules and not part else ""
    errors = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(data)]
    return "" if rules else f"the schema refuses what the validator accepts: {errors}"
