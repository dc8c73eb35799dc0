"""docs/plugins.md does what it says: its files are written, its commands run in order, its code is the example's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
# (the file that the text before names, or "", language, content)
BLOCKS = re.findall(r"(?:`([\w./-]+)`:\n\n)?```(\w*)\n(.*?)```\n", GUIDE, re.DOTALL)

# pip as in the guide, but into a folder of the test's own and without a network; twine shows what it would upload; runs
# are short and measure no costs, of which the guide says nothing.
PRELUDE = """
set -e
pip() {
  if [ "$1" = uninstall ]; then rm -r "$SITE"/"${3//-/_}"*; return; fi
  test "$1 $2" = "install -e"
  python -m pip install -q --no-deps --no-build-isolation --no-index --no-compile --target "$SITE" "$3"
}
SHORT="--set report.measure=false --set train.epochs=2 --set teacher.train.epochs=2"
kdrecipes() {
  if [ "$1" = run ]; then set -- "$@" $SHORT --set 'teacher.preflight="warn"'; fi
  command kdrecipes "$@"
}
twine() { test "$1" = upload; shift; ls "$@"; }
python() { if [ "$2" = build ]; then command python "$@" --no-isolation; else command python "$@"; fi; }
"""


def test_examples_are_those_of_the_example_package():
    shown = {name: content for name, _, content in BLOCKS if name.startswith("plugins/")}
    assert len(shown) == 5
    for name, content in shown.items():
        assert content == (ROOT / name).read_text(encoding="utf-8"), name


def test_every_block_is_of_a_kind_that_is_tried():
    assert GUIDE.count("```") == 2 * len(BLOCKS)
    assert {language for _, language, _ in BLOCKS} == {"bash", "text", "toml", "python"}
    for _, language, content in BLOCKS:
        if language == "toml":
            tomllib.loads(content)


@pytest.mark.slow
def test_the_guide_works_from_its_first_line_to_its_last(tmp_path):
    folder, said = tmp_path / "reader", ""
    folder.mkdir()
    environment = os.environ | {
        "SITE": str(tmp_path / "site"),
        "PYTHONPATH": str(tmp_path / "site"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KDRECIPES_HOME": str(tmp_path / "home"),
    }

    def run(*command):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command[-1], done.stdout, done.stderr)
        return done.stdout + done.stderr

    for name, language, content in BLOCKS:
        if name:
            if not name.startswith("plugins/"):
                (folder / name).write_text(content)
        elif language == "python":
            run(sys.executable, "-c", content)
        elif language == "bash":
            said = run("bash", "-c", f"{PRELUDE}{content}\npwd > '{tmp_path}/where'")
            folder = Path((tmp_path / "where").read_text().strip())
        elif language == "text":
            heard = " ".join(said.split())
            for line in content.splitlines():
                assert " ".join(line.split()) in heard, (line, said)
        elif content.startswith("[project.entry-points"):
            assert content in (folder / "pyproject.toml").read_text()
        elif content.startswith("dependencies"):
            assert content in (folder / "kdrecipes-mine" / "pyproject.toml").read_text()
