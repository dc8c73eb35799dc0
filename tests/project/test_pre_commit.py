"""The hooks of .pre-commit-config.yaml look at the files that they should, and find nothing to mend there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
REPOSITORIES = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
HOOKS = {hook["id"]: hook for repository in REPOSITORIES for hook in repository["hooks"]}
PUBLISHED = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
FIXERS = ("end-of-file-fixer", "trailing-whitespace")
BROKEN_ON_PURPOSE = "tests/recipes/invalid/"


@pytest.fixture(scope="module")
def files() -> list[str]:
    """The repository's own files, as pre-commit is given them: no links."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def looked_at(hook: dict[str, Any], names: list[str]) -> list[str]:
    """What a hook's patterns leave of some names, as pre-commit reads them."""
    wanted = [name for name in names if re.search(hook.get("files", ""), name)]
    return [name for name in wanted if not ("exclude" in hook and re.search(hook["exclude"], name))]


def configs_of_the_guide() -> list[dict[str, Any]]:
    """The configurations of pre-commit that docs/guide/ci.md shows."""
    page = (ROOT / "docs/guide/ci.md").read_text(encoding="utf-8")
    shown = re.findall(r'^```yaml title=".pre-commit-config.yaml"\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block) for block in shown]


def shown_in_the_guide() -> list[dict[str, Any]]:
    """Their hooks."""
    return [hook for config in configs_of_the_guide() for one in config["repos"] for hook in one["hooks"]]


def test_ruff_is_the_version_of_the_constraints():
    [ruff] = [repository["rev"] for repository in REPOSITORIES if repository["repo"].endswith("/ruff-pre-commit")]
    assert f"ruff=={ruff.removeprefix('v')}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "hook, suffix, read", [("check-json", ".json", json.loads), ("check-toml", ".toml", tomllib.loads)]
)
def test_only_files_that_are_broken_on_purpose_are_left_out(hook, suffix, read, files):
    """And every other file can be read."""
    names = [name for name in files if name.endswith(suffix)]
    seen = looked_at(HOOKS[hook], names)
    assert [name for name in names if name not in seen] == [
        name for name in names if name.startswith(BROKEN_ON_PURPOSE)
    ]
    assert {name.split("/")[0] for name in seen} >= {"recipes", "tests"}
    for name in seen:
        read((ROOT / name).read_text(encoding="utf-8"))


def test_every_yaml_file_is_read(files):
    names = [name for name in files if name.endswith((".yml", ".yaml"))]
    assert looked_at(HOOKS["check-yaml"], names) == names
    for name in names:
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("hook", FIXERS)
def test_a_fixer_leaves_alone_what_tests_or_runs_have_written(hook, files):
    seen = looked_at(HOOKS[hook], files)
    left = {name for name in files if name not in seen}
    assert left == {name for name in files if name.startswith(("tests/recipes/", "results/", "docs/assets/reports/"))}
    assert {"README.md", "Makefile", "kdrecipes/__init__.py"} <= set(seen)


def test_the_fixers_find_nothing(files):
    for name in set(looked_at(HOOKS["end-of-file-fixer"], files)):
        text = (ROOT / name).read_bytes()
        if b"\0" in text:  # the hooks look at texts alone
            continue
        assert not text or (text.endswith(b"\n") and not text.endswith(b"\n\n")), name
        assert not re.search(rb"[ \t]+$", text, re.MULTILINE), name


def test_the_local_hook_is_the_published_one():
    """Its command differs by where it stands, and its language by what is installed already."""
    local, published = HOOKS["kdrecipes-validate"], PUBLISHED["kdrecipes-validate"]
    assert local["entry"] == f".venv/bin/{published['entry']}"
    assert local["language"] == "system"
    assert {key: local[key] for key in ("name", "files", "exclude", "require_serial")} == {
        key: published[key] for key in ("name", "files", "exclude", "require_serial")
    }
    [shown] = [hook for hook in shown_in_the_guide() if "entry" in hook]
    assert {key: shown[key] for key in ("entry", "files", "exclude")} == {
        key: published[key] for key in ("entry", "files", "exclude")
    }


def test_the_local_hook_looks_at_every_shipped_recipe_and_at_nothing_else(files):
    shipped = [name for name in files if name.startswith("recipes/") and name.endswith((".toml", ".json"))]
    assert shipped
    assert looked_at(HOOKS["kdrecipes-validate"], files) == shipped


@pytest.mark.parametrize(
    "name, seen",
    [
        ("recipes/mine.toml", True),
        ("recipes/deep/er/mine.json", True),
        ("recipes/schematic.json", True),
        ("recipes/recipe.schema.json", False),
        ("recipes/schema.json", False),
        ("recipes/recipe_schema.json", False),
        ("recipes/schemas/recipe.json", False),
        ("recipes/pyproject.toml", False),
        ("schemas/recipe.schema.json", False),
        ("settings/mine.toml", False),
    ],
)
def test_the_hook_looks_at_recipes_and_leaves_schemas_alone(name, seen, tmp_path, monkeypatch):
    """And `kdrecipes validate recipes/` looks at the same files."""
    assert bool(looked_at(PUBLISHED["kdrecipes-validate"], [name])) == seen
    from kdrecipes.cli.checks import recipe_files

    monkeypatch.chdir(tmp_path)
    for file in (Path(name), Path("recipes/one.toml")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert (name in recipe_files(["recipes"])) == seen


@pytest.mark.slow
def test_the_guides_hook_can_be_cloned_installed_and_run(tmp_path):
    """What pre-commit does: clone at `rev`, install with the additional dependencies, call the entry with the files."""
    [repository] = [one for config in configs_of_the_guide() for one in config["repos"] if one["repo"] != "local"]
    assert repository["rev"] == "COMMIT", "a tag of a version that is not out yet can't be cloned"
    [hook] = repository["hooks"]
    clone, site, work = tmp_path / "clone", tmp_path / "site", tmp_path / "work"

    def run(*command: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **more)

    rev = run("git", "rev-parse", "HEAD", cwd=ROOT).stdout.strip()
    assert run("git", "clone", "-q", "--no-checkout", str(ROOT), str(clone), cwd=tmp_path).returncode == 0
    assert run("git", "checkout", "-q", rev, cwd=clone).returncode == 0
    published = yaml.safe_load((clone / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    [entry] = [one["entry"] for one in published if one["id"] == hook["id"]]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    done = run(*pip, "--target", str(site), ".", *hook["additional_dependencies"], cwd=clone)
    assert done.returncode == 0, done.stderr
    (work / "recipes").mkdir(parents=True)
    (work / "recipes/mine.toml").write_bytes((ROOT / "recipes/quickstart.toml").read_bytes())
    command, *arguments = entry.split()
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = run(str(site / "bin" / command), *arguments, "recipes/mine.toml", cwd=work, env=environment)
    assert (done.returncode, done.stdout) == (0, "recipes/mine.toml  ok\n"), done.stderr
