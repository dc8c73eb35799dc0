"""`kdrecipes list models --search`: a network is found by a part of its name, whoever offers it."""

import json
import subprocess
import sys

import pytest

from kdrecipes.components.hookspecs import Component
from kdrecipes.components.models import hub
from kdrecipes.components.plugins import Provider
from kdrecipes.components.registry import Registry
from kdrecipes.components.search import names_told, search

ZOO = ("Tiger_V2", "tiger.v1", "lion")


def component(name, tell=None):
    def build(classes, species="lion"):
        raise AssertionError("built while it is only looked at")

    if tell is not None:
        build.names = tell
    properties = {"classes": {"type": "integer"}, "species": {"type": "string"}}
    return Component("model", name, build, {"type": "object", "properties": properties}, "a test's")


def registry(**tells):
    made = Registry()
    for name, tell in tells.items():
        made.add(component(name, tell), Provider("zoo", "kdrecipes-zoo", "1.0"))
    return made


def test_a_part_of_a_name_finds_components_and_what_their_options_take():
    found, nearest, untold = search(registry(zoo=lambda: {"species": ZOO}, tiger=None, cat=None), "model", "TIGER")
    assert [(one.name, one.keys) for one in found] == [
        ("tiger", {"name": "tiger"}),
        ("Tiger_V2", {"name": "zoo", "species": "Tiger_V2"}),
        ("tiger.v1", {"name": "zoo", "species": "tiger.v1"}),
    ]
    assert {one.provider for one in found} == {"kdrecipes-zoo 1.0"}
    assert (nearest, untold) == ([], [])


@pytest.mark.parametrize("text", ["tigerv2", "tiger-v2", "r_v2", "Tiger V2"])
def test_case_and_what_stands_between_words_do_not_count(text):
    found = search(registry(zoo=lambda: {"species": ZOO}), "model", text).found
    assert [one.name for one in found] == ["Tiger_V2"]


def test_where_nothing_is_found_the_nearest_are_told():
    found, nearest, _ = search(registry(zoo=lambda: {"species": ZOO}, cat=None), "model", "tigr v1")
    assert (found, [one.name for one in nearest]) == ([], ["tiger.v1", "Tiger_V2"])


def test_what_can_not_tell_its_names_stops_nobody():
    def tell():
        raise ModuleNotFoundError("No module named 'zoo'")

    found, _, untold = search(registry(zoo=tell, tiger=None), "model", "tiger")
    assert [one.name for one in found] == ["tiger"]
    assert untold == ["the names of zoo can't be listed: ModuleNotFoundError: No module named 'zoo'"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"breed": ["x"]}, "tells names of 'breed', which its options do not declare"),
        ({"species": [1]}, "must tell texts for 'species'. Received: 1"),
        ({"species": [""]}, "must tell texts for 'species'. Received: ''"),
    ],
)
def test_names_that_no_recipe_could_write_are_refused(told, words):
    with pytest.raises(ValueError, match=r"build\.names\(\)") as caught:
        names_told(component("zoo", lambda: told))
    assert words in str(caught.value)


def test_presets_are_those_that_keras_hub_registers():
    keras_hub = pytest.importorskip("keras_hub")
    told = hub.names()["preset"]
    assert {"mobilenet_v3_small_100_imagenet", "resnet_50_imagenet", "efficientnet_b0_ra_imagenet"} <= set(told)
    assert set(told) <= {*keras_hub.models.ImageClassifier.presets, *keras_hub.models.Backbone.presets}
    families = keras_hub.models.ImageClassifier.__subclasses__()
    assert set(told) >= {preset for family in families for preset in family.backbone_cls.presets}


def test_a_search_imports_neither_torch_nor_keras():
    code = (
        "import sys; from kdrecipes.components.plugins import HEAVY; from kdrecipes.cli.main import main; "
        "sys.argv[1:] = ['list', 'models', '--search', 'mobilenet', '--json']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in (*HEAVY, 'keras_hub') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"
    assert {"mobilenet_v3_small", "mobilenet_v3_small_100_imagenet"} <= {
        row["name"] for row in json.loads(done.stdout)["models"]
    }
