"""The cells of the matrix of exact resume: when a fit is stopped, and what it is made of."""

from __future__ import annotations

import itertools
import random

DROPS = """
import kdrecipes

def build(classes, image_size):
    import keras
    from keras import layers

    pixels = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(pixels))
    x = layers.BatchNormalization(name="stage1b_relu")(layers.GaussianNoise(0.1)(layers.Dropout(0.3)(x)))
    return keras.Model(pixels, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

@kdrecipes.hookimpl
def kdrecipes_components():
    yield kdrecipes.Component(kind="model", name="drops", build=build, options={
        "type": "object", "additionalProperties": False,
        "properties": {"classes": {"type": "integer"}, "image_size": {"type": "integer"}}})
"""
# When a fit is stopped, and what it is made of; each choice with the settings that make it.
FACTORS = {
    # The epoch, from 0, and how much of it is done; after its last step it is still to be validated.
    "moment": {"mid-epoch": (1, 0.6), "last step": (1, 1.0), "first step": (0, 0.01), "epoch end": (1, 0.0)},
    # "outputs": while a teacher's logits are computed, before the distilled student begins.
    "fit": {"kd": [], "teacher": [], "outputs": [], "baseline": []},
    "logits": {"cached": [], "live": []},
    "network": {"drops": 'name="drops"', "cnn": 'name="cnn", width=4, depth=1'},
    "teachers": {"two": 2, "one": 1},
    "precision": {"float32": [], "bfloat16": ['train.precision="bfloat16"']},
    "weights": {"averaged": ["train.ema=0.9", "train.recalibrate_batch_norm=2"], "plain": []},
    "updates": {"scheduled": ["train.accumulate=3", 'train.schedule={name="one_cycle"}'], "each step": []},
    "views": {"mixed": ["dataset.views={mixup=0.2, crop_padding=1}"], "plain": []},
    "labels": {"some": ["dataset.labelled=160"], "all": []},
    "terms": {
        "with weights": [
            'loss={terms=[{name="kd", schedule={name="linear"}}, {name="ctkd"}, {name="vid", teacher="t", '
            'student_layers=["stage1b_relu"], teacher_layers=["stage1b_relu"]}]}'
        ],
        "on logits": [],
    },
}
BASE = ["train.epochs=2", 'dataset.train="train[:320]"', "dataset.validation=0.2", "train.save_every_seconds=0"]


def covering(strength):
    """Cells such that each choice for so many of the factors is in one of them."""
    draw, cells, names = random.Random(0), [], list(FACTORS)
    whole = list(itertools.product(*FACTORS.values()))
    parts = lambda cell: set(itertools.combinations(zip(names, cell, strict=True), strength))  # noqa: E731
    left = {
        tuple(zip(chosen, levels, strict=True))
        for chosen in itertools.combinations(names, strength)
        for levels in itertools.product(*(FACTORS[name] for name in chosen))
    }
    while left:
        [(name, level), *_] = sorted(left)[0]
        likely = [cell for cell in draw.sample(whole, 60) if cell[names.index(name)] == level]
        best = max(likely, key=lambda cell: len(parts(cell) & left), default=None)
        if best and (found := parts(best) & left):
            cells.append(dict(zip(names, best, strict=True)))
            left -= found
    return cells
