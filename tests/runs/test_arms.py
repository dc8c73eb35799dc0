"""The arms of a run: where they start, what they are fed, and that what is measured is the saved file."""

import numpy as np
import pytest
from samples import small

import kdrecipes
from kdrecipes.backend import keras
from kdrecipes.data.prepare import prepare
from kdrecipes.errors import RunError
from kdrecipes.runs.predict import predict
from kdrecipes.training import fit as training


def test_figures_are_those_of_the_saved_file(finished):
    folder, report = finished
    stored = np.load(folder / "predictions.npz", allow_pickle=False)
    assert set(stored.files) == {"labels", "index", "names", "cnn", "baseline-0", "kd-0"}
    recipe = small()
    data = prepare(recipe)
    for arm in report["arms"]:
        label = f"{arm['arm']}-{arm['seed']}"
        model = keras.models.load_model(folder / arm["student"], compile=False, safe_mode=True)
        logits = predict(model, data.test, data.student_size)
        np.testing.assert_array_equal(logits, stored[label])
        assert (logits.argmax(1) == stored["labels"]).mean() == pytest.approx(arm["test_accuracy"])


@pytest.mark.slow
def test_arms_of_a_seed_start_from_the_same_weights_and_are_fed_the_same_batches(monkeypatch, tmp_path):
    seen = {}

    class Recording(training.Loader):
        def __getitem__(self, batch):
            x, y = super().__getitem__(batch)
            if self.drop_last:  # the training split
                seen[current][1].append((self.epoch, batch, x["image"].numpy().tobytes(), y.numpy().tobytes()))
            return x, y

    def spying(label, distiller, loader, callbacks):
        nonlocal current
        current = label
        seen[current] = ([v.numpy().copy() for v in distiller.student.variables], [])

    current = ""
    monkeypatch.setattr(training, "Loader", Recording)
    with training.observed(spying):
        kdrecipes.run(small("compare.seeds=[0,1]", "dataset.views.flip=true"), tmp_path / "run")
    assert {"baseline-0", "kd-0", "baseline-1", "kd-1"} <= set(seen)
    for seed in (0, 1):
        (first, fed), (second, fed_too) = seen[f"baseline-{seed}"], seen[f"kd-{seed}"]
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
        assert fed == fed_too and len({epoch for epoch, *_ in fed}) == 2
    assert any((a != b).any() for a, b in zip(seen["kd-0"][0], seen["kd-1"][0], strict=True))
    assert seen["kd-0"][1] != seen["kd-1"][1]


@pytest.mark.slow
def test_layers_without_names_are_numbered_alike_in_every_build(tmp_path, drops):
    term = 'loss={name="hint", student_layers=["conv2d_1"], teacher_layers=["stage1b_relu"], projector="linear"}'
    with pytest.raises(RunError, match="shapes must be equal"):  # found, both times; 4 and 8 px wide
        kdrecipes.run(drops(term.replace(', projector="linear"', "")), tmp_path / "run")
    good = term.replace("stage1b_relu", "logits").replace("conv2d_1", "global_average_pooling2d")
    kdrecipes.run(drops(good), tmp_path / "good")
