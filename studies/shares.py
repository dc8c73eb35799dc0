"""What share of a batch should have labels? Two settings, about 2,000 steps each.   python -m studies.shares

The recipe few_labels with a label loss, and the same with 300 labels, a smaller teacher and fewer images. A larger
share makes an epoch longer, so the passes are fewer. Half an hour on one CPU core; a stopped study goes on. Only
validation is looked at. Writes results/labelled_share.json.
"""

from __future__ import annotations

from typing import Any

from studies.points import Report, run_points, write

LISTENING = ["compare.baseline=false", "compare.seeds=[0]", "loss.label_weight=0.5", "loss.weight=0.5"]
SMALLER = [
    "dataset.labelled=300",
    'dataset.train="train[:32000]"',
    'dataset.validation="train[55000:]"',
    'teacher.variant="lite0"',
    "teacher.train.epochs=60",
]
# Number of labels → what else the setting asks for, and by share the passes over all images.
SETTINGS: dict[int, tuple[list[str], dict[float, int]]] = {
    300: (SMALLER, {0.1: 4, 0.25: 3, 0.5: 2}),
    600: ([], {0.1: 2, 0.25: 2, 0.5: 1}),
}


def main() -> None:
    """Run what is missing, print a line for each share in each setting and write the figures."""
    asked = points()
    named = {f"share-{labels}-{round(100 * share)}": changes for (labels, share), changes in asked.items()}
    reports = run_points("few_labels", named).values()
    rows = [row(labels, share, report) for (labels, share), report in zip(asked, reports, strict=True)]
    for one in rows:
        right = 100 * one["validation_accuracy"]
        print(f"{one['labelled']} labels  share {one['share']:4}  {one['steps']:5,} steps  validation {right:.2f} %")
    write("labelled_share", {"shares": rows})


def points() -> dict[tuple[int, float], list[str]]:
    """By number of labels and share, what is asked of the recipe few_labels."""
    return {
        (labels, share): [*LISTENING, *more, f"dataset.labelled_share={share}", f"train.epochs={epochs}"]
        for labels, (more, passes) in SETTINGS.items()
        for share, epochs in passes.items()
    }


def row(labels: int, share: float, report: Report) -> dict[str, Any]:
    """One point's figures; of test there are none."""
    [arm] = report["arms"]
    return {
        "labelled": labels,
        "share": share,
        "recipe_sha256": report["recipe_sha256"],
        "device_name": report["environment"]["device_name"],
        "steps": arm["steps"],
        "validation_accuracy": arm["validation_accuracy"][-1],
    }


if __name__ == "__main__":
    main()
