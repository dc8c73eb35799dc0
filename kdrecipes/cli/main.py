"""The command line: verbs, exit codes, `--json`. stdout is the result, stderr is progress and problems."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from kdrecipes.cli import cache, new
from kdrecipes.cli.compare import compare
from kdrecipes.cli.describe import describe
from kdrecipes.cli.doctor import doctor
from kdrecipes.cli.export import export
from kdrecipes.cli.list import list_
from kdrecipes.cli.options import collect_as_usual, collect_rarely
from kdrecipes.cli.predict import predict
from kdrecipes.cli.push import push
from kdrecipes.cli.report import report
from kdrecipes.cli.result import close, interrupted, print_json, result_only, tell
from kdrecipes.cli.resume import resume
from kdrecipes.cli.run import run
from kdrecipes.cli.schema import schema
from kdrecipes.cli.streams import secure_streams
from kdrecipes.cli.sweep import sweep
from kdrecipes.cli.validate import validate
from kdrecipes.disk.files import of_the_system
from kdrecipes.errors import EnvironmentProblem, KDRecipesError, Preempted, RunError, one_line

app = typer.Typer(
    name="kdrecipes",
    help="Knowledge distillation by recipe: one file names a teacher, a student, a dataset and a loss.",
    epilog="Start with:  kdrecipes run digits   (no download, under a minute).   "
    "Exit codes: 0 done, 1 run failed, 2 recipe or usage, 3 environment or plugin, 130 interrupted, 143 preempted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"kdrecipes {version('kdrecipes')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(result_only(run))
app.command()(result_only(resume))
app.command()(result_only(sweep))
app.command()(result_only(report))
app.command()(result_only(compare))
app.command()(result_only(export))
app.command()(result_only(predict))
app.command()(result_only(push))
app.command()(result_only(validate))
app.command()(result_only(describe))
app.command("list")(result_only(list_))
app.command()(result_only(schema))
app.command()(result_only(doctor))
app.add_typer(cache.app, name="cache")
app.add_typer(new.app, name="new")


def main() -> None:
    """Entry point: turns every known error into its message and exit code; with --json into an object on stdout too."""
    secure_streams()
    collect_rarely()
    try:
        _refuse_folder_that_is_gone()
        app()
    except (KDRecipesError, Preempted) as error:
        _end(error)
    except OSError as error:
        _end(of_the_system(error))
    except ImportError as error:
        _end(EnvironmentProblem(f"A package can't be loaded ({one_line(error)[:300]}). {_LOADED}"))
    except MemoryError:
        _end(RunError("There is not enough memory. Run the same command again once other programs have ended."))
    except KeyboardInterrupt as error:
        tell(interrupted(error))
        sys.exit(130)
    finally:
        collect_as_usual()
        close()


_LOADED = (
    "Where memory is limited, by `ulimit -v` or a container, allow more; else install it anew. `kdrecipes doctor` "
    "looks for what is wrong."
)


def _refuse_folder_that_is_gone() -> None:
    """Refuse to work in a folder that was removed: relative paths lead nowhere, and libraries end the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise EnvironmentProblem("The folder that this command began in is gone. Change to another one.") from None


def _end(error: KDRecipesError | Preempted) -> None:
    """Tell what went wrong and leave with its code."""
    tell(str(error))
    if "--json" in sys.argv[1:]:
        problems = [problem.asdict() for problem in getattr(error, "problems", ())]
        with suppress(EnvironmentProblem):  # stdout can't be written, which may be what was told
            print_json({"ok": False, "error": str(error), "problems": problems})
    sys.exit(error.exit_code)
