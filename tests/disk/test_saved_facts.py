"""A network's file says what its classes and sizes are, and stays what it was to whoever else reads it."""

import json
import struct
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import builds, dictionaries, integers, lists, sampled_from, text

from kdrecipes.disk.saved_facts import SavedFacts, read_saved_facts, write_beside, write_saved_facts
from kdrecipes.errors import UsageError

ANY_TEXT = st.text(st.characters())  # lone surrogates too: folders are named by any bytes
FACTS = builds(
    SavedFacts,
    classes=lists(ANY_TEXT, max_size=5),
    image_size=integers(1, 1024),
    resize=sampled_from(["squash", "crop"]),
    store_size=integers(1, 2048),
    component=text(min_size=1),
    options=dictionaries(text(), integers() | text() | lists(integers(), max_size=2), max_size=3),
    recipe_sha256=text("0123456789abcdef", min_size=64, max_size=64),
    background=lists(integers(0, 255), min_size=3, max_size=3),
    max_pixels=integers(1, 10**10),
)
SOME = SavedFacts(["cat", "dog"], 32, "crop", 48, "cnn", {"width": 4}, "0" * 64, [255, 0, 9], 1000)


def keras_file(folder):
    with zipfile.ZipFile(folder / "kd-0.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"weights")
    return folder / "kd-0.keras"


def safetensors_file(folder, metadata=None):
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": tensor} | ({"__metadata__": metadata} if metadata else {})).encode()
    file = folder / "kd-0.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2))
    return file


@given(facts=FACTS)
@pytest.mark.parametrize("make", [keras_file, safetensors_file])
def test_what_is_put_into_a_file_is_read_from_it(tmp_path_factory, make, facts):
    file = make(tmp_path_factory.mktemp("saved"))
    assert read_saved_facts(file) is None
    write_saved_facts(file, facts)
    assert read_saved_facts(file) == facts


def test_an_archive_keeps_its_other_members_and_shows_the_facts_to_anybody(tmp_path):
    write_saved_facts(keras_file(tmp_path), SOME)
    with zipfile.ZipFile(tmp_path / "kd-0.keras") as archive:
        assert archive.testzip() is None
        assert archive.read("model.weights.h5") == b"weights"
        assert json.loads(archive.read("kdrecipes.json"))["classes"] == ["cat", "dog"]


def test_tensors_and_the_header_of_others_stay(tmp_path):
    from safetensors import safe_open

    write_saved_facts(safetensors_file(tmp_path, {"format": "pt"}), SOME)
    with safe_open(tmp_path / "kd-0.safetensors", "np") as file:
        assert file.get_tensor("a").tolist() == [1.5, -2]
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["kdrecipes"])["image_size"] == 32


def test_a_file_that_says_nothing_is_known_by_what_is_beside_it(tmp_path):
    """As after Keras has read and saved it again."""
    write_beside(keras_file(tmp_path), SOME)
    assert read_saved_facts(tmp_path / "kd-0.keras") == SOME
    assert json.loads((tmp_path / "kd-0.json").read_text()) == {
        "format": 1,
        "classes": ["cat", "dog"],
        "image_size": 32,
        "resize": "crop",
        "store_size": 48,
        "component": "cnn",
        "options": {"width": 4},
        "recipe_sha256": "0" * 64,
        "background": [255, 0, 9],
        "max_pixels": 1000,
    }


def test_a_file_of_before_there_was_a_background_is_read_as_it_was_made_on_black(tmp_path):
    write_beside(keras_file(tmp_path), SOME)
    found = json.loads((tmp_path / "kd-0.json").read_text())
    del found["background"], found["max_pixels"]
    (tmp_path / "kd-0.json").write_text(json.dumps(found))
    assert read_saved_facts(tmp_path / "kd-0.keras") == replace(SOME, background=[0, 0, 0], max_pixels=89_478_485)


@pytest.mark.parametrize("name", ["kd-0.keras", "kd-0.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no file of a network", b"\xff" * 64])
def test_a_damaged_file_is_told_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} can't be read"):
        read_saved_facts(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": "cat"},
        {"classes": [1]},
        {"image_size": 0},
        {"image_size": True},
        {"resize": "fit"},
        {"options": []},
        {"background": "white"},
        {"background": [0, 0]},
        {"background": [0, 0, 256]},
        {"max_pixels": 0},
    ],
)
def test_facts_that_are_none_are_refused(tmp_path, change):
    write_beside(keras_file(tmp_path), SOME)
    found = json.loads((tmp_path / "kd-0.json").read_text())
    (tmp_path / "kd-0.json").write_text(json.dumps(found | change))
    with pytest.raises(UsageError, match="is not as kdrecipes writes it"):
        read_saved_facts(tmp_path / "kd-0.keras")
    (tmp_path / "kd-0.json").write_text(json.dumps({"classes": ["cat"]}))
    with pytest.raises(UsageError, match="can't be read"):
        read_saved_facts(tmp_path / "kd-0.keras")
