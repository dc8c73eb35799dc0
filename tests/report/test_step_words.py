"""What a step that was run again computed, in words."""

from __future__ import annotations

import pytest

from kdrecipes.report.step_words import step_text

STEP = {
    "fit": "kd-0",
    "epoch": 2,
    "step": 3,
    "finite": False,
    "learning_rate": 0.00156249,
    "loss": "nan",
    "parts": {"label_loss": "nan", "kd": 0.25, "vid": None},
    "first": {"layer": "stage1/conv", "what": "output"},
    "gradient_norms": {"stem": 12.34567, "stage1/conv": "inf"},
    "examples": [{"name": f"train {i}", "label": "cat" if i else None, "finite": i not in (0, 4)} for i in range(12)],
}
TEXT = """\
kd-0: step 3 of epoch 2 was run again; it is not finite.
learning rate  0.001562
loss           nan
its parts      label_loss nan, kd 0.25
first          the output of stage1/conv is not finite; those of the layers before it are
examples       not finite: train 0 (no label), train 4 (cat)
gradient norms
  stem         12.35
  stage1/conv  inf"""


def test_all_figures_stand_in_columns():
    assert step_text(STEP) == TEXT


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (
            {"layer": "logits", "what": "gradient"},
            "the gradient of logits is not finite; the outputs of all layers are",
        ),
        ({"layer": "bn", "what": "weights"}, "the weights of bn are not finite after the step; all outputs and gradi"),
        (None, "no layer: the outputs and gradients of all are finite, and so are their weights"),
    ],
)
def test_where_it_goes_wrong_is_said_in_words(first, words):
    assert f"\nfirst          {words}" in step_text({**STEP, "first": first})


def test_of_a_finite_step_all_examples_are_told_by_their_number():
    examples = [{**one, "finite": True} for one in STEP["examples"]]
    text = step_text({**STEP, "finite": True, "examples": examples})
    assert "was run again. This time it is finite. Another machine can compute other numbers." in text
    assert "examples       train 0 (no label), train 1 (cat)" in text and "train 7 (cat) and 4 more\n" in text
