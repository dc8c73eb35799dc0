"""Whether a run compiles its steps: as the recipe says, or where it pays."""

import json

import pytest
from samples import short

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.runs import compile_choice


@pytest.mark.slow
def test_a_run_compiles_where_the_recipe_says_so(tmp_path, eager_compiler):
    kdrecipes.run(
        short("train.compile=true", "teacher.train.compile=false", "compare.baseline=false"), tmp_path / "run"
    )
    decisions = json.loads((tmp_path / "run" / "lock.json").read_text())["decisions"]["compile"]
    assert decisions["student"] == {"use": True, "why": "compile = true"}
    assert decisions["teacher"] == {"use": False, "why": "compile = false"}
    assert len(eager_compiler) == 2  # in the rehearsal and for the arm


@pytest.mark.parametrize(
    ("device", "plain", "compiled", "first", "use", "why"),
    [
        ("cpu", None, None, None, False, "slower on a CPU"),
        ("cuda", 0.01, None, None, False, "less than compiling"),
        ("cuda", 5.0, 2.0, 20.0, True, "5000.0 ms a step, 2000.0 ms compiled, 20 s to compile"),
        ("cuda", 5.0, 4.9, 60.0, False, "60 s to compile"),
        ("cuda", 5.0, RunError("no compiler"), None, False, "no compiler"),
    ],
)
def test_auto_compiles_only_where_it_pays(device, plain, compiled, first, use, why, monkeypatch):
    def rehearse(distiller, train, batch, jit):
        assert device != "cpu"
        if jit.use and isinstance(compiled, Exception):
            raise compiled
        return (first, compiled) if jit.use else (plain, plain)

    monkeypatch.setattr(compile_choice, "rehearse", rehearse)
    recipe = short("teacher.train.compile=false")
    found = compile_choice.choose_compile(recipe, prepare(recipe), device, 2)["student"]
    assert found.use is use and why in found.why


@pytest.mark.parametrize(
    "term",
    ['{name = "hint", student_layers = ["stage1a_conv"], teacher_layers = ["stage1a_conv"]}', '{name = "simkd"}'],
)
def test_auto_leaves_a_student_as_it_is_whose_layers_a_term_reads(term, monkeypatch):
    monkeypatch.setattr(compile_choice, "rehearse", lambda *args: (0.0, 1e6))
    recipe = short("teacher.train.compile=false", f"loss={term}")
    found = compile_choice.choose_compile(recipe, prepare(recipe), "cuda", 2)["student"]
    assert not found.use and "reads layers of the student" in found.why
