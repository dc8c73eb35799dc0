"""A list of images in a table: its splits, classes and weights, and what is wrong with it, all at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdrecipes.components.datasets import file_list
from kdrecipes.errors import EnvironmentProblem, RunError
from kdrecipes.extras import MissingPart

ROWS = [
    ("a/1.png", "cat", "train"),
    ("a/2.png", "dog", "train"),
    ("b/3.png", "dog", "train"),
    ("b/4.png", "cat", "test"),
    ("5.png", "dog", "test"),
]


@pytest.fixture
def folder(tmp_path):
    """Pictures whose red tells their number."""
    for name, *_ in ROWS:
        picture(tmp_path / name)
    return tmp_path


def picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (int(file.stem), 0, 0)).save(file)
    return file


def table(folder: Path, *lines: str, name: str = "list.csv") -> dict[str, str]:
    """Write a list; gives the option that names it."""
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"path": str(file)}


def csv_of(rows, header="path,label,split", delimiter=","):
    return [header.replace(",", delimiter), *(delimiter.join(map(str, row)) for row in rows)]


def seen(source):
    """By name: class and the picture's number."""
    found = {}
    for i in range(len(source)):
        example = source[i]
        assert example["image"].shape == (4, 6, 3) and example["image"].dtype == np.uint8
        name = source.classes[example["label"]] if source.labelled else None
        found[source.name_of(i)] = (name, int(example["image"][0, 0, 0]))
    return found


EXPECTED = {"a/1.png": ("cat", 1), "a/2.png": ("dog", 2), "b/3.png": ("dog", 3)}


def parquet_file(file: Path, columns) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), file)


# --- forms of a list --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "delimiter"), [("l.csv", ","), ("L.CSV", ";"), ("l.tsv", "\t"), ("l.csv", "\t")])
def test_tables_of_text_are_read(folder, name, delimiter):
    chosen = table(folder, *csv_of(ROWS, delimiter=delimiter), "", name=name)
    assert seen(file_list.build(**chosen)) == EXPECTED
    test = file_list.build("test", **chosen)
    assert test.classes == ["cat", "dog"] and seen(test) == {"b/4.png": ("cat", 4), "5.png": ("dog", 5)}


def test_json_lines_are_read(folder):
    rows = [json.dumps({"file_name": name, "split": split, "category": label}) for name, label, split in ROWS]
    assert seen(file_list.build(**table(folder, *rows, name="l.jsonl"))) == EXPECTED


def test_parquet_is_read(folder):
    names, labels, splits = zip(*ROWS, strict=True)
    columns = {"path": names, "class": [label == "dog" for label in labels], "split": splits, "image": [b"x"] * 5}
    parquet_file(folder / "l.parquet", columns)
    source = file_list.build(path=str(folder / "l.parquet"))
    assert source.classes == ["false", "true"]
    assert {name: number for name, (_, number) in seen(source).items()} == {"a/1.png": 1, "a/2.png": 2, "b/3.png": 3}


def test_a_mark_of_the_byte_order_and_quotes_are_read(folder):
    (folder / "l.csv").write_bytes('\ufeffpath,label\r\n"a/1.png", "big, cat"\r\n5.png,dog\r\n'.encode())
    source = file_list.build(path=str(folder / "l.csv"))
    assert seen(source) == {"a/1.png": ("big, cat", 1), "5.png": ("dog", 5)}


def test_root_says_where_the_paths_begin(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    chosen = table(elsewhere, "path,label", "1.png,x", "2.png,y")
    assert seen(file_list.build(**chosen, root=str(folder / "a"))) == {"1.png": ("x", 1), "2.png": ("y", 2)}
    chosen = table(elsewhere, "path,label", f"{folder}/a/1.png,x", "a/../a/2.png,y", "b\\3.png,y")
    found = seen(file_list.build(**chosen, root=str(folder)))
    assert found == {"a/1.png": ("x", 1), "a/2.png": ("y", 2), "b/3.png": ("y", 3)}


def test_columns_are_found_by_their_names_or_named(folder):
    rows = ["File,breed,note,part", "a/1.png,cat,x,train", "a/2.png,dog,y,test", "b/3.png,dog,y,train"]
    source = file_list.build(**table(folder, *rows), label_column="breed", split_column="part")
    assert seen(source) == {"a/1.png": ("cat", 1), "b/3.png": ("dog", 3)}
    source = file_list.build(**table(folder, *rows), label_column="note", path_column="File", split_column="")
    assert len(source) == 3 and source.classes == ["x", "y"]


def test_the_only_column_that_is_left_is_the_label(folder):
    assert seen(file_list.build(**table(folder, "image,breed", "a/1.png,cat", "a/2.png,dog"))) == {
        "a/1.png": ("cat", 1),
        "a/2.png": ("dog", 2),
    }


# --- classes, splits, weights -----------------------------------------------------------------------------------------


def labels_of(folder, labels, **options):
    names = [name for name, *_ in ROWS]
    rows = [f"{name},{label}" for name, label in zip(names, labels, strict=False)]
    source = file_list.build(**table(folder, "path,label", *rows), **options)
    found = {source.name_of(i): source[i]["label"] for i in range(len(source))}
    return source.classes, [found.get(name) for name, _ in zip(names, labels, strict=False)]


@pytest.mark.parametrize(
    ("labels", "options", "classes", "numbers"),
    [
        (["dog", "cat", "dog"], {}, ["cat", "dog"], [1, 0, 1]),
        (["dog", "cat", "dog"], {"classes": ["dog", "cow", "cat"]}, ["dog", "cow", "cat"], [0, 2, 0]),
        (["10", "9", "9"], {}, ["9", "10"], [1, 0, 0]),
        (["10.0", "9.0", ""], {}, ["9", "10"], [1, 0, None]),
        (["007", "3", "3"], {}, ["3", "007"], [1, 0, 0]),
        (["1", "0", "1"], {"classes": ["cat", "dog", "eel"]}, ["cat", "dog", "eel"], [1, 0, 1]),
        (["3", "5", "-1"], {"classes": ["5", "3"]}, ["5", "3"], [1, 0, None]),
        (["1.5", "a", "a"], {}, ["1.5", "a"], [0, 1, 1]),
    ],
)
def test_labels_are_names_or_numbers(folder, labels, options, classes, numbers):
    assert labels_of(folder, labels, **options) == (classes, numbers)


def test_rows_without_a_label_are_a_split_of_their_own(folder):
    rows = ["path,label", "a/1.png,cat", "a/2.png,dog", "b/3.png,", "5.png,"]
    chosen = table(folder, *rows)
    train, others = file_list.build(**chosen), file_list.build("unlabelled", **chosen)
    assert set(seen(train)) == {"a/1.png", "a/2.png"} and train.labelled
    assert train.left_out == {"without a label, which are the split 'unlabelled'": ["b/3.png", "5.png"]}
    assert set(seen(others)) == {"b/3.png", "5.png"} and not others.labelled and not others.left_out
    assert others.classes == train.classes == ["cat", "dog"]
    told = [file_list.has_labels(split, **chosen) for split in ("train", "unlabelled", "test")]
    assert told == [True, False, None]


def test_a_split_without_any_label_keeps_its_name(folder):
    rows = [("a/1.png", "cat", "train"), ("a/2.png", "dog", "train"), ("b/3.png", "", "extra"), ("5.png", "", "train")]
    chosen = table(folder, *csv_of(rows))
    assert set(seen(file_list.build("extra", **chosen))) == {"b/3.png"}
    assert set(seen(file_list.build("unlabelled", **chosen))) == {"5.png"}
    assert file_list.has_labels("extra", **chosen) is False


def test_a_list_without_labels_needs_names_of_classes(folder):
    chosen = table(folder, "path", "a/1.png", "a/2.png")
    with pytest.raises(RunError, match=r"two classes or more are needed. Received: none.*dataset.classes names"):
        file_list.build("unlabelled", **chosen)
    source = file_list.build(**chosen, classes=["x", "y"])
    assert not source.labelled and len(source) == 2 and source.classes == ["x", "y"]


def test_weights_go_with_their_rows(folder):
    rows = ["path,label,weight", "a/1.png,cat,0.5", "a/2.png,dog,", "b/3.png,dog,2"]
    source = file_list.build(**table(folder, *rows))
    weights = {source.name_of(i): weight for i, weight in enumerate(source.weights)}
    assert source.weights.dtype == np.float32 and weights == {"a/1.png": 0.5, "a/2.png": 1, "b/3.png": 2}
    assert file_list.build(**table(folder, *rows), weight_column="").weights is None
    assert file_list.build(**table(folder, *csv_of(ROWS))).weights is None


def test_the_order_is_mixed_and_the_same_everywhere(tmp_path):
    rows = [f"{number}.png,{'cat' if number < 20 else 'dog'}" for number in range(40)]
    for place, order in (("one", rows), ("two", rows[::-1])):
        for number in range(40):
            picture(tmp_path / place / f"{number}.png")
        table(tmp_path / place, "path,label", *order)
    one, two = (file_list.build(path=str(tmp_path / place / "list.csv")) for place in ("one", "two"))
    assert one.names == two.names and one.labels == two.labels
    assert 5 < sum(one.labels[:20]) < 15


def test_the_fingerprint_follows_rows_files_and_weights(folder):
    rows = ["path,label,weight", "a/1.png,cat,1", "a/2.png,dog,1"]

    def fingerprint(*rows):
        return file_list.build(**table(folder, *rows)).fingerprint

    found = [fingerprint(*rows), fingerprint(*rows[:2], "a/2.png,dog,2"), fingerprint(*rows[:2], "b/3.png,dog,1")]
    os.utime(folder / "a" / "1.png", ns=(1, 1))
    assert len({*found, fingerprint(*rows)}) == 4 and fingerprint(*rows) == fingerprint(*rows)


# --- what is wrong with a list ----------------------------------------------------------------------------------------

WRONG = {
    "a_path_that_leaves_by_dots": (
        ["path,label", "a/1.png,cat", "../x.png,dog", "a/../../y.png,dog"],
        {},
        """
dataset.path: DIR/list.csv: 2 of its 3 rows can't be used:
  line 3: '../x.png' leaves the root DIR by '..'; see dataset.root
  line 4: 'a/../../y.png' leaves the root DIR by '..'; see dataset.root""",
    ),
    "an_absolute_path": (
        ["path,label", "a/1.png,cat", "/etc/x.png,dog"],
        {},
        """
dataset.path: DIR/list.csv: 1 of its 2 rows can't be used:
  line 3: '/etc/x.png' leaves the root DIR from its beginning; see dataset.root""",
    ),
    "labels_outside_classes": (
        ["path,label", "a/1.png,cat", "a/2.png,dgo", "b/3.png,7"],
        {"classes": ["cat", "dog"]},
        """
dataset.path: DIR/list.csv: 2 of its 3 rows can't be used:
  line 3: the label 'dgo' is not among dataset.classes (cat, dog); did you mean 'dog'?
  line 4: the label '7' is not among dataset.classes (cat, dog)""",
    ),
    "a_number_that_is_no_class": (
        ["path,label", "a/1.png,0", "a/2.png,1", "b/3.png,2"],
        {"classes": ["cat", "dog"]},
        """
dataset.path: DIR/list.csv: 1 of its 3 rows can't be used:
  line 4: the label '2' is not among dataset.classes (cat, dog)""",
    ),
    "a_class_that_train_lacks": (
        ["path,label,split", "a/1.png,cat,train", "a/2.png,dog,train", "b/3.png,cow,test"],
        {},
        """
dataset.path: DIR/list.csv: 1 of its 3 rows can't be used:
  line 4: the label 'cow' does not occur in train, whose classes are cat, dog""",
    ),
    "rows_of_another_length": (
        ["path,label,split", "a/1.png,cat,train", "a/2.png,dog", "b/3.png,dog,train,x"],
        {},
        """
dataset.path: DIR/list.csv: 2 of its 3 rows can't be used:
  line 3: too few columns: 2, and the first line names 3: path,label,split
  line 4: too many columns: 4, and the first line names 3: path,label,split""",
    ),
    "all_at_once_in_the_order_of_the_file": (
        [
            "path,label,split,weight",
            ",cat,train,1",
            "a/1.png,cat,tr ain,1",
            "a/2.png",
            "5.png,dog,,-2",
            "../p,c,train,x",
        ],
        {},
        """
dataset.path: DIR/list.csv: 5 of its 5 rows can't be used:
  line 2: no path
  line 3: 'tr ain' can't name a split: letters, digits, '_', '.' and '-'
  line 4: too few columns: 1, and the first line names 4: path,label,split,weight
  line 5: the weight '-2' is no finite number of 0 or more
  line 5: no split, in the column 'split'
  line 6: '../p' leaves the root DIR by '..'; see dataset.root
  line 6: the weight 'x' is no finite number of 0 or more""",
    ),
    "two_columns_that_could_be_the_label": (
        ["path,class_id,class_name", "a/1.png,0,cat"],
        {},
        """
dataset.path: DIR/list.csv: each of these columns could be the label: 'class_id', 'class_name'. Say which: \
label_column = "class_id\"""",
    ),
    "several_columns_and_none_called_like_a_label": (
        ["path,breed,age", "a/1.png,cat,3"],
        {},
        """
dataset.path: DIR/list.csv: each of these columns could be the label: 'breed', 'age'. Say which: label_column = \
"breed\"""",
    ),
    "two_columns_that_could_be_the_path": (
        ["path,image,label", "a/1.png,x,cat"],
        {},
        """
dataset.path: DIR/list.csv: each of these columns could be the path: 'path', 'image'. Say which: path_column = \
"path\"""",
    ),
    "no_line_of_names": (
        ["a/1.png,cat", "a/2.png,dog"],
        {},
        """
dataset.path: DIR/list.csv: none of its columns ('a/1.png', 'cat') is called like an image's path: path, file, \
filename, file_name, filepath, file_path … Say which: path_column = "a/1.png". If the first line is an image already, \
put the line path,label above it""",
    ),
    "a_column_that_is_not_there": (
        ["path,breed", "a/1.png,cat"],
        {"label_column": "bred"},
        """
dataset.label_column: DIR/list.csv has no column 'bred'; it has 'path', 'breed'; did you mean 'breed'?""",
    ),
    "a_named_column_of_weights_that_is_not_there": (
        ["path,breed", "a/1.png,cat"],
        {"weight_column": "w"},
        """
dataset.weight_column: DIR/list.csv has no column 'w'; it has 'path', 'breed'""",
    ),
    "one_name_twice": (
        ["path,label,label", "a/1.png,cat,cat"],
        {},
        """
dataset.path: DIR/list.csv: two columns have one name: label""",
    ),
    "one_class": (
        ["path,label", "a/1.png,cat", "a/2.png,cat"],
        {},
        """
dataset.path: DIR/list.csv: labels of two classes or more are needed. Received: one: 'cat'. Where the list has no \
labels, dataset.classes names the classes: classes = ["cat", "dog"]""",
    ),
    "no_rows": (["path,label"], {}, "\ndataset.path: DIR/list.csv: it lists no image"),
    "nothing": (
        [""],
        {},
        """
dataset.path: DIR/list.csv: the file is empty; its first line names the columns, such as path,label""",
    ),
    "a_quote_that_is_not_closed": (
        ["path,label", "a/1.png,cat", '"a/2.png,dog'],
        {},
        """
dataset.path: DIR/list.csv: 1 of its 2 rows can't be used:
  line 3: unexpected end of data""",
    ),
    "files_that_are_not_there": (
        ["path,label", "1.png,cat", "2.png,dog"],
        {},
        """
dataset.path: not one of the 2 images of train is there; the first would be DIR/1.png. Paths are relative to \
dataset.root, by default the folder of the list""",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_message(folder, case):
    lines, options, told = WRONG[case]
    with pytest.raises(RunError) as error:
        file_list.build(**table(folder, *lines), **options)
    assert "\n" + str(error.value).replace(str(folder), "DIR") == told


def test_a_link_that_leaves_the_root_is_told(folder, tmp_path_factory):
    outside = picture(tmp_path_factory.mktemp("outside") / "9.png")
    (folder / "9.png").symlink_to(outside)
    (folder / "deep").symlink_to(outside.parent)
    (folder / "8.png").symlink_to(folder / "a" / "1.png")
    chosen = table(folder, "path,label", "8.png,cat", "9.png,dog", "deep/9.png,dog")
    with pytest.raises(RunError) as error:
        file_list.build(**chosen)
    assert str(error.value).replace(str(folder), "DIR").splitlines()[1:] == [
        "  line 3: '9.png' leaves the root DIR by a link; see dataset.root",
        "  line 4: 'deep/9.png' leaves the root DIR by a link; see dataset.root",
    ]


def test_many_problems_are_counted(folder):
    with pytest.raises(RunError, match=r"60 of its 60 rows can't be used:(\n  line .*){20}\n  and 40 more$"):
        file_list.build(**table(folder, "path,label", *["../x,cat"] * 60))


def test_another_encoding_is_told_with_its_line(folder):
    (folder / "l.csv").write_bytes("path,label\na/1.png,cat\na/2.png,éléphant\n".encode("cp1252"))
    with pytest.raises(RunError) as error:
        file_list.build(path=str(folder / "l.csv"))
    assert str(error.value).replace(str(folder), "DIR") == (
        "dataset.path: DIR/l.csv: line 3 is not UTF-8: byte 0xe9. As Windows-1252 it reads 'a/2.png,éléphant'. Save "
        "the file as UTF-8; in Excel that is “CSV UTF-8”"
    )
    (folder / "l.csv").write_text("path,label\na/1.png,cat\n", encoding="utf-16")
    with pytest.raises(RunError, match=r"this is UTF-16, and a list of files must be UTF-8"):
        file_list.build(path=str(folder / "l.csv"))


def test_lines_that_are_no_json_objects_are_told(folder):
    rows = ['{"path": "a/1.png", "label": "cat"}', "[1]", '{"path": "a/2.png"', '{"path": 3, "label": ["a", "b"]}']
    with pytest.raises(RunError) as error:
        file_list.build(**table(folder, *rows, name="l.jsonl"))
    assert str(error.value).replace(str(folder), "DIR").splitlines() == [
        "dataset.path: DIR/l.jsonl: 3 of its 4 rows can't be used:",
        "  line 2: no object",
        "  line 3: no JSON: Expecting ',' delimiter: line 1 column 19 (char 18)",
        "  line 4: 3 is no path",
        "  line 4: ['a', 'b'] is no label: a label is one name or one whole number",
    ]


def test_files_that_are_no_lists_are_told(folder):
    with pytest.raises(EnvironmentProblem, match=r"^dataset.path: .*nowhere.csv: there is no such file$"):
        file_list.build(path=str(folder / "nowhere.csv"))
    with pytest.raises(EnvironmentProblem, match=r"^dataset.root: .*nowhere is not a folder$"):
        file_list.build(**table(folder, "path,label"), root=str(folder / "nowhere"))
    for name, meant in (("l.json", ".jsonl"), ("l.parquets", ".parquet")):
        with pytest.raises(RunError, match=rf"ends in .csv, .tsv, .*\. Did you mean {meant}\?$"):
            file_list.build(**table(folder, "x", name=name))
    with pytest.raises(RunError, match=r"^dataset.path: .*l.parquet: no Parquet file that can be read: "):
        pytest.importorskip("pyarrow")
        file_list.build(**table(folder, "x", name="l.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPart) as error:
        file_list.build(**table(folder, "x", name="l.parquet"))
    assert error.value.exit_code == 3
    assert str(error.value).endswith(
        "needs pyarrow, which is not installed. Install it: `pip install 'kdrecipes[parquet]'`"
    )


def test_a_split_that_is_not_there_is_told_with_a_way_on(folder):
    rows = [("a/1.png", "cat", "train"), ("a/2.png", "dog", "train"), ("5.png", "dog", "val")]
    with pytest.raises(
        RunError, match=r"no split 'validation'; it has 'train', 'val'(.*\n)Did you mean `validation = "
    ):
        file_list.build("validation", **table(folder, *csv_of(rows)))
    with pytest.raises(RunError, match=r"no split 'test'; it has 'train'.*`train = \"train\[:80%\]\"`"):
        file_list.build("test", **table(folder, "path,label", "a/1.png,cat", "a/2.png,dog"))


def test_a_file_that_cannot_be_read_is_named(folder):
    (folder / "b" / "3.png").write_bytes(b"")
    chosen = table(folder, "path,label", "a/1.png,cat", "b/3.png,dog", "b/9.png,dog")
    source = file_list.build(**chosen)
    told = set()
    for i in range(3):
        try:
            source[i]
        except ValueError as error:
            told.add(str(error))
    assert told == {"b/3.png: the file is empty", "b/9.png: No such file or directory"}
    assert source.listing()["dog"][0][1] in (0, -1) and source.label_of(source.names.index("b/9.png")) == 1
