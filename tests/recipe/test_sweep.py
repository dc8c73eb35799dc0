"""What a sweep is made of: points from grids, files and commands; everything wrong with any of them told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdrecipes.errors import RecipeError, UsageError
from kdrecipes.recipe import sweep_points
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.sweep import load_sweep
from kdrecipes.recipe.sweep_text import seeds_option

pytestmark = pytest.mark.usefixtures("built_ins")
VALID = Path(__file__).parents[1] / "recipes" / "valid"
START = """schema_version = 1
name = "m"
dataset.name = "digits"
teacher.name = "cnn"
student.name = "cnn"
loss.name = "kd"
train.epochs = 1
"""


def labels(sweep):
    return [point.label for point in sweep.points]


def test_a_grid_is_every_combination_the_last_key_fastest():
    sweep = load_sweep("digits", grid=["loss.temperature=1,2", "loss.weight=0.3,0.9"], seeds=(4, 5))
    assert labels(sweep) == [
        "loss.temperature=1, loss.weight=0.3",
        "loss.temperature=1, loss.weight=0.9",
        "loss.temperature=2, loss.weight=0.3",
        "loss.temperature=2, loss.weight=0.9",
    ]
    assert [point.name for point in sweep.points] == ["000", "001", "002", "003"]
    assert sweep.kind == "grid" and sweep.swept == ["loss.temperature", "loss.weight"]
    assert {point.recipe.compare.seeds for point in sweep.points} == {(4, 5)}


def test_a_point_is_the_recipe_that_the_same_changes_by_set_make():
    [point] = load_sweep("digits", grid=["loss.temperature=3", "student.width=4"]).points
    assert point.recipe.fingerprint == load_recipe("digits", ["loss.temperature=3", "student.width=4"]).fingerprint


def test_values_are_split_where_toml_ends_them():
    sweep = load_sweep("digits", grid=['loss={name="kd",temperature=2},{name="dist"}', 'description="a,b"'])
    assert [point.changes["loss"] for point in sweep.points] == [{"name": "kd", "temperature": 2}, {"name": "dist"}]


def test_a_point_that_is_equal_to_another_is_one_point():
    assert labels(load_sweep("digits", grid=["loss.temperature=2,2.0,1", "name='a','b'"])) == [
        'loss.temperature=2, name="a"',
        'loss.temperature=1, name="a"',
    ]


def test_points_replace_whole_tables_and_dotted_keys_single_values():
    sweep = load_sweep(VALID / "sweep_points.toml")
    assert sweep.kind == "points" and sweep.swept == ["loss", "loss.weight"]
    dist, kd, base = (point.recipe.loss.terms[0] for point in sweep.points)
    assert (dist.name, kd.name, base.name) == ("dist", "kd", "kd")
    assert kd.options["temperature"] == 2.0 and base.weight == 0.3


def test_a_recipes_own_grid_has_its_own_seeds():
    sweep = load_sweep(VALID / "sweep_grid.toml")
    assert len(sweep.points) == 6 and sweep.seeds == (0, 1, 2)


def test_the_command_line_replaces_the_recipes_sweep():
    sweep = load_sweep(VALID / "sweep_grid.toml", grid=["loss.weight=0.5"], seeds=(7,))
    assert labels(sweep) == ["loss.weight=0.5"] and sweep.seeds == (7,)


def test_a_file_names_points(tmp_path):
    file = tmp_path / "points.toml"
    file.write_text('[[points]]\nloss = { name = "dist" }\n[[points]]\n')
    assert labels(load_sweep("digits", points=file)) == ['loss={ name = "dist" }', "the recipe as it is"]


def test_a_sweep_is_no_part_of_the_fingerprint_and_is_not_inherited(tmp_path):
    plain, swept, child = tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "c.toml"
    plain.write_text(START)
    swept.write_text(START + 'sweep.grid = { "loss.weight" = [1, 2] }\n')
    child.write_text('extends = "b.toml"\nname = "m"\n')
    assert load_recipe(plain).fingerprint == load_recipe(swept).fingerprint == load_recipe(child).fingerprint
    assert load_recipe(swept).sweep.grid == {"loss.weight": [1, 2]}
    assert load_recipe(child).sweep is None


@pytest.mark.parametrize("key", ["dataset.labelled=100,0.5", 'teacher.name="cnn"', "student.width=4,8", "seed=1,2"])
def test_any_key_may_be_swept(key):
    assert load_sweep("digits", grid=[key]).points


def test_a_search_draws_no_more_points_than_a_sweep_may_have():
    assert load_sweep("digits", grid=["loss.temperature=1..8"], search=10_000).trials == 10_000
    message = r"^--search 10,001 asks for too many points: a sweep has at most 10,000\.$"
    with pytest.raises(UsageError, match=message):
        load_sweep("digits", grid=["loss.temperature=1..8"], search=10_001)


def test_a_search_has_choices_and_ranges_whole_where_the_key_is():
    grid = [
        "loss.temperature=1..8",
        "student.width=2..9",
        "loss.weight=0.3,0.9",
        "train.optimizer.learning_rate=1e-4..1e-2:log",
    ]
    sweep = load_sweep("digits", grid=grid, search=5)
    temperature, width, weight, rate = sweep.space.values()
    assert (type(temperature.low), type(width.low)) == (float, int)
    assert [one.value for one in weight] == [0.3, 0.9]
    assert rate.told == {"low": 1e-4, "high": 1e-2, "log": True}
    assert sweep.changed({"loss.temperature": 2.5}).loss.terms[0].options["temperature"] == 2.5


def told(*args, **options):
    with pytest.raises((RecipeError, UsageError)) as caught:
        load_sweep(*args, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_all_problems_of_all_points_are_told_at_once_each_in_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(
        START
        + """
[sweep.grid]
"loss.temperature" = [1, 0, "2"]
"los.weight" = [0.3, 0.9]
"student.widht" = [4]
"compare.seeds" = [[1]]
"""
    )
    assert told("m.toml").splitlines() == [
        "m.toml:10:26  loss.temperature  in point 002 and 1 more: must be a number above 0 and at most 1000; beyond "
        "that T² · KL has no right digit left in float32. Received: 0",
        "m.toml:10:29  loss.temperature  in point 004 and 1 more: must be a number above 0 and at most 1000; beyond "
        'that T² · KL has no right digit left in float32. Received: "2"; did you mean 2?',
        'm.toml:11:1  los  unknown key. Received: "los"; did you mean "loss"?',
        'm.toml:12:1  student.widht  unknown key. Received: "widht"; did you mean "width"?',
        "m.toml:13:1  compare.seeds  is not swept: the seeds of all points stand in sweep.seeds, or in --seeds.",
    ]


def test_what_is_wrong_with_the_recipe_hides_nothing_that_is_wrong_with_its_points(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = '[sweep]\nseeds = [0, 0]\ngrid = { "loss.temperature" = [1, 0], "student.width" = [4, 8] }\n'
    Path("m.toml").write_text(f"{START.replace('epochs = 1', 'epochs = 0')}\n{sweep}")
    assert [line.split("  ")[0] for line in told("m.toml").splitlines()] == [
        "m.toml:7:7",
        "m.toml:10:1",
        "m.toml:11:35",
    ]
    Path("m.toml").write_text(f"{START}\n[sweep]\nseeds = [0, 0]\ngrid = 3\n")
    assert [line.split("  ")[1] for line in told("m.toml").splitlines()] == ["sweep.seeds", "sweep.grid"]


def test_equal_points_are_told_and_so_is_how_many_of_many_are_checked(monkeypatch):
    lines = []
    load_sweep("digits", grid=["loss.temperature=2,2.0,1", "name='a','b'"], note=lines.append)
    assert lines == ["4 points are equal to earlier ones, and equal points count once"]
    lines.clear()
    monkeypatch.setattr(sweep_points, "EVERY", -1.0)
    load_sweep("digits", grid=["loss.temperature=2,1"], note=lines.append)
    assert lines == ["0 of 2 points are checked", "1 of 2 points are checked"]


def test_problems_of_points_that_are_written_out_name_the_point(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    points = 'points = [{ loss = { name = "dist" } }, { loss = { name = "kdd" } },\n'
    points += '  { student = { name = "cnn", width = "x" } }]'
    Path("m.toml").write_text(f"{START}\n[sweep]\n{points}\n")
    expected = [
        '{}  loss.name  in point 001: no installed plugin provides this loss. Received: "kdd"; did you mean "kd"?',
        '{}  student.width  in point 002: must be a whole number. Received: "x"',
    ]
    assert told("m.toml").splitlines() == [
        line.format(at) for line, at in zip(expected, ("m.toml:10:52", "m.toml:11:31"), strict=True)
    ]
    Path("points.toml").write_text(points)
    assert told("digits", points="points.toml").splitlines() == [
        line.format(at) for line, at in zip(expected, ("points.toml:1:52", "points.toml:2:31"), strict=True)
    ]


HOW = (
    'write key=value,value,…, values as in TOML, strings in double quotes: --grid \'student.name="cnn","small"\'; for '
    "--search also a range: --grid loss.temperature=1..8."
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            "digits.toml: nothing is swept. Write [sweep] into the recipe, or name values: "
            "--grid loss.temperature=1,2,4. --points FILE names whole points.",
        ),
        ({"grid": ["loss.temperature="]}, f"--grid loss.temperature=  has no value; {HOW}"),
        ({"grid": ["loss.temperature"]}, f"--grid loss.temperature  has no `=`; {HOW}"),
        ({"grid": ["=1"]}, f"--grid =1  names no key; {HOW}"),
        (
            {"grid": ["colour=1,2"]},
            "--grid colour=1,2  colour  unknown key (known: callbacks, compare, dataset, loss, report, seed, student, "
            'teacher, train). Received: "colour"',
        ),
        ({"grid": ["student.name=cnn"]}, f"--grid student.name=cnn  is not TOML; {HOW}"),
        (
            {"grid": ["loss.temprature=1,2"]},
            '--grid loss.temprature=1,2  loss.temprature  unknown key. Received: "temprature"; did you mean '
            '"temperature"?',
        ),
        (
            {"grid": ["loss.temperature=1..8"]},
            "--grid loss.temperature=1..8  is a range, which only --search draws from; list the values: key=1,2,4.",
        ),
        (
            {"grid": ["loss.temperature=8..1"], "search": 3},
            "--grid loss.temperature=8..1  must go from the least to the greatest.",
        ),
        (
            {"grid": ["loss.weight=0..1:log"], "search": 3},
            "--grid loss.weight=0..1:log  must begin above 0 where it is even in its logarithm (:log).",
        ),
        (
            {"grid": ["seed=1", "seed=2"]},
            "--grid seed=2  seed  stands twice: write all of its values into one --grid.",
        ),
        (
            {"grid": ["seed=" + ",".join(map(str, range(101))), "train.epochs=" + ",".join(map(str, range(1, 101)))]},
            "The grid has 10,100 points, and a sweep has at most 10,000. Give fewer values, or draw some of them with "
            "--search.",
        ),
        ({"grid": ["seed=1"], "points": "p.toml"}, "Give either --grid or --points, not both."),
        (
            {"search": 3, "points": "p.toml"},
            "--search draws its points from --grid; --points names them all. Give one of the two.",
        ),
        (
            {"grid": ["loss.weight=1,-1"], "search": 3},
            "--grid loss.weight=1,-1  loss.weight  in point 001: must be at least 0. Received: -1",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value) or "nothing",
)
def test_what_a_command_asks_wrongly_is_told_in_words(options, expected):
    assert told("digits", **options) == expected


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "4294967296", "1;2"])
def test_what_is_no_list_of_seeds_is_refused(text):
    with pytest.raises(UsageError, match=r"^--seeds "):
        seeds_option(text)
    assert seeds_option("0, 1,2") == (0, 1, 2)
