"""The README and the notebook do what they say: every code block is run, every figure is in a committed report."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import kdrecipes
from kdrecipes.components.losses import TERMS
from kdrecipes.wording import points

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_block_distils_and_saves_a_plain_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = blocks("python")[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    space = {}
    exec(compile(block, "README.md", "exec"), space)
    from kdrecipes.backend import keras

    saved = keras.models.load_model("student.keras", compile=False, safe_mode=True)
    assert saved.count_params() == space["student"].count_params()


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_recipe_block_is_valid(tmp_path):
    (tmp_path / "my_first.toml").write_text(blocks("toml")[0])
    assert kdrecipes.load_recipe(tmp_path / "my_first.toml").name == "my_first"


def test_message_shown_for_a_mistake_is_the_real_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_first.toml").write_text(blocks("toml")[0].replace("temperature", "temperatur"))
    with pytest.raises(kdrecipes.RecipeError) as error:
        kdrecipes.load_recipe("my_first.toml")
    assert str(error.value) in README


def test_every_command_line_shown_is_understood():
    """Each `kdrecipes VERB --flag` of the README exists; the commands themselves are run by other tests."""
    from typer.main import get_command

    from kdrecipes.cli.main import app

    verbs = get_command(app).commands
    shown = re.findall(r"kdrecipes (run|validate|list|schema|[a-z]+) ([^\n`]*)", "\n".join(blocks("")))
    assert {verb for verb, _ in shown} <= set(verbs)
    for verb, words in shown:
        flags = {flag for parameter in verbs[verb].params for flag in parameter.opts}
        assert set(re.findall(r"(?<=\s)--[a-z]+", " " + words.partition("#")[0])) <= flags


def test_it_counts_the_losses_that_are_there():
    assert f"one of {len(TERMS)} losses" in README


def test_every_make_target_shown_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def committed():
    """The committed reports by name; other files of results/ are not reports of one run."""
    files = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "results").glob("*.json")}
    return {name: found for name, found in files.items() if "arms" in found}


def test_the_table_quotes_the_committed_reports():
    from kdrecipes.report.build import check_report
    from kdrecipes.report.table import table_rows

    rows = re.findall(r"^\| \[`(\w+)`\]\(results/(\w+)\.json\) \|(.*)\|$", README, re.MULTILINE)
    assert [name for name, _, _ in rows][:2] == ["few_labels", "few_labels_pretrained"], "few labels first"
    assert "fashion_mnist_lite0" in [name for name, _, _ in rows], "and full data beside"
    for name, file, cells in rows:
        report = committed()[file]
        check_report(report)
        assert report["name"] == name == file
        labels, *accuracies, difference = (cell.strip() for cell in cells.split("|"))
        assert labels == f"{report['dataset'].get('labelled', report['dataset']['train']):,}"
        assert accuracies == [f"{100 * row['accuracy']:.2f}" for row in table_rows(report)]
        found = report["comparison"]["kd_minus_baseline"]
        ends = " to ".join(points(end) for end in found["ci95"])
        seeds = "1 seed" if found["seeds"] == 1 else f"{found['seeds']} seeds"
        assert difference == f"{points(found['mean'])} ({ends}), {seeds}"


def test_the_student_that_passes_its_teacher_is_quoted():
    found = committed()["few_labels_pretrained"]["comparison"]["kd_minus_teacher"]
    low, high = found["ci95"]
    assert low > 0 and f"{points(found['mean'])} points ({points(low)} to {points(high)})" in README


def test_the_costs_of_teacher_and_student_are_quoted_from_one_run():
    from kdrecipes.report.measures import significant, size_text

    report = committed()["few_labels"]
    teacher = report["teachers"][0]
    student = next(arm for arm in report["arms"] if arm["arm"] == "kd" and "latency_ms" in arm)
    assert report["measures"]["threads"] == 1 and "on one CPU thread" in README
    for one in (teacher, student):
        times = " and ".join(
            f"{significant(one[key]['1']['median'])} ms in {name}"
            for key, name in (("latency_ms_onnx", "ONNX Runtime"), ("latency_ms", "Keras"))
        )
        assert f"{size_text(one['size_bytes'])}, {times}" in " ".join(README.split())


def test_the_report_shown_is_the_committed_page():
    assert "[![" in README and "](docs/assets/report.png)](docs/assets/reports/few_labels.html)" in README
    with Image.open(ROOT / "docs" / "assets" / "report.png") as picture:
        assert picture.format == "PNG" and picture.width >= 800


def test_the_output_shown_is_the_committed_quickstart():
    from kdrecipes.report.table import summary_text

    shown = next(block for block in blocks("") if "test accuracy" in block)
    table, _, words = summary_text(committed()["quickstart"]).partition("\n\n")
    quoted, _, rest = shown.partition("\n\n")
    assert quoted == table and " ".join(rest.split()) == " ".join(words.split())


def test_the_ten_seeds_are_the_quickstarts():
    found = json.loads((ROOT / "results" / "quickstart_seeds.json").read_text(encoding="utf-8"))
    clear = sum(one["ci95"][0] > 0 for one in found["seeds"])
    assert [one["seed"] for one in found["seeds"]] == list(range(10)) and found["clear_of_zero"] == clear >= 9
    means = sorted(100 * one["mean"] for one in found["seeds"])
    words = f"the interval lay above zero {clear} times of ten, at {means[0]:+.1f} to {means[-1]:+.1f} points"
    assert words in " ".join(README.split())
    for one in found["seeds"]:
        changes = [f"seed={one['seed']}", f"compare.seeds=[{one['seed']}]"]
        assert kdrecipes.load_recipe(ROOT / "recipes" / "quickstart.toml", changes).fingerprint == one["recipe_sha256"]


def test_committed_reports_are_of_the_shipped_recipes():
    assert {"quickstart", "few_labels", "few_labels_pretrained"} <= set(committed())
    for name, report in committed().items():
        words = shlex.split(report["command"])  # kdrecipes run RECIPE --set KEY=VALUE …
        changes = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
        recipe = ROOT / words[2] if words[2].endswith(".toml") else words[2]  # a file, or a packaged recipe's name
        assert kdrecipes.load_recipe(recipe, changes).fingerprint == report["recipe_sha256"], name


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel_of_its_own(tmp_path):
    """In a kernel of its own, from a folder of its own."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()


def test_python_dash_m_says_the_version():
    done = subprocess.run([sys.executable, "-m", "kdrecipes", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("kdrecipes ")
