"""Do a network's batch-norm statistics fit its weights after few steps? Three small sets, 40 to 640 steps.

    python -m studies.batch_norm

Each network is trained once and judged twice on the validation images: with the moving statistics, and with those
estimated anew from at most 100 training batches. Two students from random weights, on labels; a student that a teacher
teaches; and a pretrained network that is fine-tuned, as a teacher is. Under 25 minutes on one CPU core; it can be
stopped and goes on. Only validation is looked at. Writes results/batch_norm.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import kdrecipes
from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.data.loader import Loader
from kdrecipes.data.mixture import Mixture
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.disk.files import write_json
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.figures import accuracy
from kdrecipes.runs.build import build_distiller, build_model
from kdrecipes.runs.predict import predict
from kdrecipes.runs.provenance import environment
from kdrecipes.runs.teacher import view_settings
from kdrecipes.training.batch_norm import reestimate_batch_norm
from kdrecipes.training.fit import fit, observed
from kdrecipes.training.state import StateFolder
from studies.points import ROOT, RUNS, write

FOLDER = RUNS / "batch_norm"
PHOTOGRAPHS = FOLDER / "photographs"
SEEDS = (0, 1, 2)
STEPS = (40, 80, 160, 320, 640)
BATCHES = 100
# What is asked of the recipe quickstart, beside the set and the network.
COMMON = [
    "train.batch_size=32",
    "teacher.image_size=32",
    'loss={name="kd", label_weight=0.5, weight=0.5, temperature=2.0}',
]
SETS = {
    "digits": 'dataset={name="digits", validation=0.4, image_size=32, views={crop_padding=1}}',
    "fashion_mnist": (
        'dataset={name="fashion_mnist", train="train[:640]", validation="train[58000:]", image_size=32, '
        "views={flip=true, crop_padding=2}}"
    ),
    "photographs": (
        f'dataset={{name="folder", path="{PHOTOGRAPHS}", image_size=32, views={{flip=true, crop_padding=2}}}}'
    ),
}
# Network → what else is asked, and after how many steps it is judged.
NETWORKS: dict[str, tuple[list[str], tuple[int, ...]]] = {
    "mobilenet_v3_small": ([], STEPS),
    "cnn": (['student={name="cnn", width=16}'], STEPS),
    "fine-tuned lite0": (
        ['student={name="efficientnet_lite", variant="lite0"}', "train.optimizer.learning_rate=1e-3"],
        (40, 160),
    ),
    "mobilenet_v3_small, distilled": ([], (40, 160)),
}
TEACHER, TEACHER_STEPS = "fine-tuned lite0", 160


@dataclass(frozen=True)
class Point:
    """One training: the set, the network, how many steps and the seed."""

    data: str
    network: str
    steps: int
    seed: int

    def file(self, ending: str) -> Path:
        """Where something of it is kept."""
        network = self.network.replace(",", "").replace(" ", "-")
        return FOLDER / f"{self.data}-{network}-{self.steps}-{self.seed}{ending}"


def main() -> None:
    """Train what is missing, print a line for each network after so many steps and write the figures."""
    draw_photographs(PHOTOGRAPHS)
    rows = []
    for name in SETS:
        data: Data | None = None
        for network, (_, counts) in NETWORKS.items():
            recipe = recipe_of(name, network)
            for steps in counts:
                points = [Point(name, network, steps, seed) for seed in SEEDS]
                if not all(point.file(".json").is_file() for point in points):
                    data = data or prepare(recipe)
                rows.append(row(recipe, points, [judged(recipe, data, point) for point in points]))
                print(told(rows[-1]), flush=True)
    write("batch_norm", {"batches": BATCHES, "rows": rows})


def recipe_of(data: str, network: str) -> Recipe:
    """The recipe quickstart on another set and with another student."""
    asked = [*COMMON, SETS[data], *NETWORKS[network][0]]
    return kdrecipes.load_recipe(ROOT / "recipes" / "quickstart.toml", asked)


def row(recipe: Recipe, points: list[Point], found: list[dict[str, float]]) -> dict[str, Any]:
    """The figures of one network after so many steps; of test there are none."""
    at_home = points[0].data == "photographs"  # the recipe holds a path, which is another one elsewhere
    return {
        "data": points[0].data,
        "network": points[0].network,
        "steps": points[0].steps,
        **({} if at_home else {"recipe_sha256": recipe.fingerprint}),
        "device_name": environment(recipe, backend.device_name("auto"))["device_name"],
        "moving": [one["moving"] for one in found],
        "anew": [one["anew"] for one in found],
    }


def told(one: dict[str, Any]) -> str:
    """A row in a line: validation accuracies, means over seeds."""
    moving, anew = (100 * float(np.mean(one[key])) for key in ("moving", "anew"))
    return (
        f"{one['data']:14} {one['network']:30} {one['steps']:4} steps  moving {moving:5.2f}  anew {anew:5.2f}  "
        f"{anew - moving:+.2f}"
    )


def judged(recipe: Recipe, data: Data | None, point: Point) -> dict[str, float]:
    """Validation accuracy with the moving statistics and with those estimated anew; kept, so that it is found once."""
    if point.file(".json").is_file():
        kept: dict[str, float] = json.loads(point.file(".json").read_text(encoding="utf-8"))
        return kept
    assert data is not None
    student, loader = trained(recipe, data, point)
    moving = accuracy(predict(student, data.validation, data.student_size), data.validation.labels)
    if (point.network, point.steps) == (TEACHER, TEACHER_STEPS):
        student.save_weights(point.file(".weights.h5"))
    one_pass = len(data.train) // recipe.train.batch_size  # more than a run could take, of an epoch
    reestimate_batch_norm(student, loader, min(BATCHES, one_pass))
    anew = accuracy(predict(student, data.validation, data.student_size), data.validation.labels)
    found = {"moving": moving, "anew": anew}
    write_json(point.file(".json"), found)
    return found


def trained(recipe: Recipe, data: Data, point: Point) -> tuple[keras.Model, Loader]:
    """A student after so many steps with the whole schedule, and the loader of its batches."""
    backend.seed_everything(point.seed)
    student = build_model(recipe, recipe.student, data)
    teachers = {}
    if point.network.endswith("distilled"):
        [table] = recipe.teachers.values()
        teachers[table.id] = build_model(recipe, table, data)
        teachers[table.id].load_weights(Point(point.data, TEACHER, TEACHER_STEPS, point.seed).file(".weights.h5"))
        backend.seed_everything(point.seed)
    loaders: list[Loader] = []
    state = StateFolder(FOLDER / "state")
    with observed(lambda label, distiller, loader, callbacks: loaders.append(loader)):
        fit(
            build_distiller(recipe, data, student, teachers),
            data,
            replace(recipe.train, epochs=1, recalibrate_batch_norm=None),
            size=data.student_size,
            label=point.file("").name,
            order_seed=point.seed,
            settings=view_settings(recipe),
            state=state,
            mixed=Mixture(recipe.train.batch_size, 0, point.steps),
        )
    state.clear()
    return student, loaders[0]


def draw_photographs(folder: Path) -> None:
    """Crops of scikit-learn's two photographs: their upper, middle and lower thirds are six classes.

    A photograph is cut into ten stripes from left to right. Two are for validation and one is for test, so that no
    pixel is in two splits.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_image

    splits = {2: "validation", 5: "test", 7: "validation"}
    for name in ("china", "flower"):
        photograph = load_sample_image(f"{name}.jpg")
        third, stripe, side = photograph.shape[0] // 3, photograph.shape[1] // 10, 48
        for top in range(3):
            for number in range(10):
                for y, x in positions(third - side, stripe - side):
                    target = folder / splits.get(number, "train") / f"{name}-{top}" / f"{number}-{y}-{x}.png"
                    if target.is_file():
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    above, left = top * third + y, number * stripe + x
                    Image.fromarray(photograph[above : above + side, left : left + side]).save(target)


def positions(down: int, across: int) -> Iterator[tuple[int, int]]:
    """Where crops begin: every 16 pixels down, every 8 across."""
    return ((y, x) for y in range(0, down + 1, 16) for x in range(0, across + 1, 8))


if __name__ == "__main__":
    main()
