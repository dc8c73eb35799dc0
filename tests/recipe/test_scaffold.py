"""`kdrecipes new`: recipes that are valid as they are, packages that are whole, and nothing overwritten.

That a new package installs, passes its own tests and runs its recipe, tests/project/test_plugin_guide.py shows.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from kdrecipes.components.registry import load_registry
from kdrecipes.errors import EnvironmentProblem, UsageError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.scaffold import new_plugin, new_recipe

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "plugins" / "kdrecipes-example" / "kdrecipes_example"

pytestmark = pytest.mark.usefixtures("built_ins")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- recipes


@pytest.mark.parametrize("kind", ["dataset", "model", "loss"])
def test_every_built_in_gives_a_valid_recipe(kind):
    for name in load_registry().names(kind):
        chosen = {"dataset": "digits", "student": "cnn", "teacher": "cnn"}
        chosen |= {"model": {"student": name, "teacher": name}, "dataset": {"dataset": name}, "loss": {"loss": name}}[
            kind
        ]
        recipe = load_recipe(new_recipe(f"of_{kind}_{name}", **chosen))
        assert recipe.data[{"model": "student"}.get(kind, kind)]["name"] == name


def test_a_new_recipe_shows_required_and_optional_keys():
    file = new_recipe("mine", teacher="cnn", student="keras_file", dataset="digits")
    text = file.read_text()
    assert file == Path("mine.toml") and text.startswith("#:schema ./recipe.schema.json\n")
    assert "# cnn teaches keras_file on digits.   kdrecipes run mine.toml\n" in text
    filled = 'path = "../runs/digits/students/kd-0.keras" # The .keras file. The model takes pixels'
    assert filled in text, "required"
    assert re.search(r"^# width = 32 +# Channels of the first stage", text, re.MULTILINE), "optional: a comment"
    assert 'name = "kd"' in text and "temperature = 4.0" in text and "requires" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_new_recipe_names_layers_where_its_loss_needs_them():
    def layers_of(loss):
        text = new_recipe(f"of_{loss}", teacher="cnn", student="cnn", dataset="digits", loss=loss).read_text()
        return [line.split("  ")[0] for line in text.splitlines() if "_layers = " in line]

    assert layers_of("kd") == []
    assert layers_of("hint") == ['student_layers = ["name"]', 'teacher_layers = ["name"]']
    assert layers_of("fsp")[0].startswith(
        'student_layers = ["name_1", "name_2"] # names of its layers, which `kdrecipes'
    )
    assert layers_of("ofa") == ['student_layers = ["name"]']
    assert layers_of("srrl") == ['# student_layers = ["name"]', '# teacher_layers = ["name"]']


def test_comments_are_what_they_say():
    """Each option that stands in a comment with a value is valid when it is taken in, and says the default."""
    text = new_recipe("mine", teacher="cnn", student="cnn", dataset="digits").read_text()
    lines = re.findall(r"^# (\w+ = [^#…\n]*[^#…\n ])(?: +#.*)?$", text, re.MULTILINE)
    assert {line.partition(" ")[0] for line in lines} >= {
        "width",
        "depth",
        "temperature",
        "seeds",
        "margin",
        "train",
        "corrupt_limit",
    }
    plain = load_recipe("mine.toml").data
    for line in lines:
        Path("other.toml").write_text(text.replace(f"# {line}", line, 1))
        data = load_recipe("other.toml").data
        without_default = ("image_size", "student_layers", "teacher_layers", "views", "labelled", "unlabelled")
        without_default += ("recalibrate_batch_norm",)
        if line.partition(" ")[0] not in without_default:
            assert data == plain, line


@pytest.mark.parametrize("dataset", ["folder", "file_list"])
def test_a_new_recipe_of_one_s_own_photos_holds_validation_out_class_by_class(dataset):
    recipe = load_recipe(new_recipe("photos", student="cnn", dataset=dataset))
    assert recipe.dataset.stratified and recipe.dataset.validation == 0.1
    assert not load_recipe(new_recipe("digits", student="cnn", dataset="digits")).dataset.stratified


def test_a_new_recipe_may_do_without_a_teacher():
    recipe = load_recipe(new_recipe("alone", student="cnn", dataset="digits"))
    assert "teacher" not in recipe.data and "# cnn on digits, labels only." in recipe.text


OPTIONS = """{"type": "object", "additionalProperties": False, "required": ["size"], "definitions": {
    "side": {"type": "integer", "minimum": 7, "description": "how large"}}, "properties": {
    "size": {"$ref": "#/definitions/side"}, "code": {"type": "string", "pattern": "^Z[0-9]{9}$", "description": "x"},
    "table": {"type": "object", "default": {"a b": [1, 2.5, "c"]}, "description": "a table"}}}"""
PLUGIN = """
import kdrecipes

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "vit", dict, {options}, summary="a test's")
"""


def test_a_new_recipe_may_use_a_single_file_plugin():
    Path("vit.py").write_text(PLUGIN.replace("{options}", OPTIONS))
    file = new_recipe("mine", student="vit", dataset="digits", plugins=[Path("vit.py")])
    text = file.read_text()
    assert "kdrecipes run mine.toml --plugin vit.py\n" in text and "requires" not in text
    assert "size = 7                        # how large" in text
    assert "# code = …                      # x" in text and '# table = { "a b" = [1, 2.5, "c"] }' in text
    assert load_recipe(file, plugins=["vit.py"]).data["student"]["size"] == 7


def test_a_required_option_that_cannot_be_guessed_is_named():
    Path("vit.py").write_text(PLUGIN.replace("{options}", OPTIONS.replace('["size"]', '["code"]')))
    with pytest.raises(EnvironmentProblem) as caught:
        new_recipe("mine", student="vit", dataset="digits", plugins=[Path("vit.py")])
    assert str(caught.value) == (
        "--student vit: its option 'code' is required, and its schema has no example that could be written. Whoever "
        'provides it can add "examples" to it.'
    )
    assert not Path("mine.toml").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "cn"}, "--student cn: No model is called 'cn'. Did you mean 'cnn'?"),
        ({"teacher": "mobilenet"}, "--teacher mobilenet: No model is called 'mobilenet'. Did you mean 'mobilenet_v3"),
        ({"dataset": "digit"}, "--dataset digit: No dataset is called 'digit'. Did you mean 'digits'?"),
        ({"teacher": "cnn", "loss": "kdd"}, "--loss kdd: No loss is called 'kdd'. Did you mean 'kd'?"),
        ({"loss": "kd"}, "--loss kd: a distillation loss needs a teacher. Add --teacher, or leave --loss out."),
        ({"name": "a/b"}, "'a/b' can't name a recipe: it must be 1 to 100 letters, digits, '.', '_' or '-'."),
        ({"out": Path("mine.yaml")}, "--out mine.yaml: a recipe is a .toml file here."),
        ({"out": Path("nowhere/mine.toml")}, "nowhere/mine.toml: can't be written: No such file or directory."),
    ],
)
def test_a_new_recipe_of_wrong_words_is_refused(changes, message):
    arguments = {"name": "mine", "student": "cnn", "dataset": "digits", **changes}
    with pytest.raises(UsageError) as caught:
        new_recipe(arguments.pop("name"), **arguments)
    assert str(caught.value).startswith(message)
    assert not list(Path().iterdir())


def test_a_file_is_never_overwritten():
    Path("mine.toml").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.toml is there already, and nothing is overwritten\."):
        new_recipe("mine", student="cnn", dataset="digits")
    assert Path("mine.toml").read_text() == "mine"


# ---- plugins


@pytest.mark.parametrize("file", ["model.py", "dataset.py", "loss.py"])
def test_a_new_plugin_begins_as_the_example(file):
    """One text to keep right: that of plugins/kdrecipes-example, under other names."""
    written = new_plugin("kdrecipes-mine") / "kdrecipes_mine" / file
    assert written.read_text() == (EXAMPLE / file).read_text().replace("example_", "mine_")


def test_a_new_plugin_holds_all_that_a_package_needs():
    folder = new_plugin("My.Lab-nets", Path("there/below"))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        ".gitignore",
        "README.md",
        "my_lab_nets/__init__.py",
        "my_lab_nets/dataset.py",
        "my_lab_nets/loss.py",
        "my_lab_nets/model.py",
        "pyproject.toml",
        "recipe.toml",
        "tests/test_components.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "My.Lab-nets" and project["entry-points"] == {"kdrecipes": {"my_lab_nets": "my_lab_nets"}}
    assert re.fullmatch(r"kdrecipes>=0\.\d+,<0\.\d+|kdrecipes>=\d+\.\d+,<\d+", project["dependencies"][0])
    for file in files:
        if file.endswith(".py"):
            compile((folder / file).read_text(), file, "exec")
    assert "{{" not in "".join((folder / file).read_text() for file in files)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a b", "'a b' can't name a distribution: letters, digits, '-', '_' and '.', with a letter or a digit at both"),
        ("-x", "'-x' can't name a distribution"),
        ("../x", "'../x' can't name a distribution"),
        ("", "'' can't name a distribution"),
        ("import", "'import': its module would be called 'import', which is a keyword of Python. Did you mean"),
        ("3d", "'3d': its module would be called '3d', which can't be a module's name. Did you mean 'kdrecipes-3d'?"),
        ("json", "'json': a module called 'json' is Python's own already. Did you mean 'kdrecipes-json'?"),
        ("numpy", "'numpy': a module called 'numpy' is installed already. Did you mean 'kdrecipes-numpy'?"),
        ("Tests", "'Tests': the package's own tests stand in a folder of that name. Did you mean 'kdrecipes-tests'?"),
        ("kdrecipes", "'kdrecipes': a module called 'kdrecipes' is installed already."),
    ],
)
def test_names_that_no_plugin_can_have_are_refused(name, message):
    with pytest.raises(UsageError) as caught:
        new_plugin(name)
    assert str(caught.value).startswith(message)
    assert not list(Path().iterdir())


def test_a_folder_is_never_overwritten():
    Path("kdrecipes-mine").mkdir()
    with pytest.raises(UsageError, match="kdrecipes-mine is there already, and nothing is overwritten"):
        new_plugin("kdrecipes-mine")
    assert not list(Path("kdrecipes-mine").iterdir())
