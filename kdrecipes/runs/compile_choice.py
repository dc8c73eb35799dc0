"""Whether a network's training steps go through `torch.compile`: decided once, by measuring, before the first arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdrecipes.backend import seed_everything
from kdrecipes.data.prepare import Data
from kdrecipes.errors import RunError
from kdrecipes.recipe.tables import Recipe
from kdrecipes.runs.build import build_distiller, build_model, mixes
from kdrecipes.runs.rehearsal import rehearse

LEAST_COMPILE_SECONDS = 30.0  # no network tried compiled in less: a fit that is done sooner need not try


def choose_compile(recipe: Recipe, data: Data, device: str, arms: int) -> dict[str, dict[str, Any]]:
    """Whether the teacher's and the students' steps go through `torch.compile`: `{"use": true or false, "why": …}`.

    Args:
        recipe, data: of the run.
        device: "cpu", "cuda", …
        arms: how many students there are; each compiles.

    Returns:
        By role, "teacher" and "student".
    """

    def rehearsed(role: str, train: Mapping[str, Any], jit_compile: bool) -> tuple[float, float]:
        distiller = build_distiller(recipe, data, build_model(recipe, role, data), None, role=role)
        return rehearse(distiller, data, train, role=role, mixed=mixes(recipe), jit_compile=jit_compile)

    def choose(role: str, train: Mapping[str, Any], fits: int) -> dict[str, Any]:
        setting = train["compile"]
        if setting != "auto":
            return {"use": setting, "why": f"compile = {str(setting).lower()}"}
        if device == "cpu":
            return {"use": False, "why": "compiled steps are slower on a CPU, and compiling takes minutes"}
        steps = train["epochs"] * (len(data.train) // train["batch_size"])
        plain = rehearsed(role, train, False)[1]
        if steps * plain < LEAST_COMPILE_SECONDS:
            return {"use": False, "why": f"all steps of a fit take {steps * plain:.0f} s, less than compiling"}
        try:
            first, compiled = rehearsed(role, train, True)
        except RunError as error:
            return {"use": False, "why": str(error)}
        gain = steps * (plain - compiled) - first
        facts = f"{plain * 1e3:.1f} ms a step, {compiled * 1e3:.1f} ms compiled, {first:.0f} s to compile, {fits} times"
        return {"use": gain > 0, "why": facts}

    seed_everything(0)
    own = recipe.data.get("teacher", {}).get("train")
    return {
        "teacher": choose("teacher", own, 1) if own else {"use": False, "why": "the teacher is not trained"},
        "student": choose("student", recipe.data["train"], arms),
    }
