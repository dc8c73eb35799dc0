"""A large store: its images have checksums as it is built, and each is compared when it is first read."""

from __future__ import annotations

import numpy as np
import pytest
from stored import Source, Stopping, opened, pictures, stores

from kdrecipes.data import duplicates, row_sums, store_writer
from kdrecipes.data import store as store_module
from kdrecipes.data.describing import Description
from kdrecipes.data.splits import Split
from kdrecipes.data.thumbnails import thumbnails
from kdrecipes.errors import EnvironmentProblem

pytestmark = pytest.mark.usefixtures("home")
ALL = np.arange(9)


@pytest.fixture(autouse=True)
def every_store_is_large(monkeypatch):
    monkeypatch.setattr(store_module, "_READ_AGAIN", 0)


@pytest.fixture
def images():
    return pictures(9)


def flip(row: int):
    [folder] = stores()
    file = folder / "images.npy"
    content = bytearray(file.read_bytes())
    content[len(content) - (9 - row) * 5 * 5 * 3 + 7] ^= 4
    file.write_bytes(content)
    return file


def test_it_is_never_read_whole_and_each_image_compared_once_in_a_process(images, monkeypatch):
    monkeypatch.setattr(row_sums, "_read_whole", lambda *_: pytest.fail("read whole again"))
    assert np.array_equal(opened(Source(images)).pixels(ALL), images)
    store = opened(Source(images))
    assert np.array_equal(store.pixels(np.array([3, 3, 0])), images[[3, 3, 0]])
    compared, real = [], row_sums.hashes_of
    monkeypatch.setattr(row_sums, "hashes_of", lambda one: compared.append(len(one)) or real(one))
    assert np.array_equal(store.pixels(ALL), images) and len(compared) == 7
    assert np.array_equal(store.pixels(ALL[::-1]), images[::-1]) and len(compared) == 7


@pytest.mark.parametrize("stops", [[], [5], [3, 8]])
def test_its_images_have_checksums_however_often_its_building_was_interrupted(images, monkeypatch, stops):
    monkeypatch.setattr(store_module, "_CHUNK", 2)
    monkeypatch.setattr(store_writer, "_BLOCK", 100)  # less than two images
    source = Stopping(images)
    source.images[2] = source.images[3] = ValueError("damaged")  # a chunk of which nothing is stored
    for source.at in stops:
        with pytest.raises(KeyboardInterrupt):
            opened(source)
    source.at = None
    monkeypatch.setattr(row_sums, "_read_whole", lambda *_: pytest.fail("read whole again"))
    store = opened(source)
    kept = images[[0, 1, 4, 5, 6, 7, 8]]
    assert np.array_equal(store.sums.hashes, row_sums.hashes_of(kept))
    assert np.array_equal(np.load(stores()[0] / "rows.npy"), store.sums.hashes)
    assert np.array_equal(store.pixels(np.arange(7)), kept)


def test_one_without_checksums_is_told_as_it_is_read_once(images, monkeypatch):
    opened(Source(images))
    (stores()[0] / "rows.npy").unlink()  # as of an earlier version
    monkeypatch.setattr(row_sums, "_BLOCK", 4 * 5 * 5 * 3)
    seen = []
    for _ in range(2):
        opened(Source(images), progress=lambda *step: seen.append(step))
    assert seen == [(0, 9, 0, 0), (4, 9, 0, 0), (8, 9, 0, 0), (9, 9, 0, 0)]


@pytest.mark.parametrize("row", [0, 4, 8])
def test_an_image_that_changed_is_never_given_and_the_same_command_builds_the_store_again(images, row):
    opened(Source(images))
    file = flip(row)
    store = opened(Source(images))
    assert np.array_equal(store.pixels(ALL[row != ALL]), images[row != ALL])
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match=rf"{file} is damaged: image {row} is not as it was stored"):
            store.pixels(np.array([1, row]))
    again = Source(images)
    with pytest.warns(UserWarning, match=f"The store {file.parent} is damaged; it is built again"):
        store = opened(again)
    assert again.reads and np.array_equal(store.pixels(ALL), images)


def test_an_image_that_changed_is_not_shown_on_the_page_of_the_data(images):
    opened(Source(images))
    store = opened(Source(images))
    parts = {"train": [Split(store, ALL)]}
    rows = thumbnails(Description({}, parts, lambda _, i: str(i)), 0)
    assert sorted(name for row in rows for name in row.called) == [str(i) for i in ALL]
    for row in rows:
        assert np.array_equal(row.images, images[[int(name) for name in row.called]])
    file = flip(4)
    parts = {"train": [Split(opened(Source(images)), ALL)]}
    with pytest.raises(EnvironmentProblem, match=rf"{file} is damaged: image 4 is not"):
        thumbnails(Description({}, parts, lambda _, i: str(i)), 0)


@pytest.mark.parametrize("damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:40], lambda b: b"", None])
def test_without_its_images_checksums_it_is_read_whole_again(images, damage):
    """As one of an earlier version is, which has none."""
    opened(Source(images))
    sums = stores()[0] / "rows.npy"
    kept = sums.read_bytes()
    if damage is None:
        sums.unlink()
    else:
        sums.write_bytes(damage(kept))
    source = Source(images)
    assert np.array_equal(opened(source).pixels(ALL), images) and not source.reads and sums.read_bytes() == kept
    sums.unlink()
    flip(2)
    with pytest.warns(UserWarning, match="is damaged; it is built again"):
        assert np.array_equal(opened(Source(images)).pixels(ALL), images)


def test_where_nothing_can_be_left_it_is_read_whole_each_time(images, monkeypatch):
    opened(Source(images))
    sums = stores()[0] / "rows.npy"
    sums.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(row_sums, "new_file", lambda _: (_ for _ in ()).throw(PermissionError(13, "read-only")))
        store = opened(Source(images))
        assert np.array_equal(store.pixels(ALL), images) and not sums.exists()
    monkeypatch.setattr(duplicates, "hashes_of", lambda _: pytest.fail("read whole twice"))
    assert np.array_equal(duplicates.row_hashes(store), row_sums.hashes_of(images))
