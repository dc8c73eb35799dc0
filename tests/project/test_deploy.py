"""docs/guide/deploy.md, step by step: its commands in order, then its Python, on images of digits."""

import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from charts import draw_charts
from PIL import Image
from samples import read_back_here

from kdrecipes.components.datasets import digits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "deploy.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_works_from_the_run_to_the_raw_photo(tmp_path, monkeypatch, home, call):
    draw_charts(False)
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    source = digits.COMPONENT.build(split="test")
    for i in range(4):
        Image.fromarray(source[i]["image"].squeeze()).resize((40, 30)).save(f"photos/{i}.png")
    said = {}
    for line in "".join(blocks("bash")).splitlines():
        words = shlex.split(line)
        assert words.pop(0) == "kdrecipes"
        if words[0] == "run":  # of which the page says nothing but the command
            words += ["--set", "report.measure=false", "--set", "teacher.train.epochs=2"]
        with read_back_here() if words[0] == "export" else nullcontext():
            code, out, err = call(*words)
        assert code == 0, (line, err)
        said[line] = out
    told = next(text for line, text in said.items() if line.endswith("--format onnx"))
    pattern = re.sub(r"\d+(\\\.\d+)?(e\\-\d+)?", r"[\\d.e-]+", re.escape(blocks("text")[0]))
    assert re.fullmatch(pattern, told), told
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = next(text for line, text in said.items() if line.endswith("photos/")).splitlines()
    assert [line.split()[1] for line in lines[:2]] == done.stdout.split()
