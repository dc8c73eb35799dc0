"""What a soak found, as results/soak.json: `python -m tests.soak JUNIT_XML FILE`, which `make soak` calls.

Of each test it holds how many of its cases passed, failed and were skipped, and what they recorded of themselves by
pytest's `record_property`. It holds no times: several tests run at once, and so a time says little.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.report import machine
from benchmarks.rows import Setting
from kdrecipes.disk.files import write_json

OUTCOMES = ("passed", "failed", "skipped")
_TOLD = ("cpu", "cores", "python", "kdrecipes", "keras", "torch", "numpy")


def document(tests: dict[str, dict[str, Any]], day: str, command: str) -> dict[str, Any]:
    """What the file holds.

    Args:
        tests: from `outcomes_of`.
        day: ISO 8601.
        command: that makes the file.
    """
    on = machine(Setting(quick=False, gpu=False))
    return {
        "command": command,
        "date": day,
        "machine": {name: on[name] for name in _TOLD},
        **{outcome: sum(one[outcome] for one in tests.values()) for outcome in OUTCOMES},
        "tests": tests,
    }


def outcomes_of(xml: str) -> dict[str, dict[str, Any]]:
    """The tests of a JUnit file by file and name, sorted.

    Returns:
        Of each how many cases "passed", "failed" and were "skipped"; "failures", the cases that failed; and "recorded",
        under each property's name its distinct values in the order of the cases. The last two are absent when empty.
    """
    cases: dict[tuple[str, str], list[ElementTree.Element]] = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):  # one that fails, and fails to end too, is there twice
        cases.setdefault((case.get("classname", ""), case.get("name", "")), []).append(case)
    tests: dict[str, dict[str, Any]] = {}
    for (module, name), told in sorted(cases.items()):
        path = (module or name).replace(".", "/")  # of a file that is skipped whole
        test = f"{path}.py" + (f"::{name.partition('[')[0]}" if module else "")
        one = tests.setdefault(test, {**dict.fromkeys(OUTCOMES, 0), "failures": [], "recorded": {}})
        outcome = _outcome(told)
        one[outcome] += 1
        if outcome == "failed":
            one["failures"].append(name)
        for key, value in _recorded(told):
            values = one["recorded"].setdefault(key, [])
            values += [value] if value not in values else []
    return {name: {key: value for key, value in one.items() if value not in ([], {})} for name, one in tests.items()}


def _outcome(told: list[ElementTree.Element]) -> str:
    tags = {part.tag for case in told for part in case}
    return "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"


def _recorded(told: list[ElementTree.Element]) -> Iterator[tuple[str, Any]]:
    """Names and values; JUnit's file has all values as text, so numbers are read again."""
    for part in (one for case in told for one in case.iter("property")):
        value = part.get("value", "")
        try:
            yield part.get("name", ""), json.loads(value)
        except ValueError:
            yield part.get("name", ""), value


def main(junit: Path, file: Path, command: str = "make soak") -> None:
    """Write the file, in place of one that is there."""
    write_json(file, document(outcomes_of(junit.read_text(encoding="utf-8")), date.today().isoformat(), command))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
