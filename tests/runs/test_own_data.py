"""Whole runs on data that people bring: a list of image files, with weights and rows without labels; arrays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from samples import short

import kdrecipes
from kdrecipes.components.datasets import digits
from kdrecipes.training import fit as training


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Some digits as files, listed with weights; every fourth of train has no label."""
    folder = tmp_path_factory.mktemp("listed")
    rows = ["file,digit,split,weight"]
    for split, count in (("train", 240), ("test", 60)):
        source = digits.build(split)
        for i in range(count):
            name = f"{split}{i}.png"
            Image.fromarray(source.images[i, ..., 0]).save(folder / name)
            label = "" if split == "train" and i % 4 == 0 else str(source.labels[i])
            rows.append(f"{name},{label},{split},{1 + i % 2}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


@pytest.mark.slow
def test_a_listed_image_s_weight_reaches_every_fit_and_its_missing_label_no_baseline(listed, tmp_path, home):
    recipe = short(
        'teacher.preflight="warn"',
        f'dataset={{name="file_list", path="{listed}", unlabelled="unlabelled", validation=0.2, train="train"}}',
    )
    batches = {}

    def watching(label, distiller, loader, callbacks):
        batches[label] = loader[0]

    with training.observed(watching):
        report = kdrecipes.run(recipe, tmp_path / "run")
    assert batches.keys() == {"teacher", "baseline-0", "kd-0"}
    for label, (x, y, weight) in batches.items():
        assert set(weight.tolist()) == {1.0, 2.0} and len(weight) == len(y) == len(x["index"]), label
        assert bool((y < 0).any()) == (label == "kd-0")
    told = report["dataset"]
    assert (told["labelled"] + told["validation"], told["unlabelled"], told["test"]) == (180, 60, 60)
    assert told["class_names"] == [str(digit) for digit in range(10)]
    names = np.load(tmp_path / "run" / "predictions.npz")["names"]
    assert sorted(names.tolist()) == sorted(f"test{i}.png" for i in range(60))


@pytest.mark.slow
def test_arrays_of_the_digits_give_the_figures_of_the_digits(tmp_path, home):
    for split in ("train", "test"):
        source = digits.build(split)
        np.save(tmp_path / f"{split}_images.npy", source.images[..., 0] / 255.0)
        np.save(tmp_path / f"{split}_labels.npy", source.labels)
    table = f'name="arrays", path="{tmp_path}", range=[0.0, 1.0], image_size=8, validation=0.2, train="train[:320]"'
    own = short(f"dataset={{{table}}}", 'teacher.preflight="warn"')
    plain = short('teacher.preflight="warn"')
    found, expected = (kdrecipes.run(one, tmp_path / name) for one, name in ((own, "own"), (plain, "plain")))
    assert [arm["test_accuracy"] for arm in found["arms"]] == [arm["test_accuracy"] for arm in expected["arms"]]
    assert found["arms"][0]["test_loss"] == expected["arms"][0]["test_loss"]
