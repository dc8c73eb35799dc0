"""Where a run's time went and what energy its machine took: in one line for the terminal, in rows for the page."""

from __future__ import annotations

from typing import Any, NamedTuple

from kdrecipes.report.facts import Report
from kdrecipes.wording import readable_seconds

_PARTS = {  # what a part is called in rows, and what it counts for in the line
    "start": ("loading libraries", "preparing"),
    "data": ("preparing the data", "preparing"),
    "rehearsal": ("rehearsal on black images", "preparing"),
    "teacher": ("teacher {of}", "teacher"),
    "outputs": ("outputs of the teacher {of}", "teacher outputs"),
    "arm": ("student {of}", "students"),
    "evaluation": ("tests", "tests"),
    "writing": ("writing", "tests"),
    "measuring": ("measuring size, latency and memory", "measuring"),
}
_BY = {"this": "", "both": "a part of it by an earlier process or run", "earlier": "by an earlier process or run"}
_OF = {"processors": "processors", "gpus": "GPUs"}


class Row(NamedTuple):
    """A part of a run: its words, its time, its share of the wall time, and who else did it, empty for nobody."""

    what: str
    time: str
    share: str
    by: str


def time_rows(report: Report) -> list[Row]:
    """The parts of a run, in order, and the rest; empty for a report that is older than they are."""
    if "time" not in report:
        return []
    wall = report["time"]["wall"]
    rows = [
        Row(
            _PARTS[part["part"]][0].format(of=part.get("of", "")),
            readable_seconds(part["seconds"]) if part["seconds"] or part["by"] != "earlier" else "–",
            _share(part["seconds"], wall),
            _BY[part["by"]],
        )
        for part in report["time"]["parts"]
    ]
    return [*rows, Row("the rest", readable_seconds(_rest(report["time"])), _share(_rest(report["time"]), wall), "")]


def energy_words(report: Report) -> str:
    """`"processors 1.20 kJ, GPUs 3.40 kJ"`; empty where no counter told."""
    return ", ".join(f"{_OF[kind]} {_kilojoules(joules)}" for kind, joules in report.get("energy", {}).items())


def time_line(report: Report) -> str:
    """The same for the terminal: a sentence or two; empty for a report that is older."""
    if "time" not in report:
        return ""
    wall, sums = report["time"]["wall"], dict.fromkeys((line for _, line in _PARTS.values()), 0.0)
    for part in report["time"]["parts"]:
        sums[_PARTS[part["part"]][1]] += part["seconds"]
    sums["the rest"] = _rest(report["time"])
    shares = ", ".join(f"{what} {_share(s, wall)}" for what, s in sums.items() if wall and s >= 0.005 * wall)
    text = f"Took {readable_seconds(wall)}" + (f": {shares}." if shares else ".")
    if earlier := [_PARTS[part["part"]][0].format(of=part.get("of", "")) for part in _earlier(report["time"])]:
        text += f" Done before, in whole or in part: {', '.join(earlier)}."
    energy = energy_words(report)
    return f"{text} The whole machine took meanwhile: {energy}." if energy else text


def _earlier(time: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in time["parts"] if part["by"] != "this"]


def _rest(time: dict[str, Any]) -> float:
    return max(0.0, float(time["wall"] - sum(part["seconds"] for part in time["parts"])))


def _share(seconds: float, wall: float) -> str:
    return f"{100 * seconds / wall:.0f} %" if wall else "–"


def _kilojoules(joules: float) -> str:
    return f"{joules:.0f} J" if joules < 1000 else f"{joules / 1000:,.2f} kJ"
