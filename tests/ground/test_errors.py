"""Errors that people read: told of a place once, with a hint as their last line; problems with a code."""

from __future__ import annotations

import pickle

import pytest

from kdrecipes.errors import EnvironmentProblem, KDRecipesError, Problem, RunError


def test_an_error_is_told_of_its_place():
    error = RunError("no such folder")
    assert str(error) == "no such folder"
    assert error.at("dataset.path") is error
    assert str(error) == "dataset.path: no such folder"


def test_the_innermost_place_stays():
    with pytest.raises(EnvironmentProblem) as caught:
        try:
            raise EnvironmentProblem("is empty").at("dataset.path")
        except KDRecipesError as error:
            error.at("dataset.train = 'train'")
            raise
    assert str(caught.value) == "dataset.path: is empty"


def test_a_hint_is_the_last_line():
    error = RunError("is empty").at("dataset.path")
    error.hint = "Fill it."
    assert str(error) == "dataset.path: is empty\nFill it."
    assert RunError.hint == RunError.place == "", "of one error, not of all"


def test_place_and_hint_come_through_another_process():
    error = RunError("is empty").at("dataset.path")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_problem_has_a_code_which_its_text_does_not_show():
    problem = Problem("a.toml", 1, 2, "seed", "must be at least 0", "-1", code="out-of-range")
    assert str(problem) == "a.toml:1:2  seed  must be at least 0. Received: -1"
    assert list(problem.asdict())[-1] == "code" and problem.asdict()["code"] == "out-of-range"
    with pytest.raises(TypeError, match="code"):
        Problem("a.toml", 1, 2, "seed", "must be at least 0")  # type: ignore[call-arg]


def test_a_problem_knows_whether_a_file_says_it():
    assert Problem("a.toml", 0, 0, "", "x", code="failed").in_file
    assert str(Problem("a.toml", 0, 0, "", "loss: no. Did you mean 'x'?", code="failed")).endswith("mean 'x'?")
    assert not Problem("--set seed=-1", 0, 0, "seed", "x", code="out-of-range").in_file
