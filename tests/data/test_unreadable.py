"""Unreadable images: counts and shares, the limit that would do, classes that lose much."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdrecipes.data.store import Store
from kdrecipes.data.unreadable import (
    Unreadable,
    allowed,
    least_limit,
    notes,
    refuse_unreadable,
    unreadable_of,
    warnings,
)
from kdrecipes.errors import RunError


def some(count: int, examples: int, label: str = "pets train", **more) -> Unreadable:
    return Unreadable(label, "dataset.train = 'train'", examples, [(f"{i}.jpg", "cut") for i in range(count)], **more)


@pytest.mark.parametrize("limit, most", [(0.29, 29), (0.005, 0), (0.01, 1), (1.0, 100), (0.0, 0)])
def test_the_limit_is_a_share_of_all(limit, most):
    assert allowed(limit, 100) == most
    refuse_unreadable([some(most, 100)], limit)
    with pytest.raises(RunError, match=rf"{most + 1} of 100 .*allows {most} of 100"):
        refuse_unreadable([some(most + 1, 100)], limit)


@given(st.lists(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_the_line_that_is_offered_lets_the_run_pass_and_is_little_more_than_needed(counts):
    found = [SimpleNamespace(files=range(bad), examples=n) for bad, n in counts]
    share = max(bad / n for bad, n in counts)
    limit = float(least_limit(found))
    assert all(allowed(limit, n) >= bad for bad, n in counts)
    assert share <= limit <= min(1.0, 1.01 * share) and "e" not in least_limit(found).lower()


@pytest.mark.parametrize(
    "count, examples, line", [(4, 181, "0.0221"), (1, 75_750, "0.0000133"), (5, 5, "1.0"), (1, 4, "0.25")]
)
def test_the_line_is_as_a_recipe_writes_it(count, examples, line):
    assert least_limit([some(count, examples)]) == line


def test_a_message_names_twenty_files_and_counts_the_rest():
    with pytest.raises(RunError) as caught:
        refuse_unreadable([some(15, 100), some(0, 9, "pets more"), some(8, 100, "pets test")], 0.05)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("dataset.train = 'train': pets train: 15 of 100 images can't be read, a share of 0.15;")
    assert lines[1].startswith("dataset.train = 'train': pets test: 8 of 100 images can't be read, a share of 0.08;")
    assert lines[2] == "  0.jpg: cut" and lines[22] == "  and 3 more" and lines[-1] == "corrupt_limit = 0.15"
    assert len(lines) == 25


def test_what_is_left_out_within_the_limit_is_told_too():
    assert notes([some(2, 100), some(0, 9)], 0.05) == [
        "pets train: 2 of 100 images can't be read, a share of 0.02; dataset.corrupt_limit = 0.05 is a share too and "
        "allows 5 of 100.",
        "  0.jpg: cut",
        "  1.jpg: cut",
    ]
    assert notes([some(0, 9)], 0.0) == []


def test_a_class_that_loses_more_than_a_tenth_is_a_warning_and_one_that_loses_all_an_error():
    one = some(13, 100, classes={"cat": (1, 10), "dog": (2, 10), "eel": (10, 10)})
    assert warnings([some(3, 20, classes={"cat": (1, 10), "dog": (2, 10)})]) == [
        "pets train: 2 of the 10 images of the class dog can't be read."
    ]
    with pytest.raises(RunError, match="not one of the 10 images of the class eel can be read") as caught:
        refuse_unreadable([one], 1.0)
    assert "corrupt_limit =" not in str(caught.value).splitlines()[-1]


def test_labels_of_unreadable_images_are_asked_of_the_source():
    index = np.array([0, 3])
    store = Store(
        np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1]), index, ["cat", "dog"], "f", 0, [("1", ""), ("2", "")]
    )
    labels = [0, 0, 1, 1]

    class Source:
        def __len__(self):
            return 4

    source = Source()
    assert unreadable_of(source, store, "l", "p", True).classes == {}
    source.label_of = labels.__getitem__
    assert unreadable_of(source, store, "l", "p", True).classes == {"cat": (1, 2), "dog": (1, 2)}
    assert unreadable_of(source, store, "l", "p", False).classes == {}
