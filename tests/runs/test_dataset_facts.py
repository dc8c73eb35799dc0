"""What a run tells of its data: in the terminal, in log.txt, in the facts that its report is made from."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import kdrecipes
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.dataset_facts import dataset_facts, dataset_notes

pytestmark = pytest.mark.usefixtures("home")

RECIPE = """
schema_version = 1
name = "r"
[dataset]
name = "folder"
path = "pets"
validation = 0.2
image_size = 8
[student]
name = "cnn"
width = 2
depth = 1
[train]
epochs = 1
batch_size = 8
[train.optimizer]
name = "adamw"
learning_rate = 1e-3
"""


@pytest.fixture
def pets(tmp_path):
    """A recipe's file; of its images one of a class's nine is damaged, and a file is none."""
    for split, count in (("train", 9), ("test", 2)):
        for kind in ("cat", "dog"):
            (tmp_path / "pets" / split / kind).mkdir(parents=True)
            for number in range(count):
                colour = (number, 100 * (kind == "cat"), 100 * (split == "test"))  # no two are the same
                Image.new("RGB", (8, 8), colour).save(tmp_path / "pets" / split / kind / f"{number}.png")
    (tmp_path / "pets" / "train" / "cat" / "0.png").write_bytes(b"")
    (tmp_path / "pets" / "train" / "cat" / "a.heic").write_bytes(b"x")
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path / "r.toml"


def test_facts_and_notes_say_what_is_not_in_the_run(pets):
    recipe = load_recipe(pets, ["dataset.corrupt_limit=0.1"])
    data = prepare(recipe)
    facts = dataset_facts(recipe, data)
    warning = "folder train: 1 of the 9 images of the class cat can't be read."
    assert facts.skipped == 1 and facts.train + facts.validation == 17
    assert facts.unreadable == [{"split": "folder train", "name": "train/cat/0.png", "reason": "the file is empty"}]
    reason = "with the suffix .heic, which is not read"
    assert facts.left_out == [{"split": "folder train", "reason": reason, "files": 1, "names": ["train/cat/a.heic"]}]
    assert facts.warnings == [warning]
    assert dataset_notes(recipe, data) == [
        f"folder train: left out 1 file: 1 {reason} (train/cat/a.heic)",
        "folder train: 1 of 18 images can't be read, a share of 0.0556; dataset.corrupt_limit = 0.1 is a share too and "
        "allows 1 of 18.",
        "  train/cat/0.png: the file is empty",
        f"warning: {warning}",
    ]


def test_images_in_two_splits_are_told_before_training_and_given_to_the_report(pets):
    folder = pets.parent / "pets"
    copy = folder / "test" / "dog" / "copy.png"
    copy.write_bytes((folder / "train" / "dog" / "3.png").read_bytes())
    recipe = load_recipe(pets, ["dataset.corrupt_limit=0.1"])
    data = prepare(recipe)
    facts = dataset_facts(recipe, data)
    [one] = facts.identical
    assert one == {
        "among": "test",
        "also": one["also"],
        "images": 1,
        "of": 5,
        "names": ["test/dog/copy.png (as train/dog/3.png)"],
    }
    assert not any("pixel for pixel" in text for text in facts.warnings), "the report tells it as advice"
    [told] = [text for text in dataset_notes(recipe, data) if "pixel for pixel" in text]
    assert told.startswith("warning: 1 of the 5 test images is pixel for pixel the same as ")


def test_a_run_that_stops_says_why_in_its_log_too(pets, tmp_path, capsys):
    with pytest.raises(RunError, match=r"train/cat/0\.png: the file is empty"):
        kdrecipes.run(load_recipe(pets), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "  train/cat/0.png: the file is empty\n" in log and "corrupt_limit = 0.0556\n" in log
    assert "prepared folder train: 17 images; 1 more can't be read" in log
    assert "prepared folder train: 17 images; 1 more can't be read" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"
