"""Plugins: loaded one by one, the broken kept apart with their error, and who provides what."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdrecipes
from kdrecipes.components import plugins
from kdrecipes.components.contract import PASSED_BY_RUN, RUN_KEYS, check_component, recipe_options
from kdrecipes.components.hookspecs import KINDS, Component
from kdrecipes.components.plugins import Provider, _other_kdrecipes
from kdrecipes.components.registry import Registry, component, load_registry, unknown_component
from kdrecipes.errors import EnvironmentProblem, RecipeError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.recipe.structure import structure_schema

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "recipes" / "digits.toml")

GOOD = """
import kdrecipes

def build(classes, image_size, depth=1):
    raise AssertionError("built while it is only looked at")

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component("model", "{name}", build, {options}, summary="a test's")
"""
OPTIONS = """{"type": "object", "additionalProperties": False, "properties": {
    "classes": {"type": "integer"}, "image_size": {"type": "integer"},
    "depth": {"type": "integer", "minimum": 1, "default": 3, "description": "how deep"}}}"""


def good(name: str = "vit", options: str = OPTIONS) -> str:
    return GOOD.replace("{name}", name).replace("{options}", options)


def plugin(name: str):
    (found,) = [p for p in load_registry().plugins if p.provider.plugin == name]
    return found


def test_every_kind_has_its_built_ins_and_all_their_options_are_described(built_ins):
    registry = load_registry()
    assert not registry.not_loaded and not registry.conflicts
    assert {"digits", "fashion_mnist", "folder", "tfds"} <= set(registry.names("dataset"))
    assert {"kd", "hint"} <= set(registry.names("loss"))
    assert {"cnn", "mobilenet_v3_small"} <= set(registry.names("model"))
    assert "csv_log" in registry.names("callback")
    assert str(registry.provider("model", "cnn")) == "built-in"
    assert [note for p in registry.plugins for note in p.notes] == [], "every built-in option is described"
    assert [problem for made, _ in registry.components.values() for problem in check_component(made)] == []


def test_reserved_keys_are_those_of_the_structure():
    """A key that the structure gains is reserved in the registry, or a plugin could claim it."""
    definitions = structure_schema()["definitions"]
    for table, keys in RUN_KEYS.items():
        assert set(definitions[table]["properties"]) <= set(keys), table
    assert set(definitions["term"]["properties"]) <= set(RUN_KEYS["loss"])
    assert set(PASSED_BY_RUN) == set(KINDS)


def test_an_installed_plugin_is_used(install):
    install("kdrecipes-vit", good())
    assert plugin("kdrecipes_vit").components == ["model vit"]
    assert component("model", "vit").summary == "a test's"
    assert str(load_registry().provider("model", "vit")) == "kdrecipes-vit 1.0"
    recipe = load_recipe(DIGITS, ['student={name="vit"}'])
    assert recipe.data["student"] == {"name": "vit", "depth": 3}
    assert recipe.options(recipe.student, classes=2, image_size=8) == {
        "depth": 3,
        "classes": 2,
        "image_size": 8,
    }


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def (", "SyntaxError: invalid syntax (kdrecipes_bad.py, line 1)"),
        ("raise SystemExit(7)", "SystemExit: 7"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("x = 1", "it has no function kdrecipes_components marked with @kdrecipes.hookimpl"),
        (
            "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_component():\n    return []",
            "unknown hook 'kdrecipes_component'",
        ),
        (
            "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components(registry):\n    return []",
            "Argument(s) {'registry'} are declared in the hookimpl but can not be found in the hookspec",
        ),
        (
            "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n    yield 1 / 0",
            "ZeroDivisionError: division by zero",
        ),
        (
            "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n    yield {'name': 'x'}",
            "yielded dict, not a kdrecipes.Component",
        ),
        (
            "import kdrecipes\n@kdrecipes.hookimpl\ndef kdrecipes_components():\n"
            "    return kdrecipes.Component('model', 'x', print)",
            "'Component' object is not iterable",
        ),
    ],
)
def test_a_broken_plugin_is_kept_apart(install, code, error):
    install("kdrecipes-bad", code)
    install("kdrecipes-vit", good())
    broken = plugin("kdrecipes_bad")
    assert error in broken.error and "\n" not in broken.error
    assert str(broken.provider) == "kdrecipes-bad 1.0"
    assert plugin("kdrecipes_vit").error == "", "one broken plugin stops no other"
    assert load_recipe(DIGITS).name == "digits"


def test_a_recipe_that_may_need_the_broken_plugin_hears_of_it(install):
    install("kdrecipes-bad", "import nowhere_at_all")
    hint = "the plugin kdrecipes_bad (kdrecipes-bad 1.0) could not be loaded: ModuleNotFoundError: No module named"
    for name in ("zzz", "cnnn"):  # also where another name is near
        with pytest.raises(RecipeError) as caught:
            load_recipe(DIGITS, [f'student={{name="{name}"}}'])
        (problem,) = caught.value.problems
        assert hint in problem.rule
    assert problem.suggestion == '"cnn"'
    with pytest.raises(EnvironmentProblem, match=r"No model is called 'zzz'\. Installed: .*cnn.* T" + hint[1:9]):
        component("model", "zzz")


def test_good_components_of_a_partly_bad_plugin_stay(install):
    install("kdrecipes-half", good() + "    yield kdrecipes.Component('model', 'bad name', build)\n")
    assert plugin("kdrecipes_half").components == ["model vit"]
    assert plugin("kdrecipes_half").error == (
        "model 'bad name': its name must consist of letters, digits, '.', '_' and '-'"
    )
    assert component("model", "vit")


OBJECT = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("faulty", "error"),
    [
        ("text", "yielded str, not a kdrecipes.Component"),
        (
            Component("models", "x", print),
            "kind must be one of model, dataset, loss, callback, exporter. Received:",
        ),
        (Component("model", "", print), "its name must consist of"),
        (Component("model", 3, print), "its name must consist of"),  # type: ignore[arg-type]
        (Component("model", "../x", print), "its name must consist of"),
        (Component("model", "x", None), "build must be callable. Received: None"),  # type: ignore[arg-type]
        (Component("model", "x", print, summary=None), "its summary must be a string"),  # type: ignore[arg-type]
        (Component("model", "x", print, None), "its options must be a dict"),  # type: ignore[arg-type]
        (Component("model", "x", print, True), "its options must be a dict"),  # type: ignore[arg-type]
        (Component("model", "x", print, {"type": "objet"}), "its options are no draft-07 schema: 'objet'"),
        (Component("model", "x", print, {"type": "object"}), 'its options need "additionalProperties": false'),
        (Component("model", "x", print, {**OBJECT, "patternProperties": {}}), "patternProperties reach no builder"),
        (
            Component("model", "x", print, {**OBJECT, "$ref": "#/definitions/a", "definitions": {"a": {}}}),
            "a $ref in their place hides them",
        ),
        (
            Component("model", "x", print, {**OBJECT, "dependencies": {"a": ["classes"]}}),
            "'dependencies' in its options is about 'classes', which the run passes",
        ),
        (Component("model", "x", print, {**OBJECT, "default": {1, 2}}), "its options can't be written as JSON"),
        (Component("model", "x", print, {**OBJECT, "default": float("nan")}), "its options can't be written as JSON"),
        (Component("model", "x", print, {**OBJECT, "properties": {"a": True}}), "its option 'a' needs a schema"),
        (Component("model", "x", print, {**OBJECT, "properties": {"train": {}}}), "'train' is one of the run's own"),
        (Component("loss", "x", print, {**OBJECT, "properties": {"weight": {}}}), "'weight' is one of the run's own"),
        (
            Component("dataset", "x", print, {**OBJECT, "properties": {"a": {"$ref": "https://example.org/a"}}}),
            "'https://example.org/a' in its options points to nothing in them",
        ),
        (
            Component("dataset", "x", print, {**OBJECT, "properties": {"a": {"$ref": "#/definitions/nope"}}}),
            "'#/definitions/nope' in its options points to nothing in them",
        ),
        (
            Component("dataset", "x", print, {**OBJECT, "properties": {"a": {"$ref": "#/properties/a"}}}),
            "'#/properties/a' in its options points to nothing in them",
        ),
    ],
)
def test_a_faulty_component_is_one_problem_on_one_line(faulty, error):
    (problem,) = check_component(faulty)
    assert error in problem and "\n" not in problem


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_run_passes_may_be_declared_and_is_hidden_from_recipes(kind):
    passed = {name: {"type": "integer"} for name in PASSED_BY_RUN[kind]}
    made = Component(kind, "x", print, {**OBJECT, "properties": {**passed, "mine": {}}, "required": [*passed, "mine"]})
    assert check_component(made) == []
    options = recipe_options(made)
    assert set(options["properties"]) == {"mine"} and options["required"] == ["mine"]
    assert "required" not in recipe_options(Component(kind, "x", print, {**OBJECT, "required": list(passed)}))


def test_references_inside_the_options_work(install):
    definitions = '"definitions": {"width": {"type": "number", "maximum": 4}}, "type": "object"'
    options = OPTIONS.replace('"type": "object"', definitions)
    options = options.replace('"depth": {', '"wide": {"$ref": "#/definitions/width"}, "depth": {')
    install("kdrecipes-vit", good(options=options).replace("def build(", "def build(wide=1, *, "))
    assert plugin("kdrecipes_vit").error == ""
    assert load_recipe(DIGITS, ['student={name="vit", wide=3}']).data["student"]["wide"] == 3.0
    with pytest.raises(RecipeError, match=r"student\.wide  must be at most 4\. Received: 5"):
        load_recipe(DIGITS, ['student={name="vit", wide=5}'])


def test_a_schema_that_fails_in_use_blames_its_plugin(install):
    elsewhere = '"$id": "https://example.org/x", "allOf": [{"$ref": "#/properties/classes"}]'
    install("kdrecipes-vit", good(options=OPTIONS.replace('"minimum": 1', elsewhere)))
    with pytest.raises(
        EnvironmentProblem, match=r"options schema of the model 'vit' \(kdrecipes-vit 1.0\) can't be used"
    ):
        load_recipe(DIGITS, ['student={name="vit", depth="x"}'])


def test_options_without_a_description_are_noted_never_fatal(install):
    install("kdrecipes-vit", good(options=OPTIONS.replace(', "description": "how deep"', "")))
    assert plugin("kdrecipes_vit").notes == ["model vit: option 'depth' has no description"]
    assert plugin("kdrecipes_vit").error == ""
    assert load_recipe(DIGITS, ['student={name="vit"}'])


def test_two_plugins_with_one_name_stop_only_who_needs_it(install):
    install("kdrecipes-one", good("vit"))
    install("kdrecipes-two", good("vit"))
    with pytest.raises(EnvironmentProblem) as caught:
        load_recipe(DIGITS, ['student={name="vit"}'])
    assert str(caught.value) == (
        "Two plugins provide the model 'vit': kdrecipes-one 1.0 and kdrecipes-two 1.0. Uninstall one of them."
    )
    with pytest.raises(EnvironmentProblem, match=r"kdrecipes-one 1\.0 and kdrecipes-two 1\.0"):
        component("model", "vit")
    assert load_recipe(DIGITS).name == "digits"


def test_a_plugin_can_not_replace_a_built_in(install):
    install("kdrecipes-cnn", good("cnn"))
    with pytest.raises(EnvironmentProblem, match=r"the model 'cnn': built-in and kdrecipes-cnn 1\.0"):
        load_recipe(DIGITS)


def test_the_same_name_in_two_kinds_is_no_conflict():
    registry = Registry()
    for kind in KINDS:
        registry.add(Component(kind, "x", print), Provider("p", "d", "1"))
    assert not registry.conflicts and len(registry.components) == len(KINDS)


# ---- single-file plugins


def test_a_single_file_plugin_is_used_only_where_it_was_asked_for(tmp_path, built_ins):
    file = tmp_path / "mine.py"
    file.write_text(good("mine"))
    recipe = load_recipe(DIGITS, ['student={name="mine"}'], plugins=[file])
    assert recipe.data["student"]["depth"] == 3
    provider = recipe.registry.provider("model", "mine")
    assert provider == Provider("mine.py", str(file), "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest())
    assert "mine" not in load_registry().names("model"), "only where it was asked for"
    assert not load_registry((file, file)).conflicts, "twice the same file is once the same file"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (None, "no such file."),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("x = 1", "it has no function kdrecipes_components"),
        (good("m", "{'type': 'object'}"), 'its options need "additionalProperties": false'),
    ],
)
def test_single_file_errors_are_one_line(tmp_path, built_ins, code, error):
    file = tmp_path / "mine.py"
    if code is not None:
        file.write_text(code)
    with pytest.raises(EnvironmentProblem) as caught:
        load_recipe(DIGITS, plugins=[file])
    message = str(caught.value)
    assert message.startswith(f"--plugin {file}: ") and error in message and "\n" not in message


def test_a_single_file_that_fails_leaves_no_module(tmp_path, built_ins):
    before = set(sys.modules)
    (tmp_path / "mine.py").write_text("raise ValueError(__name__)")
    with pytest.raises(EnvironmentProblem, match="ValueError: kdrecipes_plugin_"):
        load_registry((tmp_path / "mine.py",))
    assert not [name for name in set(sys.modules) - before if name.startswith("kdrecipes_plugin_")]


def test_a_single_file_of_another_type_is_refused(tmp_path, built_ins):
    (tmp_path / "mine.txt").write_text("x = 1")
    with pytest.raises(EnvironmentProblem, match=r"mine\.txt: not a Python file \(\.py\)\."):
        load_registry((tmp_path / "mine.txt",))
    with pytest.raises(EnvironmentProblem, match="no such file"):
        load_registry((tmp_path,))


# ---- words


def test_unknown_component_names_the_nearest(built_ins):
    assert unknown_component(load_registry(), "loss", "kdd") == "No loss is called 'kdd'. Did you mean 'kd'?"
    installed = "csv_log, mlflow, tensorboard, wandb"
    told = unknown_component(load_registry(), "callback", "zzz")
    assert told == f"No callback is called 'zzz'. Installed: {installed}."
    assert unknown_component(Registry(), "loss", "kd") == "No loss is called 'kd'. Installed: none."


def test_nothing_heavy_is_imported():
    code = (
        "import sys, kdrecipes\n"
        "from kdrecipes.components.registry import load_registry\n"
        "assert not load_registry().not_loaded\n"
        "kdrecipes.load_recipe('digits')\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'sklearn', 'scipy', 'PIL', 'matplotlib', 'kdrecipes.disk.download'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_light_public_name_is_there():
    for name in kdrecipes.__all__:
        if name in ("Component", "hookimpl", "component", "load_recipe", "Recipe") or name.endswith(
            ("Error", "Problem")
        ):
            assert getattr(kdrecipes, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        kdrecipes.nonsense  # noqa: B018


def test_dir_shows_the_public_names_and_no_others():
    assert dir(kdrecipes) == sorted([*kdrecipes.__all__, "__version__"])


def test_a_required_plugin_that_is_broken_is_no_fault_of_the_recipe(install, tmp_path):
    install("kdrecipes-broken", "raise RuntimeError('no such library')")
    text = Path(DIGITS).read_text().replace("schema_version = 1", 'schema_version = 1\nrequires = ["kdrecipes_broken"]')
    (tmp_path / "r.toml").write_text(text.replace('name = "cnn"', 'name = "from_broken"', 1))
    with pytest.raises(EnvironmentProblem, match="the recipe needs kdrecipes_broken, which could not be loaded"):
        load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("rule", "options", "expected"),
    [
        ({"anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}]}, "", "must have one of `a`, `b` with `c`"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, ", a=1, b=1", "must have exactly one of `a`, `b`"),
        ({"dependencies": {"a": ["c", "b"]}}, ", a=1, c=1", "`a` needs `b` beside it"),
        (
            {"not": {"required": ["a", "b"]}},
            ", a=1, b=1",
            "has keys that do not go together, by",
        ),
    ],
)
def test_what_a_component_demands_of_its_options_is_said_in_keys(install, rule, options, expected):
    properties = {name: {"type": "integer", "description": name} for name in "abc"}
    install("kdrecipes-vit", good(options=repr({**OBJECT, "properties": properties, **rule})))
    with pytest.raises(RecipeError) as caught:
        load_recipe(DIGITS, [f'student={{name="vit"{options}}}'])
    (problem,) = caught.value.problems
    assert problem.path == "student" and problem.rule.startswith(expected)


# ---- which plugins are loaded


def states():
    return {p.provider.plugin: p.state for p in load_registry().plugins if p.provider.distribution != "kdrecipes"}


@pytest.mark.parametrize("name", ["kdrecipes_vit", "kdrecipes-vit", " Kdrecipes.ViT ,"])
def test_the_environment_selects_by_entry_point_or_distribution(install, monkeypatch, name):
    install("kdrecipes-vit", good())
    install("kdrecipes-bad", "import nowhere_at_all")
    monkeypatch.setenv("KDRECIPES_PLUGINS", name)
    load_registry.cache_clear()
    found = states()
    assert found.pop("kdrecipes_vit") == "ok" and set(found.values()) == {"left out"}
    assert "kdrecipes_bad" in found and "kdrecipes_bad" not in sys.modules, "what is left out is not imported"
    assert component("model", "vit") and component("model", "cnn")
    monkeypatch.setenv("KDRECIPES_PLUGINS", "")
    load_registry.cache_clear()
    assert set(states().values()) == {"left out"}


def test_what_is_left_out_is_said_where_it_is_missed(install, monkeypatch, tmp_path):
    install("kdrecipes-vit", good())
    monkeypatch.setenv("KDRECIPES_PLUGINS", "")
    load_registry.cache_clear()
    with pytest.raises(
        RecipeError, match=r"the plugin kdrecipes_vit \(kdrecipes-vit 1\.0\) is left out by KDRECIPES_PL"
    ):
        load_recipe(DIGITS, ['student={name="vit"}'])
    with pytest.raises(EnvironmentProblem, match=r"needs kdrecipes-vit, which is left out by KDRECIPES_PLUGINS\.$"):
        load_recipe(DIGITS, ['requires=["kdrecipes-vit"]', 'student={name="vit"}'])


def test_a_selected_name_that_is_not_installed_is_an_error(install, monkeypatch):
    install("kdrecipes-vit", good())
    monkeypatch.setenv("KDRECIPES_PLUGINS", "kdrecipes-vt,kdrecipes-vit")
    load_registry.cache_clear()
    assert plugin("kdrecipes_vit").state == "ok"
    assert plugin("kdrecipes-vt").error == (
        "KDRECIPES_PLUGINS names it, and no such plugin is installed; did you mean 'kdrecipes-vit'?"
    )


@pytest.mark.parametrize(
    ("requires", "error"),
    [
        ("kdrecipes<0.1", "needs kdrecipes<0.1, and 0.1.0 is installed"),
        ("KDRecipes >=99", "needs kdrecipes>=99, and 0.1.0 is installed"),
        ("kdrecipes>=0.1,<1", ""),
        ("kdrecipes>=99; python_version < '3'", ""),
        ("kdrecipes>=99; extra == 'test'", ""),
        ("kdrecipes[run]>=99; extra == 'test'", ""),
        ("kdrecipes[run]>=99", "needs kdrecipes>=99, and 0.1.0 is installed"),
        ("numpy>=99", ""),
    ],
)
def test_a_plugin_for_another_kdrecipes_is_not_loaded(install, requires, error):
    install("kdrecipes-vit", good(), requires=requires)
    assert plugin("kdrecipes_vit").error == error
    assert ("kdrecipes_vit" in sys.modules) == (not error)


def test_a_coming_version_counts_as_what_it_will_be(monkeypatch):
    class Dist:
        requires = ("kdrecipes>=0.2,<0.3",)

    for version in ("0.2.0.dev1", "0.2.0rc1", "0.2.1"):
        assert _other_kdrecipes(Dist, version) == ""
    assert _other_kdrecipes(Dist, "0.3.0.dev0") == "kdrecipes<0.3"
    assert _other_kdrecipes(Dist, "0.1.9") == "kdrecipes>=0.2"


def test_two_distributions_may_use_one_entry_point_name(install, monkeypatch):
    site = install("kdrecipes-one", good("one"))
    install("kdrecipes-two", good("two"))
    for name in ("one", "two"):
        info = site / f"kdrecipes_{name}-1.0.dist-info"
        (info / "entry_points.txt").write_text(f"[kdrecipes]\nmine = kdrecipes_{name}\n")
    load_registry.cache_clear()
    assert component("model", "one") and component("model", "two")
    monkeypatch.setenv("KDRECIPES_PLUGINS", "kdrecipes-two")
    load_registry.cache_clear()
    with pytest.raises(EnvironmentProblem, match=r"plugin mine \(kdrecipes-one 1\.0\) is left out"):
        component("model", "one")
    assert component("model", "two")


def test_two_distributions_with_one_module_are_told(install):
    site = install("kdrecipes-one", good("one"))
    install("kdrecipes-two", good("two"))
    (site / "kdrecipes_two-1.0.dist-info" / "entry_points.txt").write_text("[kdrecipes]\nzwei = kdrecipes_one\n")
    load_registry.cache_clear()
    assert plugin("zwei").error == "ValueError: another plugin is the same module" and component("model", "one")


@pytest.mark.parametrize("newer", [False, True])
def test_an_installation_without_metadata_is_no_traceback(newer, install, monkeypatch):
    if newer:  # once imported, its entry points stand for the standard library's, and raise where those say None
        pytest.importorskip("importlib_metadata")
    site = install("kdrecipes-half", good("half"))
    (site / "kdrecipes_half-1.0.dist-info" / "METADATA").unlink()
    for selection in (None, "kdrecipes_half", "kd"):
        if selection:
            monkeypatch.setenv("KDRECIPES_PLUGINS", selection)
        load_registry.cache_clear()
        assert plugin("kdrecipes_half").state == ("left out" if selection == "kd" else "ok")
        assert load_recipe(DIGITS, ["requires=[]"]).name == "digits"


@pytest.mark.slow
def test_a_plugin_that_imports_torch_at_once_is_noted(install):
    site = install("kdrecipes-slow", "import torch, keras\n" + good())
    code = "from kdrecipes.components.registry import load_registry\n"
    code += "print([p.notes for p in load_registry().plugins if p.notes])"
    environment = {**os.environ, "PYTHONPATH": str(site), "KDRECIPES_PLUGINS": "kdrecipes-slow"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout == (
        "[['imports torch and keras when it is loaded, which slows every command down: import inside `build`']]\n"
    ), done.stderr


@pytest.mark.parametrize("bounds", ["", ">=0.3", "<0.3", ">=0.3,<0.4", ">= 0.2, < 0.3.1", "<0.30", ">=0.3.0", ">=1"])
@pytest.mark.parametrize("version", ["0.3.0", "0.3.0.dev0", "0.30", "0.2.9", "1.0rc1"])
def test_the_short_way_and_packaging_agree_on_plain_requirements(bounds: str, version: str) -> None:
    assert plugins._failing(f"kdrecipes{bounds}", version) == plugins._failing_specifiers(f"kdrecipes{bounds}", version)
