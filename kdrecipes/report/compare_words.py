"""A comparison of runs as rows and as plain text, and what its differences tell in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kdrecipes.report.measures import significant, size_text, thousands
from kdrecipes.report.short_verdicts import ONE_SEED, of_distillation, of_runs
from kdrecipes.report.sweep_words import value_words
from kdrecipes.report.table import aligned
from kdrecipes.wording import about_points, points

NONE = "–"
ONE_SEED_WORDS = f"{ONE_SEED}: runs with compare.seeds = [0, 1, 2] say more."
ROLES = (("kd", "distilled"), ("baseline", "labels only"))
Difference = Mapping[str, Any]


def names_of(comparison: Mapping[str, Any]) -> list[str]:
    """What the runs are called: by their recipes, by the last part of their folders, or by their whole paths.

    The first of these that gives each run a name of its own counts.
    """
    runs = comparison["runs"]
    for names in ([run["name"] for run in runs], [PurePath(run["run"]).name for run in runs]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [run["run"] for run in runs]


def accuracy_text(found: Any) -> str:
    """`82.10`, or with several seeds `82.10 ± 0.31`; percent. A dash where there is none."""
    if found is None:
        return NONE
    mean, sd = (found["mean"], found["sd"]) if isinstance(found, Mapping) else (found, None)
    return f"{100 * mean:.2f}" + ("" if sd is None else f" ±\u00a0{100 * sd:.2f}")


def difference_text(found: Difference | None) -> str:
    """`+1.20 (+0.31 to +2.09)`, points; without the interval where there is none."""
    if found is None:
        return NONE
    ends = f" ({' to '.join(map(points, found['ci95']))})" if found["ci95"] else ""
    return f"{points(found['mean'])}{ends}"


def cost_text(run: Mapping[str, Any], key: str) -> str:
    """What a student of a run costs: of "size_bytes", "multiply_adds" or "latency_ms" (of one image)."""
    value = run["costs"].get(key)
    if value is None:
        return NONE
    if key == "latency_ms":
        return f"{significant(value['1']['median'])} ms" if "1" in value else NONE
    return size_text(value) if key == "size_bytes" else thousands(value)


def labels_text(run: Mapping[str, Any]) -> str:
    """How many training images have labels, and how many have none."""
    more = f" and {run['unlabelled']:,} without" if run["unlabelled"] else ""
    return f"{run['labelled']:,}{more}"


def key_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """The keys in which the recipes differ, each with its value in each run."""
    return [
        [row["key"], *(NONE if value is None else _value(value) for value in row["values"])]
        for row in comparison["recipes"]
    ]


def _value(value: Any) -> str:
    """As `value_words`, but a list of values is `3, 4, 5`."""
    return ", ".join(map(value_words, value)) if isinstance(value, list) and value else value_words(value)


def over_words(found: Difference) -> str:
    """What a difference is of, and how sure: `3 common seeds`, `the test images of seed 0`."""
    seeds = found["seeds"]
    return f"the test images of seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} common seeds"


def told(difference: Mapping[str, Any], name: str, first: str) -> list[str]:
    """What a run minus the first one tells, a sentence or two for each arm."""
    data = difference["data"]
    sentences = [f"{first} and {name} had other data: {data}. Their test images are the same."] if data else []
    for role, who in ROLES:
        found = difference[role]
        if found is None:
            continue
        if difference[f"same_{role}"]:
            sentences.append(f"Their {who.replace(' ', '-')} students are the same networks.")
            continue
        interval = f", 95% interval {' to '.join(map(points, found['ci95']))}" if found["ci95"] else ""
        seen = f" It could have seen about {about_points(found['detectable'])} points." if _unseen(found) else ""
        sentences.append(
            f"{name} − {first}, {who}: {points(found['mean'])} points over {over_words(found)}{interval}: "
            f"{of_runs(found['verdict'], len(found['seeds']), name)}.{seen}"
        )
        if found["ci95"] is None:
            sentences[-1] += " Two seeds are too few for an interval."
    return sentences


def _unseen(found: Difference) -> bool:
    return found["verdict"] == "unclear" and found["detectable"] is not None


def seed_words(comparison: Mapping[str, Any]) -> str:
    """Where a difference is of one seed, that it says little; else empty."""
    within = [run["kd_minus_baseline"] for run in comparison["runs"]]
    of_pairs = [one[role] for one in comparison["differences"] for role, _ in ROLES]
    return ONE_SEED_WORDS if any(found and len(found["seeds"]) == 1 for found in [*within, *of_pairs]) else ""


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """All of it as plain text, for the terminal."""
    names, runs = names_of(comparison), comparison["runs"]
    rows = [["", "teacher", "labels only", "distilled", "distilled − labels only", "parameters", "1 image"]]
    for name, run in zip(names, runs, strict=True):
        found, accuracy = run["kd_minus_baseline"], run["test_accuracy"]
        verdict = f", {of_distillation(found['verdict'], len(found['seeds']))}" if found else ""
        cells = [accuracy_text(accuracy[role]).replace("\u00a0", " ") for role in ("teacher", "baseline", "kd")]
        figures = [f"{difference_text(found)}{verdict}", f"{run['params']:,}", cost_text(run, "latency_ms")]
        rows.append([name, *cells, *figures])
    if all(row[-1] == NONE for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    lines = [*aligned(rows), ""]
    spread = "; after ±, the standard deviation over seeds" if any("±" in cell for row in rows for cell in row) else ""
    lines.append(
        f"Test accuracy in percent on the same {comparison['dataset']['test']:,} images{spread}; differences in points."
    )
    for name, difference in zip(names[1:], comparison["differences"], strict=True):
        lines += told(difference, name, names[0])
    lines += [seed_words(comparison)] if seed_words(comparison) else []
    lines += ["", *_keys_text(comparison, names)]
    return "\n".join(line.rstrip() for line in lines)


def _keys_text(comparison: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    if not comparison["recipes"]:
        return ["The recipes are equal."]
    return ["What differs between the recipes:", *aligned([["", *names], *key_rows(comparison)])]
