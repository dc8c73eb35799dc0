"""What a student depends on: every key that changes it changes its digest, and no other does."""

import pytest
from samples import small

from kdrecipes.recipe.load import load_recipe
from kdrecipes.runs.arm_digests import arm_key
from kdrecipes.runs.arms import Arm

VIEWS = ["dataset.views.flip=true", "dataset.labelled=64"]
# A new value for each key of a recipe, with the students that it changes.
NEITHER = """
name="other"
description="other"
report.images=false
compare.margin=0.1
dataset.test="test[:99]"
compare.baseline=false
compare.seeds=[0,7]
requires=["numpy"]
sweep.grid={"seed"=[1]}
train.save_every_seconds=1
teacher.train.save_every_seconds=1
"""
DISTILLED = """
loss.label_weight=0.7
loss.weight=0.7
loss.temperature=9
loss={name="dist"}
loss={terms=[{name="kd"}]}
loss.teachers="logits"
loss={name="kd",teacher="cnn"}
teacher.width=4
teacher.depth=1
teacher.id="t"
teacher.weight=2
teacher.seed=5
teacher.copies=2
teacher.precision="bfloat16"
teacher.cache="off"
teacher.train.epochs=4
teacher.train.batch_size=16
teacher.train={epochs=3,optimizer={name="adamw",learning_rate=0.1}}
"""
BOTH = """
student.width=5
student.depth=2
student.image_size=10
loss.label_smoothing=0.1
train.epochs=3
train.batch_size=16
train.precision="bfloat16"
train.clip_norm=1
train.accumulate=2
train.head_learning_rate_factor=2
train.ema=0.9
train.recalibrate_batch_norm=3
train.fast=false
train.class_weight="balanced"
train.compile=true
train.optimizer.learning_rate=0.1
train.optimizer.weight_decay=0.1
train.optimizer.beta_2=0.9
train.optimizer.weight_decay_on="kernels"
train.optimizer={name="sgd",learning_rate=0.1}
train.schedule={name="constant"}
train.schedule.warmup=0.2
seed=3
dataset.labelled=65
dataset.labelled_share=0.4
dataset.train="train[:300]"
dataset.validation=0.3
dataset.stratified=true
dataset.resize="crop"
dataset.store_size=16
dataset.image_size=9
dataset.views.flip=false
dataset.views.crop_padding=1
dataset.corrupt_limit=0.1
dataset.views.mixup=0.2
dataset.views.rotation=5
dataset.background="black"
dataset.max_pixels=9999
dataset={name="example_shapes",views={flip=true},labelled=64,image_size=16}
student={name="example_cnn"}
"""
CHANGES = {(): NEITHER.split(), ("kd",): DISTILLED.split(), ("baseline", "kd"): BOTH.split()}


def keys(recipe):
    return {arm: arm_key(recipe, Arm(arm, 0)) for arm in ("baseline", "kd")}


@pytest.mark.parametrize(
    ("change", "arms"), [(change, arms) for arms, changes in CHANGES.items() for change in changes]
)
def test_a_key_that_changes_a_student_changes_its_digest_and_no_other_does(change, arms):
    before, after = keys(small(*VIEWS)), keys(small(*VIEWS, change))
    assert {arm for arm in before if before[arm] != after[arm]} == set(arms)


def test_every_key_of_the_recipe_is_asked_about():
    """A key that a later version adds is put into the list above, with whom it is about."""
    from kdrecipes.recipe.structure import definition, structure_schema

    asked = {part for changes in CHANGES.values() for one in changes for part in one.split("=")[0].split(".")}
    asked |= {"terms", "grid", "sweep"}
    tables = ["dataset", "views", "student", "loss", "train", "compare", "report"]
    known = {key for table in tables for key in definition(table)["properties"]}
    known |= set(structure_schema()["properties"]) - {"$schema", "schema_version", "extends", "callbacks"}
    never = {"name", "unlabelled", "random_resized_crop", "random_erasing", "measure"}  # as others of their tables
    assert known - asked - never == set()


def test_another_seed_is_another_student():
    recipe = small()
    assert arm_key(recipe, Arm("kd", 0)) != arm_key(recipe, Arm("kd", 1))


def test_without_views_and_few_labels_the_recipes_seed_is_the_teachers_alone():
    first, second = keys(small()), keys(small("seed=3"))
    assert first["baseline"] == second["baseline"] and first["kd"] != second["kd"]


def test_callbacks_count_where_they_take_part_and_trackers_do_not(tmp_path):
    plain = load_recipe("digits")
    looked_at = load_recipe("digits", ['callbacks=[{name="csv_log"}]'])
    joined = load_recipe("digits", ['callbacks=[{name="example_log"}]'])
    assert keys(plain) == keys(looked_at)
    assert keys(plain)["baseline"] != keys(joined)["baseline"]
