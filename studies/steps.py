"""Does training long on few labels hurt the baseline? The labels-only student with fewer steps, chosen on validation.

    python -m studies.steps few_labels

The baseline of a recipe with images without labels takes as many steps as the distilled student. Here it is trained
with 1/16, 1/8, 1/4, 1/2 and all of these, each with the whole schedule, for every seed of the recipe. The number that
validation prefers is measured on test, once, beside the baseline of the recipe. Writes results/<name>_steps.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import kdrecipes
from kdrecipes import backend
from kdrecipes.backend import keras
from kdrecipes.data.mixture import Mixture
from kdrecipes.data.prepare import Data, prepare
from kdrecipes.recipe.tables import Recipe
from kdrecipes.report.figures import accuracy
from kdrecipes.runs.build import build_distiller, build_model
from kdrecipes.runs.predict import predict
from kdrecipes.runs.provenance import environment
from kdrecipes.runs.teacher import view_settings
from kdrecipes.training.fit import fit
from kdrecipes.training.state import StateFolder
from studies.points import ROOT, RUNS, write

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)


def main() -> None:
    """Train what is missing and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe", help="the name of a packaged recipe")
    recipe = kdrecipes.load_recipe(ROOT / "recipes" / f"{parser.parse_args().recipe}.toml")
    folder = RUNS / "steps" / recipe.fingerprint[:20]  # not by name: of a changed recipe no student is kept
    data = prepare(recipe)
    whole = recipe.train.epochs * data.mixture(recipe, taught=False).steps
    found: list[dict[str, Any]] = []
    for steps in [max(1, round(share * whole)) for share in SHARES]:
        students = [trained(recipe, data, seed, steps, folder) for seed in recipe.compare.seeds]
        reached = [accuracy(predict(s, data.validation, data.student_size), data.validation.labels) for s in students]
        found.append({"steps": steps, "validation_accuracy": float(np.mean(reached)), "students": students})
        print(f"{steps:6} steps  validation {100 * float(np.mean(reached)):.2f} %", flush=True)
    best = max(found, key=lambda one: one["validation_accuracy"])
    tested = [accuracy(predict(s, data.test, data.student_size), data.test.labels) for s in best["students"]]
    print(f"validation prefers {best['steps']} steps: test {100 * float(np.mean(tested)):.2f} %")
    write(
        f"{recipe.name}_steps",
        {
            "recipe_sha256": recipe.fingerprint,
            "device_name": environment(recipe, backend.device_name("auto"))["device_name"],
            "labelled": len(data.train),
            "seeds": list(recipe.compare.seeds),
            "tried": [{key: one[key] for key in ("steps", "validation_accuracy")} for one in found],
            "preferred_steps": best["steps"],
            "test_accuracy": tested,
        },
    )


def trained(recipe: Recipe, data: Data, seed: int, steps: int, folder: Path) -> keras.Model:
    """The labels-only student of a seed after so many steps, as a run trains it; kept, so that it is trained once."""
    backend.seed_everything(seed)
    student = build_model(recipe, recipe.student, data)
    file = folder / f"{steps}-{seed}.weights.h5"
    if file.is_file():
        student.load_weights(file)
        return student
    state = StateFolder(folder / "state")
    fit(
        build_distiller(recipe, data, student, {}),
        data,
        replace(recipe.train, epochs=1),
        size=data.student_size,
        label=f"{steps}-{seed}",
        order_seed=seed,
        settings=view_settings(recipe),
        state=state,
        mixed=Mixture(recipe.train.batch_size, 0, steps),
    )
    folder.mkdir(parents=True, exist_ok=True)
    student.save_weights(file)
    state.clear()
    return student


if __name__ == "__main__":
    main()
