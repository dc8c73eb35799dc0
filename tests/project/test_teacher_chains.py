"""The chains of the guide: a saved student teaches the next one, run as the page says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from charts import draw_charts
from typer.testing import CliRunner

from kdrecipes.cli.main import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "teachers.md"


# Neither length nor costs change anything of the chains, nor that such teachers know little.
SHORT = [w for one in ("report.measure=false", "train.epochs=2", 'teacher.preflight="warn"') for w in ("--set", one)]


@pytest.mark.slow
def test_the_chains_of_the_guide_run_as_they_are_written(tmp_path, monkeypatch, home):
    draw_charts(False)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8").partition("## Teacher chains\n")[2].partition("\n## ")[0]
    for name, block in re.findall(r'^```toml title="([^"]+)"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE):
        Path(name).write_text(block, encoding="utf-8")
    reports = {}
    for line in re.findall(r"^kdrecipes (run .*)$", text, re.MULTILINE):
        words = shlex.split(line)
        done = CliRunner().invoke(app, [*words, *SHORT])
        assert done.exit_code == 0, done.output
        out = Path(words[words.index("--out") + 1] if "--out" in words else f"runs/{Path(words[1]).stem}")
        reports[out.name] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert list(reports) == ["assistant", "small", "born_again", "born_again_2"]

    def distilled(name: str) -> dict:
        return next(arm for arm in reports[name]["arms"] if arm["arm"] == "kd")

    for name, before in (("small", "assistant"), ("born_again", "assistant"), ("born_again_2", "born_again")):
        (teacher,) = reports[name]["teachers"]
        assert teacher["component"] == "keras_file"
        assert teacher["test_accuracy"] == distilled(before)["test_accuracy"]
        assert teacher["params"] == distilled(before)["params"]
    (big,) = reports["assistant"]["teachers"]
    assert big["params"] > distilled("assistant")["params"] > distilled("small")["params"]
    assert distilled("born_again_2")["params"] == distilled("born_again")["params"] == distilled("assistant")["params"]
