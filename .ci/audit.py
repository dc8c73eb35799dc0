"""Asks pip-audit which versions in constraints.txt have known vulnerabilities: one fails `make lint`.

    python .ci/audit.py PIP_AUDIT REQUIREMENTS

What could not be asked about is told and fails nothing: a machine without a network can lint all the same. It exits
with 0, with 1 where a vulnerability is known, and with 2 where pip-audit itself failed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

# Vulnerabilities that do no harm here: the id of each, and why. They are told each time, and do not fail.
ACCEPTED: dict[str, str] = {}
LONGEST = 300.0  # seconds, of all questions together
# What pip-audit, or a library below it, says where the service gives no answer.
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Could not connect|blocking this service|"
    r"not redirecting|ServiceError|JSONDecodeError|ChunkedEncodingError"
)


def asked(command: str, requirements: str) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit tells of each package; or nothing, and why."""
    words = [command, "-r", requirements, "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return [], f"ConnectTimeout: no answer within {LONGEST:g} seconds"
    except OSError as error:
        return [], f"it can't be started: {error}"
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError, TypeError):
        return [], done.stderr.strip() or "it said nothing"


def vulnerabilities(packages: list[dict[str, Any]], accepted: dict[str, str]) -> tuple[list[str], list[str]]:
    """One line for each known vulnerability: those that fail, and those that are accepted."""
    failing, let_pass = [], []
    for package in packages:
        for found in package.get("vulns", ()):
            line = f"{package['name']} {package['version']}: {found['id']}"
            if reason := next((accepted[i] for i in (found["id"], *found.get("aliases", ())) if i in accepted), ""):
                let_pass.append(f"{line}, accepted: {reason}")
            else:
                failing.append(f"{line}, mended in {', '.join(found['fix_versions']) or 'no version yet'}")
    return failing, let_pass


def main(command: str, requirements: str, accepted: dict[str, str] = ACCEPTED) -> int:
    """Print what is known of the versions that a file of requirements names, and return the exit code."""
    packages, why = asked(command, requirements)
    if why and not UNREACHABLE.search(why):
        print(f"audit: pip-audit failed: {why.splitlines()[-1]}", file=sys.stderr)
        return 2
    unasked = [package["name"] for package in packages if "skip_reason" in package]
    if len(unasked) == len(packages):
        reason = why.splitlines()[-1] if why else f"it knows none of {len(packages)} packages"
        print(f"audit: skipped: the service of known vulnerabilities can't be reached ({reason}).")
        return 0
    failing, let_pass = vulnerabilities(packages, accepted)
    for line in let_pass:
        print(f"audit: {line}")
    if unasked:
        print(f"audit: {len(unasked)} of {len(packages)} packages could not be asked about: {', '.join(unasked)}.")
    if not failing:
        more = "further " if let_pass else ""
        print(f"audit: no {more}vulnerability is known in {len(packages) - len(unasked)} packages.")
        return 0
    for line in failing:
        print(f"audit: {line}", file=sys.stderr)
    way = f"Raise the version in {requirements}, or give the id and a reason in ACCEPTED of .ci/audit.py."
    print(f"audit: known vulnerabilities: {len(failing)}. {way}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
