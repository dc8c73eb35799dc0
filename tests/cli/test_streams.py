"""Streams that nobody reads, that are closed or full, or that lack a letter: one message at most, no work lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdrecipes.disk.files import of_the_system

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and /dev/full are of POSIX")


def command(*arguments, code=None, **options):
    """A command in a process of its own, or the Python text `code`."""
    what = ["-c", code] if code else ["-m", "kdrecipes", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environment", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, *what], env=environment, text=True, timeout=100, **options)


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        done = command("validate", "digits", stdout=stdout)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_result_that_can_not_be_written_is_told_in_one_message():
    with open("/dev/full", "w") as full:
        done = command("validate", "digits", "--json", stdout=full)
        version = command("--version", stdout=full)
    told = "The result can't be written to stdout: No space left on device. What was asked for is done; the same "
    assert (done.returncode, done.stderr) == (3, f"{told}command shows it again, with its output sent elsewhere.\n")
    assert (version.returncode, version.stderr) == (3, "No space left on device.\n")


@pytest.mark.parametrize("closed", [[1], [0, 1, 2]])
def test_a_stream_that_is_closed_takes_nothing_and_no_file_takes_its_place(tmp_path, closed):
    file = tmp_path / "schema.json"
    done = command("schema", "--out", str(file), preexec_fn=lambda: [os.close(one) for one in closed])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(file.read_text(encoding="utf-8"))["type"] == "object"


TOLD = """
import sys
from kdrecipes.cli.streams import secure_streams
secure_streams()
from rich.console import Console
Console(stderr=True).print("told")
print("a plugin's", file=sys.stderr, flush=True)
print("done")
"""


def test_a_stderr_that_takes_nothing_ends_no_command():
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full, os.fdopen(write, "w") as gone:
        for stderr in (full, gone):
            done = command(code=TOLD, stderr=stderr)
            assert (done.returncode, done.stdout) == (0, "done\n")


def test_letters_that_a_locale_lacks_are_escaped_and_json_stays_json():
    said = (
        "from kdrecipes.cli.streams import secure_streams\nsecure_streams()\n"
        "from kdrecipes.cli.result import print_json, say\nsay('\\u2212 1')\nprint_json(['\\u2212', '\\U0001f600'])"
    )
    done = command(code=said, environment={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    text, _, value = done.stdout.partition("\n")
    assert text == "\\u2212 1" and json.loads(value) == ["−", "😀"]


def test_a_command_in_a_folder_that_is_gone_says_so(tmp_path):
    code = f"import os; os.chdir({str(tmp_path)!r}); os.mkdir('x'); os.chdir('x'); os.rmdir('../x')\n"
    done = command(code=f"{code}import sys; sys.argv[1:] = ['list']\nfrom kdrecipes.cli.main import main\nmain()")
    told = "The folder that this command began in is gone. Change to another one.\n"
    assert (done.returncode, done.stdout, done.stderr) == (3, "", told)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission denied."),
        (OSError("odd"), "OSError: odd."),
        (
            OSError(errno.EMFILE, "Too many open files", b"/x"),
            "/x: Too many open files. Allow more of them, for example by `ulimit -n 1024`, and run the same command "
            "again.",
        ),
    ],
)
def test_an_error_of_the_system_that_no_verb_expects_is_one_message(call, monkeypatch, error, text):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr("kdrecipes.recipe.load.load_registry", broken)
    assert call("validate", "digits")[0] == 1  # a result of that recipe
    monkeypatch.setattr("kdrecipes.cli.main.app", broken)
    assert call("validate", "digits") == (3, "", f"{text}\n")
    assert str(of_the_system(error)) == text


def test_a_package_that_can_not_be_loaded_is_one_message(call, monkeypatch):
    def broken():
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("kdrecipes.cli.main.app", broken)
    code, out, err = call("run", "digits")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("A package can't be loaded (ImportError: libtorch_cpu.so: failed to map segment from shared ")
    assert "`ulimit -v`" in err and "`kdrecipes doctor`" in err


def test_memory_that_ends_in_any_verb_is_one_message(call, monkeypatch):
    def broken():
        raise MemoryError

    monkeypatch.setattr("kdrecipes.cli.main.app", broken)
    told = "There is not enough memory. Run the same command again once other programs have ended.\n"
    assert call("list") == (1, "", told)
