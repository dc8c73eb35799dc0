"""What the guide answers in a sentence is so: slices, `--set` of a table, the reference without a site, TensorBoard."""

from __future__ import annotations

import json
import pydoc
import re
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kdrecipes
from kdrecipes.data.splits import cut
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


def test_the_tensorboard_plugin_of_the_guide_writes_every_epoch(tmp_path, monkeypatch):
    """With a writer in TensorBoard's place, which the tests' environment need not have."""
    page = (ROOT / "docs/guide/running.md").read_text(encoding="utf-8")
    [code] = re.findall(r'^```python title="events.py"\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    written = []

    class SummaryWriter:
        def __init__(self, folder: str):
            self.folder = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((Path(self.folder).name, name, float(value), step))

        def flush(self) -> None:
            pass

    stand_in = types.ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "home"))
    (tmp_path / "events.py").write_text(code)
    tiny = [
        "student.width=2",
        "teacher.width=2",
        "train.epochs=2",
        "teacher.train.epochs=1",
        'teacher.preflight="warn"',
    ]
    changes = [*tiny, 'callbacks=[{name="events"}]']
    recipe = kdrecipes.load_recipe("digits", changes, plugins=[tmp_path / "events.py"])
    kdrecipes.run(recipe, tmp_path / "run")
    assert {(arm, step) for arm, name, _, step in written if name == "loss"} == {
        (arm, step) for arm in ("baseline-0", "kd-0") for step in (0, 1)
    }
    assert all(np.isfinite(value) for *_, value, _ in written)
