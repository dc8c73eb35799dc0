"""`kdrecipes describe`: what is told of data before any training, as text, as JSON and as a page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdrecipes.data import sizes_and_modes as forms
from kdrecipes.data.describing import check_description
from kdrecipes.data.sizes_and_modes import sizes_and_modes

pytestmark = pytest.mark.usefixtures("home")

RECIPE = """
schema_version = 1
name = "pets"
[dataset]
name = "folder"
path = "pets"
validation = "val"
{more}
[student]
name = "cnn"
[train]
epochs = 1
batch_size = 4
optimizer = {{ name = "adamw", learning_rate = 1e-3 }}
"""


def picture(file: Path, seed: int, size=(12, 8), mode="RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)


@pytest.fixture
def pets(tmp_path):
    """Two classes in three splits; `pets(more)` writes the recipe."""
    seed = iter(range(1000))
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for kind in ("cat", "dog"):
            for i in range(count):
                picture(tmp_path / "pets" / split / kind / f"{i}.png", next(seed))

    def written(more: str = "image_size = 8") -> Path:
        file = tmp_path / "pets.toml"
        file.write_text(RECIPE.format(more=more))
        return file

    return written


@pytest.fixture
def told(call):
    """`told(recipe, …)`: the exit code and what `--json` says, which fits its schema."""

    def told(*arguments):
        code, out, _ = call("describe", *arguments, "--json")
        facts = json.loads(out)
        check_description(facts)
        return code, facts

    return told


def test_images_are_counted_by_split_and_class(pets, told):
    code, facts = told(pets())
    assert code == 0 and facts["refused"] == facts["warnings"] == facts["identical"] == facts["repeated"] == []
    assert [(one["split"], one["of"], one["images"], one["labelled"]) for one in facts["splits"]] == [
        ("train", "train", 12, 12),
        ("validation", "val", 6, 6),
        ("test", "test", 4, 4),
    ]
    assert facts["classes"] == [
        {"name": name, "images": {"train": 6, "validation": 3, "test": 2}} for name in ("cat", "dog")
    ]


def test_labels_that_are_not_used_are_told_apart(pets, told, tmp_path):
    for i in range(5):
        picture(tmp_path / "pets" / "more" / f"{i}.png", 2000 + i)
    more = 'image_size = 8\nunlabelled = "more"\nlabelled = 4'
    recipe = pets(more)
    recipe.write_text(
        recipe.read_text() + '[teacher]\nname = "cnn"\ntrain.epochs = 1\n[loss]\nname = "kd"\nweight = 1.0\n'
    )
    _, facts = told(recipe, "--set", "train.batch_size=2")
    counts = {one["split"]: (one["images"], one["labelled"], one["unlabelled"]) for one in facts["splits"]}
    assert counts["train"] == (12, 4, 8) and counts["unlabelled"] == (5, 0, 5)
    assert [one["images"]["train"] for one in facts["classes"]] == [2, 2]


def test_a_share_held_out_is_counted_where_it_goes(pets, told):
    _, facts = told(pets(), "--set", "dataset.validation=0.25")
    train, validation, _ = facts["splits"]
    assert validation["of"] == "0.25 of train" and train["images"] + validation["images"] == 12


def test_what_is_wrong_is_all_told_at_once_and_the_exit_code_is_1(pets, told, call, tmp_path):
    train = tmp_path / "pets" / "train"
    (train / "cat" / "empty.jpg").write_bytes(b"")
    (train / "cat" / ".DS_Store").write_bytes(b"x")
    picture(tmp_path / "pets" / "test" / "Cat" / "1.png", 5000)
    code, facts = told(pets())
    assert code == 1
    first, second = facts["refused"]
    assert "holds classes that train does not have: Cat (train has cat)" in first
    assert "1 of 13 images can't be read" in second and second.endswith("corrupt_limit = 0.077")
    [source] = [one for one in facts["sources"] if one["split"] == "train"]
    assert source["unreadable"] == [{"name": "train/cat/empty.jpg", "reason": "the file is empty"}]
    assert source["left_out"] == [{"reason": "hidden or the system's", "files": 1, "names": ["train/cat/.DS_Store"]}]
    assert [one["split"] for one in facts["splits"]] == ["train", "validation"]
    code, out, _ = call("describe", pets())
    assert code == 1 and "A run refuses these data: dataset.train = 'train'" in out
    assert "Left out of train: 1 hidden or the system's (train/cat/.DS_Store)." in out
    assert "Can't be read in train: train/cat/empty.jpg (the file is empty)." in out


def test_what_is_wrong_with_every_split_is_told_once(call, tmp_path):
    (tmp_path / "list.csv").write_text("file,label,split\na.png,1,train,x\nb.png,2,test\n")
    recipe = tmp_path / "listed.toml"
    said = RECIPE.format(more="image_size = 8").replace('"folder"', '"file_list"').replace('"pets"', '"list.csv"')
    recipe.write_text(
        said.replace('\nname = "list.csv"', '\nname = "listed"').replace('validation = "val"', "validation = 0.1")
    )
    code, _, said = call("describe", recipe)
    assert code == 1 and said.count("line 2: too many columns") == 1


def test_identical_images_are_found_within_a_split_and_across(pets, told, tmp_path):
    for name in ("train/cat/a.png", "train/cat/b.png", "test/cat/c.png"):
        picture(tmp_path / "pets" / name, 77)
    code, facts = told(pets())
    assert code == 0
    [within], [across] = facts["repeated"], facts["identical"]
    assert (within["split"], within["images"], within["of"]) == ("train", 1, 14)
    assert set(within["names"][0].replace(")", "").split(" (as ")) == {"train/cat/a.png", "train/cat/b.png"}
    assert (across["among"], across["also"], across["images"]) == ("test", "training", 1)


def test_a_class_that_a_split_lacks_is_told_with_its_name(pets, told, tmp_path):
    for file in (tmp_path / "pets" / "test" / "dog").iterdir():
        file.unlink()
    code, facts = told(pets())
    assert code == 0 and "have no test image: dog" in facts["warnings"][0]


def test_images_of_different_sizes_are_described_though_a_run_wants_a_size(pets, told):
    code, facts = told(pets(""))
    assert code == 1 and all("Set dataset.image_size." in text for text in facts["refused"])
    assert facts["splits"][0]["images"] == 12 and facts["sources"][0]["median"] == [12, 8]


def test_sizes_and_modes_are_those_of_the_files(pets, told, tmp_path):
    picture(tmp_path / "pets" / "train" / "cat" / "grey.png", 1, (30, 4), "L")
    turned = Image.new("RGB", (5, 40))
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    turned.save(tmp_path / "pets" / "train" / "cat" / "turned.jpg", exif=exif)
    source = told(pets())[1]["sources"][0]
    assert (source["smallest"], source["largest"], source["median"]) == ([12, 4], [40, 8], [12, 8])
    assert source["modes"] == [{"mode": "RGB", "images": 13}, {"mode": "L", "images": 1}]
    assert source["sizes"][0] == {"width": 12, "height": 8, "images": 12} and source["looked_at"] == 14


def test_of_many_images_some_are_looked_at_and_that_is_said(pets, call, monkeypatch):
    monkeypatch.setattr(forms, "MOST_LOOKED_AT", 5)
    assert json.loads(call("describe", pets(), "--json")[1])["sources"][0]["looked_at"] == 5
    page = Path(pets()).with_name("page.html")
    call("describe", pets(), "--html", page)
    assert "those of 5 of the 12 images of train" in page.read_text()


def test_a_source_that_has_no_look_is_asked_for_pixels():
    class Source:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            if i == 1:
                raise ValueError("damaged")
            return {"image": np.zeros((4, 6 + i, 2), np.uint8), "label": 0}

    found = sizes_and_modes(Source(), 1000)
    assert (found["looked_at"], found["smallest"], found["largest"]) == (2, [6, 4], [8, 4])
    assert found["modes"] == [{"mode": "LA", "images": 2}]


def test_the_page_shows_images_holds_no_script_and_escapes_names(pets, call, tmp_path):
    (tmp_path / "pets" / "train" / "dog").rename(tmp_path / "pets" / "train" / "<b>dog")
    for split in ("val", "test"):
        (tmp_path / "pets" / split / "dog").rename(tmp_path / "pets" / split / "<b>dog")
    page = tmp_path / "out" / "data.html"
    code, out, err = call("describe", pets(), "--html", page)
    assert (code, err) == (0, f"page: {page}\n") and out.startswith("pets: folder, 22 images in 2 classes.")
    text = page.read_text()
    assert "<script" not in text and "script-src" not in text and "default-src 'none'" in text
    assert "<b>dog" not in text and "&lt;b&gt;dog" in text and "http" not in text.replace("http-equiv", "")
    assert text.count('src="data:image/png;base64,') == 12
    call("describe", pets(), "--html", page)
    assert page.read_text() == text


def test_data_that_are_nowhere_leave_with_3_and_a_faulty_recipe_with_2(pets, call):
    code, out, err = call("describe", pets(), "--set", 'dataset.path="nowhere"')
    assert (code, out) == (3, "") and "nowhere is not a folder" in err
    assert call("describe", pets(), "--set", "dataset.pth=1")[0] == 2


def test_a_data_set_of_arrays_is_described_by_name(call):
    code, out, err = call("describe", "digits")
    assert (code, err) == (0, "") and "digits" in out and "L 1,437" in out
    assert "No two images are the same" in out or "pixel for pixel" in out


@pytest.mark.slow
def test_describing_imports_neither_torch_nor_keras(pets):
    code = (
        "import sys\nfrom kdrecipes.cli.main import app\n"
        f"app(['describe', {str(pets())!r}, '--html', {str(pets().with_name('p.html'))!r}], standalone_mode=False)\n"
        "assert not {'torch', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
