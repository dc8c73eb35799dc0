"""A sweep as plain text: its points ranked, those that failed, those that were confirmed; and its plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kdrecipes.report.short_verdicts import of_distillation, seeds_words
from kdrecipes.report.sweep_confirmed import confirmed_words
from kdrecipes.report.sweep_images import first_words, images_words
from kdrecipes.report.sweep_page import difference_words
from kdrecipes.report.sweep_results import Point, SweepResults, mean_of, ranked, unconfirmed
from kdrecipes.report.sweep_words import Compared, compared_with, point_words, unfinished
from kdrecipes.report.table import aligned
from kdrecipes.wording import readable_seconds

_LONGEST = 90  # of what it changes
_OPEN = ("waiting", "running")


def sweep_text(results: SweepResults) -> str:
    """What a sweep found, for the terminal."""
    done = ranked(results["points"])
    compared = compared_with(results["points"])
    head = ("point  changes", "rank", "validation", *(f"minus {what}" for what in compared.values()))
    lines = aligned([head, *(_row(point, compared) for point in done)]) if done else ["No point is done."]
    for point in unfinished(results["points"]):
        if point["status"] not in _OPEN:
            lines.append(f"{_named(point)}  {point['status']}: {point['message']}")
    if left := sum(point["status"] in _OPEN for point in results["points"]):
        lines += ["", f"{left:,} of {_points(len(results['points']))} {'is' if left == 1 else 'are'} not done."]
    lines += [text for text in (images_words(results["points"]), first_words(results["points"])) if text]
    if results["confirmed"]:
        lines += ["", *_confirmed(results)]
    if waiting := unconfirmed(results):
        points = ", ".join(point["point"] for point in waiting)
        lines += ["", f"Not confirmed yet: {points}."]
    trained = results["trainings"]
    done_words = f"{trained['done']:,} {_students(trained['done'])}"
    lines += ["", f"{done_words} trained where the points have {trained['without_sharing']:,}."]
    if done:
        text = "Points are ranked by validation, where the best of many looks better than it is."
        more = " --confirm 1 runs the best again with fresh seeds, and measures it on test."
        lines.append(text if results["confirmed"] else text + more)
    return "\n".join(line.rstrip() for line in lines)


def _row(point: Point, compared: Iterable[Compared]) -> tuple[str, ...]:
    accuracy = point["validation_accuracy"]
    spread = f" ± {100 * accuracy['sd']:.2f}" if accuracy and accuracy["sd"] is not None else ""
    return (
        _named(point),
        str(point["rank"]),
        f"{100 * mean_of(point):.2f} %{spread}",
        *(difference_words(point[key]) for key in compared),
    )


def _named(point: Point) -> str:
    return f"{point['point']}  {shortened(point_words(point), _LONGEST)}"


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _confirmed(results: SweepResults) -> list[str]:
    rows = [("confirmed on test", "seeds", "distilled", "labels only", "difference", "verdict")]
    for one in results["confirmed"]:
        baseline, found = one["baseline_test_accuracy"], one["kd_minus_baseline"]
        rows.append(
            (
                one["point"],
                seeds_words(one["seeds"]),
                f"{100 * one['test_accuracy']:.2f} %",
                "–" if baseline is None else f"{100 * baseline:.2f} %",
                difference_words(found),
                of_distillation(found and found["verdict"], len(one["seeds"])),
            )
        )
    note = confirmed_words(results)
    return [*aligned(rows), *([note] if note else [])]


def _students(count: int) -> str:
    return "student was" if count == 1 else "students were"


def _points(count: int) -> str:
    return f"{count:,} point{'s' * (count != 1)}"


def plan_text(plan: dict[str, Any]) -> str:
    """A plan, for the terminal."""
    rows = [("to train", "without sharing", "planned")]
    rows += [(kind, f"{of['without_sharing']:,}", f"{of['planned']:,}") for kind, of in plan["by_kind"].items()]
    lines = aligned(rows)
    done, seconds = plan["trainings"]["done"], plan["seconds"]
    lines += ["", f"{_points(plan['points'])}, seeds {', '.join(map(str, plan['seeds']))}."]
    if done:
        lines[-1] += f" {done:,} students are trained already."
    how = f"about {readable_seconds(seconds)}" if seconds is not None else "unknown until one is trained"
    lines.append(f"Time for the students that are left, by one process: {how}.")
    return "\n".join(lines)
