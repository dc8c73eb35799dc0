"""What a run tells and writes down of its data: how many images, what was left out, what could not be read."""

from __future__ import annotations

from kdrecipes.data.prepare import Data
from kdrecipes.data.unreadable import notes, warnings
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.facts import DatasetFacts
from kdrecipes.wording import MOST_LISTED, left_out_words


def dataset_facts(recipe: Recipe, data: Data) -> DatasetFacts:
    """What the report says of the data."""
    labelled = len(data.train) if data.train.labelled else 0
    files = [(one.label, *file) for one in data.unreadable for file in one.files]
    return DatasetFacts(
        name=recipe.dataset.name,
        fingerprint=data.fingerprint,
        classes=list(data.classes),
        train=data.images,
        labelled=labelled,
        unlabelled=data.images - labelled,
        validation=len(data.validation),
        test=len(data.test),
        converted=data.converted,
        skipped=len(files),
        unreadable=[{"split": split, "name": name, "reason": why} for split, name, why in files[:MOST_LISTED]],
        left_out=[
            {"split": split, "reason": reason, "files": len(names), "names": list(names[:MOST_LISTED])}
            for split, by_reason in data.left_out.items()
            for reason, names in by_reason.items()
        ],
        warnings=[*warnings(data.unreadable), *data.warnings],
        identical=[vars(one) for one in data.identical],
    )


def dataset_notes(recipe: Recipe, data: Data) -> list[str]:
    """Lines for the user: whatever of the data is not in the run."""
    left_out = []
    for split, by_reason in data.left_out.items():
        count = sum(map(len, by_reason.values()))
        left_out.append(f"{split}: left out {count:,} file{'s' * (count > 1)}: {left_out_words(by_reason)}")
    odd = [*warnings(data.unreadable), *data.warnings, *(one.text for one in data.identical)]
    told = [f"warning: {text}" for text in odd]
    return [*left_out, *notes(data.unreadable, recipe.dataset.corrupt_limit), *told]
