"""The store: built once, reopened without the source, and never half there."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored import CLASSES, Source, opened, pictures, stores

from kdrecipes.components.datasets.source import ArraySource
from kdrecipes.data import store as store_module
from kdrecipes.data.reader import Decoding
from kdrecipes.errors import EnvironmentProblem, RunError

pytestmark = pytest.mark.usefixtures("home")


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_a_store_holds_the_examples_in_order():
    images = pictures(7)
    store = opened(Source(images, labels=[2, 0, 1, 2, 0, 1, 2]))
    assert np.array_equal(store.images, images) and store.images.dtype == np.uint8
    assert store.labels.tolist() == [2, 0, 1, 2, 0, 1, 2] and store.labels.dtype == np.int64
    assert store.index.tolist() == list(range(7)) and store.index.dtype == np.int64
    assert (store.classes, store.converted, store.skipped, len(store)) == (CLASSES, 0, [], 7)


def test_the_images_are_mapped_and_read_only():
    store = opened(Source(pictures(3)))
    assert isinstance(store.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


def test_it_is_built_once_and_then_opened_without_reading_the_source():
    first, second = Source(pictures(3)), Source(pictures(3))
    built, again = opened(first), opened(second)
    assert first.reads > 0 and second.reads == 0 and len(stores()) == 1
    assert np.array_equal(built.images, again.images) and np.array_equal(built.labels, again.labels)
    assert (built.fingerprint, built.classes) == (again.fingerprint, again.classes)


def test_progress_comes_to_the_end(monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK", 4)
    steps: list[tuple[int, ...]] = []
    images = pictures(10)
    assert np.array_equal(opened(Source(images), progress=lambda *step: steps.append(step)).images, images)
    assert steps == [(done, 10, 750, 0) for done in (0, 4, 8, 10)]


def test_chunks_of_large_images_are_small(monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK_BYTES", 2 * 5 * 5 * 3)
    steps: list[int] = []
    opened(Source(pictures(5)), progress=lambda done, *_: steps.append(done))
    assert steps == [0, 2, 4, 5]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bulk", [False, True])
def test_any_number_of_channels_becomes_three(channels, bulk):
    images = pictures(6, channels=channels)
    if channels in (2, 4):
        images[..., -1] = 255
    source = ArraySource(images, np.arange(6) % 3, CLASSES, "f", "o") if bulk else Source(images)
    store = opened(source)
    colour = images[..., : 1 if channels < 3 else 3]
    assert np.array_equal(store.images, np.broadcast_to(colour, (6, 5, 5, 3)))
    assert store.converted == (6 if channels in (2, 4) else 0)


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize(("background", "ground"), [((255, 255, 255), 255), ((0, 0, 0), 0)])
def test_transparent_pixels_show_the_background_and_what_then_shows_nothing_is_named(bulk, background, ground):
    """A black drawing and a white one on a transparent ground, a half-transparent grey, and an opaque black picture."""
    images = np.zeros((4, 5, 5, 4), np.uint8)
    images[0, 1:3, 1:3, 3] = 255
    images[1, 1:3, 1:3] = 255
    images[2] = (100, 100, 100, 51)
    images[2, 0, 0] = (1, 2, 3, 255)
    images[3, ..., 3] = 255
    source = ArraySource(images, np.arange(4) % 3, CLASSES, "f", "o") if bulk else Source(images)
    store = opened(source, decoding=Decoding(background))
    drawn = np.full((2, 5, 5), ground, np.uint8)
    drawn[:, 1:3, 1:3] = np.array([0, 255])[:, None, None]
    assert np.array_equal(store.images[:2], np.repeat(drawn[..., None], 3, -1))
    assert store.images[2, 1, 1].tolist() == [round(0.2 * 100 + 0.8 * ground)] * 3
    assert store.images[2, 0, 0].tolist() == [1, 2, 3] and not store.images[3].any()
    lost = 0 if ground == 0 else 1
    assert store.uniform == [source.name_of(lost)] and store.converted == 4


def test_opaque_images_have_the_fingerprint_that_earlier_versions_gave_them():
    """Of a version that knew no background."""
    assert opened(Source(pictures(6))).fingerprint == "7f592289aa2c5c21969f745f0bd0c4fb4ca2341a823f69911d61ccfeba66abda"


@pytest.mark.parametrize("bulk", [False, True])
def test_an_image_may_have_no_channel_axis(bulk):
    images = pictures(4)[..., 0]
    store = opened(ArraySource(images, np.zeros(4, np.int64), CLASSES, "f", "o") if bulk else Source(images))
    assert np.array_equal(store.images, np.repeat(images[..., None], 3, -1))


@pytest.mark.parametrize("sizes", [{}, {"store_size": 8}, {"image_size": 3}])
def test_arrays_in_bulk_give_the_same_store_as_items(monkeypatch, sizes):
    monkeypatch.setattr(store_module, "_CHUNK", 4)
    images, labels = pictures(10, channels=1), np.arange(10) % 3
    bulk = opened(ArraySource(images, labels, CLASSES, "bulk", "o"), **sizes)
    items = opened(Source(images, labels.tolist(), fingerprint="items"), **sizes)
    assert np.array_equal(bulk.images, items.images) and np.array_equal(bulk.labels, items.labels)
    assert bulk.fingerprint == items.fingerprint and len(stores()) == 2


def test_the_fingerprint_is_that_of_the_content():
    def of(images, labels=None, **settings):
        return opened(Source(images, labels, fingerprint=os.urandom(8).hex()), **settings).fingerprint

    images = pictures(4)
    other = images.copy()
    other[3, 4, 4, 2] ^= 1
    same = [of(images), of(images), of(images, identity="another")]
    assert len(set(same)) == 1
    assert len({same[0], of(other), of(images, [1, 1, 1, 1]), of(images[:3]), of(images, store_size=6)}) == 5
    skipped = [ValueError(), *images]
    assert of(skipped, [0, 0, 1, 2, 0]) != same[0]  # the same pixels from elsewhere in the source


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_native_size_is_kept_and_shared_by_every_image_size():
    assert opened(Source(pictures(4)), image_size=3).images.shape == (4, 5, 5, 3)
    again = Source(pictures(4))
    opened(again, image_size=12)
    assert again.reads == 0


def test_the_store_size_wins():
    assert opened(Source(pictures(4)), image_size=3, store_size=8).images.shape == (4, 8, 8, 3)


@pytest.mark.parametrize("late", [1, 70])
def test_images_of_several_sizes_are_stored_at_the_image_size(late):
    images = [*pictures(late), *pictures(2, 9, 9)]  # the 70th is not among those that are probed
    store = opened(Source(images), image_size=7)
    assert store.images.shape == (late + 2, 7, 7, 3) and len(stores()) == 1
    again = Source(images)
    assert opened(again, image_size=7).fingerprint == store.fingerprint and again.reads == 0
    assert opened(Source(images), image_size=6).images.shape == (late + 2, 6, 6, 3)


@pytest.mark.parametrize("images", [[*pictures(1), *pictures(1, 9, 9)], pictures(2, 5, 6), pictures(2, 6, 5)])
def test_without_an_image_size_the_images_must_share_one_square(images):
    with pytest.raises(RunError, match=r"^pets train: the images do not share one square size. Set dataset.image_size"):
        opened(Source(images))
    assert stores() == []


def test_squash_keeps_all_and_crop_the_centre():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 200  # the central square is all bright
    squashed, cropped = (opened(Source([image]), store_size=4, resize=how).images[0] for how in ("squash", "crop"))
    assert (cropped == 200).all()
    assert squashed[0, 0, 0] < 50 and squashed[0, 3, 0] < 50 and squashed[0, 1, 0] > 150
    picture = Image.fromarray(image)
    assert np.array_equal(squashed, np.asarray(picture.resize((4, 4), Image.Resampling.BILINEAR)))


# --- what is wrong with examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image, said",
    [
        (np.zeros((5, 5, 3)), r"float64 of shape \(5, 5, 3\)"),
        (np.zeros((5, 5, 5), np.uint8), r"uint8 of shape \(5, 5, 5\)"),
        (np.zeros((5, 5, 0), np.uint8), r"uint8 of shape \(5, 5, 0\)"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 of shape \(0, 5, 3\)"),
        (np.zeros(5, np.uint8), r"uint8 of shape \(5,\)"),
    ],
)
@pytest.mark.parametrize("at", [0, 70])
def test_an_image_of_another_form_is_named(image, said, at):
    images = [*pictures(72)]
    images[at] = image
    with pytest.raises(RunError, match=rf"^pets train: picture-{at}.png is {said}; an image is uint8"):
        opened(Source(images))
    assert stores() == []


@pytest.mark.parametrize("images", [np.zeros((4, 5, 5, 3)), np.zeros((4, 5, 5, 7), np.uint8)])
def test_an_array_of_another_form_is_named(images):
    with pytest.raises(RunError, match=rf"^pets train: o\[0\] is {images.dtype} of shape .*; an image is uint8"):
        opened(ArraySource(images, np.zeros(4, np.int64), CLASSES, "f", "o"))


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("bulk", [False, True])
def test_a_label_out_of_range_is_named_with_the_range(label, bulk):
    images, labels = pictures(5), np.array([0, 1, 2, label, 9])
    source = ArraySource(images, labels, CLASSES, "f", "picture") if bulk else Source(images, labels)
    name = r"picture\[3\]" if bulk else "picture-3.png"
    with pytest.raises(RunError, match=rf"^pets train: {name} has label {label}; with 3 classes labels go from 0 to 2"):
        opened(source)
    assert stores() == []


@pytest.mark.parametrize("label", [1.5, "cat", None])
def test_a_label_that_is_no_integer_is_named(label):
    with pytest.raises(RunError, match=rf"picture-1.png has label {label!r}; a label is an integer"):
        opened(Source(pictures(2), [0, label]))
    with pytest.raises(RunError, match=r"the labels are .*; a label is an integer"):
        opened(ArraySource(pictures(2), np.array([0, label]), CLASSES, "f", "o"))


def test_arrays_of_another_length_are_an_error():
    with pytest.raises(RunError, match="hold 3 images and 2 labels, and it says that it has 2 examples"):
        opened(ArraySource(pictures(3), np.zeros(2, np.int64), CLASSES, "f", "o"))


def test_an_empty_source_is_an_error():
    with pytest.raises(RunError, match=r"^pets train: the split is empty\.$"):
        opened(Source([]))


def test_unreadable_images_are_left_out_with_their_reasons(monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK", 4)
    whole = pictures(12)
    images = [*whole]
    for bad in (0, 5, 6, 7, 4, 11):  # one chunk has none left
        images[bad] = ValueError(f"picture-{bad}.png: cut\nshort")
    steps: list[tuple[int, ...]] = []
    source = Source(images, list(range(12)), [str(i) for i in range(12)])
    store = opened(source, progress=lambda *step: steps.append(step))
    kept = [1, 2, 3, 8, 9, 10]
    assert store.index.tolist() == store.labels.tolist() == kept and np.array_equal(store.images, whole[kept])
    assert store.skipped == [(f"picture-{i}.png", "cut short") for i in (0, 4, 5, 6, 7, 11)]
    assert [step[3] for step in steps] == [0, 1, 5, 6]
    source.reads = 0
    assert opened(source).skipped == store.skipped and source.reads == 6  # each is tried once more


def test_an_image_that_can_be_read_again_comes_back():
    images: list[object] = [*pictures(5)]
    images[3] = PermissionError("refused")
    assert len(opened(Source(images))) == 4
    store = opened(Source(pictures(5)))
    assert len(store) == 5 and store.skipped == [] and len(stores()) == 1


def lacking(error: Exception) -> ValueError:
    """What a source raises that could not read an image because of another error."""
    unreadable = ValueError("picture-3.png: can't be read")
    unreadable.__cause__ = error
    return unreadable


@pytest.mark.parametrize(
    ("lack", "told", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), EnvironmentProblem, r"^Too many open files\. Allow more"),
        (MemoryError("9 GiB"), MemoryError, "9 GiB"),
    ],
)
def test_an_image_is_not_left_out_since_the_process_lacks_memory_or_open_files(lack, told, text):
    images: list[object] = [*pictures(5)]
    images[3] = lacking(lack)
    with pytest.raises(told, match=text):
        opened(Source(images))
    store = opened(Source(pictures(5)))
    assert len(store) == 5 and store.skipped == []


@pytest.mark.parametrize(
    ("lack", "told"), [(OSError(errno.EMFILE, "none"), EnvironmentProblem), (MemoryError(), MemoryError)]
)
def test_a_store_is_not_damaged_since_the_process_lacks_memory_or_open_files(monkeypatch, lack, told):
    opened(Source(pictures(5)))
    with monkeypatch.context() as patch, pytest.raises(told):
        patch.setattr(store_module, "read_npy", lambda *arguments, **options: (_ for _ in ()).throw(lack))
        opened(Source(pictures(5)))
    again = Source(pictures(5))
    opened(again)
    assert again.reads == 0


def test_a_split_without_a_readable_image_is_an_error_that_names_them():
    with pytest.raises(RunError) as caught:
        opened(Source([ValueError("damaged")] * 23))
    lines = str(caught.value).splitlines()
    assert lines[0] == "pets train: not one of its 23 images can be read."
    assert lines[1] == "  picture-0.png: damaged" and len(lines) == 22 and lines[-1] == "  and 3 more"
    assert stores() == []


def test_an_error_meant_for_people_is_never_skipped():
    with pytest.raises(EnvironmentProblem, match=r"^the archive is gone$"):
        opened(Source([*pictures(2), EnvironmentProblem("the archive is gone")]))


# --- keys and damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"identity": "birds"}, {"store_size": 6}, {"resize": "crop"}, {"name": "pets test"}]
)
def test_other_facts_have_another_store(changes):
    opened(Source(pictures(3)))
    opened(Source(pictures(3)), **changes)
    assert len(stores()) == 2


def test_a_changed_source_has_another_store():
    opened(Source(pictures(3)))
    changed = opened(Source(pictures(3, seed=1), fingerprint="g"))
    assert np.array_equal(changed.images, pictures(3, seed=1)) and len(stores()) == 2


def cut_images(folder: Path) -> None:
    os.truncate(folder / "images.npy", 150)


def flip_a_label(folder: Path) -> None:
    content = bytearray((folder / "labels.npy").read_bytes())
    content[-8] ^= 1
    (folder / "labels.npy").write_bytes(content)


def change_meta(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"classes": ["cat", "eel", "dog"]}))


DAMAGE = {
    "images.npy cut": cut_images,
    "images.npy empty": lambda folder: os.truncate(folder / "images.npy", 0),
    "images.npy gone": lambda folder: (folder / "images.npy").unlink(),
    "images.npy of another form": lambda folder: np.save(folder / "images.npy", np.zeros((4, 5, 5, 3))),
    "a label flipped": flip_a_label,
    "labels.npy empty": lambda folder: os.truncate(folder / "labels.npy", 0),
    "index.npy pickled": lambda folder: np.save(folder / "index.npy", np.array([{}]), allow_pickle=True),
    "meta.json cut": lambda folder: os.truncate(folder / "meta.json", 30),
    "meta.json is a list": lambda folder: (folder / "meta.json").write_text("[]"),
    "meta.json says other classes": change_meta,
    "meta.json gone": lambda folder: (folder / "meta.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_store_is_told_and_built_again(damage):
    before = opened(Source(pictures(4)))
    (folder,) = stores()
    damage(folder)
    source = Source(pictures(4))
    with pytest.warns(UserWarning, match=rf"The store {folder} is damaged; it is built again"):
        after = opened(source)
    assert source.reads > 0 and after.fingerprint == before.fingerprint and stores() == [folder]
    assert np.array_equal(after.images, pictures(4)) and after.labels.tolist() == [0, 1, 2, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(Source(pictures(4)))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_store_that_cannot_be_read_is_kept_and_told(monkeypatch, code):
    opened(Source(pictures(4)))
    (folder,) = stores()

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", refuse)
        with pytest.raises(EnvironmentProblem) as caught:
            opened(Source(pictures(4)))
    assert str(caught.value) == f"The store {folder} can't be read: {os.strerror(code)}."
    again = Source(pictures(4))
    opened(again)
    assert again.reads == 0


def test_permissions_follow_the_umask():
    before = os.umask(0o027)
    try:
        opened(Source(pictures(2)))
    finally:
        os.umask(before)
    (folder,) = stores()
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == dict.fromkeys(
        ("images.npy", "labels.npy", "index.npy", "rows.npy", "meta.json"), "0o640"
    )
