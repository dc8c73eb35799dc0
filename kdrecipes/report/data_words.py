"""What `kdrecipes describe` found, in words: for the terminal and for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdrecipes.report.table import aligned
from kdrecipes.wording import EXAMPLES, identical_words, left_out_words, named, printable

NONE = "–"
_SHOWN_CLASSES = 30  # of more the terminal shows those with the most and with the fewest images

Facts = Mapping[str, Any]


def description_text(facts: Facts) -> str:
    """A description as plain text.

    Args:
        facts: fits `schemas/describe.schema.json`.
    """
    parts = [lead(facts), *_block(aligned(split_rows(facts))), *_classes(facts), *_block(aligned(source_rows(facts)))]
    parts += ["", *(f"Left out of {split}: {told}." for split, told in left_out(facts))]
    parts += [f"Can't be read in {split}: {told}" for split, told in unreadable(facts)]
    parts += sameness(facts)
    parts += [f"Warning: {text}" for text in facts["warnings"]]
    parts += [f"A run refuses these data: {text}" for text in facts["refused"]]
    lines = [printable(line).rstrip() for part in parts for line in part.split("\n")]
    return "\n".join(lines).rstrip("\n")


def lead(facts: Facts) -> str:
    """The data in one sentence."""
    images, classes = sum(one["images"] for one in facts["splits"]), len(facts["classes"])
    words = f"{images:,} image{'s' * (images != 1)} in {classes:,} class{'es' * (classes != 1)}"
    return f"{facts['recipe']}: {facts['dataset']}, {words}."


def split_rows(facts: Facts) -> list[list[str]]:
    """A heading, then a row for each split of the recipe."""
    rows = [["split", "of the dataset's", "images", "with a label", "without"]]
    for one in facts["splits"]:
        counts = [f"{one[key]:,}" for key in ("images", "labelled", "unlabelled")]
        rows.append([one["split"], one["of"], *counts])
    return rows


def class_rows(facts: Facts) -> list[list[str]]:
    """A row for each class: its name and its images in each split of `class_splits`."""
    return [[one["name"], *(f"{count:,}" for count in one["images"].values())] for one in facts["classes"]]


def class_splits(facts: Facts) -> list[str]:
    """The splits whose images are counted by class."""
    return list(facts["classes"][0]["images"]) if facts["classes"] else []


def source_rows(facts: Facts) -> list[list[str]]:
    """A heading, then a row for each of the dataset's own splits: how many images, how large, of which modes."""
    rows = [["read from", "files", "can't be read", "smallest", "median", "largest", "sizes", "modes"]]
    for one in facts["sources"]:
        lost = NONE if one["readable"] is None else f"{one['images'] - one['readable']:,}"
        sizes = [_size(one[key]) for key in ("smallest", "median", "largest")]
        different = f"{len(one['sizes']) + one['other_sizes']:,}"
        modes = ", ".join(f"{mode['mode']} {mode['images']:,}" for mode in one["modes"]) or NONE
        rows.append([one["split"], f"{one['images']:,}", lost, *sizes, different, modes])
    return rows


def looked_at(facts: Facts) -> str:
    """A sentence on sizes that not every image was asked for; empty where every one was."""
    some = [one for one in facts["sources"] if one["readable"] is not None and one["looked_at"] < one["readable"]]
    counts = [f"{one['looked_at']:,} of the {one['images']:,} images of {one['split']}" for one in some]
    return f"Sizes and modes are those of {' and '.join(counts)}, at even distances." if some else ""


def left_out(facts: Facts) -> list[tuple[str, str]]:
    """By the dataset's split: how many files are left out, why, and the names of some."""
    return [
        (one["split"], "; ".join(_left_out(reason) for reason in one["left_out"]))
        for one in facts["sources"]
        if one["left_out"]
    ]


def unreadable(facts: Facts) -> list[tuple[str, str]]:
    """By the dataset's split: the first images that can't be read, and why."""
    found = []
    for one in facts["sources"]:
        if one["unreadable"]:
            told = [f"{file['name']} ({file['reason']})" for file in one["unreadable"]]
            found.append((one["split"], f"{named(told, one['images'] - one['readable'])}."))
    return found


def sameness(facts: Facts) -> list[str]:
    """A sentence or two on each kind of identical images; one where there is none."""
    told = [
        f"{one['images']:,} of the {one['of']:,} {one['split']} images {'is' if one['images'] == 1 else 'are'} there "
        f"before, pixel for pixel: {named(one['names'], one['images'])}."
        for one in facts["repeated"]
    ]
    told += [identical_words(one) for one in facts["identical"]]
    return told or ["No two images are the same, pixel for pixel as they are stored."]


def _left_out(reason: Facts) -> str:
    """`left_out_words` counts the names that it is given, and a description names the first alone."""
    words = left_out_words({reason["reason"]: reason["names"][: EXAMPLES + 1]})
    return f"{reason['files']:,} {words.partition(' ')[2]}"


def _classes(facts: Facts) -> list[str]:
    rows = class_rows(facts)
    if not rows:
        return []
    heading = ["class", *class_splits(facts)]
    if len(rows) <= _SHOWN_CLASSES:
        return _block(aligned([heading, *rows]))
    order = sorted(range(len(rows)), key=lambda i: -sum(facts["classes"][i]["images"].values()))
    half = _SHOWN_CLASSES // 2
    shown = [rows[i] for i in (*order[:half], *order[-half:])]
    lines = aligned([heading, *shown])
    gap = f"  … {len(rows) - 2 * half:,} more between the {half} classes with the most images and those with the fewest"
    return _block([*lines[: half + 1], gap, *lines[half + 1 :]])


def _block(lines: Sequence[str]) -> list[str]:
    return ["", *lines]


def _size(size: Sequence[int] | None) -> str:
    return f"{size[0]}×{size[1]}" if size else NONE
