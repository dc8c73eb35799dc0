"""The plugin kdrecipes-huggingface: data sets that these tests write, as `datasets` reads them; no network."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from samples import short

import kdrecipes
from kdrecipes.components.datasets import digits
from kdrecipes.components.datasets.decoding import decode
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.testing import check_dataset

hf = pytest.importorskip("datasets", reason="pip install './plugins/kdrecipes-huggingface' brings datasets")
plugin = pytest.importorskip("kdrecipes_huggingface", reason="pip install './plugins/kdrecipes-huggingface'")

README = Path(__file__).resolve().parents[2] / "plugins" / "kdrecipes-huggingface" / "README.md"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PICTURE = hf.Image()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """What `datasets` keeps lies in a folder of these tests, and it shows no bars."""
    where = tmp_path_factory.getbasetemp() / "hf"
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", str(where))
    hf.disable_progress_bars()
    yield where
    sys.modules["kdrecipes_huggingface.loading"]._of_the_hub.cache_clear()
    hf.enable_progress_bars()


def png(*colour, mode="RGB", size=(4, 4), form="png", **save):
    stream = io.BytesIO()
    Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(stream, form, **save)
    return stream.getvalue()


def rows(images=None, labels=(0, 1, 0, 1), names=("cat", "dog"), **more):
    """A split: `image`, `label` and further columns as (values, type)."""
    images = [png(place, 0, 0) for place in range(len(labels))] if images is None else images
    columns = {"image": (images, PICTURE), "label": (list(labels), hf.ClassLabel(names=list(names))), **more}
    columns = {name: column for name, column in columns.items() if column is not None}
    types = hf.Features({name: kind for name, (_, kind) in columns.items()})
    return hf.Dataset.from_dict({name: values for name, (values, _) in columns.items()}, features=types)


def saved(folder, **splits):
    hf.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


def parquet(folder, **splits):
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / f"{name}.parquet"))
    return str(folder)


def picture_folder(folder, splits=("train", "test"), classes=("cat", "dog"), count=4):
    for split in splits:
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                (folder / split / name / f"{number}.png").write_bytes(png(number, label, 9))
    return str(folder)


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    """The built-in digits, written by `datasets`."""
    types = hf.Features({"image": PICTURE, "label": hf.ClassLabel(num_classes=10)})

    def split(name):
        images, labels = digits.build(name).arrays()
        pictures = [png_of(image) for image in images[..., 0]]
        return hf.Dataset.from_dict({"image": pictures, "label": labels}, features=types)

    def png_of(pixels):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        return stream.getvalue()

    hf.disable_progress_bars()
    return saved(tmp_path_factory.mktemp("digits") / "digits", train=split("train"), test=split("test"))


def component():
    (found,) = plugin.kdrecipes_components()
    return found


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [saved, parquet])
def test_splits_that_datasets_wrote_are_read_with_their_images_labels_and_classes(tmp_path, write):
    folder = write(tmp_path / "pets", train=rows(), test=rows(labels=(1, 0)))
    train, test = plugin.build("train", data=folder), plugin.build("test", data=folder)
    assert (len(train), len(test), train.classes) == (4, 2, ["cat", "dog"])
    assert [train[i]["label"] for i in range(4)] == [0, 1, 0, 1] and type(train[0]["label"]) is int
    assert train[2]["image"].dtype == np.uint8 and train[2]["image"].tolist() == [[[2, 0, 0]] * 4] * 4
    assert train.name_of(2) == "train[2]" and train.labelled
    with pytest.raises(IndexError):
        train[-1]


def test_images_in_folders_named_by_class_are_read_and_called_by_their_files(tmp_path):
    source = plugin.build("test", data=picture_folder(tmp_path / "pets"))
    found = {(source.name_of(i), source[i]["label"], tuple(source[i]["image"][0, 0])) for i in range(len(source))}
    expected = {
        (f"test/{name}/{n}.png", label, (n, label, 9)) for label, name in enumerate(["cat", "dog"]) for n in range(4)
    }
    assert found == expected


def test_one_split_that_save_to_disk_wrote_is_train(tmp_path):
    rows().save_to_disk(str(tmp_path / "one"))
    assert len(plugin.build("train", data=str(tmp_path / "one"))) == 4


def test_the_contract_of_a_dataset_is_kept(digits_folder):
    check_dataset(component(), data=digits_folder)


def test_loading_the_plugin_does_not_load_datasets():
    code = "import sys, kdrecipes_huggingface as p; list(p.kdrecipes_components()); print('datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def turned():
    stream, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (2, 1)).save(stream, "png", exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    "image, shape, pixel",
    [
        (png(7, mode="L"), (4, 4, 3), [7, 7, 7]),
        (png(10, 20, 30, 0, mode="RGBA"), (4, 4, 4), [10, 20, 30, 0]),
        (png(10, 20, 30, 255, mode="RGBA"), (4, 4, 3), [10, 20, 30]),
        (png(257 * 100, mode="I;16"), (4, 4, 3), [100, 100, 100]),
        (turned(), (2, 1, 3), [0, 0, 0]),
    ],
)
def test_images_are_decoded_as_those_of_a_folder(tmp_path, image, shape, pixel):
    found = plugin.build(data=saved(tmp_path / "d", train=rows([image] * 4)))[0]["image"]
    assert found.shape == shape and found[0, 0].tolist() == pixel
    assert np.array_equal(found, decode(io.BytesIO(image)))


@pytest.mark.parametrize(
    "image, reason",
    [
        ({"bytes": b"no image", "path": None}, r"^train\[0\]: no image that Pillow knows$"),
        (None, r"^train\[0\]: the row holds no image$"),
        ({"bytes": None, "path": "/elsewhere/a.png"}, r"^a\.png: its path leads out of the data set$"),
        ({"bytes": None, "path": "{root}/../a.png"}, r"its path leads out of the data set$"),
        ({"bytes": None, "path": "{root}/gone.png"}, r"^gone\.png: No such file or directory$"),
    ],
)
def test_an_image_that_cant_be_read_is_no_reason_to_stop_here(tmp_path, image, reason):
    root = tmp_path / "d"
    if image:
        image["path"] = image["path"] and image["path"].format(root=root)
    root.mkdir()
    table = rows([image, png(1), png(2), png(3)]).data.table
    pyarrow.parquet.write_table(table, root / "train.parquet")  # datasets itself looks for the files
    source = plugin.build(data=str(root))
    with pytest.raises(ValueError, match=reason) as caught:
        source[0]
    assert not isinstance(caught.value, RunError) and source[1]["label"] == 1


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_split_that_is_not_there_is_told_with_those_that_are(tmp_path):
    folder = saved(tmp_path / "d", train=rows(), test=rows())
    with pytest.raises(RunError, match=r"no split 'validation'; it has 'train', 'test'\. `validation = 0\.1` holds"):
        plugin.build("validation", data=folder)


def test_rows_that_go_class_by_class_are_mixed_the_same_way_everywhere_and_others_stay(tmp_path):
    folder = saved(tmp_path / "d", train=rows(labels=[0] * 4 + [1] * 4), test=rows(labels=[0, 1] * 4))
    train, test = plugin.build("train", data=folder), plugin.build("test", data=folder)
    # the numbers 0 to 7 by their SHA-256, as sha256sum gives it
    assert [train.name_of(i) for i in range(8)] == [f"train[{row}]" for row in (4, 3, 0, 1, 7, 2, 6, 5)]
    assert [train[i]["label"] for i in range(4)] == [1, 0, 0, 0] and train[0]["image"][0, 0, 0] == 4
    assert [test.name_of(i) for i in range(8)] == [f"test[{row}]" for row in range(8)]


def test_a_missing_label_or_minus_one_is_no_label(tmp_path):
    folder = saved(
        tmp_path / "d", train=rows(labels=[0, None, 1, -1]), more=rows(labels=[-1, -1]), bare=rows(label=None)
    )
    train, more = plugin.build("train", data=folder), plugin.build("more", data=folder)
    assert [train.label_of(i) for i in range(4)] == [0, -1, 1, -1] and train.labelled
    bare = plugin.build("bare", data=folder)  # it has no column of labels
    assert (more.labelled, bare.labelled) == (False, False) and bare.classes == ["cat", "dog"] and len(bare) == 4


# --- columns and classes ---------------------------------------------------------------------------------------------

TEXTS = ["dog", "cat", None, "dog"]
NUMBERS = hf.Value("int64")


def test_columns_are_found_by_their_types_whatever_they_are_called(tmp_path):
    split = rows().rename_columns({"image": "photo", "label": "breed"}).add_column("label", [7] * 4)
    source = plugin.build(data=saved(tmp_path / "d", train=split))
    assert source.classes == ["cat", "dog"] and source[1]["label"] == 1


def test_columns_that_the_recipe_names_are_taken(tmp_path):
    more = {
        "mask": ([png(9)] * 4, PICTURE),
        "raw": ([png(5)] * 4, hf.Value("binary")),
        "text": (TEXTS, hf.Value("string")),
    }
    folder = parquet(tmp_path / "d", train=rows(**more, coarse=([1, 0, 1, 0], hf.ClassLabel(names=["pet", "wild"]))))
    source = plugin.build(data=folder, image_column="mask", label_column="coarse")
    assert source[0]["image"][0, 0, 0] == 9 and source.classes == ["pet", "wild"] and source[0]["label"] == 1
    source = plugin.build(data=folder, image_column="raw", label_column="text", classes=["dog", "cat"])
    assert source[0]["image"][0, 0, 0] == 5 and [source.label_of(i) for i in range(4)] == [0, 1, -1, 0]


@pytest.mark.parametrize(
    "split, options, place, message",
    [
        (
            lambda: rows(mask=([png(9)] * 4, PICTURE)),
            {},
            "image_column",
            r"'image' and 'mask' could be the images \(type Image\)\. Name one of them",
        ),
        (
            lambda: rows(coarse=([0] * 4, hf.ClassLabel(names=["pet"])), fine=([0] * 4, hf.ClassLabel(names=["x"]))),
            {},
            "label_column",
            r"'label', 'coarse' and 'fine' could be the labels \(type ClassLabel\)\. Name one of them",
        ),
        (
            lambda: rows(image=None, label=None, raw=([b""] * 4, hf.Value("binary")), y=([0] * 4, NUMBERS)),
            {},
            "image_column",
            r"no column holds images .*'raw' \(binary\), 'y' \(int64\)\. Name .*\n.*label_column: no column holds",
        ),
        (
            rows,
            {"image_column": "imag"},
            "image_column",
            r"there is no column 'imag'; the columns are 'image', 'label'",
        ),
        (rows, {"image_column": "label"}, "image_column", r"the column 'label' is ClassLabel; expected encoded images"),
        (
            rows,
            {"label_column": "image"},
            "label_column",
            r"the column 'image' is Image; expected ClassLabel, integers or",
        ),
        (
            lambda: rows(y=([0, 2, 1, 2], NUMBERS)),
            {"label_column": "y"},
            "classes",
            r"'y' is int64 and names no classes\. .*classes = \[\"0\", \"1\", \"2\"\]",
        ),
        (
            lambda: rows(text=(TEXTS, hf.Value("string"))),
            {"label_column": "text"},
            "classes",
            r"'text' is text and names no classes\. .*classes = \[\"cat\", \"dog\"\]",
        ),
        (
            lambda: rows(text=(["dog", "cow", "hen", "cow"], hf.Value("string"))),
            {"label_column": "text", "classes": ["cat", "dog"]},
            "classes",
            r"'text' holds 'cow' \(row 1\), 'hen' \(row 2\); expected one of 'cat', 'dog'",
        ),
        (
            rows,
            {"classes": ["cat", "cow"]},
            "classes",
            r"has the 2 classes 'cat', 'dog'; the same names are expected, in any order\. Received: 2, 'cat', 'cow'",
        ),
    ],
)
def test_columns_and_classes_that_do_not_fit_are_told(tmp_path, split, options, place, message):
    folder = saved(tmp_path / "d", train=split())
    with pytest.raises(RunError, match=message) as caught:
        plugin.build(data=folder, **options)
    assert caught.value.place == f"dataset.{place}"


def test_classes_give_a_class_label_another_order_or_names_for_its_numbers(tmp_path):
    folder = saved(tmp_path / "d", train=rows(), numbered=rows(names=("0", "1")))
    source = plugin.build(data=folder, classes=["dog", "cat"])
    assert source.classes == ["dog", "cat"] and source[0]["label"] == 1
    source = plugin.build("numbered", data=folder, classes=["left", "right"])
    assert source.classes == ["left", "right"] and source[0]["label"] == 0


def test_classes_are_counted_without_images_for_a_dry_run(tmp_path, monkeypatch):
    folder = picture_folder(tmp_path / "d", classes=("cat", "cow", "dog"))
    assert plugin.build.count_classes(data=folder) == 3
    assert plugin.build.count_classes(data="no/where", classes=["a", "b"]) == 2
    described = Path(parquet(tmp_path / "p", train=rows()))
    names = "      class_label:\n        names:\n          '0': a\n          '1': b\n"
    head = f"dataset_info:\n  features:\n  - name: label\n    dtype:\n{names}"
    (described / "README.md").write_text(f"---\n{head}---\n")
    monkeypatch.setattr(hf.DatasetBuilder, "download_and_prepare", None)
    assert plugin.build.count_classes(data=str(described)) == 2


# --- what the run remembers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [saved, parquet])
def test_the_fingerprint_follows_the_data(tmp_path, write):
    first = plugin.build(data=write(tmp_path / "d", train=rows()))
    again = plugin.build(data=str(tmp_path / "d"))
    assert again.fingerprint == first.fingerprint
    other = plugin.build(data=write(tmp_path / "e", train=rows(labels=(0, 1, 1, 1))))
    named = plugin.build(data=str(tmp_path / "d"), classes=["dog", "cat"])
    assert len({first.fingerprint, other.fingerprint, named.fingerprint}) == 3


def test_an_image_that_is_written_anew_is_read_anew(tmp_path):
    folder = Path(picture_folder(tmp_path / "d"))
    before = plugin.build(data=str(folder))
    listed = before.listing()
    (folder / "train" / "cat" / "0.png").write_bytes(png(200, 200, 200, size=(8, 8)))
    after = plugin.build(data=str(folder))
    assert after.fingerprint != before.fingerprint
    assert after.listing()["cat"] != listed["cat"] and after.listing()["dog"] == listed["dog"]


def test_a_folder_lists_its_images_by_class(tmp_path):
    source = plugin.build(data=saved(tmp_path / "d", train=rows(labels=[0, 1, 1, None])))
    sizes = [len(png(place, 0, 0)) for place in range(4)]
    assert source.listing() == {"cat": [("", sizes[0])], "dog": [("", sizes[1]), ("", sizes[2])], "": [("", sizes[3])]}
    source = plugin.build(data=picture_folder(tmp_path / "e", count=1))
    assert source.listing() == {
        name: [(f"train/{name}/0.png", len(png(0, label, 9)))] for label, name in enumerate(["cat", "dog"])
    }


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_no_code_of_a_data_set_is_run(tmp_path):
    folder = tmp_path / "tricky"
    folder.mkdir()
    (folder / "tricky.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        RunError, match=r"^dataset\.data: .* needs code of its own, tricky\.py, and no code of a data set"
    ):
        plugin.build(data=str(folder))
    (folder / "tricky.py").rename(folder / "other.py")  # nothing but a file that is not read
    with pytest.raises(RunError, match=r"holds no file that datasets reads"):
        plugin.build(data=str(folder))
    assert not (tmp_path / "ran").exists()
    text = "".join(file.read_text() for file in Path(plugin.__file__).parent.glob("*.py"))
    assert "trust_remote_code" not in text


def hub(monkeypatch, answer):
    """The Hub answers each file that is asked for with `answer`: a path, or an exception."""
    import huggingface_hub

    def download(self, repo_id, filename, **options):
        if isinstance(answer, Exception):
            raise answer
        return str(answer / filename)

    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", download)


def test_a_data_set_of_the_hub_that_needs_a_script_is_told_of_its_parquet_copy(tmp_path, monkeypatch):
    hub(monkeypatch, tmp_path / COMMIT)
    with pytest.raises(
        RunError, match=r"beans needs code of its own, beans\.py, .*revision = \"refs/convert/parquet\""
    ):
        plugin.build(data="owner/beans")


@pytest.mark.parametrize("options, what", [({}, ""), ({"revision": "v1"}, " --revision v1")])
def test_without_a_network_the_message_says_what_to_download(monkeypatch, options, what):
    httpx = pytest.importorskip("httpx2" if "httpx2" in sys.modules else "httpx")
    hub(monkeypatch, httpx.ConnectError("no route"))
    with pytest.raises(EnvironmentProblem) as caught:
        plugin.build(data="owner/beans", **options)
    at = " at revision v1" if options else ""
    assert str(caught.value) == (
        f"dataset.data: owner/beans{at} is not on this machine, and the Hub can't be reached. Where there is a "
        f"network: `hf download owner/beans --repo-type dataset{what} --local-dir beans`. Bring that folder here, "
        'and write data = "./beans". If a folder is meant: data = "./owner/beans"'
    )


@pytest.fixture
def offline(monkeypatch):
    """As HF_HUB_OFFLINE=1, which is read when the package is imported."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hf.config, "HF_HUB_OFFLINE", True)


def test_offline_the_message_says_so(offline):
    with pytest.raises(EnvironmentProblem, match=r"can't be reached, since HF_HUB_OFFLINE is set\. Where there is"):
        plugin.build(data="owner/beans")


def test_offline_a_copy_on_this_machine_is_used_unless_it_may_be_of_another_revision(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hf.load_dataset(parquet(tmp_path / "beans", train=rows()))
    (made,) = (tmp_path / "cache").glob("beans/default*/0.0.0/*/dataset_info.json")
    copy = tmp_path / "cache" / "owner___beans" / "default" / "0.0.0"
    copy.mkdir(parents=True)
    made.parent.rename(copy / COMMIT)
    for options in ({}, {"revision": "main"}, {"revision": COMMIT}):
        assert len(plugin.build(data="owner/beans", **options)) == 4
    with pytest.raises(
        EnvironmentProblem, match=rf"beans at revision v1 is not .* the copy here is of the commit {COMMIT}"
    ):
        plugin.build(data="owner/beans", revision="v1")
    assert not hasattr(plugin.build(data="owner/beans"), "listing")  # the Hub's files are not looked at again


def test_a_data_set_that_the_hub_does_not_show_is_told(monkeypatch):
    hub(monkeypatch, hf.exceptions.DatasetNotFoundError("Dataset 'owner/beans' doesn't exist on the Hub."))
    with pytest.raises(
        EnvironmentProblem, match=r"doesn't exist on the Hub\. If .*`hf auth login`.*\"\./owner/beans\""
    ):
        plugin.build(data="owner/beans")


def test_a_folder_that_lies_here_is_not_taken_for_a_data_set_of_the_hub(tmp_path, monkeypatch, offline):
    parquet(tmp_path / "owner" / "beans", train=rows())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentProblem, match="is not on this machine"):
        plugin.build(data="owner/beans")


def several(folder):
    parquet(folder, small=rows(), big=rows(labels=[0, 1] * 4))
    parts = "".join(
        f"- config_name: {n}\n  data_files:\n  - split: train\n    path: {n}.parquet\n" for n in ("small", "big")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{parts}---\n")
    return str(folder)


def test_one_of_several_configurations_is_named(tmp_path):
    folder = several(tmp_path / "d")
    assert len(plugin.build(data=folder, config="big")) == 8
    for options, words in (({}, "several configurations"), ({"config": "bug"}, "no configuration 'bug'")):
        with pytest.raises(RunError, match=rf"^dataset\.config: .* has {words}; name one of 'small', 'big'$"):
            plugin.build(data=folder, **options)


def test_a_folder_that_is_none_and_options_that_a_folder_has_not_are_told(tmp_path):
    folder = saved(tmp_path / "d", train=rows())
    for options, error, message in (
        (
            {"data": str(tmp_path / "e")},
            EnvironmentProblem,
            r"dataset\.data: .*e is not a folder; a data set of the Hub is written owner/name",
        ),
        ({"data": f"{folder}/dataset_dict.json"}, EnvironmentProblem, r"is a file: name the folder that it lies in"),
        ({"data": folder, "revision": "v1"}, RunError, r"dataset\.revision: .* has no revisions: leave the key out"),
        ({"data": folder, "config": "big"}, RunError, r"dataset\.config: .* has no configurations: leave the key out"),
    ):
        with pytest.raises(error, match=message):
            plugin.build(**options)


@pytest.mark.parametrize("write", [saved, parquet])
def test_damaged_files_are_one_line(tmp_path, write):
    folder = Path(write(tmp_path / "d", train=rows()))
    (file,) = [*folder.rglob("*.arrow"), *folder.rglob("*.parquet")]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunError, match=r"^dataset\.data: Hugging Face's datasets can't read .*d: \w+: .") as caught:
        plugin.build(data=str(folder))
    assert "\n" not in str(caught.value)


def test_without_datasets_the_line_to_install_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        EnvironmentProblem, match=r"not installed\. Install it: `pip install 'datasets>=5\.0'`"
    ) as caught:
        plugin.build(data=str(tmp_path))
    assert caught.value.exit_code == 3


def test_a_datasets_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hf, "__version__", "3.6.0")
    with pytest.raises(EnvironmentProblem, match=r"5\.0 or newer, which runs no code of data sets, and 3\.6\.0 is"):
        plugin.build(data=str(tmp_path))


# --- in a recipe -----------------------------------------------------------------------------------------------------


def validated(tmp_path, call, *lines):
    text = README.read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for line in lines:
        recipe = re.sub(r"^data = .*$", line, recipe, flags=re.MULTILINE)
    (tmp_path / "beans.toml").write_text(recipe)
    return call("validate", tmp_path / "beans.toml")


def test_the_readmes_recipe_is_valid(tmp_path, call):
    code, out, err = validated(tmp_path, call)
    assert (code, out.split()[-1]) == (0, "ok"), err


def test_a_recipe_cant_ask_for_code_to_be_run(tmp_path, call):
    code, _, err = validated(tmp_path, call, 'data = "owner/beans"\ntrust_remote_code = true')
    assert code == 2 and "dataset.trust_remote_code" in err


@pytest.mark.slow
def test_digits_that_datasets_wrote_give_the_figures_of_the_built_in_digits(tmp_path, home, digits_folder):
    table = f'dataset={{name="huggingface", data="{digits_folder}", train="train[:320]", validation=0.2}}'
    built_in = kdrecipes.run(short("student.width=4"), tmp_path / "built-in")
    ours = kdrecipes.run(short("student.width=4", table), tmp_path / "ours")
    assert ours["dataset"]["fingerprint"] == built_in["dataset"]["fingerprint"]
    for key in ("test_accuracy", "test_loss", "ece"):
        assert [arm[key] for arm in ours["arms"]] == [arm[key] for arm in built_in["arms"]]
    lock = json.loads((tmp_path / "ours" / "lock.json").read_text())
    assert lock["listing"]["train"]["classes"]["7"]["images"] == int((digits.build("train").labels == 7).sum())
