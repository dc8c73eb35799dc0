"""What goes wrong outside the recipe or in the arithmetic ends a run with one message, and costs no finished work."""

import json
import math

import numpy as np
import pytest
from samples import small, student_arrays

import kdrecipes
from kdrecipes.errors import RunError
from kdrecipes.training import fit as training
from kdrecipes.training.state import StateFolder


def spoiling(fit, step):
    """A listener after which the loss of a fit, e.g. "kd-0", is no number in a step, counted from 1."""

    def listener(label, distiller, loader, callbacks):
        if label == fit:
            real, calls = distiller.learner.call, []

            def call(image, *others):
                logits, own, values = real(image, *others)
                calls.append(1)
                return logits, own * math.nan if len(calls) == step else own, values

            distiller.learner.__dict__["call"] = call

    return listener


def test_a_run_whose_loss_is_no_number_keeps_its_last_good_state_and_goes_on_to_the_same_bits(finished, tmp_path):
    with training.observed(spoiling("kd-0", 11)), pytest.raises(RunError) as caught:
        kdrecipes.run(small(), tmp_path / "run")
    text = str(caught.value)
    assert text.startswith("kd-0: the loss is nan in step 3 of epoch 2, at a learning rate of 0.0")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["error"]) == ("failed", text)
    assert text in (tmp_path / "run" / "log.txt").read_text()
    arrays, meta = StateFolder(tmp_path / "run" / "state").load()
    assert len(meta["rows"]) == 1 and all(np.isfinite(one).all() for one in arrays)
    kdrecipes.run(small(), tmp_path / "run")
    for a, b in zip(student_arrays(finished[0], "kd-0"), student_arrays(tmp_path / "run", "kd-0"), strict=True):
        np.testing.assert_array_equal(a, b)
