"""`kdrecipes validate` beyond the messages: what it shows, providers, annotations, dry runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdrecipes.cli.checks import annotation
from kdrecipes.errors import Problem

FOLDER = Path(__file__).parents[1] / "recipes"

pytestmark = pytest.mark.usefixtures("built_ins")


def test_show_prints_toml_with_origins(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    code, out, err = call("validate", "valid/extends.toml", "--show", "--verbose", "--set", "train.epochs=7")
    assert (code, err) == (0, "")
    assert out.startswith("# valid/extends.toml  ok\n#   dataset  dataset folder  [built-in]\n")
    assert "epochs = 7  # --set train.epochs=7\n" in out
    result = json.loads(call("validate", "valid/extends.toml", "--show", "--json")[1])["files"][0]
    assert result["recipe"]["train"]["epochs"] == 2 and result["origins"]["train.epochs"] == "valid/extends.toml:15"


def test_a_folder_holds_more_than_recipes(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pyproject.toml", "recipe.schema.json", ".hidden/x.toml", "sub/b.toml", "a.toml", "digits/c.toml"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text('extends = "digits"\nname = "x"\n')
    out = call("validate", "all")[1].splitlines()
    assert out == ["all/a.toml  ok", "all/digits/c.toml  ok", "all/sub/b.toml  ok"]
    monkeypatch.chdir(tmp_path / "all")
    assert call("validate", "digits")[1] == "digits  ok\n", "the packaged recipe, as for `run`"


# ---- --verbose, --format


def test_verbose_says_which_package_provides_what(call):
    assert call("validate", "digits", "--verbose")[1].splitlines() == [
        "digits  ok",
        "  dataset  dataset digits  [built-in]",
        "  teacher  model cnn  [built-in]",
        "  student  model cnn  [built-in]",
        "  loss  loss kd  [built-in]",
    ]


def test_annotations_mark_the_line(call, monkeypatch):
    monkeypatch.chdir(FOLDER)
    code, out, err = call("validate", "valid/minimal.toml", "invalid/range_epochs.toml", "--format", "github")
    assert (code, err) == (2, ""), "a workflow reads commands on stdout"
    assert out.splitlines() == [
        "valid/minimal.toml  ok",
        "::error file=invalid/range_epochs.toml,line=11,col=1,title=kdrecipes::"
        "train.epochs  must be at least 1. Received: 0",
    ]
    out = call("validate", "digits", "--set", "train.epochs=0", "--format", "github")[1]
    assert out == "::error title=kdrecipes::train.epochs  must be at least 1. Received: 0\n"
    assert call("validate", "digits", "--format", "gitlab")[0] == 2


def test_annotations_escape_what_would_end_them():
    problem = Problem("a,b:c%.toml", 1, 2, "x", "two\nlines: 5 %, or so", code="failed")
    assert annotation(problem) == (
        "::error file=a%2Cb%3Ac%25.toml,line=1,col=2,title=kdrecipes::x  two%0Alines: 5 %25, or so."
    )
    assert annotation(Problem("a.toml", 0, 0, "", "no such file", code="no-such-file")) == (
        "::error file=a.toml,title=kdrecipes::no such file."
    )


# ---- --dry-run


@pytest.mark.slow
def test_a_dry_run_builds_and_steps_without_data(call):
    code, out, err = call("validate", "digits", "--dry-run")
    assert (code, err) == (0, "")
    assert out == "digits  ok  two steps of every fit done, with 10 classes\n"


def test_a_dry_run_does_without_data_when_told_their_classes(call, tmp_path):
    recipe = str(FOLDER / "valid" / "extends.toml")
    code, out, err = call("validate", recipe, "--dry-run")
    assert (code, out) == (3, "") and "is not a folder" in err
    assert err.endswith("With --classes N, and dataset.image_size, a dry run does without the data.\n")
    more = ["--dry-run", "--classes", "7", "--set", 'loss={name="kd"}', "--json"]
    code, out, err = call("validate", recipe, *more)
    assert (code, err) == (0, "")
    assert json.loads(out)["files"][0]["dry_run"]["classes"] == 7


def test_a_dry_run_knows_the_classes_of_fashion_mnist_without_its_images(call, monkeypatch, tmp_path):
    from kdrecipes.components.datasets import fashion_mnist

    monkeypatch.setattr(fashion_mnist, "find", lambda folder: pytest.fail("looked for the data"))
    small = ['student={name="cnn"}', 'teacher={name="cnn"}', "requires=[]"]
    sets = [part for text in small for part in ("--set", text)]
    out = call("validate", "quickstart", "--dry-run", *sets)[1]
    assert "  ok  two steps of every fit done, with 10 classes" in out


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ('train.precision="float16"', 1, 'digits  train.precision = "float16" needs a CUDA GPU'),
        (
            'loss={name="hint", student_layers=["x"], teacher_layers=["x"]}',
            1,
            "digits  loss.teacher_layers: The teacher 'cnn' has no layer 'x'. It has: ",
        ),
        ("dataset.labelled=9", 1, "digits  dataset.labelled = 9: train has 10 classes, each of which needs one label"),
        ("dataset.labelled=100", 0, ""),
        ('dataset.train="trian"', 0, ""),  # what the data hold is for a run
    ],
)
def test_a_dry_run_finds_what_no_schema_knows(call, override, code, words):
    sets = ("--set", "train.batch_size=8", "--set", override)
    received, _, err = call("validate", "digits", "--dry-run", "--classes", "10", *sets)
    assert received == code and err.startswith(words)


NETWORKS = """
import kdrecipes

def keras_net(classes, image_size, activation=None, width=0):
    import keras

    pixels = keras.Input((image_size, image_size, 3))
    x = keras.layers.Flatten(name="flat")(pixels)
    return keras.Model(pixels, keras.layers.Dense(width or classes, activation=activation)(x))

def torch_net(classes, image_size, softmax=False, width=0):
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(3 * image_size**2, width or classes)

        def forward(self, pixels):
            logits = self.dense(pixels.flatten(1))
            return logits.softmax(-1) if softmax else logits

    return Net()

def channels_first(classes, image_size):
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, classes))

@kdrecipes.hookimpl
def kdrecipes_components():
    passed = {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}
    more = {"activation": {"type": "string"}, "width": {"type": "integer"}, "softmax": {"type": "boolean"}}
    for build in (keras_net, torch_net, channels_first):
        names = build.__code__.co_varnames[: build.__code__.co_argcount]
        own = {name: {**passed, **more}[name] for name in names}
        yield kdrecipes.Component("model", build.__name__, build, {
            "type": "object", "additionalProperties": False, "properties": own})
"""


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(
    ("network", "words"),
    [
        ('name="keras_net"', ""),
        ('name="keras_net", activation="softmax"', "{0}: The {0} ends in a softmax"),
        ('name="keras_net", activation="sigmoid"', "{0}: The {0} ends in a sigmoid"),
        ('name="keras_net", width=7', "{0}: 'keras_net' has 7 outputs and the dataset 10 classes"),
        ('name="torch_net"', ""),
        ('name="torch_net", softmax=true', "{0}: The {0} ends in a softmax ('Net')"),
        ('name="torch_net", width=7', "{0}: 'torch_net' built a torch module that fails: a torch module gives logits"),
        ('name="channels_first"', "{0}: 'channels_first' built a torch module that fails: it takes channels first"),
    ],
)
def test_a_dry_run_refuses_the_networks_that_a_run_would(call, tmp_path, role, network, words):
    (tmp_path / "networks.py").write_text(NETWORKS)
    flags = ["--dry-run", "--plugin", tmp_path / "networks.py", "--set", f"{role}={{{network}}}"]
    code, _, err = call("validate", "digits", *flags)
    assert (code, err.startswith(f"digits  {words.format(role)}")) == ((1, True) if words else (0, False))


def test_a_dry_run_tells_what_cannot_be_compiled_without_compiling(call, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda *_: pytest.fail("compiled"))
    more = ["--set", "train.compile=true", "--set", 'loss={name="hint", student_layers=["X"], teacher_layers=["X"]}']
    code, _, err = call("validate", "digits", "--dry-run", *[text.replace("X", "stage1b_relu") for text in more])
    assert call("validate", "digits", "--dry-run", *more[:2])[0] == 0
    assert code == 1 and "A student whose layers a term reads (['stage1b_relu']) can't be compiled" in err


def test_a_dry_run_counts_class_names_where_it_knows_no_names(call):
    sets = ["--classes", "10", "--set", 'teacher.class_names=["a", "b"]', "--set", "dataset.image_size=8"]
    assert (
        "teacher.class_names: names 2 classes, and the dataset has 10."
        in call("validate", "digits", "--dry-run", *sets)[2]
    )


def test_classes_belong_to_a_dry_run(call):
    assert call("validate", "digits", "--classes", "3") == (2, "", "--classes says something to --dry-run only.\n")


@pytest.mark.parametrize("flags", [[], ["--verbose", "--show"], ["--format", "github"], ["--json", "--show"]])
def test_only_a_dry_run_imports_torch(flags):
    code = (
        "import sys; from kdrecipes.cli.main import app; app(sys.argv[1:], standalone_mode=False);"
        "sys.exit(bool({'torch', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, "validate", "digits", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_suffix_counts_in_any_case(call, tmp_path):
    for name in ("digits.toml", "digits.json"):
        text = (FOLDER.parents[1] / "recipes" / name).read_text(encoding="utf-8")
        (tmp_path / name.upper()).write_text(text, encoding="utf-8")
        assert call("validate", tmp_path / name.upper()) == (0, f"{tmp_path / name.upper()}  ok\n", "")
    code, out, _ = call("validate", tmp_path)
    assert code == 0 and out.count("ok") == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (r'"C:\Users\me"', "a backslash in double quotes starts an escape: in a path use single quotes or /"),
        ('\u00a0"C:/me"', "an invisible character stands here, U+00A0 NO-BREAK SPACE: delete it"),
        ("“C:/me”", "“ (U+201C) is no quotation mark here: write a straight one"),
    ],
)
def test_a_set_that_is_no_toml_is_told_why(call, value, words):
    code, _, err = call("validate", "digits", "--set", f"dataset.path={value}")
    assert code == 2 and words in err and "--set dataset.path=" in err


def test_every_point_of_a_recipes_sweep_is_checked_too(tmp_path, call):
    text = (Path(__file__).parents[1] / "recipes" / "valid" / "sweep_grid.toml").read_text()
    (tmp_path / "right.toml").write_text(text)
    (tmp_path / "wrong.toml").write_text(text.replace("[1, 2, 4]", "[1, 2, 0]"))
    assert call("validate", tmp_path / "right.toml")[0] == 0
    code, _, err = call("validate", tmp_path / "wrong.toml")
    assert code == 2 and "loss.temperature  in point 004 and 1 more: must be a number above 0" in err
    (tmp_path / "wrong.toml").write_text(text.replace("[1, 2, 4]", "[1, 2, 0]").replace("seeds", "sedes"))
    code, _, err = call("validate", tmp_path / "wrong.toml")
    assert code == 2 and "sedes" in err and "loss.temperature  in point 004 and 1 more" in err
