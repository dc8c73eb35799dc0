"""What the guide answers in a sentence is so: slices, `--set` of a table, the reference without a site, a tracker."""

from __future__ import annotations

import json
import pydoc
import re
import sys
import types
from collections import Counter
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import SMALL

import kdrecipes
from kdrecipes.data.splits import cut
from kdrecipes.errors import MissingPart
from kdrecipes.recipe.overrides import override

ROOT = Path(__file__).resolve().parents[2]


def test_a_slice_of_a_folder_holds_all_classes(tmp_path):
    for number, name in enumerate(["ant", "bee", "cat", "dog"]):
        for image in range(50):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2), (60 * number, image, 0)).save(tmp_path / "train" / name / f"{image:03}.png")
    source = kdrecipes.component("dataset", "folder").build(split="train", path=str(tmp_path))
    counts = Counter(source.label_of(int(index)) for index in cut("train[:50%]", len(source)))
    assert sorted(counts) == [0, 1, 2, 3] and all(15 <= count <= 35 for count in counts.values()), counts


def test_digits_and_slices_of_it_are_mixed():
    source = kdrecipes.component("dataset", "digits").build(split="train")
    labels = np.array([source[i]["label"] for i in range(len(source))])
    assert set(labels[: len(labels) // 10]) == set(range(10))


def test_set_replaces_a_table_and_leaves_the_neighbours_of_a_key():
    data = {"loss": {"name": "kd", "temperature": 2.0, "label_weight": 0.5}, "compare": {"seeds": [0, 1]}}
    override(data, ["loss.temperature=3"])
    assert data["loss"] == {"name": "kd", "temperature": 3, "label_weight": 0.5}
    override(data, ['loss={name="dist", weight=2.0}', "compare.seeds=[5]"])
    assert data == {"loss": {"name": "dist", "weight": 2.0}, "compare": {"seeds": [5]}}
    loss = kdrecipes.load_recipe("digits", ['loss={name="dist", weight=2.0}']).data["loss"]
    assert kdrecipes.load_recipe("digits").data["loss"]["label_weight"] == 0.5 and loss["label_weight"] == 1.0


def test_help_says_that_a_table_is_replaced():
    from typer.testing import CliRunner

    from kdrecipes.cli.main import app

    for verb in ("run", "validate"):
        text = " ".join(CliRunner().invoke(app, [verb, "--help"]).output.split())
        assert "a table, loss={…}, is replaced as a whole" in text


@pytest.mark.parametrize("name", kdrecipes.__all__)
def test_pydoc_shows_every_public_name(name):
    found = getattr(kdrecipes, name)
    text = pydoc.plain(pydoc.render_doc(f"kdrecipes.{name}"))
    first = (found.__doc__ or "").strip().splitlines()[0]
    assert first and first in text


@pytest.mark.parametrize("name", ["recipe", "report"])
def test_the_schemas_of_the_checkout_describe_every_key(name):
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    text = json.dumps(schema)
    assert text.count('"description"') > 50 and f"schemas/{name}.schema.json" in (ROOT / "docs/index.md").read_text()


@pytest.mark.slow
def test_the_tracker_of_the_plugin_guide_hears_of_recipe_and_report(tmp_path, monkeypatch):
    """With a service in Comet's place, which the tests' environment need not have."""
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^`comet.py`:\n\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    written = []

    class Experiment:
        def __getattr__(self, name):
            return lambda *given: written.append((name, *given))

    stand_in = types.ModuleType("comet_ml")
    stand_in.__spec__ = ModuleSpec("comet_ml", None)
    stand_in.start = lambda project_name: Experiment()  # type: ignore[attr-defined]
    (tmp_path / "comet.py").write_text(code)
    changes = [*SMALL, 'callbacks=[{name="comet"}]']
    recipe = kdrecipes.load_recipe("digits", changes, plugins=[tmp_path / "comet.py"])
    with pytest.raises(MissingPart, match=r"The callback 'comet' needs comet_ml.*`pip install 'comet_ml'`"):
        kdrecipes.run(recipe, tmp_path / "run")
    monkeypatch.setitem(sys.modules, "comet_ml", stand_in)
    kdrecipes.run(recipe, tmp_path / "run")
    [parameters, asset, end] = written
    assert parameters[0] == "log_parameters" and parameters[1]["train"]["epochs"] == 2
    assert asset == ("log_asset", str(tmp_path / "run" / "report.html")) and end == ("end",)
