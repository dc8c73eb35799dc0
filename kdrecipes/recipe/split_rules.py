"""Rules about splits that their texts alone decide: what no dataset of any size could make right."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from kdrecipes.recipe.positions import Path
from kdrecipes.recipe.rule import Broken, Rule
from kdrecipes.recipe.split import at_most, overlap_for_certain
from kdrecipes.recipe.structure import Data, definition, show, teacher_tables

_KEYS = ("train", "validation", "test", "unlabelled")


def _splits(dataset: Data) -> dict[str, str]:
    """The splits of a dataset's table, by key, defaults too; what is no split is left out."""
    keys = definition("dataset")["properties"]
    written = {key: dataset.get(key, keys[key].get("default")) for key in _KEYS}
    return {key: text for key, text in written.items() if isinstance(text, str) and _is_split(text)}


def _is_split(text: str) -> bool:
    try:
        at_most(text)
    except ValueError:
        return False
    return True


def _same_splits(path: Path, dataset: Data) -> Iterator[Broken]:
    keys = definition("dataset")["properties"]
    seen: dict[str, str] = {}
    for key in _KEYS:
        split = dataset.get(key, keys[key].get("default"))
        if isinstance(split, str) and split in seen:
            # Point at the one that is written; the other may be the default.
            this, other = (key, seen[split]) if key in dataset else (seen[split], key)
            yield Broken((*path, this), f"must not be the same images as dataset.{other}", show(split))
        elif isinstance(split, str):
            seen[split] = key


_STRATIFIED: Data = {"required": ["stratified"], "properties": {"stratified": {"const": True}}}
_A_SHARE: Data = {"required": ["validation"], "properties": {"validation": {"type": "number"}}}


def _no_share(path: Path, dataset: Data) -> Iterator[Broken]:
    """A way to draw a share, and none to draw."""
    rule = "needs a share of train beside it, such as validation = 0.1: it says how that is drawn"
    yield Broken((*path, "stratified"), rule, show(dataset["stratified"]))


def _overlapping(path: Path, dataset: Data) -> Iterator[Broken]:
    splits = _splits(dataset)
    for first, second in combinations(splits, 2):
        if splits[first] != splits[second] and overlap_for_certain(splits[first], splits[second]):
            # Point at the one that is written; the other may be the default.
            this, other = (second, first) if second in dataset else (first, second)
            rule = f"must not share images with dataset.{other} = {show(splits[other])}"
            yield Broken((*path, this), rule, show(splits[this]))


def _empty(path: Path, dataset: Data) -> Iterator[Broken]:
    for key, text in _splits(dataset).items():
        if at_most(text) == 0:
            yield Broken((*path, key), "must hold an image: its slice ends where it begins, or before", show(text))


def _more_labels_than_images(path: Path, dataset: Data) -> Iterator[Broken]:
    labelled, train = dataset.get("labelled"), _splits(dataset).get("train")
    most = at_most(train) if train is not None else None
    if type(labelled) is int and most and labelled > most:
        rule = f"must be at most {most}: dataset.train = {show(train)} holds no more images"
        yield Broken((*path, "labelled"), rule, show(labelled))


def _less_than_a_batch(path: Path, recipe: Data) -> Iterator[Broken]:
    dataset, train = recipe.get("dataset"), recipe.get("train")
    if not isinstance(dataset, dict) or not isinstance(train, dict):
        return
    default = definition("train")["properties"]["batch_size"]["default"]
    size, splits = train.get("batch_size", default), _splits(dataset)
    images = _sum(splits, "train", "unlabelled") if "unlabelled" in splits else _sum(splits, "train")
    # One mistake, one problem: a teacher's batch may be taken over from this one.
    if _too_large(size, images):
        rule = f"must be at most {images}: there are no more training images, and an incomplete batch is dropped"
        yield Broken(("train", "batch_size"), rule, show(size))
        return
    of_train, labelled = _sum(splits, "train"), dataset.get("labelled")
    counts = [count for count in (of_train, labelled) if type(count) is int and count > 0]
    for place, teacher in teacher_tables(recipe):
        own = teacher.get("train")
        if not isinstance(own, dict) or not counts:
            continue
        taken = own.get("batch_size", size)
        if _too_large(taken, min(counts)):
            rule = (
                f"must be at most {min(counts)}: a teacher is fine-tuned on images with labels, there are no more, and "
                "an incomplete batch is dropped"
            )
            yield Broken((*place, "train", "batch_size"), rule, show(taken))


def _too_large(size: Any, images: int | None) -> bool:
    return type(size) is int and bool(images) and size > (images or 0)


def _sum(splits: dict[str, str], *keys: str) -> int | None:
    """The most images of some splits together; None where one is not bounded."""
    counts = [at_most(splits[key]) if key in splits else None for key in keys]
    return None if None in counts else sum(count or 0 for count in counts)


SPLIT_RULES = (
    Rule("same-split", "dataset", _same_splits),
    Rule("same-split", "dataset", _overlapping),
    Rule("out-of-range", "dataset", _empty),
    Rule("out-of-range", "dataset", _more_labels_than_images),
    Rule("out-of-range", "", _less_than_a_batch),
    Rule("missing-key", "dataset", _no_share, {"if": _STRATIFIED, "then": _A_SHARE}, whole=True),
)
