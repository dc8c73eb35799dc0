"""stdout is the result: what a verb says goes there, and what anybody else prints meanwhile goes to stderr."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, ParamSpec, TypeVar

import typer

from kdrecipes.errors import EnvironmentProblem
from kdrecipes.secret_values import without_secrets
from kdrecipes.wording import harmless, harmless_json

P = ParamSpec("P")
T = TypeVar("T")

_out: IO[str] | None = None  # stdout, while a verb runs
_descriptor: int | None = None  # what file descriptor 1 was before it was lent to stderr


def say(text: str) -> None:
    """A part of the result; nothing is said any more to a reader who went away, as `head` does.

    Raises:
        EnvironmentProblem: when stdout can't be written for another reason.
    """
    text = harmless(text)
    if _descriptor is None:
        _write(text)
        return
    os.dup2(_descriptor, 1)
    try:
        _write(text)
    finally:
        os.dup2(2, 1)


def _write(text: str) -> None:
    try:
        typer.echo(text, file=_out)
    except OSError as error:
        _discard()
        if not isinstance(error, BrokenPipeError):
            raise EnvironmentProblem(
                f"The result can't be written to stdout: {error.strerror}. What was asked for is done; the same "
                "command shows it again, with its output sent elsewhere."
            ) from error


def _discard() -> None:
    """Send what is still to be written nowhere: else Python tries again at its end, and complains."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # no stream of the process
        for descriptor in {1, (_out or sys.stdout).fileno(), _descriptor or 1}:
            os.dup2(nothing, descriptor)
        (_out or sys.stdout).flush()
    os.close(nothing)


def interrupted(error: KeyboardInterrupt) -> str:
    """What is told of a Ctrl-C: its own text, which names the folder to go on with, where there was one by then."""
    return str(error) or "Interrupted. The same command goes on after the last step that was saved."


def tell(text: str) -> None:
    """A line beside the result, on stderr: a note, or what is wrong."""
    typer.echo(harmless(without_secrets(text)), err=True)


def print_json(value: Any) -> None:
    """The one object that `--json` promises."""
    encoding = getattr(_out or sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")  # a letter that a locale lacks would be no JSON
    text = harmless_json(json.dumps(value, indent=2, ensure_ascii=ascii_only))
    say(text.encode(errors="backslashreplace").decode())  # a path may hold bytes that are not UTF-8


def result_only(verb: Callable[P, T]) -> Callable[P, T]:
    """A verb on whose stdout nothing stands but what it says: plugins print, and libraries, and child processes."""

    @functools.wraps(verb)
    def apart(*arguments: P.args, **named: P.kwargs) -> T:
        with _others_to_stderr():
            return verb(*arguments, **named)

    return apart


def close() -> None:
    """The result is said: what is printed while the process ends (`atexit`, threads) goes to stderr."""
    with suppress(OSError, ValueError):  # closed, or no stream of the process
        if sys.stdout.fileno() == 1:
            sys.stdout.flush()
            os.dup2(2, 1)
            sys.stdout = sys.stderr


@contextmanager
def _others_to_stderr() -> Iterator[None]:
    global _out, _descriptor
    _out, sys.stdout = sys.stdout, sys.stderr
    try:
        _out.flush()
        if _out.fileno() == 1:  # what is no Python knows the descriptor alone
            _descriptor = os.dup(1)
            os.dup2(2, 1)
    except (OSError, io.UnsupportedOperation):  # no such stream, or no stderr
        pass
    try:
        yield
    finally:
        if _descriptor is not None:
            os.dup2(_descriptor, 1)
            os.close(_descriptor)
        sys.stdout, _out, _descriptor = _out, None, None
