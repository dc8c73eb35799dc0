"""A fine-tuned teacher: kept under all that its weights depend on."""

import pytest
from samples import small

from kdrecipes.data.prepare import prepare
from kdrecipes.runs.teacher import prepare_teacher

# The teacher.

TINY = ["teacher.width=4", "teacher.depth=1", "teacher.train.epochs=1"]


def tiny(*more):
    recipe = small(*TINY, *more)
    return recipe, *recipe.teachers.values(), prepare(recipe)


def test_fine_tuned_teacher_is_kept_and_reused(home):
    notes = []
    first = prepare_teacher(*tiny(), note=notes.append)
    again = prepare_teacher(*tiny("student.width=2", "train.epochs=9", "loss.temperature=9"), note=notes.append)
    assert (first.reused, again.reused) == (False, True)
    assert first.fingerprint == again.fingerprint and first.rows == again.rows and again.seconds > 0
    assert len(notes) == 1 and "earlier run" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "teacher.width=5",
        "teacher.train.epochs=2",
        "teacher.train.batch_size=16",
        "dataset.views.flip=true",
        "dataset.validation=0.3",
        'dataset.train="train[:300]"',
    ],
)
def test_whatever_the_weights_depend_on_makes_another_teacher(home, change):
    prepare_teacher(*tiny(), note=print)
    assert not prepare_teacher(*tiny(change), note=print).reused


def test_a_teacher_that_is_trained_again_for_an_inherited_key_says_which(home):
    notes = []
    prepare_teacher(*tiny(), note=notes.append)
    for own in ("teacher.width=5", "seed=1", "teacher.train.batch_size=16"):  # asked of the teacher itself, or of all
        prepare_teacher(*tiny(own), note=notes.append)
    assert notes == []
    changed = ("train.optimizer.learning_rate=0.002", "train.batch_size=64")
    assert not prepare_teacher(*tiny(*changed), note=notes.append).reused
    [note] = notes
    assert note.startswith("teacher: fine-tuned anew, although one like it is there: it takes over ")
    assert "train.batch_size (32 there, 64 here) and train.optimizer.learning_rate (0.005 there, 0.002 here)." in note
    assert note.endswith("What is written under teacher.train is not taken over.")
    kept = ("teacher.train.batch_size=32", 'teacher.train.optimizer={name="adamw", learning_rate=0.005}')
    assert prepare_teacher(*tiny(*changed, *kept), note=notes.append).reused


def test_what_a_cache_says_of_a_teachers_training_is_not_trusted(home, tmp_path):
    prepare_teacher(*tiny(), note=print)
    (file,) = (tmp_path / "home" / "teachers").glob("*/training.json")
    for damage in ("", "[]", '{"others": 1}', '{"others": "x", "train": {}}'):
        file.write_text(damage)
        notes = []
        prepare_teacher(*tiny("train.batch_size=64"), note=notes.append)
        assert [note for note in notes if "anew" in note] == []


def test_damaged_teacher_file_is_trained_again(home, tmp_path):
    first = prepare_teacher(*tiny(), note=print)
    (file,) = (tmp_path / "home" / "teachers").glob("*/weights")
    file.write_bytes(file.read_bytes()[:-1])
    again = prepare_teacher(*tiny(), note=print)
    assert not again.reused and again.fingerprint == first.fingerprint
