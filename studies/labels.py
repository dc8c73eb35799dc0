"""How much does distillation give with 300, 600, … labels of FashionMNIST?   python -m studies.labels

The recipe few_labels with other numbers of labels: the teacher is fine-tuned on these labels, and the other training
images have none. About three hours on one CPU core; it can be stopped and goes on. Writes results/labels.json and
docs/assets/labels.svg.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np

from studies.points import ROOT, Report, arms_of, run_points, write

# By number of labels, passes of the teacher over them: 400 to 900 steps of 64 images.
PASSES = {300: 85, 600: 44, 1000: 30, 3000: 15, 10_000: 5, 57_000: 1}
# Where all images have labels, the student listens to these too: label_weight 0.5 had 85.17 % of the validation images
# right, 0 had 84.80. With 10,000 labels it was 81.63 against 85.60.
LISTENS = ["loss.label_weight=0.5", "loss.weight=0.5"]
# Three seeds left an interval of six points with 3,000 labels.
MORE = {3000: ["compare.seeds=[0, 1, 2, 3, 4]"], 57_000: LISTENS}
SMALL, LARGE = "#4f5b66", "#00796b"


def main() -> None:
    """Run what is missing, print a line for each number of labels, write the figures and draw them."""
    rows = [row(report) for report in run_points("few_labels", points()).values()]
    for one in rows:
        low, high = one["ci95"]
        print(
            f"{one['labelled']:6} labels  teacher {100 * one['teacher']:.2f}  labels only {100 * one['baseline']:.2f}  "
            f"distilled {100 * one['kd']:.2f}  {100 * one['mean']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        )
    write("labels", {"points": rows})
    draw(rows)


def points() -> dict[str, list[str]]:
    """By number of labels, what is asked of the recipe few_labels."""
    return {
        str(n): [f"dataset.labelled={n}", f"teacher.train.epochs={passes}", *MORE.get(n, [])]
        for n, passes in PASSES.items()
    }


def row(report: Report) -> dict[str, Any]:
    """The figures of one number of labels: shares of the test images, means over seeds."""
    found = report["comparison"]["kd_minus_baseline"]
    return {
        "labelled": report["dataset"]["labelled"],
        "unlabelled": report["dataset"]["unlabelled"],
        "recipe_sha256": report["recipe_sha256"],
        "device_name": report["environment"]["device_name"],
        "teacher": report["teachers"][0]["test_accuracy"],
        "baseline": float(np.mean([arm["test_accuracy"] for arm in arms_of(report, "baseline")])),
        "kd": float(np.mean([arm["test_accuracy"] for arm in arms_of(report, "kd")])),
        "mean": found["mean"],
        "ci95": found["ci95"],
        "seeds": found["seeds"],
    }


def draw(rows: list[dict[str, Any]]) -> None:
    """The gain over the number of labels, with its interval, and below it what teacher and baseline reach."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kdrecipes", "font.size": 10})
    figure = Figure(figsize=(7, 5.6), layout="constrained")
    gain, reached = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    labels = [one["labelled"] for one in rows]
    means = np.array([100 * one["mean"] for one in rows])
    ends = 100 * np.array([one["ci95"] for one in rows])
    gain.axhline(0, color=SMALL, linewidth=0.8)
    gain.errorbar(labels, means, [means - ends[:, 0], ends[:, 1] - means], fmt="o-", color=LARGE, capsize=4)
    for place, mean in zip(labels, means, strict=True):
        gain.annotate(f"{mean:+.1f}".replace("-", "−"), (place, mean), (7, 5), textcoords="offset points", color=LARGE)
    gain.set_ylabel("distilled minus labels only,\npoints of test accuracy")
    for key, name, style in (
        ("teacher", "teacher", "^--"),
        ("kd", "distilled", "o-"),
        ("baseline", "labels only", "s-"),
    ):
        colour = LARGE if key == "kd" else SMALL
        reached.plot(labels, [100 * one[key] for one in rows], style, color=colour, label=name, markersize=4)
    reached.set_ylabel("test accuracy, %")
    reached.set_xlabel("labels, of 57,000 training images")
    reached.set_xscale("log")
    reached.set_xticks(labels, [f"{n:,}" for n in labels])
    reached.xaxis.set_minor_locator(NullLocator())
    reached.legend(frameon=False)
    for axes in (gain, reached):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    file, text = ROOT / "docs" / "assets" / "labels.svg", StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    file.write_text("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()), encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
