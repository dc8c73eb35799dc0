"""One page of runs side by side, from what `compare_runs` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrecipes.disk.files import disk_errors, new_file
from kdrecipes.report import compare_words as words
from kdrecipes.report.drawing import INK, MARKERS, ROLES, Chart, empty_figure, quiet
from kdrecipes.report.per_class import short
from kdrecipes.report.short_verdicts import of_distillation, of_runs
from kdrecipes.report.templates import filled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COSTS = {"size_bytes": "Size on disk", "multiply_adds": "Multiply-adds", "latency_ms": "Keras, 1 image"}


def write_comparison_page(comparison: Mapping[str, Any], file: Path) -> None:
    """Write the page of a comparison, atomically.

    Raises:
        EnvironmentProblem: when the file can't be written.
    """
    page = render_comparison(comparison)
    with disk_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file, "w") as opened:
            opened.write(page)


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """The page, the same for the same argument.

    Args:
        comparison: fits `schemas/compare.schema.json`.
    """
    names, runs = words.names_of(comparison), comparison["runs"]
    kept = [key for key in _COSTS if any(words.cost_text(run, key) != words.NONE for run in runs)]
    return filled(
        "compare.html.jinja",
        "sweep.css",
        comparison=comparison,
        names=names,
        sentences=[
            words.told(difference, name, names[0])
            for name, difference in zip(names[1:], comparison["differences"], strict=True)
        ],
        networks=[
            [
                name,
                ", ".join(run["teachers"]) or words.NONE,
                run["student"],
                run["loss"] or words.NONE,
                words.labels_text(run),
                str(run["epochs"]),
                ", ".join(map(str, run["seeds"])),
                f"{run['params']:,}",
                *(words.cost_text(run, key) for key in kept),
            ]
            for name, run in zip(names, runs, strict=True)
        ],
        cost_headings=[_COSTS[key] for key in kept],
        keys=words.key_rows(comparison),
        chart=accuracies(names, runs),
        roles=ROLES,
        accuracy=words.accuracy_text,
        difference=words.difference_text,
        of_runs=of_runs,
        of_distillation=of_distillation,
        one_seed=words.seed_words(comparison),
        pair_roles=words.ROLES,
    )


def accuracies(names: Sequence[str], runs: Sequence[Mapping[str, Any]]) -> Chart:
    """The test accuracy of each network, a line for each run."""
    roles = [role for role in ROLES if any(run["test_accuracy"][role] is not None for run in runs)]
    cells = [[words.accuracy_text(run["test_accuracy"][role]) for role in roles] for run in runs]
    said = [
        f"{name}: {', '.join(f'{ROLES[role]} {cell} %' for role, cell in zip(roles, row, strict=True))}"
        for name, row in zip(names, cells, strict=True)
    ]
    return Chart(
        name="accuracies",
        title="Test accuracy of each run",
        note="In percent of the test images, means over seeds. Faint lines: one standard deviation over seeds.",
        said=f"{'; '.join(said)}.",
        headings=["Run", *(f"{ROLES[role]}, %" for role in roles)],
        lines=[[name, *row] for name, row in zip(names, cells, strict=True)],
        roles=roles,
        draw=partial(dots, names, runs, roles),
    )


def dots(names: Sequence[str], runs: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> Figure:
    """A line for each run, the first on top, with a mark for each role."""
    figure, axes = empty_figure((4.6, max(1.6, 0.9 + 0.34 * len(runs))))
    heights = [-float(i) for i in range(len(runs))]
    for height, run in zip(heights, runs, strict=True):
        for place, role in enumerate(roles):
            found = run["test_accuracy"][role]
            if found is None:
                continue
            mean, sd = (found["mean"], found["sd"]) if isinstance(found, Mapping) else (found, None)
            at = height + 0.16 * ((len(roles) - 1) / 2 - place)
            if sd:
                axes.plot([100 * (mean - sd), 100 * (mean + sd)], [at] * 2, color=INK[role], linewidth=1.4, alpha=0.5)
            axes.plot([100 * mean], [at], MARKERS[role], color=INK[role], markersize=5.5)
    axes.set_yticks(heights, [short(name) for name in names], parse_math=False)
    axes.set_ylim(heights[-1] - 0.6, 0.6)
    axes.set_xlabel("test accuracy, %")
    quiet(axes, lines="x")
    axes.spines["bottom"].set_visible(False)
    return figure
