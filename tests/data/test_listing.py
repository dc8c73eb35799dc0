"""What is noted of the images that lie in folders, and how a change is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.data.listing import alike, differences, listing_of

FILES = st.dictionaries(
    st.sampled_from(["cat", "dog", "owl"]), st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9)), max_size=5)
)


def listed(**splits: dict[str, list[tuple[str, int]]]) -> dict[str, Any]:
    sources = {
        name: SimpleNamespace(fingerprint=f"{name} {files}", listing=lambda files=files: files)
        for name, files in splits.items()
    }
    return listing_of(sources)


A, B, C = ("a.jpg", 10), ("b.jpg", 20), ("c.jpg", 30)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"cat": [A]}, {"cat": [A, B]}, ["train/cat 1 more image"]),
        ({"cat": [A, B, C]}, {"cat": [B]}, ["train/cat 2 fewer images"]),
        ({"cat": [A, B]}, {"cat": [A, C]}, ["train/cat other images, as many as before (2)"]),
        ({"cat": [A]}, {"cat": [("a.jpg", 11)]}, ["train/cat other images, as many as before (1)"]),
        ({"cat": [A]}, {"cat": [A], "owl": [B, C]}, ["train/owl is new (2 images)"]),
        ({"cat": [A], "owl": [B]}, {"cat": [A]}, ["train/owl is gone (1 image)"]),
        ({"": [A]}, {"": [A, B]}, ["train 1 more image"]),
        ({"cat": [A], "dog": [B]}, {"cat": [], "dog": []}, ["train/cat 1 fewer image", "train/dog 1 fewer image"]),
    ],
)
def test_a_change_is_told_by_class(before, now, told):
    assert differences(listed(train=before), listed(train=now)) == told


@given(FILES, FILES)
def test_changes_are_told_where_there_are_some_in_any_order_of_files(before, now):
    assert differences(listed(train=before), listed(train={k: v[::-1] for k, v in before.items()})) == []
    same = {k: sorted(v) for k, v in before.items()} == {k: sorted(v) for k, v in now.items()}
    assert (differences(listed(train=before), listed(train=now)) == []) == same


def test_sources_that_list_nothing_are_left_out_and_the_same_need_no_comparison():
    assert listing_of({"train": SimpleNamespace(fingerprint="x")}) == {}
    assert alike(listed(train={"cat": [A]}), listed(train={"cat": [A]}))
    assert not alike(listed(train={"cat": [A]}), listed(train={"cat": [B]}))
    assert differences(listed(test={"cat": [A]}), listed(test={"cat": [A]}, train={"cat": [A]})) == [
        "train/cat is new (1 image)"
    ]
