"""`kdrecipes doctor`: whether this installation and this machine can run recipes, and what to mend."""

from __future__ import annotations

from dataclasses import asdict

import typer

from kdrecipes.cli.options import JsonOption, collect_as_usual
from kdrecipes.cli.result import print_json, say


def doctor(as_json: JsonOption = False) -> None:
    """Look for what would stop a run here or make it slow, and say how to mend it; leaves with 3 where it finds any.

    It looks at Python, packages, plugins, folders and their room, caches, memory, backend, device, threads and speed,
    and takes two steps of every fit of a small recipe. It uses no network.

    Example:  kdrecipes doctor --json
    """
    from kdrecipes.runs.doctor import examine
    from kdrecipes.wording import printable

    collect_as_usual()
    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            say(f"{check.state:<8}  {check.name:<15}  {printable(' '.join(check.found.split()))}")
            if check.mend:
                say(f"{'':<8}  {'':<15}  → {printable(check.mend)}")
    findings = sum(check.state == "finding" for check in checks)
    if as_json:
        print_json({"schema_version": 1, "ok": not findings, "checks": [asdict(check) for check in checks]})
    else:
        say(f"{findings} finding{'s' if findings > 1 else ''}." if findings else "Nothing is wrong.")
    raise typer.Exit(3 if findings else 0)
