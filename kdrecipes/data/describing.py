"""What a recipe's data are, before anything is trained: counted, looked at, and what a run would refuse of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from kdrecipes.data.duplicates import NameOf, duplicates, repeated
from kdrecipes.data.hold_out import hold_out, more_than_the_share
from kdrecipes.data.labels import keep_labels, refuse_missing_labels, refuse_without_labels
from kdrecipes.data.oddities import lost_on, unmeasured_classes
from kdrecipes.data.prepare import SPLITS, Progress, build_source, label_of, splits_of, stored, unreadable_in
from kdrecipes.data.reader import name_in
from kdrecipes.data.refusals import refuse_less_than_a_batch, refuse_other_classes, refuse_overlap
from kdrecipes.data.sizes_and_modes import sizes_and_modes
from kdrecipes.data.splits import NO_LABEL, Split, cut_split, of_classes
from kdrecipes.data.store import Store
from kdrecipes.data.unreadable import refuse_unreadable, warnings
from kdrecipes.errors import RunError
from kdrecipes.recipe.split import parse_split
from kdrecipes.recipe.tables import DatasetTable, Recipe
from kdrecipes.wording import MOST_LISTED

_SIDE = 64  # pixels of images of different sizes where the recipe says no size, which a run refuses

Parts = Mapping[str, Sequence[Split]]


@dataclass(frozen=True)
class Description:
    """What was found.

    Attributes:
        facts: what was counted, as `schemas/describe.schema.json` says.
        parts: the images, by the split's key: of train those whose labels are used, then the others.
        name_of: from a store and an index in its source to what messages call the image.
    """

    facts: dict[str, Any]
    parts: Parts
    name_of: NameOf


def describe(recipe: Recipe, progress: Progress | None = None) -> Description:
    """Count and look at a recipe's data; no network is built.

    Images are decoded into the store that a run of the recipe uses: what is described need not be decoded again.

    Args:
        recipe: a valid recipe.
        progress: as for `prepare`; also called while sizes are looked at, with 0 bytes.

    Raises:
        RunError: when not one split can be opened.
        EnvironmentProblem: data that are nowhere to be had, a full disk.
    """
    table, refused = recipe.dataset, list[str]()
    keys, sources = _sources(recipe, refused)
    stores = {
        name: store for name in sources if (store := _store(recipe, name, keys[name], sources[name], progress, refused))
    }
    if not stores:
        raise RunError("\n".join(dict.fromkeys(refused)))
    unreadable = [unreadable_in(table, name, keys[name], sources[name], store) for name, store in stores.items()]
    with _noted(refused):
        refuse_unreadable(unreadable, table.corrupt_limit)
    labelled = {name: getattr(source, "labelled", True) for name, source in sources.items()}
    parts, told = _parts(recipe, stores, labelled, refused)
    owners = {id(store.images): sources[name] for name, store in stores.items()}

    def name_of(store: Store, index: int) -> str:
        return name_in(owners[id(store.images)], index)

    found = [one for key, splits in parts.items() if (one := repeated(key, splits, name_of))]
    facts = {
        "schema_version": 1,
        "recipe": recipe.name,
        "dataset": table.name,
        "splits": [_split_facts(table, key, splits) for key, splits in parts.items()],
        "classes": _class_facts(parts),
        "sources": [
            {"split": name, **_source_facts(recipe.dataset, name, source, stores.get(name), progress)}
            for name, source in sources.items()
        ],
        "repeated": [vars(one) for one in found],
        "identical": [vars(one) for one in duplicates(*_for_duplicates(parts, stores), name_of)],
        "warnings": [*warnings(unreadable), *lost_on(table.background, stores), *told],
        "refused": list(dict.fromkeys(refused)),
    }
    return Description(facts, parts, name_of)


def check_description(facts: Mapping[str, Any]) -> None:
    """Validate against `describe.schema.json`.

    Raises:
        jsonschema.ValidationError: when the description is not what the schema promises.
    """
    from jsonschema import Draft7Validator

    schema = json.loads((resources.files("kdrecipes.schemas") / "describe.schema.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(facts)


@contextmanager
def _noted(refused: list[str]) -> Iterator[None]:
    """Note what a run would refuse, and go on."""
    try:
        yield
    except RunError as error:
        refused.append(str(error))


def _sources(recipe: Recipe, refused: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """By base split: the first key that names it, and its source where it can be built."""
    keys: dict[str, str] = {}
    sources = {}
    for key, text in splits_of(recipe.dataset).items():
        name = parse_split(text)[0]
        if name not in keys:
            keys[name] = key
            with _noted(refused):
                sources[name] = build_source(recipe, name, key)
    return keys, sources


def _store(
    recipe: Recipe, name: str, key: str, source: Any, progress: Progress | None, refused: list[str]
) -> Store | None:
    """The store of a base split; where images differ and the recipe says no size, a small one."""
    for size in (None, _SIDE):
        with _noted(refused):
            return stored(recipe, name, key, source, progress, size)
        if len(source) == 0:
            break
    return None


def _parts(
    recipe: Recipe, stores: Mapping[str, Store], labelled: Mapping[str, bool], refused: list[str]
) -> tuple[dict[str, list[Split]], list[str]]:
    """The images by split, as far as they can be cut, and what is odd about them."""
    table, parts, told = recipe.dataset, dict[str, Split](), list[str]()
    for key, text in splits_of(table).items():
        if (base := parse_split(text)[0]) in stores:
            with _noted(refused):
                parts[key] = cut_split(stores[base], key, text, key != "unlabelled" and labelled[base])
    if "train" in parts:
        with _noted(refused):
            refuse_without_labels(recipe, parts)
    with _noted(refused):
        refuse_missing_labels(table, parts)
    if "train" in parts and not isinstance(table.validation, str):
        with _noted(refused):
            parts["train"], parts["validation"] = hold_out(table, parts["train"])
            told += more_than_the_share(table, parts["train"], parts["validation"])
    with _noted(refused):
        refuse_overlap(table, parts)
    if all(key in parts for key in SPLITS):
        told += unmeasured_classes(table, parts["validation"], parts["test"])
        with _noted(refused):
            refuse_other_classes(parts)
    cut = {key: [parts[key]] for key in (*SPLITS, "unlabelled") if key in parts}
    if "train" in parts and parts["train"].labelled:
        with _noted(refused):
            kept, rest = keep_labels(recipe, parts["train"])
            cut["train"] = [kept, rest] if rest else [kept]
    if "train" in parts:
        if "unlabelled" in parts:
            cut["unlabelled"] = [of_classes(parts["unlabelled"], parts["train"].store.classes)]
        untold = [
            split for key in ("train", "unlabelled") for split in cut.get(key, []) if split is not cut["train"][0]
        ]
        with _noted(refused):
            refuse_less_than_a_batch(recipe, cut["train"][0], sum(map(len, untold)))
    return cut, told


def _for_duplicates(parts: Parts, stores: Mapping[str, Store]) -> tuple[dict[str, Split], list[Split]]:
    """What `duplicates` takes; of a split that is not there no image."""
    nothing = Split(next(iter(stores.values())), np.zeros(0, np.int64))
    taught = [*parts.get("train", [])[1:], *parts.get("unlabelled", [])]
    return {key: parts[key][0] if key in parts else nothing for key in SPLITS}, taught


def _split_facts(table: DatasetTable, key: str, splits: Sequence[Split]) -> dict[str, Any]:
    value, images = getattr(table, key), sum(map(len, splits))
    labelled = sum(int((split.labels != NO_LABEL).sum()) for split in splits)
    of = value if isinstance(value, str) else f"{value:g} of {table.train}"
    return {"split": key, "of": of, "images": images, "labelled": labelled, "unlabelled": images - labelled}


def _class_facts(parts: Parts) -> list[dict[str, Any]]:
    """How many images of each class have a label that is used, by split; in train's order of classes."""
    counts: dict[str, dict[str, int]] = {}
    for key, splits in parts.items():
        if key == "unlabelled":
            continue
        for split in splits:
            labels = split.labels
            found = np.bincount(labels[labels != NO_LABEL], minlength=len(split.store.classes))
            for name, count in zip(split.store.classes, found, strict=True):
                images = counts.setdefault(name, {})
                images[key] = images.get(key, 0) + int(count)
    keys = [key for key in SPLITS if key in parts]
    return [{"name": name, "images": {key: images.get(key, 0) for key in keys}} for name, images in counts.items()]


def _source_facts(
    table: DatasetTable, name: str, source: Any, store: Store | None, progress: Progress | None
) -> dict[str, Any]:
    label = label_of(table, name)

    def step(done: int, total: int) -> None:
        if progress:
            progress(f"{label}: sizes", done, total, 0, 0)

    return {
        "images": len(source),
        "readable": len(store) if store else None,
        "unreadable": [
            {"name": file, "reason": why} for file, why in sorted(store.skipped if store else [])[:MOST_LISTED]
        ],
        "left_out": [
            {"reason": reason, "files": len(names), "names": list(names[:MOST_LISTED])}
            for reason, names in getattr(source, "left_out", {}).items()
        ],
        **sizes_and_modes(source, table.max_pixels, step),
    }
