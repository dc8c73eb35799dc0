"""Photos that change after a run: what is told of them, of a finished run and of one that is not."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft7Validator
from PIL import Image

import kdrecipes
from kdrecipes.disk.json_files import read_json
from kdrecipes.errors import UsageError
from kdrecipes.runs import origin
from kdrecipes.runs import run as runs

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """
schema_version = 1
name = "photos"
[dataset]
name = "folder"
path = "photos"
validation = 0.3
image_size = 8
[student]
name = "cnn"
width = 3
depth = 1
[report]
measure = false
[train]
epochs = 1
batch_size = 4
[train.optimizer]
name = "adamw"
learning_rate = 1e-3
"""
AFTER = ". This is the report of the former data; --overwrite trains anew, and another --out keeps both."


def photo(file, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(file)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A finished run on photos, with its home."""
    folder = tmp_path_factory.mktemp("once")
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("cat", "dog")):
            for i in range(count):
                photo(folder / "photos" / split / name / f"{i}.png", 1000 * count + 100 * number + i)
    (folder / "r.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDRECIPES_HOME", str(folder / "home"))
        kdrecipes.run(kdrecipes.load_recipe(folder / "r.toml"), folder / "run")
    return folder


@pytest.fixture
def place(once, tmp_path, monkeypatch):
    """A copy of it, in which files may change."""
    shutil.copytree(once, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "copy" / "home"))
    monkeypatch.setattr(runs, "straight_line", lambda *a: pytest.fail("a finished run trained again"))
    return tmp_path / "copy" / "photos"


def swap(photos):
    (photos / "train" / "cat" / "3.png").unlink()
    photo(photos / "train" / "cat" / "new.png", 7)


CHANGES = {
    "added": (lambda photos: photo(photos / "train" / "cat" / "new.png", 7), ["train/cat 1 more image"]),
    "removed": (lambda photos: (photos / "test" / "dog" / "0.png").unlink(), ["test/dog 1 fewer image"]),
    "swapped": (swap, ["train/cat other images, as many as before (12)"]),
    "changed": (
        lambda photos: Image.new("RGB", (9, 9)).save(photos / "test" / "cat" / "0.png"),
        ["test/cat other images, as many as before (4)"],
    ),
    "a new class": (lambda photos: photo(photos / "train" / "owl" / "0.png", 7), ["train/owl is new (1 image)"]),
    "several": (
        lambda photos: [swap(photos), shutil.rmtree(photos / "test" / "dog")],
        ["test/dog is gone (4 images)", "train/cat other images, as many as before (12)"],
    ),
}


@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
def test_a_finished_run_tells_what_changed_before_its_report(place, call, change, told):
    before = (place.parent / "run" / "report.json").read_bytes()
    code, plain, _ = call("run", "r.toml", "--out", "run")
    change(place)
    again, out, _ = call("run", "r.toml", "--out", "run")
    assert (code, again) == (0, 0)
    assert out == f"The data have changed since this run: {', '.join(told)}{AFTER}\n\n{plain}"
    assert f"The data have changed since this run: {told[0]}" in (place.parent / "run" / "log.txt").read_text()
    code, out, _ = call("run", "r.toml", "--out", "run", "--json")
    report = json.loads(out)
    assert code == 0 and report.pop("data_changed") == told
    assert report == json.loads(before) and (place.parent / "run" / "report.json").read_bytes() == before
    schema = json.loads((REPOSITORY / "schemas" / "report.schema.json").read_text())
    Draft7Validator(schema).validate({**report, "data_changed": told})


def touch(photos, seconds=5):
    for file in photos.rglob("*.png"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns + seconds * 10**9))


def test_files_that_were_only_written_anew_are_no_change_and_are_compared_once(place, call, monkeypatch):
    plain = call("run", "r.toml", "--out", "run")
    touch(place)
    assert call("run", "r.toml", "--out", "run")[:2] == plain[:2]
    monkeypatch.setattr(origin, "prepare", lambda *a: pytest.fail("read again"))
    assert call("run", "r.toml", "--out", "run")[:2] == plain[:2]


def test_a_change_that_keeps_names_and_sizes_is_found_too(place, call):
    file = place / "test" / "cat" / "0.png"
    size = file.stat().st_size
    for seed in range(500):  # another picture that is packed into as many bytes
        photo(file, seed)
        if file.stat().st_size == size:
            break
    assert file.stat().st_size == size
    touch(place)
    report = json.loads(call("run", "r.toml", "--out", "run", "--json")[1])
    assert report["data_changed"] == ["some images changed, and neither their names nor their sizes"]


def test_a_report_outlives_its_data(place, call):
    shutil.rmtree(place)
    code, out, _ = call("run", "r.toml", "--out", "run")
    assert code == 0 and out.startswith("The data have changed since this run: ")
    assert "photos is not a folder. This is the report of the former data" in out


def test_a_run_that_noted_nothing_of_its_data_only_shows_its_report(place, call):
    plain = call("run", "r.toml", "--out", "run")
    lock = place.parent / "run" / "lock.json"
    facts = read_json(lock)
    assert set(facts.pop("listing")) == {"train", "test"}
    lock.write_text(json.dumps(facts))
    swap(place)
    assert call("run", "r.toml", "--out", "run")[:2] == plain[:2]


def test_more_seeds_of_other_data_are_refused_and_the_run_stays_finished(place, call):
    before = (place.parent / "run" / "lock.json").read_bytes()
    swap(place)
    code, _, err = call("run", "r.toml", "--out", "run", "--set", "compare.seeds=[0,1]")
    assert (
        code == 2
        and (
            "The data have changed since the run in run: train/cat other images, as many as before (12). Added "
            "students would learn from others. Train all anew in another folder with --out, or in this one with "
            "--overwrite."
        )
        in err
    )
    assert (place.parent / "run" / "lock.json").read_bytes() == before
    assert call("run", "r.toml", "--out", "run")[0] == 0


def test_an_unfinished_run_on_other_data_is_refused_with_what_changed(once, tmp_path, monkeypatch, call):
    shutil.copytree(once, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path / "copy" / "home"))
    status = tmp_path / "copy" / "run" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "status": "preempted"}))
    photo(tmp_path / "copy" / "photos" / "train" / "cat" / "new.png", 7)
    with pytest.raises(UsageError) as caught:
        kdrecipes.run(kdrecipes.load_recipe("r.toml"), "run")
    assert str(caught.value) == (
        "The data changed since the run in run began: train/cat 1 more image. Start it afresh in another folder with "
        "--out, or in this one with --overwrite."
    )
