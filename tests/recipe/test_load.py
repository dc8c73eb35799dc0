"""`load_recipe`: defaults, twins, fingerprint, overrides, files and paths."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from kdrecipes.errors import EnvironmentProblem, RecipeError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.resolve import fingerprint, resolve
from kdrecipes.recipe.source import MAX_BYTES, packaged_recipes

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "recipes" / "digits.toml")
FOLDER = Path(__file__).parents[1] / "recipes"
MINIMAL = 'schema_version = 1\nname = "m"\ndataset.name = "digits"\nstudent.name = "cnn"\ntrain.epochs = 1\n'
TAUGHT = MINIMAL + 'teacher.name = "cnn"\nloss.name = "kd"\n'

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.fixture
def load(tmp_path):
    def load(text: str, *overrides: str, name: str = "recipe.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load_recipe(tmp_path / name, overrides)

    return load


def problems(load, *args, **options) -> list[str]:
    """What is wrong, without the file's folder."""
    with pytest.raises(RecipeError) as caught:
        load(*args, **options)
    assert caught.value.exit_code == 2
    return [str(p).replace(str(Path(p.file).parent) + "/", "") for p in caught.value.problems]


# ---- defaults


def test_the_smallest_recipe_has_all_its_defaults(load):
    assert load(MINIMAL).data == {
        "schema_version": 1,
        "name": "m",
        "seed": 0,
        "requires": [],
        "dataset": {
            "name": "digits",
            "train": "train",
            "validation": "validation",
            "test": "test",
            "resize": "squash",
            "corrupt_limit": 0.0,
            "background": "white",
            "max_pixels": 89478485,
            "stratified": False,
        },
        "student": {"name": "cnn", "width": 32, "depth": 2},
        "loss": {"label_weight": 1.0, "label_smoothing": 0.0, "teachers": "probabilities"},
        "train": {
            "epochs": 1,
            "batch_size": 128,
            "optimizer": {
                "name": "adamw",
                "learning_rate": 0.001,
                "weight_decay": 0.01,
                "beta_1": 0.9,
                "beta_2": 0.999,
            },
            "schedule": {"name": "warmup_cosine", "warmup": 0.05},
            "precision": "float32",
            "fast": True,
            "compile": "auto",
            "save_every_seconds": 60.0,
        },
        "compare": {"baseline": True, "seeds": [0], "margin": 0.002},
        "report": {"measure": True, "images": True},
    }


def test_terms_and_teacher_have_all_their_defaults(load):
    data = load(TAUGHT).data
    run_keys = {"cache": "auto", "cache_limit_gb": 20.0, "precision": "float32", "preflight": "stop", "save": True}
    assert data["teacher"] == {"name": "cnn", "width": 32, "depth": 2, "weight": 1.0, "copies": 1, **run_keys}
    assert data["loss"] == {
        "name": "kd",
        "temperature": 4.0,
        "weight": 1.0,
        "label_weight": 1.0,
        "label_smoothing": 0.0,
        "teachers": "probabilities",
    }
    terms = load(MINIMAL + 'teacher.name = "cnn"\n[[loss.terms]]\nname = "kd"\n').data["loss"]["terms"]
    assert terms == [{"name": "kd", "weight": 1.0, "temperature": 4.0}]


def test_views_are_absent_unless_asked_for(load):
    assert "views" not in load(MINIMAL).data["dataset"]
    assert load(MINIMAL + "[dataset.views]\n").data["dataset"]["views"] == {"flip": False, "crop_padding": 0}
    box = load(MINIMAL + "dataset.views.random_resized_crop = {}\n").data["dataset"]["views"]["random_resized_crop"]
    assert box == {"scale": [0.08, 1.0], "ratio": [0.75, 4 / 3]}


@pytest.mark.parametrize(
    ("key", "written", "resolved"),
    [
        ("loss.temperature", "4", 4.0),
        ("loss.label_weight", "0", 0.0),
        ("dataset.corrupt_limit", "1", 1.0),
        ("train.clip_norm", "2", 2.0),
        ("train.optimizer", '{name = "sgd", learning_rate = 1}', 1.0),
        ("train.epochs", "5.0", 5),
        ("student.width", "8.0", 8),
        ("schema_version", "1.0", 1),
    ],
)
def test_a_number_is_a_float_and_a_count_an_int(load, key, written, resolved):
    value = load(TAUGHT, f"{key}={written}").data
    for part in key.split("."):
        value = value[part]
    value = value["learning_rate"] if isinstance(value, dict) else value
    assert value == resolved and type(value) is type(resolved)


def test_teacher_train_inherits_what_it_leaves_out(load):
    recipe = load(
        TAUGHT
        + """
train.batch_size = 64
train.clip_norm = 3
train.optimizer = { name = "adamw", learning_rate = 5e-3, weight_decay = 0.5 }
train.schedule = { name = "constant" }
[teacher.train]
epochs = 7
optimizer = { name = "adamw", learning_rate = 1e-3 }
"""
    )
    teacher = recipe.data["teacher"]["train"]
    assert (teacher["epochs"], teacher["batch_size"], teacher["clip_norm"]) == (7, 64, 3.0)
    assert teacher["schedule"] == {"name": "constant"}
    assert teacher["optimizer"]["learning_rate"] == 1e-3
    assert teacher["optimizer"]["weight_decay"] == 0.5, "the same optimiser is completed key by key"
    assert recipe.data["train"]["optimizer"]["learning_rate"] == 5e-3


def test_another_optimizer_of_the_teacher_takes_nothing_over(load):
    text = TAUGHT + 'train.optimizer.name = "adamw"\ntrain.optimizer.weight_decay = 0.5\n'
    teacher = load(text, 'teacher.train.optimizer={name="sgd"}').data["teacher"]["train"]
    assert teacher["optimizer"] == {
        "name": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "nesterov": False,
    }


def test_an_empty_teacher_train_is_the_students(load):
    data = load(TAUGHT + "[teacher.train]\n").data
    assert data["teacher"]["train"] == data["train"]
    assert data["teacher"]["train"] is not data["train"]


def test_compare_seeds_default_to_the_seed(load):
    assert load("seed = 5\n" + MINIMAL).data["compare"]["seeds"] == [5]
    assert load("seed = 5\n" + MINIMAL + "compare.seeds = [1, 2]\n").data["compare"]["seeds"] == [1, 2]


# ---- fingerprint


def test_toml_and_json_twins_have_one_fingerprint():
    twin = load_recipe(ROOT / "recipes" / "digits.json")
    assert twin.fingerprint == load_recipe(DIGITS).fingerprint


def test_order_and_spelling_do_not_matter(load):
    a = load(TAUGHT + "loss.temperature = 4\n").fingerprint
    b = load('loss = { temperature = 4.0, name = "kd" }\n' + TAUGHT.replace('loss.name = "kd"\n', "")).fingerprint
    assert a == b == load(TAUGHT).fingerprint


@pytest.mark.parametrize(
    "more", ['description = "x"\n', '"$schema" = "x"\n', 'callbacks = [{ name = "csv_log" }]\n', "name"]
)
def test_words_and_callbacks_are_not_in_the_fingerprint(load, more):
    text = MINIMAL.replace('"m"', '"other"') if more == "name" else more + MINIMAL
    assert load(text).fingerprint == load(MINIMAL).fingerprint


def test_a_key_younger_than_kept_fingerprints_counts_where_it_differs_from_its_default(load):
    plain = load(MINIMAL)
    assert plain.data["compare"]["margin"] == plain.compare.margin == 0.002
    without = {**plain.data, "compare": {"baseline": True, "seeds": [0]}}  # what a lock of before holds
    assert fingerprint(without) == plain.fingerprint == load(MINIMAL + "compare.margin = 0.002\n").fingerprint
    other = load(MINIMAL + "compare.margin = 0.01\n")
    assert other.compare.margin == 0.01 and other.fingerprint != plain.fingerprint


@pytest.mark.parametrize(("written", "margin"), [("0", 0.0), ("0.999", 0.999)])
def test_a_margin_may_be_nothing_and_anything_below_one(load, written, margin):
    assert load(MINIMAL + f"compare.margin = {written}\n").compare.margin == margin


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    else:
        yield path, value


def test_every_resolved_leaf_is_in_the_fingerprint():
    recipe = load_recipe(FOLDER / "valid" / "everything.toml")
    seen = {recipe.fingerprint}
    counted = 0
    for path, value in leaves(recipe.data):
        if path[0] in ("name", "description", "callbacks", "report"):
            continue
        if path[-1] == "save_every_seconds":  # no result depends on it; the test below
            continue
        changed = copy.deepcopy(dict(recipe.data))
        target = changed
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = [value, 1] if not isinstance(value, bool) else not value
        seen.add(fingerprint(changed))
        counted += 1
    assert counted > 40
    assert len(seen) == counted + 1, "each change gives a fingerprint of its own"


def test_how_often_a_training_saves_is_no_part_of_what_a_run_is(load):
    """A run that saves too often for a slow disk may go on with another setting, and so may its teacher's cache."""
    text = MINIMAL + 'teacher = { name = "cnn", train = { epochs = 1 } }\nloss.name = "kd"\n'
    plain, rare = load(text), load(text + "train.save_every_seconds = 900\n", name="rare.toml")
    assert rare.train.save_every_seconds == 900 and rare.teachers["cnn"].train.save_every_seconds == 900
    assert rare.fingerprint == plain.fingerprint
    assert rare.train.data == plain.train.data and rare.teachers["cnn"].train.data == plain.teachers["cnn"].train.data


OF_A_TERM = MINIMAL + 'teacher.name = "cnn"\nloss = {{ name = "kd"{} }}\n'


def test_a_schedule_that_changes_nothing_leaves_the_fingerprint_as_it_was(load):
    plain, constant, warmup, longer = (
        load(OF_A_TERM.format(more), name=f"{number}.toml")
        for number, more in enumerate(
            (
                "",
                ', schedule.name = "constant"',
                ', schedule.name = "warmup"',
                ', schedule = { name = "warmup", length = 0.2 }',
            )
        )
    )
    assert plain.loss.terms[0].schedule is None and constant.loss.terms[0].schedule.name == "constant"
    assert plain.fingerprint == constant.fingerprint
    assert len({plain.fingerprint, warmup.fingerprint, longer.fingerprint}) == 3
    listed = [
        load(OF_A_TERM.format("").replace('name = "kd" ', f'terms = [{{ name = "kd"{more} }}] '), name=f"list{i}.toml")
        for i, more in enumerate(("", ', schedule.name = "constant"', ', schedule.name = "warmup"'))
    ]
    assert listed[0].fingerprint == listed[1].fingerprint != listed[2].fingerprint


def test_a_schedule_has_its_defaults_filled_in(load):
    written = [', schedule.name = "warmup"', ', schedule.name = "cosine"']
    first, second = (load(OF_A_TERM.format(more), name=f"{i}.toml") for i, more in enumerate(written))
    assert first.data["loss"]["schedule"] == {"name": "warmup", "length": 0.1}
    assert second.data["loss"]["schedule"] == {"name": "cosine", "start": 1.0, "end": 0.0, "length": 1.0}
    table = second.loss.terms[0].schedule
    assert (table.name, table.start, table.end, table.length) == ("cosine", 1.0, 0.0, 1.0)


def test_what_the_report_holds_is_no_part_of_the_fingerprint(load):
    plain, silent = load(MINIMAL), load(MINIMAL + "report = {measure = false, images = false}\n", name="silent.toml")
    assert plain.report.measure and not silent.report.measure
    assert plain.report.images and not silent.report.images
    assert plain.fingerprint == silent.fingerprint


def test_resolving_twice_changes_nothing():
    for file in sorted((FOLDER / "valid").iterdir()):
        recipe = load_recipe(file)
        assert resolve(recipe.data, recipe.registry) == recipe.data, file.name


def test_a_recipe_is_frozen(load):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(MINIMAL).fingerprint = "x"


# ---- overrides


def test_overrides_nest_and_keep_their_neighbours():
    data = load_recipe(DIGITS, ["train.optimizer.learning_rate=1", "teacher.train.schedule.name='constant'"]).data
    assert data["train"]["optimizer"]["learning_rate"] == 1.0
    assert data["train"]["optimizer"]["weight_decay"] == 0.01
    assert data["teacher"]["train"]["schedule"] == {"name": "constant"}


def test_an_inline_table_replaces_the_whole_table():
    data = load_recipe(DIGITS, ['train.optimizer={name="adamw"}', 'student = { name = "cnn" }']).data
    assert data["train"]["optimizer"]["learning_rate"] == 0.001, "not the recipe's 5e-3"
    assert data["student"]["width"] == 32, "not the recipe's 6"


def test_quoted_and_spaced_keys_replace_too():
    data = load_recipe(DIGITS, ['"train" . \'optimizer\'\t= { name = "adamw" }']).data
    assert data["train"]["optimizer"]["weight_decay"] == 0.01
    assert data["train"]["optimizer"]["learning_rate"] == 0.001


def test_the_last_of_several_overrides_wins():
    recipe = load_recipe(DIGITS, ["train.epochs=2", "train.epochs=3"])
    assert recipe.data["train"]["epochs"] == 3
    assert recipe.overrides == ("train.epochs=2", "train.epochs=3")
    data = load_recipe(DIGITS, ["train.batch_size=2", "train={epochs=1}"]).data
    assert data["train"]["batch_size"] == 128


def test_an_override_equals_the_same_words_in_the_file(load):
    assert load(MINIMAL, "student.width=9").fingerprint == load(MINIMAL + "student.width = 9\n").fingerprint
    assert load(MINIMAL, "seed=4", 'dataset.train="train[:50%]"').data["dataset"]["train"] == "train[:50%]"


@pytest.mark.parametrize(
    "text",
    [
        "student.name=cnn",
        "train.epochs",
        "=1",
        "",
        "# nothing",
        "[train]",
        "seed=1\nname='x'",
        "seed=1 seed=2",
        "a.=1",
        ".".join("a" * 50) + "=1",
        "x=" + "[" * 50 + "]" * 50,
    ],
)
def test_an_override_that_is_not_one_toml_pair_is_refused(text):
    with pytest.raises(RecipeError) as caught:
        load_recipe(DIGITS, [text])
    message = str(caught.value)
    assert message.startswith("--set ") and "\n" not in message
    assert "is not TOML; write key=value, with strings in double quotes" in message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.epochs=0"], ["--set train.epochs=0  train.epochs  must be at least 1. Received: 0"]),
        (
            ['student={name="cnn", widht=3}'],
            [
                '--set student={name="cnn", widht=3}  student.widht  unknown key. '
                'Received: "widht"; did you mean "width"?'
            ],
        ),
        (
            ["seed.x=1"],
            ['--set seed.x=1  seed  must be a whole number. Received: {"x": 1}'],
        ),
        (
            ["train.clip_norm=nan"],
            ["--set train.clip_norm=nan  train.clip_norm  must be a finite number. Received: nan"],
        ),
        (
            ["train.epochs=0", "train={epochs=-1}"],
            ["--set train={epochs=-1}  train.epochs  must be at least 1. Received: -1"],
        ),
        (
            ["dataset.views.flip=1"],
            ["--set dataset.views.flip=1  dataset.views.flip  must be true or false. Received: 1"],
        ),
    ],
)
def test_a_bad_override_is_named_as_the_place(overrides, expected):
    with pytest.raises(RecipeError) as caught:
        load_recipe(DIGITS, overrides)
    assert [str(p) for p in caught.value.problems] == expected


def test_a_table_that_an_override_began_is_the_overrides(load):
    expected = "--set teacher.width=3  teacher.name  missing key; `kdrecipes list models` shows what it can be."
    assert expected in problems(load, MINIMAL, "teacher.width=3")


# ---- files, names, paths


def test_path_options_are_relative_to_the_recipe(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "valid" / "weights_of_a_file.toml", folder / "r.toml")
    recipe = load_recipe(folder / "r.toml")
    options = recipe.options(recipe.student, classes=3, image_size=32, nonsense=1)
    assert Path(options.pop("weights")).resolve() == tmp_path / "a" / "weights" / "mine.weights.h5"
    assert options == {"dropout": 0.2, "classes": 3, "image_size": 32}, "only what the component declares is passed"
    assert recipe.data["student"]["weights"] == "../weights/mine.weights.h5", "fingerprinted as written"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("imagenet", "imagenet"),
        ("none", "none"),
        ("/abs/w.weights.h5", "/abs/w.weights.h5"),
        ("~/w.weights.h5", "HOME/w.weights.h5"),
        ("~nobody-of-this-name/w", "FOLDER/~nobody-of-this-name/w"),
        ("w\\u0000", "FOLDER/w\0"),
        ("<x>", "FOLDER/<x>"),
    ],
)
def test_what_a_path_option_becomes(load, tmp_path, monkeypatch, written, expected):
    monkeypatch.setenv("HOME", "/home/somebody")
    text = MINIMAL.replace('"cnn"', '"efficientnet_b0"') + f'student.weights = "{written}"\n'
    recipe = load(text)
    expected = expected.replace("HOME", "/home/somebody").replace("FOLDER", str(tmp_path))
    assert recipe.options(recipe.student)["weights"] == expected


def test_packaged_recipes_are_named_without_an_ending(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = packaged_recipes()
    files = [file.relative_to(ROOT / "recipes").with_suffix("") for file in (ROOT / "recipes").rglob("*.toml")]
    assert names == sorted(file.as_posix() for file in files) and "seed/food101_b0_as_written" in names
    assert load_recipe("digits").fingerprint == load_recipe(DIGITS).fingerprint
    assert load_recipe("digits").source == "digits"
    (tmp_path / "digits").mkdir()
    assert load_recipe("digits").name == "digits", "a folder of that name does not hide it"


def test_unknown_names_are_told_with_the_nearest(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MINIMAL)
    (tmp_path / "notes.txt").write_text("x")

    def message(name):
        with pytest.raises(RecipeError) as caught:
            load_recipe(name)
        return str(caught.value)

    rule = "is neither a file nor a packaged recipe"
    assert message("digit") == f'digit  {rule}. Received: "digit"; did you mean "digits"?'
    assert f"zzz  {rule} (packaged: compare_losses, compare_losses_full, digits, " in message("zzz")
    assert message("mnie.toml") == 'mnie.toml  no such file. Received: "mnie.toml"; did you mean "mine.toml"?'
    assert message("no/folder/x.toml").startswith("no/folder/x.toml  no such file.")
    assert message("notes.txt") == "notes.txt  a recipe is a .toml or .json file."
    assert "no such file" in message("x/digits")
    for odd in ("a\0b.toml", "x" * 5000, "x" * 5000 + ".toml", ".", "", "a\0b"):
        assert message(odd)


def test_a_folder_named_like_a_recipe_is_refused(tmp_path):
    (tmp_path / "x.toml").mkdir()
    with pytest.raises(RecipeError, match="can't be read: Is a directory"):
        load_recipe(tmp_path / "x.toml")


def test_a_recipe_over_one_mebibyte_is_refused(load):
    pad = "# " + "x" * (MAX_BYTES - len(MINIMAL) - 3) + "\n"
    assert load(MINIMAL + pad).name == "m"
    (line,) = problems(load, MINIMAL + "#" + pad)
    assert line == "recipe.toml  a recipe has at most 1,048,576 bytes. Received: 1,048,577 bytes"


def test_a_byte_order_mark_is_not_an_error(load):
    assert load("\ufeff" + MINIMAL).fingerprint == load(MINIMAL).fingerprint
    twin = (ROOT / "recipes" / "digits.json").read_text()
    assert load("\ufeff" + twin, name="a.json").name == "digits"
    assert problems(load, "\ufeffsede = 1\n" + MINIMAL)[0].startswith("recipe.toml:1:1  sede")


def test_a_missing_plugin_is_no_fault_of_the_recipe(load):
    text = 'requires = ["kdrecipes-nowhere>=2"]\n' + MINIMAL.replace("digits", "from_nowhere")
    with pytest.raises(EnvironmentProblem) as caught:
        load(text)
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith(
        "recipe.toml:1:13  requires[0]  the recipe needs kdrecipes-nowhere>=2 (not installed); "
        "install with `pip install 'kdrecipes-nowhere>=2'`."
    )


def test_a_plugin_whose_installation_is_broken_is_told_so(load, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: None)  # as the standard library says it
    with pytest.raises(EnvironmentProblem) as caught:
        load('requires = ["kdrecipes-half"]\n' + MINIMAL)
    assert "the recipe needs kdrecipes-half (its installation is broken); install with" in str(caught.value)
