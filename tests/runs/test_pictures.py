"""facts/pictures.npz of whole runs: the images that the networks saw, drawn by the seed, of any mixture of networks."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import short, small

import kdrecipes
from kdrecipes.data.examples import show
from kdrecipes.data.prepare import prepare
from kdrecipes.data.views import resize
from kdrecipes.report.disagreements import disagreements
from kdrecipes.runs import run as runs
from kdrecipes.runs.pictures import drawn
from kdrecipes.training import fit as training

GROUPS = ("mended", "broken", "other")
VIEWS = ["dataset.views.flip=true", "dataset.views.crop_padding=2", "dataset.views.mixup=0.5", "teacher.image_size=12"]


def stored_in(folder):
    with np.load(folder / "facts/pictures.npz") as stored:
        return dict(stored)


def bytes_of(images):
    return images.round().clamp(0, 255).byte().numpy()


@given(st.sets(st.integers(0, 2**40)), st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 20))
def test_a_draw_depends_on_seed_and_index_alone_and_a_smaller_one_is_part_of_a_larger(index, seed, few, more):
    index = np.array(sorted(index), np.int64)
    chosen = drawn(index, seed, few)
    assert len(chosen) == min(few, len(index)) and (np.diff(chosen) > 0).all()
    assert set(chosen) <= set(drawn(index, seed, few + more))
    turned = index[::-1]
    assert set(turned[drawn(turned, seed, few)]) == set(index[chosen])


def test_every_image_is_drawn_as_often_as_another():
    counts = np.bincount(np.concatenate([drawn(np.arange(40), seed, 10) for seed in range(2000)]), minlength=40)
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)  # five standard deviations of the binomial


def test_test_images_are_those_of_each_group_as_the_student_sees_them(finished):
    folder, report = finished
    data, stored = prepare(small()), stored_in(folder)
    with np.load(folder / "predictions.npz") as predictions:
        keys = dict(zip(("teacher", "baseline", "kd"), stored["networks"], strict=True))
        groups = disagreements(predictions["labels"], {role: predictions[key].argmax(1) for role, key in keys.items()})
    assert list(keys.values()) == [report["teachers"][0]["id"], "baseline-0", "kd-0"]
    assert sum(map(len, groups.values())) > 0
    for group, positions in groups.items():
        assert len(stored[group]) == min(12, len(positions)) and set(stored[group]) <= set(positions)
        if len(positions):
            images, _ = show(data.test, stored[group], data.student_size)
            np.testing.assert_array_equal(stored[f"{group}_images"], bytes_of(images))


@pytest.mark.slow
def test_the_page_of_a_run_holds_its_images_and_is_the_same_again(finished):
    folder, _ = finished
    page, stored = (folder / "report.html").read_text(encoding="utf-8"), stored_in(folder)
    assert page.count("<img ") == sum(len(stored[group]) for group in GROUPS) + 12
    from kdrecipes.report.build import rebuild_report

    rebuild_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [[], ["dataset.labelled=40", 'teacher.preflight="warn"', "teacher.train.batch_size=20"]]
)
def test_training_images_are_those_that_the_first_step_of_the_student_was_given(tmp_path, monkeypatch, more):
    batches = {}

    class Recording(training.Loader):
        def __getitem__(self, batch):
            found = super().__getitem__(batch)
            if self.drop_last and batch == 0 and self.epoch == 0:
                batches.setdefault(current, (found[0]["image"], found[0].get("teacher_image"), found[1]))
            return found

    def named(label, *rest):
        nonlocal current
        current = label

    current = ""
    monkeypatch.setattr(training, "Loader", Recording)
    with training.observed(named):
        kdrecipes.run(short(*VIEWS, 'teacher.cache="off"', *more), tmp_path / "run")
    image, others, labels = batches["kd-0"]
    stored, (their,) = stored_in(tmp_path / "run"), others.values()
    places = np.arange(12) * len(image) // 12
    assert list(stored["view_sizes"]) == [8, 12]
    np.testing.assert_array_equal(stored["views_8"], bytes_of(image[places]))
    np.testing.assert_array_equal(stored["views_12"], bytes_of(their[places]))
    np.testing.assert_array_equal(stored["view_labels"], labels[places].numpy())
    assert (labels[places].sum(1) == 0).any() == bool(more)  # those without a label


@pytest.mark.slow
def test_large_images_are_kept_at_96_pixels(tmp_path):
    few = ['dataset.train="train[:80]"', 'dataset.test="test[:60]"', 'teacher.preflight="warn"']
    recipe = short("dataset.image_size=100", *few)
    kdrecipes.run(recipe, tmp_path / "run")
    stored, data = stored_in(tmp_path / "run"), prepare(recipe)
    assert stored["views_96"].shape == (12, 96, 96, 3) and list(stored["view_sizes"]) == [100, 100]
    group = next(name for name in GROUPS if len(stored[name]))
    images, _ = show(data.test, stored[group], 100)
    np.testing.assert_array_equal(stored[f"{group}_images"], bytes_of(resize(images, 96)))
    assert (tmp_path / "run/report.html").stat().st_size < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("without", "groups", "networks"),
    [("teacher", [], ["", "baseline-0", ""]), ("baseline", ["other"], ["cnn", "", "kd-0"])],
)
def test_a_recipe_without_a_teacher_or_a_baseline_shows_what_it_can(tmp_path, without, groups, networks):
    recipe = short("compare.baseline=false") if without == "baseline" else alone(tmp_path)
    report = kdrecipes.run(recipe, tmp_path / "run")
    stored = stored_in(tmp_path / "run")
    assert [name for name in GROUPS if name in stored] == groups
    assert list(stored["networks"])[1:] == networks[1:]
    assert stored["networks"][0] == (report["teachers"][0]["id"] if report["teachers"] else "")
    assert len(stored["views_8"]) == 12
    assert torch.equal(torch.from_numpy(stored["view_labels"]).sum(1), torch.ones(12))
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Training images as the networks saw them" in page
    assert ("on which the networks disagree" in page) == bool(groups)


def alone(folder):
    """The recipe digits made small, with a student on labels only."""
    text = 'schema_version = 1\nname = "alone"\n[dataset]\nname = "digits"\ntrain = "train[:320]"\nvalidation = 0.2\n'
    text += '[student]\nname = "cnn"\nwidth = 3\ndepth = 1\n[train]\nepochs = 1\nbatch_size = 32\n'
    text += "[report]\nmeasure = false\n"
    (folder / "alone.toml").write_text(text)
    return kdrecipes.load_recipe(folder / "alone.toml")


@pytest.mark.slow
def test_a_recipe_without_images_leaves_none_and_a_finished_run_is_not_refused_for_the_key(tmp_path, finished):
    kdrecipes.run(short("report.images=false"), tmp_path / "run")
    assert not (tmp_path / "run/facts/pictures.npz").exists()
    assert "<img" not in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    folder, report = finished
    assert kdrecipes.run(small("report.images=false"), folder) == report


@pytest.mark.slow
def test_images_of_an_earlier_try_go_where_the_recipe_wants_none(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "write_report", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        kdrecipes.run(short(), tmp_path / "run")
    assert (tmp_path / "run/facts/pictures.npz").exists()
    kdrecipes.run(short("report.images=false"), tmp_path / "run")
    assert not (tmp_path / "run/facts/pictures.npz").exists()


@pytest.mark.slow
def test_students_of_several_seeds_are_shown_of_the_first(tmp_path):
    kdrecipes.run(short("compare.seeds=[3,1]"), tmp_path / "run")
    assert list(stored_in(tmp_path / "run")["networks"])[1:] == ["baseline-3", "kd-3"]
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "the distilled student (seed 3) do not name the same class" in page
    assert json.loads((tmp_path / "run/report.json").read_text())["arms"][0]["seed"] == 3
