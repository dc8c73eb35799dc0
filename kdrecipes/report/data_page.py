"""One page of a recipe's data, from what `kdrecipes describe` found; it holds no script and asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kdrecipes.disk.files import disk_errors, new_file
from kdrecipes.report import data_words as words
from kdrecipes.report.galleries import embedded
from kdrecipes.report.templates import filled


class Row(Protocol):
    """Small images that stand together, as `data.thumbnails` draws them."""

    @property
    def name(self) -> str:
        """Their class; empty where they have none."""

    @property
    def total(self) -> int:
        """How many there are."""

    @property
    def images(self) -> Sequence[Any]:
        """uint8 (side, side, 3) each."""

    @property
    def called(self) -> Sequence[str]:
        """The names of the images."""


def write_data_page(facts: Mapping[str, Any], rows: Sequence[Row], file: Path) -> None:
    """Write the page of a description, atomically.

    Raises:
        EnvironmentProblem: when the file can't be written.
    """
    page = render_data(facts, rows)
    with disk_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file, "w") as opened:
            opened.write(page)


def render_data(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The page, the same for the same arguments.

    Args:
        facts: fits `schemas/describe.schema.json`.
        rows: the images that it shows.
    """
    most = max((count for one in facts["classes"] for count in one["images"].values()), default=0)
    return filled(
        "data.html.jinja",
        "pictures.css",
        "data.css",
        facts=facts,
        lead=words.lead(facts),
        splits=words.split_rows(facts),
        class_splits=words.class_splits(facts),
        classes=[
            (one["name"], [(f"{count:,}", count / max(1, most)) for count in one["images"].values()])
            for one in facts["classes"]
        ],
        sources=words.source_rows(facts),
        looked_at=words.looked_at(facts),
        left_out=words.left_out(facts),
        unreadable=[(one["split"], one["unreadable"], _lost(one)) for one in facts["sources"] if one["unreadable"]],
        sameness=words.sameness(facts),
        rows=[
            {
                "name": row.name,
                "total": row.total,
                "pictures": [
                    {**embedded(image), "called": name, "file": name.rpartition("/")[2]}
                    for image, name in zip(row.images, row.called, strict=True)
                ],
            }
            for row in rows
        ],
        unshown=max(0, len(facts["classes"]) - sum(bool(row.name) for row in rows)),
    )


def _lost(source: Mapping[str, Any]) -> int:
    """How many images of a source can't be read."""
    return int(source["images"] - source["readable"])
