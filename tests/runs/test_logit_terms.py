"""All built-in terms on logits in one run: on images without labels, and on mixed ones."""

import json
import math

import pytest
from samples import short

import kdrecipes
from kdrecipes import losses
from kdrecipes.components.losses import TERMS

FEW = ["dataset.labelled=40", "teacher.train.batch_size=20", 'teacher.preflight="warn"']
MIXED = ["dataset.views.mixup=0.4"]
NAMES = [name for name, term in TERMS.items() if not hasattr(getattr(losses, term), "student_layers")]


@pytest.mark.slow
@pytest.mark.parametrize("data", [FEW, MIXED], ids=["few labels", "mixed"])
def test_every_logit_term_teaches_in_a_run(data, tmp_path, home):
    terms = ", ".join(f'{{name="{name}", weight=0.01}}' for name in NAMES)
    recipe = short(*data, f"loss={{terms=[{terms}]}}", "compare.baseline=false", "report.images=false")
    report = kdrecipes.run(recipe, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    (taught,) = [row for row in rows if row["arm"] == "kd"]
    assert report["status"] == "done" and all(math.isfinite(taught[name]) for name in NAMES)
