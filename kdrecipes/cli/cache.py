"""`kdrecipes cache list|clear`: what is kept for later runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kdrecipes.cli.options import JsonOption
from kdrecipes.cli.result import print_json, result_only, say, tell
from kdrecipes.errors import EnvironmentProblem, UsageError

_SHOWN = 3  # recipes named for each entry

app = typer.Typer(
    help="What is kept for later runs under KDRECIPES_HOME: decoded images, fine-tuned teachers, teacher outputs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
@result_only
def cache_list(as_json: JsonOption = False) -> None:
    """Show what is kept, its size, when it was last used and which recipes it served."""
    from datetime import datetime

    from kdrecipes.disk.cache import entries
    from kdrecipes.disk.home import home
    from kdrecipes.wording import readable_bytes

    kept = entries()
    total = sum(entry.bytes for entry in kept)
    used = [datetime.fromtimestamp(entry.used).astimezone() for entry in kept]
    if as_json:
        rows = [
            {
                "kind": entry.kind,
                "name": entry.name,
                "bytes": entry.bytes,
                "used": time.isoformat(timespec="seconds"),
                "recipes": list(entry.served),
            }
            for entry, time in zip(kept, used, strict=True)
        ]
        print_json({"home": str(home()), "bytes": total, "entries": rows})
        return
    width = max((len(entry.name) for entry in kept), default=0)
    for entry, time in zip(kept, used, strict=True):
        line = f"{entry.kind:<9}  {entry.name:<{width}}  {readable_bytes(entry.bytes):>8}  {time:%Y-%m-%d %H:%M}"
        say(f"{line}  {_few(entry.served)}".rstrip())
    say(f"{readable_bytes(total)} in {home()}")


def _few(names: tuple[str, ...]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


@app.command("clear")
@result_only
def cache_clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…",
            help="Names as listed, or kinds: stores, teachers, outputs, downloads; `all` but downloads.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what is named. Runs make again what they need; what a running process is making is left.

    Example:  kdrecipes cache clear outputs
    """
    from kdrecipes.disk.cache import entries, remove, select
    from kdrecipes.wording import readable_bytes

    if not names:
        raise UsageError("Say what to clear: names that `kdrecipes cache list` shows, kinds of them, or `all`.")
    chosen = select(names, entries())
    for entry in chosen:
        tell(f"{entry.kind}  {entry.name}  {readable_bytes(entry.bytes)}")
    if not chosen:
        say("Nothing to clear.")
        return
    freed = readable_bytes(sum(entry.bytes for entry in chosen))
    if not yes and not _agreed(f"Remove {'these' if len(chosen) > 1 else 'this'} and free {freed}?"):
        say("Nothing was removed.")
        return
    left = []
    for entry in chosen:
        try:
            remove(entry)
        except EnvironmentProblem as error:
            left.append((entry, str(error)))
    removed = [entry for entry in chosen if entry not in [e for e, _ in left]]
    say(f"Removed {len(removed)} of {len(chosen)}: {readable_bytes(sum(entry.bytes for entry in removed))}.")
    if left:
        raise EnvironmentProblem("\n".join(message for _, message in left))


def _agreed(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: when nobody is there to answer.
    """
    typer.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        raise UsageError("Nothing was removed: nobody answered. --yes does not ask.")
    return answer.strip().lower() in ("y", "yes")
