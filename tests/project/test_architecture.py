"""ARCHITECTURE.md and CONTRIBUTING.md name only what is there: files, folders, version numbers, make targets, rooms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kdrecipes.disk.cache import DOWNLOADS, MADE

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
SUFFIXES = (".py", ".md", ".toml", ".json", ".jsonl", ".txt", ".npz", ".html", ".jinja", ".yaml", ".yml")
# What a run writes into its own folder.
OF_A_RUN = {
    "lock.json",
    "status.json",
    "history.jsonl",
    "recipe.toml",
    "recipe.json",
    "facts",
    "state",
    "teachers",
    "students",
    "predictions.npz",
    "report.json",
    "report.html",
    "figures",
    "MODEL_CARD.md",
    "tensorboard",
    "wandb",
    "trackers",
    "log.txt",
}
OF_A_SWEEP = {"sweep.json", "sweep.html"}
PLACEHOLDERS = ("NAME.py", "VERB.py")  # in "how to add"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def spans(page: str) -> list[str]:
    """What stands between backticks, outside of blocks."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def paths(page: str) -> list[str]:
    """The spans that are paths: with a slash at a place, or with a file's suffix."""
    return [span for span in spans(page) if PATH.fullmatch(span) and ("/" in span or span.endswith(SUFFIXES))]


def known(path: str) -> bool:
    if path.rpartition("/")[2] in PLACEHOLDERS:
        path = path.rpartition("/")[0]
    kept = path.split("/")[0]
    here = [folder / path for folder in (ROOT, ROOT / "kdrecipes")]
    if "*" in path:
        return any(any(place.parent.glob(place.name)) for place in here)
    return any(place.exists() for place in here) or kept in OF_A_RUN | OF_A_SWEEP or kept in (*MADE, *DOWNLOADS)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page):
    found = paths(page)
    assert len(found) > 30
    assert [path for path in found if not known(path)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page):
    makefile = text_of("Makefile")
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text_of(page), re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


def test_a_runs_files_are_those_that_overwrite_removes():
    from kdrecipes.runs import folder

    assert set(folder._ENTRIES) - {"export"} == OF_A_RUN
    named = {path.split("/")[0] for path in paths("ARCHITECTURE.md")}
    assert named >= OF_A_RUN | {*MADE, *DOWNLOADS}


@pytest.mark.parametrize("page", PAGES)
def test_a_version_of_a_cache_stands_in_the_file_beside_it(page):
    found = [line for line in text_of(page).splitlines() if re.search(r"`[A-Z]+_VERSION`", line) and line[0] == "|"]
    assert len(found) == 3
    for line in found:
        version, file = re.findall(r"`([A-Z]+_VERSION)`", line)[0], re.findall(r"`([\w/]+\.py)`", line)[0]
        code = next(place for place in (ROOT / file, ROOT / "kdrecipes" / file) if place.exists())
        assert re.search(rf"^{version} = \d+", code.read_text(encoding="utf-8"), re.MULTILINE), line


def test_every_room_has_its_row_and_says_where_its_neighbours_are():
    rooms = {file.parent.name for file in (ROOT / "kdrecipes").glob("*/__init__.py") if not file.parent.is_symlink()}
    rows = re.findall(
        r"^\| (?:the ground: )?`([^`]+)` \|", text_of("ARCHITECTURE.md").partition("## The arrow")[0], re.M
    )
    assert {row.rstrip("/") for row in rows} == rooms | {"kdrecipes/*.py"}
    for room in rooms:
        first = (ROOT / "kdrecipes" / room / "__init__.py").read_text(encoding="utf-8").split('"""')[1]
        assert first.count("\n") >= 2, f"kdrecipes/{room}/__init__.py says less than three lines"
