"""The experiments that kdrecipes began with: their recipes, and the page that says what its figures are."""

import json
import re
from pathlib import Path

import pytest

from kdrecipes.recipe.load import load_recipe
from kdrecipes.report.table import table_rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
SEED = sorted((ROOT / "recipes" / "seed").glob("*.toml"))
OF_TIMM = {  # the notebooks' very networks; their students
    "fashion_mnist_timm": "mobilenetv3_small_100.lamb_in1k",
    "food101_b0_timm": "efficientnet_b0.ra_in1k",
    "food101_b3_timm": "efficientnet_b3.ra2_in1k",
}
EXPERIMENTS = ["fashion_mnist", "food101_b0", "food101_b3", "food101_mobilenet"]


def test_every_experiment_is_there_as_written_and_put_right():
    forms = [f"{name}_{form}" for name in EXPERIMENTS for form in ("as_written", "put_right")]
    assert [file.stem for file in SEED] == sorted([*forms, *OF_TIMM])
    named = set(re.findall(r"`((?:seed/)?(?:fashion_mnist|food101)\w*)`", PAGE))
    assert named >= {f"seed/{form}" for form in [*forms, *OF_TIMM]} | {"food101_b0", "food101_b3"}
    assert all((ROOT / "recipes" / f"{name}.toml").is_file() for name in named)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_put_right_differs_in_what_was_wrong_alone(experiment):
    """T² on Food-101, and the images held out on FashionMNIST."""
    written, right = (
        load_recipe(ROOT / "recipes" / "seed" / f"{experiment}_{form}.toml").data
        for form in ("as_written", "put_right")
    )
    assert right["compare"] == {"baseline": True, "seeds": [0], "margin": 0.002}
    if experiment == "fashion_mnist":
        assert (written["dataset"].pop("validation"), right["dataset"].pop("validation")) == (0.05, 0.0833)
    else:
        assert (written["loss"].pop("weight"), right["loss"].pop("weight")) == (0.04375, 0.7)  # 0.7 / 4²
    assert {**written, "name": ""} == {**right, "name": ""}


@pytest.mark.parametrize("name", OF_TIMM)
def test_the_notebooks_networks_are_trained_as_put_right(name):
    """All but the networks is equal, and both are pretrained."""
    other, right = (
        load_recipe(ROOT / "recipes" / "seed" / f"{one}.toml").data for one in (name, name.replace("timm", "put_right"))
    )
    student = OF_TIMM[name]
    assert other["student"] == {"name": "timm", "model": student, "pretrained": True}
    teacher = {"name": "timm", "model": "resnetv2_50x1_bit.goog_in21k_ft_in1k", "pretrained": True}
    known = right.pop("teacher") | teacher
    del known["weights"]
    assert other.pop("teacher") == known and other["requires"] == ["kdrecipes-timm"]
    left_out = {"name": "", "student": "", "requires": ""}
    assert other | left_out == right | left_out


@pytest.mark.parametrize("file", [*SEED, *(ROOT / "recipes").glob("*.toml")], ids=lambda file: file.stem)
def test_a_recipe_says_its_command_its_cost_and_whether_its_figures_are_measured(file):
    head = file.read_text(encoding="utf-8").partition("schema_version")[0]
    name = str(file.relative_to(ROOT / "recipes").with_suffix(""))
    assert re.search(rf"kdrecipes (run {name}|sweep {name} --confirm 3)\n", head) and "Cost:" in head
    assert "not measured" in head or re.search(r"results/\w+\.json|On test", head) or name == "digits"
    assert len(load_recipe(file).fingerprint) == 64
    assert load_recipe(file).data["train"]["batch_size"] % 4 == 0


def test_bits_own_rule_as_the_page_has_it_is_valid(tmp_path):
    [block] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    tables = {"dataset": "digits", "student": "cnn", "loss": "kd"}
    rest = "".join(f'[{table}]\nname = "{name}"\n' for table, name in tables.items())
    rest = f'schema_version = 1\nname = "bit"\n{rest}[train]\nepochs = 1\n'
    (tmp_path / "bit.toml").write_text(rest + block)
    teacher = load_recipe(tmp_path / "bit.toml").data["teacher"]
    assert teacher["weights"] == "imagenet21k" and teacher["train"]["schedule"] == {"name": "bit_hyperrule"}
    assert teacher["train"]["optimizer"]["weight_decay"] == 0


def test_figures_that_the_page_calls_measured_are_those_of_the_committed_reports():
    for name in ("seed_fashion_mnist_put_right", "fashion_mnist_mobilenet_v3", "fashion_mnist_lite0"):
        report = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        gain = report["comparison"]["kd_minus_baseline"]
        shown = [row["accuracy"] for row in table_rows(report)]
        signed = [f"{100 * value:+.2f}".replace("-", "−") for value in (gain["mean"], *gain["ci95"])]
        row = " | ".join(f"{100 * value:.2f} %" for value in shown) + f" | {signed[0]} ({signed[1]} to {signed[2]}) |"
        assert row in PAGE, row
